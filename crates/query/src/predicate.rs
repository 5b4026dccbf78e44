//! What a filter says about rows, in the words that blocks can prune by. Never
//! stricter than the filter: the rows that come back are filtered again.

use arrow_schema::{DataType, Field};
use bonghwa_block::{self as block, Column, Comparison, Op, Predicate, Scalar, ValueType};
use bonghwa_model::Signal;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{Between, InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::{functions, mixed, words};

/// A table's columns, as filters name them.
pub(crate) struct Columns<'a> {
    pub(crate) signal: Signal,
    pub(crate) columns: &'a [TableColumn],
}

/// A column of a table in one query.
#[derive(Clone, Debug)]
pub(crate) struct TableColumn {
    /// What the query calls it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) column: Column,
    /// Whether blocks index all tokens of its texts.
    pub(crate) indexed: bool,
}

impl TableColumn {
    /// A column that the signal's table always has.
    pub(crate) fn base(signal: Signal, name: &'static str) -> Self {
        // Listed at `Predicate::tokens`.
        let indexed = match signal {
            Signal::Logs => matches!(name, "body" | "severity_text" | "event_name"),
            Signal::Traces => matches!(name, "name" | "status_message" | "events"),
            Signal::Metrics => false,
        };
        TableColumn { name: name.to_owned(), column: Column::Base(name), indexed }
    }

    /// Whether it is an attribute that is text.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.column, Column::Attribute { value_type: ValueType::String, .. })
    }

    /// The column in the table's schema.
    pub(crate) fn field(&self, signal: Signal) -> Field {
        let field = block::field(signal, &self.column).with_name(&self.name);
        if matches!(self.column, Column::Attribute { .. }) { mixed::marked(field) } else { field }
    }
}

/// What all of these filters together say.
pub(crate) fn of_filters(filters: &[Expr], columns: &Columns<'_>) -> Predicate {
    filters.iter().map(|filter| of(filter, columns)).fold(Predicate::default(), and)
}

/// What one filter says.
pub(crate) fn of(filter: &Expr, columns: &Columns<'_>) -> Predicate {
    columns.expression(filter)
}

/// Whether a predicate says anything.
pub(crate) fn says_nothing(predicate: &Predicate) -> bool {
    *predicate == Predicate::default()
}

fn and(a: Predicate, b: Predicate) -> Predicate {
    let mut tokens = a.tokens;
    tokens.extend(b.tokens);
    tokens.sort_unstable();
    tokens.dedup();
    let mut comparisons = a.comparisons;
    comparisons.extend(b.comparisons);
    Predicate {
        min_time: a.min_time.max(b.min_time),
        max_time: a.max_time.min(b.max_time),
        services: both(a.services, b.services),
        metric_names: both(a.metric_names, b.metric_names),
        trace_ids: both(a.trace_ids, b.trace_ids),
        tokens,
        comparisons,
    }
}

fn both<T: PartialEq>(a: Option<Vec<T>>, b: Option<Vec<T>>) -> Option<Vec<T>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.into_iter().filter(|item| b.contains(item)).collect()),
        (a, b) => a.or(b),
    }
}

fn or(a: Predicate, b: Predicate) -> Predicate {
    Predicate {
        min_time: a.min_time.min(b.min_time),
        max_time: a.max_time.max(b.max_time),
        services: either(a.services, b.services),
        metric_names: either(a.metric_names, b.metric_names),
        trace_ids: either(a.trace_ids, b.trace_ids),
        tokens: a.tokens.into_iter().filter(|token| b.tokens.contains(token)).collect(),
        comparisons: a.comparisons.into_iter().filter(|c| b.comparisons.contains(c)).collect(),
    }
}

fn either<T: PartialEq>(a: Option<Vec<T>>, b: Option<Vec<T>>) -> Option<Vec<T>> {
    let (mut all, b) = (a?, b?);
    for item in b {
        if !all.contains(&item) {
            all.push(item);
        }
    }
    Some(all)
}

