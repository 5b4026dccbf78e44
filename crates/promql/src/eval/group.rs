//! Aggregations that need no more than a cell per group and step: a fold adds each series up at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::annotations::{Note, Notes};
use super::rows::{ABSENT, Point, Row, is_absent};
use super::sums::{Mean, Sum};
use crate::histogram::{Histogram, ResetHint, Total};
use crate::labels::{Labels, is_metadata};
use crate::syntax::{AggregateOp, Grouping, Span};

/// Which labels make a group.
#[derive(Clone, Debug)]
pub(crate) struct GroupBy {
    pub without: bool,
    /// Sorted.
    pub labels: Vec<String>,
}

impl GroupBy {
    pub(crate) fn new(grouping: &Grouping) -> Self {
        let mut labels = grouping.labels.clone();
        labels.sort();
        labels.dedup();
        Self { without: grouping.without, labels }
    }

    fn lists(&self, name: &str) -> bool {
        self.labels.iter().any(|label| label == name)
    }

    /// The labels of the group that `labels` belongs to.
    pub(crate) fn labels(&self, labels: &Labels) -> Labels {
        labels.filter(|name| if self.without { !self.lists(name) && !is_metadata(name) } else { self.lists(name) })
    }

    /// Bytes that are equal for series of one group.
    pub(crate) fn key(&self, labels: &Labels, key: &mut Vec<u8>) {
        key.clear();
        if self.without {
            for (name, value) in labels.iter().filter(|(name, _)| !self.lists(name) && !is_metadata(name)) {
                push(key, name);
                push(key, value);
            }
        } else {
            self.labels.iter().for_each(|name| push(key, labels.get(name)));
        }
    }
}

/// Appends a text and a byte that UTF-8 does not have.
fn push(key: &mut Vec<u8>, text: &str) {
    key.extend_from_slice(text.as_bytes());
    key.push(0xff);
}

/// An aggregation: its operator, its groups, and the expression that it is over.
#[derive(Clone, Debug)]
pub(crate) struct Aggregation {
    pub op: AggregateOp,
    pub by: GroupBy,
    pub span: Span,
}

impl Aggregation {
    /// Whether cells are enough for it.
    pub(crate) fn folds(op: AggregateOp) -> bool {
        use AggregateOp::{Avg, Count, Group, Max, Min, Stddev, Stdvar, Sum};
        matches!(op, Sum | Avg | Min | Max | Count | Group | Stddev | Stdvar)
    }
}

/// Count, mean and squared distances from it.
#[derive(Clone, Copy, Debug, Default)]
struct Spread {
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

#[derive(Debug)]
enum Cells {
    Sum(Vec<Sum>),
    Mean(Vec<Mean>),
    /// The least or the greatest.
    Extreme(Vec<f64>),
    Count(Vec<f64>),
    Spread(Vec<Spread>),
}

const FLOAT: u8 = 1;
const HISTOGRAM: u8 = 2;
const BROKEN: u8 = 4;

/// Histograms of a cell.
#[derive(Debug)]
struct HistogramCell {
    total: Total,
    count: f64,
    incremental: bool,
    reset: bool,
    not_reset: bool,
}

/// Groups with a cell per step.
#[derive(Debug)]
pub(crate) struct Groups {
    aggregation: Arc<Aggregation>,
    len: usize,
    places: HashMap<Box<[u8]>, usize>,
    labels: Vec<Labels>,
    drop_name: Vec<bool>,
    cells: Cells,
    /// What each cell has seen.
    flags: Vec<u8>,
    histograms: HashMap<usize, HistogramCell>,
    /// What those weigh, as they were when each cell began.
    weight: usize,
    key: Vec<u8>,
}

impl Groups {
    pub(crate) fn new(aggregation: Arc<Aggregation>, len: usize) -> Self {
        let cells = match aggregation.op {
            AggregateOp::Sum => Cells::Sum(vec![]),
            AggregateOp::Avg => Cells::Mean(vec![]),
            AggregateOp::Min | AggregateOp::Max => Cells::Extreme(vec![]),
            AggregateOp::Stddev | AggregateOp::Stdvar => Cells::Spread(vec![]),
            _ => Cells::Count(vec![]),
        };
        let (places, histograms) = (HashMap::new(), HashMap::new());
        let (labels, drop_name, flags, key) = (vec![], vec![], vec![], vec![]);
        Self { aggregation, len, places, labels, drop_name, cells, flags, histograms, weight: 0, key }
    }

    /// What they count for among the points that a query keeps.
    pub(crate) fn points(&self) -> usize {
        self.labels.len() * self.len + self.weight
    }

