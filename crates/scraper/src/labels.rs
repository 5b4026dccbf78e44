//! Labels: of targets as they are discovered, and of series on their way through relabelling.

use std::borrow::Cow;
use std::collections::BTreeMap;

use xxhash_rust::xxh3::Xxh3;

/// Names and values, each name once. A value is never empty: that is the same as no label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// The labels of a target.
pub type OwnedLabels = Labels<'static>;

impl<'a> Labels<'a> {
    /// The value of a label; empty where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// Whether there is such a label.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(n, _)| n == name)
    }

    /// Sets a label; an empty value takes it away.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let (name, value) = (name.into(), value.into());
        if value.is_empty() {
            self.remove(&name);
            return;
        }
        match self.pairs.iter_mut().find(|(n, _)| *n == name) {
            Some((_, slot)) => *slot = value,
            None => self.pairs.push((name, value)),
        }
    }

    /// Sets a label that is not there yet.
    pub fn set_default(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) {
        let name = name.into();
        if !self.has(&name) {
            self.set(name, value);
        }
    }

    /// Takes a label away.
    pub fn remove(&mut self, name: &str) {
        self.pairs.retain(|(n, _)| n != name);
    }

    /// Keeps the labels whose names satisfy a condition.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.pairs.retain(|(name, _)| keep(name));
    }

    /// Forgets them all.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// All of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Orders them by name.
    pub fn sort(&mut self) {
        self.pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    }

    /// A hash of names and values; of sorted labels it does not depend on where they came from.
    pub fn hash(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for (name, value) in self.iter() {
            hash_pair(&mut hasher, name, value);
        }
        hasher.digest()
    }

    /// As a map, for answers in JSON.
    pub fn to_map(&self) -> BTreeMap<&str, &str> {
        self.iter().collect()
    }
}

/// Adds a label to a hash, so that no two lists of labels run together.
pub(crate) fn hash_pair(hasher: &mut Xxh3, name: &str, value: &str) {
    for text in [name, value] {
        hasher.update(&(text.len() as u32).to_le_bytes());
        hasher.update(text.as_bytes());
    }
}

impl<'a, N: Into<Cow<'a, str>>, V: Into<Cow<'a, str>>> FromIterator<(N, V)> for Labels<'a> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Labels::default();
        for (name, value) in pairs {
            labels.set(name, value);
        }
        labels
    }
}