impl Columns<'_> {
    fn expression(&self, expr: &Expr) -> Predicate {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                and(self.expression(left), self.expression(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                or(self.expression(left), self.expression(right))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (self.column(left), literal(right)) {
                (Some(column), Some(value)) => self.comparison(column, *op, value),
                _ => match (literal(left), self.column(right), op.swap()) {
                    (Some(value), Some(column), Some(op)) => self.comparison(column, op, value),
                    _ => Predicate::default(),
                },
            },
            Expr::Between(Between { expr, negated: false, low, high }) => {
                match (self.column(expr), literal(low), literal(high)) {
                    (Some(column), Some(low), Some(high)) => {
                        and(self.comparison(column, Operator::GtEq, low), self.comparison(column, Operator::LtEq, high))
                    }
                    _ => Predicate::default(),
                }
            }
            Expr::InList(InList { expr, list, negated: false }) if !list.is_empty() => match self.column(expr) {
                Some(column) => list
                    .iter()
                    .map(|item| literal(item).map(|value| self.comparison(column, Operator::Eq, value)))
                    .reduce(|a, b| Some(or(a?, b?)))
                    .flatten()
                    .unwrap_or_default(),
                None => Predicate::default(),
            },
            // Tokens are indexed as they are written: ILIKE cannot look for them.
            Expr::Like(Like { negated: false, expr, pattern, escape_char, case_insensitive: false }) => {
                match (self.column(expr), literal(pattern).and_then(text)) {
                    (Some(column), Some(pattern)) if column.indexed => {
                        tokens(words::of_pattern(pattern, escape_char.unwrap_or('\\')))
                    }
                    _ => Predicate::default(),
                }
            }
            Expr::ScalarFunction(call) => self.call(call),
            Expr::Column(_) => match self.column(expr) {
                Some(column) => self.comparison(column, Operator::Eq, &ScalarValue::Boolean(Some(true))),
                None => Predicate::default(),
            },
            _ => Predicate::default(),
        }
    }

    fn call(&self, call: &ScalarFunction) -> Predicate {
        let [subject, argument] = call.args.as_slice() else { return Predicate::default() };
        let (Some(column), Some(argument)) = (self.column(subject), literal(argument).and_then(text)) else {
            return Predicate::default();
        };
        if !column.indexed {
            return Predicate::default();
        }
        match call.name() {
            functions::HAS_TOKEN => tokens(words::of_text(argument)),
            "contains" => tokens(words::inside(argument)),
            "starts_with" => tokens(words::at_start(argument)),
            _ => Predicate::default(),
        }
    }

    /// The column that an expression is, casts that keep its order aside.
    fn column(&self, expr: &Expr) -> Option<&TableColumn> {
        match expr {
            Expr::Column(column) => self.columns.iter().find(|c| c.name == column.name),
            Expr::Cast(cast) => {
                let column = self.column(&cast.expr)?;
                keeps_instants(&block::field(self.signal, &column.column), cast.field.data_type()).then_some(column)
            }
            _ => None,
        }
    }

    fn comparison(&self, column: &TableColumn, op: Operator, value: &ScalarValue) -> Predicate {
        let mut predicate = Predicate::default();
        if value.is_null() {
            return predicate;
        }
        let equals = op == Operator::Eq;
        match &column.column {
            Column::Base(name) if *name == block::time_column(self.signal) => {
                if let Some(time) = nanoseconds(value) {
                    between(&mut predicate, op, time);
                }
                return predicate;
            }
            Column::Base("service_name") if equals => predicate.services = text(value).map(|v| vec![v.to_owned()]),
            Column::Base("trace_id") if equals => {
                predicate.trace_ids = text(value).and_then(trace_id).map(|id| vec![id]);
                return predicate;
            }
            _ => {}
        }
        if let (Some(op), Some(value)) = (compare_op(op), self.scalar(&column.column, value)) {
            predicate.comparisons.push(Comparison { column: column.column.clone(), op, value });
        }
        predicate
    }

    /// The literal as a bound of the column's own type.
    fn scalar(&self, column: &Column, value: &ScalarValue) -> Option<Scalar> {
        match (block::field(self.signal, column).data_type(), value) {
            (DataType::Int32, ScalarValue::Int32(Some(v))) => Some(Scalar::Int64(i64::from(*v))),
            (DataType::Int64, ScalarValue::Int64(Some(v))) => Some(Scalar::Int64(*v)),
            (DataType::Float64, ScalarValue::Float64(Some(v))) => Some(Scalar::Float64(*v)),
            (DataType::Boolean, ScalarValue::Boolean(Some(v))) => Some(Scalar::Boolean(*v)),
            (DataType::Timestamp(..), value) => nanoseconds(value).map(Scalar::Int64),
            (DataType::Utf8, value) => text(value).map(|v| Scalar::String(v.to_owned())),
            _ => None,
        }
    }
}

fn tokens(tokens: Vec<String>) -> Predicate {
    Predicate { tokens, ..Default::default() }
}

fn literal(expr: &Expr) -> Option<&ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}

/// A cast between time zones changes how an instant reads, not which it is.
fn keeps_instants(from: &arrow_schema::Field, to: &DataType) -> bool {
    use arrow_schema::TimeUnit::Nanosecond;
    matches!((from.data_type(), to), (DataType::Timestamp(Nanosecond, _), DataType::Timestamp(Nanosecond, _)))
}

fn nanoseconds(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::TimestampNanosecond(v, _) => *v,
        ScalarValue::TimestampMicrosecond(v, _) => v.and_then(|v| v.checked_mul(1_000)),
        ScalarValue::TimestampMillisecond(v, _) => v.and_then(|v| v.checked_mul(1_000_000)),
        ScalarValue::TimestampSecond(v, _) => v.and_then(|v| v.checked_mul(1_000_000_000)),
        _ => None,
    }
}

fn between(predicate: &mut Predicate, op: Operator, time: i64) {
    let (min, max) = match op {
        Operator::Eq => (time, time),
        Operator::Gt => (time.saturating_add(1), i64::MAX),
        Operator::GtEq => (time, i64::MAX),
        Operator::Lt => (i64::MIN, time.saturating_sub(1)),
        Operator::LtEq => (i64::MIN, time),
        _ => return,
    };
    predicate.min_time = min;
    predicate.max_time = max;
}

/// None where SQL has no such comparison, or it is not of values.
fn compare_op(op: Operator) -> Option<Op> {
    Some(match op {
        Operator::Eq => Op::Eq,
        Operator::NotEq => Op::NotEq,
        Operator::Lt => Op::Lt,
        Operator::LtEq => Op::Le,
        Operator::Gt => Op::Gt,
        Operator::GtEq => Op::Ge,
        _ => return None,
    })
}

/// A trace id as text columns hold it: 32 lower-case hex digits.
fn trace_id(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}
