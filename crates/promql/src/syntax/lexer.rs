//! Text to tokens.

use super::Span;
use crate::error::ParseError;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A word: a name, a keyword, an operator such as `and`.
    Word,
    /// A number.
    Number,
    /// `5m`
    Duration,
    /// A quoted text.
    String,
    /// An operator or punctuation.
    Symbol,
    /// The end of the query.
    End,
}

/// A piece of the query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub kind: TokenKind,
    pub text: &'a str,
    pub span: Span,
}

impl Token<'_> {
    /// As an error names it: `right parenthesis ")"`.
    pub fn describe(&self) -> String {
        let what = match self.kind {
            TokenKind::End => return "end of input".into(),
            TokenKind::Number => "number",
            TokenKind::Duration => "duration",
            TokenKind::String => "string",
            TokenKind::Word if super::parser::is_keyword(self.text) => return format!("<{}>", self.text),
            TokenKind::Word => "identifier",
            TokenKind::Symbol => match self.text {
                "(" => "left parenthesis",
                ")" => "right parenthesis",
                "{" => "left brace",
                "}" => "right brace",
                "[" => "left bracket",
                "]" => "right bracket",
                "," => "comma",
                ":" => "colon",
                "=" => "\"=\"",
                operator => return format!("<op:{operator}>"),
            },
        };
        if what == "\"=\"" { what.into() } else { format!("{what} {:?}", self.text) }
    }
}

/// Symbols of two characters come first.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "=~", "!~", ">=", "<=", ">/", "</", "+", "-", "*", "/", "%", "^", "=", ">", "<", "(", ")", "{", "}",
    "[", "]", ",", "@",
];

