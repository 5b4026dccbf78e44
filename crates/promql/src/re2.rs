//! RE2's patterns, which Prometheus has, for an engine that reads some of them otherwise.

use std::iter::Peekable;
use std::str::Chars;

/// The pattern as `regex` has to read it to mean the same: a `{` that begins no repetition is itself, classes
/// such as `\d` are those of ASCII, and in brackets there are neither brackets nor operators between sets.
pub(crate) fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' => escape(&mut rest, &mut out),
            '[' => class(&mut rest, &mut out),
            '{' if !begins_repetition(rest.clone()) => out.push_str("\\{"),
            _ => out.push(c),
        }
    }
    out
}

/// What comes after a backslash.
fn escape(rest: &mut Peekable<Chars>, out: &mut String) {
    match rest.next() {
        // The braces of `\p{Greek}` and `\x{10FFFF}` are no repetition.
        Some(c @ ('p' | 'P' | 'x')) => {
            out.extend(['\\', c]);
            if rest.peek() == Some(&'{') {
                through('}', rest, out);
            }
        }
        // Outside of brackets only; inside it is an error of both.
        Some(c @ ('b' | 'B')) => out.push_str(&format!("(?-u:\\{c})")),
        // Themselves, and no ends of words.
        Some(c @ ('<' | '>')) => out.push(c),
        Some(c) => match ascii(c) {
            Some(class) => out.push_str(class),
            None => out.extend(['\\', c]),
        },
        None => out.push('\\'),
    }
}

fn ascii(letter: char) -> Option<&'static str> {
    Some(match letter {
        'd' => "[0-9]",
        'D' => "[^0-9]",
        's' => r"[\t\n\f\r ]",
        'S' => r"[^\t\n\f\r ]",
        'w' => "[0-9A-Za-z_]",
        'W' => "[^0-9A-Za-z_]",
        _ => return None,
    })
}

/// What comes after an opening bracket, up to the closing one.
fn class(rest: &mut Peekable<Chars>, out: &mut String) {
    out.push('[');
    if let Some(not) = rest.next_if_eq(&'^') {
        out.push(not);
    }
    // Whether a range may begin with what came before.
    let mut begins = false;
    // At the beginning it is itself.
    if rest.next_if_eq(&']').is_some() {
        out.push_str("\\]");
        begins = true;
    }
    while let Some(c) = rest.next() {
        if c == '-' && begins && rest.peek().is_some_and(|next| *next != ']') {
            out.push('-');
            begins = false;
            if let Some(end) = rest.next() {
                in_class(end, rest, out);
            }
            continue;
        }
        if c == ']' {
            out.push(']');
            return;
        }
        // `\d` and `[:alpha:]` are no characters.
        begins = match (c, rest.peek()) {
            ('\\', Some(next)) => !matches!(next, 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P'),
            ('[', next) => next != Some(&':'),
            _ => true,
        };
        in_class(c, rest, out);
    }
}

/// A character within brackets, and what belongs to it.
fn in_class(c: char, rest: &mut Peekable<Chars>, out: &mut String) {
    match c {
        '\\' if !matches!(rest.peek(), Some('b' | 'B')) => escape(rest, out),
        // `[:alpha:]` is the same to both.
        '[' if rest.peek() == Some(&':') => {
            out.push('[');
            through(']', rest, out);
        }
        '[' | '&' | '~' | '-' => out.extend(['\\', c]),
        _ => out.push(c),
    }
}

/// What comes up to and with `last`.
fn through(last: char, rest: &mut Peekable<Chars>, out: &mut String) {
    for c in rest {
        out.push(c);
        if c == last {
            return;
        }
    }
}

/// Whether `{` is followed by `n}`, `n,}` or `n,m}`.
fn begins_repetition(mut rest: Peekable<Chars>) -> bool {
    let digits = |rest: &mut Peekable<Chars>| {
        let mut any = false;
        while rest.next_if(char::is_ascii_digit).is_some() {
            any = true;
        }
        any
    };
    if !digits(&mut rest) {
        return false;
    }
    if rest.next_if_eq(&',').is_some() {
        digits(&mut rest);
    }
    rest.next() == Some('}')
}

/// Whether something is repeated twice, as in `a**`, which RE2 refuses.
pub(crate) fn repeats_twice(pattern: &str) -> bool {
    // How many operators came one after another; a `?` after the first makes that lazy.
    let (mut operators, mut lazy, mut escaped, mut class) = (0, false, false, false);
    for c in pattern.chars() {
        match c {
            _ if escaped => (escaped, operators, lazy) = (false, 0, false),
            '\\' => escaped = true,
            '[' => class = true,
            ']' => (class, operators, lazy) = (false, 0, false),
            '?' if !class && operators == 1 && !lazy => lazy = true,
            '*' | '+' | '?' if !class => {
                operators += 1;
                if operators > 1 {
                    return true;
                }
            }
            _ => (operators, lazy) = (0, false),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::matcher::anchored;

    #[test]
    fn patterns_mean_what_they_mean_to_prometheus() -> Result<(), String> {
        let cases = [
            ("/users/{id}/.*", "/users/{id}/x", true),
            ("/users/{id}/.*", "/users/7/x", false),
            ("{", "{", true),
            ("a{,2}", "a{,2}", true),
            ("a{2}", "aa", true),
            ("a{1,2}b{1,}", "aabbb", true),
            (r"a\{2\}", "a{2}", true),
            ("[{]x{2,y", "{x{2,y", true),
            (r"\d+", "42", true),
            (r"\d+", "٤٢", false),
            (r"\D", "٤", true),
            (r"\w+", "é", false),
            (r"[\w.-]+", "a.b-c_1", true),
            (r"[^\w]", "é", true),
            (r"\s", "\u{a0}", false),
            (r"\S", "\u{a0}", true),
            (r".*\bab\b.*", "éabé", true),
            (r"\pL\p{Greek}\x{41}", "éαA", true),
            ("[[a]+", "[a", true),
            ("[a&&b]+", "a&b", true),
            ("[]a]+", "]a", true),
            ("[[:alpha:]_]+", "ab_", true),
            (r"a\Bb", "ab", true),
            ("[+--]+", "+,-", true),
            ("[+--]", ".", false),
            ("[!--]", "%", true),
            ("[--a]", "A", true),
            ("[--a]", "b", false),
            ("[a-]+", "a-", true),
            ("[-a]+", "a-", true),
            ("[^-a]", "-", false),
            ("[a-z-9]+", "b-9", true),
            ("[a-z-9]", ".", false),
            (r"[\d-z]+", "7-z", true),
            (r"[\--a]", "A", true),
            ("[a-c]", "b", true),
            (r"\<nil\>", "<nil>", true),
            (r"\<nil\>", "nil", false),
        ];
        for (pattern, value, expected) in cases {
            let regex = anchored(pattern).map_err(|error| format!("{pattern}: {error}"))?;
            assert_eq!(regex.matches(value), expected, "{pattern} of {value}");
        }
        for wrong in ["[", "a)", r"\", "(", "[a"] {
            assert!(anchored(wrong).is_err(), "{wrong}");
        }
        Ok(())
    }
}
