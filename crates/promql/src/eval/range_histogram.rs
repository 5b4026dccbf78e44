//! Functions over ranges that have histograms, alone or beside floats.

use std::sync::Arc;

use super::annotations::Note;
use super::range::{Context, of_floats};
use super::rate::Ends;
use super::rows::{Point, Row};
use super::window::Samples;
use crate::histogram::{Histogram, ResetHint, Total};
use crate::syntax::Function;

/// Puts the function's values at each step into `row`.
pub(super) fn apply(samples: &Samples, row: &mut Row, context: &mut Context) {
    use Function::{
        Deriv, DoubleExponentialSmoothing, Integral, MadOverTime, MaxOverTime, MinOverTime, PredictLinear,
        QuantileOverTime, StddevOverTime, StdvarOverTime, TsOfMaxOverTime, TsOfMinOverTime,
    };
    let function = context.call.function;
    let ignores = matches!(
        function,
        DoubleExponentialSmoothing
            | Deriv
            | Integral
            | MadOverTime
            | MaxOverTime
            | MinOverTime
            | PredictLinear
            | QuantileOverTime
            | StddevOverTime
            | StdvarOverTime
            | TsOfMaxOverTime
            | TsOfMinOverTime
    );
    if ignores {
        let mut mixed = false;
        context.window.slide_both(samples, |_, _, floats, histograms| {
            mixed |= !floats.is_empty() && !histograms.is_empty();
        });
        if mixed {
            context.note(Note::IgnoredInRange);
        }
        of_floats(samples, row, context);
        return;
    }
    let mut windows = vec![];
    context.window.slide_both(samples, |step, reference, f, h| windows.push((step, reference, f, h)));
    for (step, reference, f, h) in windows {
        let part = Samples {
            times: &samples.times[f.clone()],
            values: &samples.values[f],
            histogram_times: &samples.histogram_times[h.clone()],
            histograms: &samples.histograms[h],
        };
        if let Some(point) = of_window(&part, reference, context) {
            row.set(step, Some(point));
        }
    }
}

/// The value of one window, which is not empty.
fn of_window(part: &Samples, reference: i64, context: &mut Context) -> Option<Point> {
    let (floats, histograms) = (part.values.len(), part.histograms.len());
    let first_float = || part.times.first().copied().unwrap_or(i64::MAX);
    let first_histogram = || part.histogram_times.first().copied().unwrap_or(i64::MAX);
    let last_float = || part.times.last().copied().unwrap_or(i64::MIN);
    let last_histogram = || part.histogram_times.last().copied().unwrap_or(i64::MIN);
    let function = context.call.function;
    let mixed = floats > 0 && histograms > 0;
    let number = |value: f64| Some(Point::Float(value));
    match function {
        Function::CountOverTime => number((floats + histograms) as f64),
        Function::PresentOverTime | Function::AbsentOverTime => number(1.0),
        Function::TsOfFirstOverTime => number(first_float().min(first_histogram()) as f64 / 1000.0),
        Function::TsOfLastOverTime => number(last_float().max(last_histogram()) as f64 / 1000.0),
        Function::FirstOverTime if first_float() < first_histogram() => number(part.values[0]),
        Function::FirstOverTime => Some(Point::Histogram(part.histograms[0].clone())),
        Function::LastOverTime if last_float() > last_histogram() => number(part.values[floats - 1]),
        Function::LastOverTime => Some(Point::Histogram(part.histograms[histograms - 1].clone())),
        Function::Changes | Function::Resets => count_changes(part, function, None).map(Point::Float),
        Function::Irate | Function::Idelta => last_two(part, context),
        _ if mixed => {
            context.note(Note::Mixed);
            None
        }
        Function::Rate | Function::Increase | Function::Delta if floats > 0 => {
            of_float_window(part, reference, context)
        }
        Function::Rate | Function::Increase | Function::Delta => growth(part, reference, context),
        Function::SumOverTime if floats > 0 => number(super::sums::sum(part.values)),
        Function::AvgOverTime if floats > 0 => number(super::sums::mean(part.values)),
        Function::SumOverTime => total(part.histograms, false, context),
        Function::AvgOverTime => total(part.histograms, true, context),
        _ => None,
    }
}

