//! Distributions from the JSON in which they are stored: see `bonghwa_model::metrics`, and
//! `bonghwa_model::prometheus` for what Prometheus adds to it.

use bonghwa_model::prometheus::{COARSEST_SCHEMA, FINEST_SCHEMA};
use bonghwa_promql::{CUSTOM_BUCKETS, Histogram, ResetHint};
use serde::{Deserialize, Deserializer};

/// A histogram with explicit bounds.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Explicit {
    /// Upper bounds, without +Inf.
    #[serde(deserialize_with = "numbers")]
    pub bounds: Vec<f64>,
    /// One more than bounds.
    #[serde(deserialize_with = "numbers")]
    pub counts: Vec<f64>,
    #[serde(default)]
    reset_hint: Option<String>,
    #[serde(default)]
    float_count: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct Exponential {
    scale: i32,
    #[serde(default)]
    zero_count: f64,
    #[serde(default)]
    zero_threshold: f64,
    #[serde(default)]
    positive: Buckets,
    #[serde(default)]
    negative: Buckets,
    #[serde(default)]
    reset_hint: Option<String>,
    #[serde(default)]
    float_count: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
struct Buckets {
    #[serde(default)]
    offset: i32,
    #[serde(default)]
    counts: Vec<f64>,
}

/// A summary.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Summary {
    pub quantiles: Vec<Quantile>,
}

/// One quantile of a summary.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Quantile {
    #[serde(deserialize_with = "number")]
    pub quantile: f64,
    #[serde(deserialize_with = "number")]
    pub value: f64,
}

/// A number as it is stored: JSON has none that is infinite, and none that is not a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Finite(f64),
    Other {
        #[serde(rename = "doubleValue")]
        name: Name,
    },
}

#[derive(Clone, Copy, Deserialize)]
enum Name {
    NaN,
    Infinity,
    #[serde(rename = "-Infinity")]
    Negative,
}

impl From<Stored> for f64 {
    fn from(stored: Stored) -> f64 {
        match stored {
            Stored::Finite(number) => number,
            Stored::Other { name: Name::NaN } => f64::NAN,
            Stored::Other { name: Name::Infinity } => f64::INFINITY,
            Stored::Other { name: Name::Negative } => f64::NEG_INFINITY,
        }
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Stored::deserialize(deserializer).map(f64::from)
}

fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let stored = Vec::<Stored>::deserialize(deserializer)?;
    Ok(stored.into_iter().map(f64::from).collect())
}

/// Reads explicit buckets. None where a point has none. A sender may list the last bound, +Inf, too: what it
/// divides from the bucket above is nothing.
pub(super) fn explicit(text: &str) -> Option<Explicit> {
    let mut read: Explicit = serde_json::from_str(text).ok()?;
    if read.bounds.last() == Some(&f64::INFINITY) {
        read.bounds.pop();
        let above = read.counts.pop().unwrap_or_default();
        if let Some(last) = read.counts.last_mut() {
            *last += above;
        }
    }
    Some(read)
}

/// Reads a summary.
pub(super) fn summary(text: &str) -> Option<Summary> {
    serde_json::from_str(text).ok()
}

/// An explicit histogram as a native one with custom buckets.
pub(super) fn custom(explicit: &Explicit, count: f64, sum: f64) -> Histogram {
    let buckets = explicit.counts.iter().enumerate().filter(|(_, count)| **count != 0.0);
    Histogram {
        schema: CUSTOM_BUCKETS,
        count: explicit.float_count.unwrap_or(count),
        sum,
        positive: buckets.map(|(index, count)| (index as i32, *count)).collect(),
        custom_values: explicit.bounds.clone(),
        hint: hint(explicit.reset_hint.as_deref()),
        ..Default::default()
    }
}

/// An exponential histogram as a native one; finer scales than Prometheus has are merged. None for coarser ones, which
/// are refused before they are stored.
pub(super) fn exponential(text: &str, count: f64, sum: f64) -> Option<Histogram> {
    let read: Exponential = serde_json::from_str(text).ok()?;
    if read.scale < COARSEST_SCHEMA {
        return None;
    }
    let merge = (read.scale.saturating_sub(FINEST_SCHEMA)).max(0);
    Some(Histogram {
        schema: read.scale - merge,
        count: read.float_count.unwrap_or(count),
        sum,
        zero_threshold: read.zero_threshold,
        zero_count: read.zero_count,
        positive: buckets(&read.positive, merge),
        negative: buckets(&read.negative, merge),
        custom_values: Vec::new(),
        hint: hint(read.reset_hint.as_deref()),
    })
}

/// OpenTelemetry's bucket `i` begins at base^i, Prometheus' ends there; each step down in scale
/// merges two neighbours.
fn buckets(buckets: &Buckets, merge: i32) -> Vec<(i32, f64)> {
    let mut merged: Vec<(i32, f64)> = Vec::new();
    for (at, count) in buckets.counts.iter().enumerate().filter(|(_, count)| **count != 0.0) {
        let index = ((i64::from(buckets.offset) + at as i64) >> merge.min(62)) as i32 + 1;
        match merged.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => merged.push((index, *count)),
        }
    }
    merged
}

fn hint(text: Option<&str>) -> ResetHint {
    match text {
        Some("gauge") => ResetHint::Gauge,
        Some("yes") => ResetHint::Reset,
        Some("no") => ResetHint::NotReset,
        _ => ResetHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scales_finer_than_prometheus_has_are_merged() {
        let read = |scale: i32| {
            let text = format!(
                r#"{{"scale":{scale},"zero_count":1,"zero_threshold":0,"positive":{{"offset":-2,"counts":[1,2,3,4]}}}}"#
            );
            exponential(&text, 11.0, 5.0)
        };
        assert_eq!(read(8).unwrap().positive, [(-1, 1.0), (0, 2.0), (1, 3.0), (2, 4.0)]);
        let merged = read(9).unwrap();
        assert_eq!((merged.schema, merged.positive), (8, vec![(0, 3.0), (1, 7.0)]));
        assert!(read(-5).is_none());
    }

    #[test]
    fn numbers_that_json_has_not_are_read() {
        let text = r#"{"quantiles":[{"quantile":0.5,"value":{"doubleValue":"NaN"}},{"quantile":1,"value":2}]}"#;
        let quantiles = summary(text).unwrap().quantiles;
        assert!(quantiles[0].value.is_nan());
        assert_eq!((quantiles[0].quantile, quantiles[1].quantile, quantiles[1].value), (0.5, 1.0, 2.0));
        let text = r#"{"bounds":[{"doubleValue":"-Infinity"},1,{"doubleValue":"Infinity"}],"counts":[0,1,2,3]}"#;
        let read = explicit(text).unwrap();
        assert_eq!((read.bounds, read.counts), (vec![f64::NEG_INFINITY, 1.0], vec![0.0, 1.0, 5.0]));
    }
}
