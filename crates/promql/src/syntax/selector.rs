//! Selectors and what may follow an expression: ranges, `offset`, `@` and their kin.

use super::Span;
use super::ast::{At, Expr, Kind, Modifiers, Selector, Widening};
use super::lexer::{Token, TokenKind};
use super::parser::Parser;
use crate::error::ParseError;
use crate::labels::METRIC_NAME;
use crate::matcher::{MatchOp, Matcher};

impl Parser<'_> {
    /// A selector, after the name that may stand before its braces.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Result<Expr, ParseError> {
        let mut span = name.map_or(self.peek().span, |token| token.span);
        let mut matchers = vec![];
        if self.is("{") {
            span.end = self.matchers(&mut matchers)?.end;
        }
        if let Some(name) = name {
            matchers.push(Matcher::equal(METRIC_NAME, name.text));
        }
        let name = name.map(|token| token.text.to_owned());
        Ok(Expr { kind: Kind::Selector(Selector { name, matchers, modifiers: Modifiers::default() }), span })
    }

    /// `{a="b", "c.d"=~"e"}`; gives where it stands.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Result<Span, ParseError> {
        let open = self.take();
        let mut quoted = false;
        while !self.is("}") {
            let is_string = self.peek().kind == TokenKind::String;
            let matcher = self.matcher()?;
            quoted |= is_string && matcher.name == METRIC_NAME && self.last_is_name();
            matchers.push(matcher);
            if !self.accept(",") && !self.is("}") {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
        let span = open.span.to(self.take().span);
        let mut names = matchers.iter().filter(|m| m.name == METRIC_NAME).map(|m| &m.value);
        if let (true, Some(first), Some(second)) = (quoted, names.next(), names.next()) {
            return Err(self.error(span, format!("metric name must not be set twice: {first:?} or {second:?}")));
        }
        Ok(span)
    }

    /// Whether the token before is the text that names the metric, and not the value of a condition.
    fn last_is_name(&self) -> bool {
        !["=", "!=", "=~", "!~"].contains(&self.second_last_text())
    }

    fn matcher(&mut self) -> Result<Matcher, ParseError> {
        let token = self.peek();
        let name = match token.kind {
            TokenKind::Word => self.take().text.to_owned(),
            TokenKind::String => {
                self.take();
                let name = self.unquoted(token)?;
                if !self.is_match_op() {
                    // A text alone is the metric's name.
                    return Ok(Matcher::equal(METRIC_NAME, name));
                }
                name
            }
            _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
        };
        if !self.is_match_op() {
            return Err(self.unexpected("label matching", "label matching operator"));
        }
        let op = match self.take().text {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            _ => MatchOp::NotRegex,
        };
        let value = self.peek();
        if value.kind != TokenKind::String {
            return Err(self.unexpected("label matching", "string"));
        }
        self.take();
        let pattern = self.unquoted(value)?;
        Matcher::new(name, op, pattern).map_err(|error| self.error(token.span.to(value.span), error))
    }

    fn is_match_op(&self) -> bool {
        ["=", "!=", "=~", "!~"].iter().any(|op| self.is(op))
    }

    /// Takes what modifies `expr`, if something of it comes next.
    pub(super) fn modifier(&mut self, expr: &mut Expr) -> Result<bool, ParseError> {
        if self.is("[") {
            self.range(expr)?;
        } else if self.is_word("offset") {
            self.offset(expr)?;
        } else if self.is("@") {
            self.at(expr)?;
        } else if self.is_word("anchored") {
            self.widen(expr, Widening::Anchored)?;
        } else if self.is_word("smoothed") {
            self.widen(expr, Widening::Smoothed)?;
        } else if self.is_word("keep_metric_names") {
            self.keep_names(expr)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn range(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let open = self.take();
        let range = self.positive("subquery or range selector", "number, duration, step(), or range()")?;
        if self.accept(":") {
            let step = if self.is("]") {
                None
            } else {
                Some(self.positive("subquery selector", "number, duration, step(), range(), or \"]\"")?)
            };
            let close = self.expect("]", "subquery selector")?;
            let span = expr.span.to(close.span);
            self.enter()?;
            let inner = std::mem::replace(expr, Expr { kind: Kind::String(String::new()), span });
            expr.kind = Kind::Subquery { expr: Box::new(inner), range, step, modifiers: Modifiers::default() };
            return Ok(());
        }
        if !self.is("]") {
            return Err(self.unexpected("subquery or range", "\":\" or \"]\""));
        }
        let close = self.take();
        let Kind::Selector(selector) = &expr.kind else {
            return Err(self.error(open.span.to(close.span), "ranges only allowed for vector selectors"));
        };
        if selector.modifiers.offset.is_some() {
            return Err(self.error(open.span.to(close.span), "no offset modifiers allowed before range"));
        }
        if selector.modifiers.at.is_some() {
            return Err(self.error(open.span.to(close.span), "no @ modifiers allowed before range"));
        }
        *expr = Expr { kind: Kind::Range { selector: selector.clone(), range }, span: expr.span.to(close.span) };
        Ok(())
    }

    fn offset(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.take();
        let offset = self.offset_duration()?;
        let span = expr.span;
        let Some(modifiers) = modifiers(expr) else {
            let message =
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(self.error(span, message));
        };
        if modifiers.offset.is_some() {
            return Err(self.error(span, "offset may not be set multiple times"));
        }
        modifiers.offset = Some(offset);
        expr.span.end = self.last_span().end;
        Ok(())
    }

    fn at(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        self.take();
        let token = self.peek();
        let at = match (token.kind, token.text) {
            (TokenKind::Word, word) if ["start", "end"].iter().any(|w| word.eq_ignore_ascii_case(w)) => {
                self.take();
                self.expect("(", "@")?;
                self.expect(")", "@")?;
                if token.text.eq_ignore_ascii_case("start") { At::Start } else { At::End }
            }
            _ => At::Time(self.timestamp(expr.span)?),
        };
        let span = expr.span;
        let Some(modifiers) = modifiers(expr) else {
            let message =
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
            return Err(self.error(span, message));
        };
        if modifiers.at.is_some() {
            return Err(self.error(span, "@ <timestamp> may not be set multiple times"));
        }
        modifiers.at = Some(at);
        expr.span.end = self.last_span().end;
        Ok(())
    }

    fn timestamp(&mut self, span: Span) -> Result<i64, ParseError> {
        let negative = self.is("-");
        let _sign = self.accept("-") || self.accept("+");
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("@", "timestamp"));
        }
        let seconds = self.seconds()?;
        let seconds = if negative { -seconds } else { seconds };
        // Milliseconds must fit into 64 bits with room for offsets.
        if !seconds.is_finite() || seconds.abs() >= 9e15 {
            let shown = if seconds.is_finite() { format!("{seconds:.6}") } else { crate::number::format(seconds) };
            return Err(self.error(span, format!("timestamp out of bounds for @ modifier: {shown}")));
        }
        Ok((seconds * 1000.0).round() as i64)
    }

    fn widen(&mut self, expr: &mut Expr, widening: Widening) -> Result<(), ParseError> {
        let token = self.take();
        let (span, name) = (expr.span, widening.as_str());
        let modifiers = match &mut expr.kind {
            Kind::Selector(selector) | Kind::Range { selector, .. } => &mut selector.modifiers,
            Kind::Subquery { .. } => {
                return Err(self.error(span, format!("{name} modifier is not supported for subqueries")));
            }
            _ => {
                return Err(self.error(
                    span,
                    format!("{name} modifier must be preceded by a selector, but follows {}", expr.value_type().name()),
                ));
            }
        };
        if modifiers.widening.is_some_and(|w| w != widening) {
            return Err(self.error(span, "anchored and smoothed modifiers cannot be used together"));
        }
        modifiers.widening = Some(widening);
        expr.span.end = token.span.end;
        Ok(())
    }

    fn keep_names(&mut self, expr: &mut Expr) -> Result<(), ParseError> {
        let token = self.take();
        let span = expr.span;
        let target = match &mut expr.kind {
            Kind::Paren(inner) => &mut inner.kind,
            kind => kind,
        };
        match target {
            Kind::Call { keep_names, .. } | Kind::Binary { keep_names, .. } => *keep_names = true,
            _ => {
                let message = "keep_metric_names must follow a function call or an operation in parentheses";
                return Err(self.error(span, message));
            }
        }
        expr.span.end = token.span.end;
        Ok(())
    }
}

/// What shifts `expr` in time, if it is something that can be shifted.
fn modifiers(expr: &mut Expr) -> Option<&mut Modifiers> {
    match &mut expr.kind {
        Kind::Selector(selector) | Kind::Range { selector, .. } => Some(&mut selector.modifiers),
        Kind::Subquery { modifiers, .. } => Some(modifiers),
        _ => None,
    }
}
