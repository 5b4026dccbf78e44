//! What is found of one series: its samples, in the order in which they are read.

use std::sync::Arc;

use bonghwa_block::to_millis;
use bonghwa_promql::{Histogram, STALE_BITS, Windows};

/// The value that ends a series.
pub(super) const STALE: f64 = f64::from_bits(STALE_BITS);

/// Milliseconds of a day.
pub(crate) const DAY_MS: i64 = 24 * 3_600_000;

/// Samples that room is made for before they come, at most.
const MOST_ROOM: usize = 16 * 1024;
/// Samples that do not tell yet how often they come.
const FEW: usize = 16;

/// What was found of a series.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Unix milliseconds of the floats.
    pub times: Vec<i64>,
    /// Floats.
    pub values: Vec<f64>,
    /// Native histograms by Unix milliseconds.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
    /// Values are changes since the sample before.
    pub delta: bool,
    /// They are added up from the beginning of each day on, and not from the first sample that was read.
    pub daily: bool,
    /// They are heartbeats, not yet completed.
    pub heartbeats: bool,
}

impl Found {
    /// Samples of both kinds.
    pub fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many samples it counts for: a histogram is worth more than one.
    pub fn weight(&self) -> u64 {
        self.times.len() as u64 + self.histograms.iter().map(|(_, histogram)| histogram.weight()).sum::<u64>()
    }

    /// Makes room for so many samples more, and for those that follow them up to a time if they come as often as
    /// those before: moving long lists while they grow takes as long as decoding them.
    pub fn make_room(&mut self, more: usize, until: i64) {
        let count = self.times.len();
        let (Some(first), Some(last)) = (self.times.first(), self.times.last()) else { return };
        if count < FEW || self.times.capacity() - count >= more {
            return;
        }
        let (taken, left) = (last.saturating_sub(*first).max(1), until.saturating_sub(*last).max(0));
        let expected = (count as f64 * left as f64 / taken as f64) as usize;
        let room = expected.min(MOST_ROOM).max(more);
        self.times.reserve(room);
        self.values.reserve(room);
    }

