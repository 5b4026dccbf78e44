//! Changes to the values of one series: functions of single values, operators with a scalar.

use super::annotations::Notes;
use super::dates;
use super::ops::{Outcome, compare, float_op, point_op};
use super::rows::{ABSENT, Grid, Point, Row, Steps, is_absent};
use crate::syntax::{BinaryOp, Function, Span};

/// What is done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MapKind {
    /// A function of values.
    Function(Function),
    /// A minus before it.
    Negate,
    /// An operator with the scalar at its right, or at its left.
    Operator { op: BinaryOp, scalar_left: bool, return_bool: bool },
}

/// A change with the scalars it takes.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub kind: MapKind,
    pub params: Vec<Steps>,
    pub keep_name: bool,
    pub span: Span,
}

/// Whether a function works on one value of one series at a time.
pub(crate) fn is_map(function: Function) -> bool {
    use Function::*;
    matches!(
        function,
        Abs | Acos
            | Acosh
            | Asin
            | Asinh
            | Atan
            | Atanh
            | Ceil
            | Clamp
            | ClampMax
            | ClampMin
            | Cos
            | Cosh
            | DayOfMonth
            | DayOfWeek
            | DayOfYear
            | DaysInMonth
            | Deg
            | Exp
            | Floor
            | HistogramAvg
            | HistogramCount
            | HistogramStddev
            | HistogramStdvar
            | HistogramSum
            | Hour
            | Ln
            | Log10
            | Log2
            | Minute
            | Month
            | Rad
            | Round
            | Sgn
            | Sin
            | Sinh
            | Sqrt
            | Tan
            | Tanh
            | Timestamp
            | Year
    )
}

/// A function of a number that takes nothing else.
fn unary(function: Function) -> Option<fn(f64) -> f64> {
    Some(match function {
        Function::Abs => f64::abs,
        Function::Acos => f64::acos,
        Function::Acosh => f64::acosh,
        Function::Asin => f64::asin,
        Function::Asinh => f64::asinh,
        Function::Atan => f64::atan,
        Function::Atanh => f64::atanh,
        Function::Ceil => f64::ceil,
        Function::Cos => f64::cos,
        Function::Cosh => f64::cosh,
        Function::Deg => |v| v * (180.0 / std::f64::consts::PI),
        Function::Exp => f64::exp,
        Function::Floor => f64::floor,
        Function::Ln => f64::ln,
        Function::Log10 => f64::log10,
        Function::Log2 => f64::log2,
        Function::Rad => |v| v * (std::f64::consts::PI / 180.0),
        Function::Sgn => |v| {
            if v > 0.0 {
                1.0
            } else if v < 0.0 {
                -1.0
            } else {
                v
            }
        },
        Function::Sin => f64::sin,
        Function::Sinh => f64::sinh,
        Function::Sqrt => f64::sqrt,
        Function::Tan => f64::tan,
        Function::Tanh => f64::tanh,
        _ => return None,
    })
}

impl Map {
    /// Changes a series.
    pub(crate) fn apply(&self, row: &mut Row, grid: &Grid, notes: &mut Notes) {
        let changes_name = match self.kind {
            MapKind::Function(function) => {
                self.function(function, row, grid);
                true
            }
            MapKind::Negate => {
                row.map_floats(|v| -v);
                if let Some(histograms) = &mut row.histograms {
                    for histogram in histograms.iter_mut().flatten() {
                        std::sync::Arc::make_mut(histogram).scale(-1.0);
                    }
                }
                true
            }
            MapKind::Operator { op, scalar_left, return_bool } => {
                self.operator(op, scalar_left, return_bool, row, notes);
                op.changes_metric() || return_bool
            }
        };
        row.drop_name |= changes_name && !self.keep_name;
    }

