//! Runs the queries of a script and compares.

use std::sync::Arc;

use bonghwa_promql::{
    Answer, DecodeError, Decoder, Encoder, Error, Evaluation, Fold, Histogram, Labels, Params, Part, Parts, Point,
    Query, Sample, Series, SeriesPoints, Value,
};

use super::series::Point as Given;
use super::{Case, Expected, Shared, Store, Text};

/// Evaluates a query over the store; series are spread over `threads` folds.
pub fn evaluate(store: &Store, text: &str, params: Params, threads: usize) -> Result<Answer, Error> {
    let evaluation = Evaluation::new(&Query::parse(text)?, params)?;
    let mut folds = vec![];
    for thread in (0..threads).rev() {
        folds.extend(fold(&evaluation, store, thread, threads)?);
    }
    evaluation.finish(folds)
}

/// A fold of each selection, of one of `threads` that share the series.
pub fn fold(evaluation: &Evaluation, store: &Store, thread: usize, threads: usize) -> Result<Vec<Fold>, Error> {
    let mut folds = vec![];
    for (i, selection) in evaluation.selections().iter().enumerate() {
        let Some(mut fold) = evaluation.fold(i) else { continue };
        // Series may come in any order.
        let matching =
            store.series.iter().filter(|(labels, _)| selection.matchers.iter().all(|m| m.matches(labels.get(&m.name))));
        for (_, (labels, samples)) in matching.enumerate().filter(|(n, _)| n % threads == thread) {
            let inside = samples.range(selection.min_ms..=selection.max_ms.max(selection.min_ms));
            let (mut times, mut values, mut histogram_times, mut histograms) = (vec![], vec![], vec![], vec![]);
            for (time, point) in inside {
                match point {
                    Given::Float(value) => {
                        times.push(*time);
                        values.push(*value);
                    }
                    Given::Histogram(histogram) => {
                        histogram_times.push(*time);
                        histograms.push(Arc::clone(histogram));
                    }
                }
            }
            fold.push(&Series {
                labels,
                timestamps: &times,
                values: &values,
                histogram_timestamps: &histogram_times,
                histograms: &histograms,
            })?;
        }
        folds.push(fold);
    }
    Ok(folds)
}

/// The same as [`evaluate`], by an evaluation of its own for each of the shares, whose folds are sent to the one that
/// has the last.
pub fn evaluate_sent(store: &Store, text: &str, params: Params, shares: usize) -> Result<Answer, DecodeError> {
    let query = Query::parse(text).map_err(Error::from)?;
    let evaluation = || Evaluation::new(&query, params.clone());
    let whole = evaluation()?;
    let mut folds = fold(&whole, store, shares - 1, shares)?;
    for share in (0..shares - 1).rev() {
        let there = evaluation()?;
        let sent = fold(&there, store, share, shares)?;
        let mut decoder = whole.decoder(u64::MAX);
        there.encode(sent)?.try_for_each(|chunk| decoder.push(&chunk))?;
        folds.extend(decoder.finish()?);
    }
    Ok(whole.finish(folds)?)
}

/// Evaluates a query by three that each have some of the series; says where that differs from one that has all, with as
/// many folds. Floats are compared by their bits.
pub fn in_shares(store: &Store, text: &str, params: Params) -> Result<(), String> {
    let (whole, sent) = (evaluate(store, text, params.clone(), 3), evaluate_sent(store, text, params, 3));
    let (whole, sent) = match (whole, sent) {
        (Ok(whole), Ok(sent)) => (whole, sent),
        (Err(whole), Err(DecodeError::Query(sent))) if whole == sent => return Ok(()),
        // Of several errors any may come.
        (Err(Error::Execution(_)), Err(DecodeError::Query(Error::Execution(_)))) => return Ok(()),
        (whole, sent) => return Err(format!("in shares {sent:?}, not {whole:?}")),
    };
    if shown(&whole.value) != shown(&sent.value) || whole.annotations != sent.annotations {
        return Err(format!("in shares {sent:?}, not {whole:?}"));
    }
    let read = |answer: &Answer| (answer.stats.samples, answer.stats.series, answer.stats.steps.clone());
    if read(&whole) == read(&sent) { Ok(()) } else { Err(format!("in shares {:?}, not {:?}", sent.stats, whole.stats)) }
}

