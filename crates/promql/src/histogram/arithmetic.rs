//! Adding, subtracting and scaling histograms whose layouts differ: both are brought to one first.

use std::borrow::Cow;

use super::{Histogram, ResetHint};

/// Exponential and custom buckets cannot be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incompatible;

/// What there is to say about two histograms that were joined.
#[derive(Clone, Copy, Debug, Default)]
pub struct Joined {
    /// One said that its counter was reset, the other that it was not.
    pub collision: bool,
    /// Their custom bounds differed; only those of both are left.
    pub reconciled: bool,
}

/// `a + b` and what was lost of it (Neumaier).
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    if sum.is_infinite() {
        return (sum, 0.0);
    }
    let lost = if a.abs() >= b.abs() { (a - sum) + b } else { (b - sum) + a };
    (sum, lost)
}

impl Histogram {
    /// Multiplies all counts and the sum.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.each(|count| *count *= factor);
        if factor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    /// Divides all counts and the sum.
    pub(crate) fn divide(&mut self, divisor: f64) {
        self.each(|count| *count /= divisor);
        if divisor == 0.0 {
            self.positive.clear();
            self.negative.clear();
        } else if divisor < 0.0 {
            self.hint = ResetHint::Gauge;
        }
    }

    fn each(&mut self, change: impl Fn(&mut f64)) {
        change(&mut self.zero_count);
        change(&mut self.count);
        change(&mut self.sum);
        self.positive.iter_mut().chain(&mut self.negative).for_each(|bucket| change(&mut bucket.1));
    }

    /// Adds `other`. Where they cannot be joined, this one stays as it is.
    pub fn add(&mut self, other: &Self) -> Result<Joined, Incompatible> {
        self.join(other, 1.0, None)
    }

    /// Takes `other` away.
    pub(crate) fn subtract(&mut self, other: &Self) -> Result<Joined, Incompatible> {
        self.join(other, -1.0, None)
    }

    /// Adds `sign * other`; what is lost of the sums goes into `lost`, which keeps this histogram's layout.
    fn join(&mut self, other: &Self, sign: f64, mut lost: Option<&mut Self>) -> Result<Joined, Incompatible> {
        if self.is_custom() != other.is_custom() {
            return Err(Incompatible);
        }
        let mut joined = Joined { collision: self.join_hint(other.hint), reconciled: false };
        let mut other = Cow::Borrowed(other);
        if self.is_custom() {
            if self.custom_values != other.custom_values {
                joined.reconciled = true;
                let bounds = intersection(&self.custom_values, &other.custom_values);
                other.to_mut().rebase(&bounds);
                self.rebase(&bounds);
                if let Some(lost) = lost.as_deref_mut() {
                    lost.rebase(&bounds);
                }
            }
        } else {
            self.align_zero(&mut other, lost.as_deref_mut());
            let schema = self.schema.min(other.schema);
            if other.schema != schema {
                other.to_mut().reduce(schema);
            }
            self.reduce(schema);
            if let Some(lost) = lost.as_deref_mut() {
                lost.reduce(schema);
            }
        }
        let mut none = Self::default();
        let lost = lost.unwrap_or(&mut none);
        for (into, add, lost) in [
            (&mut self.zero_count, other.zero_count, &mut lost.zero_count),
            (&mut self.count, other.count, &mut lost.count),
            (&mut self.sum, other.sum, &mut lost.sum),
        ] {
            let (sum, missing) = two_sum(*into, sign * add);
            (*into, *lost) = (sum, *lost + missing);
        }
        self.positive = merge(&self.positive, &other.positive, sign, &mut lost.positive);
        self.negative = merge(&self.negative, &other.negative, sign, &mut lost.negative);
        Ok(joined)
    }

    /// Joins the hints; true where they contradict each other.
    fn join_hint(&mut self, other: ResetHint) -> bool {
        use ResetHint::{Gauge, NotReset, Reset, Unknown};
        let collision = matches!((self.hint, other), (Reset, NotReset) | (NotReset, Reset));
        self.hint = match (self.hint, other) {
            (a, b) if a == b => a,
            (Gauge, _) | (_, Gauge) => Gauge,
            _ => Unknown,
        };
        collision
    }