    fn function(&self, function: Function, row: &mut Row, grid: &Grid) {
        if function == Function::Timestamp {
            for step in 0..row.floats.len() {
                if row.is_present(step) {
                    row.set(step, Some(Point::Float(grid.time(step) as f64 / 1000.0)));
                }
            }
            return;
        }
        use Function::{HistogramAvg, HistogramCount, HistogramStddev, HistogramStdvar, HistogramSum};
        if matches!(function, HistogramAvg | HistogramCount | HistogramStddev | HistogramStdvar | HistogramSum) {
            row.floats.fill(ABSENT);
            for (step, histogram) in row.histograms.take().into_iter().flat_map(|h| h.into_iter()).enumerate() {
                let Some(h) = histogram else { continue };
                row.floats[step] = match function {
                    HistogramAvg => h.sum / h.count,
                    HistogramCount => h.count,
                    HistogramSum => h.sum,
                    HistogramStdvar => h.variance(),
                    _ => h.variance().sqrt(),
                };
            }
            return;
        }
        row.histograms = None;
        let params = &self.params;
        if let Some(change) = unary(function) {
            row.map_floats(change);
            return;
        }
        for (step, value) in row.floats.iter_mut().enumerate().filter(|(_, value)| !is_absent(**value)) {
            *value = match function {
                Function::Clamp => clamp(*value, params[0].at(step), params[1].at(step)),
                Function::ClampMin => clamp(*value, params[0].at(step), f64::INFINITY),
                Function::ClampMax => clamp(*value, f64::NEG_INFINITY, params[0].at(step)),
                Function::Round => {
                    let inverse = 1.0 / params.first().map_or(1.0, |to| to.at(step));
                    (*value * inverse + 0.5).floor() / inverse
                }
                other => dates::part(other, *value),
            };
        }
    }

    fn operator(&self, op: BinaryOp, scalar_left: bool, return_bool: bool, row: &mut Row, notes: &mut Notes) {
        let scalar = &self.params[0];
        let trims = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        if op == BinaryOp::Default {
            self.default(scalar_left, row);
            return;
        }
        for (step, value) in row.floats.iter_mut().enumerate() {
            if is_absent(*value) {
                continue;
            }
            let (a, b) = if scalar_left { (scalar.at(step), *value) } else { (*value, scalar.at(step)) };
            if trims {
                let _nothing = point_op(op, &Point::Float(a), &Point::Float(b), self.span, notes);
                *value = ABSENT;
            } else if !op.is_comparison() || return_bool {
                *value = float_op(op, a, b);
            } else if !compare(op, a, b) {
                *value = ABSENT;
            }
        }
        if row.histograms.is_none() {
            return;
        }
        for step in 0..row.floats.len() {
            let Some(histogram) = row.histogram(step).cloned() else { continue };
            let (vector, scalar) = (Point::Histogram(histogram), Point::Float(scalar.at(step)));
            let (a, b) = if scalar_left { (&scalar, &vector) } else { (&vector, &scalar) };
            let point = match point_op(op, a, b, self.span, notes) {
                Outcome::Value(_, holds) if return_bool => Some(Point::Float(f64::from(u8::from(holds)))),
                Outcome::Value(point, true) => Some(point),
                Outcome::Value(_, false) | Outcome::Nothing => None,
            };
            row.set(step, point);
        }
    }

    /// MetricsQL: gaps are filled with the scalar.
    fn default(&self, scalar_left: bool, row: &mut Row) {
        for step in 0..row.floats.len() {
            let scalar = self.params[0].at(step);
            if scalar_left && !scalar.is_nan() || !row.is_present(step) {
                row.set(step, Some(Point::Float(scalar)));
            }
        }
    }
}

fn clamp(value: f64, least: f64, most: f64) -> f64 {
    if most < least {
        return ABSENT;
    }
    greater(least, lesser(most, value))
}

/// Infinity wins over NaN, as in Go.
pub(crate) fn greater(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// Infinity wins over NaN, as in Go.
pub(crate) fn lesser(a: f64, b: f64) -> f64 {
    if a == f64::NEG_INFINITY || b == f64::NEG_INFINITY {
        f64::NEG_INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.min(b)
    }
}
