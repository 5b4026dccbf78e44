//! Folds: series in, values at steps or sums of groups out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::annotations::{Note, Notes};
use super::group::Groups;
use super::loaded::Loaded;
use super::plan::{Leaf, Plan, Read};
use super::range::{Context, Scratch};
use super::rows::{ABSENT, Point, Row};
use super::selection::{Series, is_stale};
use super::window::Samples;
use super::{Limits, Memory, Params};
use crate::error::Error;
use crate::histogram::Histogram;
use crate::labels::Labels;

/// What all folds of a query have used, and what they may use.
#[derive(Debug)]
pub(crate) struct Usage {
    pub samples: AtomicU64,
    pub series: AtomicU64,
    /// Those that are kept now.
    pub points: AtomicU64,
    /// The most that were.
    pub peak: AtomicU64,
    pub limits: Limits,
    pub count_steps: bool,
    pub cancel: Option<Arc<AtomicBool>>,
    pub memory: Option<Arc<dyn Memory>>,
}

impl Drop for Usage {
    fn drop(&mut self) {
        self.let_go(self.points.load(Relaxed) as usize);
    }
}

impl Usage {
    pub(crate) fn new(params: &Params) -> Self {
        let [samples, series, points, peak] = [(); 4].map(|()| AtomicU64::new(0));
        let Params { limits, count_steps, .. } = *params;
        let (cancel, memory) = (params.cancel.clone(), params.memory.clone());
        Usage { samples, series, points, peak, limits, count_steps, cancel, memory }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.cancel {
            Some(flag) if flag.load(Relaxed) => Err(Error::Canceled),
            _ => Ok(()),
        }
    }

    fn count(&self, counter: &AtomicU64, more: u64, limit: u64, what: &'static str) -> Result<(), Error> {
        let total = counter.fetch_add(more, Relaxed).saturating_add(more);
        if total > limit { Err(Error::Limit { what, reached: total, limit }) } else { Ok(()) }
    }

    /// Counts values that are kept: series (or groups) times steps.
    pub(crate) fn keep(&self, points: usize) -> Result<(), Error> {
        let kept = self.count(&self.points, points as u64, self.limits.points, "points");
        self.peak.fetch_max(self.points.load(Relaxed), Relaxed);
        let shared = self.memory.as_ref().map_or(Ok(()), |memory| memory.keep(points as u64));
        kept.and(shared)
    }

    /// Counts samples and series that were pushed.
    pub(crate) fn push(&self, samples: u64, series: u64) -> Result<(), Error> {
        self.count(&self.series, series, self.limits.series, "series")?;
        self.count(&self.samples, samples, self.limits.samples, "samples")
    }

    /// Values that were kept are let go.
    pub(crate) fn let_go(&self, points: usize) {
        let less = |kept: u64| Some(kept.saturating_sub(points as u64));
        let _always = self.points.fetch_update(Relaxed, Relaxed, less);
        if let Some(memory) = &self.memory {
            memory.let_go(points as u64);
        }
    }
}

/// Samples that are kept until the numbers are known that a function takes.
#[derive(Debug)]
pub(crate) struct RawSeries {
    pub labels: Labels,
    pub times: Vec<i64>,
    pub values: Vec<f64>,
    pub histogram_times: Vec<i64>,
    pub histograms: Vec<Arc<Histogram>>,
}

impl RawSeries {
    pub(crate) fn samples(&self) -> Samples<'_> {
        Samples {
            times: &self.times,
            values: &self.values,
            histogram_times: &self.histogram_times,
            histograms: &self.histograms,
        }
    }
}

/// One selection's series, or a part of them. Each thread has its own; they are merged, or finished together.
#[derive(Debug)]
pub struct Fold {
    plan: Arc<Plan>,
    usage: Arc<Usage>,
    pub(crate) leaf: usize,
    pub(crate) rows: Vec<Row>,
    pub(crate) groups: Option<Groups>,
    pub(crate) raw: Vec<RawSeries>,
    pub(crate) notes: Notes,
    /// Samples that steps take, where they are counted; of raw series later.
    pub(crate) loaded: Option<Loaded>,
    scratch: Scratch,
    /// The row of a series that goes into a group.
    spare: Option<Row>,
}

impl Fold {
    pub(crate) fn new(plan: Arc<Plan>, usage: Arc<Usage>, leaf: usize) -> Self {
        let of = &plan.leaves[leaf];
        let groups = of.group.clone().map(|group| Groups::new(group, of.window.grid.len));
        // Of a subquery's steps all are one.
        let steps = if of.window.grid == plan.grid { plan.grid.len } else { 1 };
        let loaded = usage.count_steps.then(|| Loaded::new(steps));
        let (rows, raw, notes, scratch) = (vec![], vec![], Notes::default(), Scratch::default());
        Self { plan, usage, leaf, rows, groups, raw, notes, loaded, scratch, spare: None }
    }