/// What is wrong with the answers to a case.
pub fn check(store: &Store, case: &Case) -> Result<(), String> {
    let params = match case.step {
        0 => Params::instant(case.start),
        step => Params::range(case.start, case.end, step),
    };
    let answer = evaluate(store, &case.query, params, 1);
    let fails = case.expected.says.iter().find(|(what, _)| what == "fail");
    let answer = match (answer, fails) {
        (Ok(answer), Some(_)) => return Err(format!("expected a failure, got {:?}", answer.value)),
        (Err(error), None) => return Err(format!("failed: {error}")),
        (Err(error), Some((_, text))) => {
            let message = error.to_string();
            return if text.fits(&message) { Ok(()) } else { Err(format!("failed with {message:?}, not {text:?}")) };
        }
        (Ok(answer), None) => answer,
    };
    says(&case.expected, &answer)?;
    compare(case, &answer.value)?;
    if case.step == 0 {
        as_range(store, case, &answer.value)?;
    }
    Ok(())
}

/// An instant query is a step of a range query, and the number of folds does not matter.
fn as_range(store: &Store, case: &Case, value: &Value) -> Result<(), String> {
    if case.expected.range.is_some() || case.expected.string.is_some() {
        return Ok(());
    }
    let query = &case.query;
    // Their values depend on the query's own start and end.
    if ["start()", "end()", "step()", "range()"].iter().any(|word| query.contains(word)) {
        return Ok(());
    }
    let params = Params::range(case.start - 60_000, case.start + 60_000, 60_000);
    let answer = match evaluate(store, query, params, 3) {
        Ok(answer) => answer,
        // Other steps may fail where this one does not.
        Err(_) => return Ok(()),
    };
    let Value::Matrix(series) = answer.value else { return Err("a range query gave no matrix".into()) };
    let at_step = |one: &SeriesPoints| {
        let float = one.floats.iter().find(|(t, _)| *t == case.start).map(|(_, v)| Point::Float(*v));
        let histogram = one.histograms.iter().find(|(t, _)| *t == case.start).map(|(_, h)| Point::Histogram(h.clone()));
        Some(Sample { labels: one.labels.clone(), point: float.or(histogram)? })
    };
    let middle: Vec<Sample> = series.iter().filter_map(at_step).collect();
    let value = match value {
        Value::Vector(samples) => samples.clone(),
        Value::Scalar(value) => vec![Sample { labels: Labels::empty(), point: Point::Float(*value) }],
        _ => return Ok(()),
    };
    let same = value.len() == middle.len()
        && value.iter().all(|sample| middle.iter().any(|m| m.labels == sample.labels && near(&m.point, &sample.point)));
    if same { Ok(()) } else { Err(format!("as a range query, with three folds: {middle:?}, not {value:?}")) }
}

fn near(a: &Point, b: &Point) -> bool {
    match (a, b) {
        (Point::Float(a), Point::Float(b)) => close(*a, *b),
        (Point::Histogram(a), Point::Histogram(b)) => same_histogram(a, b, false),
        _ => false,
    }
}

fn says(expected: &Expected, answer: &Answer) -> Result<(), String> {
    let notes = &answer.annotations;
    for (name, found) in [("warn", &notes.warnings), ("info", &notes.infos)] {
        let wanted: Vec<&Text> = expected.says.iter().filter(|(what, _)| what == name).map(|(_, text)| text).collect();
        let none = expected.says.iter().any(|(what, _)| *what == format!("no_{name}"));
        if none && !found.is_empty() {
            return Err(format!("unexpected {name}: {found:?}"));
        }
        if wanted.is_empty() {
            continue;
        }
        if let Some(missing) = wanted.iter().find(|text| !found.iter().any(|message| text.fits(message))) {
            return Err(format!("expected {name} {missing:?}, found {found:?}"));
        }
        if let Some(other) = found.iter().find(|message| !wanted.iter().any(|text| text.fits(message))) {
            return Err(format!("unexpected {name}: {other:?}"));
        }
    }
    Ok(())
}

