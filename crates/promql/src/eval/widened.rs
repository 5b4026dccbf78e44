//! `anchored` and `smoothed`: ranges that reach from bound to bound, with a value at each.

use std::sync::Arc;

use super::annotations::{Note, Notes};
use super::range::Context;
use super::rows::Row;
use super::window::Samples;
use crate::histogram::Histogram;
use crate::syntax::{Function, Span};

/// The value at `time` on the line between two samples. A counter that fell began at zero.
fn interpolate(from: (i64, f64), to: (i64, f64), time: i64, counter: bool) -> f64 {
    let start = if counter && to.1 < from.1 { 0.0 } else { from.1 };
    start + (to.1 - start) * (time - from.0) as f64 / (to.0 - from.0) as f64
}

/// A range of samples with its values at the bounds.
struct Completed {
    left: f64,
    right: f64,
    /// Samples strictly inside.
    inner: std::ops::Range<usize>,
}

/// Completes the samples `times` and `values` to the range from `start` to `end`.
fn complete(times: &[i64], values: &[f64], start: i64, end: i64, smooth: bool, counter: bool) -> Option<Completed> {
    let most = times.len().checked_sub(1)?;
    // The last sample not after the start, or the first of all.
    let first = times[..most].partition_point(|t| *t <= start).saturating_sub(1);
    let last = if smooth { times[..most].partition_point(|t| *t < end) } else { most };
    if times[last] <= start || smooth && times[first] > end {
        return None;
    }
    let at = |i: usize| (times[i], values[i]);
    let left = if smooth && times[first] < start {
        interpolate(at(first), at(first + 1), start, counter)
    } else {
        values[first]
    };
    let right = if times[last] <= end || last == 0 {
        values[last]
    } else if smooth {
        interpolate(at(last - 1), at(last), end, counter)
    } else {
        values[last - 1]
    };
    let low = if times[first] <= start { first + 1 } else { first };
    let high = if times[last] >= end { last } else { last + 1 };
    Some(Completed { left, right, inner: low..high.max(low) })
}

/// The samples of a range selector, completed.
pub(super) fn extend(times: &[i64], values: &[f64], start: i64, end: i64, smooth: bool) -> (Vec<i64>, Vec<f64>) {
    let Some(done) = complete(times, values, start, end, smooth, false) else { return (vec![], vec![]) };
    let mut all = (vec![start], vec![done.left]);
    all.0.extend_from_slice(&times[done.inner.clone()]);
    all.1.extend_from_slice(&values[done.inner]);
    all.0.push(end);
    all.1.push(done.right);
    all
}

/// Puts the values of a function over completed ranges into `row`.
pub(super) fn apply(samples: &Samples, row: &mut Row, context: &mut Context) {
    let window = context.window;
    let smooth = context.call.widening == Some(crate::syntax::Widening::Smoothed);
    let function = context.call.function;
    let mut points = vec![];
    window.slide_both(samples, |step, reference, floats, histograms| {
        points.push((step, reference, floats, histograms));
    });
    for (step, end, floats, histograms) in points {
        let start = end - context.call.range_ms;
        let (times, values) = (&samples.times[floats.clone()], &samples.values[floats.clone()]);
        if matches!(function, Function::Changes | Function::Resets) {
            // These count what happened after the sample that stands at the start.
            let histogram_times = &samples.histogram_times[histograms.clone()];
            let part = Samples { times, values, histogram_times, histograms: &samples.histograms[histograms] };
            if let Some(count) = super::range_histogram::count_changes(&part, function, Some(start)) {
                row.floats[step] = count;
            }
            continue;
        }
        if !floats.is_empty() && !histograms.is_empty() {
            context.note(Note::Mixed);
        } else if !floats.is_empty() {
            let counter = function != Function::Delta;
            let Some(done) = complete(times, values, start, end, smooth, counter) else { continue };
            let mut growth = done.right - done.left;
            if counter {
                let mut before = done.left;
                for value in values[done.inner].iter().chain([&done.right]) {
                    if *value < before {
                        growth += before;
                    }
                    before = *value;
                }
            }
            row.floats[step] =
                if function == Function::Rate { growth / (context.call.range_ms as f64 / 1000.0) } else { growth };
        } else {
            let times = &samples.histogram_times[histograms.clone()];
            if let Some(h) = histogram_growth(times, &samples.histograms[histograms], start, end, smooth, context) {
                row.set_histogram(step, Arc::new(h));
            }
        }
    }
}

