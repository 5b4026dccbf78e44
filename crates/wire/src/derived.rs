//! Metrics that are derived from traces: counters and histograms by a key, which become series of Prometheus by the
//! mapping of [`bonghwa_model::prometheus`]. What is counted are [`Counters`]; [`rows`] writes them.

use std::hash::Hash;

use bonghwa_model::Kind;
use bonghwa_model::batch::Resource;
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, PointKind};
use bonghwa_model::prometheus::{Metadata, STALE_NAN, resource, scope};
use bonghwa_model::refs::Ref;
use bonghwa_model::spans::SpanBatch;

use crate::series;

/// The label of the node that counted: each counts what it received.
pub const INSTANCE: &str = "__metrics_gen_instance";

/// What is counted of a key.
pub trait Counters: Send + 'static {
    /// By what is counted.
    type Key: Clone + Ord + Hash + Send + Sync + 'static;
    /// What these metrics are, for logs. The names of what is stored follow from it: never change it.
    const WHAT: &'static str;
    /// The series' names, in the order of their numbers; of a histogram `_bucket`, `_sum` and `_count` stand together.
    const METRICS: &'static [&'static str];
    /// Series of a key, at most.
    const SERIES: usize;

    /// What the series are, for whoever asks for metadata.
    fn metadata() -> Vec<Metadata>;

    /// How many calls or requests were counted.
    fn calls(&self) -> u64;

    /// Adds what was counted later.
    fn add(&mut self, more: &Self);

    /// Forgets the exemplars: they were told.
    fn forget_exemplars(&mut self);

    /// Writes the series of the key: [`Series::of`] first.
    fn write(&self, key: &Self::Key, series: &mut Series<'_>);
}

/// Where the buckets of a histogram end; the last one has no end.
pub(crate) struct Bounds<const N: usize> {
    /// Milliseconds, of all but the last.
    pub millis: &'static [u64],
    /// Seconds, as values of `le`.
    pub seconds: [&'static str; N],
}

/// A span that a bucket stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Exemplar {
    /// When it ended, Unix nanoseconds.
    pub time: i64,
    /// How long it was.
    pub nanos: u64,
    pub trace_id: [u8; 16],
    pub span_id: [u8; 8],
}

impl Exemplar {
    pub fn of(batch: &SpanBatch, row: usize) -> Self {
        Exemplar {
            time: batch.end_time[row],
            nanos: batch.end_time[row].saturating_sub(batch.start_time[row]).max(0) as u64,
            trace_id: batch.trace_id[row],
            span_id: batch.span_id[row],
        }
    }
}

/// Durations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Histogram<const N: usize> {
    pub nanos: u128,
    /// Spans by bucket.
    pub buckets: [u64; N],
    /// By bucket the newest span that was not told yet.
    pub exemplars: [Option<Exemplar>; N],
}

impl<const N: usize> Default for Histogram<N> {
    fn default() -> Self {
        Histogram { nanos: 0, buckets: [0; N], exemplars: [None; N] }
    }
}

impl<const N: usize> Histogram<N> {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub fn observe(&mut self, bounds: &Bounds<N>, span: Exemplar) {
        let bucket = bounds.millis.partition_point(|end| end * 1_000_000 < span.nanos);
        self.nanos += u128::from(span.nanos);
        self.buckets[bucket] += 1;
        self.exemplars[bucket] = Some(span);
    }

    pub fn add(&mut self, more: &Self) {
        self.nanos += more.nanos;
        for (own, more) in self.buckets.iter_mut().zip(&more.buckets) {
            *own += more;
        }
        for (own, more) in self.exemplars.iter_mut().zip(&more.exemplars) {
            *own = more.or(*own);
        }
    }

    pub fn forget_exemplars(&mut self) {
        self.exemplars = [None; N];
    }
}

/// A key to be told of.
pub struct Told<'a, C: Counters> {
    /// Which.
    pub key: &'a C::Key,
    /// What was counted of it so far.
    pub counts: &'a C,
    /// Unix nanoseconds: when counting began.
    pub since: i64,
    /// Unix nanoseconds of a zero that comes first, so that what was counted until now shows as an increase.
    pub zero: Option<i64>,
    /// Whether it ends: nothing of it came for long.
    pub ends: bool,
}

/// What was counted until this time, Unix nanoseconds, as rows.
pub fn rows<'a, C: Counters>(told: impl IntoIterator<Item = Told<'a, C>>, instance: &str, time: i64) -> MetricBatch {
    let mut series = Series::new(C::METRICS, instance, time);
    for Told { key, counts, since, zero, ends } in told {
        (series.since, series.zero, series.ends) = (since, zero.filter(|_| !ends), ends);
        counts.write(key, &mut series);
        let rows = series.batch.rows() as u32;
        series.batch.common.close_group(series.resource, 0, rows);
    }
    series.batch
}

/// A label: its key's number, its value in the arena, and its part of the series' identity.
type Label = (u32, Ref, u128);

/// Takes the series of one key after another.
pub struct Series<'a> {
    batch: MetricBatch,
    /// The hash of each metric.
    metrics: Vec<u128>,
    instance: &'a str,
    time: i64,
    since: i64,
    zero: Option<i64>,
    ends: bool,
    resource: u32,
    /// In the order of their names.
    labels: Vec<Label>,
    /// Where `le` stands among them.
    le: usize,
}

