//! The tree of a query.

use super::Span;
use super::functions::Function;
use crate::matcher::Matcher;

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A number per step.
    Scalar,
    /// A text.
    String,
    /// A value per series and step: an instant vector.
    Vector,
    /// Samples over a range per series: a range vector.
    Matrix,
}

impl Type {
    /// As error messages name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::String => "string",
            Self::Vector => "instant vector",
            Self::Matrix => "range vector",
        }
    }

    /// As JSON answers name it.
    pub fn json_name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Matrix => "matrix",
            other => other.name(),
        }
    }
}

/// An expression and where it stands.
#[derive(Clone, Debug)]
pub struct Expr {
    /// What it is.
    pub kind: Kind,
    /// Its bytes in the query.
    pub span: Span,
}

/// The forms of expressions.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `5`, `0x1f`, `1h`
    Number {
        /// Its value; a duration's is in seconds.
        value: f64,
        /// Whether it was written as a duration.
        duration: bool,
    },
    /// `"text"`
    String(String),
    /// `metric{label="value"} offset 5m @ 10`
    Selector(Selector),
    /// `selector[5m]`
    Range {
        /// The series.
        selector: Selector,
        /// How far back.
        range: Duration,
    },
    /// `expr[1h:5m]`
    Subquery {
        /// What is evaluated at each step of the range.
        expr: Box<Expr>,
        /// How far back.
        range: Duration,
        /// The step; without one, the caller's default.
        step: Option<Duration>,
        /// `offset` and `@`.
        modifiers: Modifiers,
    },
    /// `rate(x[5m])`
    Call {
        /// The function.
        function: Function,
        /// Its arguments.
        args: Vec<Expr>,
        /// `keep_metric_names` of MetricsQL: the result keeps its name.
        keep_names: bool,
    },
    /// `sum by (job) (x)`
    Aggregate {
        /// The operator.
        op: AggregateOp,
        /// The parameter of those that have one.
        param: Option<Box<Expr>>,
        /// The vector.
        expr: Box<Expr>,
        /// The labels that make a group.
        grouping: Grouping,
    },
    /// `a + on (job) b`
    Binary {
        /// The operator.
        op: BinaryOp,
        /// Left operand.
        left: Box<Expr>,
        /// Right operand.
        right: Box<Expr>,
        /// `bool`: a comparison gives 0 or 1 instead of filtering.
        return_bool: bool,
        /// How series of both sides meet.
        matching: Matching,
        /// `keep_metric_names` of MetricsQL.
        keep_names: bool,
    },
    /// `-x`, `+x`
    Unary {
        /// Whether the sign is a minus.
        negative: bool,
        /// The operand.
        expr: Box<Expr>,
    },
    /// `(x)`
    Paren(Box<Expr>),
}

/// Series to select.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// The name before the braces, if it stands there; `matchers` has it too.
    pub name: Option<String>,
    /// All conditions.
    pub matchers: Vec<Matcher>,
    /// `offset`, `@`, `anchored`, `smoothed`.
    pub modifiers: Modifiers,
}

/// What shifts or widens a selection in time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modifiers {
    /// `offset 5m`
    pub offset: Option<Duration>,
    /// `@ 10`
    pub at: Option<At>,
    /// `anchored` or `smoothed`
    pub widening: Option<Widening>,
}

/// The time that `@` pins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// Milliseconds since the epoch.
    Time(i64),
    /// The start of the query.
    Start,
    /// The end of the query.
    End,
}

/// How a range is completed at its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widening {
    /// The last sample before each bound stands at the bound.
    Anchored,
    /// Values at the bounds are interpolated.
    Smoothed,
}

impl Widening {
    /// Its keyword.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anchored => "anchored",
            Self::Smoothed => "smoothed",
        }
    }
}

/// A duration of a modifier; arithmetic is evaluated once step and range are known.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// Seconds.
    Literal(f64),
    /// `step()`
    Step,
    /// `range()`
    Range,
    /// `-d`
    Negate(Box<Duration>),
    /// `+d`
    Plus(Box<Duration>),
    /// `(d)`
    Paren(Box<Duration>),
    /// `a + b`, with one of `+ - * / % ^`
    Arithmetic(BinaryOp, Box<Duration>, Box<Duration>),
    /// `min_of(a, b)`
    MinOf(Box<Duration>, Box<Duration>),
    /// `max_of(a, b)`
    MaxOf(Box<Duration>, Box<Duration>),
}

/// Aggregation operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    Topk,
    Bottomk,
    Limitk,
    LimitRatio,
    Quantile,
    CountValues,
}

impl AggregateOp {
    const ALL: [(Self, &'static str); 14] = [
        (Self::Sum, "sum"),
        (Self::Avg, "avg"),
        (Self::Min, "min"),
        (Self::Max, "max"),
        (Self::Count, "count"),
        (Self::Group, "group"),
        (Self::Stddev, "stddev"),
        (Self::Stdvar, "stdvar"),
        (Self::Topk, "topk"),
        (Self::Bottomk, "bottomk"),
        (Self::Limitk, "limitk"),
        (Self::LimitRatio, "limit_ratio"),
        (Self::Quantile, "quantile"),
        (Self::CountValues, "count_values"),
    ];

    /// The operator of a name, in any case.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(op, _)| *op)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(op, _)| *op == self).map_or("", |(_, name)| name)
    }