    /// The selection that it is of.
    pub fn selection(&self) -> usize {
        self.leaf
    }

    /// Folds a series in. Each series comes once, whole, in any order; samples outside of the selection's window
    /// do no harm.
    pub fn push(&mut self, series: &Series) -> Result<(), Error> {
        self.usage.check()?;
        let weight: u64 = series.histograms.iter().map(|h| h.weight()).sum();
        self.usage.push(series.values.len() as u64 + weight, 1)?;
        let plan = self.plan.clone();
        let leaf = &plan.leaves[self.leaf];
        if matches!(leaf.read, Read::Raw) {
            self.usage.keep(series.values.len() + weight as usize)?;
            self.raw.push(raw(series));
            return Ok(());
        }
        let len = leaf.window.grid.len;
        let mut row = match self.spare.take() {
            Some(mut row) => {
                row.floats.fill(ABSENT);
                row.histograms = None;
                row.labels = series.labels.clone();
                row
            }
            None => Row::new(series.labels.clone(), len),
        };
        row.drop_name = leaf.drop_name;
        self.read(leaf, series, &mut row)?;
        for map in &leaf.maps {
            map.apply(&mut row, &leaf.window.grid, &mut self.notes);
        }
        match &mut self.groups {
            Some(groups) => {
                let before = groups.points();
                groups.push(&row, &mut self.notes);
                let new = groups.points() - before;
                self.spare = Some(row);
                if new > 0 {
                    self.usage.keep(new)?;
                }
            }
            None if row.is_empty() => self.spare = Some(row),
            None => {
                self.usage.keep(row.points())?;
                self.rows.push(row);
            }
        }
        Ok(())
    }

    fn read(&mut self, leaf: &Leaf, series: &Series, row: &mut Row) -> Result<(), Error> {
        let window = &leaf.window;
        match &leaf.read {
            Read::InfoTime if !series.histograms.is_empty() => {
                let labels = series.labels;
                Err(Error::Execution(format!("this should be an info metric, with float samples: {labels}")))
            }
            Read::Latest | Read::Time | Read::InfoTime => {
                latest(leaf, series, row);
                if let Some(loaded) = &mut self.loaded {
                    loaded.newest(window, &samples(series));
                }
                Ok(())
            }
            Read::Raw => Ok(()),
            Read::Smoothed | Read::Range(_) => {
                // Markers of staleness are no samples of a range.
                let stale =
                    series.values.iter().any(|v| is_stale(*v)) || series.histograms.iter().any(|h| is_stale(h.sum));
                let filtered;
                let samples = if stale {
                    filtered = raw(series);
                    filtered.samples()
                } else {
                    samples(series)
                };
                if let Some(loaded) = &mut self.loaded {
                    loaded.all(window, &samples);
                }
                let name = series.labels.metric_name();
                let notes = &mut self.notes;
                match &leaf.read {
                    Read::Range(call) => {
                        let (scratch, cancel) = (&mut self.scratch, self.usage.cancel.as_deref());
                        call.apply(&samples, row, Context { call, window, name, notes, scratch, cancel })
                    }
                    _ => {
                        smoothed(leaf, &samples, name, row, notes);
                        Ok(())
                    }
                }
            }
        }
    }

    /// Takes in another fold of the same selection.
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        if self.leaf != other.leaf {
            return Err(Error::execution("folds of different selections cannot be merged"));
        }
        self.notes.merge(other.notes);
        self.rows.extend(other.rows);
        self.raw.extend(other.raw);
        if let (Some(ours), Some(theirs)) = (&mut self.loaded, &other.loaded) {
            ours.add_all(theirs);
        }
        if let (Some(ours), Some(theirs)) = (&mut self.groups, other.groups) {
            let both = ours.points() + theirs.points();
            ours.merge(theirs, &mut self.notes);
            self.usage.let_go(both.saturating_sub(ours.points()));
        }
        Ok(())
    }

    /// What it counts for among the points that a query keeps.
    pub(super) fn points(&self) -> usize {
        let raw = |one: &RawSeries| {
            one.values.len() + one.histograms.iter().map(|histogram| histogram.weight() as usize).sum::<usize>()
        };
        self.groups.as_ref().map_or(0, Groups::points)
            + self.rows.iter().map(Row::points).sum::<usize>()
            + self.raw.iter().map(raw).sum::<usize>()
    }
}

/// The samples of a series as they were pushed.
fn samples<'a>(series: &Series<'a>) -> Samples<'a> {
    Samples {
        times: series.timestamps,
        values: series.values,
        histogram_times: series.histogram_timestamps,
        histograms: series.histograms,
    }
}

