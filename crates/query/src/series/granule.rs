//! What is known of the rows of a granule: their identities, and by label which rows have which value, so that a
//! matcher is asked once for each value, and rows that it rules out are not looked at.

use std::collections::HashMap;
use std::mem;

use bonghwa_promql::METRIC_NAME;
use foldhash::fast::FixedState;

use super::cache::Known;
use super::conditions::Conditions;

/// Labels by which rows are found, at most; others are looked up in each row.
const MOST_LABELS: usize = 32;
/// What the name of a distribution's part may end in.
const SUFFIXES: [&str; 3] = ["_bucket", "_count", "_sum"];

/// The rows of a granule, in their order.
pub(super) struct Granule {
    pub rows: Vec<Known>,
    labels: Vec<Label>,
    /// Whether there are labels beyond those.
    more: bool,
}

/// The values of one label.
#[derive(Default)]
struct Label {
    name: String,
    /// All values one after another.
    texts: String,
    /// Where each ends.
    ends: Vec<u32>,
    /// By row: one more than the number of its value; 0 where it has none. Rows at the end that have none may lack.
    values: Vec<u32>,
    /// All rows have a value.
    all: bool,
}

impl Granule {
    pub fn new(rows: Vec<Known>) -> Self {
        let (labels, more) = labels(&rows);
        Granule { rows, labels, more }
    }

    /// Bytes in memory, without identities.
    pub fn bytes(&self) -> usize {
        let of_label = |label: &Label| {
            label.name.len()
                + label.texts.len()
                + mem::size_of_val(&label.ends[..])
                + mem::size_of_val(&label.values[..])
        };
        mem::size_of_val(&self.rows[..]) + self.labels.iter().map(of_label).sum::<usize>()
    }

    /// Which rows conditions may select; never wrongly false.
    pub fn may_select(&self, conditions: &mut Conditions<'_>) -> Vec<bool> {
        let mut rows: Vec<bool> = self.rows.iter().map(Option::is_some).collect();
        for at in 0..conditions.len() {
            let name = conditions.label(at);
            // Bounds are no labels of the row, but of its parts.
            if matches!(name, "le" | "quantile") {
                continue;
            }
            let named = name == METRIC_NAME;
            let mut holds = |value: &str| match named {
                true => {
                    conditions.holds(at, value)
                        || SUFFIXES.iter().any(|suffix| conditions.holds(at, &format!("{value}{suffix}")))
                }
                false => conditions.holds(at, value),
            };
            match self.labels.iter().find(|label| label.name == name) {
                Some(label) => label.select(&mut holds, &mut rows),
                None if !self.more && !holds("") => return vec![false; rows.len()],
                None => {}
            }
        }
        rows
    }
}

/// The labels of rows, and whether there are more.
fn labels(rows: &[Known]) -> (Vec<Label>, bool) {
    let mut more = false;
    let mut labels: Vec<Label> = Vec::new();
    let mut places: HashMap<&str, usize, FixedState> = HashMap::default();
    let mut numbers: Vec<HashMap<&str, u32, FixedState>> = Vec::new();
    for (row, identity) in rows.iter().enumerate() {
        for (name, value) in identity.iter().flat_map(|identity| identity.labels.iter()) {
            let at = match places.get(name) {
                Some(at) => *at,
                None if labels.len() == MOST_LABELS => {
                    more = true;
                    continue;
                }
                None => {
                    labels.push(Label { name: name.to_owned(), ..Default::default() });
                    numbers.push(HashMap::default());
                    places.insert(name, labels.len() - 1);
                    labels.len() - 1
                }
            };
            let label = &mut labels[at];
            let number = *numbers[at].entry(value).or_insert_with(|| label.add(value));
            label.values.resize(row, 0);
            label.values.push(number);
        }
    }
    labels.iter_mut().for_each(|label| label.finish(rows.len()));
    (labels, more)
}

