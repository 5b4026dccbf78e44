//! Values of series at the steps of a grid.

use std::sync::Arc;

use crate::histogram::Histogram;
use crate::labels::Labels;

/// Marks a step without a float. Arithmetic never gives it: its bits are those of a signaling NaN.
pub(crate) const ABSENT: f64 = f64::from_bits(0x7ff4_0000_b0ba_0001);

/// Whether there is no float.
#[inline]
pub(crate) fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT.to_bits()
}

/// The times at which something is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub start: i64,
    pub step: i64,
    pub len: usize,
}

impl Grid {
    pub(crate) fn time(&self, step: usize) -> i64 {
        self.start + self.step * step as i64
    }

    /// The first time alone.
    pub(crate) fn first(&self) -> Self {
        Self { len: self.len.min(1), ..*self }
    }
}

/// A histogram, or none, at each step.
pub(crate) type Histograms = Vec<Option<Arc<Histogram>>>;

/// The values of a series: at each step a float, a histogram, or nothing.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub labels: Labels,
    /// The name, type and unit go at the end.
    pub drop_name: bool,
    pub floats: Vec<f64>,
    /// Only where there is one.
    pub histograms: Option<Box<Histograms>>,
}

/// A value at a step.
#[derive(Clone, Debug)]
pub(crate) enum Point {
    Float(f64),
    Histogram(Arc<Histogram>),
}

impl Row {
    pub(crate) fn new(labels: Labels, len: usize) -> Self {
        Self { labels, drop_name: false, floats: vec![ABSENT; len], histograms: None }
    }

    /// What it counts for among the points that a query keeps: a value per step, and what histograms weigh.
    pub(crate) fn points(&self) -> usize {
        let histograms = self.histograms.iter().flat_map(|histograms| histograms.iter().flatten());
        self.floats.len() + histograms.map(|histogram| histogram.weight() as usize).sum::<usize>()
    }

    pub(crate) fn histogram(&self, step: usize) -> Option<&Arc<Histogram>> {
        self.histograms.as_ref().and_then(|h| h[step].as_ref())
    }

    pub(crate) fn is_present(&self, step: usize) -> bool {
        !is_absent(self.floats[step]) || self.histogram(step).is_some()
    }

    pub(crate) fn point(&self, step: usize) -> Option<Point> {
        if is_absent(self.floats[step]) {
            self.histogram(step).cloned().map(Point::Histogram)
        } else {
            Some(Point::Float(self.floats[step]))
        }
    }

    pub(crate) fn set(&mut self, step: usize, point: Option<Point>) {
        match point {
            Some(Point::Float(value)) => {
                self.floats[step] = value;
                self.clear_histogram(step);
            }
            Some(Point::Histogram(histogram)) => self.set_histogram(step, histogram),
            None => {
                self.floats[step] = ABSENT;
                self.clear_histogram(step);
            }
        }
    }

    fn clear_histogram(&mut self, step: usize) {
        if let Some(histograms) = &mut self.histograms {
            histograms[step] = None;
        }
    }

    pub(crate) fn set_histogram(&mut self, step: usize, histogram: Arc<Histogram>) {
        let len = self.floats.len();
        self.floats[step] = ABSENT;
        self.histograms.get_or_insert_with(|| Box::new(vec![None; len]))[step] = Some(histogram);
    }

    /// Whether there is no value at any step.
    pub(crate) fn is_empty(&self) -> bool {
        self.floats.iter().all(|v| is_absent(*v))
            && self.histograms.as_ref().is_none_or(|h| h.iter().all(Option::is_none))
    }

    /// Changes each float; histograms stay.
    pub(crate) fn map_floats(&mut self, change: impl Fn(f64) -> f64) {
        for value in &mut self.floats {
            if !is_absent(*value) {
                *value = change(*value);
            }
        }
    }

    /// Takes the values of `other` where there are some; false if both have a value at one step.
    pub(crate) fn absorb(&mut self, other: &Self) -> bool {
        for step in 0..self.floats.len() {
            if let Some(point) = other.point(step) {
                if self.is_present(step) {
                    return false;
                }
                self.set(step, Some(point));
            }
        }
        true
    }
}

/// What a part of a query evaluates to.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Text(String),
    Scalar(Vec<f64>),
    Rows(Vec<Row>),
}

impl Data {
    pub(crate) fn rows(self) -> Vec<Row> {
        if let Self::Rows(rows) = self { rows } else { vec![] }
    }

    pub(crate) fn scalar(self, len: usize) -> Vec<f64> {
        if let Self::Scalar(values) = self { values } else { vec![f64::NAN; len] }
    }
}

/// A number per step, kept as one where it is the same at all.
#[derive(Clone, Debug)]
pub(crate) enum Steps {
    One(f64),
    Each(Vec<f64>),
}

impl Steps {
    #[inline]
    pub(crate) fn at(&self, step: usize) -> f64 {
        match self {
            Self::One(value) => *value,
            Self::Each(values) => values[step],
        }
    }

    pub(crate) fn of(values: Vec<f64>) -> Self {
        match values.first() {
            Some(first) if values.iter().all(|v| v.to_bits() == first.to_bits()) => Self::One(*first),
            _ => Self::Each(values),
        }
    }
}

/// Merges rows with equal labels; None if two of them have a value at the same step.
pub(crate) fn merge_same(rows: Vec<Row>) -> Option<Vec<Row>> {
    let mut places = std::collections::HashMap::with_capacity(rows.len());
    let mut merged: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        match places.entry(row.labels.clone()) {
            std::collections::hash_map::Entry::Occupied(place) => {
                let kept: &mut Row = &mut merged[*place.get()];
                if !kept.absorb(&row) {
                    return None;
                }
            }
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(row);
            }
        }
    }
    Some(merged)
}