/// The histogram at `time` between two others.
pub(super) fn between(
    from: (i64, &Histogram),
    to: (i64, &Histogram),
    time: i64,
    counter: bool,
    notes: &mut Notes,
    (span, name): (Span, &str),
) -> Option<Histogram> {
    if time == from.0 {
        return Some(from.1.clone());
    }
    if time == to.0 {
        return Some(to.1.clone());
    }
    let fraction = (time - from.0) as f64 / (to.0 - from.0) as f64;
    let mut result = to.1.clone();
    if counter && to.1.is_reset_after(from.1) {
        result.scale(fraction);
        return Some(result);
    }
    let mut join = |joined: Result<crate::histogram::Joined, crate::histogram::Incompatible>, what: &str| match joined {
        Ok(joined) => {
            if joined.reconciled {
                notes.add(Note::BucketsReconciled, span, what);
            }
            true
        }
        Err(_) => {
            notes.add(Note::MixedBuckets, span, name);
            false
        }
    };
    if !join(result.subtract(from.1), "subtraction") {
        return None;
    }
    result.scale(fraction);
    join(result.add(from.1), "addition").then_some(result)
}

fn histogram_growth(
    times: &[i64],
    histograms: &[Arc<Histogram>],
    start: i64,
    end: i64,
    smooth: bool,
    context: &mut Context,
) -> Option<Histogram> {
    let counter = context.call.function != Function::Delta;
    let most = times.len().checked_sub(1)?;
    let first = times[..most].partition_point(|t| *t <= start).saturating_sub(1);
    let last = if smooth { times[..most].partition_point(|t| *t < end) } else { most };
    if times[last] <= start || smooth && times[first] > end {
        return None;
    }
    let custom = histograms[first].is_custom();
    for histogram in &histograms[first..=last] {
        if histogram.is_custom() != custom {
            context.note(Note::MixedBuckets);
            return None;
        }
        if counter && histogram.hint == crate::histogram::ResetHint::Gauge {
            context.note(Note::NotCounter);
        }
    }
    let place = (context.call.arg_span, context.name);
    let at = |i: usize| (times[i], &*histograms[i]);
    let left = if smooth && times[first] < start {
        between(at(first), at(first + 1), start, counter, context.notes, place)?
    } else {
        (*histograms[first]).clone()
    };
    let right = if smooth && last > 0 && times[last] > end {
        between(at(last - 1), at(last), end, counter, context.notes, place)?
    } else {
        (*histograms[last]).clone()
    };
    let gauge = crate::histogram::ResetHint::Gauge;
    if !counter && (left.hint != gauge || right.hint != gauge) {
        context.note(Note::NotGauge);
    }
    let mut result = right.clone();
    super::range_histogram::join(&mut result, &left, false, context)?;
    if counter {
        let mut from = first + 1;
        let mut before = &left;
        if smooth && times[first] < start && histograms[first + 1].is_reset_after(&histograms[first]) {
            before = &histograms[first + 1];
            from += 1;
        }
        if from <= last {
            for histogram in histograms[from..last].iter().map(|h| &**h).chain([&right]) {
                if histogram.is_reset_after(before) {
                    super::range_histogram::join(&mut result, before, true, context)?;
                }
                before = histogram;
            }
        }
    }
    if context.call.function == Function::Rate {
        result.divide(context.call.range_ms as f64 / 1000.0);
    }
    result.hint = gauge;
    result.compact();
    Some(result)
}
