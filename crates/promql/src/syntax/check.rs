//! Types: what may stand where.

use super::Span;
use super::ast::{AggregateOp, BinaryOp, Card, Expr, Kind, Type};
use super::functions::Function;
use crate::error::ParseError;
use crate::labels::METRIC_NAME;

/// Checks the types of a tree. Set operators become many-to-many.
pub(super) fn check(text: &str, expr: &mut Expr) -> Result<(), ParseError> {
    Checker { text }.check(expr)
}

struct Checker<'a> {
    text: &'a str,
}

impl Checker<'_> {
    fn error<T>(&self, span: Span, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::new(self.text, span, message))
    }

    fn expect(&self, expr: &mut Expr, wanted: Type, context: &str) -> Result<(), ParseError> {
        self.check(expr)?;
        let got = expr.value_type();
        if got == wanted {
            return Ok(());
        }
        self.error(expr.span, format!("expected type {} in {context}, got {}", wanted.name(), got.name()))
    }

    fn check(&self, expr: &mut Expr) -> Result<(), ParseError> {
        let span = expr.span;
        match &mut expr.kind {
            Kind::Number { .. } | Kind::String(_) => Ok(()),
            Kind::Selector(selector) | Kind::Range { selector, .. } => {
                if let Some(name) = &selector.name {
                    let others = selector.matchers.len() - 1;
                    let second = selector.matchers[..others].iter().find(|m| m.name == METRIC_NAME);
                    if let Some(second) = second {
                        let value = &second.value;
                        return self.error(span, format!("metric name must not be set twice: {name:?} or {value:?}"));
                    }
                } else if selector.matchers.iter().all(|m| m.matches("")) {
                    return self.error(span, "vector selector must contain at least one non-empty matcher");
                }
                Ok(())
            }
            Kind::Subquery { expr: inner, .. } => {
                self.check(inner)?;
                match inner.value_type() {
                    Type::Vector => Ok(()),
                    got => {
                        let got = got.json_name();
                        self.error(span, format!("subquery is only allowed on instant vector, got {got} instead"))
                    }
                }
            }
            Kind::Paren(inner) => self.check(inner),
            Kind::Unary { expr: inner, .. } => {
                self.check(inner)?;
                match inner.value_type() {
                    Type::Scalar | Type::Vector => Ok(()),
                    got => {
                        let message = "unary expression only allowed on expressions of type scalar or instant vector";
                        self.error(span, format!("{message}, got {:?}", got.name()))
                    }
                }
            }
            Kind::Aggregate { op, param, expr: inner, .. } => {
                self.expect(inner, Type::Vector, "aggregation expression")?;
                if let (Some(param), Some(wanted)) = (param, op.param()) {
                    self.expect(param, wanted, "aggregation parameter")?;
                    if *op == AggregateOp::CountValues && !matches!(param.unwrapped().kind, Kind::String(_)) {
                        return self.error(param.span, "expected a string literal as aggregation parameter");
                    }
                }
                Ok(())
            }
            Kind::Call { function, args, .. } => self.call(*function, args, span),
            Kind::Binary { .. } => self.binary(expr),
        }
    }

    fn call(&self, function: Function, args: &mut [Expr], span: Span) -> Result<(), ParseError> {
        let signature = function.signature();
        let (name, wanted, got) = (signature.name, signature.args.len(), args.len());
        if signature.variadic == 0 {
            if wanted != got {
                return self.error(span, format!("expected {wanted} argument(s) in call to {name:?}, got {got}"));
            }
        } else {
            let least = wanted - 1;
            if least > got {
                return self
                    .error(span, format!("expected at least {least} argument(s) in call to {name:?}, got {got}"));
            }
            let most = least + usize::try_from(signature.variadic).unwrap_or(usize::MAX - least);
            if most < got {
                return self.error(span, format!("expected at most {most} argument(s) in call to {name:?}, got {got}"));
            }
        }
        let data = function == Function::Info;
        for (i, arg) in args.iter_mut().enumerate() {
            if data && i == 1 {
                self.data_labels(arg)?;
                continue;
            }
            let wanted = signature.args[i.min(wanted - 1)];
            self.expect(arg, wanted, &format!("call to function {name:?}"))?;
            if wanted == Type::String && !matches!(arg.unwrapped().kind, Kind::String(_)) {
                return self.error(arg.span, "expected a string literal");
            }
        }
        Ok(())
    }

    /// The second argument of `info`: conditions on labels, without a name before the braces.
    fn data_labels(&self, arg: &Expr) -> Result<(), ParseError> {
        match &arg.kind {
            Kind::Selector(selector) if selector.name.is_some() => {
                self.error(arg.span, "expected label selectors only, got vector selector instead")
            }
            Kind::Selector(_) => Ok(()),
            _ => self.error(arg.span, "expected label selectors only"),
        }
    }

    fn binary(&self, expr: &mut Expr) -> Result<(), ParseError> {
        let span = expr.span;
        let Kind::Binary { op, left, right, return_bool, matching, .. } = &mut expr.kind else { return Ok(()) };
        self.check(left)?;
        self.check(right)?;
        let (op, lt, rt) = (*op, left.value_type(), right.value_type());
        let between = self.between(left.span.end, right.span.start);
        if *return_bool && !op.is_comparison() {
            return self.error(between, "bool modifier can only be used on comparison operators");
        }
        if op.is_comparison() && !*return_bool && lt == Type::Scalar && rt == Type::Scalar {
            return self.error(between, "comparisons between scalars must use BOOL modifier");
        }
        if matching.on
            && let Some(label) = matching.labels.iter().find(|l| matching.include.contains(l))
        {
            return self.error(between, format!("label {label:?} must not occur in ON and GROUP clause at once"));
        }
        for side in [&**left, &**right] {
            if !matches!(side.value_type(), Type::Scalar | Type::Vector) {
                let message = "binary expression must contain only scalar and instant vector types";
                return self.error(side.span, message);
            }
        }
        let fills = matching.fill_left.is_some() || matching.fill_right.is_some();
        let set = op.is_set() || op == BinaryOp::Default;
        if lt != Type::Vector || rt != Type::Vector {
            if op.is_set() {
                let message = format!("set operator {:?} not allowed in binary scalar expression", op.as_str());
                return self.error(span, message);
            }
            if !matching.labels.is_empty() {
                return self.error(span, "vector matching only allowed between instant vectors");
            }
            if fills {
                return self.error(span, "filling in missing series only allowed between instant vectors");
            }
        } else if set {
            if matching.card != Card::OneToOne {
                return self.error(span, format!("no grouping allowed for {:?} operation", op.as_str()));
            }
            if fills {
                return self.error(span, "filling in missing series not allowed for set operators");
            }
            matching.card = Card::ManyToMany;
        }
        let trims = matches!(op, BinaryOp::TrimUpper | BinaryOp::TrimLower);
        if trims && lt == Type::Scalar && rt == Type::Scalar {
            return self.error(span, format!("operator {:?} not allowed for Scalar operations", op.as_str()));
        }
        Ok(())
    }

    /// The text between two operands without the blanks around it.
    fn between(&self, start: usize, end: usize) -> Span {
        let text = &self.text[start.min(end)..end];
        let blanks = text.len() - text.trim_start().len();
        Span::new(start + blanks, start + blanks + text.trim().len())
    }
}
