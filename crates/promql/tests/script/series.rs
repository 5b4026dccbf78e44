//! `metric{labels} 0+10x5 _ stale {{schema:0 sum:5}}`: series as scripts write them.

use std::sync::Arc;

use bonghwa_promql::{CUSTOM_BUCKETS, Histogram, Labels, MatchOp, ResetHint, STALE_BITS, syntax::parse_matchers};

/// A value of a script.
#[derive(Clone, Debug)]
pub enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// A value, or a gap; with a histogram, whether its hint was given.
pub type Item = Option<(Point, bool)>;

/// A number alone.
pub fn parse_number(text: &str) -> Option<f64> {
    let (value, rest) = number(text)?;
    rest.is_empty().then_some(value)
}

/// Labels and values of a line.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<Item>), String> {
    let end = metric_end(line);
    let labels = parse_labels(line[..end].trim())?;
    let mut rest = line[end..].trim_start();
    let mut items = vec![];
    while !rest.is_empty() {
        rest = item(rest, &mut items)?.trim_start();
    }
    Ok((labels, items))
}

/// Where the metric ends and its values begin.
fn metric_end(line: &str) -> usize {
    let (mut quote, mut depth, mut escaped) = (None, 0, false);
    for (i, c) in line.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some('"' | '\''), '\\') => escaped = true,
            (Some(q), c) if q == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            (None, c) if c.is_whitespace() && depth == 0 && !line[i..].trim_start().starts_with('{') => return i,
            // A histogram, not labels.
            (None, c) if c.is_whitespace() && depth == 0 && line[i..].trim_start().starts_with("{{") => return i,
            _ => {}
        }
    }
    line.len()
}

pub fn parse_labels(metric: &str) -> Result<Labels, String> {
    let matchers = parse_matchers(metric).map_err(|e| format!("{metric:?}: {e}"))?;
    if matchers.iter().any(|m| m.op != MatchOp::Equal) {
        return Err(format!("{metric:?} has conditions"));
    }
    Ok(Labels::new(matchers.iter().map(|m| (m.name.as_str(), m.value.as_str()))))
}

/// One item, with its repetitions; gives what comes after it.
fn item<'a>(text: &'a str, items: &mut Vec<Item>) -> Result<&'a str, String> {
    if let Some(rest) = text.strip_prefix('_') {
        let (times, rest) = repeats(rest)?;
        items.extend(std::iter::repeat_n(None, times.unwrap_or(1)));
        return Ok(rest);
    }
    if text.starts_with("{{") {
        return histograms(text, items);
    }
    if let Some(rest) = text.strip_prefix("stale") {
        let (times, rest) = repeats(rest)?;
        let stale = Some((Point::Float(f64::from_bits(STALE_BITS)), false));
        items.extend(std::iter::repeat_n(stale, times.map_or(1, |t| t + 1)));
        return Ok(rest);
    }
    let (mut value, mut rest) = number(text).ok_or_else(|| format!("no value: {text:?}"))?;
    let mut step = 0.0;
    if rest.starts_with(['+', '-']) {
        (step, rest) = number(rest).ok_or_else(|| format!("no step: {rest:?}"))?;
    }
    let (times, rest) = repeats(rest)?;
    for _ in 0..=times.unwrap_or(0) {
        items.push(Some((Point::Float(value), false)));
        value += step;
    }
    Ok(rest)
}

/// `x5`
fn repeats(text: &str) -> Result<(Option<usize>, &str), String> {
    let Some(rest) = text.strip_prefix('x') else { return Ok((None, text)) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let times = rest[..digits].parse().map_err(|_| format!("no number of repetitions: {text:?}"))?;
    Ok((Some(times), &rest[digits..]))
}

/// A number and what comes after it.
fn number(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    for (name, value) in [("infinity", f64::INFINITY), ("inf", f64::INFINITY), ("nan", f64::NAN)] {
        if unsigned.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name)) {
            return Some((sign * value, &unsigned[name.len()..]));
        }
    }
    let bytes = unsigned.as_bytes();
    let run = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = run(0);
    if bytes.get(end) == Some(&b'.') {
        end = run(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = run((end + 1 + sign).min(bytes.len()));
        if exponent > end + 1 + sign {
            end = exponent;
        }
    }
    let value: f64 = unsigned[..end].parse().ok()?;
    Some((sign * value, &unsigned[end..]))
}

