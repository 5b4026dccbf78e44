//! Prometheus' text format 0.0.4, as strictly as one who checks it should read it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A family of metrics.
#[derive(Debug, Default)]
pub struct Family {
    pub help: Option<String>,
    /// `untyped` where nothing says it.
    pub kind: Option<String>,
    /// Names of labels of its samples.
    pub labels: BTreeSet<String>,
    samples: usize,
}

/// Where the text is wrong.
#[derive(Debug, PartialEq)]
pub struct Wrong {
    /// From 1.
    pub line: usize,
    pub message: String,
}

const KINDS: [&str; 5] = ["counter", "gauge", "histogram", "summary", "untyped"];

/// Families by name.
pub fn parse(text: &str) -> Result<BTreeMap<String, Family>, Wrong> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    for (at, line) in text.lines().enumerate() {
        let wrong = |message: String| Wrong { line: at + 1, message };
        let line = line.trim();
        match line.strip_prefix('#') {
            _ if line.is_empty() => {}
            Some(comment) => self::comment(comment.trim_start(), &mut families).map_err(wrong)?,
            None => {
                let sample = sample(line).map_err(wrong)?;
                if !seen.insert(sample.series()) {
                    return Err(wrong(format!("the series {} is there twice", sample.series())));
                }
                let name = family_of(&sample.name, &families);
                let family = families.entry(name).or_default();
                family.samples += 1;
                family.labels.extend(sample.labels.into_iter().map(|(name, _)| name));
            }
        }
    }
    families.retain(|_, family| family.samples > 0);
    Ok(families)
}

fn comment(text: &str, families: &mut BTreeMap<String, Family>) -> Result<(), String> {
    let mut parts = text.splitn(3, [' ', '\t']);
    let (keyword, name, rest) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if !matches!(keyword, Some("HELP" | "TYPE")) {
        return Ok(());
    }
    if !is_name(name, true) {
        return Err(format!("{name:?} names no metric"));
    }
    let family = families.entry(name.to_owned()).or_default();
    if keyword == Some("HELP") {
        if family.help.replace(rest.to_owned()).is_some() {
            return Err(format!("{name} has a second HELP"));
        }
        return Ok(());
    }
    if family.samples > 0 {
        return Err(format!("the TYPE of {name} comes after its samples"));
    }
    let kind = rest.trim();
    if !KINDS.contains(&kind) {
        return Err(format!("the TYPE of {name} is {kind:?}: it is one of {}", KINDS.join(", ")));
    }
    match family.kind.replace(kind.to_owned()) {
        Some(_) => Err(format!("{name} has a second TYPE")),
        None => Ok(()),
    }
}

/// The family that a sample belongs to: its parts have suffixes.
fn family_of(name: &str, families: &BTreeMap<String, Family>) -> String {
    let kind = |name: &str| families.get(name).and_then(|family| family.kind.as_deref());
    for (suffix, kinds) in
        [("_bucket", &["histogram"][..]), ("_sum", &["histogram", "summary"]), ("_count", &["histogram", "summary"])]
    {
        if let Some(base) = name.strip_suffix(suffix)
            && kind(base).is_some_and(|kind| kinds.contains(&kind))
        {
            return base.to_owned();
        }
    }
    name.to_owned()
}

struct Sample {
    name: String,
    labels: Vec<(String, String)>,
}

impl Sample {
    fn series(&self) -> String {
        let mut labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        labels.sort();
        format!("{}{{{}}}", self.name, labels.join(","))
    }
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ', '\t']).ok_or_else(|| format!("{line:?} has no value"))?;
    let (name, mut rest) = (line[..end].to_owned(), &line[end..]);
    if !is_name(&name, true) {
        return Err(format!("{name:?} names no metric"));
    }
    let mut labels = Vec::new();
    if let Some(inside) = rest.trim_start().strip_prefix('{') {
        (labels, rest) = self::labels(inside)?;
    }
    let mut numbers = rest.split_whitespace();
    let value = numbers.next().ok_or_else(|| format!("{name} has no value"))?;
    if !is_float(value) {
        return Err(format!("the value of {name} is {value:?}, which is no number"));
    }
    if let Some(time) = numbers.next()
        && time.parse::<i64>().is_err()
    {
        return Err(format!("the time of {name} is {time:?}, which is no number of milliseconds"));
    }
    match numbers.next() {
        Some(more) => Err(format!("{more:?} follows the time of {name}")),
        None => Ok(Sample { name, labels }),
    }
}

