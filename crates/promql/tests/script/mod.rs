//! Scripts of the promqltest format: data that is loaded, queries, what is expected of them.

// Each test uses a part of it.
#![allow(dead_code)]

pub mod check;
mod custom;
pub mod series;

use std::collections::BTreeMap;
use std::sync::Arc;

use bonghwa_promql::{Histogram, Labels, ResetHint, STALE_BITS, syntax::parse_duration};
use series::{Point, parse_series};

/// The samples of a series by time.
pub type Samples = BTreeMap<i64, Point>;

/// What a query should give.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Series in the order of the script, with a point (or a gap) for each step.
    pub series: Vec<(Labels, Vec<series::Item>)>,
    pub scalar: Option<f64>,
    pub string: Option<String>,
    /// Start, end and step of the samples that an instant query gives.
    pub range: Option<(i64, i64, i64)>,
    pub ordered: bool,
    /// `fail`, `warn`, `info`, `no_warn`, `no_info`, each with what the message must be.
    pub says: Vec<(String, Text)>,
}

/// What a message must be.
#[derive(Clone, Debug)]
pub enum Text {
    Any,
    Equals(String),
    Matches(regex::Regex),
}

impl Text {
    pub fn fits(&self, message: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Equals(text) => text == message,
            Self::Matches(regex) => regex.is_match(message),
        }
    }
}

/// A query of a script.
#[derive(Clone, Debug)]
pub struct Case {
    pub line: usize,
    pub query: String,
    pub start: i64,
    pub end: i64,
    /// 0 for an instant query.
    pub step: i64,
    pub expected: Expected,
}

/// A step of a script.
pub enum Command {
    Clear,
    Load(Vec<(Labels, Samples)>),
    Eval(Box<Case>),
}

/// Parses a script; an error names its line.
pub fn parse(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(|line| if line.trim_start().starts_with('#') { "" } else { line.trim() }).collect();
    let mut commands = vec![];
    let mut at = 0;
    while at < lines.len() {
        let (line, number) = (lines[at], at + 1);
        at += 1;
        let wrong = |message: String| format!("{number}: {message}");
        if line.is_empty() {
            continue;
        }
        let mut block = vec![];
        if line != "clear" {
            while at < lines.len() && !lines[at].is_empty() {
                block.push((at + 1, lines[at]));
                at += 1;
            }
        }
        if line == "clear" {
            commands.push(Command::Clear);
        } else if let Some(step) = line.strip_prefix("load ") {
            commands.push(Command::Load(load(step.trim(), &block).map_err(wrong)?));
        } else if let Some(step) = line.strip_prefix("load_with_nhcb ") {
            let mut loaded = load(step.trim(), &block).map_err(wrong)?;
            loaded.extend(custom::histograms(&loaded));
            commands.push(Command::Load(loaded));
        } else if line.starts_with("eval") {
            commands.push(Command::Eval(Box::new(eval(line, number, &block).map_err(wrong)?)));
        } else {
            return Err(wrong(format!("unknown command {line:?}")));
        }
    }
    Ok(commands)
}

fn load(step: &str, block: &[(usize, &str)]) -> Result<Vec<(Labels, Samples)>, String> {
    let step = parse_duration(step)?;
    let mut loaded = vec![];
    for (number, line) in block {
        let (labels, points) = parse_series(line).map_err(|e| format!("line {number}: {e}"))?;
        let points = points.into_iter().enumerate().filter_map(|(i, point)| Some((i as i64 * step, point?.0)));
        loaded.push((labels, points.collect()));
    }
    Ok(loaded)
}