    /// The type of its parameter, if it has one.
    pub fn param(self) -> Option<Type> {
        match self {
            Self::Topk | Self::Bottomk | Self::Limitk | Self::LimitRatio | Self::Quantile => Some(Type::Scalar),
            Self::CountValues => Some(Type::String),
            _ => None,
        }
    }
}

/// Labels that make groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grouping {
    /// `without` instead of `by`.
    pub without: bool,
    /// The labels.
    pub labels: Vec<String>,
}

/// Binary operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
    TrimUpper,
    TrimLower,
    /// MetricsQL: the left value, or the right one where there is none.
    Default,
}

impl BinaryOp {
    const ALL: [(Self, &'static str, u8); 19] = [
        (Self::Default, "default", 1),
        (Self::Or, "or", 2),
        (Self::And, "and", 3),
        (Self::Unless, "unless", 3),
        (Self::Equal, "==", 4),
        (Self::NotEqual, "!=", 4),
        (Self::Greater, ">", 4),
        (Self::Less, "<", 4),
        (Self::GreaterEqual, ">=", 4),
        (Self::LessEqual, "<=", 4),
        (Self::TrimUpper, "</", 4),
        (Self::TrimLower, ">/", 4),
        (Self::Add, "+", 5),
        (Self::Sub, "-", 5),
        (Self::Mul, "*", 6),
        (Self::Div, "/", 6),
        (Self::Mod, "%", 6),
        (Self::Atan2, "atan2", 6),
        (Self::Pow, "^", 7),
    ];

    /// The operator of a token's text, words in any case.
    pub fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n, _)| n.eq_ignore_ascii_case(text)).map(|(op, ..)| *op)
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(op, ..)| *op == self).map_or("", |(_, name, _)| name)
    }

    /// How tightly it binds: more is tighter.
    pub(crate) fn precedence(self) -> u8 {
        Self::ALL.iter().find(|(op, ..)| *op == self).map_or(0, |(.., precedence)| *precedence)
    }

    /// Whether it compares values.
    pub fn is_comparison(self) -> bool {
        use BinaryOp::{Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual};
        matches!(self, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
    }

    /// Whether it works on sets of series.
    pub fn is_set(self) -> bool {
        matches!(self, Self::And | Self::Or | Self::Unless)
    }

    /// Whether it makes another metric of its operands, so that the name goes.
    pub(crate) fn changes_metric(self) -> bool {
        use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
        matches!(self, Add | Sub | Mul | Div | Mod | Pow | Atan2)
    }
}

/// How many series of one side may meet one of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Card {
    /// One of each side.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

/// How series of two vectors meet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matching {
    /// `on` instead of `ignoring`.
    pub on: bool,
    /// The labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// One or many.
    pub card: Card,
    /// Labels that the many side takes from the one side.
    pub include: Vec<String>,
    /// `fill_left`: the value of a missing left series.
    pub fill_left: Option<f64>,
    /// `fill_right`: the value of a missing right series.
    pub fill_right: Option<f64>,
}

impl Expr {
    /// What it evaluates to.
    pub fn value_type(&self) -> Type {
        match &self.kind {
            Kind::Number { .. } => Type::Scalar,
            Kind::String(_) => Type::String,
            Kind::Selector(_) | Kind::Aggregate { .. } => Type::Vector,
            Kind::Range { .. } | Kind::Subquery { .. } => Type::Matrix,
            Kind::Call { function, .. } => function.signature().returns,
            Kind::Binary { left, right, .. } => match (left.value_type(), right.value_type()) {
                (Type::Scalar, Type::Scalar) => Type::Scalar,
                _ => Type::Vector,
            },
            Kind::Unary { expr, .. } | Kind::Paren(expr) => expr.value_type(),
        }
    }

    /// The expression inside of parentheses.
    pub fn unwrapped(&self) -> &Self {
        let mut expr = self;
        while let Kind::Paren(inner) = &expr.kind {
            expr = inner;
        }
        expr
    }

    /// The expressions directly inside of it.
    pub fn children(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Number { .. } | Kind::String(_) | Kind::Selector(_) | Kind::Range { .. } => vec![],
            Kind::Subquery { expr, .. } | Kind::Unary { expr, .. } | Kind::Paren(expr) => vec![expr],
            Kind::Call { args, .. } => args.iter().collect(),
            Kind::Aggregate { param, expr, .. } => param.iter().map(|p| &**p).chain([&**expr]).collect(),
            Kind::Binary { left, right, .. } => vec![left, right],
        }
    }

    /// Visits it and everything inside of it, outer before inner.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        for child in self.children() {
            child.walk(visit);
        }
    }
}
