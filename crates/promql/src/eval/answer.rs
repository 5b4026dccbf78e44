//! Answers.

use std::sync::Arc;

use super::annotations::Annotations;
use super::fold::RawSeries;
use super::rows::{Data, Grid, Row, is_absent, merge_same};
use crate::error::Error;
use crate::histogram::Histogram;
use crate::labels::Labels;
use crate::syntax::Type;

/// A value at a time.
#[derive(Clone, Debug, PartialEq)]
pub enum Point {
    /// A number.
    Float(f64),
    /// A histogram.
    Histogram(Arc<Histogram>),
}

/// A series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub point: Point,
}

/// A series of a range query, or of a range selector.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoints {
    /// Its labels.
    pub labels: Labels,
    /// Times in milliseconds and numbers.
    pub floats: Vec<(i64, f64)>,
    /// Times in milliseconds and histograms.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// What a query evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number, at the time of the query.
    Scalar(f64),
    /// A text, at the time of the query.
    String(String),
    /// Series, each with one value, at the time of the query. In the order of their labels, or as the query sorts.
    Vector(Vec<Sample>),
    /// Series with their values, in the order of their labels.
    Matrix(Vec<SeriesPoints>),
}

/// What the query has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Samples that were pushed; a histogram is worth more than one.
    pub samples: u64,
    /// Series that were pushed.
    pub series: u64,
    /// Values that were kept at once, at most.
    pub peak_points: u64,
    /// Where [`crate::Params::count_steps`] asks for it: the steps that were evaluated, in milliseconds, and how many
    /// samples each took. One that several steps take is counted for each.
    pub steps: Vec<(i64, u64)>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The value.
    pub value: Value,
    /// What is to be said of it.
    pub annotations: Annotations,
    /// What it cost.
    pub stats: Stats,
}

fn point(row: &Row, step: usize) -> Option<Point> {
    if !is_absent(row.floats[step]) {
        return Some(Point::Float(row.floats[step]));
    }
    row.histogram(step).cloned().map(Point::Histogram)
}

/// The answer of an instant query.
pub(crate) fn instant(data: Data, ordered: bool) -> Result<Value, Error> {
    Ok(match data {
        Data::Text(text) => Value::String(text),
        Data::Scalar(values) => Value::Scalar(values.first().copied().unwrap_or(f64::NAN)),
        Data::Rows(rows) => {
            let mut rows = named(rows)?;
            if !ordered {
                rows.sort_by(|a, b| a.labels.cmp(&b.labels));
            }
            let samples =
                rows.into_iter().filter_map(|row| Some(Sample { point: point(&row, 0)?, labels: row.labels }));
            Value::Vector(samples.collect())
        }
    })
}

/// The answer of a range query.
pub(crate) fn range(data: Data, kind: Type, grid: &Grid) -> Result<Value, Error> {
    let rows = match data {
        Data::Rows(rows) => named(rows)?,
        Data::Scalar(floats) => {
            vec![Row { labels: Labels::empty(), drop_name: false, floats, histograms: None }]
        }
        Data::Text(_) => {
            let kind = kind.json_name();
            let message = format!("invalid expression type {kind:?} for range query, must be Scalar or instant Vector");
            return Err(Error::Params(message));
        }
    };
    let series = rows.into_iter().map(|row| {
        let times = || (0..grid.len).map(|step| (step, grid.time(step)));
        let floats = times().filter(|(step, _)| !is_absent(row.floats[*step]));
        let histograms = times().filter_map(|(step, time)| Some((time, row.histogram(step)?.clone())));
        SeriesPoints {
            floats: floats.map(|(step, time)| (time, row.floats[step])).collect(),
            histograms: histograms.collect(),
            labels: row.labels.clone(),
        }
    });
    let mut series: Vec<SeriesPoints> = series.filter(|s| !s.floats.is_empty() || !s.histograms.is_empty()).collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(series))
}

/// The answer of a range selector alone.
pub(crate) fn samples(series: Vec<RawSeries>) -> Value {
    let mut series: Vec<SeriesPoints> = series
        .into_iter()
        .map(|one| SeriesPoints {
            labels: one.labels,
            floats: one.times.into_iter().zip(one.values).collect(),
            histograms: one.histogram_times.into_iter().zip(one.histograms).collect(),
        })
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Value::Matrix(series)
}

/// Takes names away where they go, last of all, so that functions and groups above could still see them.
fn named(mut rows: Vec<Row>) -> Result<Vec<Row>, Error> {
    for row in &mut rows {
        if row.drop_name {
            row.labels = row.labels.without_metadata();
        }
    }
    merge_same(rows).ok_or_else(super::binary::same_labels)
}