fn eval(line: &str, number: usize, block: &[(usize, &str)]) -> Result<Case, String> {
    let (verb, rest) = line.split_once(' ').ok_or("nothing to evaluate")?;
    let mut expected = Expected::default();
    match verb {
        "eval" => {}
        "eval_ordered" => expected.ordered = true,
        "eval_fail" | "eval_warn" | "eval_info" => expected.says.push((verb[5..].to_owned(), Text::Any)),
        other => return Err(format!("unknown command {other}")),
    }
    let word = |text: &str| -> Result<(String, String), String> {
        let text = text.trim_start();
        let (word, rest) = text.split_once(char::is_whitespace).ok_or_else(|| format!("{text:?} ends too early"))?;
        Ok((word.to_owned(), rest.trim_start().to_owned()))
    };
    let keyword = |text: &str, wanted: &str| match word(text)? {
        (found, rest) if found == wanted => Ok(rest),
        (found, _) => Err(format!("expected {wanted:?}, found {found:?}")),
    };
    let (kind, rest) = word(rest)?;
    let (start, end, step, query) = if kind == "instant" {
        let (at, query) = word(&keyword(&rest, "at")?)?;
        let at = parse_duration(&at)?;
        (at, at, 0, query)
    } else {
        let (from, rest) = word(&keyword(&rest, "from")?)?;
        let (to, rest) = word(&keyword(&rest, "to")?)?;
        let (step, query) = word(&keyword(&rest, "step")?)?;
        (parse_duration(&from)?, parse_duration(&to)?, parse_duration(&step)?, query)
    };
    for (number, line) in block {
        expect(line, &mut expected).map_err(|e| format!("line {number}: {e}"))?;
    }
    Ok(Case { line: number, query, start, end, step, expected })
}

fn expect(line: &str, expected: &mut Expected) -> Result<(), String> {
    if let Some(message) = line.strip_prefix("expected_fail_message ") {
        expected.says = vec![("fail".into(), Text::Equals(message.trim().to_owned()))];
        return Ok(());
    }
    if let Some(pattern) = line.strip_prefix("expected_fail_regexp ") {
        let regex = regex::Regex::new(pattern.trim()).map_err(|e| e.to_string())?;
        expected.says = vec![("fail".into(), Text::Matches(regex))];
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("expect ") {
        return directive(rest.trim(), expected);
    }
    if let Some(value) = series::parse_number(line) {
        expected.scalar = Some(value);
        return Ok(());
    }
    let (labels, points) = parse_series(line)?;
    expected.series.retain(|(known, _)| *known != labels);
    expected.series.push((labels, points));
    Ok(())
}

fn directive(rest: &str, expected: &mut Expected) -> Result<(), String> {
    if rest == "ordered" {
        expected.ordered = true;
    } else if let Some(text) = rest.strip_prefix("string ") {
        let query = bonghwa_promql::Query::parse(text.trim()).map_err(|e| e.to_string())?;
        if let bonghwa_promql::syntax::Kind::String(text) = &query.expr().kind {
            expected.string = Some(text.clone());
        }
    } else if let Some(range) = rest.strip_prefix("range vector from ") {
        let parts: Vec<&str> = range.split_whitespace().collect();
        let [from, "to", to, "step", step] = parts[..] else { return Err(format!("unknown range {range:?}")) };
        expected.range = Some((parse_duration(from)?, parse_duration(to)?, parse_duration(step)?));
    } else {
        let (what, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let text = text.trim();
        let text = if let Some(message) = text.strip_prefix("msg:") {
            Text::Equals(message.trim().to_owned())
        } else if let Some(pattern) = text.strip_prefix("regex:") {
            Text::Matches(regex::Regex::new(pattern.trim()).map_err(|e| e.to_string())?)
        } else {
            Text::Any
        };
        if !["fail", "warn", "info", "no_warn", "no_info"].contains(&what) {
            return Err(format!("unknown expectation {what:?}"));
        }
        expected.says.push((what.to_owned(), text));
    }
    Ok(())
}

/// What was loaded.
#[derive(Default)]
pub struct Store {
    pub series: BTreeMap<Labels, Samples>,
}

impl Store {
    pub fn load(&mut self, loaded: Vec<(Labels, Samples)>) {
        for (labels, samples) in loaded {
            let series = self.series.entry(labels).or_default();
            series.extend(samples);
            hint(series);
        }
    }
}

/// Says of a histogram that its counter was not reset, as a storage does that has seen the one before.
fn hint(series: &mut Samples) {
    let mut before: Option<Shared> = None;
    for point in series.values_mut() {
        let Point::Histogram(histogram) = point else {
            before = None;
            continue;
        };
        let unknown = histogram.hint == ResetHint::Unknown && histogram.sum.to_bits() != STALE_BITS;
        let follows = |before: &Shared| before.hint == ResetHint::Gauge || !histogram.is_reset_after(before);
        if unknown && before.as_ref().is_some_and(follows) {
            *point = Point::Histogram(Arc::new(Histogram { hint: ResetHint::NotReset, ..(**histogram).clone() }));
        }
        if let Point::Histogram(histogram) = point {
            before = Some(histogram.clone());
        }
    }
}

/// A histogram that is shared.
pub type Shared = Arc<Histogram>;
