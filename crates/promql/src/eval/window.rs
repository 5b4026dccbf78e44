//! Windows that slide over the samples of a series, a step at a time.

use std::sync::Arc;

use super::rows::Grid;
use crate::histogram::Histogram;

/// Samples of a series, without markers of staleness.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Samples<'a> {
    pub times: &'a [i64],
    pub values: &'a [f64],
    pub histogram_times: &'a [i64],
    pub histograms: &'a [Arc<Histogram>],
}

/// At each step the samples after `reference - before` and up to `reference + after`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub grid: Grid,
    /// The time that `@` pins.
    pub at: Option<i64>,
    pub offset: i64,
    pub before: i64,
    pub after: i64,
}

impl Window {
    /// The time that a step looks at.
    #[inline]
    pub(crate) fn reference(&self, step: usize) -> i64 {
        self.at.unwrap_or_else(|| self.grid.time(step)) - self.offset
    }

    /// The first and last millisecond that some step looks at.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let last = self.grid.len.saturating_sub(1);
        (self.reference(0) - self.before + 1, self.reference(last) + self.after)
    }

    /// Calls `each(step, reference, low, high)` for every step whose window `low..high` has samples.
    #[inline]
    pub(crate) fn slide(&self, times: &[i64], mut each: impl FnMut(usize, i64, usize, usize)) {
        let Some((first, last)) = times.first().zip(times.last()) else { return };
        let (mut low, mut high) = (0, 0);
        for step in self.steps(*first, *last) {
            let reference = self.reference(step);
            let (from, to) = (reference - self.before, reference + self.after);
            while low < times.len() && times[low] <= from {
                low += 1;
            }
            high = high.max(low);
            while high < times.len() && times[high] <= to {
                high += 1;
            }
            if low < high {
                each(step, reference, low, high);
            }
        }
    }

    /// The steps whose windows can have a sample between `first` and `last`.
    fn steps(&self, first: i64, last: i64) -> std::ops::Range<usize> {
        if self.at.is_some() || self.grid.step <= 0 {
            return 0..self.grid.len;
        }
        // reference + after >= first, and reference - before < last.
        let shift = self.grid.start - self.offset;
        let low = (first - self.after - shift).div_euclid(self.grid.step).max(0);
        let high = ((last + self.before - shift).div_euclid(self.grid.step) + 1).max(0);
        (low as usize).min(self.grid.len)..(high as usize).min(self.grid.len)
    }

    /// The same over floats and histograms at once; ranges of both are given.
    pub(crate) fn slide_both(
        &self,
        samples: &Samples,
        mut each: impl FnMut(usize, i64, std::ops::Range<usize>, std::ops::Range<usize>),
    ) {
        let (mut floats, mut histograms) = (0..0, 0..0);
        for step in 0..self.grid.len {
            let reference = self.reference(step);
            let advance = |range: &mut std::ops::Range<usize>, times: &[i64]| {
                while range.start < times.len() && times[range.start] <= reference - self.before {
                    range.start += 1;
                }
                range.end = range.end.max(range.start);
                while range.end < times.len() && times[range.end] <= reference + self.after {
                    range.end += 1;
                }
            };
            advance(&mut floats, samples.times);
            advance(&mut histograms, samples.histogram_times);
            if !floats.is_empty() || !histograms.is_empty() {
                each(step, reference, floats.clone(), histograms.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_open_on_the_left() {
        let grid = Grid { start: 0, step: 10, len: 5 };
        let window = Window { grid, at: None, offset: 0, before: 20, after: 0 };
        let mut seen = vec![];
        window.slide(&[0, 10, 20, 30], |step, _, low, high| seen.push((step, low, high)));
        assert_eq!(seen, [(0, 0, 1), (1, 0, 2), (2, 1, 3), (3, 2, 4), (4, 3, 4)]);
        assert_eq!(window.bounds(), (-19, 40));
    }
}