fn compare(case: &Case, value: &Value) -> Result<(), String> {
    let expected = &case.expected;
    match value {
        Value::Scalar(value) => match expected.scalar {
            Some(wanted) if close(wanted, *value) => Ok(()),
            wanted => Err(format!("expected {wanted:?}, got scalar {value}")),
        },
        Value::String(text) if expected.string.as_ref() == Some(text) => Ok(()),
        Value::String(text) => Err(format!("expected {:?}, got {text:?}", expected.string)),
        Value::Vector(samples) => compare_vector(expected, samples),
        Value::Matrix(series) => compare_matrix(case, series),
    }
}

fn compare_vector(expected: &Expected, samples: &[Sample]) -> Result<(), String> {
    if expected.scalar.is_some() {
        return Err(format!("expected a scalar, got {samples:?}"));
    }
    for (place, sample) in samples.iter().enumerate() {
        let found = expected.series.iter().position(|(labels, _)| *labels == sample.labels);
        let Some(at) = found else { return Err(format!("unexpected {}: {:?}", sample.labels, sample.point)) };
        if expected.ordered && at != place {
            return Err(format!("{} is at place {place}, not {at}", sample.labels));
        }
        let wanted = expected.series[at].1.first().cloned().flatten();
        let fits = match (&wanted, &sample.point) {
            (Some((Given::Float(a), _)), Point::Float(b)) => close(*a, *b),
            (Some((Given::Histogram(a), hinted)), Point::Histogram(b)) => same_histogram(a, b, *hinted),
            _ => false,
        };
        if !fits {
            return Err(format!("{}: expected {wanted:?}, got {:?}", sample.labels, sample.point));
        }
    }
    match expected.series.iter().find(|(labels, _)| !samples.iter().any(|s| s.labels == *labels)) {
        Some((labels, values)) => Err(format!("missing {labels}: {values:?}; got {samples:?}")),
        None => Ok(()),
    }
}

fn compare_matrix(case: &Case, series: &[SeriesPoints]) -> Result<(), String> {
    let expected = &case.expected;
    let (start, _, step) = expected.range.unwrap_or((case.start, case.end, case.step));
    if expected.scalar.is_some() {
        return Err("expected a scalar, got a matrix".into());
    }
    for one in series {
        let wanted = expected.series.iter().find(|(labels, _)| *labels == one.labels);
        let Some((_, wanted)) = wanted else { return Err(format!("unexpected {one:?}")) };
        let mut floats: Vec<(i64, f64)> = vec![];
        let mut histograms: Vec<(i64, Shared, bool)> = vec![];
        for (i, point) in wanted.iter().enumerate() {
            match point {
                Some((Given::Float(value), _)) => floats.push((start + i as i64 * step, *value)),
                Some((Given::Histogram(h), hinted)) => histograms.push((start + i as i64 * step, h.clone(), *hinted)),
                None => {}
            }
        }
        let same_floats = floats.len() == one.floats.len()
            && floats.iter().zip(&one.floats).all(|(a, b)| a.0 == b.0 && close(a.1, b.1));
        let same_histograms = histograms.len() == one.histograms.len()
            && histograms.iter().zip(&one.histograms).all(|(a, b)| a.0 == b.0 && same_histogram(&a.1, &b.1, a.2));
        if !same_floats || !same_histograms {
            return Err(format!("{}: expected {floats:?} {histograms:?}, got {one:?}", one.labels));
        }
    }
    let missing = expected
        .series
        .iter()
        .find(|(labels, values)| values.iter().any(Option::is_some) && !series.iter().any(|s| s.labels == *labels));
    missing.map_or(Ok(()), |(labels, _)| Err(format!("missing {labels}; got {series:?}")))
}

/// As near as Prometheus' tests want it.
fn close(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (size, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || size < f64::MIN_POSITIVE {
        return difference < 1e-6 * f64::MIN_POSITIVE;
    }
    difference / size.min(f64::MAX) < 1e-6
}

fn same_histogram(a: &Histogram, b: &Histogram, hinted: bool) -> bool {
    let buckets = |h: &Histogram| {
        let populated = |b: &[(i32, f64)]| b.iter().copied().filter(|b| b.1 != 0.0).collect::<Vec<_>>();
        [populated(&h.positive), populated(&h.negative)]
    };
    let same_buckets = buckets(a)
        .iter()
        .zip(&buckets(b))
        .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && close(a.1, b.1)));
    a.schema == b.schema
        && close(a.count, b.count)
        && close(a.sum, b.sum)
        && a.zero_threshold == b.zero_threshold
        && close(a.zero_count, b.zero_count)
        && a.custom_values == b.custom_values
        && (!hinted || a.hint == b.hint)
        && same_buckets
}

