//! Label sets: immutable, sorted, shared, with their hash.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// Labels that say what a metric is; they go where its name goes.
pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// Whether a text can name a label: bytes that were no UTF-8 became U+FFFD when the query was read.
pub(crate) fn is_label_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('\u{fffd}')
}

/// A set of labels, sorted by name, without empty values. Cloning costs a counter.
#[derive(Clone)]
pub struct Labels(Arc<Inner>);

struct Inner {
    /// Names and values one after another.
    text: Box<str>,
    /// Where each name and its value end in `text`.
    ends: Box<[(u32, u32)]>,
    hash: u64,
}

impl Labels {
    /// No labels.
    pub fn empty() -> Self {
        Self::from_sorted(std::iter::empty::<(&str, &str)>())
    }

    /// Labels from pairs in any order; of equal names the last counts, and empty values are no labels.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let last = |i: usize| pairs.get(i + 1).is_none_or(|next| next.0.as_ref() != pairs[i].0.as_ref());
        let kept = (0..pairs.len()).filter(|i| last(*i) && !pairs[*i].1.as_ref().is_empty());
        Self::from_sorted(kept.map(|i| (pairs[i].0.as_ref(), pairs[i].1.as_ref())))
    }

    /// Labels from pairs that are sorted by name, without duplicates and without empty values.
    pub fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::new();
        let mut ends = vec![];
        for (name, value) in pairs {
            text.push_str(name);
            let name_end = text.len() as u32;
            text.push_str(value);
            ends.push((name_end, text.len() as u32));
        }
        let mut hash = 0x9e37_79b9_7f4a_7c15_u64 ^ ends.len() as u64;
        for chunk in text.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = mix(hash ^ u64::from_le_bytes(word));
        }
        for end in &ends {
            hash = mix(hash ^ (u64::from(end.0) << 32 | u64::from(end.1)));
        }
        Self(Arc::new(Inner { text: text.into(), ends: ends.into(), hash }))
    }

    /// Number of labels.
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.ends.is_empty()
    }

    /// The label at `i` of the sorted order.
    fn at(&self, i: usize) -> (&str, &str) {
        let start = if i == 0 { 0 } else { self.0.ends[i - 1].1 as usize };
        let (name, value) = self.0.ends[i];
        (&self.0.text[start..name as usize], &self.0.text[name as usize..value as usize])
    }

    /// Names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        (0..self.len()).map(|i| self.at(i))
    }

    /// The value of a label; a label that is not there is empty.
    pub fn get(&self, name: &str) -> &str {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let (found, value) = self.at(middle);
            match found.cmp(name) {
                Ordering::Equal => return value,
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        ""
    }

    /// The metric's name, or nothing.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// Bytes that they take in memory, about.
    pub fn bytes(&self) -> usize {
        size_of::<Inner>() + self.0.text.len() + size_of_val(&*self.0.ends)
    }

    /// A hash over all labels.
    pub fn hash64(&self) -> u64 {
        self.0.hash
    }

    /// The labels that `keep` wants; the same set where it wants all.
    pub fn filter(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        if self.iter().all(|(name, _)| keep(name)) {
            return self.clone();
        }
        Self::from_sorted(self.iter().filter(|(name, _)| keep(name)))
    }

    /// The labels without the name, type and unit of the metric.
    pub(crate) fn without_metadata(&self) -> Self {
        self.filter(|name| !is_metadata(name))
    }

    /// These labels, to be changed.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// Appends them as JSON.
    pub fn push_json(&self, out: &mut String) {
        out.push('{');
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            push_json_text(out, name);
            out.push(':');
            push_json_text(out, value);
        }
        out.push('}');
    }

    /// As JSON: `{"__name__":"up"}`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Object(self.iter().map(|(n, v)| (n.to_owned(), v.into())).collect())
    }
}

fn push_json_text(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.push_str(&serde_json::Value::from(text).to_string());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

fn mix(word: u64) -> u64 {
    let wide = u128::from(word ^ 0xa076_1d64_78bd_642f) * 0xe703_7ed1_a0b4_28db_u128;
    (wide as u64) ^ ((wide >> 64) as u64)
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || self.0.hash == other.0.hash && self.0.ends == other.0.ends && self.0.text == other.0.text
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As Prometheus writes it, `{__name__="up", job="a"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            let name = crate::syntax::quoted_label(name);
            write!(f, "{comma}{name}={}", crate::syntax::quote(value))?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Labels while they are changed.
#[derive(Clone, Debug, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets a label; an empty value takes it away.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        let place = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name));
        match (place, value.is_empty()) {
            (Ok(at), true) => drop(self.pairs.remove(at)),
            (Ok(at), false) => value.clone_into(&mut self.pairs[at].1),
            (Err(_), true) => {}
            (Err(at), false) => self.pairs.insert(at, (name.to_owned(), value.to_owned())),
        }
        self
    }

    /// The value of a label, or nothing.
    pub fn get(&self, name: &str) -> &str {
        let place = self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name));
        place.map_or("", |at| self.pairs[at].1.as_str())
    }

    /// Keeps the labels that `keep` wants.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.pairs.retain(|(name, _)| keep(name));
        self
    }

    /// The labels.
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_compared_by_content() {
        let a = Labels::new([("job", "x"), ("__name__", "up"), ("empty", ""), ("job", "y")]);
        let b = Labels::new([("__name__", "up"), ("job", "y")]);
        assert_eq!(a, b);
        assert_eq!(a.get("job"), "y");
        assert_eq!(a.get("nothing"), "");
        assert_eq!(a.to_string(), r#"{__name__="up", job="y"}"#);
        assert_eq!(a.without_metadata().to_string(), r#"{job="y"}"#);
        assert_ne!(Labels::new([("ab", "c")]), Labels::new([("a", "bc")]));
        assert!(Labels::new([("a", "1")]) < Labels::new([("a", "1"), ("b", "1")]));
        let odd = Labels::new([("a", "x\"\\\n\u{7f}é"), ("ö\t", "y")]);
        for labels in [&a, &odd, &Labels::empty()] {
            let mut json = String::new();
            labels.push_json(&mut json);
            assert_eq!(json, labels.to_json().to_string());
        }
        let mut builder = a.builder();
        builder.set("a", "1").set("job", "");
        assert_eq!(builder.build().to_string(), r#"{__name__="up", a="1"}"#);
    }
}