impl Label {
    /// Of so many rows it has all values now.
    fn finish(&mut self, rows: usize) {
        self.all = self.values.len() == rows && !self.values.contains(&0);
        self.texts.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Adds a value; its number.
    fn add(&mut self, value: &str) -> u32 {
        self.texts.push_str(value);
        self.ends.push(self.texts.len() as u32);
        self.ends.len() as u32
    }

    /// Leaves only those rows whose value holds.
    fn select(&self, holds: &mut impl FnMut(&str) -> bool, rows: &mut [bool]) {
        let mut said = Vec::with_capacity(self.ends.len() + 1);
        said.push(!self.all && holds(""));
        let mut start = 0;
        for end in &self.ends {
            said.push(holds(&self.texts[start..*end as usize]));
            start = *end as usize;
        }
        let mut selected = (0u32..).zip(&said).filter(|(_, says)| **says).map(|(value, _)| value);
        let (with, without) = rows.split_at_mut(self.values.len().min(rows.len()));
        let with = with.iter_mut().zip(&self.values);
        match (selected.next(), selected.next()) {
            (Some(_), _) if self.all && said[1..].iter().all(|says| *says) => {}
            // Looking for one number is faster than looking each up.
            (Some(one), None) => with.for_each(|(row, value)| *row &= *value == one),
            _ => with.for_each(|(row, value)| *row &= said[*value as usize]),
        }
        without.iter_mut().for_each(|row| *row &= said[0]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use bonghwa_model::metrics::MetricType;
    use bonghwa_promql::{Labels, MatchOp, Matcher};

    use super::super::identity::Identity;
    use super::*;

    fn identity(kind: MetricType, pairs: &[(&str, &str)]) -> Known {
        let labels = Labels::new(pairs.iter().copied());
        Some(Arc::new(Identity {
            id: 1,
            kind,
            verbatim: false,
            delta: false,
            labels,
            place: 0,
            target: None,
            bytes: 0,
        }))
    }

    #[test]
    fn rows_are_ruled_out_by_the_values_of_their_labels() {
        let gauge = |pairs| identity(MetricType::Gauge, pairs);
        let granule = Granule::new(vec![
            gauge(&[("__name__", "a"), ("pod", "p1"), ("zone", "x")]),
            None,
            gauge(&[("__name__", "a"), ("pod", "p2")]),
            gauge(&[("__name__", "b"), ("pod", "p1")]),
            identity(MetricType::Histogram, &[("__name__", "h"), ("pod", "p1")]),
            gauge(&[("__name__", "b")]),
        ]);
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        for (matchers, expected) in [
            (&[][..], "02345"),
            (&[("__name__", Equal, "a")], "02"),
            (&[("__name__", Equal, "h_bucket"), ("le", Equal, "1")], "4"),
            (&[("__name__", Regex, "a|b")], "0235"),
            (&[("pod", Equal, "p1")], "034"),
            (&[("pod", Equal, "")], "5"),
            // It might be of a part, `b_count`.
            (&[("pod", NotEqual, "p1"), ("__name__", NotRegex, "b")], "25"),
            (&[("zone", Equal, "x")], "0"),
            (&[("zone", NotEqual, "x"), ("pod", Regex, ".+")], "234"),
            (&[("nothing", Equal, "")], "02345"),
            (&[("nothing", Regex, ".+")], ""),
        ] {
            let matcher = |(name, op, value): &(&str, MatchOp, &str)| Matcher::new(*name, *op, *value).unwrap();
            let matchers: Vec<Matcher> = matchers.iter().map(matcher).collect();
            let rows = granule.may_select(&mut Conditions::new(&matchers));
            let found: String = (0..rows.len()).filter(|row| rows[*row]).map(|row| row.to_string()).collect();
            assert_eq!(found, expected, "{matchers:?}");
        }
    }

    #[test]
    fn labels_beyond_those_by_which_rows_are_found_rule_nothing_out() {
        let one = |n: usize| identity(MetricType::Gauge, &[("__name__", "a"), (format!("l{n:02}").as_str(), "v")]);
        let granule = Granule::new((0..100).map(one).collect());
        for (label, expected) in [("l05", 1), ("l99", 100)] {
            let matchers = [Matcher::equal(label, "v")];
            let rows = granule.may_select(&mut Conditions::new(&matchers));
            assert_eq!(rows.iter().filter(|row| **row).count(), expected, "{label}");
        }
        assert!(granule.bytes() < 100 * (8 + 4 * MOST_LABELS) + 1000);
    }
}
