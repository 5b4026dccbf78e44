//! Tokens: what the token filter holds of a text.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The tokens of a text: maximal runs of letters, digits and `_`, as they are written.
///
/// Letters and digits are those of Unicode. Case is kept: `Error` and `error` differ.
pub fn tokens(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_in_token(c)).filter(|token| !token.is_empty())
}

/// The tokens that a text surely has of which this is a part: whether the text starts, and ends, where the part does.
pub fn tokens_of_part(part: &str, starts: bool, ends: bool) -> impl Iterator<Item = &str> {
    let part = if starts { part } else { part.trim_start_matches(is_in_token) };
    tokens(if ends { part } else { part.trim_end_matches(is_in_token) })
}

fn is_in_token(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

const fn ascii_table() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || byte as u8 == b'_';
        byte += 1;
    }
    table
}

static IN_TOKEN: [bool; 256] = ascii_table();

/// Calls `found` with the hash of each token of a text.
#[inline]
pub(super) fn each_hash(text: &[u8], mut found: impl FnMut(u64)) {
    if !text.is_ascii() {
        if let Ok(text) = std::str::from_utf8(text) {
            tokens(text).for_each(|token| found(hash_token(token.as_bytes())));
        }
        return;
    }
    let mut at = 0;
    while at < text.len() {
        if !IN_TOKEN[text[at] as usize] {
            at += 1;
            continue;
        }
        let start = at;
        while at < text.len() && IN_TOKEN[text[at] as usize] {
            at += 1;
        }
        found(hash_token(&text[start..at]));
    }
}

/// The hash by which filters know a token. Stored: never change it without a new version.
#[inline]
pub(crate) fn hash_token(token: &[u8]) -> u64 {
    xxh3_64(token)
}

/// The hash by which filters know a trace id.
#[inline]
pub(crate) fn hash_trace_id(id: &[u8]) -> u64 {
    xxh3_64_with_seed(id, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_is() {
        for (text, expected) in [
            ("", &[][..]),
            (" - ", &[]),
            ("user_id=42, Größe: 7mm", &["user_id", "42", "Größe", "7mm"]),
            ("GET /api/v1/items?id=a-b", &["GET", "api", "v1", "items", "id", "a", "b"]),
            ("봉화 불", &["봉화", "불"]),
        ] {
            assert_eq!(tokens(text).collect::<Vec<_>>(), expected, "{text}");
            let mut hashes = Vec::new();
            each_hash(text.as_bytes(), |hash| hashes.push(hash));
            let expected: Vec<u64> = expected.iter().map(|t| hash_token(t.as_bytes())).collect();
            assert_eq!(hashes, expected, "{text}");
        }
    }

    #[test]
    fn a_part_has_tokens_that_end_within_it() {
        for (part, starts, ends, expected) in [
            ("web-1", true, true, &["web", "1"][..]),
            ("web-1", false, true, &["1"]),
            ("web-1", true, false, &["web"]),
            ("-a-", false, false, &["a"]),
            ("web", false, true, &[]),
            ("", false, false, &[]),
        ] {
            assert_eq!(tokens_of_part(part, starts, ends).collect::<Vec<_>>(), expected, "{part} {starts} {ends}");
        }
    }
}