    /// The first cell of the group of `labels`, which is made where it is not there.
    fn place(&mut self, labels: &Labels) -> usize {
        let mut key = std::mem::take(&mut self.key);
        self.aggregation.by.key(labels, &mut key);
        let group = match self.places.get(key.as_slice()) {
            Some(group) => *group,
            None => {
                let group = self.add_group(self.aggregation.by.labels(labels));
                self.places.insert(key.as_slice().into(), group);
                group
            }
        };
        self.key = key;
        group
    }

    fn add_group(&mut self, labels: Labels) -> usize {
        self.labels.push(labels);
        self.drop_name.push(false);
        let cells = self.labels.len() * self.len;
        self.flags.resize(cells, 0);
        match &mut self.cells {
            Cells::Sum(sums) => sums.resize(cells, Sum::default()),
            Cells::Mean(means) => means.resize(cells, Mean::default()),
            Cells::Extreme(values) => values.resize(cells, ABSENT),
            Cells::Count(counts) => counts.resize(cells, 0.0),
            Cells::Spread(spreads) => spreads.resize(cells, Spread::default()),
        }
        self.labels.len() - 1
    }

    /// Adds the values of a series.
    pub(crate) fn push(&mut self, row: &Row, notes: &mut Notes) {
        if row.is_empty() {
            return;
        }
        let group = self.place(&row.labels);
        self.drop_name[group] |= row.drop_name;
        let cells = group * self.len..(group + 1) * self.len;
        let flags = &mut self.flags[cells.clone()];
        let floats = row.floats.iter().zip(flags.iter_mut());
        match &mut self.cells {
            Cells::Sum(sums) => each(floats, &mut sums[cells.clone()], |cell, value, _| cell.add(value)),
            Cells::Mean(means) => each(floats, &mut means[cells.clone()], |cell, value, _| cell.add(value)),
            Cells::Count(counts) => each(floats, &mut counts[cells.clone()], |cell, _, _| *cell += 1.0),
            Cells::Spread(spreads) => each(floats, &mut spreads[cells.clone()], |cell, value, _| cell.add(value)),
            Cells::Extreme(values) => {
                let greatest = self.aggregation.op == AggregateOp::Max;
                each(floats, &mut values[cells.clone()], |cell, value, _| extreme(cell, value, greatest));
            }
        }
        if let Some(histograms) = &row.histograms {
            for (step, histogram) in histograms.iter().enumerate() {
                if let Some(histogram) = histogram {
                    self.push_histogram(cells.start + step, histogram, row.labels.metric_name(), notes);
                }
            }
        }
    }

    fn push_histogram(&mut self, cell: usize, histogram: &Histogram, name: &str, notes: &mut Notes) {
        let aggregation = &self.aggregation;
        match &mut self.cells {
            Cells::Count(counts) => {
                counts[cell] += 1.0;
                self.flags[cell] |= FLOAT;
                return;
            }
            Cells::Extreme(_) | Cells::Spread(_) => {
                notes.add(Note::IgnoredInAggregation, aggregation.span, aggregation.op.as_str());
                return;
            }
            Cells::Sum(_) | Cells::Mean(_) => {}
        }
        self.flags[cell] |= HISTOGRAM;
        let mean = aggregation.op == AggregateOp::Avg;
        let mut added = Ok(crate::histogram::Joined::default());
        match self.histograms.entry(cell) {
            std::collections::hash_map::Entry::Vacant(place) => {
                let total = Total::new(histogram);
                // The sum, and what was lost of it.
                self.weight += 2 * histogram.weight() as usize;
                place.insert(HistogramCell { total, count: 1.0, incremental: false, reset: false, not_reset: false });
            }
            std::collections::hash_map::Entry::Occupied(mut place) => added = place.get_mut().add(histogram, mean),
        }
        if let Some(cell) = self.histograms.get_mut(&cell) {
            cell.reset |= histogram.hint == ResetHint::Reset;
            cell.not_reset |= histogram.hint == ResetHint::NotReset;
        }
        match added {
            Ok(joined) if joined.reconciled => notes.add(Note::BucketsReconciled, aggregation.span, "aggregation"),
            Ok(_) => {}
            Err(_) => {
                notes.add(Note::MixedBuckets, aggregation.span, name);
                self.flags[cell] |= BROKEN;
            }
        }
    }

