//! Relabelling, as Prometheus' `relabel_configs` and `metric_relabel_configs` define it: rules run one after
//! another, each on what the one before left.

use std::borrow::Cow;

use md5::{Digest, Md5};
use regex::Regex;

use crate::labels::Labels;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets `target_label` to `replacement` where the regex matches.
    #[default]
    Replace,
    /// Keeps what the regex matches.
    Keep,
    /// Drops what the regex matches.
    Drop,
    /// Keeps what has the value of `target_label`.
    KeepEqual,
    /// Drops what has the value of `target_label`.
    DropEqual,
    /// Sets `target_label` to a number below `modulus`, from a hash of the value.
    HashMod,
    /// Copies labels whose names match to the names that `replacement` gives.
    LabelMap,
    /// Takes away labels whose names match.
    LabelDrop,
    /// Takes away labels whose names do not match.
    LabelKeep,
    /// Sets `target_label` to the value in lower case.
    Lowercase,
    /// Sets `target_label` to the value in upper case.
    Uppercase,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// The labels whose values, joined by `separator`, are the value that it looks at.
    pub source_labels: Vec<String>,
    /// Between the values.
    pub separator: String,
    /// What the whole value, or for some actions a label's whole name, must match.
    pub regex: Regex,
    /// Whether the regex matches everything, as the default does.
    pub matches_all: bool,
    /// The label that it sets; `$1` and `${name}` stand for what the regex captured.
    pub target_label: String,
    /// The value that it sets; the same.
    pub replacement: String,
    /// For [`Action::HashMod`].
    pub modulus: u64,
}

impl Rule {
    fn value<'v>(&self, labels: &'v Labels<'_>) -> Cow<'v, str> {
        match &self.source_labels[..] {
            [] => Cow::Borrowed(""),
            [name] => Cow::Borrowed(labels.get(name)),
            names => {
                let values: Vec<&str> = names.iter().map(|name| labels.get(name)).collect();
                Cow::Owned(values.join(&self.separator))
            }
        }
    }

    /// Runs the rule. False: what has these labels is dropped.
    fn run(&self, labels: &mut Labels<'_>) -> bool {
        match self.action {
            Action::Keep => return self.regex.is_match(&self.value(labels)),
            Action::Drop => return !self.regex.is_match(&self.value(labels)),
            Action::KeepEqual => return labels.get(&self.target_label) == self.value(labels),
            Action::DropEqual => return labels.get(&self.target_label) != self.value(labels),
            Action::Replace => self.replace(labels),
            Action::Lowercase => {
                let value = self.value(labels).to_lowercase();
                labels.set(self.target_label.clone(), value);
            }
            Action::Uppercase => {
                let value = self.value(labels).to_uppercase();
                labels.set(self.target_label.clone(), value);
            }
            Action::HashMod => {
                let hash = Md5::digest(self.value(labels).as_bytes());
                let half = hash.as_slice().last_chunk::<8>().map_or(0, |half| u64::from_be_bytes(*half));
                // The configuration refuses a modulus of 0.
                let value = half.checked_rem(self.modulus).unwrap_or(0);
                labels.set(self.target_label.clone(), value.to_string());
            }
            Action::LabelMap => {
                let rename = |(name, value): (&str, &str)| {
                    let captures = self.regex.captures(name)?;
                    let mut renamed = String::new();
                    captures.expand(&self.replacement, &mut renamed);
                    Some((renamed, value.to_owned()))
                };
                let copies: Vec<(String, String)> = labels.iter().filter_map(rename).collect();
                for (name, value) in copies {
                    labels.set(name, value);
                }
            }
            Action::LabelDrop => labels.retain(|name| !self.regex.is_match(name)),
            Action::LabelKeep => labels.retain(|name| self.regex.is_match(name)),
        }
        true
    }

    fn replace(&self, labels: &mut Labels<'_>) {
        let (target, value) = {
            let value = self.value(labels);
            // Most rules set a text without conditions.
            if self.matches_all && !self.replacement.contains('$') && !self.target_label.contains('$') {
                (self.target_label.clone(), self.replacement.clone())
            } else if self.matches_all && self.replacement == "$1" && !self.target_label.contains('$') {
                (self.target_label.clone(), value.into_owned())
            } else {
                let Some(captures) = self.regex.captures(&value) else { return };
                let (mut target, mut replaced) = (String::new(), String::new());
                captures.expand(&self.target_label, &mut target);
                captures.expand(&self.replacement, &mut replaced);
                (target, replaced)
            }
        };
        if !target.is_empty() {
            labels.set(target, value);
        }
    }
}

/// Runs rules one after another. False: what has these labels is dropped.
pub fn apply(rules: &[Rule], labels: &mut Labels<'_>) -> bool {
    rules.iter().all(|rule| rule.run(labels))
}

#[cfg(test)]
#[path = "relabel_tests.rs"]
mod tests;
