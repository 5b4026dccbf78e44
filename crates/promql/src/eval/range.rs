//! Functions over ranges: which code runs for which, and those that see floats only.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::annotations::{Note, Notes};
use super::rows::{Row, Steps};
use super::sums::{mean, nan_first, quantile, regression, sum, variance};
use super::window::{Samples, Window};
use super::{range_histogram, rate, widened};
use crate::error::Error;
use crate::syntax::{Function, Span, Widening};

/// A function over a range, with what it takes beside the samples.
#[derive(Clone, Debug)]
pub(crate) struct RangeCall {
    pub function: Function,
    /// Scalar arguments in their order.
    pub params: Vec<Steps>,
    pub range_ms: i64,
    pub widening: Option<Widening>,
    /// The range selector or subquery.
    pub arg_span: Span,
    /// The scalar argument, where there is one.
    pub param_span: Span,
}

/// Buffers that are used again for each series.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub resets: Vec<u32>,
    pub values: Vec<f64>,
}

/// What a call works with.
pub(crate) struct Context<'a> {
    pub call: &'a RangeCall,
    pub window: &'a Window,
    /// The metric's name.
    pub name: &'a str,
    pub notes: &'a mut Notes,
    pub scratch: &'a mut Scratch,
    /// Raised when nobody waits any more: windows may be long.
    pub cancel: Option<&'a AtomicBool>,
}

impl Context<'_> {
    /// Says something about the range.
    pub(crate) fn note(&mut self, note: Note) {
        self.notes.add(note, self.call.arg_span, self.name);
    }
}

impl RangeCall {
    /// Whether the result is the metric itself, so that its name stays.
    pub(crate) fn keeps_name(&self) -> bool {
        matches!(self.function, Function::LastOverTime | Function::FirstOverTime)
    }

    /// Puts the function's values at each step into `row`.
    pub(crate) fn apply(&self, samples: &Samples, row: &mut Row, mut context: Context) -> Result<(), Error> {
        if samples.times.is_empty() && samples.histogram_times.is_empty() {
            return Ok(());
        }
        self.check(samples, &context)?;
        if self.widening.is_some() {
            widened::apply(samples, row, &mut context);
        } else if samples.histogram_times.is_empty() {
            floats(samples, row, &mut context);
        } else {
            range_histogram::apply(samples, row, &mut context);
        }
        let counter = matches!(self.function, Function::Rate | Function::Increase);
        if counter && !context.name.is_empty() {
            let known = ["_total", "_sum", "_count", "_bucket"].iter().any(|end| context.name.ends_with(end));
            if !known && row.floats.iter().any(|v| !super::rows::is_absent(*v)) {
                context.note(Note::NonCounter);
            }
        }
        Ok(())
    }

    /// Parameters that make no sense end the query.
    fn check(&self, samples: &Samples, context: &Context) -> Result<(), Error> {
        if self.function != Function::DoubleExponentialSmoothing {
            return Ok(());
        }
        let mut wrong = None;
        context.window.slide(samples.times, |step, _, _, _| {
            for (i, name) in
                ["smoothing factor. Expected: 0 < sf < 1", "trend factor. Expected: 0 < tf < 1"].iter().enumerate()
            {
                let value = self.params[i].at(step);
                if !(value > 0.0 && value < 1.0) {
                    wrong.get_or_insert_with(|| format!("invalid {name}, got: {value:.6}"));
                }
            }
        });
        wrong.map_or(Ok(()), |message| Err(Error::Execution(message)))
    }
}