impl<'a> Series<'a> {
    fn new(names: &[&str], instance: &'a str, time: i64) -> Self {
        let mut batch = MetricBatch::default();
        batch.metrics.extend(names.iter().map(|name| Metric { name: (*name).to_owned(), ..Default::default() }));
        batch.common.scopes.push(scope());
        let sender = series::sender(&Resource::default(), &batch.common.scopes[0]);
        let metrics = batch.metrics.iter().map(|metric| series::metric(sender, metric)).collect();
        let time = to_millis(time);
        let (since, zero, ends, resource, labels, le) = (0, None, false, 0, Vec::new(), 0);
        Series { batch, metrics, instance, time, since, zero, ends, resource, labels, le }
    }

    /// The service and the labels of the series that follow; labels in the order of their names. Empty ones are none.
    pub(crate) fn of(&mut self, service: &str, labels: &[(&str, &str)]) {
        let resources = &mut self.batch.common.resources;
        if resources.last().is_none_or(|last| last.service_name != service) {
            resources.push(resource("", "", service));
        }
        self.resource = resources.len() as u32 - 1;
        let instance = [(INSTANCE, self.instance)];
        let labels = || instance.iter().chain(labels).filter(|(_, value)| !value.is_empty());
        self.le = labels().filter(|(name, _)| *name < "le").count();
        self.labels.clear();
        for (name, value) in labels() {
            let label = self.label(name, value);
            self.labels.push(label);
        }
    }

    /// A series, by its metric's number.
    pub(crate) fn counter(&mut self, metric: usize, value: f64) {
        self.row(metric, None, value, None);
    }

    /// The series of a histogram, by the number of its buckets' metric.
    pub(crate) fn histogram<const N: usize>(&mut self, metric: usize, bounds: &Bounds<N>, told: &Histogram<N>) {
        let mut sum = 0;
        for (at, (spans, exemplar)) in told.buckets.iter().zip(&told.exemplars).enumerate() {
            sum += spans;
            self.row(metric, Some(bounds.seconds[at]), sum as f64, *exemplar);
        }
        self.row(metric + 1, None, told.nanos as f64 / 1e9, None);
        self.row(metric + 2, None, sum as f64, None);
    }

    fn row(&mut self, metric: usize, le: Option<&str>, value: f64, exemplar: Option<Exemplar>) {
        let le = le.map(|bound| self.label("le", bound));
        let exemplar = exemplar.map_or(Ref::default(), |exemplar| self.exemplar(&exemplar));
        let (before, behind) = self.labels.split_at(self.le);
        let labels = || before.iter().chain(le.iter()).chain(behind);
        let hash = labels().fold(0u128, |sum, (_, _, hash)| sum.wrapping_add(*hash));
        let series = series::identity(self.metrics[metric], hash);
        let value = if self.ends { STALE_NAN } else { value.to_bits() };
        let zero = self.zero.map(|zero| (to_millis(zero), 0, Ref::default()));
        for (time, value, exemplars) in zero.into_iter().chain([(self.time, value, exemplar)]) {
            labels().for_each(|(key, value, _)| self.batch.attributes.push(*key, Kind::Str, value.0));
            self.batch.push_row(MetricRow {
                metric: metric as u32,
                series,
                time,
                start_time: self.since,
                point_kind: PointKind::Double,
                value,
                exemplars,
                ..Default::default()
            });
        }
    }

    fn label(&mut self, key: &str, value: &str) -> Label {
        let number = self.batch.common.keys.id(key);
        (number, self.batch.common.arena.push(value.as_bytes()), series::text(key, value))
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> Ref {
        let Exemplar { time, nanos, trace_id, span_id } = exemplar;
        let (trace, span) = (hex::encode(trace_id), hex::encode(span_id));
        let seconds = *nanos as f64 / 1e9;
        let text = format!(
            r#"[{{"time_unix_nano":{time},"value":{seconds:?},"trace_id":"{trace}","span_id":"{span}","attributes":{{}}}}]"#
        );
        self.batch.common.arena.push(text.as_bytes())
    }
}

/// Prometheus' times are whole milliseconds.
fn to_millis(time: i64) -> i64 {
    time - time.rem_euclid(1_000_000)
}

/// Metadata of a metric, whose type is by its number in [`bonghwa_model::prometheus::TYPES`].
pub(crate) fn described(family: &str, metric_type: u8, help: &str, unit: &str) -> Metadata {
    Metadata { family: family.to_owned(), metric_type, help: help.to_owned(), unit: unit.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line for each row: its series, its value, its time in seconds.
    pub fn shown(batch: &MetricBatch) -> Vec<String> {
        let common = &batch.common;
        let row = |at: usize| {
            let labels = batch.attributes.row(at, &common.arena).map(|(key, value)| {
                let mut text = Vec::new();
                value.write_json(&mut text);
                format!("{}={}", common.keys.names()[key as usize], String::from_utf8_lossy(&text))
            });
            let labels: Vec<String> = labels.collect();
            let value = f64::from_bits(batch.value[at]);
            let name = &batch.metrics[batch.metric[at] as usize].name;
            format!("{name}{{{}}} {value} @{}", labels.join(","), batch.time[at] / 1_000_000_000)
        };
        (0..batch.rows()).map(row).collect()
    }
}
