//! Quantiles, fractions, deviations of native histograms.

use super::{Bucket, Histogram};

/// What observations that are NaN leave to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The quantile falls among observations that are NaN.
    Result,
    /// Some observations are NaN; they count as the largest.
    Skew,
    /// Some observations are NaN; no fraction has them.
    Fraction,
}

impl Histogram {
    /// Cuts the zero bucket to the side that has observations.
    fn one_sided(&self, bucket: &mut Bucket) {
        match (self.negative.is_empty(), self.positive.is_empty()) {
            (true, false) => bucket.lower = 0.0,
            (false, true) => bucket.upper = 0.0,
            _ => {}
        }
    }

    /// The `q` quantile: exponential inside of a bucket, linear inside of custom ones and the zero bucket.
    pub(crate) fn quantile(&self, q: f64) -> (f64, Option<Notice>) {
        if q < 0.0 {
            return (f64::NEG_INFINITY, None);
        }
        if q > 1.0 {
            return (f64::INFINITY, None);
        }
        if self.count == 0.0 || q.is_nan() {
            return (f64::NAN, None);
        }
        // From the nearer end, so that observations that are NaN, and rounding, matter least.
        let has_nan = self.sum.is_nan();
        let forwards = has_nan || q < 0.5;
        let mut buckets = self.buckets();
        if !forwards {
            buckets.reverse();
        }
        let mut rank = if forwards { q } else { 1.0 - q } * self.count;
        let mut count = 0.0;
        let mut bucket = Bucket { lower: 0.0, upper: 0.0, lower_inclusive: false, upper_inclusive: false, count: 0.0 };
        let mut rest = buckets.iter();
        for next in rest.by_ref() {
            bucket = *next;
            count += bucket.count;
            if bucket.count != 0.0 && count >= rank {
                break;
            }
        }
        if self.is_custom() {
            if bucket.lower == f64::NEG_INFINITY {
                if bucket.upper <= 0.0 {
                    return (bucket.upper, None);
                }
                bucket.lower = 0.0;
            } else if bucket.upper == f64::INFINITY {
                return (bucket.lower, None);
            }
        } else if bucket.lower < 0.0 && bucket.upper > 0.0 {
            self.one_sided(&mut bucket);
        }
        count = count.min(self.count);
        if count < rank {
            return if has_nan { (f64::NAN, Some(Notice::Result)) } else { (bucket.upper, None) };
        }
        rank = if forwards { rank - (count - bucket.count) } else { count - rank };
        let seen = count + rest.map(|b| b.count).sum::<f64>();
        let notice = (has_nan && seen < self.count).then_some(Notice::Skew);
        let fraction = rank / bucket.count;
        if self.is_custom() || bucket.lower <= 0.0 && bucket.upper >= 0.0 {
            return (bucket.lower + (bucket.upper - bucket.lower) * fraction, notice);
        }
        let (lower, upper) = (bucket.lower.abs().log2(), bucket.upper.abs().log2());
        let value = if bucket.lower > 0.0 {
            (lower + (upper - lower) * fraction).exp2()
        } else {
            -(upper + (lower - upper) * (1.0 - fraction)).exp2()
        };
        (value, notice)
    }

    /// Which part of the observations lies between `lower` and `upper`.
    pub(crate) fn fraction(&self, lower: f64, upper: f64) -> (f64, Option<Notice>) {
        if self.count == 0.0 || lower.is_nan() || upper.is_nan() {
            return (f64::NAN, None);
        }
        if lower >= upper {
            return (0.0, None);
        }
        let buckets = self.buckets();
        let total: f64 = buckets.iter().map(|b| b.count).sum();
        let has_nan = self.sum.is_nan();
        let most = if has_nan { total } else { self.count };
        let notice = (has_nan && total < self.count).then_some(Notice::Fraction);
        let rank = |value: f64| self.rank(&buckets, value).filter(|rank| *rank <= most).unwrap_or(most);
        ((rank(upper) - rank(lower)) / self.count, notice)
    }

    /// How many observations lie below `value`; none if all do.
    fn rank(&self, buckets: &[Bucket], value: f64) -> Option<f64> {
        let mut rank = 0.0;
        for bucket in buckets {
            let mut bucket = *bucket;
            let mut linear = self.is_custom();
            if linear {
                if bucket.lower == f64::NEG_INFINITY && bucket.upper > 0.0 {
                    bucket.lower = 0.0;
                }
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                linear = true;
                self.one_sided(&mut bucket);
            }
            if bucket.lower >= value {
                return Some(rank);
            }
            if bucket.upper > value {
                // Without a lower bound there is nothing to interpolate.
                let open = linear && bucket.lower == f64::NEG_INFINITY;
                let inside = bucket.count * if open { 1.0 } else { bucket.fraction_below(value, linear) };
                return Some(if open { bucket.count } else { rank + inside });
            }
            rank += bucket.count;
        }
        None
    }

    /// The variance around the mean, with each bucket's observations at its middle.
    pub(crate) fn variance(&self) -> f64 {
        let mean = self.sum / self.count;
        let (mut sum, mut missing) = (0.0, 0.0);
        for bucket in self.buckets().iter().filter(|b| b.count != 0.0) {
            let middle = if self.is_custom() {
                bucket.upper.midpoint(bucket.lower)
            } else if bucket.lower <= 0.0 && bucket.upper >= 0.0 {
                0.0
            } else {
                (bucket.upper * bucket.lower).sqrt().copysign(bucket.upper)
            };
            let (next, lost) = super::arithmetic::two_sum(sum, bucket.count * (middle - mean) * (middle - mean));
            (sum, missing) = (next, missing + lost);
        }
        (sum + missing) / self.count
    }
}
