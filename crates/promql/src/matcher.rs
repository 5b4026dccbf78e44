//! Label matchers, compiled.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

use crate::plain::Plain;
use crate::re2;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`: the whole value matches, and `.` matches a newline too.
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label. A label that is not there has an empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// The comparison.
    pub op: MatchOp,
    /// The value or pattern as it was written.
    pub value: String,
    pattern: Option<Arc<Pattern>>,
}

/// A regular expression over a whole value.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub regex: Regex,
    /// What it is, where it is only texts and wildcards.
    plain: Option<Plain>,
}

impl Matcher {
    /// A matcher; an error is the regular expression's.
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, String> {
        let value = value.into();
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(anchored(&value)?),
        };
        Ok(Self { name: name.into(), op, value, pattern })
    }

    /// `name="value"`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// Whether a value of the label fulfils it.
    pub fn matches(&self, value: &str) -> bool {
        let regex = || self.pattern.as_ref().is_some_and(|pattern| pattern.matches(value));
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => regex(),
            MatchOp::NotRegex => !regex(),
        }
    }

    /// What each value that fulfils it has: all parts of one of these lists. None where the value may be anything.
    pub fn parts(&self) -> Option<Vec<Vec<ValuePart<'_>>>> {
        let whole = |text| vec![ValuePart { text, starts: true, ends: true }];
        match self.op {
            MatchOp::Equal => Some(vec![whole(self.value.as_str())]),
            MatchOp::Regex => match self.pattern.as_ref()?.plain.as_ref()? {
                Plain::OneOf(values) => Some(values.iter().map(|value| whole(value.as_str())).collect()),
                Plain::Around { prefix, suffix, .. } => Some(vec![vec![
                    ValuePart { text: prefix, starts: true, ends: false },
                    ValuePart { text: suffix, starts: false, ends: true },
                ]]),
                Plain::Within { text, .. } => Some(vec![vec![ValuePart { text, starts: false, ends: false }]]),
            },
            MatchOp::NotEqual | MatchOp::NotRegex => None,
        }
    }

    /// Whether asking it takes longer than looking up what it said.
    pub fn is_costly(&self) -> bool {
        self.pattern.as_ref().is_some_and(|pattern| pattern.plain.is_none())
    }
}

/// A part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValuePart<'a> {
    /// The text.
    pub text: &'a str,
    /// Whether the value starts with it.
    pub starts: bool,
    /// Whether the value ends with it.
    pub ends: bool,
}

impl Pattern {
    /// Whether it matches a whole value.
    pub fn matches(&self, value: &str) -> bool {
        match &self.plain {
            Some(plain) => plain.matches(value),
            None => self.regex.is_match(value),
        }
    }
}

/// A regular expression over a whole value, as Prometheus 3 reads it: `.` matches a newline.
pub(crate) fn anchored(pattern: &str) -> Result<Arc<Pattern>, String> {
    static PATTERNS: LazyLock<Patterns> = LazyLock::new(Patterns::default);
    PATTERNS.get(pattern)
}

/// The same for other places that have Prometheus' regular expressions, such as relabelling.
pub fn anchored_regex(pattern: &str) -> Result<Regex, String> {
    anchored(pattern).map(|pattern| pattern.regex.clone())
}

/// Patterns that are kept compiled: a dashboard asks the same ones again and again, and compiling one takes longer
/// than a small query.
#[derive(Default)]
struct Patterns(Mutex<HashMap<String, Arc<Pattern>>>);

impl Patterns {
    /// At most so many are kept.
    const MOST: usize = 64;
    /// Bytes of a program that is kept, at most, and of what running it may build.
    const BYTES: usize = 128 * 1024;
    /// Bytes of a pattern, at most: reading one takes some two hundred times as much memory.
    const LONGEST: usize = 512 * 1024;

    fn get(&self, pattern: &str) -> Result<Arc<Pattern>, String> {
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kept().get(pattern) {
            return Ok(known.clone());
        }
        if pattern.len() > Self::LONGEST {
            let (found, most) = (pattern.len(), Self::LONGEST);
            return Err(format!("a regular expression of {found} bytes is too long: it may have {most}"));
        }
        if re2::repeats_twice(pattern) {
            return Err(format!("invalid nested repetition operator in {pattern:?}"));
        }
        let translated = re2::translated(pattern);
        // Compiled alone first: `a)(b` would be valid inside the parentheses below.
        Regex::new(&translated).map_err(|error| error.to_string())?;
        let whole = format!("^(?s:{translated})$");
        let small = RegexBuilder::new(&whole).size_limit(Self::BYTES).dfa_size_limit(Self::BYTES).build();
        let made = |regex| Arc::new(Pattern { regex, plain: Plain::of(&translated) });
        let Ok(made) = small.map(made) else {
            return Regex::new(&whole).map(made).map_err(|error| error.to_string());
        };
        let mut kept = kept();
        if kept.len() >= Self::MOST {
            kept.clear();
        }
        kept.insert(pattern.to_owned(), made.clone());
        Ok(made)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = crate::syntax::quoted_label(&self.name);
        write!(f, "{name}{}{}", self.op.as_str(), crate::syntax::quote(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_compiled_once() -> Result<(), String> {
        let patterns = Patterns::default();
        let same = |pattern: &str| Ok::<_, String>(Arc::ptr_eq(&patterns.get(pattern)?, &patterns.get(pattern)?));
        assert!(same("once.*")?);
        // Large ones are not kept, and small ones not without end.
        assert!(!same(r"([0-9a-z]{1,63}\.){1,50}")?);
        (0..1000).try_for_each(|n| patterns.get(&format!("many{n}|x")).map(drop))?;
        assert!(patterns.0.lock().is_ok_and(|kept| kept.len() <= Patterns::MOST));
        assert!(same("once.*")?);
        Ok(())
    }

    #[test]
    fn regular_expressions_are_anchored_and_dots_match_newlines() -> Result<(), String> {
        let cases = [("a.c", "a\nc", true), ("a", "ab", false), ("a|b", "b", true), ("", "", true), ("a$", "a", true)];
        for (pattern, value, expected) in cases {
            assert_eq!(Matcher::new("x", MatchOp::Regex, pattern)?.matches(value), expected, "{pattern}");
            assert_eq!(Matcher::new("x", MatchOp::NotRegex, pattern)?.matches(value), !expected, "{pattern}");
        }
        for wrong in ["a)(b", "a**", "a+*", "["] {
            assert!(Matcher::new("x", MatchOp::Regex, wrong).is_err(), "{wrong}");
        }
        for right in ["a*?", "a??", "(?:a*)*", "[*+]", r"\*\*", "(?i)a"] {
            assert!(Matcher::new("x", MatchOp::Regex, right).is_ok(), "{right}");
        }
        Ok(())
    }
}
