//! The matchers of one read. What a regular expression said of a value is remembered: series share values.

use std::collections::HashMap;

use bonghwa_promql::{Labels, METRIC_NAME, Matcher};
use foldhash::fast::FixedState;

/// Bytes of values that one matcher remembers, at most.
const REMEMBERED_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a value that is remembered, beside its text, roughly.
const VALUE_BYTES: usize = 48;

/// All matchers, cheap ones first.
pub(super) struct Conditions<'a>(Vec<Condition<'a>>);

struct Condition<'a> {
    matcher: &'a Matcher,
    said: HashMap<String, bool, FixedState>,
    bytes: usize,
}

impl<'a> Conditions<'a> {
    pub fn new(matchers: &'a [Matcher]) -> Self {
        let condition = |matcher| Condition { matcher, said: HashMap::default(), bytes: 0 };
        let mut conditions: Vec<_> = matchers.iter().map(condition).collect();
        conditions.sort_by_key(|condition| condition.matcher.is_costly());
        Conditions(conditions)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The label that one of them is about.
    pub fn label(&self, at: usize) -> &'a str {
        &self.0[at].matcher.name
    }

    /// Whether one of them holds of a value.
    pub fn holds(&mut self, at: usize, value: &str) -> bool {
        self.0[at].holds(value)
    }

    /// Whether they select a series.
    pub fn select(&mut self, labels: &Labels) -> bool {
        self.0.iter_mut().all(|condition| condition.holds(labels.get(&condition.matcher.name)))
    }

    /// Whether they may select parts of the distribution with these labels: name and bound are left aside.
    pub fn may_select_parts(&mut self, labels: &Labels) -> bool {
        let mut told =
            self.0.iter_mut().filter(|c| !matches!(c.matcher.name.as_str(), METRIC_NAME | "le" | "quantile"));
        told.all(|condition| condition.holds(labels.get(&condition.matcher.name)))
    }

    /// Whether a metric may have this name.
    pub fn is_named(&mut self, name: &str) -> bool {
        self.0.iter_mut().filter(|c| c.matcher.name == METRIC_NAME).all(|condition| condition.holds(name))
    }
}

impl Condition<'_> {
    fn holds(&mut self, value: &str) -> bool {
        if !self.matcher.is_costly() {
            return self.matcher.matches(value);
        }
        if let Some(said) = self.said.get(value) {
            return *said;
        }
        let says = self.matcher.matches(value);
        let bytes = value.len() + VALUE_BYTES;
        if self.bytes + bytes <= REMEMBERED_BYTES {
            self.bytes += bytes;
            self.said.insert(value.to_owned(), says);
        }
        says
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_promql::MatchOp;

    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_said() {
        let matchers = [
            Matcher::new("pod", MatchOp::Regex, ".*[02]").unwrap(),
            Matcher::new("__name__", MatchOp::Regex, "a.*").unwrap(),
            Matcher::new("le", MatchOp::NotEqual, "1").unwrap(),
        ];
        let mut conditions = Conditions::new(&matchers);
        for _ in 0..2 {
            for (name, pod, le, selected, parts) in [
                ("a", "p0", "", true, true),
                ("a", "p1", "", false, false),
                ("b", "p2", "", false, true),
                ("ab", "p2", "1", false, true),
                ("ab", "", "2", false, false),
            ] {
                let labels = Labels::new([("__name__", name), ("pod", pod), ("le", le)]);
                assert_eq!(conditions.select(&labels), selected, "{labels}");
                assert_eq!(conditions.may_select_parts(&labels), parts, "{labels}");
                assert_eq!(conditions.is_named(name), name.starts_with('a'));
            }
        }
    }

    #[test]
    fn memory_is_bounded() {
        let matchers = [Matcher::new("x", MatchOp::Regex, "[12].*").unwrap()];
        let mut conditions = Conditions::new(&matchers);
        for n in 0..200_000 {
            let value = format!("{n:0>100}");
            assert_eq!(conditions.select(&Labels::new([("x", value.as_str())])), value.starts_with(['1', '2']));
        }
        assert!(conditions.0[0].bytes <= REMEMBERED_BYTES && conditions.0[0].said.len() > 10_000);
    }
}