/// The samples of a series, without markers of staleness.
fn raw(series: &Series) -> RawSeries {
    let floats = || series.timestamps.iter().zip(series.values).filter(|(_, value)| !is_stale(**value));
    let pairs = || series.histogram_timestamps.iter().zip(series.histograms).filter(|(_, h)| !is_stale(h.sum));
    RawSeries {
        labels: series.labels.clone(),
        times: floats().map(|(time, _)| *time).collect(),
        values: floats().map(|(_, value)| *value).collect(),
        histogram_times: pairs().map(|(time, _)| *time).collect(),
        histograms: pairs().map(|(_, h)| h.clone()).collect(),
    }
}

/// At each step the last sample within the lookback, or its time.
fn latest(leaf: &Leaf, series: &Series, row: &mut Row) {
    let (times, values) = (series.timestamps, series.values);
    let time = matches!(leaf.read, Read::Time | Read::InfoTime);
    let seconds = |ms: i64| ms as f64 / 1000.0;
    let floats = &mut row.floats;
    if series.histograms.is_empty() {
        leaf.window.slide(times, |step, _, _, high| {
            let value = values[high - 1];
            if !is_stale(value) {
                floats[step] = if time { seconds(times[high - 1]) } else { value };
            }
        });
        return;
    }
    let (histogram_times, histograms) = (series.histogram_timestamps, series.histograms);
    let samples = Samples { times, values, histogram_times, histograms };
    let mut found = vec![];
    leaf.window.slide_both(&samples, |step, _, f, h| found.push((step, f, h)));
    for (step, f, h) in found {
        let float = (!f.is_empty()).then(|| f.end - 1);
        let histogram = (!h.is_empty()).then(|| h.end - 1);
        let newer = match (float, histogram) {
            (Some(f), Some(h)) => histogram_times[h] > times[f],
            (None, Some(_)) => true,
            _ => false,
        };
        match (newer, float, histogram) {
            (true, _, Some(h)) if !is_stale(histograms[h].sum) => {
                let point = if time {
                    Point::Float(seconds(histogram_times[h]))
                } else {
                    Point::Histogram(histograms[h].clone())
                };
                row.set(step, Some(point));
            }
            (false, Some(f), _) if !is_stale(values[f]) => {
                row.floats[step] = if time { seconds(times[f]) } else { values[f] };
            }
            _ => {}
        }
    }
}

/// At each step the value between the samples around it.
fn smoothed(leaf: &Leaf, samples: &Samples, name: &str, row: &mut Row, notes: &mut Notes) {
    let span = leaf.selection.span;
    let mut found = vec![];
    leaf.window.slide_both(samples, |step, at, f, h| found.push((step, at, f, h)));
    for (step, at, f, h) in found {
        if !f.is_empty() && !h.is_empty() {
            notes.add(Note::Mixed, span, name);
        } else if !f.is_empty() {
            let (times, values) = (&samples.times[f.clone()], &samples.values[f]);
            let next = times.partition_point(|t| *t < at);
            if times.get(next) == Some(&at) {
                row.floats[step] = values[next];
            } else if next > 0 {
                let (t, v) = (times[next - 1], values[next - 1]);
                row.floats[step] = match times.get(next).zip(values.get(next)) {
                    Some((to, value)) => v + (value - v) * (at - t) as f64 / (to - t) as f64,
                    None => v,
                };
            }
        } else {
            let (times, histograms) = (&samples.histogram_times[h.clone()], &samples.histograms[h]);
            if let Some(histogram) = smoothed_histogram(times, histograms, at, (span, name), notes) {
                row.set_histogram(step, Arc::new(histogram));
            }
        }
    }
}

fn smoothed_histogram(
    times: &[i64],
    histograms: &[Arc<Histogram>],
    at: i64,
    (span, name): (crate::syntax::Span, &str),
    notes: &mut Notes,
) -> Option<Histogram> {
    use crate::histogram::ResetHint;
    let next = times.partition_point(|t| *t < at);
    if times.get(next) == Some(&at) {
        return Some((*histograms[next]).clone());
    }
    let before = histograms.get(next.checked_sub(1)?)?;
    let Some(after) = histograms.get(next) else {
        return Some(Histogram { hint: ResetHint::Unknown, ..(**before).clone() });
    };
    if before.is_custom() != after.is_custom() {
        notes.add(Note::MixedBuckets, span, name);
        return None;
    }
    let counter = before.hint != ResetHint::Gauge || after.hint != ResetHint::Gauge;
    super::widened::between((times[next - 1], before), (times[next], after), at, counter, notes, (span, name))
}
