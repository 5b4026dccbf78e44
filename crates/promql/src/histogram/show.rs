//! Histograms as text and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::{Bucket, Histogram};
use crate::number::{format_g, format_sample};

/// As Prometheus writes it where a label needs a text: `{count:4, sum:10, (1,2]:4}`.
impl fmt::Display for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{{count:{}, sum:{}", format_g(self.count), format_g(self.sum))?;
        for bucket in self.shown() {
            let open = if bucket.lower_inclusive { '[' } else { '(' };
            let close = if bucket.upper_inclusive { ']' } else { ')' };
            let (lower, upper) = (format_g(bucket.lower), format_g(bucket.upper));
            write!(f, ", {open}{lower},{upper}{close}:{}", format_g(bucket.count))?;
        }
        f.write_str("}")
    }
}

impl Histogram {
    /// Buckets with observations, from the lowest, as wide as they are.
    fn shown(&self) -> Vec<Bucket> {
        let negative = self.negative.iter().rev().map(|b| self.negative_bucket(*b));
        let zero = (!self.is_custom()).then(|| self.zero_bucket());
        let positive = self.positive.iter().map(|b| self.positive_bucket(*b));
        negative.chain(zero).chain(positive).filter(|b| b.count != 0.0).collect()
    }

    /// As answers of Prometheus' API have it: buckets are `[boundaries, lower, upper, count]`, with boundaries
    /// 0 for `(]`, 1 for `[)`, 2 for `()`, 3 for `[]`.
    pub fn to_json(&self) -> Value {
        // Cut at the zero bucket, unlike in the text.
        let buckets: Vec<Value> = self
            .buckets()
            .iter()
            .filter(|b| b.count != 0.0)
            .map(|b| {
                let boundaries = match (b.lower_inclusive, b.upper_inclusive) {
                    (false, true) => 0,
                    (true, false) => 1,
                    (false, false) => 2,
                    (true, true) => 3,
                };
                json!([boundaries, format_sample(b.lower), format_sample(b.upper), format_sample(b.count)])
            })
            .collect();
        let mut value = json!({"count": format_sample(self.count), "sum": format_sample(self.sum)});
        if !buckets.is_empty() {
            value["buckets"] = buckets.into();
        }
        value
    }
}
