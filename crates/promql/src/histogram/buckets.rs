//! The bounds of buckets, and walking over them.

use super::Histogram;

/// A bucket with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Lower bound.
    pub lower: f64,
    /// Upper bound.
    pub upper: f64,
    /// Whether an observation at the lower bound is in it.
    pub lower_inclusive: bool,
    /// Whether an observation at the upper bound is in it.
    pub upper_inclusive: bool,
    /// Observations.
    pub count: f64,
}

/// The upper bound of the positive exponential bucket `index`.
fn exponential_bound(index: i32, schema: i32) -> f64 {
    let finest = super::bounds::FINEST;
    let exponent = match schema {
        ..=0 => f64::from(index) * 2f64.powi(-schema),
        _ => f64::from(index) / 2f64.powi(schema),
    };
    // The last bucket of regular numbers ends at the largest of them; infinities have a bucket of their own.
    match exponent {
        1024.0 => f64::MAX,
        _ if (1..=finest).contains(&schema) => super::bounds::of(index, schema),
        _ => exponent.exp2(),
    }
}

impl Histogram {
    /// The upper bound of bucket `index`, in absolute value.
    fn bound(&self, index: i32) -> f64 {
        if !self.is_custom() {
            return exponential_bound(index, self.schema);
        }
        match usize::try_from(index) {
            Ok(index) => self.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
            Err(_) => f64::NEG_INFINITY,
        }
    }

    /// The lower bound of bucket `index`, in absolute value.
    pub(super) fn lower_bound(&self, index: i32) -> f64 {
        self.bound(index.saturating_sub(1))
    }

    /// The upper bound of bucket `index`, in absolute value.
    pub(super) fn upper_bound(&self, index: i32) -> f64 {
        self.bound(index)
    }

    /// A positive bucket.
    pub(super) fn positive_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (self.lower_bound(index), self.upper_bound(index));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    }

    /// A negative bucket.
    pub(super) fn negative_bucket(&self, (index, count): (i32, f64)) -> Bucket {
        let (lower, upper) = (-self.upper_bound(index), -self.lower_bound(index));
        Bucket { lower, upper, lower_inclusive: lower < 0.0, upper_inclusive: upper > 0.0, count }
    }

    /// The bucket around zero.
    pub(super) fn zero_bucket(&self) -> Bucket {
        let (upper, count) = (self.zero_threshold, self.zero_count);
        Bucket { lower: -upper, upper, lower_inclusive: true, upper_inclusive: true, count }
    }

    /// All buckets from the lowest, cut where they would overlap the zero bucket.
    pub fn buckets(&self) -> Vec<Bucket> {
        let threshold = self.zero_threshold;
        let mut buckets = Vec::with_capacity(self.negative.len() + self.positive.len() + 1);
        for bucket in self.negative.iter().rev() {
            let mut bucket = self.negative_bucket(*bucket);
            if bucket.upper < 0.0 && bucket.upper > -threshold {
                bucket.upper = -threshold;
            }
            buckets.push(bucket);
        }
        if self.zero_count > 0.0 {
            buckets.push(self.zero_bucket());
        }
        for bucket in &self.positive {
            let mut bucket = self.positive_bucket(*bucket);
            if bucket.lower > 0.0 && bucket.lower < threshold {
                bucket.lower = threshold;
            }
            buckets.push(bucket);
        }
        buckets
    }
}

impl Bucket {
    /// Which part of the bucket lies below `value`: linear, or logarithmic as exponential buckets are.
    pub(super) fn fraction_below(&self, value: f64, linear: bool) -> f64 {
        if linear {
            return (value - self.lower) / (self.upper - self.lower);
        }
        let (lower, upper, at) = (self.lower.abs().log2(), self.upper.abs().log2(), value.abs().log2());
        if value > 0.0 { (at - lower) / (upper - lower) } else { 1.0 - (at - upper) / (lower - upper) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_powers() {
        let cases = [(0, 0, 1.0), (1, 0, 2.0), (1, 1, 2f64.sqrt()), (1, -1, 4.0), (-1, 0, 0.5), (1024, 0, f64::MAX)];
        for (index, schema, bound) in cases {
            assert!((exponential_bound(index, schema) / bound - 1.0).abs() < 1e-12, "{index} {schema}");
        }
        assert_eq!(exponential_bound(1025, 0), f64::INFINITY);
        for schema in 1..=8 {
            for index in [-1074 << schema, -301, -1, 0, 1, 2, 3, 77, 300, (1024 << schema) - 1] {
                let bound = (f64::from(index) / 2f64.powi(schema)).exp2();
                assert!((exponential_bound(index, schema) / bound - 1.0).abs() < 1e-12, "{index} {schema}");
            }
        }
    }

    #[test]
    fn bounds_end_in_the_digits_of_prometheus() {
        let bounds = |schema: i32, indexes: std::ops::Range<i32>| -> Vec<f64> {
            indexes.map(|index| exponential_bound(index, schema)).collect()
        };
        const ROOT: f64 = 0.7071067811865475;
        assert_eq!(bounds(1, -2..3), [0.5, ROOT, 1.0, 2.0 * ROOT, 2.0]);
        assert_eq!(bounds(8, -3..0), [0.9919100824251095, 0.9945994234836328, 0.9972960560854698]);
        assert_eq!(bounds(2, -4..0), [0.5, 0.5946035575013605, 0.7071067811865475, 0.8408964152537144]);
    }
}
