//! The language: text to tree and back.
//!
//! `lexer` makes tokens, `parser` (with `selector`, `duration` and `literal`) a tree of `ast`, `check` gives it
//! types, `print` writes it on a line, `pretty` on several, `json` as Prometheus' `/api/v1/parse_query`;
//! `divide` tells whether its steps can be evaluated apart.

mod ast;
mod check;
mod divide;
mod duration;
mod functions;
mod json;
mod lexer;
mod literal;
mod parser;
mod pretty;
mod print;
mod selector;
mod span;

pub use ast::{
    AggregateOp, At, BinaryOp, Card, Duration, Expr, Grouping, Kind, Matching, Modifiers, Selector, Type, Widening,
};
pub use functions::{Function, Signature};
pub use parser::MAX_DEPTH;
pub use print::{quote, quoted_label};
pub use span::Span;

pub use literal::parse_duration;

use crate::error::ParseError;
use crate::matcher::Matcher;

/// A query that parsed and whose types fit.
#[derive(Clone, Debug)]
pub struct Query {
    text: String,
    expr: Expr,
}

impl Query {
    /// Parses and checks a query; of several errors the first is told.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut expr = parser::parse(text)?;
        check::check(text, &mut expr)?;
        Ok(Self { text: text.to_owned(), expr })
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The tree.
    pub fn expr(&self) -> &Expr {
        &self.expr
    }

    /// What it evaluates to.
    pub fn value_type(&self) -> Type {
        self.expr.value_type()
    }

    /// The query laid out over lines, as Prometheus' `/api/v1/format_query`.
    pub fn format(&self) -> String {
        pretty::pretty(&self.expr)
    }

    /// The tree as Prometheus' `/api/v1/parse_query` has it.
    pub fn to_json(&self) -> serde_json::Value {
        json::to_json(&self.expr)
    }

    /// Every selector of the query, in the order of the text.
    pub fn selectors(&self) -> Vec<&Selector> {
        let mut found = vec![];
        self.expr.walk(&mut |expr| match &expr.kind {
            Kind::Selector(selector) | Kind::Range { selector, .. } => found.push(selector),
            _ => {}
        });
        found
    }
}

/// Parses a selector alone, such as `match[]` has it: `up{job="a"}`.
pub fn parse_matchers(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let expr = parser::parse(text)?;
    match expr.kind {
        Kind::Selector(selector) if selector.modifiers == Modifiers::default() => Ok(selector.matchers),
        _ => Err(ParseError::new(text, expr.span, "expected a metric selector such as up{job=\"a\"}")),
    }
}