    /// Brings both zero buckets to one threshold.
    fn align_zero(&mut self, other: &mut Cow<Self>, lost: Option<&mut Self>) {
        while self.zero_threshold != other.zero_threshold {
            if self.zero_threshold > other.zero_threshold {
                other.to_mut().widen_zero(self.zero_threshold);
            }
            if other.zero_threshold > self.zero_threshold {
                self.widen_zero(other.zero_threshold);
            }
        }
        if let Some(lost) = lost {
            lost.absorb(self.zero_threshold);
        }
    }

    /// Widens the zero bucket to at least `threshold`: it ends where a bucket with observations does.
    pub(super) fn widen_zero(&mut self, threshold: f64) {
        let mut threshold = threshold;
        loop {
            let cut = self.positive.iter().chain(&self.negative).filter(|(index, count)| {
                *count != 0.0 && self.lower_bound(*index) < threshold && self.upper_bound(*index) > threshold
            });
            match cut.map(|(index, _)| self.upper_bound(*index)).reduce(f64::max) {
                Some(upper) => threshold = upper,
                None => break,
            }
        }
        self.absorb(threshold);
    }

    /// Moves what lies below `threshold` into the zero bucket.
    fn absorb(&mut self, threshold: f64) {
        if threshold == self.zero_threshold {
            return;
        }
        let inside: Vec<(i32, f64)> = self.positive.iter().chain(&self.negative).copied().collect();
        let inside = inside.into_iter().filter(|(index, _)| self.lower_bound(*index) < threshold);
        let (mut sum, mut missing) = (self.zero_count, 0.0);
        for (_, count) in inside {
            let (next, lost) = two_sum(sum, count);
            (sum, missing) = (next, missing + lost);
        }
        self.zero_count = sum + missing;
        let (positive, negative) = (std::mem::take(&mut self.positive), std::mem::take(&mut self.negative));
        let outside = |bucket: &(i32, f64)| self.lower_bound(bucket.0) >= threshold && bucket.1 != 0.0;
        let (positive, negative) =
            (positive.into_iter().filter(outside).collect(), negative.into_iter().filter(outside).collect());
        (self.positive, self.negative, self.zero_threshold) = (positive, negative, threshold);
    }

    /// Merges buckets until they are those of a coarser schema.
    pub(super) fn reduce(&mut self, schema: i32) {
        if schema >= self.schema {
            return;
        }
        let shift = self.schema - schema;
        for buckets in [&mut self.positive, &mut self.negative] {
            let moved = buckets.iter().map(|(index, count)| (((index - 1) >> shift) + 1, *count));
            *buckets = gather(moved);
        }
        self.schema = schema;
    }

    /// Moves custom buckets to bounds of which each is a bound already.
    pub(super) fn rebase(&mut self, bounds: &[f64]) {
        let target = |index: &i32| {
            let bound = usize::try_from(*index).ok().and_then(|i| self.custom_values.get(i));
            bound.map_or(bounds.len(), |bound| bounds.partition_point(|b| b < bound)) as i32
        };
        self.positive = gather(self.positive.iter().map(|(index, count)| (target(index), *count)));
        self.custom_values = bounds.to_vec();
    }
}

/// Buckets with equal neighbours added up.
fn gather(buckets: impl Iterator<Item = (i32, f64)>) -> Vec<(i32, f64)> {
    let mut gathered: Vec<(i32, f64)> = vec![];
    for (index, count) in buckets {
        match gathered.last_mut() {
            Some(last) if last.0 == index => last.1 += count,
            _ => gathered.push((index, count)),
        }
    }
    gathered
}

/// `a + sign * b`, bucket by bucket.
fn merge(a: &[(i32, f64)], b: &[(i32, f64)], sign: f64, lost: &mut Vec<(i32, f64)>) -> Vec<(i32, f64)> {
    let mut merged = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(left), Some(right)) if left.0 == right.0 => {
                let (sum, missing) = two_sum(left.1, sign * right.1);
                if missing != 0.0 {
                    match lost.binary_search_by_key(&left.0, |bucket| bucket.0) {
                        Ok(at) => lost[at].1 += missing,
                        Err(at) => lost.insert(at, (left.0, missing)),
                    }
                }
                merged.push((left.0, sum));
                (i, j) = (i + 1, j + 1);
            }
            (Some(left), Some(right)) if left.0 < right.0 => {
                merged.push(*left);
                i += 1;
            }
            (Some(left), None) => {
                merged.push(*left);
                i += 1;
            }
            (_, Some(right)) => {
                merged.push((right.0, sign * right.1));
                j += 1;
            }
            (None, None) => return merged,
        }
    }
}

