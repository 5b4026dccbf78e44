//! Patterns that are only texts between wildcards: comparing texts takes a fraction of the time of running an
//! automaton, and most patterns of dashboards are such.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind, Repetition};

/// A pattern over a whole value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// One of these values: `a|b`. They are sorted.
    OneOf(Vec<String>),
    /// A beginning, at least so many bytes, an end: `a.*b`, `.+b`.
    Around { prefix: String, least: usize, suffix: String },
    /// A text with at least so many bytes before and behind it: `.*a.+`.
    Within { before: usize, text: String, behind: usize },
}

impl Plain {
    /// What a pattern is, of `regex`' syntax; none where it is more than that.
    pub fn of(pattern: &str) -> Option<Self> {
        let hir = ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern).ok()?;
        let hir = uncaptured(&hir);
        if let Some(values) = values(hir) {
            return Some(values);
        }
        let parts = match hir.kind() {
            HirKind::Concat(parts) => &parts[..],
            _ => std::slice::from_ref(hir),
        };
        let parts: Vec<Part> = parts.iter().map(|part| Part::of(uncaptured(part))).collect::<Option<_>>()?;
        Some(match &parts[..] {
            [Part::Any(least)] => around("", *least, ""),
            [Part::Text(prefix), Part::Any(least)] => around(prefix, *least, ""),
            [Part::Any(least), Part::Text(suffix)] => around("", *least, suffix),
            [Part::Text(prefix), Part::Any(least), Part::Text(suffix)] => around(prefix, *least, suffix),
            [Part::Any(before), Part::Text(text), Part::Any(behind)] => {
                Plain::Within { before: *before, text: text.clone(), behind: *behind }
            }
            _ => return None,
        })
    }

    /// Whether it matches a value.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Plain::OneOf(values) => values.binary_search_by(|one| one.as_str().cmp(value)).is_ok(),
            Plain::Around { prefix, least, suffix } => {
                value.len() >= prefix.len() + least + suffix.len()
                    // Mostly the last byte decides.
                    && (suffix.is_empty()
                        || value.as_bytes().last() == suffix.as_bytes().last() && value.ends_with(suffix.as_str()))
                    && (prefix.is_empty() || value.starts_with(prefix.as_str()))
            }
            Plain::Within { before, text, behind } => {
                // What is asked for before and behind is one character, whatever it is.
                let first = value.chars().next().map_or(0, char::len_utf8);
                let last = value.chars().next_back().map_or(0, char::len_utf8);
                let (start, cut) = (if *before > 0 { first } else { 0 }, if *behind > 0 { last } else { 0 });
                let enough = !value.is_empty() || before + behind == 0;
                let end = value.len().saturating_sub(cut);
                enough && value.get(start..end).is_some_and(|inner| inner.contains(text.as_str()))
            }
        }
    }
}

fn around(prefix: &str, least: usize, suffix: &str) -> Plain {
    Plain::Around { prefix: prefix.to_owned(), least, suffix: suffix.to_owned() }
}

/// A part of a pattern.
enum Part {
    Text(String),
    /// `.*` or `.+`: anything of at least so many characters, none or one.
    Any(usize),
}

impl Part {
    fn of(hir: &Hir) -> Option<Self> {
        match hir.kind() {
            HirKind::Repetition(Repetition { min: min @ (0 | 1), max: None, sub, .. }) if is_any(sub) => {
                Some(Part::Any(*min as usize))
            }
            _ => text(hir).map(Part::Text),
        }
    }
}

/// Whether it matches each character.
fn is_any(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            matches!(class.ranges(), [all] if all.start() == '\0' && all.end() == char::MAX)
        }
        HirKind::Capture(capture) => is_any(&capture.sub),
        _ => false,
    }
}

fn uncaptured(hir: &Hir) -> &Hir {
    match hir.kind() {
        HirKind::Capture(capture) => uncaptured(&capture.sub),
        _ => hir,
    }
}

fn text(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Empty => Some(String::new()),
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec()).ok(),
        HirKind::Capture(capture) => text(&capture.sub),
        _ => None,
    }
}

/// A choice of texts.
fn values(hir: &Hir) -> Option<Plain> {
    let mut values = match hir.kind() {
        HirKind::Alternation(choices) => choices.iter().map(text).collect::<Option<Vec<String>>>()?,
        _ => vec![text(hir)?],
    };
    values.sort_unstable();
    values.dedup();
    Some(Plain::OneOf(values))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn patterns_of_dashboards_are_plain() {
        let values = |values: &[&str]| Some(Plain::OneOf(values.iter().map(|v| (*v).to_owned()).collect()));
        for (pattern, expected) in [
            ("", values(&[""])),
            ("abc", values(&["abc"])),
            (r"a\.b", values(&["a.b"])),
            ("web|api|db", values(&["api", "db", "web"])),
            ("(web|api)", values(&["api", "web"])),
            ("(?:web)", values(&["web"])),
            (".*", Some(around("", 0, ""))),
            ("(.+)", Some(around("", 1, ""))),
            ("web.*", Some(around("web", 0, ""))),
            (".*-7", Some(around("", 0, "-7"))),
            ("web.+7", Some(around("web", 1, "7"))),
            (".*err.*", Some(Plain::Within { before: 0, text: "err".into(), behind: 0 })),
            ("(?i)web", None),
            ("a.c", None),
            ("[ab]", None),
            ("a.*b.*c", None),
            ("a|b.*", None),
            ("a?", None),
            ("^a", None),
            ("(?-s:.*)", None),
        ] {
            assert_eq!(Plain::of(pattern), expected, "{pattern}");
        }
    }

    proptest! {
        /// What is plain says what the regular expression says.
        #[test]
        fn plain_patterns_match_as_regular_expressions(
            pattern in "(ab|a|é|[.][*]|[.][+]|[|]|\\(a\\)|\\(b[|]a\\)){0,5}",
            values in prop::collection::vec("[abé\n]{0,5}", 20),
        ) {
            if let (Some(plain), Ok(regex)) = (Plain::of(&pattern), Regex::new(&format!("^(?s:{pattern})$"))) {
                for value in values {
                    prop_assert_eq!(plain.matches(&value), regex.is_match(&value), "{:?} {:?}", pattern, value);
                }
            }
        }
    }
}