/// Evaluates a query whole and in parts that begin at these steps; says where they differ. Floats are compared by
/// their bits.
pub fn in_parts(store: &Store, text: &str, params: Params, cuts: &[i64]) -> Result<(), String> {
    let whole = evaluate(store, text, params.clone(), 1);
    let (start, step) = (params.start_ms, params.step_ms);
    let last = start + (params.end_ms - start) / step * step;
    let mut starts = vec![start];
    starts.extend(cuts.iter().map(|cut| start + cut * step).filter(|from| *from > start && *from <= last));
    let mut parts = Parts::default();
    let mut failed = None;
    for (at, from) in starts.iter().enumerate() {
        let to = starts.get(at + 1).map_or(last, |next| next - step);
        match evaluate(store, text, Params { start_ms: *from, end_ms: to, ..params.clone() }, 1) {
            // Some are kept on their way.
            Ok(answer) if at % 2 == 0 => match Part::cut(&answer, step, *from, to) {
                Some(part) => parts.push_part(&part, *from, to),
                None => parts.push(answer),
            },
            // The others come from another node.
            Ok(answer) => parts.push(sent(answer, (*from, to), step)?),
            Err(error) => failed = Some(error),
        }
    }
    // Steps of a subquery between the windows of two parts are evaluated only by the whole.
    let gaps = text.contains(':');
    let whole = match (whole, failed) {
        (Ok(whole), None) => whole,
        (Err(_), Some(_)) => return Ok(()),
        (Err(_), None) if gaps => return Ok(()),
        (Err(error), None) => return Err(format!("only the whole fails: {error}")),
        (Ok(_), Some(error)) => return Err(format!("only a part fails: {error}")),
    };
    let parts = parts.finish();
    if shown(&whole.value) != shown(&parts.value) {
        return Err(format!("in parts {:?}, not {:?}", parts.value, whole.value));
    }
    if !gaps && parts.annotations != whole.annotations {
        return Err(format!("in parts {:?}, not {:?}", parts.annotations, whole.annotations));
    }
    // And what is cut out of the whole is what is put together.
    let middle = start + (last - start) / step / 2 * step;
    let cut = |from, to| Part::cut(&whole, step, from, to);
    if let (Some(first), Some(second)) = (cut(start, middle), cut(middle, last)) {
        let joined = first.joined(&second).ok_or("parts that touch do not join")?;
        let mut again = Parts::default();
        again.push_part(&joined, start, last);
        if shown(&again.finish().value) != shown(&whole.value) {
            return Err("cutting changed it".to_owned());
        }
    }
    Ok(())
}

/// The answer as another node reads it.
fn sent(answer: Answer, steps: (i64, i64), step: i64) -> Result<Answer, String> {
    let before = answer.clone();
    let mut decoder = Decoder::new(steps, step, u64::MAX);
    for chunk in Encoder::new(answer, steps.0, step).ok_or("it is no matrix")? {
        decoder.push(&chunk).map_err(|error| format!("cannot be read: {error}"))?;
    }
    let after = decoder.finish().map_err(|error| format!("cannot be read: {error}"))?;
    let same = shown(&before.value) == shown(&after.value);
    let same = same && before.annotations == after.annotations && before.stats == after.stats;
    if same { Ok(after) } else { Err(format!("sent as {before:?}, and read as {after:?}")) }
}

/// A matrix, every bit of it.
fn shown(value: &Value) -> Vec<String> {
    let Value::Matrix(series) = value else { return vec![format!("{value:?}")] };
    let one = |one: &SeriesPoints| {
        let floats: Vec<(i64, u64)> = one.floats.iter().map(|(time, value)| (*time, value.to_bits())).collect();
        format!("{} {floats:?} {:?}", one.labels, one.histograms)
    };
    series.iter().map(one).collect()
}
