//! How many samples each step takes, as Prometheus counts them for `stats`: of an instant selector the newest one, of
//! a range all that lie in it, of a subquery what it gave. It is another walk over the samples, done only where it is
//! asked for.

use super::selection::is_stale;
use super::window::{Samples, Window};
use crate::histogram::Histogram;

/// Samples by step.
#[derive(Clone, Debug)]
pub(crate) struct Loaded(Vec<u64>);

impl Loaded {
    /// Of so many steps; of one, it counts all.
    pub(crate) fn new(steps: usize) -> Self {
        Self(vec![0; steps.max(1)])
    }

    pub(crate) fn add(&mut self, step: usize, samples: u64) {
        let last = self.0.len() - 1;
        self.0[step.min(last)] += samples;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        other.0.iter().enumerate().for_each(|(step, samples)| self.add(step, *samples));
    }

    pub(crate) fn steps(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The newest sample of each window; a marker of staleness is none.
    pub(crate) fn newest(&mut self, window: &Window, samples: &Samples) {
        if samples.histograms.is_empty() {
            window.slide(samples.times, |step, _, _, high| {
                self.add(step, u64::from(!is_stale(samples.values[high - 1])))
            });
            return;
        }
        window.slide_both(samples, |step, _, floats, histograms| {
            let float = (!floats.is_empty()).then(|| floats.end - 1);
            let histogram = (!histograms.is_empty()).then(|| histograms.end - 1);
            let is_newer = |h: usize| float.is_none_or(|f| samples.histogram_times[h] > samples.times[f]);
            match (float, histogram.filter(|h| is_newer(*h))) {
                (_, Some(h)) if !is_stale(samples.histograms[h].sum) => self.add(step, worth(&samples.histograms[h])),
                (Some(f), None) if !is_stale(samples.values[f]) => self.add(step, 1),
                _ => {}
            }
        });
    }

    /// All samples of each window, of which none is a marker of staleness.
    pub(crate) fn all(&mut self, window: &Window, samples: &Samples) {
        if samples.histograms.is_empty() {
            window.slide(samples.times, |step, _, low, high| self.add(step, (high - low) as u64));
            return;
        }
        window.slide_both(samples, |step, _, floats, histograms| {
            let histograms = samples.histograms[histograms].iter().map(|histogram| worth(histogram));
            self.add(step, floats.len() as u64 + histograms.sum::<u64>());
        });
    }
}

/// How many samples a histogram is: one for 16 bytes that Prometheus takes for it.
fn worth(histogram: &Histogram) -> u64 {
    let side = |buckets: &[(i32, f64)]| {
        let gaps = buckets.windows(2).filter(|pair| pair[0].0 + 1 != pair[1].0).count();
        8 * (buckets.len() + gaps + usize::from(!buckets.is_empty()))
    };
    let bytes = 168 + side(&histogram.positive) + side(&histogram.negative) + 8 * histogram.custom_values.len();
    (bytes / 16) as u64
}