/// Names and values of labels.
type Pairs = Vec<(String, String)>;

/// Labels, and what follows their brace.
fn labels(mut text: &str) -> Result<(Pairs, &str), String> {
    let mut labels: Vec<(String, String)> = Vec::new();
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (name, rest) = text.split_once('=').ok_or("labels have no closing brace")?;
        let name = name.trim();
        if !is_name(name, false) {
            return Err(format!("{name:?} names no label"));
        }
        if labels.iter().any(|(known, _)| known == name) {
            return Err(format!("the label {name} is there twice"));
        }
        let inside = rest.trim_start().strip_prefix('"').ok_or_else(|| format!("the label {name} has no quotes"))?;
        let (value, rest) = quoted(inside).ok_or_else(|| format!("the label {name} is not well quoted"))?;
        labels.push((name.to_owned(), value));
        text = rest.trim_start();
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None if text.starts_with('}') => {}
            None => return Err(format!("a comma or a brace must follow the label {name}")),
        }
    }
}

/// A text up to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                _ => return None,
            },
            c => value.push(c),
        }
    }
    None
}

fn is_float(text: &str) -> bool {
    // Go reads these names in any case, and knows no other words.
    let word = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    matches!(word.as_str(), "nan" | "inf" | "infinity")
        || (text.parse::<f64>().is_ok() && word.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

fn is_name(name: &str, metric: bool) -> bool {
    let fits = |(at, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || (metric && c == ':') || (at > 0 && c.is_ascii_digit())
    };
    !name.is_empty() && name.chars().enumerate().all(fits)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn families_are_read_with_their_parts() {
        let text = "# HELP a_seconds How long.\n# TYPE a_seconds histogram\na_seconds_bucket{le=\"+Inf\"} 1\n\
                    a_seconds_sum 1.5\na_seconds_count 1\n# a comment\nb{x=\"\\\"\\\\\\n\", y=\"}\",} NaN 12\n\n\
                    # TYPE unused counter\n";
        let families = parse(text).unwrap();
        assert_eq!(families.keys().collect::<Vec<_>>(), ["a_seconds", "b"]);
        assert_eq!(families["a_seconds"].help.as_deref(), Some("How long."));
        assert_eq!(families["b"].labels, BTreeSet::from(["x".to_owned(), "y".to_owned()]));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, word) in [
            ("a", 1, "has no value"),
            ("a b", 1, "no number"),
            ("a 1 2 3", 1, "follows the time"),
            ("a 1 x", 1, "milliseconds"),
            ("1a 1", 1, "names no metric"),
            ("a{1=\"x\"} 1", 1, "names no label"),
            ("a{x=1} 1", 1, "no quotes"),
            ("a{x=\"1} 1", 1, "not well quoted"),
            ("a{x=\"1\"", 1, "comma or a brace"),
            ("a{x=\"1\" y=\"2\"} 1", 1, "comma or a brace"),
            ("a{x=\"1\",x=\"2\"} 1", 1, "twice"),
            ("a 1\n\na 2", 3, "twice"),
            ("a{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\"} 1", 2, "twice"),
            ("a 1\n# TYPE a gauge", 2, "after its samples"),
            ("# TYPE a gauge\n# TYPE a gauge", 2, "second TYPE"),
            ("# HELP a x\n# HELP a x", 2, "second HELP"),
            ("# TYPE a number", 1, "one of counter"),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.line == line && wrong.message.contains(word), "{text:?}: {wrong:?}");
        }
    }
}
