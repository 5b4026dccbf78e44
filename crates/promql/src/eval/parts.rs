//! The answer of a range query in parts: some of its steps, to be kept, and put together again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::annotations::{Annotations, Counted, Raised};
use super::answer::{Answer, SeriesPoints, Stats, Value};
use crate::histogram::Histogram;
use crate::labels::Labels;

/// Bytes of a series without its labels and values, roughly.
const SERIES_BYTES: usize = 96;

/// What a range query gives at some steps that follow each other.
#[derive(Clone, Debug)]
pub struct Part {
    from_ms: i64,
    to_ms: i64,
    step_ms: i64,
    /// In the order of their labels.
    series: Box<[Kept]>,
    annotations: Annotations,
    bytes: usize,
}

/// A series, its times counted in steps.
#[derive(Clone, Debug)]
struct Kept {
    labels: Labels,
    floats: Floats,
    histograms: Box<[(u32, Arc<Histogram>)]>,
}

#[derive(Clone, Debug)]
enum Floats {
    /// One at each step from this one on.
    Dense(u32, Box<[f64]>),
    Sparse(Box<[(u32, f64)]>),
}

impl Part {
    /// Takes out of an answer what it has from one step to another, both inclusive, in milliseconds. None of an
    /// answer that is no matrix, or whose annotations count steps, so that they fit no part of it.
    pub fn cut(answer: &Answer, step_ms: i64, from_ms: i64, to_ms: i64) -> Option<Self> {
        let Value::Matrix(series) = &answer.value else { return None };
        if step_ms <= 0 || from_ms > to_ms || !answer.annotations.counted.is_empty() {
            return None;
        }
        let annotations = answer.annotations.clone();
        let texts = annotations.warnings.iter().chain(&annotations.infos);
        let mut bytes = size_of::<Self>() + texts.map(|text| text.len() + size_of::<String>()).sum::<usize>();
        let mut kept = Vec::new();
        for one in series {
            let number = |time: i64| ((time - from_ms) / step_ms) as u32;
            let floats = inside(&one.floats, from_ms, to_ms);
            let histograms = inside(&one.histograms, from_ms, to_ms);
            if floats.is_empty() && histograms.is_empty() {
                continue;
            }
            let own = Kept {
                labels: one.labels.clone(),
                floats: Floats::of(floats, number),
                histograms: histograms.iter().map(|(time, histogram)| (number(*time), histogram.clone())).collect(),
            };
            bytes += own.bytes();
            kept.push(own);
        }
        Some(Self { from_ms, to_ms, step_ms, series: kept.into(), annotations, bytes })
    }

    /// The first step, in milliseconds.
    pub fn from_ms(&self) -> i64 {
        self.from_ms
    }

    /// The last step, in milliseconds.
    pub fn to_ms(&self) -> i64 {
        self.to_ms
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// This part, with the steps that the other one has beside it; of those that both have, the other's. None where
    /// there are steps between them.
    pub fn joined(&self, other: &Self) -> Option<Self> {
        let step = self.step_ms;
        if other.step_ms != step || other.from_ms > self.to_ms + step || self.from_ms > other.to_ms + step {
            return None;
        }
        let mut parts = Parts::default();
        parts.push_part(self, self.from_ms, other.from_ms - step);
        parts.push_part(other, other.from_ms, other.to_ms);
        parts.push_part(self, other.to_ms + step, self.to_ms);
        Self::cut(&parts.finish(), step, self.from_ms.min(other.from_ms), self.to_ms.max(other.to_ms))
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        let floats = match &self.floats {
            Floats::Dense(_, values) => size_of_val(&**values),
            Floats::Sparse(values) => size_of_val(&**values),
        };
        let histograms = self.histograms.iter().map(|(_, histogram)| 16 + 16 * histogram.weight() as usize);
        SERIES_BYTES + self.labels.bytes() + floats + histograms.sum::<usize>()
    }
}

impl Floats {
    fn of(points: &[(i64, f64)], number: impl Fn(i64) -> u32) -> Self {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Self::Dense(0, [].into()) };
        let (first, last) = (number(first.0), number(last.0));
        if (last - first) as usize + 1 == points.len() {
            return Self::Dense(first, points.iter().map(|point| point.1).collect());
        }
        Self::Sparse(points.iter().map(|(time, value)| (number(*time), *value)).collect())
    }
}