/// A window of floats in a series that has histograms elsewhere.
fn of_float_window(part: &Samples, reference: i64, context: &mut Context) -> Option<Point> {
    let mut out = [super::rows::ABSENT];
    let grid = super::rows::Grid { start: reference + context.window.offset, step: 1, len: 1 };
    let window = super::window::Window { grid, at: None, ..*context.window };
    let mut context = Context {
        window: &window,
        call: context.call,
        name: context.name,
        notes: context.notes,
        scratch: context.scratch,
        cancel: context.cancel,
    };
    super::rate::extrapolated(part, &mut out, &mut context);
    (!super::rows::is_absent(out[0])).then_some(Point::Float(out[0]))
}

/// Adds or subtracts; None, with a note, where buckets do not fit.
pub(super) fn join(into: &mut Histogram, other: &Histogram, add: bool, context: &mut Context) -> Option<()> {
    let joined = if add { into.add(other) } else { into.subtract(other) };
    match joined {
        Ok(joined) => {
            if joined.reconciled {
                let what = if add { "addition" } else { "subtraction" };
                context.notes.add(Note::BucketsReconciled, context.call.arg_span, what);
            }
            Some(())
        }
        Err(_) => {
            context.note(Note::MixedBuckets);
            None
        }
    }
}

/// `rate`, `increase`, `delta` of histograms.
fn growth(part: &Samples, reference: i64, context: &mut Context) -> Option<Point> {
    let histograms = part.histograms;
    if histograms.len() < 2 {
        return None;
    }
    let counter = context.call.function != Function::Delta;
    let mut result = difference(histograms, counter, context)?;
    let ends = Ends::new(part.histogram_times, reference - context.window.before, reference);
    let growth = (result.count > 0.0).then_some((histograms[0].count, result.count));
    let factor = ends.factor(growth.filter(|_| counter));
    let seconds = if context.call.function == Function::Rate { context.call.range_ms as f64 / 1000.0 } else { 1.0 };
    result.scale(factor / seconds);
    Some(Point::Histogram(Arc::new(result)))
}

fn difference(histograms: &[Arc<Histogram>], counter: bool, context: &mut Context) -> Option<Histogram> {
    let (first, last) = (&histograms[0], &histograms[histograms.len() - 1]);
    let gauge = |h: &Histogram| h.hint == ResetHint::Gauge;
    let empty;
    let mut start: &Histogram = first;
    if counter {
        if histograms.iter().any(|h| gauge(h)) {
            context.note(Note::NotCounter);
        }
        let second = &histograms[1];
        if second.is_reset_after(first) {
            // The first sample belongs to a counter that is gone: its layout must not matter.
            let (schema, custom_values) = (second.schema, second.custom_values.clone());
            let zero_threshold = second.zero_threshold;
            empty = Histogram { schema, custom_values, zero_threshold, ..Histogram::default() };
            start = &empty;
        }
    } else if !gauge(first) || !gauge(last) {
        context.note(Note::NotGauge);
    }
    let custom = start.is_custom();
    let inner = if counter { &histograms[1..] } else { &histograms[histograms.len() - 1..] };
    if inner.iter().any(|h| h.is_custom() != custom) {
        context.note(Note::MixedBuckets);
        return None;
    }
    let mut result = (**last).clone();
    join(&mut result, start, false, context)?;
    if counter {
        let mut before = start;
        for histogram in &histograms[1..] {
            if histogram.is_reset_after(before) {
                join(&mut result, before, true, context)?;
            }
            before = histogram;
        }
    }
    result.hint = ResetHint::Gauge;
    result.compact();
    Some(result)
}

