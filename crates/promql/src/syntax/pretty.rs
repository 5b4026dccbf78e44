//! A tree laid out over lines: what does not fit into 100 columns is split at its parts.

use super::ast::{Expr, Kind};
use super::print::{aggregate_head, subquery_range};

const WIDTH: usize = 100;

/// The query, two blanks per level.
pub(super) fn pretty(expr: &Expr) -> String {
    layout(expr, 0)
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

/// `expr` with its first line indented too.
fn layout(expr: &Expr, level: usize) -> String {
    let pad = indent(level);
    let line = expr.to_string();
    if line.len() <= WIDTH {
        return format!("{pad}{line}");
    }
    let kept = |keep: bool| if keep { " keep_metric_names" } else { "" };
    let list = |args: &[&Expr]| args.iter().map(|a| layout(a, level + 1)).collect::<Vec<_>>().join(",\n");
    match &expr.kind {
        Kind::Number { .. } | Kind::String(_) | Kind::Selector(_) | Kind::Range { .. } => format!("{pad}{line}"),
        Kind::Subquery { expr, range, step, modifiers } => {
            format!("{}{}{modifiers}", layout(expr, level), subquery_range(range, step.as_ref()))
        }
        Kind::Call { function, args, keep_names } => {
            let args = list(&args.iter().collect::<Vec<_>>());
            format!("{pad}{}(\n{args}\n{pad}){}", function.name(), kept(*keep_names))
        }
        Kind::Aggregate { op, param, expr, grouping } => {
            let args = list(&param.iter().map(|p| &**p).chain([&**expr]).collect::<Vec<_>>());
            format!("{pad}{}(\n{args}\n{pad})", aggregate_head(*op, grouping))
        }
        Kind::Binary { op, left, right, return_bool, matching, .. } => {
            let return_bool = if *return_bool { " bool" } else { "" };
            let (left, right) = (layout(left, level + 1), layout(right, level + 1));
            format!("{left}\n{pad}{}{return_bool}{}\n{right}", op.as_str(), matching.describe())
        }
        Kind::Unary { negative, expr } => {
            let inner = layout(expr, level);
            format!("{pad}{}{}", if *negative { "-" } else { "+" }, inner.trim_start())
        }
        Kind::Paren(inner) => format!("{pad}(\n{}\n{pad}){}", layout(inner, level + 1), kept(inner.keeps_names())),
    }
}
