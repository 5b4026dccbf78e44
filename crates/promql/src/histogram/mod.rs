//! Native histograms with float counts: exponential and custom buckets.

mod arithmetic;
mod bounds;
mod buckets;
pub(crate) mod classic;
mod quantile;
mod reset;
mod show;
mod trim;

pub(crate) use arithmetic::Total;
pub use arithmetic::{Incompatible, Joined};
pub use buckets::Bucket;
pub(crate) use quantile::Notice;

/// The schema of histograms whose bounds are listed in [`Histogram::custom_values`].
pub const CUSTOM_BUCKETS: i32 = -53;

/// What is known of a counter's reset between a histogram and the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResetHint {
    /// Nothing: compare the buckets.
    #[default]
    Unknown,
    /// It was reset.
    Reset,
    /// It was not.
    NotReset,
    /// It is no counter.
    Gauge,
}

/// A native histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// -4 to 8: buckets grow by 2^(2^-schema); [`CUSTOM_BUCKETS`]: the bounds are `custom_values`.
    pub schema: i32,
    /// Observations.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Observations in `[-zero_threshold, zero_threshold]` are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// Index and count (not a difference) of each positive bucket, sorted by index. The bucket of index i ends
    /// at 2^(i * 2^-schema), or at `custom_values[i]`.
    pub positive: Vec<(i32, f64)>,
    /// The same of the negative buckets.
    pub negative: Vec<(i32, f64)>,
    /// Upper bounds of custom buckets, without +Inf.
    pub custom_values: Vec<f64>,
    /// Whether the counter was reset before it.
    pub hint: ResetHint,
}

impl Histogram {
    /// Whether its bounds are listed.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_BUCKETS
    }

    /// Buckets from spans (gap since the last one, length) and the counts in them.
    pub fn buckets_of_spans(spans: &[(i32, u32)], counts: &[f64]) -> Vec<(i32, f64)> {
        let mut counts = counts.iter();
        let mut index = 0i32;
        let mut buckets = vec![];
        for (gap, length) in spans {
            index = index.saturating_add(*gap);
            for _ in 0..*length {
                let Some(count) = counts.next() else { return buckets };
                buckets.push((index, *count));
                index = index.saturating_add(1);
            }
        }
        buckets
    }

    /// How many samples it is worth where they are counted: one for 16 bytes that it takes in memory.
    pub fn weight(&self) -> u64 {
        let buckets = self.positive.len() + self.negative.len();
        ((200 + 16 * buckets + 8 * self.custom_values.len()) / 16) as u64
    }

    /// Takes out buckets without observations.
    pub(crate) fn compact(&mut self) {
        self.positive.retain(|bucket| bucket.1 != 0.0);
        self.negative.retain(|bucket| bucket.1 != 0.0);
    }

    pub(crate) fn has_overflow(&self) -> bool {
        let buckets = self.positive.iter().chain(&self.negative).map(|b| b.1);
        [self.zero_count, self.count, self.sum].into_iter().chain(buckets).any(f64::is_infinite)
    }

    /// Whether both are the same to the bit, whatever their hints say.
    pub(crate) fn same(&self, other: &Self) -> bool {
        let numbers = |h: &Self| [h.count.to_bits(), h.sum.to_bits(), h.zero_count.to_bits()];
        let buckets = |a: &[(i32, f64)], b: &[(i32, f64)]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.to_bits() == b.1.to_bits())
        };
        self.schema == other.schema
            && numbers(self) == numbers(other)
            && self.zero_threshold == other.zero_threshold
            && (!self.is_custom() || self.custom_values == other.custom_values)
            && buckets(&self.positive, &other.positive)
            && buckets(&self.negative, &other.negative)
    }
}