    /// Adds a float.
    pub fn push(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    /// Adds those of other samples, sorted by time, that lie in windows.
    pub fn extend_in(&mut self, windows: &Windows, times: &[i64], values: &[f64]) {
        for run in windows.runs(times) {
            self.times.extend_from_slice(&times[run.clone()]);
            self.values.extend_from_slice(&values[run]);
        }
    }

    /// Adds those samples of a row that are in range, inclusive; they are sorted by time.
    pub fn extend<T: Copy>(&mut self, nanos: &[i64], values: &[T], as_float: impl Fn(T) -> f64, range: (i64, i64)) {
        let end = nanos.partition_point(|nanos| to_millis(*nanos) <= range.1).min(values.len());
        let start = nanos.partition_point(|nanos| to_millis(*nanos) < range.0).min(end);
        self.times.extend(nanos[start..end].iter().map(|nanos| to_millis(*nanos)));
        self.values.extend(values[start..end].iter().map(|value| as_float(*value)));
    }

    /// Puts the samples in the order of time. Of two at one time the one that was read last stays.
    /// Changes are added up.
    pub fn finish(&mut self) {
        if !self.times.is_sorted_by(|a, b| a < b) {
            let mut samples: Vec<(i64, f64)> =
                std::mem::take(&mut self.times).into_iter().zip(self.values.drain(..)).collect();
            samples.sort_by_key(|sample| sample.0);
            for (time, value) in samples {
                if self.times.last() == Some(&time) {
                    self.times.pop();
                    self.values.pop();
                }
                self.push(time, value);
            }
        }
        if !self.histograms.is_sorted_by(|a, b| a.0 < b.0) {
            self.histograms.sort_by_key(|sample| sample.0);
            self.histograms.reverse();
            self.histograms.dedup_by_key(|sample| sample.0);
            self.histograms.reverse();
        }
        if self.delta {
            let (mut sum, mut last) = (0.0, None);
            let samples = self.times.iter().zip(&mut self.values);
            for (time, value) in samples.filter(|(_, value)| value.to_bits() != STALE_BITS) {
                if self.daily && last.is_some_and(|last| is_new_day(last, *time)) {
                    sum = 0.0;
                }
                last = Some(*time);
                sum += *value;
                *value = sum;
            }
            self.add_up_histograms();
        }
    }

    /// Keeps what is in a range, inclusive, of samples in the order of time.
    pub fn cut(&mut self, range: (i64, i64)) {
        let end = self.times.partition_point(|time| *time <= range.1);
        let start = self.times.partition_point(|time| *time < range.0).min(end);
        self.times = self.times[start..end].to_vec();
        self.values = self.values[start..end].to_vec();
        self.histograms.retain(|(time, _)| (range.0..=range.1).contains(time));
    }

    /// The same of histograms. Where one cannot be added to those before it, the sum begins anew.
    fn add_up_histograms(&mut self) {
        let mut sum: Option<Histogram> = None;
        let mut last = None;
        for (time, histogram) in &mut self.histograms {
            if histogram.sum.to_bits() == STALE_BITS {
                continue;
            }
            if self.daily && last.is_some_and(|last| is_new_day(last, *time)) {
                sum = None;
            }
            last = Some(*time);
            let added = sum.as_mut().is_some_and(|sum| sum.add(histogram).is_ok());
            match &sum {
                Some(sum) if added => *histogram = Arc::new(sum.clone()),
                _ => sum = Some((**histogram).clone()),
            }
        }
    }
}

fn is_new_day(last: i64, time: i64) -> bool {
    last.div_euclid(DAY_MS) != time.div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_histograms_are_added_up() {
        let histogram = |schema: i32, count: f64| {
            Arc::new(Histogram { schema, count, sum: 2.0 * count, positive: vec![(1, count)], ..Histogram::default() })
        };
        let stale = Arc::new(Histogram { sum: STALE, ..Histogram::default() });
        let custom = bonghwa_promql::CUSTOM_BUCKETS;
        let histograms = [histogram(0, 1.0), histogram(0, 2.0), stale, histogram(0, 4.0), histogram(custom, 8.0)];
        // They come in any order, as blocks are read.
        let histograms = histograms.into_iter().enumerate().map(|(time, one)| (time as i64, one)).rev().collect();
        let mut found = Found { histograms, delta: true, ..Found::default() };
        found.finish();
        let counts: Vec<(i64, f64)> = found.histograms.iter().map(|(time, one)| (*time, one.count)).collect();
        assert_eq!(counts, [(0, 1.0), (1, 3.0), (2, 0.0), (3, 7.0), (4, 8.0)]);
        assert_eq!(found.histograms[3].1.positive, [(1, 7.0)]);
        assert!(found.histograms[2].1.sum.is_nan());
    }

    #[test]
    fn changes_are_added_up_from_the_first_or_day_by_day() {
        let times = vec![0, 1, DAY_MS - 1, DAY_MS, DAY_MS + 1];
        let stale = f64::from_bits(STALE_BITS);
        let found = |daily| {
            let values = vec![1.0, 2.0, 4.0, 8.0, 16.0];
            let mut found = Found { times: times.clone(), values, delta: true, daily, ..Found::default() };
            found.push(DAY_MS + 2, stale);
            found.finish();
            found
        };
        assert_eq!(found(false).values[..5], [1.0, 3.0, 7.0, 15.0, 31.0]);
        assert_eq!(found(true).values[..5], [1.0, 3.0, 7.0, 8.0, 24.0]);
        let mut cut = found(true);
        assert_eq!(cut.values[5].to_bits(), STALE_BITS);
        cut.cut((1, DAY_MS));
        assert_eq!((cut.times, cut.values), (times[1..4].to_vec(), vec![3.0, 7.0, 8.0]));
    }
}
