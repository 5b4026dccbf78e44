//! What a caller reads from storage, and how it hands series over.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::matcher::Matcher;
use crate::syntax::Span;

/// The bits of the NaN that marks a series as stale.
pub const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a value is the marker of staleness.
#[inline]
pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// Series to read, and from when to when.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    /// The conditions that each series fulfils.
    pub matchers: Vec<Matcher>,
    /// The first millisecond of which samples matter.
    pub min_ms: i64,
    /// The last millisecond of which samples matter.
    pub max_ms: i64,
    /// The step at which it is evaluated; 1 where there is one step only.
    pub step_ms: i64,
    /// How far back each step looks: the lookback, or the range of a range selector.
    pub range_ms: i64,
    /// Whether all that matters of its values is how they change, and not what they have come to.
    pub changes_only: bool,
    /// Where the selector stands in the query.
    pub span: Span,
}

/// A series as it is pushed. Times are sorted, milliseconds, none twice, floats and histograms together.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    /// Its labels.
    pub labels: &'a Labels,
    /// Times of the floats.
    pub timestamps: &'a [i64],
    /// The floats; a NaN of [`STALE_BITS`] is the marker of staleness.
    pub values: &'a [f64],
    /// Times of the histograms.
    pub histogram_timestamps: &'a [i64],
    /// The histograms; a sum of [`STALE_BITS`] is the marker of staleness.
    pub histograms: &'a [Arc<Histogram>],
}

impl<'a> Series<'a> {
    /// A series of floats alone.
    pub fn floats(labels: &'a Labels, timestamps: &'a [i64], values: &'a [f64]) -> Self {
        Self { labels, timestamps, values, histogram_timestamps: &[], histograms: &[] }
    }
}
