//! What a query asks for, as far as a block can use it to read less.

use crate::column::Column;

/// Conditions that every wanted row meets. A block may return rows that meet none of
/// them, but never leaves out one that meets all: the engine filters again.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// Unix nanoseconds, inclusive; of spans the start counts.
    pub min_time: i64,
    /// Unix nanoseconds, inclusive.
    pub max_time: i64,
    /// `service_name` is one of these.
    pub services: Option<Vec<String>>,
    /// The metric may be called one of these in Prometheus (see [`may_be_called`]).
    ///
    /// [`may_be_called`]: bonghwa_model::prometheus_names::may_be_called
    pub metric_names: Option<Vec<String>>,
    /// The trace id is one of these.
    pub trace_ids: Option<Vec<[u8; 16]>>,
    /// Each occurs in the row as a token (see [`crate::tokens`]): in the body, severity
    /// text or event name of a log record; in the name, status message or events of a
    /// span; or in a text attribute of the row or its resource. Numbers and booleans
    /// have no tokens: ask for them with a comparison.
    pub tokens: Vec<String>,
    /// All of them are true.
    pub comparisons: Vec<Comparison>,
}

impl Default for Predicate {
    fn default() -> Self {
        Predicate {
            min_time: i64::MIN,
            max_time: i64::MAX,
            services: None,
            metric_names: None,
            trace_ids: None,
            tokens: Vec::new(),
            comparisons: Vec::new(),
        }
    }
}

/// A column compared with a constant, as SQL compares: no row without a value meets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Left side.
    pub column: Column,
    /// How.
    pub op: Op,
    /// Right side, of the column's type; times as Unix nanoseconds.
    pub value: Scalar,
}

/// A comparison's operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// `=`
    Eq,
    /// `!=`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    Le,
    /// `>`
    Gt,
    /// `>=`
    Ge,
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Text.
    String(String),
    /// Integers of any width, and times.
    Int64(i64),
    /// Floats.
    Float64(f64),
    /// Booleans.
    Boolean(bool),
}