fn intersection(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().copied().filter(|bound| b.contains(bound)).collect()
}

/// A sum of histograms with what was lost by rounding.
#[derive(Clone, Debug)]
pub(crate) struct Total {
    sum: Histogram,
    lost: Histogram,
}

impl Total {
    /// A sum of one.
    pub(crate) fn new(first: &Histogram) -> Self {
        let (schema, zero_threshold, custom_values) = (first.schema, first.zero_threshold, first.custom_values.clone());
        let lost = Histogram { schema, zero_threshold, custom_values, ..Histogram::default() };
        Self { sum: first.clone(), lost }
    }

    /// The sum, and what was lost of it.
    pub(crate) fn parts(&self) -> [&Histogram; 2] {
        [&self.sum, &self.lost]
    }

    /// Of what [`Total::parts`] gave.
    pub(crate) fn of_parts([sum, lost]: [Histogram; 2]) -> Self {
        Self { sum, lost }
    }

    /// As of [`Histogram::weight`].
    pub(crate) fn weight(&self) -> u64 {
        self.sum.weight()
    }

    /// Adds one more.
    pub(crate) fn add(&mut self, other: &Histogram) -> Result<Joined, Incompatible> {
        self.sum.join(other, 1.0, Some(&mut self.lost))
    }

    /// Whether something of it has grown to infinity.
    pub(crate) fn has_overflow(&self) -> bool {
        self.sum.has_overflow()
    }

    /// Multiplies it.
    pub(crate) fn scale(&mut self, factor: f64) {
        self.sum.scale(factor);
        self.lost.scale(factor);
    }

    /// The sum, divided by `count`.
    pub(crate) fn finish(mut self, count: f64) -> Histogram {
        if count != 1.0 {
            self.sum.divide(count);
            self.lost.divide(count);
        }
        self.lost.hint = self.sum.hint;
        let Self { mut sum, lost } = self;
        // Layouts are the same: both were changed together. What an overflow lost is no number.
        if !lost.sum.is_nan() && !sum.sum.is_nan() {
            let _joined = sum.add(&lost);
        } else {
            let (kept, mut rest) = (sum.sum, lost);
            rest.sum = 0.0;
            let _joined = sum.add(&rest);
            sum.sum = kept;
        }
        sum.compact();
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(schema: i32, positive: &[(i32, f64)]) -> Histogram {
        let count = positive.iter().map(|b| b.1).sum();
        Histogram { schema, count, sum: count, positive: positive.to_vec(), ..Histogram::default() }
    }

    #[test]
    fn layouts_are_joined() {
        let mut a = histogram(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
        let b = histogram(0, &[(1, 10.0), (5, 1.0)]);
        assert!(a.add(&b).is_ok());
        assert_eq!((a.schema, a.positive.as_slice()), (0, [(1, 13.0), (2, 4.0), (5, 1.0)].as_slice()));
        let mut wide = Histogram { zero_threshold: 3.0, zero_count: 1.0, ..histogram(0, &[(4, 1.0)]) };
        assert!(wide.add(&histogram(0, &[(1, 1.0), (2, 1.0), (4, 2.0)])).is_ok());
        // The bucket (2, 4] cut the threshold: it was widened to 4.
        assert_eq!((wide.zero_threshold, wide.zero_count), (4.0, 3.0));
        assert_eq!(wide.positive, [(4, 3.0)]);
    }

    #[test]
    fn custom_bounds_are_intersected() {
        let custom = |bounds: &[f64], positive: &[(i32, f64)]| Histogram {
            custom_values: bounds.to_vec(),
            ..histogram(super::super::CUSTOM_BUCKETS, positive)
        };
        let mut a = custom(&[1.0, 2.0, 3.0], &[(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]);
        let joined = a.add(&custom(&[1.0, 3.0], &[(0, 1.0), (1, 1.0)]));
        assert!(joined.is_ok_and(|j| j.reconciled));
        assert_eq!(a.custom_values, [1.0, 3.0]);
        assert_eq!(a.positive, [(0, 2.0), (1, 6.0), (2, 4.0)]);
        assert_eq!(a.add(&histogram(0, &[])).err(), Some(Incompatible));
    }
}
