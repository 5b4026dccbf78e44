//! Attributes whose values are of several kinds, or of a kind that nobody knows, are
//! text. Where a number is asked of them, what is no number is NULL: one `"N/A"`
//! among a million status codes fails no query.
//!
//! DataFusion would cast the text to the number's type, and fail at the first that is
//! none. So the cast is written before it coerces: of operators where they are
//! planned, as arithmetic on text is refused there; of the rest before the analysis.

use arrow_schema::{DataType, Field};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ExprSchema, Result};
use datafusion::logical_expr::expr::{Between, Case, InList, InSubquery};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable, try_cast};
use datafusion::sql::sqlparser::ast::BinaryOperator as Op;

use crate::functions;

/// Marks a field of such values, through subqueries and under other names.
const MARK: &str = "bonghwa.attribute";

/// The field of an attribute, marked if its values are text.
pub(crate) fn marked(field: Field) -> Field {
    if *field.data_type() != DataType::Utf8 {
        return field;
    }
    field.with_metadata([(MARK.to_owned(), "text".to_owned())].into())
}

/// The same operator, with numbers on both sides if one of them is one.
pub(crate) fn operator(expr: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let RawBinaryExpr { op, left, right } = expr;
    let arithmetic = matches!(op, Op::Plus | Op::Minus | Op::Multiply | Op::Divide | Op::Modulo);
    let comparison = matches!(op, Op::Eq | Op::NotEq | Op::Lt | Op::LtEq | Op::Gt | Op::GtEq);
    let wants = |other: &Expr| is_number(other, schema) || (arithmetic && is_value(other, schema));
    let casts_left = (arithmetic || comparison) && is_value(&left, schema) && wants(&right);
    let casts_right = (arithmetic || comparison) && is_value(&right, schema) && wants(&left);
    RawBinaryExpr {
        op,
        left: if casts_left { number(left) } else { left },
        right: if casts_right { number(right) } else { right },
    }
}

/// What operators are not: BETWEEN, IN and CASE.
#[derive(Debug)]
pub(crate) struct MixedRewrite;

impl FunctionRewrite for MixedRewrite {
    fn name(&self) -> &str {
        "mixed_attributes"
    }

    fn rewrite(&self, mut expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Some(value) = compared(&mut expr, schema).filter(|value| is_value(value, schema)) else {
            return Ok(Transformed::no(expr));
        };
        *value = number(std::mem::take(value));
        Ok(Transformed::yes(expr))
    }
}

/// What an expression compares with numbers and nothing else.
fn compared<'a>(expr: &'a mut Expr, schema: &DFSchema) -> Option<&'a mut Expr> {
    let numbers = |others: &[&Expr]| others.iter().all(|other| is_number(other, schema));
    match expr {
        Expr::Between(Between { expr, low, high, .. }) => numbers(&[low, high]).then_some(expr),
        Expr::InList(InList { expr, list, .. }) => numbers(&list.iter().collect::<Vec<_>>()).then_some(expr),
        Expr::InSubquery(InSubquery { expr, subquery, .. }) => {
            let fields = subquery.subquery.schema().fields();
            fields.first().is_some_and(|field| field.data_type().is_numeric()).then_some(expr)
        }
        Expr::Case(Case { expr: Some(expr), when_then_expr, .. }) => {
            let whens: Vec<&Expr> = when_then_expr.iter().map(|(when, _)| &**when).collect();
            numbers(&whens).then_some(expr)
        }
        _ => None,
    }
    .map(|boxed| &mut **boxed)
}

fn number(value: Expr) -> Expr {
    try_cast(value, DataType::Float64)
}

fn is_number(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| data_type.is_numeric())
}

/// Whether an expression is an attribute that is text.
fn is_value(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Alias(alias) => is_value(&alias.expr, schema),
        Expr::Column(column) => schema.field_from_column(column).is_ok_and(|field| field.metadata().contains_key(MARK)),
        Expr::OuterReferenceColumn(field, _) => field.metadata().contains_key(MARK),
        Expr::ScalarFunction(call) => call.name() == functions::JSON_VALUE,
        _ => false,
    }
}