/// The points of these times, both inclusive.
fn inside<T>(points: &[(i64, T)], from_ms: i64, to_ms: i64) -> &[(i64, T)] {
    let from = points.partition_point(|point| point.0 < from_ms);
    let to = points.partition_point(|point| point.0 <= to_ms);
    points.get(from..to).unwrap_or_default()
}

/// The parts of one answer, which come in the order of time.
#[derive(Debug, Default)]
pub struct Parts {
    places: HashMap<Labels, usize>,
    series: Vec<SeriesPoints>,
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
    /// Infos that count steps, by detail and position.
    counted: BTreeMap<(String, (u32, u32)), Raised>,
    stats: Stats,
    points: u64,
}

impl Parts {
    /// What a part has from one step to another, both inclusive, in milliseconds.
    pub fn push_part(&mut self, part: &Part, from_ms: i64, to_ms: i64) {
        if from_ms > to_ms {
            return;
        }
        self.note(&part.annotations);
        for one in &part.series {
            let time = |number: u32| part.from_ms + part.step_ms * i64::from(number);
            let wanted = |number: u32| (from_ms..=to_ms).contains(&time(number));
            let own = self.series(&one.labels);
            let before = own.floats.len() + own.histograms.len();
            match &one.floats {
                Floats::Dense(first, values) => {
                    let points = (*first..).zip(values).filter(|(number, _)| wanted(*number));
                    own.floats.extend(points.map(|(number, value)| (time(number), *value)));
                }
                Floats::Sparse(values) => {
                    let points = values.iter().filter(|(number, _)| wanted(*number));
                    own.floats.extend(points.map(|(number, value)| (time(*number), *value)));
                }
            }
            let histograms = one.histograms.iter().filter(|(number, _)| wanted(*number));
            own.histograms.extend(histograms.map(|(number, histogram)| (time(*number), histogram.clone())));
            let more = own.floats.len() + own.histograms.len() - before;
            self.points += more as u64;
        }
    }

    /// An answer that was evaluated for steps after those that are here.
    pub fn push(&mut self, answer: Answer) {
        self.note(&answer.annotations);
        self.stats.samples += answer.stats.samples;
        self.stats.series = self.stats.series.max(answer.stats.series);
        self.stats.steps.extend(answer.stats.steps);
        self.stats.peak_points = self.stats.peak_points.max(answer.stats.peak_points);
        let Value::Matrix(series) = answer.value else { return };
        for one in series {
            self.points += (one.floats.len() + one.histograms.len()) as u64;
            let own = self.series(&one.labels);
            own.floats.extend(one.floats);
            own.histograms.extend(one.histograms);
        }
    }

    /// Values at steps so far.
    pub fn points(&self) -> u64 {
        self.points
    }

    /// All of it.
    pub fn finish(self) -> Answer {
        let mut series = self.series;
        // A part that is cut may have had a series at other steps only.
        series.retain(|one| !one.floats.is_empty() || !one.histograms.is_empty());
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let counted = self.counted.into_iter().map(|((detail, position), raised)| Counted { detail, position, raised });
        let counted: Vec<Counted> = counted.collect();
        let mut infos = self.infos;
        infos.extend(counted.iter().map(Counted::text));
        let annotations =
            Annotations { warnings: self.warnings.into_iter().collect(), infos: infos.into_iter().collect(), counted };
        Answer { value: Value::Matrix(series), annotations, stats: self.stats }
    }

    fn note(&mut self, annotations: &Annotations) {
        self.warnings.extend(annotations.warnings.iter().cloned());
        let counted: BTreeSet<String> = annotations.counted.iter().map(Counted::text).collect();
        self.infos.extend(annotations.infos.iter().filter(|info| !counted.contains(*info)).cloned());
        for Counted { detail, position, raised } in &annotations.counted {
            let known = self.counted.entry((detail.clone(), *position));
            known.and_modify(|known| known.merge(raised)).or_insert(*raised);
        }
    }

    fn series(&mut self, labels: &Labels) -> &mut SeriesPoints {
        let next = self.series.len();
        let place = *self.places.entry(labels.clone()).or_insert(next);
        if place == next {
            self.series.push(SeriesPoints { labels: labels.clone(), floats: Vec::new(), histograms: Vec::new() });
        }
        &mut self.series[place]
    }
}
