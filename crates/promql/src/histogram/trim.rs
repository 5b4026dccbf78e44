//! `h </ x` and `h >/ x`: observations above or below a value taken out, by estimate inside of a bucket.

use super::{Bucket, Histogram};

impl Histogram {
    /// Keeps observations below `at` (`upper`), or those above.
    pub(crate) fn trim(&mut self, at: f64, upper: bool) {
        let custom = self.is_custom();
        let (mut count, mut sum, mut changed) = (0.0, 0.0, false);
        let mut sides = [false; 2];
        for (side, positive) in [true, false].into_iter().enumerate() {
            for i in 0..if positive { self.positive.len() } else { self.negative.len() } {
                let bucket = if positive {
                    self.positive_bucket(self.positive[i])
                } else {
                    self.negative_bucket(self.negative[i])
                };
                if bucket.count == 0.0 {
                    continue;
                }
                sides[side] = true;
                let (kept, middle) = kept(&bucket, at, upper, positive, custom);
                count += kept;
                sum += middle * kept;
                let stored = if positive { &mut self.positive[i].1 } else { &mut self.negative[i].1 };
                changed |= *stored != kept;
                *stored = kept;
            }
        }
        if self.zero_count > 0.0 {
            let (kept, middle) = kept_of_zero(&self.zero_bucket(), at, upper, sides);
            changed |= kept != self.zero_count;
            self.zero_count = kept;
            count += kept;
            sum += middle * kept;
        }
        if changed {
            (self.count, self.sum) = (count, sum);
            self.compact();
        }
    }
}

/// How many observations of a bucket stay, and where the middle of them is.
fn kept(bucket: &Bucket, at: f64, upper: bool, positive: bool, linear: bool) -> (f64, f64) {
    let (all, some) =
        if upper { (bucket.upper <= at, bucket.lower < at) } else { (bucket.lower >= at, bucket.upper > at) };
    if all {
        return (bucket.count, middle(bucket.lower, bucket.upper, positive, linear));
    }
    if !some {
        return (0.0, 0.0);
    }
    if bucket.lower == f64::NEG_INFINITY || bucket.upper == f64::INFINITY {
        return kept_of_open(bucket, at, upper);
    }
    let under = bucket.count * bucket.fraction_below(at, linear);
    if upper {
        (under, middle(bucket.lower, at, positive, linear))
    } else {
        (bucket.count - under, middle(at, bucket.upper, positive, linear))
    }
}

/// A bucket without one of its bounds: nothing can be interpolated but from 0.
fn kept_of_open(bucket: &Bucket, at: f64, upper: bool) -> (f64, f64) {
    let finite = |x: f64| if x.is_infinite() { 0.0 } else { x };
    if bucket.lower == f64::NEG_INFINITY {
        return match (upper, at) {
            (true, at) if at >= bucket.upper => (bucket.count, 0.0),
            (true, at) if at > 0.0 && bucket.upper.is_finite() => (bucket.count * at / bucket.upper, at / 2.0),
            (true, at) if bucket.upper <= 0.0 => (bucket.count, at),
            (false, at) if at <= bucket.lower => (bucket.count, 0.0),
            (false, at) if at >= 0.0 && bucket.upper > at && bucket.upper.is_finite() => {
                (bucket.count * (1.0 - at / bucket.upper), at.midpoint(bucket.upper))
            }
            _ => (0.0, finite(bucket.upper)),
        };
    }
    if !upper && at >= bucket.lower { (bucket.count, at) } else { (0.0, finite(bucket.lower)) }
}

fn kept_of_zero(bucket: &Bucket, at: f64, upper: bool, [positive, negative]: [bool; 2]) -> (f64, f64) {
    let low = if positive && !negative { 0.0 } else { bucket.lower };
    let high = if negative && !positive { 0.0 } else { bucket.upper };
    let whole = (bucket.count, low.midpoint(high));
    match upper {
        true if at <= low => (0.0, 0.0),
        true if at >= high => whole,
        true => (bucket.count * ((at - low) / (high - low)), low.midpoint(at)),
        false if at <= low => whole,
        false if at >= high => (0.0, 0.0),
        false => (bucket.count * ((high - at) / (high - low)), at.midpoint(high)),
    }
}

/// The middle of an interval: arithmetic or geometric; at the finite bound where only one is.
fn middle(lower: f64, upper: f64, positive: bool, linear: bool) -> f64 {
    match (lower.is_infinite(), upper.is_infinite()) {
        (true, true) => 0.0,
        (true, false) => {
            if upper > 0.0 {
                upper / 2.0
            } else {
                upper
            }
        }
        (false, true) => lower,
        (false, false) if linear => lower.midpoint(upper),
        (false, false) => (lower * upper).abs().sqrt() * if positive { 1.0 } else { -1.0 },
    }
}
