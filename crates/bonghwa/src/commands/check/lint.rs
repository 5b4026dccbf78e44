//! Prometheus' conventions for names, types and helps (its documentation: "Metric and label naming").

use std::collections::BTreeMap;

use super::exposition::Family;

/// What is unconventional about a metric.
#[derive(Debug, PartialEq)]
pub struct Problem {
    /// Name of the family.
    pub metric: String,
    /// What to do about it.
    pub text: String,
}

/// Base units, and others with what they should be.
const UNITS: [(&str, &[&str]); 9] = [
    ("amperes", &["milliamperes", "ampere"]),
    (
        "bytes",
        &["kilobytes", "megabytes", "gigabytes", "terabytes", "kibibytes", "mebibytes", "gibibytes", "bits", "byte"],
    ),
    ("celsius", &["fahrenheit", "kelvin"]),
    ("grams", &["kilograms", "milligrams", "gram"]),
    ("joules", &["kilojoules", "joule", "calories"]),
    ("meters", &["kilometers", "millimeters", "centimeters", "miles", "meter"]),
    ("ratio", &["percent", "percentage"]),
    ("seconds", &["nanoseconds", "microseconds", "milliseconds", "minutes", "hours", "days", "weeks", "second"]),
    ("volts", &["millivolts", "kilovolts", "volt"]),
];
const ABBREVIATED: [&str; 15] = ["s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d", "min"];
const KINDS: [&str; 4] = ["counter", "gauge", "histogram", "summary"];

/// All problems, by metric.
pub fn lint(families: &BTreeMap<String, Family>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, family) in families {
        let texts = of_name(name).into_iter().chain(of_family(name, family));
        problems.extend(texts.map(|text| Problem { metric: name.clone(), text }));
    }
    problems
}

fn of_name(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    if name.contains(':') {
        found.push("metric names should not contain ':': rules use it".to_owned());
    }
    if is_camel(name) {
        found.push("metric names should be written in snake_case, not camelCase".to_owned());
    }
    let parts: Vec<&str> = name.split('_').collect();
    for part in &parts {
        if KINDS.contains(part) {
            found.push(format!("metric names should not include their type: {part:?}"));
        }
        if let Some((base, _)) = UNITS.iter().find(|(_, others)| others.contains(part)) {
            found.push(format!("use the base unit {base:?} instead of {part:?}"));
        }
    }
    let last = parts.iter().rev().find(|part| **part != "total");
    if let Some(unit) = last.filter(|part| parts.len() > 1 && ABBREVIATED.contains(*part)) {
        found.push(format!("metric names should not contain abbreviated units: {unit:?}"));
    }
    found
}

fn of_family(name: &str, family: &Family) -> Vec<String> {
    let mut found = Vec::new();
    let kind = family.kind.as_deref().unwrap_or("untyped");
    if family.help.as_deref().unwrap_or_default().is_empty() {
        found.push("no help text".to_owned());
    }
    match (kind, name.ends_with("_total")) {
        ("counter", false) => found.push("counters should have the suffix \"_total\"".to_owned()),
        ("gauge" | "histogram" | "summary", true) => {
            found.push(format!("a {kind} should not have the suffix \"_total\""));
        }
        _ => {}
    }
    if kind != "untyped" && kind != "histogram" && name.ends_with("_bucket") {
        found.push(format!("a {kind} should not have the suffix \"_bucket\": it is a histogram's"));
    }
    if matches!(kind, "counter" | "gauge") {
        for suffix in ["_count", "_sum"].into_iter().filter(|suffix| name.ends_with(suffix)) {
            found.push(format!("a {kind} should not have the suffix {suffix:?}: it is a histogram's or summary's"));
        }
    }
    for label in &family.labels {
        match (label.as_str(), kind) {
            ("le", "counter" | "gauge" | "summary") => {
                found.push(format!("a {kind} should not have the label \"le\": it is a histogram's"));
            }
            ("quantile", "counter" | "gauge" | "histogram") => {
                found.push(format!("a {kind} should not have the label \"quantile\": it is a summary's"));
            }
            (label, _) if is_camel(label) => {
                found.push(format!("label names should be written in snake_case, not camelCase: {label:?}"));
            }
            _ => {}
        }
    }
    found
}

/// Whether a capital follows a small letter.
fn is_camel(name: &str) -> bool {
    name.as_bytes().windows(2).any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::exposition::parse;
    use super::*;

    #[test]
    fn conventions() {
        let check = |kind: &str, name: &str, labels: &str| {
            let text = format!("# HELP {name} x\n# TYPE {name} {kind}\n{name}{labels} 1\n");
            lint(&parse(&text).unwrap()).into_iter().map(|problem| problem.text).collect::<Vec<_>>().join("; ")
        };
        for (kind, name, labels, expected) in [
            ("counter", "http_requests_total", "", ""),
            ("gauge", "process_resident_memory_bytes", "", ""),
            ("gauge", "cpu_seconds", "{le_x=\"1\"}", ""),
            ("counter", "http_requests", "", "counters should have the suffix \"_total\""),
            ("gauge", "open_total", "", "a gauge should not have the suffix \"_total\""),
            ("gauge", "wait_milliseconds", "", "use the base unit \"seconds\" instead of \"milliseconds\""),
            ("gauge", "wait_ms", "", "metric names should not contain abbreviated units: \"ms\""),
            ("gauge", "queueLength", "", "metric names should be written in snake_case, not camelCase"),
            ("gauge", "a:b", "", "metric names should not contain ':': rules use it"),
            ("gauge", "open_gauge", "", "metric names should not include their type: \"gauge\""),
            ("gauge", "open", "{le=\"1\"}", "a gauge should not have the label \"le\": it is a histogram's"),
            (
                "gauge",
                "open",
                "{podName=\"1\"}",
                "label names should be written in snake_case, not camelCase: \"podName\"",
            ),
            ("gauge", "open_sum", "", "a gauge should not have the suffix \"_sum\": it is a histogram's or summary's"),
        ] {
            assert_eq!(check(kind, name, labels), expected, "{kind} {name}{labels}");
        }
        let problems = lint(&parse("a 1\n").unwrap());
        assert_eq!(problems, [Problem { metric: "a".into(), text: "no help text".into() }]);
    }
}