/// Series of floats alone.
fn floats(samples: &Samples, row: &mut Row, context: &mut Context) {
    let (times, values, window) = (samples.times, samples.values, context.window);
    let out = &mut row.floats;
    let params = &context.call.params;
    let cancel = context.cancel;
    let wanted = || cancel.is_none_or(|flag| !flag.load(Relaxed));
    macro_rules! each {
        (|$step:ident, $low:ident, $high:ident| $value:expr) => {
            window.slide(times, |$step, _, $low, $high| {
                if wanted() {
                    out[$step] = $value;
                }
            })
        };
    }
    /// Of at least two samples.
    macro_rules! of_two {
        (|$step:ident, $low:ident, $high:ident| $value:expr) => {
            window.slide(times, |$step, _, $low, $high| {
                if $high - $low >= 2 && wanted() {
                    out[$step] = $value;
                }
            })
        };
    }
    match context.call.function {
        Function::Rate | Function::Increase | Function::Delta => rate::extrapolated(samples, out, context),
        Function::Irate | Function::Idelta => {
            let rate = context.call.function == Function::Irate;
            of_two!(|step, _low, high| rate::last_two(times, values, high, rate));
        }
        Function::SumOverTime => each!(|step, low, high| sum(&values[low..high])),
        Function::AvgOverTime => each!(|step, low, high| mean(&values[low..high])),
        Function::MinOverTime => each!(|step, low, high| extreme(&values[low..high], |a, b| a < b)),
        Function::MaxOverTime => each!(|step, low, high| extreme(&values[low..high], |a, b| a > b)),
        Function::CountOverTime => each!(|step, low, high| (high - low) as f64),
        Function::PresentOverTime | Function::AbsentOverTime => each!(|step, _low, _high| 1.0),
        Function::FirstOverTime => each!(|step, low, _high| values[low]),
        Function::LastOverTime => each!(|step, _low, high| values[high - 1]),
        Function::StddevOverTime => each!(|step, low, high| variance(&values[low..high]).sqrt()),
        Function::StdvarOverTime => each!(|step, low, high| variance(&values[low..high])),
        Function::Changes => each!(|step, low, high| changes(&values[low..high])),
        Function::Resets => each!(|step, low, high| resets(&values[low..high])),
        Function::Deriv => {
            of_two!(|step, low, high| regression(&times[low..high], &values[low..high], times[low]).0)
        }
        Function::PredictLinear => of_two!(|step, low, high| {
            let (slope, at) = regression(&times[low..high], &values[low..high], window.grid.time(step));
            slope * params[0].at(step) + at
        }),
        Function::DoubleExponentialSmoothing => {
            of_two!(|step, low, high| smoothed(&values[low..high], params[0].at(step), params[1].at(step)))
        }
        Function::TsOfFirstOverTime => each!(|step, low, _high| times[low] as f64 / 1000.0),
        Function::TsOfLastOverTime => each!(|step, _low, high| times[high - 1] as f64 / 1000.0),
        Function::TsOfMinOverTime => {
            each!(|step, low, high| time_of(&times[low..high], &values[low..high], |a, b| a <= b));
        }
        Function::TsOfMaxOverTime => {
            each!(|step, low, high| time_of(&times[low..high], &values[low..high], |a, b| a >= b));
        }
        Function::QuantileOverTime => {
            let (notes, buffer, span) = (&mut *context.notes, &mut context.scratch.values, context.call.param_span);
            each!(|step, low, high| {
                let q = params[0].at(step);
                if !(0.0..=1.0).contains(&q) {
                    notes.add_number(Note::InvalidQuantile, span, q);
                }
                buffer.clear();
                buffer.extend_from_slice(&values[low..high]);
                quantile(q, buffer)
            });
        }
        Function::MadOverTime => {
            let buffer = &mut context.scratch.values;
            each!(|step, low, high| deviation(&values[low..high], buffer));
        }
        Function::Integral => {
            let (notes, span) = (&mut *context.notes, context.call.param_span);
            each!(|step, low, high| {
                let strategy = params.first().map_or(2.0, |p| p.at(step));
                if ![0.0, 1.0, 2.0].contains(&strategy) {
                    notes.add_number(Note::InvalidStrategy, span, strategy);
                }
                integral(&times[low..high], &values[low..high], strategy)
            });
        }
        _ => {}
    }
}

/// The value of a function that sees floats only, of one window that is not empty; histograms beside them were
/// noted by the caller.
pub(super) fn of_floats(samples: &Samples, row: &mut Row, context: &mut Context) {
    floats(&Samples { histogram_times: &[], histograms: &[], ..*samples }, row, context);
}

fn extreme(values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = values[0];
    for value in values {
        if better(*value, best) || best.is_nan() {
            best = *value;
        }
    }
    best
}

fn time_of(times: &[i64], values: &[f64], better: impl Fn(f64, f64) -> bool) -> f64 {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if better(*value, values[best]) || values[best].is_nan() {
            best = i;
        }
    }
    times[best] as f64 / 1000.0
}

fn changes(values: &[f64]) -> f64 {
    let changed = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    values.windows(2).filter(changed).count() as f64
}

fn resets(values: &[f64]) -> f64 {
    values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64
}

fn smoothed(values: &[f64], smoothing: f64, trend: f64) -> f64 {
    let (mut before, mut level, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (i, value) in values.iter().enumerate().skip(1) {
        if i > 1 {
            slope = trend * (level - before) + (1.0 - trend) * slope;
        }
        (before, level) = (level, smoothing * value + (1.0 - smoothing) * (level + slope));
    }
    level
}

/// The median of distances from the median.
fn deviation(values: &[f64], buffer: &mut Vec<f64>) -> f64 {
    if values.iter().any(|v| v.is_nan()) {
        return f64::NAN;
    }
    buffer.clear();
    buffer.extend_from_slice(values);
    buffer.sort_unstable_by(nan_first);
    let median = quantile(0.5, buffer);
    buffer.iter_mut().for_each(|v| *v = (*v - median).abs());
    quantile(0.5, buffer)
}

/// The area under the samples: of the left values (0), the right ones (1), or trapezoids (2).
fn integral(times: &[i64], values: &[f64], strategy: f64) -> f64 {
    let number = |v: f64| if v.is_nan() { 0.0 } else { v };
    let mut area = super::sums::Sum::default();
    for (pair, at) in values.windows(2).zip(times.windows(2)) {
        let (left, right) = (number(pair[0]), number(pair[1]));
        let mut height = super::sums::Sum::default();
        if strategy == 0.0 {
            height.sum = left;
        } else if strategy == 1.0 {
            height.sum = right;
        } else {
            height = super::sums::Sum { sum: left, lost: 0.0 };
            height.add(right);
            if height.sum.is_infinite() && left.is_finite() && right.is_finite() {
                height = super::sums::Sum { sum: left / 2.0, lost: 0.0 };
                height.add(right / 2.0);
            } else {
                height = super::sums::Sum { sum: height.sum / 2.0, lost: height.lost / 2.0 };
            }
        }
        if height.sum != 0.0 || height.lost != 0.0 {
            let seconds = (at[1] - at[0]) as f64 / 1000.0;
            area.lost += height.lost * seconds;
            area.add(height.sum * seconds);
        }
    }
    area.total()
}
