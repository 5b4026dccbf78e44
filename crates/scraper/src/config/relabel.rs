//! `relabel_configs` and `metric_relabel_configs`.

use bonghwa_promql::anchored_regex;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::read;
use super::values::Text;
use crate::relabel::{Action, Rule};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RuleSection {
    action: Option<String>,
    source_labels: Option<Vec<Text>>,
    separator: Option<Text>,
    regex: Option<Text>,
    target_label: Option<Text>,
    replacement: Option<Text>,
    modulus: Option<u64>,
}

const ACTIONS: &str =
    "replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase or uppercase";

/// Reads a list of rules.
pub(super) fn rules(list: Vec<Value>, path: &str) -> Result<Vec<Rule>, String> {
    list.into_iter()
        .enumerate()
        .map(|(at, section)| {
            let path = format!("{path}[{at}]");
            let section: RuleSection = read::read(section, &path)?;
            rule(section).map_err(|(key, message)| format!("`{}`: {message}", read::join(&path, key)))
        })
        .collect()
}

fn rule(section: RuleSection) -> Result<Rule, (&'static str, String)> {
    let action: Action = match section.action {
        None => Action::Replace,
        Some(name) => serde_yaml_ng::from_value(Value::String(name.to_lowercase()))
            .map_err(|_| ("action", format!("{name:?} is no action: it is one of {ACTIONS}")))?,
    };
    let text = section.regex.map_or_else(|| "(.*)".to_owned(), |text| text.0);
    let regex =
        anchored_regex(&text).map_err(|error| ("regex", format!("{text:?} is no regular expression: {error}")))?;
    // As in Prometheus, it does no harm to write a default out.
    let differs = |given: &Option<Text>, default: &str| given.as_ref().is_some_and(|text| text.0 != default);
    let given = [
        ("source_labels", section.source_labels.as_ref().is_some_and(|names| !names.is_empty())),
        ("separator", differs(&section.separator, ";")),
        ("target_label", differs(&section.target_label, "")),
        ("replacement", differs(&section.replacement, "$1")),
        ("modulus", section.modulus.is_some_and(|modulus| modulus != 0)),
    ];
    let rule = Rule {
        action,
        source_labels: section.source_labels.unwrap_or_default().into_iter().map(|name| name.0).collect(),
        separator: section.separator.map_or_else(|| ";".to_owned(), |separator| separator.0),
        regex,
        matches_all: text == "(.*)",
        target_label: section.target_label.unwrap_or_default().0,
        replacement: section.replacement.map_or_else(|| "$1".to_owned(), |replacement| replacement.0),
        modulus: section.modulus.unwrap_or(0),
    };
    let sets = matches!(
        action,
        Action::Replace
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
            | Action::KeepEqual
            | Action::DropEqual
    );
    if sets && rule.target_label.is_empty() {
        return Err(("target_label", "it is missing, and the action needs one".into()));
    }
    if action == Action::HashMod && rule.modulus == 0 {
        return Err(("modulus", "hashmod needs one above 0".into()));
    }
    if action == Action::LabelMap && rule.replacement.is_empty() {
        return Err(("replacement", "labelmap needs one that is not empty".into()));
    }
    let allowed: &[&str] = match action {
        Action::KeepEqual | Action::DropEqual => &["source_labels", "target_label"],
        Action::LabelDrop | Action::LabelKeep => &[],
        _ => return Ok(rule),
    };
    if let Some((key, _)) = given.iter().find(|(key, given)| *given && !allowed.contains(key)) {
        return Err((key, "the action makes no use of it: leave it out".into()));
    }
    if text != "(.*)" && !allowed.is_empty() {
        return Err(("regex", "the action makes no use of it: leave it out".into()));
    }
    Ok(rule)
}
