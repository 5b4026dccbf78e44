//! What a group keeps of its series at each step: floats or histograms that are added up, merged with those of another
//! fold, and sent to another node.

use super::bytes::{Input, Output};
use super::chunks::{DecodeError, Reader, write_histogram};
use super::rows::{ABSENT, is_absent};
use super::sums::{Mean, Sum};
use crate::histogram::{Histogram, Incompatible, Joined, ResetHint, Total};
use crate::syntax::AggregateOp;

/// What a cell has seen.
pub(super) const FLOAT: u8 = 1;
pub(super) const HISTOGRAM: u8 = 2;
/// Of its histograms some cannot be added up.
pub(super) const BROKEN: u8 = 4;

/// Count, mean and squared distances from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
        if !value.is_finite() {
            self.squares = f64::NAN;
        }
    }

    fn merge(&mut self, other: Self) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.squares += other.squares + delta * delta * self.count * other.count / count;
        self.mean += delta * other.count / count;
        self.count = count;
    }
}

/// Floats of cells.
#[derive(Debug)]
pub(super) enum Cells {
    Sum(Vec<Sum>),
    Mean(Vec<Mean>),
    Least(Vec<f64>),
    Greatest(Vec<f64>),
    Count(Vec<f64>),
    Spread(Vec<Spread>),
}

impl Cells {
    /// Those that an aggregation needs.
    pub(super) fn new(op: AggregateOp) -> Self {
        match op {
            AggregateOp::Sum => Self::Sum(vec![]),
            AggregateOp::Avg => Self::Mean(vec![]),
            AggregateOp::Min => Self::Least(vec![]),
            AggregateOp::Max => Self::Greatest(vec![]),
            AggregateOp::Stddev | AggregateOp::Stdvar => Self::Spread(vec![]),
            _ => Self::Count(vec![]),
        }
    }

    pub(super) fn resize(&mut self, cells: usize) {
        match self {
            Self::Sum(sums) => sums.resize(cells, Sum::default()),
            Self::Mean(means) => means.resize(cells, Mean::default()),
            Self::Least(values) | Self::Greatest(values) => values.resize(cells, ABSENT),
            Self::Count(counts) => counts.resize(cells, 0.0),
            Self::Spread(spreads) => spreads.resize(cells, Spread::default()),
        }
    }

    /// Adds the floats of a series to the cells of its group.
    pub(super) fn add(&mut self, cells: std::ops::Range<usize>, floats: &[f64], flags: &mut [u8]) {
        let floats = floats.iter().zip(flags);
        match self {
            Self::Sum(sums) => each(floats, &mut sums[cells], Sum::add),
            Self::Mean(means) => each(floats, &mut means[cells], Mean::add),
            Self::Count(counts) => each(floats, &mut counts[cells], |cell, _| *cell += 1.0),
            Self::Spread(spreads) => each(floats, &mut spreads[cells], Spread::add),
            Self::Least(values) => each(floats, &mut values[cells], least),
            Self::Greatest(values) => each(floats, &mut values[cells], greatest),
        }
    }

    /// Counts a series, where that is all that is done.
    pub(super) fn count(&mut self, cell: usize) -> bool {
        let Self::Count(counts) = self else { return false };
        counts[cell] += 1.0;
        true
    }

    /// Whether histograms are added up, too.
    pub(super) fn take_histograms(&self) -> bool {
        matches!(self, Self::Sum(_) | Self::Mean(_))
    }

    /// Adds a cell of another fold.
    pub(super) fn merge(&mut self, to: usize, other: &Self, from: usize) {
        match (self, other) {
            (Self::Sum(a), Self::Sum(b)) => {
                a[to].add(b[from].sum);
                a[to].lost += b[from].lost;
            }
            (Self::Mean(a), Self::Mean(b)) => a[to].merge(b[from]),
            (Self::Count(a), Self::Count(b)) => a[to] += b[from],
            (Self::Spread(a), Self::Spread(b)) => a[to].merge(b[from]),
            (Self::Least(a), Self::Least(b)) if !is_absent(b[from]) => least(&mut a[to], b[from]),
            (Self::Greatest(a), Self::Greatest(b)) if !is_absent(b[from]) => greatest(&mut a[to], b[from]),
            _ => {}
        }
    }

    pub(super) fn value(&self, op: AggregateOp, cell: usize) -> f64 {
        match self {
            Self::Sum(sums) => sums[cell].sum + sums[cell].lost,
            Self::Mean(means) => means[cell].mean(),
            Self::Least(values) | Self::Greatest(values) => values[cell],
            Self::Count(_) if op == AggregateOp::Group => 1.0,
            Self::Count(counts) => counts[cell],
            Self::Spread(spreads) => {
                let variance = spreads[cell].squares / spreads[cell].count;
                if op == AggregateOp::Stddev { variance.sqrt() } else { variance }
            }
        }
    }

    /// A number for each kind of cells, and bytes of a cell.
    pub(super) fn kind(&self) -> (u8, usize) {
        match self {
            Self::Sum(_) => (0, size_of::<Sum>()),
            Self::Mean(_) => (1, size_of::<Mean>()),
            Self::Least(_) => (2, size_of::<f64>()),
            Self::Greatest(_) => (3, size_of::<f64>()),
            Self::Count(_) => (4, size_of::<f64>()),
            Self::Spread(_) => (5, size_of::<Spread>()),
        }
    }

