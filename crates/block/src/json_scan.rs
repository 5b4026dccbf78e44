//! Walking the top level of a JSON object without parsing the values inside.

use std::borrow::Cow;

/// The entries of an object as this crate writes them: keys, and the text of each
/// value. Stops at the first thing that is not such text.
pub(crate) struct Entries<'a> {
    text: &'a str,
    at: usize,
}

/// The entries of `text`.
pub(crate) fn entries(text: &str) -> Entries<'_> {
    Entries { text, at: 1 }
}

impl<'a> Iterator for Entries<'a> {
    /// The key with its quotes and escapes, and the value's text.
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) == Some(&b',') {
            self.at += 1;
        }
        let key_start = self.at;
        let key_end = string_end(bytes, key_start)?;
        if bytes.get(key_end) != Some(&b':') {
            return None;
        }
        let value_start = key_end + 1;
        let value_end = value_end(bytes, value_start)?;
        self.at = value_end;
        Some((self.text.get(key_start..key_end)?, self.text.get(value_start..value_end)?))
    }
}

/// Where the string that starts at `start` ends, behind its closing quote.
fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    if bytes.get(start) != Some(&b'"') {
        return None;
    }
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

fn value_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    let mut depth = 0usize;
    loop {
        match bytes.get(at)? {
            b'"' => {
                at = string_end(bytes, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return (at > start).then_some(at),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return (at > start).then_some(at),
            _ => {}
        }
        at += 1;
    }
}

/// The text of a JSON string with its quotes.
pub(crate) fn unquote(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.strip_prefix('"').and_then(|t| t.strip_suffix('"')).unwrap_or(quoted);
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_the_top_level() {
        let text = r#"{"a":1,"b\"c":"x,\"}","d":{"e":[1,{"f":"}"}]},"g":null,"":""}"#;
        let found: Vec<_> = entries(text).map(|(k, v)| (unquote(k).into_owned(), v)).collect();
        let expected =
            [("a", "1"), ("b\"c", r#""x,\"}""#), ("d", r#"{"e":[1,{"f":"}"}]}"#), ("g", "null"), ("", r#""""#)];
        assert_eq!(found, expected.map(|(k, v)| (k.to_owned(), v)));
        for broken in
            ["", "{", "{}", "x", r#"{"a"#, r#"{"a""#, r#"{"a":"#, r#"{"a":"b"#, r#"{"a":}"#, r#"{"a":[1"#, "{\"\\"]
        {
            assert_eq!(entries(broken).count(), 0, "{broken}");
        }
    }
}
