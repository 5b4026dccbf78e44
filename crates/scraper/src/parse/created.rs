//! OpenMetrics' creation times. They are series of their own, `name_created`, and stand after the samples that they
//! are about: so they are looked up when a metric begins.

use std::collections::HashMap;

use memchr::memchr;
use xxhash_rust::xxh3::Xxh3;

use super::text::seconds;
use super::{Family, Kind, Pairs, number, series};
use crate::labels::hash_pair;

/// The creation times of the current metric.
pub(super) struct Created {
    /// Whether the body has any.
    any: bool,
    /// Hash of a series' labels -> Unix milliseconds.
    times: HashMap<u64, i64, foldhash::fast::RandomState>,
}

impl Created {
    pub(super) fn new(any: bool) -> Self {
        Created { any, times: HashMap::default() }
    }

    /// Forgets them: another metric begins.
    pub(super) fn clear(&mut self) {
        self.times.clear();
    }

    /// Reads those of a metric whose lines follow. What is wrong with a line is found when it is its turn.
    pub(super) fn look_ahead(&mut self, family: &Family<'_>, rest: &str) {
        self.times.clear();
        if !self.any || !matches!(family.kind, Kind::Counter | Kind::Histogram | Kind::Summary) {
            return;
        }
        let mut labels = Pairs::new();
        let mut at = 0;
        while at < rest.len() {
            let end = memchr(b'\n', &rest.as_bytes()[at..]).map_or(rest.len(), |end| at + end);
            let line = &rest[at..end];
            at = end + 1;
            if let Some(comment) = line.strip_prefix('#') {
                let comment = comment.trim_start();
                let about = comment.split_whitespace().nth(1).unwrap_or_default().trim_matches('"');
                if about != family.name || comment.starts_with("TYPE") {
                    return;
                }
                continue;
            }
            let start = line.trim_start_matches(['{', '"']);
            let after = start.strip_prefix(family.name.as_ref()).and_then(|rest| rest.strip_prefix("_created"));
            if after.is_none_or(|rest| rest.starts_with(|c: char| c == '_' || c.is_ascii_alphanumeric())) {
                continue;
            }
            let Ok((_, end)) = series::read(line, &mut labels) else { return };
            let value = line[end..].split_whitespace().next().unwrap_or_default();
            if number::float(value).is_ok_and(|value| value > 0.0)
                && let Ok(millis) = seconds(value)
            {
                self.times.insert(hash(&labels), millis);
            }
        }
    }

    /// Since when a series of the metric counts.
    #[inline]
    pub(super) fn of(&self, labels: &Pairs<'_>) -> Option<i64> {
        if self.times.is_empty() {
            return None;
        }
        self.times.get(&hash(labels)).copied()
    }
}

/// A hash of the labels that a metric's series share, in any order.
fn hash(labels: &Pairs<'_>) -> u64 {
    let shared = labels.iter().filter(|(name, _)| name != "le" && name != "quantile");
    shared.fold(0, |sum: u64, (name, value)| {
        let mut hasher = Xxh3::new();
        hash_pair(&mut hasher, name, value);
        sum.wrapping_add(hasher.digest())
    })
}
