//! A series as both text formats write it: `name{label="value"}`, or `{"name",label="value"}` for names in UTF-8.

use std::borrow::Cow;

use memchr::memchr2;

use super::Pairs;

/// Reads a series at the start of a line. Returns the name, and where the rest of the line begins.
pub(super) fn read<'b>(line: &'b str, labels: &mut Pairs<'b>) -> Result<(Cow<'b, str>, usize), String> {
    labels.clear();
    let bytes = line.as_bytes();
    let end = name_end(bytes, 0, true);
    let at = skip_blank(bytes, end);
    if bytes.get(at) != Some(&b'{') {
        return match end {
            0 => Err(format!("{} where a metric's name is expected", shown(line, 0))),
            end => Ok((Cow::Borrowed(&line[..end]), end)),
        };
    }
    let name = (end > 0).then(|| Cow::Borrowed(&line[..end]));
    let (quoted, at) = braces(line, at, labels)?;
    match (name, quoted) {
        (Some(name), None) | (None, Some(name)) => Ok((name, at)),
        (Some(_), Some(_)) => Err("the metric's name is there twice".into()),
        (None, None) => Err("the metric has no name".into()),
    }
}

/// Reads what stands in braces that open at `at`. Returns the metric's name if it is among it, and what comes after.
pub(super) fn braces<'b>(
    line: &'b str,
    at: usize,
    labels: &mut Pairs<'b>,
) -> Result<(Option<Cow<'b, str>>, usize), String> {
    let bytes = line.as_bytes();
    let mut at = at + 1;
    let mut metric = None;
    loop {
        at = skip_blank(bytes, at);
        let name = match bytes.get(at) {
            Some(b'}') => return Ok((metric, at + 1)),
            Some(b'"') => {
                let (name, end) = quoted(line, at)?;
                at = skip_blank(bytes, end);
                if bytes.get(at) != Some(&b'=') {
                    if metric.replace(name).is_some() {
                        return Err("the metric's name is there twice".into());
                    }
                    at = separator(line, at)?;
                    continue;
                }
                name
            }
            _ => {
                let end = name_end(bytes, at, false);
                if end == at {
                    return Err(format!("{} where a label's name or }} is expected", shown(line, at)));
                }
                let name = Cow::Borrowed(&line[at..end]);
                at = skip_blank(bytes, end);
                name
            }
        };
        if bytes.get(at) != Some(&b'=') {
            return Err(format!("{} where = is expected, after the label {name:?}", shown(line, at)));
        }
        at = skip_blank(bytes, at + 1);
        if bytes.get(at) != Some(&b'"') {
            return Err(format!("{} where the value of {name:?} is expected, in double quotes", shown(line, at)));
        }
        let (value, end) = quoted(line, at)?;
        labels.push((name, value));
        at = separator(line, skip_blank(bytes, end))?;
    }
}

/// After a label comes a comma, or the end.
fn separator(line: &str, at: usize) -> Result<usize, String> {
    match line.as_bytes().get(at) {
        Some(b',') => Ok(at + 1),
        Some(b'}') => Ok(at),
        _ => Err(format!("{} where a comma or }} is expected", shown(line, at))),
    }
}

/// A text in double quotes that begin at `at`, and where what follows begins.
pub(super) fn quoted(line: &str, at: usize) -> Result<(Cow<'_, str>, usize), String> {
    let bytes = line.as_bytes();
    let start = at + 1;
    let mut end = start;
    let mut escaped = false;
    loop {
        match memchr2(b'"', b'\\', bytes.get(end..).unwrap_or_default()) {
            None => return Err("a double quote is missing".into()),
            Some(found) if bytes[end + found] == b'\\' => {
                escaped = true;
                end += found + 2;
            }
            Some(found) => {
                end += found;
                break;
            }
        }
    }
    let text = &line[start..end];
    Ok((if escaped { Cow::Owned(unescape(text)) } else { Cow::Borrowed(text) }, end + 1))
}

/// Takes `\\`, `\"` and `\n` for what they stand for; other backslashes stay.
pub(super) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some(special @ ('"' | '\\')) => plain.push(special),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

/// Where a name of ASCII letters, digits and `_` (and `:` in a metric's) that begins at `at` ends.
#[inline]
pub(super) fn name_end(bytes: &[u8], at: usize, colon: bool) -> usize {
    let is_start = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || (colon && byte == b':');
    let mut end = at;
    while let Some(byte) = bytes.get(end) {
        if !(is_start(*byte) || (end > at && byte.is_ascii_digit())) {
            break;
        }
        end += 1;
    }
    end
}

/// The first byte that is neither space nor tab.
#[inline]
pub(super) fn skip_blank(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// What stands somewhere, for a message.
pub(super) fn shown(line: &str, at: usize) -> String {
    match line.get(at..).and_then(|rest| rest.chars().next()) {
        Some(character) => format!("{character:?}"),
        None => "the line's end".into(),
    }
}
