//! Turns `attributes['key']` into the column that the query's table has for it.

use bonghwa_block::AttributeScope;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr, RawFieldAccessExpr};
use datafusion::logical_expr::{Expr, GetFieldAccess, lit};

use crate::{functions, mixed, names};

/// Plans subscripts on `attributes` and `resource`. Where the column comes from a
/// subquery, which has no column per attribute, the JSON text is looked into.
/// Operators on attributes of mixed kinds see [`mixed`].
#[derive(Debug)]
pub(crate) struct AttributePlanner;

impl ExprPlanner for AttributePlanner {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        Ok(PlannerResult::Original(mixed::operator(expr, schema)))
    }

    fn plan_field_access(
        &self,
        access: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        let Some((scope, key)) = attribute(&access) else {
            return Ok(PlannerResult::Original(access));
        };
        if let Expr::Column(column) = &access.expr {
            let named = Column::new(column.relation.clone(), names::attribute(scope, &key));
            if schema.has_column(&named) {
                return Ok(PlannerResult::Planned(Expr::Column(named)));
            }
        }
        let name = names::attribute(scope, &key);
        let value = Expr::ScalarFunction(ScalarFunction::new_udf(functions::json_value(), vec![access.expr, lit(key)]));
        Ok(PlannerResult::Planned(value.alias(name)))
    }
}

fn attribute(access: &RawFieldAccessExpr) -> Option<(AttributeScope, String)> {
    let column = match &access.expr {
        Expr::Column(column) | Expr::OuterReferenceColumn(_, column) => column,
        _ => return None,
    };
    let GetFieldAccess::NamedStructField { name: ScalarValue::Utf8(Some(key)) } = &access.field_access else {
        return None;
    };
    Some((names::scope_of(&column.name)?, key.clone()))
}
