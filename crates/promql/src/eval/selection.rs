//! What a caller reads from storage, and how it hands series over.

use std::ops::Range;
use std::sync::Arc;

use super::window::Window;
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
    /// Which times between the first and the last matter; none where all do.
    pub windows: Option<Windows>,
    /// Whether all that matters of its values is how they change, and not what they have come to.
    pub changes_only: bool,
    /// Where the selector stands in the query.
    pub span: Span,
}

/// The windows of steps that are further apart than each looks back: no step looks at what lies between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// The last millisecond of one of them.
    end_ms: i64,
    /// From the end of one to the end of the next.
    step_ms: i64,
    width_ms: i64,
}

impl Windows {
    pub(crate) fn of(window: &Window) -> Option<Self> {
        let (step_ms, width_ms) = (window.grid.step, window.before + window.after);
        let apart = window.grid.len > 1 && window.at.is_none() && width_ms < step_ms;
        apart.then(|| Windows { end_ms: window.reference(0) + window.after, step_ms, width_ms })
    }

    /// Whether a time is in a window.
    pub fn holds(&self, ms: i64) -> bool {
        self.until_end(ms) < self.width_ms
    }

    /// Which of sorted times are in windows.
    pub fn runs<'a>(&self, times: &'a [i64]) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let windows = *self;
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let first = *times.get(at)?;
                let end = first + windows.until_end(first);
                let before = |most: i64| times[at..].iter().take_while(|time| **time <= most).count();
                if windows.holds(first) {
                    let run = at..at + before(end);
                    at = run.end;
                    return Some(run);
                }
                at += before(end - windows.width_ms);
            }
        })
    }

    /// From a time to the next end of a window.
    fn until_end(&self, ms: i64) -> i64 {
        (self.end_ms - ms).rem_euclid(self.step_ms)
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::eval::rows::Grid;

    proptest! {
        #[test]
        fn all_that_a_step_looks_at_is_in_a_window(
            mut times in prop::collection::vec(-500i64..500, 0..60),
            (start, step, len) in (-300i64..300, 1i64..60, 1usize..12),
            (offset, before, after) in (-20i64..20, 1i64..70, 0i64..20),
        ) {
            times.sort_unstable();
            times.dedup();
            let window = Window { grid: Grid { start, step, len }, at: None, offset, before, after };
            let mut seen = vec![false; times.len()];
            window.slide(&times, |_, _, low, high| seen[low..high].fill(true));
            let Some(windows) = Windows::of(&window) else {
                prop_assert!(len == 1 || before + after >= step);
                return Ok(());
            };
            let mut held = vec![false; times.len()];
            windows.runs(&times).for_each(|run| held[run].fill(true));
            let (first, last) = window.bounds();
            for (at, time) in times.iter().enumerate() {
                prop_assert_eq!(held[at], windows.holds(*time));
                if (first..=last).contains(time) {
                    prop_assert_eq!(held[at], seen[at], "{} of {:?}", time, window);
                }
            }
        }
    }
}
