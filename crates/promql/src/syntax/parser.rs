//! Tokens to a tree: precedence climbing over operators; selectors are in `selector`.

use super::Span;
use super::ast::{AggregateOp, BinaryOp, Card, Expr, Grouping, Kind, Matching};
use super::functions::Function;
use super::lexer::{Token, TokenKind, tokens};
use super::literal::unquote;
use crate::error::ParseError;

/// How deep expressions may nest.
pub const MAX_DEPTH: usize = 250;

/// Words that cannot name a metric where an expression begins.
const RESERVED: [&str; 6] = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];

/// Words with a meaning of their own.
const KEYWORDS: [&str; 17] = [
    "and",
    "or",
    "unless",
    "atan2",
    "bool",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "offset",
    "fill",
    "fill_left",
    "fill_right",
    "anchored",
    "smoothed",
];

pub(super) fn is_keyword(word: &str) -> bool {
    KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(word))
}

/// Parses a whole query.
pub(super) fn parse(text: &str) -> Result<Expr, ParseError> {
    let mut parser = Parser { text, tokens: tokens(text)?, at: 0, depth: 0 };
    if parser.peek().kind == TokenKind::End {
        return Err(ParseError::new(text, Span::default(), "no expression found in input"));
    }
    let expr = parser.expr(0)?;
    match parser.peek().kind {
        TokenKind::End => Ok(expr),
        _ => Err(parser.unexpected("", "")),
    }
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    fn peek_second(&self) -> Token<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    /// The next token; the end is never passed.
    pub(super) fn take(&mut self) -> Token<'a> {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// Where the token before the next one stands.
    pub(super) fn last_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    /// The text of the token before the last one.
    pub(super) fn second_last_text(&self) -> &'a str {
        self.tokens[self.at.saturating_sub(2)].text
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        self.peek().kind == TokenKind::Symbol && self.peek().text == symbol
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        self.peek().kind == TokenKind::Word && self.peek().text.eq_ignore_ascii_case(word)
    }

    pub(super) fn accept(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.take();
        }
        found
    }

    pub(super) fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.take();
        }
        found
    }

    pub(super) fn expect(&mut self, symbol: &str, context: &str) -> Result<Token<'a>, ParseError> {
        if self.is(symbol) { Ok(self.take()) } else { Err(self.unexpected(context, &format!("\"{symbol}\""))) }
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, span, message)
    }

    /// An error about the next token.
    pub(super) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        let mut message = format!("unexpected {}", token.describe());
        if !context.is_empty() {
            message.push_str(&format!(" in {context}"));
        }
        if !expected.is_empty() {
            message.push_str(&format!(", expected {expected}"));
        }
        self.error(token.span, message)
    }

    pub(super) fn enter(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(self.peek().span, format!("expression nests deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn unquoted(&self, token: Token) -> Result<String, ParseError> {
        unquote(token.text)
            .map_err(|error| self.error(token.span, format!("error unquoting string {:?}: {error}", token.text)))
    }

    /// An expression of operators that bind tighter than `least`.
    pub(super) fn expr(&mut self, least: u8) -> Result<Expr, ParseError> {
        self.enter()?;
        let mut left = self.operand()?;
        // A chain of operators leans to the left: each makes the tree a level deeper.
        let mut links = 0;
        while let Some(op) = self.operator().filter(|op| op.precedence() > least) {
            self.take();
            links += 1;
            self.enter()?;
            left = self.binary(op, left)?;
        }
        self.depth -= links;
        self.leave();
        Ok(left)
    }

    fn operator(&self) -> Option<BinaryOp> {
        let token = self.peek();
        matches!(token.kind, TokenKind::Symbol | TokenKind::Word).then(|| BinaryOp::find(token.text)).flatten()
    }

    fn binary(&mut self, op: BinaryOp, left: Expr) -> Result<Expr, ParseError> {
        let return_bool = self.accept_word("bool");
        let matching = self.matching()?;
        // A power binds to the right.
        let least = if op == BinaryOp::Pow { op.precedence() - 1 } else { op.precedence() };
        let right = self.expr(least)?;
        let span = left.span.to(right.span);
        let (left, right) = (Box::new(left), Box::new(right));
        Ok(Expr { kind: Kind::Binary { op, left, right, return_bool, matching, keep_names: false }, span })
    }

    fn matching(&mut self) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if self.is_word("on") || self.is_word("ignoring") {
            matching.on = self.take().text.eq_ignore_ascii_case("on");
            matching.labels = self.labels()?;
            if self.is_word("group_left") || self.is_word("group_right") {
                let left = self.take().text.eq_ignore_ascii_case("group_left");
                matching.card = if left { Card::ManyToOne } else { Card::OneToMany };
                if self.is("(") {
                    matching.include = self.labels()?;
                }
            }
        }
        while self.peek_second().text == "(" {
            match self.peek().text.to_ascii_lowercase().as_str() {
                "fill" => {
                    let value = self.fill()?;
                    (matching.fill_left, matching.fill_right) = (Some(value), Some(value));
                }
                "fill_left" => matching.fill_left = Some(self.fill()?),
                "fill_right" => matching.fill_right = Some(self.fill()?),
                _ => break,
            }
        }
        Ok(matching)
    }

    fn fill(&mut self) -> Result<f64, ParseError> {
        self.take();
        self.expect("(", "fill")?;
        let negative = self.is("-");
        let _sign = self.accept("-") || self.accept("+");
        if !matches!(self.peek().kind, TokenKind::Number | TokenKind::Duration) {
            return Err(self.unexpected("fill", "number"));
        }
        let value = self.seconds()?;
        self.expect(")", "fill")?;
        Ok(if negative { -value } else { value })
    }

    /// `(a, "b.c")`
    fn labels(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(", "grouping opts")?;
        let mut labels = vec![];
        while !self.is(")") {
            let token = self.peek();
            match token.kind {
                TokenKind::Word => labels.push(self.take().text.to_owned()),
                TokenKind::Number if token.text.starts_with(|c: char| c.is_alphabetic()) => {
                    labels.push(self.take().text.to_owned());
                }
                TokenKind::String => {
                    self.take();
                    let label = self.unquoted(token)?;
                    if !crate::labels::is_label_name(&label) {
                        return Err(self.error(token.span, format!("invalid label name for grouping: {label:?}")));
                    }
                    labels.push(label);
                }
                _ => return Err(self.unexpected("grouping opts", "label")),
            }
            if !self.accept(",") && !self.is(")") {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
        self.take();
        Ok(labels)
    }

    /// An operand with its modifiers.
    fn operand(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek();
        let mut expr = match (token.kind, token.text) {
            (TokenKind::Symbol, "+" | "-") => return self.sign(),
            (TokenKind::Symbol, "(") => {
                self.take();
                let inner = self.expr(0)?;
                let close = self.expect(")", "parenthesized expression")?;
                Expr { kind: Kind::Paren(Box::new(inner)), span: token.span.to(close.span) }
            }
            (TokenKind::Symbol, "{") => self.selector(None)?,
            (TokenKind::Number | TokenKind::Duration, _) => {
                let value = self.seconds()?;
                Expr { kind: Kind::Number { value, duration: token.kind == TokenKind::Duration }, span: token.span }
            }
            (TokenKind::String, _) => {
                self.take();
                Expr { kind: Kind::String(self.unquoted(token)?), span: token.span }
            }
            (TokenKind::Word, _) => self.word()?,
            _ => return Err(self.unexpected("", "")),
        };
        // Subqueries of subqueries make the tree deeper, each by one.
        let depth = self.depth;
        while self.modifier(&mut expr)? {}
        self.depth = depth;
        Ok(expr)
    }

    fn sign(&mut self) -> Result<Expr, ParseError> {
        let token = self.take();
        let negative = token.text == "-";
        // A sign binds as a multiplication does, so that -1 ^ 2 is -(1 ^ 2).
        let inner = self.expr(BinaryOp::Mul.precedence())?;
        let span = token.span.to(inner.span);
        Ok(match inner.kind {
            Kind::Number { value, duration } => {
                Expr { kind: Kind::Number { value: if negative { -value } else { value }, duration }, span }
            }
            _ => Expr { kind: Kind::Unary { negative, expr: Box::new(inner) }, span },
        })
    }

    /// A metric, a function call or an aggregation.
    fn word(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek();
        let next = self.peek_second();
        let calls = next.kind == TokenKind::Symbol && next.text == "(";
        let modifies =
            next.kind == TokenKind::Word && ["by", "without"].iter().any(|w| next.text.eq_ignore_ascii_case(w));
        if let Some(op) = AggregateOp::find(token.text)
            && (calls || modifies)
        {
            return self.aggregate(op);
        }
        if calls && !matches!(token.text, "by" | "without" | "offset") {
            return self.call();
        }
        if RESERVED.iter().any(|word| token.text.eq_ignore_ascii_case(word)) {
            return Err(self.unexpected("", ""));
        }
        self.take();
        self.selector(Some(token))
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let name = self.take();
        let lower = name.text.to_ascii_lowercase();
        let keyword = ["start", "end", "step", "range", "min_of", "max_of"].contains(&lower.as_str());
        let function = Function::find(if keyword { &lower } else { name.text });
        let function =
            function.ok_or_else(|| self.error(name.span, format!("unknown function with name {:?}", name.text)))?;
        let (args, close) = self.args()?;
        let span = name.span.to(close);
        Ok(Expr { kind: Kind::Call { function, args, keep_names: false }, span })
    }

    /// Arguments in parentheses, and where they end.
    fn args(&mut self) -> Result<(Vec<Expr>, Span), ParseError> {
        self.expect("(", "function call")?;
        let mut args = vec![];
        if self.is(")") {
            return Ok((args, self.take().span));
        }
        loop {
            args.push(self.expr(0)?);
            if self.is(",") {
                let comma = self.take();
                if self.is(")") {
                    return Err(self.error(comma.span, "trailing commas not allowed in function call args"));
                }
            } else {
                let close = self.expect(")", "function call")?;
                return Ok((args, close.span));
            }
        }
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        if !self.is_word("by") && !self.is_word("without") {
            return Ok(None);
        }
        let without = self.take().text.eq_ignore_ascii_case("without");
        Ok(Some(Grouping { without, labels: self.labels()? }))
    }

    fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let name = self.take();
        let before = self.grouping()?;
        if !self.is("(") {
            return Err(self.unexpected("aggregation", ""));
        }
        let (mut args, close) = self.args()?;
        let mut span = name.span.to(close);
        let grouping = match before {
            Some(grouping) => grouping,
            None => match self.grouping()? {
                Some(grouping) => {
                    span.end = self.last_span().end;
                    grouping
                }
                None => Grouping::default(),
            },
        };
        if args.is_empty() {
            return Err(self.error(span, "no arguments for aggregate expression provided"));
        }
        let wanted = if op.param().is_some() { 2 } else { 1 };
        let got = args.len();
        let (Some(expr), true) = (args.pop(), got == wanted) else {
            let message =
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}");
            return Err(self.error(span, message));
        };
        let param = args.pop().map(Box::new);
        Ok(Expr { kind: Kind::Aggregate { op, param, expr: Box::new(expr), grouping }, span })
    }
}
