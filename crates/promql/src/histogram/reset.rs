//! Whether a counter was reset between two histograms.

use super::{Histogram, ResetHint};

impl Histogram {
    /// Whether this cannot follow `previous` without a reset.
    pub fn is_reset_after(&self, previous: &Self) -> bool {
        match self.hint {
            ResetHint::Reset => return true,
            ResetHint::NotReset => return false,
            ResetHint::Unknown | ResetHint::Gauge => {}
        }
        if self.count < previous.count || self.schema > previous.schema || self.zero_threshold < previous.zero_threshold
        {
            return true;
        }
        if self.is_custom() {
            return self.custom_reset(previous);
        }
        if previous.is_custom() {
            return true;
        }
        let mut before = previous.clone();
        if before.zero_threshold != self.zero_threshold {
            before.widen_zero(self.zero_threshold);
            // A populated bucket cut the new threshold: only a reset makes that possible.
            if before.zero_threshold != self.zero_threshold {
                return true;
            }
        }
        before.reduce(self.schema);
        self.zero_count < before.zero_count
            || shrank(&before.positive, &self.positive)
            || shrank(&before.negative, &self.negative)
    }

    fn custom_reset(&self, previous: &Self) -> bool {
        if !previous.is_custom() {
            return true;
        }
        if self.custom_values == previous.custom_values {
            return shrank(&previous.positive, &self.positive);
        }
        let bounds: Vec<f64> =
            self.custom_values.iter().copied().filter(|bound| previous.custom_values.contains(bound)).collect();
        let (mut now, mut before) = (self.clone(), previous.clone());
        now.rebase(&bounds);
        before.rebase(&bounds);
        shrank(&before.positive, &now.positive)
    }
}

/// Whether a bucket lost observations.
fn shrank(before: &[(i32, f64)], now: &[(i32, f64)]) -> bool {
    before.iter().filter(|bucket| bucket.1 != 0.0).any(|(index, count)| {
        let found = now.binary_search_by_key(index, |bucket| bucket.0);
        found.map_or(true, |at| now[at].1 < *count)
    })
}
