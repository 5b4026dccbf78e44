//! Functions over labels: label_replace, label_join, sorting, what `absent` answers with.

use std::cmp::Ordering;

use super::fold::Usage;
use super::rows::{Row, is_absent, merge_same};
use crate::error::Error;
use crate::labels::{Labels, METRIC_NAME, is_label_name, is_metadata};
use crate::matcher::{MatchOp, Matcher, anchored};
use crate::syntax::Function;

/// The longest label that a query may make, bytes: each call can double one, and calls nest.
const LONGEST: usize = 1 << 20;
/// So many bytes of labels that a query makes count as a point that it keeps.
const BYTES_PER_POINT: usize = 4;

/// `label_replace(rows, to, replacement, from, pattern)`.
pub(crate) fn label_replace(mut rows: Vec<Row>, texts: &[String], usage: &Usage) -> Result<Vec<Row>, Error> {
    let [to, replacement, from, pattern] = texts else { return Ok(rows) };
    let compiled = anchored(pattern)
        .map_err(|_| Error::execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    if !is_label_name(to) {
        return Err(Error::execution(format!("invalid destination label name in label_replace(): {to}")));
    }
    for row in &mut rows {
        let value = row.labels.get(from).to_owned();
        let Some(found) = compiled.regex.captures(&value) else { continue };
        let mut new = String::new();
        if !expand(replacement, &found, &mut new) {
            return Err(too_long("label_replace", to));
        }
        set_label(row, to, &new, usage)?;
    }
    merge_same(rows).ok_or_else(super::binary::same_labels)
}

/// Puts what was captured where `$1`, `${1}` and `$name` stand, as Go does: a name is as long as it can be. False if
/// that is too long.
fn expand(template: &str, found: &regex::Captures, text: &mut String) -> bool {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        if text.len() > LONGEST {
            return false;
        }
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
            continue;
        }
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let braced = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let (name, after) = match braced {
            Some((name, after)) => (name, after),
            None => rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len())),
        };
        if name.is_empty() || !name.chars().all(is_part) {
            // Not a reference: the dollar is itself.
            text.push('$');
            continue;
        }
        let group = match name.parse::<usize>() {
            Ok(number) => found.get(number),
            Err(_) => found.name(name),
        };
        text.push_str(group.map_or("", |group| group.as_str()));
        rest = after;
    }
    text.push_str(rest);
    text.len() <= LONGEST
}

fn too_long(function: &str, label: &str) -> Error {
    Error::execution(format!(
        "{function}() would make the label {label:?} longer than {LONGEST} bytes: make it shorter"
    ))
}

fn set_label(row: &mut Row, name: &str, value: &str, usage: &Usage) -> Result<(), Error> {
    usage.keep(value.len() / BYTES_PER_POINT)?;
    row.labels = row.labels.builder().set(name, value).build();
    if name == METRIC_NAME {
        row.drop_name = false;
    }
    Ok(())
}

/// `label_join(rows, to, separator, from...)`.
pub(crate) fn label_join(mut rows: Vec<Row>, texts: &[String], usage: &Usage) -> Result<Vec<Row>, Error> {
    let [to, separator, from @ ..] = texts else { return Ok(rows) };
    if let Some(wrong) = from.iter().find(|name| !is_label_name(name)) {
        return Err(Error::execution(format!("invalid source label name in label_join(): {wrong}")));
    }
    if !is_label_name(to) {
        return Err(Error::execution(format!("invalid destination label name in label_join(): {to}")));
    }
    for row in &mut rows {
        let parts: Vec<&str> = from.iter().map(|name| row.labels.get(name)).collect();
        let length: usize = parts.iter().map(|part| part.len() + separator.len()).sum();
        if length > LONGEST {
            return Err(too_long("label_join", to));
        }
        let joined = parts.join(separator);
        set_label(row, to, &joined, usage)?;
    }
    merge_same(rows).ok_or_else(super::binary::same_labels)
}

/// Sorts what an instant query gives.
pub(crate) fn sort(function: Function, rows: &mut Vec<Row>, labels: &[String]) {
    let descending = matches!(function, Function::SortDesc | Function::SortByLabelDesc);
    if matches!(function, Function::Sort | Function::SortDesc) {
        rows.retain(|row| row.floats.first().is_some_and(|value| !is_absent(*value)));
        // NaN comes last in either direction.
        rows.sort_by(|a, b| {
            let (a, b) = (a.floats[0], b.floats[0]);
            match (a.is_nan(), b.is_nan()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                _ if descending => b.total_cmp(&a),
                _ => a.total_cmp(&b),
            }
        });
        return;
    }
    rows.sort_by(|a, b| {
        let by_label = |name: &String| natural(a.labels.get(name), b.labels.get(name));
        let order = labels.iter().map(by_label).find(|order| order.is_ne()).unwrap_or_else(|| a.labels.cmp(&b.labels));
        if descending { order.reverse() } else { order }
    });
}

/// Digits compare as numbers, so that `a10` comes after `a9`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        let (i, j) = (digits(a), digits(b));
        if i > 0 && j > 0 {
            let strip = |text: &[u8], to: usize| {
                let zeros = text[..to].iter().take_while(|c| **c == b'0').count().min(to - 1);
                text[zeros..to].to_vec()
            };
            let (x, y) = (strip(a, i), strip(b, j));
            let order = x.len().cmp(&y.len()).then_with(|| x.cmp(&y)).then_with(|| i.cmp(&j));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[i..], &b[j..]);
            continue;
        }
        match (a.split_first(), b.split_first()) {
            (Some((x, rest_a)), Some((y, rest_b))) => {
                if x != y {
                    return x.cmp(y);
                }
                (a, b) = (rest_a, rest_b);
            }
            (rest_a, rest_b) => return rest_a.is_some().cmp(&rest_b.is_some()),
        }
    }
}

/// The labels that a series would surely have: those that one condition pins and none after it touches.
pub(crate) fn absent_labels(matchers: &[Matcher]) -> Labels {
    let mut pinned: Vec<(&str, Option<&str>)> = vec![];
    for matcher in matchers.iter().filter(|m| !is_metadata(&m.name)) {
        match pinned.iter_mut().find(|(name, _)| *name == matcher.name) {
            Some((_, value)) => *value = None,
            None if matcher.op == MatchOp::Equal => pinned.push((&matcher.name, Some(&matcher.value))),
            None => {}
        }
    }
    Labels::new(pinned.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order() {
        for (a, b) in [("a9", "a10"), ("1", "2"), ("", "a"), ("a", "b"), ("a1b", "a1c"), ("2", "10")] {
            assert_eq!(natural(a, b), Ordering::Less, "{a} {b}");
        }
        assert_eq!(natural("a01", "a01"), Ordering::Equal);
    }

    #[test]
    fn templates_expand_as_in_go() {
        let regex = regex::Regex::new("^(?<first>a)(b)$").unwrap();
        let found = regex.captures("ab").unwrap();
        let cases =
            [("$1-$2", "a-b"), ("${1}x", "ax"), ("$1x", ""), ("$first", "a"), ("$$", "$"), ("$", "$"), ("$9", "")];
        for (template, expected) in cases {
            let mut text = String::new();
            assert!(expand(template, &found, &mut text));
            assert_eq!(text, expected, "{template}");
        }
        let long = "a".repeat(LONGEST);
        let whole = regex::Regex::new("(.*)").unwrap();
        let found = whole.captures(&long).unwrap();
        assert!(expand("$1", &found, &mut String::new()) && !expand("$1.", &found, &mut String::new()));
    }
}
