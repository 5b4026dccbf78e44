//! Aggregations that need no more than a cell per group and step: a fold adds each series up at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::annotations::{Note, Notes};
use super::bytes::{Input, Output};
use super::cells::{BROKEN, Cells, FLOAT, HISTOGRAM, HistogramCell};
use super::chunks::{DecodeError, Reader};
use super::rows::{Point, Row};
use crate::histogram::{Histogram, Joined};
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
        let cells = Cells::new(aggregation.op);
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
        self.cells.resize(cells);
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
        self.cells.add(cells.clone(), &row.floats, &mut self.flags[cells.clone()]);
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
        if self.cells.count(cell) {
            self.flags[cell] |= FLOAT;
            return;
        }
        if !self.cells.take_histograms() {
            notes.add(Note::IgnoredInAggregation, aggregation.span, aggregation.op.as_str());
            return;
        }
        self.flags[cell] |= HISTOGRAM;
        let added = match self.histograms.entry(cell) {
            Entry::Vacant(place) => {
                self.weight += place.insert(HistogramCell::new(histogram)).weight();
                Ok(Joined::default())
            }
            Entry::Occupied(mut place) => place.get_mut().add(histogram, aggregation.op == AggregateOp::Avg),
        };
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
        let Self { labels, drop_name, cells, flags, mut histograms, len, .. } = other;
        for (theirs, labels) in labels.iter().enumerate() {
            let ours = self.place(labels);
            self.drop_name[ours] |= drop_name[theirs];
            for step in 0..len {
                let (to, from) = (ours * len + step, theirs * len + step);
                self.flags[to] |= flags[from];
                self.cells.merge(to, &cells, from);
                if let Some(cell) = histograms.remove(&from) {
                    self.merge_histogram(to, cell, notes);
                }
            }
        }
    }

    fn merge_histogram(&mut self, at: usize, other: HistogramCell, notes: &mut Notes) {
        match self.histograms.entry(at) {
            Entry::Vacant(place) => self.weight += place.insert(other).weight(),
            Entry::Occupied(mut place) => {
                if place.get_mut().merge(other, self.aggregation.op == AggregateOp::Avg).is_err() {
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
                    row.floats[step] = self.cells.value(op, cell);
                } else if let Some(histograms) = self.histograms.remove(&cell).filter(|_| flags & BROKEN == 0) {
                    if histograms.is_collision() {
                        notes.add(Note::ResetCollision, span, "aggregation");
                    }
                    let histogram = histograms.finish(op == AggregateOp::Avg);
                    row.set(step, Some(Point::Histogram(Arc::new(histogram))));
                }
            }
            if !row.is_empty() {
                rows.push(row);
            }
        }
        rows
    }

    /// The labels of a group, and whether its series lose their names.
    pub(super) fn group(&self, group: usize) -> Option<(&Labels, bool)> {
        Some((self.labels.get(group)?, self.drop_name[group]))
    }

    /// Makes a group; none where it is there already.
    pub(super) fn new_group(&mut self, labels: &Labels, drop_name: bool) -> Option<usize> {
        let (count, group) = (self.labels.len(), self.place(labels));
        (group == count).then(|| {
            self.drop_name[group] = drop_name;
            group
        })
    }

    /// What a group has seen at a step: nothing, or a cell to write.
    pub(super) fn flags(&self, group: usize, step: usize) -> u8 {
        self.flags[group * self.len + step]
    }

    pub(super) fn write(&self, group: usize, step: usize, out: &mut Output) {
        let cell = group * self.len + step;
        if self.flags[cell] & FLOAT != 0 {
            self.cells.write(cell, out);
        }
        if let Some(histograms) = self.histograms.get(&cell) {
            histograms.write(out);
        }
    }

    pub(super) fn read(
        &mut self,
        (group, step): (usize, usize),
        flags: u8,
        reader: &mut Reader,
        input: &mut Input<'_>,
    ) -> Result<(), DecodeError> {
        let cell = group * self.len + step;
        self.flags[cell] = flags;
        if flags & FLOAT != 0 {
            self.cells.read(cell, input)?;
        }
        if flags & HISTOGRAM != 0 {
            let histograms = HistogramCell::read(reader, input)?;
            self.weight += histograms.weight();
            self.histograms.insert(cell, histograms);
        }
        Ok(())
    }
}