/// `irate` and `idelta` of the last two samples, whatever they are.
fn last_two(part: &Samples, context: &mut Context) -> Option<Point> {
    let mut last: Vec<(i64, Point)> = vec![];
    for i in part.times.len().saturating_sub(2)..part.times.len() {
        last.push((part.times[i], Point::Float(part.values[i])));
    }
    for i in part.histograms.len().saturating_sub(2)..part.histograms.len() {
        last.push((part.histogram_times[i], Point::Histogram(part.histograms[i].clone())));
    }
    last.sort_by_key(|sample| sample.0);
    let [before, now] = last.get(last.len().checked_sub(2)?..)? else { return None };
    let seconds = (now.0 - before.0) as f64 / 1000.0;
    if seconds == 0.0 {
        return None;
    }
    let rate = context.call.function == Function::Irate;
    match (&before.1, &now.1) {
        (Point::Float(a), Point::Float(b)) => {
            let growth = if rate && b < a { *b } else { b - a };
            Some(Point::Float(if rate { growth / seconds } else { growth }))
        }
        (Point::Histogram(a), Point::Histogram(b)) => {
            let gauges = [a, b].iter().filter(|h| h.hint == ResetHint::Gauge).count();
            if rate && gauges > 0 {
                context.note(Note::NotCounter);
            } else if !rate && gauges < 2 {
                context.note(Note::NotGauge);
            }
            let mut growth = (**b).clone();
            if !rate || !b.is_reset_after(a) {
                join(&mut growth, a, false, context)?;
            }
            growth.hint = ResetHint::Gauge;
            growth.compact();
            if rate {
                growth.divide(seconds);
            }
            Some(Point::Histogram(Arc::new(growth)))
        }
        _ => {
            context.note(Note::Mixed);
            None
        }
    }
}

/// The sum or the mean of histograms.
fn total(histograms: &[Arc<Histogram>], mean: bool, context: &mut Context) -> Option<Point> {
    let hints = |hint: ResetHint| histograms.iter().any(|h| h.hint == hint);
    if hints(ResetHint::Reset) && hints(ResetHint::NotReset) {
        context.notes.add(Note::ResetCollision, context.call.arg_span, "aggregation");
    }
    let mut sum = Total::new(&histograms[0]);
    let mut incremental = false;
    for (i, histogram) in histograms.iter().enumerate().skip(1) {
        let count = (i + 1) as f64;
        let joined = if mean {
            let mut next = sum.clone();
            let mut joined = next.add(histogram);
            if incremental || next.has_overflow() {
                // The sum would overflow: from here on it is a mean.
                if !incremental {
                    sum.scale(1.0 / (count - 1.0));
                    incremental = true;
                }
                let mut part = (**histogram).clone();
                part.divide(count);
                sum.scale((count - 1.0) / count);
                next = sum.clone();
                joined = next.add(&part);
            }
            sum = next;
            joined
        } else {
            sum.add(histogram)
        };
        let Ok(joined) = joined else {
            context.note(Note::MixedBuckets);
            return None;
        };
        if joined.reconciled {
            context.notes.add(Note::BucketsReconciled, context.call.arg_span, "aggregation");
        }
    }
    let count = if mean && !incremental { histograms.len() as f64 } else { 1.0 };
    Some(Point::Histogram(Arc::new(sum.finish(count))))
}

/// `changes` or `resets` of floats and histograms in the order of their times. An anchored range counts from the
/// last sample at or before `anchor`, and has no value where nothing comes after it.
pub(super) fn count_changes(part: &Samples, function: Function, anchor: Option<i64>) -> Option<f64> {
    let floats = part.times.iter().zip(part.values).map(|(t, v)| (*t, Point::Float(*v)));
    let histograms = part.histogram_times.iter().zip(part.histograms).map(|(t, h)| (*t, Point::Histogram(h.clone())));
    let mut points: Vec<(i64, Point)> = floats.chain(histograms).collect();
    points.sort_by_key(|point| point.0);
    if let Some(anchor) = anchor {
        let inside = points.partition_point(|point| point.0 <= anchor);
        if inside == points.len() {
            return None;
        }
        points.drain(..inside.saturating_sub(1));
    }
    let changed = |a: &Point, b: &Point| match (a, b, function) {
        (Point::Float(a), Point::Float(b), Function::Resets) => b < a,
        (Point::Float(a), Point::Float(b), _) => a != b && !(a.is_nan() && b.is_nan()),
        (Point::Histogram(a), Point::Histogram(b), Function::Resets) => b.is_reset_after(a),
        (Point::Histogram(a), Point::Histogram(b), _) => !a.same(b),
        _ => true,
    };
    Some(points.windows(2).filter(|pair| changed(&pair[0].1, &pair[1].1)).count() as f64)
}
