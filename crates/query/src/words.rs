//! The words of texts and patterns that the token index of blocks knows. A run of
//! letters at an open edge of a pattern may go on in the text: it is no word.

use bonghwa_block::tokens;

/// All words of a whole text.
pub(crate) fn of_text(text: &str) -> Vec<String> {
    words(text, true, true)
}

/// The words that a text must have if this lies somewhere in it.
pub(crate) fn inside(text: &str) -> Vec<String> {
    words(text, false, false)
}

/// The words that a text must have if it starts like this.
pub(crate) fn at_start(text: &str) -> Vec<String> {
    words(text, true, false)
}

/// The words that a text must have to be LIKE this pattern.
pub(crate) fn of_pattern(pattern: &str, escape: char) -> Vec<String> {
    let mut out = Vec::new();
    let mut part = String::new();
    let mut open_before = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            // What an escape means before an ordinary character differs between readers: end the part.
            c if c == escape => match chars.next() {
                Some(next @ ('%' | '_')) => part.push(next),
                Some(next) if next == escape => part.push(next),
                _ => return Vec::new(),
            },
            '%' | '_' => {
                out.extend(words(&part, !open_before, false));
                part.clear();
                open_before = true;
            }
            c => part.push(c),
        }
    }
    out.extend(words(&part, !open_before, true));
    out.sort_unstable();
    out.dedup();
    out
}

fn words(text: &str, closed_before: bool, closed_after: bool) -> Vec<String> {
    let mut text = text;
    if !closed_before {
        text = text.trim_start_matches(is_word);
    }
    if !closed_after {
        text = text.trim_end_matches(is_word);
    }
    let mut out: Vec<String> = tokens(text).map(str::to_owned).collect();
    out.sort_unstable();
    out.dedup();
    out
}

/// Whether a character is part of a token. The same as for [`tokens`]: what it splits
/// a text at is in no token.
fn is_word(c: char) -> bool {
    tokens(c.encode_utf8(&mut [0; 4])).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_with_both_ends() {
        for (pattern, expected) in [
            ("%timeout%", &[][..]),
            ("% timeout %", &["timeout"]),
            ("%payment failed%", &[]),
            ("%a payment failed%", &["payment"]),
            ("payment failed", &["failed", "payment"]),
            ("payment%", &[]),
            ("payment %", &["payment"]),
            ("% failed", &["failed"]),
            ("%one_two three four%", &["three"]),
            ("100\\% sure", &["100", "sure"]),
            ("bad\\x escape", &[]),
        ] {
            assert_eq!(of_pattern(pattern, '\\'), expected, "{pattern}");
        }
        assert_eq!(inside("x timeout y"), ["timeout"]);
        assert_eq!(at_start("x timeout y"), ["timeout", "x"]);
    }
}
