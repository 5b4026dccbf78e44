//! `rate`, `increase`, `delta` of floats, extrapolated to the bounds of the range.

use super::range::Context;
use super::window::Samples;
use crate::syntax::Function;

/// What extrapolation needs of a window, times in milliseconds: only their ratios count.
pub(super) struct Ends {
    /// From the range's start to the first sample.
    pub to_start: f64,
    /// From the last sample to the range's end.
    pub to_end: f64,
    /// Between the first and the last sample.
    pub sampled: f64,
    /// Intervals between samples.
    pub intervals: f64,
}

impl Ends {
    #[inline]
    pub(super) fn new(times: &[i64], start: i64, end: i64) -> Self {
        let (first, last) = (times[0], times[times.len() - 1]);
        Self {
            to_start: (first - start) as f64,
            to_end: (end - last) as f64,
            sampled: (last - first) as f64,
            intervals: (times.len() - 1) as f64,
        }
    }

    /// What a difference is multiplied with. A counter that begins at `first` and grew by `growth` cannot have
    /// been below zero: it is not extrapolated further back than to there.
    #[inline]
    pub(super) fn factor(self, counter: Option<(f64, f64)>) -> f64 {
        // Divisions cost most of a rate: nearly always samples reach both bounds, and none is needed to see it.
        let reaches = |gap: f64| gap * self.intervals < self.sampled * 1.09;
        if !(reaches(self.to_start) && reaches(self.to_end)) {
            return self.factor_at_an_end(counter);
        }
        let mut to_start = self.to_start;
        if let Some((first, growth)) = counter
            && growth > 0.0
            && first >= 0.0
            && self.sampled * first < to_start * growth
        {
            to_start = self.sampled * (first / growth);
        }
        (self.sampled + to_start + self.to_end) / self.sampled
    }

    #[cold]
    fn factor_at_an_end(mut self, counter: Option<(f64, f64)>) -> f64 {
        let average = self.sampled / self.intervals;
        // Where a sample is missing at the bound, the series began or ended: half an interval is likely.
        let threshold = average * 1.1;
        if self.to_start >= threshold {
            self.to_start = average / 2.0;
        }
        if let Some((first, growth)) = counter
            && growth > 0.0
            && first >= 0.0
        {
            let to_zero = self.sampled * (first / growth);
            if to_zero < self.to_start {
                self.to_start = to_zero;
            }
        }
        if self.to_end >= threshold {
            self.to_end = average / 2.0;
        }
        if self.sampled == 0.0 { 1.0 } else { (self.sampled + self.to_start + self.to_end) / self.sampled }
    }
}

/// Puts rates, increases or deltas into `out`.
pub(super) fn extrapolated(samples: &Samples, out: &mut [f64], context: &mut Context) {
    let (times, values, window) = (samples.times, samples.values, context.window);
    let counter = context.call.function != Function::Delta;
    let seconds = if context.call.function == Function::Rate { context.call.range_ms as f64 / 1000.0 } else { 1.0 };
    // Where the counter fell. There are few, so that a window looks only at its own.
    let resets = &mut context.scratch.resets;
    resets.clear();
    if counter {
        for i in 1..values.len() {
            if values[i] < values[i - 1] {
                resets.push(i as u32);
            }
        }
    }
    let mut next = 0;
    window.slide(times, |step, reference, low, high| {
        if high - low < 2 {
            return;
        }
        let mut growth = values[high - 1] - values[low];
        if counter {
            while next < resets.len() && resets[next] as usize <= low {
                next += 1;
            }
            for reset in resets[next..].iter().map(|r| *r as usize).take_while(|r| *r < high) {
                growth += values[reset - 1];
            }
        }
        let ends = Ends::new(&times[low..high], reference - window.before, reference);
        let factor = ends.factor(counter.then_some((values[low], growth)));
        out[step] = growth * (factor / seconds);
    });
}

/// `irate` or `idelta` of the two samples before `high`.
#[inline]
pub(super) fn last_two(times: &[i64], values: &[f64], high: usize, rate: bool) -> f64 {
    let (before, last) = (values[high - 2], values[high - 1]);
    if !rate {
        return last - before;
    }
    let growth = if last < before { last } else { last - before };
    growth / ((times[high - 1] - times[high - 2]) as f64 / 1000.0)
}
