//! Sums, means, variances and quantiles of floats, rounded as Prometheus rounds them.

use super::bytes::{Input, Output, Unreadable};

/// A sum with what was lost by rounding (Neumaier).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub sum: f64,
    pub lost: f64,
}

impl Sum {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }

    pub(super) fn write(self, out: &mut Output) {
        out.float(self.sum);
        out.float(self.lost);
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Unreadable> {
        Ok(Self { sum: input.float()?, lost: input.float()? })
    }
}

/// The sum of some values.
pub(crate) fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.total()
}

/// A mean that stays finite where the sum would not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    sum: Sum,
    pub count: f64,
    /// Whether `sum` holds the mean already.
    incremental: bool,
}

impl Mean {
    #[inline]
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            // The first value may be infinite.
            if self.count == 1.0 {
                self.sum = Sum { sum: value, lost: 0.0 };
                return;
            }
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            self.sum.sum /= self.count - 1.0;
            self.sum.lost /= self.count - 1.0;
        }
        let share = (self.count - 1.0) / self.count;
        self.sum = Sum { sum: self.sum.sum * share, lost: self.sum.lost * share };
        self.sum.add(value / self.count);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        if other.count == 0.0 {
            return;
        }
        if self.count == 0.0 {
            *self = other;
            return;
        }
        let count = self.count + other.count;
        if !self.incremental && !other.incremental {
            let mut sum = self.sum;
            sum.add(other.sum.sum);
            sum.add(other.sum.lost);
            if !sum.sum.is_infinite() {
                *self = Self { sum, count, incremental: false };
                return;
            }
        }
        let mean =
            |m: &Self| if m.incremental { m.sum } else { Sum { sum: m.sum.sum / m.count, lost: m.sum.lost / m.count } };
        let (mut a, b) = (mean(self), mean(&other));
        let share = self.count / count;
        a = Sum { sum: a.sum * share, lost: a.lost * share };
        a.add(b.sum * (other.count / count));
        a.lost += b.lost * (other.count / count);
        *self = Self { sum: a, count, incremental: true };
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.incremental {
            self.sum.sum + self.sum.lost
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }

    pub(super) fn write(self, out: &mut Output) {
        self.sum.write(out);
        out.float(self.count);
        out.byte(self.incremental.into());
    }

    pub(super) fn read(input: &mut Input<'_>) -> Result<Self, Unreadable> {
        Ok(Self { sum: Sum::read(input)?, count: input.float()?, incremental: input.byte()? != 0 })
    }
}

/// The mean of some values.
pub(crate) fn mean(values: &[f64]) -> f64 {
    let mut mean = Mean::default();
    values.iter().for_each(|value| mean.add(*value));
    mean.mean()
}

/// The variance of some values.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum::default(), Sum::default());
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// NaN is less than any number.
pub(crate) fn nan_first(a: &f64, b: &f64) -> std::cmp::Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Less,
        (false, true) => std::cmp::Ordering::Greater,
        (false, false) => a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal),
    }
}

/// The `q` quantile; sorts the values.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_unstable_by(nan_first);
    let last = values.len() - 1;
    let rank = q * last as f64;
    let (low, weight) = (rank.floor(), rank - rank.floor());
    let (low, high) = (values[low as usize], values[(low as usize + 1).min(last)]);
    // Computed also where one counts for nothing, as Prometheus does: an infinity beside the rank makes it NaN.
    low * (1.0 - weight) + high * weight
}

/// The line through samples by least squares: slope per second, and the value at `zero`.
pub(crate) fn regression(times: &[i64], values: &[f64], zero: i64) -> (f64, f64) {
    let first = values[0];
    if values.iter().skip(1).all(|v| *v == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let [mut x, mut y, mut xy, mut xx] = [Sum::default(); 4];
    for (time, value) in times.iter().zip(values) {
        let at = (time - zero) as f64 / 1000.0;
        x.add(at);
        y.add(*value);
        xy.add(at * value);
        xx.add(at * at);
    }
    let n = values.len() as f64;
    let [x, y, xy, xx] = [x, y, xy, xx].map(|s| s.sum + s.lost);
    let slope = (xy - x * y / n) / (xx - x * x / n);
    (slope, y / n - slope * x / n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_rounding_loses() {
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(mean(&[f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(mean(&[1.0, 2.0, 3.0]), 2.0);
        assert_eq!(variance(&[1.0, 3.0]), 1.0);
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(regression(&[0, 1000, 2000], &[0.0, 2.0, 4.0], 1000), (2.0, 2.0));
    }

    #[test]
    fn means_merge() {
        let mut parts = [Mean::default(), Mean::default()];
        for i in 0..10 {
            parts[i % 2].add(i as f64);
        }
        let [mut a, b] = parts;
        a.merge(b);
        assert_eq!(a.mean(), 4.5);
        let mut huge = Mean::default();
        huge.add(f64::MAX);
        let other = huge;
        huge.merge(other);
        assert_eq!(huge.mean(), f64::MAX);
    }
}
