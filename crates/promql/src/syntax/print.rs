//! A tree back to text on one line.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

use super::ast::{AggregateOp, At, BinaryOp, Card, Duration, Expr, Grouping, Kind, Matching, Modifiers, Selector};
use super::literal::format_duration;
use crate::labels::METRIC_NAME;
use crate::matcher::MatchOp;

/// A text in double quotes, as Go's `%q` writes it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{b}' => quoted.push_str("\\v"),
            '\u{c}' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A label's name, quoted where it needs to be.
pub fn quoted_label(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let legal = !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit());
    if legal { name.into() } else { quote(name).into() }
}

/// Whether a name may stand before the braces.
fn is_plain_metric(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !name.is_empty() && name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

pub(super) fn label_list(labels: &[String]) -> String {
    labels.iter().map(|l| quoted_label(l)).collect::<Vec<_>>().join(", ")
}

/// Milliseconds of a duration's seconds.
pub(super) fn literal_ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

impl Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Literal(seconds) => f.write_str(&format_duration(literal_ms(*seconds))),
            Self::Step => f.write_str("step()"),
            Self::Range => f.write_str("range()"),
            Self::Negate(inner) => write!(f, "-{inner}"),
            Self::Plus(inner) => write!(f, "+{inner}"),
            Self::Paren(inner) => write!(f, "({inner})"),
            Self::Arithmetic(op, a, b) => match &**b {
                // What multiplies is a number and no duration.
                Self::Literal(factor) if !matches!(op, BinaryOp::Add | BinaryOp::Sub) => {
                    write!(f, "{a} {} {}", op.as_str(), crate::number::format(*factor))
                }
                b => write!(f, "{a} {} {b}", op.as_str()),
            },
            Self::MinOf(a, b) => write!(f, "min_of({a}, {b})"),
            Self::MaxOf(a, b) => write!(f, "max_of({a}, {b})"),
        }
    }
}

impl Modifiers {
    fn write_widening(&self, f: &mut impl Write) -> fmt::Result {
        self.widening.map_or(Ok(()), |widening| write!(f, " {}", widening.as_str()))
    }
}

/// `@` and `offset`, with a blank before each.
impl Display for Modifiers {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.at {
            Some(At::Time(ms)) => write!(f, " @ {}.{:03}", Sign(ms), ms.unsigned_abs() % 1000)?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match &self.offset {
            // Arithmetic needs parentheses here.
            Some(offset @ Duration::Arithmetic(..)) => write!(f, " offset ({offset})"),
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}

/// Whole seconds of milliseconds, with the sign of -0.5 kept.
struct Sign(i64);

impl Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{}", if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs() / 1000)
    }
}

impl Selector {
    /// Name and conditions, without what follows.
    fn write_series(&self, f: &mut impl Write) -> fmt::Result {
        let plain = self.name.as_deref().is_some_and(is_plain_metric);
        let mut parts = vec![];
        for (i, matcher) in self.matchers.iter().enumerate() {
            let named = self.name.is_some() && i + 1 == self.matchers.len();
            if named && plain {
                continue;
            }
            // A name that cannot stand before the braces stands in them, alone.
            if matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal && !matcher.value.is_empty() {
                parts.insert(0, quote(&matcher.value));
            } else {
                parts.push(matcher.to_string());
            }
        }
        if let Some(name) = self.name.as_deref().filter(|_| plain) {
            f.write_str(name)?;
            if parts.is_empty() {
                return Ok(());
            }
        }
        write!(f, "{{{}}}", parts.join(","))
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.write_series(f)?;
        self.modifiers.write_widening(f)?;
        write!(f, "{}", self.modifiers)
    }
}

impl Matching {
    /// `bool` is the operation's; this is all that follows it, with a blank before each part.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        let grouped = matches!(self.card, Card::ManyToOne | Card::OneToMany);
        if self.on || !self.labels.is_empty() || grouped {
            let word = if self.on { "on" } else { "ignoring" };
            text.push_str(&format!(" {word} ({})", label_list(&self.labels)));
        }
        if grouped {
            let side = if self.card == Card::ManyToOne { "left" } else { "right" };
            text.push_str(&format!(" group_{side} ({})", label_list(&self.include)));
        }
        let number = crate::number::format;
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
                text.push_str(&format!(" fill ({})", number(left)));
            }
            (left, right) => {
                if let Some(left) = left {
                    text.push_str(&format!(" fill_left ({})", number(left)));
                }
                if let Some(right) = right {
                    text.push_str(&format!(" fill_right ({})", number(right)));
                }
            }
        }
        text
    }
}

/// `sum by (job) `: an aggregation up to its parenthesis.
pub(super) fn aggregate_head(op: AggregateOp, grouping: &Grouping) -> String {
    let labels = label_list(&grouping.labels);
    match (grouping.without, grouping.labels.is_empty()) {
        (true, _) => format!("{} without ({labels}) ", op.as_str()),
        (false, false) => format!("{} by ({labels}) ", op.as_str()),
        (false, true) => op.as_str().to_owned(),
    }
}

/// A number, or a duration where it was written as one. Infinity has no sign: `+Inf ^ 2` is a sign before a power.
pub(super) fn number(value: f64, duration: bool) -> String {
    if value == f64::INFINITY {
        "Inf".into()
    } else if duration {
        format_duration(literal_ms(value))
    } else {
        crate::number::format(value)
    }
}

/// The range and step of a subquery: `[1h:5m]`.
pub(super) fn subquery_range(range: &Duration, step: Option<&Duration>) -> String {
    step.map_or_else(|| format!("[{range}:]"), |step| format!("[{range}:{step}]"))
}

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kept = |keep: bool| if keep { " keep_metric_names" } else { "" };
        match &self.kind {
            Kind::Number { value, duration } => f.write_str(&number(*value, *duration)),
            Kind::String(text) => f.write_str(&quote(text)),
            Kind::Selector(selector) => write!(f, "{selector}"),
            Kind::Range { selector, range } => {
                selector.write_series(f)?;
                write!(f, "[{range}]")?;
                selector.modifiers.write_widening(f)?;
                write!(f, "{}", selector.modifiers)
            }
            Kind::Subquery { expr, range, step, modifiers } => {
                write!(f, "{expr}{}{modifiers}", subquery_range(range, step.as_ref()))
            }
            Kind::Call { function, args, keep_names } => {
                let args: Vec<String> = args.iter().map(ToString::to_string).collect();
                write!(f, "{}({}){}", function.name(), args.join(", "), kept(*keep_names))
            }
            Kind::Aggregate { op, param, expr, grouping } => {
                f.write_str(&aggregate_head(*op, grouping))?;
                match param {
                    Some(param) => write!(f, "({param}, {expr})"),
                    None => write!(f, "({expr})"),
                }
            }
            Kind::Binary { op, left, right, return_bool, matching, .. } => {
                let return_bool = if *return_bool { " bool" } else { "" };
                write!(f, "{left} {}{return_bool}{} {right}", op.as_str(), matching.describe())
            }
            Kind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { "-" } else { "+" }),
            Kind::Paren(inner) => write!(f, "({inner}){}", kept(inner.keeps_names())),
        }
    }
}

impl Expr {
    /// Whether it is an operation with `keep_metric_names`, which is written after its parentheses.
    pub(super) fn keeps_names(&self) -> bool {
        matches!(self.kind, Kind::Binary { keep_names: true, .. })
    }
}