fn histograms<'a>(text: &'a str, items: &mut Vec<Item>) -> Result<&'a str, String> {
    let (mut base, mut hinted, mut rest) = histogram(text)?;
    let mut step = None;
    if let Some(sign) = rest.chars().next().filter(|c| "+-".contains(*c)) {
        let (by, by_hinted, after) = histogram(&rest[1..])?;
        (step, hinted, rest) = (Some((sign, by)), by_hinted, after);
    }
    let (times, rest) = repeats(rest)?;
    for i in 0..=times.unwrap_or(0) {
        if let (Some((sign, by)), true) = (&step, i > 0) {
            base = combine(&base, by, *sign);
        }
        items.push(Some((Point::Histogram(Arc::new(base.clone())), hinted)));
    }
    Ok(rest)
}

/// `a + b` or `a - b` of histograms with the same layout.
fn combine(a: &Histogram, b: &Histogram, sign: char) -> Histogram {
    let sign = if sign == '-' { -1.0 } else { 1.0 };
    let mut sum = a.clone();
    sum.count += sign * b.count;
    sum.sum += sign * b.sum;
    sum.zero_count += sign * b.zero_count;
    let shift = b.schema - a.schema;
    for (into, from) in [(&mut sum.positive, &b.positive), (&mut sum.negative, &b.negative)] {
        for (index, count) in from {
            let index = if shift > 0 { ((index - 1) >> shift) + 1 } else { *index };
            match into.binary_search_by_key(&index, |bucket| bucket.0) {
                Ok(at) => into[at].1 += sign * count,
                Err(at) => into.insert(at, (index, sign * count)),
            }
        }
    }
    // As adding does: a gauge makes a gauge, different hints say nothing.
    sum.hint = match (a.hint, b.hint) {
        (x, y) if x == y => x,
        (ResetHint::Gauge, _) | (_, ResetHint::Gauge) => ResetHint::Gauge,
        _ => ResetHint::Unknown,
    };
    sum
}

/// `{{schema:0 count:4 buckets:[1 2 1]}}`, whether its hint is given, and what comes after it.
fn histogram(text: &str) -> Result<(Histogram, bool, &str), String> {
    let inner = text.strip_prefix("{{").and_then(|t| t.split_once("}}"));
    let (inner, rest) = inner.ok_or_else(|| format!("no histogram: {text:?}"))?;
    let mut h = Histogram::default();
    let (mut hinted, mut offsets) = (false, [0, 0]);
    let (mut positive, mut negative) = (vec![], vec![]);
    let mut fields = inner.trim();
    while !fields.is_empty() {
        let (key, after) = fields.split_once(':').ok_or_else(|| format!("no value: {fields:?}"))?;
        let list = after.starts_with('[');
        let end =
            if list { after.find(']').map_or(after.len(), |i| i + 1) } else { after.find(' ').unwrap_or(after.len()) };
        let value = &after[..end];
        fields = after[end..].trim_start();
        let numbers = || -> Result<Vec<f64>, String> {
            let parts = value.trim_matches(['[', ']']).split_whitespace();
            parts.map(|part| parse_number(part).ok_or_else(|| format!("no number: {part:?}"))).collect()
        };
        let one = || parse_number(value).ok_or_else(|| format!("no number: {value:?}"));
        match key.trim() {
            "schema" => h.schema = one()? as i32,
            "sum" => h.sum = one()?,
            "count" => h.count = one()?,
            "z_bucket" => h.zero_count = one()?,
            "z_bucket_w" => h.zero_threshold = one()?,
            "custom_values" => h.custom_values = numbers()?,
            "buckets" => positive = numbers()?,
            "n_buckets" => negative = numbers()?,
            "offset" => offsets[0] = one()? as i32,
            "n_offset" => offsets[1] = one()? as i32,
            "counter_reset_hint" => {
                hinted = true;
                h.hint = match value {
                    "gauge" => ResetHint::Gauge,
                    "reset" => ResetHint::Reset,
                    "not_reset" => ResetHint::NotReset,
                    _ => ResetHint::Unknown,
                };
            }
            other => return Err(format!("unknown field {other:?}")),
        }
    }
    let buckets = |counts: Vec<f64>, offset: i32| (offset..).zip(counts).collect();
    (h.positive, h.negative) = (buckets(positive, offsets[0]), buckets(negative, offsets[1]));
    assert!(h.custom_values.is_empty() || h.schema == CUSTOM_BUCKETS, "custom values without their schema");
    Ok((h, hinted, rest))
}
