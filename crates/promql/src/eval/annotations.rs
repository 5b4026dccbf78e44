//! What a query's answer leaves to be said: warnings and infos, each once, with its place in the query.

use std::collections::HashMap;

use super::bytes::{Input, Output, Unreadable};
use crate::number::{format, format_g};
use crate::syntax::{Span, quote};

/// Warnings and infos of an answer, as Prometheus words them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// `PromQL warning: ... (1:8)`
    pub warnings: Vec<String>,
    /// `PromQL info: ... (1:8)`
    pub infos: Vec<String>,
    /// Those infos that count steps: of several parts they are one.
    pub(crate) counted: Vec<Counted>,
}

/// An info that counts steps.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Counted {
    /// The metric's name.
    pub detail: String,
    /// Line and column in the query.
    pub position: (u32, u32),
    pub raised: Raised,
}

impl Counted {
    /// The info.
    pub(crate) fn text(&self) -> String {
        let text = Note::Monotonicity.text(&self.detail) + &self.raised.describe();
        info(&text, self.position)
    }
}

fn info(text: &str, (line, column): (u32, u32)) -> String {
    format!("PromQL info: {text} ({line}:{column})")
}

/// What can be said. The detail of a note, mostly the metric's name, comes beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Note {
    InvalidQuantile,
    InvalidRatio,
    InvalidStrategy,
    BadBucket,
    Mixed,
    MixedAggregation,
    MixedClassicNative,
    NotCounter,
    NotGauge,
    MixedBuckets,
    IncompatibleBuckets,
    SortInRange,
    NonCounter,
    Monotonicity,
    IncompatibleTypes,
    IgnoredInAggregation,
    IgnoredInRange,
    NanResult,
    NanSkew,
    NanFraction,
    ResetCollision,
    BucketsReconciled,
}

impl Note {
    /// All of them, as they are declared.
    pub(super) const ALL: [Self; 22] = [
        Self::InvalidQuantile,
        Self::InvalidRatio,
        Self::InvalidStrategy,
        Self::BadBucket,
        Self::Mixed,
        Self::MixedAggregation,
        Self::MixedClassicNative,
        Self::NotCounter,
        Self::NotGauge,
        Self::MixedBuckets,
        Self::IncompatibleBuckets,
        Self::SortInRange,
        Self::NonCounter,
        Self::Monotonicity,
        Self::IncompatibleTypes,
        Self::IgnoredInAggregation,
        Self::IgnoredInRange,
        Self::NanResult,
        Self::NanSkew,
        Self::NanFraction,
        Self::ResetCollision,
        Self::BucketsReconciled,
    ];

    fn is_info(self) -> bool {
        use Note::{
            BucketsReconciled, IgnoredInAggregation, IgnoredInRange, IncompatibleTypes, Monotonicity, NanFraction,
            NanResult, NanSkew, NonCounter,
        };
        matches!(
            self,
            NonCounter
                | Monotonicity
                | IncompatibleTypes
                | IgnoredInAggregation
                | IgnoredInRange
                | NanResult
                | NanSkew
                | NanFraction
                | BucketsReconciled
        )
    }

    fn text(self, detail: &str) -> String {
        let named = |text: &str| {
            if detail.is_empty() { text.into() } else { format!("{text} for metric name {}", quote(detail)) }
        };
        let quoted = |text: &str| format!("{text} {}", quote(detail));
        match self {
            Self::InvalidQuantile => format!("quantile value should be between 0 and 1, got {detail}"),
            Self::InvalidRatio => format!("ratio value should be between -1 and 1, got {detail}"),
            Self::InvalidStrategy => format!("strategy should be 0, 1, or 2 (default), using 2, got {detail}"),
            Self::BadBucket => {
                let (name, label) = detail.split_once('\n').unwrap_or(("", detail));
                let text = format!("bucket label \"le\" is missing or has a malformed value of {}", quote(label));
                if name.is_empty() { text } else { format!("{text} for metric name {}", quote(name)) }
            }
            Self::Mixed => quoted("encountered a mix of histograms and floats for metric name"),
            Self::MixedAggregation => "encountered a mix of histograms and floats for aggregation".into(),
            Self::MixedClassicNative => named("vector contains a mix of classic and native histograms"),
            Self::NotCounter => quoted("this native histogram metric is not a counter:"),
            Self::NotGauge => quoted("this native histogram metric is not a gauge:"),
            Self::MixedBuckets => quoted(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name",
            ),
            Self::IncompatibleBuckets => {
                format!("incompatible bucket layout encountered for binary operator {detail}")
            }
            Self::SortInRange => {
                "sort is ineffective for range queries since results are always ordered by labels".into()
            }
            Self::NonCounter => {
                quoted("metric might not be a counter, name does not end in _total/_sum/_count/_bucket:")
            }
            Self::Monotonicity => named(MONOTONICITY),
            Self::IncompatibleTypes => format!("incompatible sample types encountered for binary operator {detail}"),
            Self::IgnoredInAggregation => format!("ignored histogram in {detail} aggregation"),
            Self::IgnoredInRange => {
                quoted("ignored histograms in a range containing both floats and histograms for metric name")
            }
            Self::NanResult => named("input to histogram_quantile has NaN observations, result is NaN"),
            Self::NanSkew => named("input to histogram_quantile has NaN observations, result is skewed higher"),
            Self::NanFraction => {
                named("input to histogram_fraction has NaN observations, which are excluded from all fractions")
            }
            Self::ResetCollision => format!("conflicting counter resets during histogram {detail}"),
            Self::BucketsReconciled => format!("mismatched custom buckets were reconciled during {detail}"),
        }
    }
}

