//! Durations in modifiers, with their arithmetic.

use super::Span;
use super::ast::{BinaryOp, Duration};
use super::lexer::TokenKind;
use super::literal::{parse_duration, parse_number};
use super::parser::Parser;
use crate::error::ParseError;

/// The most seconds a duration may have: what fits into nanoseconds.
const MAX_SECONDS: f64 = 9_223_372_036.0;

impl Parser<'_> {
    /// A duration inside of brackets, where any arithmetic may stand.
    pub(super) fn duration(&mut self, context: &str, expected: &str) -> Result<Duration, ParseError> {
        self.duration_sum(0, context, expected)
    }

    /// The duration of an `offset`: arithmetic needs parentheses, so that `foo offset 5m ^ 2` is a power of foo.
    pub(super) fn offset_duration(&mut self) -> Result<Duration, ParseError> {
        self.duration_operand(true, "offset", "number, duration, step(), or range()")
    }

    /// A duration that must be more than 0.
    pub(super) fn positive(&mut self, context: &str, expected: &str) -> Result<Duration, ParseError> {
        let start = self.peek().span;
        let duration = self.duration(context, expected)?;
        match duration {
            Duration::Literal(seconds) if seconds <= 0.0 => {
                Err(self.error(start.to(self.last_span()), "duration must be greater than 0"))
            }
            other => Ok(other),
        }
    }

    fn duration_sum(&mut self, least: u8, context: &str, expected: &str) -> Result<Duration, ParseError> {
        self.enter()?;
        let mut left = self.duration_operand(false, context, expected)?;
        // As in `expr`: each link of a chain makes the tree a level deeper.
        let mut links = 0;
        loop {
            let token = self.peek();
            let op = if token.kind == TokenKind::Symbol { BinaryOp::find(token.text) } else { None };
            let Some(op) = op.filter(|op| op.changes_metric() && op.precedence() > least) else { break };
            self.take();
            links += 1;
            self.enter()?;
            // A power binds to the right.
            let binding = if op == BinaryOp::Pow { op.precedence() - 1 } else { op.precedence() };
            let right = self.duration_sum(binding, context, expected)?;
            if right == Duration::Literal(0.0) && matches!(op, BinaryOp::Div | BinaryOp::Mod) {
                let what = if op == BinaryOp::Div { "division by zero" } else { "modulo by zero" };
                return Err(self.error(token.span, what));
            }
            left = Duration::Arithmetic(op, Box::new(left), Box::new(right));
        }
        (0..=links).for_each(|_| self.leave());
        Ok(left)
    }

    fn duration_operand(&mut self, offset: bool, context: &str, expected: &str) -> Result<Duration, ParseError> {
        let token = self.peek();
        match (token.kind, token.text) {
            (TokenKind::Number | TokenKind::Duration, _) => {
                let seconds = self.seconds()?;
                self.in_range(seconds, token.span)
            }
            (TokenKind::Symbol, "+" | "-") => {
                self.take();
                let negative = token.text == "-";
                self.enter()?;
                let inner = if offset {
                    self.duration_operand(true, context, expected)?
                } else {
                    // The sign binds as a multiplication does.
                    self.duration_sum(BinaryOp::Mul.precedence(), context, expected)?
                };
                self.leave();
                match inner {
                    Duration::Literal(seconds) => self.in_range(if negative { -seconds } else { seconds }, token.span),
                    other if negative => Ok(Duration::Negate(Box::new(other))),
                    other => Ok(Duration::Plus(Box::new(other))),
                }
            }
            (TokenKind::Symbol, "(") => {
                self.take();
                let inner = self.duration(context, expected)?;
                self.expect(")", context)?;
                Ok(Duration::Paren(Box::new(inner)))
            }
            (TokenKind::Word, word) => self.duration_word(&word.to_ascii_lowercase(), context, expected),
            _ => Err(self.unexpected(context, expected)),
        }
    }

    fn duration_word(&mut self, word: &str, context: &str, expected: &str) -> Result<Duration, ParseError> {
        if !matches!(word, "step" | "range" | "min_of" | "max_of") {
            return Err(self.unexpected(context, expected));
        }
        self.take();
        self.expect("(", context)?;
        let duration = match word {
            "step" => Duration::Step,
            "range" => Duration::Range,
            _ => {
                let left = Box::new(self.duration(context, expected)?);
                self.expect(",", context)?;
                let right = Box::new(self.duration(context, expected)?);
                if word == "min_of" { Duration::MinOf(left, right) } else { Duration::MaxOf(left, right) }
            }
        };
        self.expect(")", context)?;
        Ok(duration)
    }

    fn in_range(&self, seconds: f64, span: Span) -> Result<Duration, ParseError> {
        if seconds.is_nan() || seconds.abs() > MAX_SECONDS {
            return Err(self.error(span, "duration out of range"));
        }
        Ok(Duration::Literal(seconds))
    }

    /// The number or duration that comes next, in seconds.
    pub(super) fn seconds(&mut self) -> Result<f64, ParseError> {
        let token = self.take();
        if token.kind == TokenKind::Duration {
            return match parse_duration(token.text) {
                Ok(ms) => Ok(ms as f64 / 1000.0),
                Err(message) => Err(self.error(token.span, message)),
            };
        }
        parse_number(token.text).ok_or_else(|| self.error(token.span, format!("error parsing number: {}", token.text)))
    }
}

impl Duration {
    /// Milliseconds, once the step and range of the query are known.
    pub(crate) fn to_ms(&self, step_ms: i64, range_ms: i64, may_be_negative: bool) -> Result<i64, String> {
        let seconds = self.evaluate(step_ms as f64 / 1000.0, range_ms as f64 / 1000.0)?;
        if !seconds.is_finite() {
            return Err("duration is NaN or infinite".into());
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err("duration must be greater than 0".into());
        }
        if seconds.abs() > MAX_SECONDS {
            return Err("duration is out of range".into());
        }
        // Literals are whole milliseconds up to float error; results of arithmetic are cut off, as Prometheus does.
        let ms = seconds * 1000.0;
        Ok(if matches!(self, Self::Literal(_)) { ms.round() } else { ms.trunc() } as i64)
    }

    fn evaluate(&self, step: f64, range: f64) -> Result<f64, String> {
        let value = |d: &Self| d.evaluate(step, range);
        Ok(match self {
            Self::Literal(seconds) => *seconds,
            Self::Step => step,
            Self::Range => range,
            Self::Negate(inner) => -value(inner)?,
            Self::Plus(inner) | Self::Paren(inner) => value(inner)?,
            Self::MinOf(a, b) => value(a)?.min(value(b)?),
            Self::MaxOf(a, b) => value(a)?.max(value(b)?),
            Self::Arithmetic(op, a, b) => {
                let (a, b) = (value(a)?, value(b)?);
                match op {
                    BinaryOp::Div if b == 0.0 => return Err("division by zero".into()),
                    BinaryOp::Mod if b == 0.0 => return Err("modulo by zero".into()),
                    op => crate::eval::float_op(*op, a, b),
                }
            }
        })
    }
}
