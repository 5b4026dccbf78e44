//! Whether the steps of a range query can be evaluated apart from each other.

use super::ast::{AggregateOp, BinaryOp, Duration, Expr, Grouping, Kind, Modifiers};
use super::functions::Function;
use super::{Query, Type};
use crate::labels::{METRIC_NAME, is_metadata};

impl Query {
    /// Whether what a range query gives at a step is the same whatever other steps it is evaluated at. It is not
    /// where the query speaks of its own start, end or length, sorts, or decides by all steps at once.
    ///
    /// An error at one step ends a query: it shows in whichever part has that step.
    pub fn is_divisible(&self) -> bool {
        let mut divisible = true;
        self.expr().walk(&mut |expr| divisible &= is_local(expr));
        divisible
    }
}

/// Whether an expression, apart from those inside of it, looks at a step alone.
fn is_local(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Selector(selector) => is_fixed(&selector.modifiers),
        Kind::Range { selector, range } => is_fixed(&selector.modifiers) && is_constant_length(range),
        Kind::Subquery { range, step, modifiers, .. } => {
            is_fixed(modifiers) && is_constant_length(range) && step.as_ref().is_none_or(is_constant_length)
        }
        Kind::Call { function, args, .. } => match function {
            Function::Start | Function::End | Function::Range | Function::Step => false,
            // One step is sorted, several are not.
            Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc => false,
            Function::HistogramQuantiles => args.iter().filter(|arg| arg.value_type() == Type::Scalar).all(is_constant),
            // Series that get one name may come from some that lose theirs.
            Function::LabelReplace | Function::LabelJoin => {
                !matches!(args.get(1).map(|to| &to.unwrapped().kind), Some(Kind::String(to)) if is_metadata(to))
            }
            _ => true,
        },
        Kind::Aggregate { op, param, grouping, .. } => {
            // What these refuse they refuse by the parameters of all steps.
            let selects =
                matches!(op, AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio);
            (!selects || param.as_ref().is_some_and(|param| is_constant(param))) && !names_metrics(grouping)
        }
        Kind::Binary { op, left, right, matching, .. } => {
            let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
            let by_all_steps = *op == BinaryOp::Default || fills;
            let mixes = *op == BinaryOp::Or && Names::of(left).and(Names::of(right)).is_mixed();
            !by_all_steps && !mixes
        }
        Kind::Number { .. } | Kind::String(_) | Kind::Unary { .. } | Kind::Paren(_) => true,
    }
}

/// Whether nothing is pinned to a time.
fn is_fixed(modifiers: &Modifiers) -> bool {
    modifiers.at.is_none() && modifiers.offset.as_ref().is_none_or(is_constant_length)
}

/// Whether a duration does not depend on the length of the query.
fn is_constant_length(duration: &Duration) -> bool {
    match duration {
        Duration::Literal(_) | Duration::Step => true,
        Duration::Range => false,
        Duration::Negate(inner) | Duration::Plus(inner) | Duration::Paren(inner) => is_constant_length(inner),
        Duration::Arithmetic(_, a, b) | Duration::MinOf(a, b) | Duration::MaxOf(a, b) => {
            is_constant_length(a) && is_constant_length(b)
        }
    }
}

fn is_constant(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        Kind::Number { .. } => true,
        Kind::Unary { expr, .. } => is_constant(expr),
        _ => false,
    }
}

/// Whether groups keep the name of the metric: a group loses it where one of its series does, at any step.
fn names_metrics(grouping: &Grouping) -> bool {
    !grouping.without && grouping.labels.iter().any(|label| is_metadata(label))
}

/// What becomes of the names that series still have while a query is evaluated. Of series with the same labels at
/// different steps, the first decides for both.
#[derive(Clone, Copy, Default)]
struct Names {
    /// Some stay.
    kept: bool,
    /// Some go in the end.
    dropped: bool,
}

impl Names {
    const KEPT: Self = Self { kept: true, dropped: false };
    const DROPPED: Self = Self { kept: false, dropped: true };

    fn and(self, other: Self) -> Self {
        Self { kept: self.kept || other.kept, dropped: self.dropped || other.dropped }
    }

    fn is_mixed(self) -> bool {
        self.kept && self.dropped
    }

    /// The same, once a function made something else of the values.
    fn lost(self) -> Self {
        if self.kept || self.dropped { Self::DROPPED } else { Self::default() }
    }

    fn of(expr: &Expr) -> Self {
        match &expr.kind {
            Kind::Number { .. } | Kind::String(_) => Self::default(),
            Kind::Selector(_) | Kind::Range { .. } => Self::KEPT,
            Kind::Subquery { expr, .. } | Kind::Paren(expr) => Self::of(expr),
            Kind::Unary { negative, expr } => {
                if *negative {
                    Self::of(expr).lost()
                } else {
                    Self::of(expr)
                }
            }
            Kind::Call { function, args, keep_names } => Self::of_call(*function, args, *keep_names),
            Kind::Aggregate { op, expr, param, .. } => match op {
                AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk | AggregateOp::LimitRatio => {
                    Self::of(expr)
                }
                AggregateOp::CountValues => match param.as_ref().map(|param| &param.unwrapped().kind) {
                    Some(Kind::String(label)) if label != METRIC_NAME => Self::default(),
                    _ => Self::KEPT,
                },
                _ => Self::default(),
            },
            Kind::Binary { op, left, right, return_bool, keep_names, .. } => {
                let both = Self::of(left).and(Self::of(right));
                if !*keep_names && (*return_bool || op.changes_metric()) { both.lost() } else { both }
            }
        }
    }

    fn of_call(function: Function, args: &[Expr], keep_names: bool) -> Self {
        let inner = args.iter().map(Self::of).fold(Self::default(), Self::and);
        match function {
            Function::Absent | Function::AbsentOverTime | Function::Vector => Self::default(),
            Function::LabelReplace | Function::LabelJoin | Function::LastOverTime | Function::FirstOverTime => inner,
            Function::Info => inner,
            _ if keep_names => inner,
            _ => inner.lost(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queries() {
        for query in [
            "up",
            "sum by (job) (rate(x_total[5m] offset 1h))",
            "topk(5, x) > 3",
            "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
            "max_over_time(rate(x[5m])[1h:1m])",
            "sum(x) or vector(0)",
            "rate(x[5m]) or rate(y[5m])",
            "x or y",
            "quantile(scalar(x), y)",
            "rate(x[2 * step()])",
            "x * on (a) group_left (b) y",
        ] {
            assert!(Query::parse(query).unwrap().is_divisible(), "{query}");
        }
        for query in [
            "x @ end()",
            "sum(x @ 10)",
            "rate(x[1m] @ start())",
            "rate(x[5m:1m] @ 10)",
            "x + start()",
            "rate(x[range()])",
            "x offset range()",
            "sort(x)",
            "topk(scalar(y), x)",
            "sum by (__name__) (x)",
            "x default 5",
            "x + fill (0) y",
            "rate(x[5m]) or x",
            "label_replace(x, \"__name__\", \"y\", \"\", \"\")",
        ] {
            let query = format!("sum({query})");
            assert!(!Query::parse(&query).unwrap().is_divisible(), "{query}");
        }
    }
}