    /// Adds the groups of another fold.
    pub(crate) fn merge(&mut self, other: Self, notes: &mut Notes) {
        let Self { places, labels, drop_name, cells, flags, mut histograms, len, .. } = other;
        for (key, theirs) in places {
            let ours = match self.places.get(&key) {
                Some(ours) => *ours,
                None => {
                    let ours = self.add_group(labels[theirs].clone());
                    self.places.insert(key, ours);
                    ours
                }
            };
            self.drop_name[ours] |= drop_name[theirs];
            let greatest = self.aggregation.op == AggregateOp::Max;
            for step in 0..len {
                let (to, from) = (ours * len + step, theirs * len + step);
                self.flags[to] |= flags[from];
                match (&mut self.cells, &cells) {
                    (Cells::Sum(a), Cells::Sum(b)) => {
                        a[to].add(b[from].sum);
                        a[to].lost += b[from].lost;
                    }
                    (Cells::Mean(a), Cells::Mean(b)) => a[to].merge(b[from]),
                    (Cells::Count(a), Cells::Count(b)) => a[to] += b[from],
                    (Cells::Spread(a), Cells::Spread(b)) => a[to].merge(b[from]),
                    (Cells::Extreme(a), Cells::Extreme(b)) if !is_absent(b[from]) => {
                        extreme(&mut a[to], b[from], greatest);
                    }
                    _ => {}
                }
                if let Some(cell) = histograms.remove(&from) {
                    self.merge_histogram(to, cell, notes);
                }
            }
        }
    }

    fn merge_histogram(&mut self, at: usize, other: HistogramCell, notes: &mut Notes) {
        match self.histograms.entry(at) {
            std::collections::hash_map::Entry::Vacant(place) => drop(place.insert(other)),
            std::collections::hash_map::Entry::Occupied(mut place) => {
                let cell = place.get_mut();
                cell.reset |= other.reset;
                cell.not_reset |= other.not_reset;
                if cell.merge(other, self.aggregation.op == AggregateOp::Avg).is_err() {
                    notes.add(Note::MixedBuckets, self.aggregation.span, "");
                    self.flags[at] |= BROKEN;
                }
            }
        }
    }

    /// A row per group that has values.
    pub(crate) fn finish(mut self, notes: &mut Notes) -> Vec<Row> {
        let (op, len, span) = (self.aggregation.op, self.len, self.aggregation.span);
        let mut rows = Vec::with_capacity(self.labels.len());
        for (group, labels) in std::mem::take(&mut self.labels).into_iter().enumerate() {
            let mut row = Row::new(labels, len);
            row.drop_name = self.drop_name[group];
            for step in 0..len {
                let cell = group * len + step;
                let flags = self.flags[cell];
                if flags & (FLOAT | HISTOGRAM) == FLOAT | HISTOGRAM {
                    notes.add(Note::MixedAggregation, span, "");
                } else if flags & FLOAT != 0 {
                    row.floats[step] = self.value(op, cell);
                } else if let Some(histograms) = self.histograms.remove(&cell).filter(|_| flags & BROKEN == 0) {
                    if histograms.reset && histograms.not_reset {
                        notes.add(Note::ResetCollision, span, "aggregation");
                    }
                    let count = if op == AggregateOp::Avg && !histograms.incremental { histograms.count } else { 1.0 };
                    row.set(step, Some(Point::Histogram(Arc::new(histograms.total.finish(count)))));
                }
            }
            if !row.is_empty() {
                rows.push(row);
            }
        }
        rows
    }

    fn value(&self, op: AggregateOp, cell: usize) -> f64 {
        match &self.cells {
            Cells::Sum(sums) => sums[cell].sum + sums[cell].lost,
            Cells::Mean(means) => means[cell].mean(),
            Cells::Extreme(values) => values[cell],
            Cells::Count(_) if op == AggregateOp::Group => 1.0,
            Cells::Count(counts) => counts[cell],
            Cells::Spread(spreads) => {
                let variance = spreads[cell].squares / spreads[cell].count;
                if op == AggregateOp::Stddev { variance.sqrt() } else { variance }
            }
        }
    }
}

impl HistogramCell {
    fn add(
        &mut self,
        histogram: &Histogram,
        mean: bool,
    ) -> Result<crate::histogram::Joined, crate::histogram::Incompatible> {
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

    fn merge(&mut self, other: Self, mean: bool) -> Result<(), crate::histogram::Incompatible> {
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
}

#[inline]
fn extreme(cell: &mut f64, value: f64, greatest: bool) {
    let better = if greatest { *cell < value } else { *cell > value };
    // An absent cell is a NaN too.
    if better || cell.is_nan() {
        *cell = value;
    }
}

/// Hands each float to its cell.
#[inline]
fn each<'a, C: 'a>(
    floats: impl Iterator<Item = (&'a f64, &'a mut u8)>,
    cells: &mut [C],
    mut add: impl FnMut(&mut C, f64, u8),
) {
    for ((value, flags), cell) in floats.zip(cells) {
        if !is_absent(*value) {
            add(cell, *value, *flags);
            *flags |= FLOAT;
        }
    }
}