/// What is said with the number of steps and the first and last of them.
const MONOTONICITY: &str = "input to histogram_quantile needed to be fixed for monotonicity (see \
     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";

/// Where counts of classic buckets had to be raised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Raised {
    pub from_ms: i64,
    pub to_ms: i64,
    pub min_bucket: f64,
    pub max_bucket: f64,
    pub max_diff: f64,
    pub samples: u64,
}

/// Notes that differ, at most: each metric of a query may have its own, and nobody reads that many.
const MOST_NOTES: usize = 10_000;

/// Notes while they are gathered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// By what is said of which place, then by detail.
    entries: HashMap<(Note, Span), HashMap<String, Option<Raised>>>,
    count: usize,
}

impl Notes {
    pub(crate) fn add(&mut self, note: Note, span: Span, detail: &str) {
        self.insert(note, span, detail, None);
    }

    /// A note with a number in it.
    pub(crate) fn add_number(&mut self, note: Note, span: Span, value: f64) {
        self.insert(note, span, &format_g(value), None);
    }

    /// Counts of buckets that had to be raised.
    pub(crate) fn add_raised(&mut self, span: Span, name: &str, raised: Raised) {
        self.insert(Note::Monotonicity, span, name, Some(raised));
    }

    pub(super) fn insert(&mut self, note: Note, span: Span, detail: &str, raised: Option<Raised>) {
        let said = self.entries.entry((note, span)).or_default();
        match said.get_mut(detail) {
            Some(known) => {
                if let (Some(known), Some(raised)) = (known, raised) {
                    known.merge(&raised);
                }
            }
            None if self.count < MOST_NOTES => {
                self.count += 1;
                said.insert(detail.to_owned(), raised);
            }
            None => {}
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (note, span, detail, raised) in other.into_entries() {
            self.insert(note, span, &detail, raised);
        }
    }

    /// Each note with its place, its detail, and what was raised.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (Note, Span, String, Option<Raised>)> {
        let of_place = |((note, span), said): ((Note, Span), HashMap<String, Option<Raised>>)| {
            said.into_iter().map(move |(detail, raised)| (note, span, detail, raised))
        };
        self.entries.into_iter().flat_map(of_place)
    }

    /// The notes as text, sorted, with their places in `query`.
    pub(crate) fn finish(self, query: &str) -> Annotations {
        let mut annotations = Annotations::default();
        let notes = self
            .entries
            .iter()
            .flat_map(|(place, said)| said.iter().map(move |(detail, raised)| (place, detail, raised)));
        for ((note, span), detail, raised) in notes {
            let text = note.text(detail);
            let (line, column) = span.position(query);
            let position = (line as u32, column as u32);
            if let Some(raised) = *raised {
                let counted = Counted { detail: detail.clone(), position, raised };
                annotations.infos.push(counted.text());
                annotations.counted.push(counted);
            } else if note.is_info() {
                annotations.infos.push(info(&text, position));
            } else {
                annotations.warnings.push(format!("PromQL warning: {text} ({line}:{column})"));
            }
        }
        for texts in [&mut annotations.warnings, &mut annotations.infos] {
            texts.sort();
            texts.dedup();
        }
        annotations
    }
}

impl Raised {
    pub(super) fn write(&self, out: &mut Output) {
        out.signed(self.from_ms);
        out.signed(self.to_ms);
        for float in [self.min_bucket, self.max_bucket, self.max_diff] {
            out.float(float);
        }
        out.number(self.samples);
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            from_ms: input.signed()?,
            to_ms: input.signed()?,
            min_bucket: input.float()?,
            max_bucket: input.float()?,
            max_diff: input.float()?,
            samples: input.number()?,
        })
    }

    /// Those of other steps, or other series.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.from_ms = self.from_ms.min(other.from_ms);
        self.to_ms = self.to_ms.max(other.to_ms);
        self.min_bucket = self.min_bucket.min(other.min_bucket);
        self.max_bucket = self.max_bucket.max(other.max_bucket);
        self.max_diff = self.max_diff.max(other.max_diff);
        self.samples = self.samples.saturating_add(other.samples);
    }

    fn describe(&self) -> String {
        format!(
            ", from buckets {} to {}, with a max diff of {}, over {} samples from {} to {}",
            format_g(self.min_bucket),
            format_g(self.max_bucket),
            two_digits(self.max_diff),
            self.samples,
            super::dates::rfc3339(self.from_ms),
            super::dates::rfc3339(self.to_ms),
        )
    }
}

/// Go's `%.2g`.
fn two_digits(value: f64) -> String {
    let scientific = format!("{value:.1e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let rounded: f64 = scientific.parse().unwrap_or(value);
    if (-4..2).contains(&exponent) {
        return format(rounded);
    }
    let digits = digits.trim_end_matches(".0");
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
