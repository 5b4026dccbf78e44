//! Binary operators between two values.

use std::sync::Arc;

use super::annotations::{Note, Notes};
use super::rows::Point;
use crate::syntax::{BinaryOp, Span};

/// An operator between numbers; a comparison gives 0 or 1.
#[inline]
pub(crate) fn float_op(op: BinaryOp, a: f64, b: f64) -> f64 {
    let truth = |value: bool| if value { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => power(a, b),
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::Default => {
            if a.is_nan() {
                b
            } else {
                a
            }
        }
        other => truth(compare(other, a, b)),
    }
}

fn power(a: f64, b: f64) -> f64 {
    // Squares are common, and exact this way.
    if b == 2.0 { a * a } else { a.powf(b) }
}

/// A comparison of numbers.
#[inline]
pub(crate) fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Equal => a == b,
        BinaryOp::NotEqual => a != b,
        BinaryOp::Greater => a > b,
        BinaryOp::Less => a < b,
        BinaryOp::GreaterEqual => a >= b,
        BinaryOp::LessEqual => a <= b,
        _ => false,
    }
}

/// What an operator makes of two values.
pub(crate) enum Outcome {
    /// A value; of a comparison the left one, and whether it holds.
    Value(Point, bool),
    /// Nothing, and this was said.
    Nothing,
}

/// An operator between values that may be histograms.
pub(crate) fn point_op(op: BinaryOp, a: &Point, b: &Point, span: Span, notes: &mut Notes) -> Outcome {
    use BinaryOp::{Add, Div, Equal, Mul, NotEqual, Sub, TrimLower, TrimUpper};
    let histogram = |h| Outcome::Value(Point::Histogram(Arc::new(h)), true);
    match (a, b, op) {
        (Point::Float(a), Point::Float(b), op) if !matches!(op, TrimLower | TrimUpper) => {
            if op.is_comparison() {
                Outcome::Value(Point::Float(*a), compare(op, *a, *b))
            } else {
                Outcome::Value(Point::Float(float_op(op, *a, *b)), true)
            }
        }
        (Point::Float(factor), Point::Histogram(h), Mul) | (Point::Histogram(h), Point::Float(factor), Mul) => {
            let mut h = (**h).clone();
            h.scale(*factor);
            h.compact();
            histogram(h)
        }
        (Point::Histogram(h), Point::Float(divisor), Div) => {
            let mut h = (**h).clone();
            h.divide(*divisor);
            h.compact();
            histogram(h)
        }
        (Point::Histogram(h), Point::Float(at), TrimLower | TrimUpper) => {
            let mut h = (**h).clone();
            h.trim(*at, op == TrimUpper);
            histogram(h)
        }
        (Point::Histogram(a), Point::Histogram(b), Add | Sub) => {
            let mut h = (**a).clone();
            let (joined, what) = if op == Add { (h.add(b), "addition") } else { (h.subtract(b), "subtraction") };
            let Ok(joined) = joined else {
                notes.add(Note::IncompatibleBuckets, span, op.as_str());
                return Outcome::Nothing;
            };
            if op == Sub {
                h.hint = crate::histogram::ResetHint::Gauge;
            }
            if joined.collision {
                notes.add(Note::ResetCollision, span, what);
            }
            if joined.reconciled {
                notes.add(Note::BucketsReconciled, span, what);
            }
            h.compact();
            histogram(h)
        }
        (Point::Histogram(a), Point::Histogram(b), Equal | NotEqual) => {
            Outcome::Value(Point::Histogram(a.clone()), a.same(b) == (op == Equal))
        }
        _ => {
            let kind = |point: &Point| if matches!(point, Point::Float(_)) { "float" } else { "histogram" };
            let name = op.as_str();
            let detail = format!("{}: {} {name} {}", crate::syntax::quote(name), kind(a), kind(b));
            notes.add(Note::IncompatibleTypes, span, &detail);
            Outcome::Nothing
        }
    }
}
