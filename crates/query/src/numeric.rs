//! Aggregates of numbers over attributes whose values are text: those of several kinds,
//! or that nobody sent. DataFusion plans none over text, so what they read is cast
//! before it plans; what is no number is NULL, as in [`crate::mixed`].

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, ExactNumberInfo, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    VisitMut, VisitorMut,
};

use crate::mentions;

const AGGREGATES: [&str; 14] = [
    "approx_median",
    "approx_percentile_cont",
    "avg",
    "mean",
    "median",
    "percentile_cont",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "sum",
    "var",
    "var_pop",
    "var_samp",
    "variance",
];

/// Rewrites the statement. `texts` are the names of attribute columns that are text.
pub(crate) fn cast(statement: &mut ast::Statement, texts: &BTreeSet<String>) {
    let _ = statement.visit(&mut Cast { texts });
}

struct Cast<'a> {
    texts: &'a BTreeSet<String>,
}

impl VisitorMut for Cast<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && AGGREGATES.contains(&function.name.to_string().to_lowercase().as_str())
        {
            arguments(function).for_each(|argument| self.argument(argument));
        }
        ControlFlow::Continue(())
    }
}

impl Cast<'_> {
    fn argument(&self, argument: &mut Expr) {
        if !mentions::attribute(argument).is_some_and(|name| self.texts.contains(&name)) {
            return;
        }
        *argument = Expr::Cast {
            kind: CastKind::TryCast,
            expr: Box::new(argument.clone()),
            data_type: DataType::Double(ExactNumberInfo::None),
            array: false,
            format: None,
        };
    }
}

/// What an aggregate reads.
fn arguments(function: &mut Function) -> impl Iterator<Item = &mut Expr> {
    let list = match &mut function.args {
        FunctionArguments::List(list) => list.args.as_mut_slice(),
        _ => &mut [],
    };
    let listed = list.iter_mut().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    listed.chain(function.within_group.iter_mut().map(|order| &mut order.expr))
}