    pub(super) fn write(&self, cell: usize, out: &mut Output) {
        match self {
            Self::Sum(sums) => sums[cell].write(out),
            Self::Mean(means) => means[cell].write(out),
            Self::Least(values) | Self::Greatest(values) | Self::Count(values) => out.float(values[cell]),
            Self::Spread(spreads) => {
                let Spread { count, mean, squares } = spreads[cell];
                [count, mean, squares].into_iter().for_each(|float| out.float(float));
            }
        }
    }

    pub(super) fn read(&mut self, cell: usize, input: &mut Input<'_>) -> Result<(), DecodeError> {
        match self {
            Self::Sum(sums) => sums[cell] = Sum::read(input)?,
            Self::Mean(means) => means[cell] = Mean::read(input)?,
            Self::Least(values) | Self::Greatest(values) | Self::Count(values) => values[cell] = input.float()?,
            Self::Spread(spreads) => {
                spreads[cell] = Spread { count: input.float()?, mean: input.float()?, squares: input.float()? };
            }
        }
        Ok(())
    }
}

/// Hands each float to its cell.
#[inline]
fn each<'a, C: 'a>(
    floats: impl Iterator<Item = (&'a f64, &'a mut u8)>,
    cells: &mut [C],
    mut add: impl FnMut(&mut C, f64),
) {
    for ((value, flags), cell) in floats.zip(cells) {
        if !is_absent(*value) {
            add(cell, *value);
            *flags |= FLOAT;
        }
    }
}

/// An absent cell is a NaN too.
#[inline]
fn least(cell: &mut f64, value: f64) {
    if *cell > value || cell.is_nan() {
        *cell = value;
    }
}

#[inline]
fn greatest(cell: &mut f64, value: f64) {
    if *cell < value || cell.is_nan() {
        *cell = value;
    }
}

/// Histograms of a cell.
#[derive(Debug)]
pub(super) struct HistogramCell {
    total: Total,
    count: f64,
    /// Whether `total` holds the mean already.
    incremental: bool,
    reset: bool,
    not_reset: bool,
}

impl HistogramCell {
    pub(super) fn new(first: &Histogram) -> Self {
        let total = Total::new(first);
        let mut cell = Self { total, count: 1.0, incremental: false, reset: false, not_reset: false };
        cell.hint(first);
        cell
    }

    fn hint(&mut self, by: &Histogram) {
        self.reset |= by.hint == ResetHint::Reset;
        self.not_reset |= by.hint == ResetHint::NotReset;
    }

    /// What it counts for among the points that a query keeps: the sum, and what was lost of it.
    pub(super) fn weight(&self) -> usize {
        2 * self.total.weight() as usize
    }

    /// Whether some of its histograms say that their counter was reset, and others that it was not.
    pub(super) fn is_collision(&self) -> bool {
        self.reset && self.not_reset
    }

    pub(super) fn add(&mut self, histogram: &Histogram, mean: bool) -> Result<Joined, Incompatible> {
        self.hint(histogram);
        self.count += 1.0;
        if !mean {
            return self.total.add(histogram);
        }
        if !self.incremental {
            let mut next = self.total.clone();
            let joined = next.add(histogram)?;
            if !next.has_overflow() {
                self.total = next;
                return Ok(joined);
            }
            self.incremental = true;
            self.total.scale(1.0 / (self.count - 1.0));
        }
        self.total.scale((self.count - 1.0) / self.count);
        let mut part = histogram.clone();
        part.divide(self.count);
        self.total.add(&part)
    }

    pub(super) fn merge(&mut self, other: Self, mean: bool) -> Result<(), Incompatible> {
        self.reset |= other.reset;
        self.not_reset |= other.not_reset;
        let count = self.count + other.count;
        let (other_incremental, other_count) = (other.incremental, other.count);
        let mut theirs = other.total.finish(1.0);
        if !mean || !self.incremental && !other_incremental {
            let mut next = self.total.clone();
            next.add(&theirs)?;
            if !mean || !next.has_overflow() {
                (self.total, self.count) = (next, count);
                return Ok(());
            }
        }
        // The sum would overflow: both become their part of the mean.
        self.total.scale(if self.incremental { self.count / count } else { 1.0 / count });
        theirs.scale(if other_incremental { other_count / count } else { 1.0 / count });
        (self.incremental, self.count) = (true, count);
        self.total.add(&theirs).map(|_| ())
    }

    pub(super) fn finish(self, mean: bool) -> Histogram {
        self.total.finish(if mean && !self.incremental { self.count } else { 1.0 })
    }

    pub(super) fn write(&self, out: &mut Output) {
        self.total.parts().into_iter().for_each(|histogram| write_histogram(out, histogram));
        out.float(self.count);
        out.byte(u8::from(self.incremental) | u8::from(self.reset) << 1 | u8::from(self.not_reset) << 2);
    }

    pub(super) fn read(reader: &mut Reader, input: &mut Input<'_>) -> Result<Self, DecodeError> {
        let total = Total::of_parts([reader.sound_histogram(input)?, reader.sound_histogram(input)?]);
        let (count, flags) = (input.float()?, input.byte()?);
        Ok(Self { total, count, incremental: flags & 1 != 0, reset: flags & 2 != 0, not_reset: flags & 4 != 0 })
    }
}