/// The tokens of a query, the last of them [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut lexer = Lexer { text, at: 0, braces: false, brackets: false, parens: 0, tokens: vec![] };
    while lexer.next()? {}
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    braces: bool,
    brackets: bool,
    parens: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error(&self, start: usize, message: impl Into<String>) -> ParseError {
        ParseError::new(self.text, Span::new(start, self.text.len()), message)
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let span = Span::new(self.at, self.at + length);
        self.tokens.push(Token { kind, text: &self.text[span.start..span.end], span });
        self.at = span.end;
    }

    /// Takes one token; false at the end.
    fn next(&mut self) -> Result<bool, ParseError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            self.end()?;
            return Ok(false);
        };
        if matches!(first, ' ' | '\t' | '\n' | '\r') {
            self.at += 1;
        } else if first == '#' {
            self.at += rest.find('\n').unwrap_or(rest.len());
        } else if matches!(first, '"' | '\'' | '`') {
            let length = self.string(first)?;
            self.push(TokenKind::String, length);
        } else if is_name_start(first, self.braces || self.brackets) {
            let colon = self.braces || self.brackets;
            let length = rest.find(|c| !is_name_part(c, colon)).unwrap_or(rest.len());
            let word = &rest[..length];
            let number = !self.braces && ["inf", "nan"].iter().any(|n| word.eq_ignore_ascii_case(n));
            self.push(if number { TokenKind::Number } else { TokenKind::Word }, word.len());
        } else if first.is_ascii_digit() || first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit()) {
            self.number()?;
        } else {
            self.symbol(first)?;
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<(), ParseError> {
        let end = self.text.len();
        if self.braces {
            return Err(self.error(end, "unexpected end of input inside braces"));
        }
        if self.brackets {
            return Err(self.error(end, "unclosed left bracket"));
        }
        if self.parens > 0 {
            return Err(self.error(end, "unclosed left parenthesis"));
        }
        self.push(TokenKind::End, 0);
        Ok(())
    }

    /// The length of a quoted text.
    fn string(&self, quote: char) -> Result<usize, ParseError> {
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' if quote != '`' => drop(chars.next()),
                '\n' if quote != '`' => break,
                c if c == quote => return Ok(at + 1),
                _ => {}
            }
        }
        let what = if quote == '`' { "unterminated raw string" } else { "unterminated quoted string" };
        Err(self.error(self.at, what))
    }

    /// A number or a duration.
    fn number(&mut self) -> Result<(), ParseError> {
        let rest = self.rest();
        let (number, duration) = (number_length(rest), duration_length(rest));
        let ends = |length: usize| !rest[length..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if number > 0 && ends(number) {
            self.push(TokenKind::Number, number);
        } else if duration > 0 && ends(duration) {
            self.push(TokenKind::Duration, duration);
        } else {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
            return Err(self.error(self.at, format!("bad number or duration syntax: {:?}", &rest[..length])));
        }
        Ok(())
    }

    fn symbol(&mut self, first: char) -> Result<(), ParseError> {
        let rest = self.rest();
        if first == ':' {
            if !self.brackets {
                return Err(self.error(self.at, "unexpected colon ':'"));
            }
            self.push(TokenKind::Symbol, 1);
            return Ok(());
        }
        let Some(symbol) = SYMBOLS.iter().find(|s| rest.starts_with(**s)) else {
            let place = if self.braces { " inside braces" } else { "" };
            return Err(match first {
                '!' => {
                    let after = rest.chars().nth(1).map_or("end of input".into(), |c| format!("'{c}'"));
                    self.error(self.at, format!("unexpected character after '!'{place}: {after}"))
                }
                other => self.error(self.at, format!("unexpected character{place}: '{other}'")),
            });
        };
        match *symbol {
            "{" if self.braces => return Err(self.error(self.at, "unexpected left brace '{'")),
            "{" => self.braces = true,
            "}" if !self.braces => return Err(self.error(self.at, "unexpected right brace '}'")),
            "}" => self.braces = false,
            "[" if self.brackets => return Err(self.error(self.at, "unexpected left bracket '['")),
            "[" => self.brackets = true,
            "]" if !self.brackets => return Err(self.error(self.at, "unexpected right bracket ']'")),
            "]" => self.brackets = false,
            "(" => self.parens += 1,
            ")" if self.parens == 0 => return Err(self.error(self.at, "unexpected right parenthesis ')'")),
            ")" => self.parens -= 1,
            other if self.braces && !["=", "!=", "=~", "!~", ","].contains(&other) => {
                return Err(self.error(self.at, format!("unexpected character inside braces: '{first}'")));
            }
            _ => {}
        }
        self.push(TokenKind::Symbol, symbol.len());
        Ok(())
    }
}

/// Names of other letters need quotes; colons stand outside of braces and brackets only.
fn is_name_start(c: char, no_colon: bool) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' && !no_colon
}

fn is_name_part(c: char, no_colon: bool) -> bool {
    is_name_start(c, no_colon) || c.is_ascii_digit()
}

/// How many bytes at the start are a number; 0 if none is there.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let run = |from: usize, wanted: fn(&u8) -> bool| {
        from + bytes[from..].iter().take_while(|b| wanted(b) || **b == b'_').count()
    };
    if text.len() > 2 && (text.starts_with("0x") || text.starts_with("0X")) {
        let end = run(2, u8::is_ascii_hexdigit);
        return if end > 2 { end } else { 0 };
    }
    let mut at = run(0, u8::is_ascii_digit);
    if bytes.get(at) == Some(&b'.') {
        at = run(at + 1, u8::is_ascii_digit);
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = run((at + 1 + sign).min(bytes.len()), u8::is_ascii_digit);
        if end > at + 1 + sign {
            at = end;
        }
    }
    at
}

/// How many bytes at the start look like a duration.
fn duration_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let digits = bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let unit = bytes[at + digits..].iter().take(2).take_while(|b| b.is_ascii_alphabetic()).count();
        if digits == 0 || unit == 0 {
            return at;
        }
        let two = unit == 2 && &bytes[at + digits..at + digits + 2] == b"ms";
        if !two && !b"smhdwy".contains(&bytes[at + digits]) {
            return at;
        }
        at += digits + if two { 2 } else { 1 };
    }
}
