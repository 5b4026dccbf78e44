//! From rows of OpenTelemetry's points to Prometheus' series: which series a row is, or several (the
//! parts of a histogram), and their samples.

use std::collections::HashMap;
use std::sync::Arc;

use bonghwa_model::metrics::{Metric, MetricType};
use bonghwa_model::prometheus;
use bonghwa_model::prometheus_names::metric_name;
use bonghwa_promql::number;
use bonghwa_promql::{Histogram, Labels, METRIC_NAME, Matcher, STALE_BITS};
use foldhash::fast::FixedState;

use super::columns::{Columns, Samples};
use super::distribution;
use super::labels::{Labeller, MetricsOptions, Pairs, Resource, verbatim};
use crate::QueryError;

/// The series that describes each resource.
const TARGET_INFO: &str = "target_info";
/// `target_info` has a sample at least this often while its resource sends, in milliseconds.
const INFO_EVERY: i64 = 30_000;
/// Rows that are remembered to be passed over.
const MOST_PASSED_OVER: usize = 1 << 20;
const STALE: f64 = f64::from_bits(STALE_BITS);

/// What was found of a series.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Unix milliseconds of the floats.
    pub times: Vec<i64>,
    /// Floats.
    pub values: Vec<f64>,
    /// Native histograms by Unix milliseconds.
    pub histograms: Vec<(i64, Arc<Histogram>)>,
    /// Values are changes since the sample before.
    pub delta: bool,
}

impl Found {
    /// Samples of both kinds.
    pub fn len(&self) -> usize {
        self.times.len() + self.histograms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, time: i64, value: f64) {
        self.times.push(time);
        self.values.push(value);
    }

    fn extend(&mut self, nanos: &[i64], values: impl Iterator<Item = f64>, in_range: impl Fn(&i64) -> bool) {
        let ends = (nanos.first(), nanos.last());
        if matches!(ends, (Some(first), Some(last)) if in_range(&to_millis(*first)) && in_range(&to_millis(*last))) {
            // Samples of a row are sorted: all of them are in range.
            self.times.extend(nanos.iter().map(|nanos| to_millis(*nanos)));
            self.values.extend(values);
            return;
        }
        for (time, value) in nanos.iter().map(|nanos| to_millis(*nanos)).zip(values) {
            if in_range(&time) {
                self.push(time, value);
            }
        }
    }

    /// Puts the samples in the order of time. Of two at one time the one that was read last stays.
    /// Changes are added up, from nothing before the first sample that was read.
    pub fn finish(&mut self) {
        if !self.times.is_sorted_by(|a, b| a < b) {
            let mut samples: Vec<(i64, f64)> =
                std::mem::take(&mut self.times).into_iter().zip(self.values.drain(..)).collect();
            samples.sort_by_key(|sample| sample.0);
            for (time, value) in samples {
                if self.times.last() == Some(&time) {
                    self.times.pop();
                    self.values.pop();
                }
                self.push(time, value);
            }
        }
        if !self.histograms.is_sorted_by(|a, b| a.0 < b.0) {
            self.histograms.sort_by_key(|sample| sample.0);
            self.histograms.reverse();
            self.histograms.dedup_by_key(|sample| sample.0);
            self.histograms.reverse();
        }
        if self.delta {
            let mut sum = 0.0;
            for value in self.values.iter_mut().filter(|value| value.to_bits() != STALE_BITS) {
                sum += *value;
                *value = sum;
            }
        }
    }
}

/// Collects the series that matchers select.
pub(super) struct Gather<'a> {
    matchers: &'a [Matcher],
    /// Unix milliseconds, both inclusive.
    range: (i64, i64),
    labeller: Labeller<'a>,
    options: &'a MetricsOptions,
    series: Vec<(Labels, Found)>,
    by_labels: HashMap<Labels, usize, FixedState>,
    /// What rows of one number are, by the identity of their series.
    known: HashMap<u128, Option<usize>, FixedState>,
    /// How many of those are passed over.
    passed_over: usize,
    samples: u64,
}

/// A row's metric and labels, before the names of its parts.
struct Row {
    id: u128,
    kind: MetricType,
    /// Without suffixes.
    name: String,
    verbatim: bool,
    delta: bool,
    at: usize,
}

impl<'a> Gather<'a> {
    pub fn new(matchers: &'a [Matcher], range: (i64, i64), options: &'a MetricsOptions) -> Self {
        Gather {
            matchers,
            range,
            labeller: Labeller::new(options),
            options,
            series: Vec::new(),
            by_labels: HashMap::default(),
            known: HashMap::default(),
            passed_over: 0,
            samples: 0,
        }
    }

    /// Series and samples found so far.
    pub fn size(&self) -> (usize, u64) {
        (self.series.len(), self.samples)
    }

    /// What was found.
    pub fn finish(self) -> Vec<(Labels, Found)> {
        self.series
    }

    /// Adds what another found.
    pub fn merge(&mut self, other: Vec<(Labels, Found)>) {
        for (labels, found) in other {
            let at = self.place(labels);
            let own = &mut self.series[at].1;
            self.samples += (found.times.len() + found.histograms.len()) as u64;
            if own.times.is_empty() && own.histograms.is_empty() {
                own.times = found.times;
                own.values = found.values;
                own.histograms = found.histograms;
            } else {
                own.times.extend(found.times);
                own.values.extend(found.values);
                own.histograms.extend(found.histograms);
            }
            own.delta |= found.delta;
        }
    }

    /// Takes in the rows of a batch.
    pub fn add(&mut self, columns: &Columns<'_>) -> Result<(), QueryError> {
        let mut names = Names::new(self.options);
        let info = self.may_be_named(TARGET_INFO);
        for at in 0..columns.rows {
            let scope = columns.scope_name.value(at);
            let verbatim = scope == prometheus::SCOPE;
            if scope == prometheus::METADATA_SCOPE {
                continue;
            }
            let row = Row {
                // Hexadecimal digits, always.
                id: u128::from_str_radix(columns.id.value(at), 16).unwrap_or_default(),
                kind: kind(columns.metric_type.value(at)),
                name: names.of(columns, at, verbatim),
                verbatim,
                delta: columns.temporality.value(at) == "delta",
                at,
            };
            match row.kind {
                MetricType::Gauge | MetricType::Sum => self.number(columns, &row),
                MetricType::Histogram => self.explicit(columns, &row),
                MetricType::ExponentialHistogram => self.exponential(columns, &row),
                MetricType::Summary => self.summary(columns, &row),
            }
            if info && !verbatim {
                self.info(columns, at);
            }
        }
        Ok(())
    }

    /// Whether a metric's name passes.
    fn may_be_named(&self, name: &str) -> bool {
        self.matchers.iter().filter(|m| m.name == METRIC_NAME).all(|m| m.matches(name))
    }

    /// The place of the series with these labels, if it is selected.
    fn select(&mut self, labels: Labels) -> Option<usize> {
        self.matchers.iter().all(|m| m.matches(labels.get(&m.name))).then(|| self.place(labels))
    }

    fn place(&mut self, labels: Labels) -> usize {
        if let Some(at) = self.by_labels.get(&labels) {
            return *at;
        }
        self.series.push((labels.clone(), Found::default()));
        self.by_labels.insert(labels, self.series.len() - 1);
        self.series.len() - 1
    }

    /// The labels of a row, without name.
    fn pairs(&mut self, columns: &Columns<'_>, row: &Row) -> Pairs {
        if row.verbatim {
            return verbatim(columns.attributes.value(row.at));
        }
        let mut pairs = self.labeller.attributes(columns.attributes.value(row.at));
        pairs.extend(self.labeller.scope(columns.scope_name.value(row.at), columns.scope_version.value(row.at)));
        // What identifies the target wins over an attribute of the same name.
        let resource: &Resource =
            self.labeller.resource(columns.resource.value(row.at), columns.service_name.value(row.at));
        pairs.extend(resource.labels.iter().cloned());
        pairs
    }

    /// Remembers what a row is; of those that are passed over only so many, since nothing counts them.
    fn remember(&mut self, id: u128, place: Option<usize>) {
        self.passed_over += usize::from(place.is_none());
        if self.passed_over > MOST_PASSED_OVER {
            self.known.retain(|_, place| place.is_some());
            self.passed_over = 0;
        }
        self.known.insert(id, place);
    }

    fn number(&mut self, columns: &Columns<'_>, row: &Row) {
        let place = match self.known.get(&row.id) {
            Some(place) => *place,
            None => {
                let place = match self.may_be_named(&row.name) {
                    true => {
                        let labels = with(&self.pairs(columns, row), &row.name, None);
                        self.select(labels)
                    }
                    false => None,
                };
                self.remember(row.id, place);
                place
            }
        };
        let (Some(place), Some(samples)) = (place, &columns.samples) else { return };
        let found = &mut self.series[place].1;
        found.delta |= row.delta && row.kind == MetricType::Sum;
        self.samples += numbers(samples, row.at, self.range, found);
    }

    fn explicit(&mut self, columns: &Columns<'_>, row: &Row) {
        let pairs = self.pairs(columns, row);
        let Some(samples) = &columns.samples else { return self.parts_without_samples(columns, &pairs, row) };
        let mut parts = Parts { gather: self, pairs: &pairs, row, places: HashMap::new() };
        for at in 0..samples.len(row.at) {
            let Some(time) = parts.gather.time(samples, row.at, at) else { continue };
            let Some(count) = samples.counts.get(row.at, at) else {
                parts.end(time);
                continue;
            };
            let (count, sum) = (count as u64 as f64, samples.sums.get(row.at, at));
            let explicit = samples.buckets(row.at, at).and_then(distribution::explicit).unwrap_or_default();
            if row.verbatim {
                parts.native(time, distribution::custom(&explicit, count, sum.unwrap_or(f64::NAN)));
                continue;
            }
            let mut below = 0.0;
            for (bound, count) in explicit.bounds.iter().zip(&explicit.counts) {
                below += count;
                parts.float("_bucket", Some(("le", *bound)), time, below);
            }
            parts.float("_bucket", Some(("le", f64::INFINITY)), time, count);
            parts.float("_count", None, time, count);
            if let Some(sum) = sum {
                parts.float("_sum", None, time, sum);
            }
        }
    }

    fn exponential(&mut self, columns: &Columns<'_>, row: &Row) {
        if !self.may_be_named(&row.name) {
            return;
        }
        let pairs = self.pairs(columns, row);
        let Some(samples) = &columns.samples else {
            self.select(with(&pairs, &row.name, None));
            return;
        };
        let mut parts = Parts { gather: self, pairs: &pairs, row, places: HashMap::new() };
        for at in 0..samples.len(row.at) {
            let Some(time) = parts.gather.time(samples, row.at, at) else { continue };
            let sum = samples.sums.get(row.at, at).unwrap_or(f64::NAN);
            let count = samples.counts.get(row.at, at).map(|count| count as u64 as f64);
            match count.zip(samples.buckets(row.at, at)) {
                Some((count, text)) => {
                    if let Some(histogram) = distribution::exponential(text, count, sum) {
                        parts.native(time, histogram);
                    }
                }
                None => parts.float("", None, time, STALE),
            }
        }
    }

    fn summary(&mut self, columns: &Columns<'_>, row: &Row) {
        let pairs = self.pairs(columns, row);
        let Some(samples) = &columns.samples else { return self.parts_without_samples(columns, &pairs, row) };
        let mut parts = Parts { gather: self, pairs: &pairs, row, places: HashMap::new() };
        for at in 0..samples.len(row.at) {
            let Some(time) = parts.gather.time(samples, row.at, at) else { continue };
            let Some(count) = samples.counts.get(row.at, at) else {
                parts.end(time);
                continue;
            };
            let summary = samples.buckets(row.at, at).and_then(distribution::summary).unwrap_or_default();
            for quantile in summary.quantiles {
                parts.float("", Some(("quantile", quantile.quantile)), time, quantile.value);
            }
            parts.float("_count", None, time, count as u64 as f64);
            parts.float("_sum", None, time, samples.sums.get(row.at, at).unwrap_or(f64::NAN));
        }
    }

    /// The parts of a histogram or summary, where only labels are asked for.
    fn parts_without_samples(&mut self, columns: &Columns<'_>, pairs: &Pairs, row: &Row) {
        let text = columns.distribution(row.at);
        let mut parts = Parts { gather: self, pairs, row, places: HashMap::new() };
        if row.verbatim {
            parts.place("", None);
            return;
        }
        if row.kind == MetricType::Histogram {
            let explicit = text.and_then(distribution::explicit).unwrap_or_default();
            for bound in explicit.bounds.into_iter().chain([f64::INFINITY]) {
                parts.place("_bucket", Some(("le", bound)));
            }
        } else {
            for quantile in text.and_then(distribution::summary).unwrap_or_default().quantiles {
                parts.place("", Some(("quantile", quantile.quantile)));
            }
        }
        parts.place("_count", None);
        parts.place("_sum", None);
    }

    fn info(&mut self, columns: &Columns<'_>, at: usize) {
        let resource = self.labeller.resource(columns.resource.value(at), columns.service_name.value(at));
        // Without a target there is nothing to join with, and nothing to tell.
        if resource.labels.is_empty() || resource.info.is_empty() {
            return;
        }
        let target = resource.labels.iter().filter(|(name, _)| matches!(name.as_str(), "job" | "instance"));
        let pairs: Pairs = resource.info.iter().chain(target).cloned().collect();
        let Some(place) = self.select(with(&pairs, TARGET_INFO, None)) else { return };
        let Some(samples) = &columns.samples else { return };
        let (count, range) = (samples.len(at), self.range);
        let found = &mut self.series[place].1;
        let mut last = i64::MIN;
        for sample in 0..count {
            let Some(time) = samples.times.get(at, sample).map(to_millis) else { continue };
            let due = time >= last.saturating_add(INFO_EVERY) || sample + 1 == count;
            if due && (range.0..=range.1).contains(&time) {
                last = time;
                found.push(time, 1.0);
            }
        }
    }

    /// The time of a sample in range.
    fn time(&self, samples: &Samples<'_>, row: usize, sample: usize) -> Option<i64> {
        let time = to_millis(samples.times.get(row, sample)?);
        (self.range.0..=self.range.1).contains(&time).then_some(time)
    }
}

/// The series that one row's distribution becomes.
struct Parts<'g, 'a, 'r> {
    gather: &'g mut Gather<'a>,
    pairs: &'r Pairs,
    row: &'r Row,
    /// By suffix and bound.
    places: HashMap<(&'static str, u64), Option<usize>>,
}

impl Parts<'_, '_, '_> {
    fn place(&mut self, suffix: &'static str, bound: Option<(&str, f64)>) -> Option<usize> {
        let key = (suffix, bound.map_or(u64::MAX, |(_, value)| value.to_bits()));
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let name = format!("{}{suffix}", self.row.name);
        let place = match self.gather.may_be_named(&name) {
            true => self.gather.select(with(self.pairs, &name, bound)),
            false => None,
        };
        self.places.insert(key, place);
        place
    }

    fn float(&mut self, suffix: &'static str, bound: Option<(&str, f64)>, time: i64, value: f64) {
        if let Some(place) = self.place(suffix, bound) {
            let found = &mut self.gather.series[place].1;
            found.delta |= self.row.delta;
            found.push(time, value);
            self.gather.samples += 1;
        }
    }

    fn native(&mut self, time: i64, histogram: Histogram) {
        if let Some(place) = self.place("", None) {
            let found = &mut self.gather.series[place].1;
            found.delta |= self.row.delta;
            found.histograms.push((time, Arc::new(histogram)));
            self.gather.samples += 1;
        }
    }

    /// All parts seen so far end here.
    fn end(&mut self, time: i64) {
        for place in self.places.values().copied().flatten() {
            self.gather.series[place].1.push(time, STALE);
        }
    }
}

/// Prometheus' names of rows; rows of one metric lie together.
pub(super) struct Names<'a> {
    options: &'a MetricsOptions,
    last: Option<(Metric, String)>,
}

impl<'a> Names<'a> {
    pub(super) fn new(options: &'a MetricsOptions) -> Self {
        Names { options, last: None }
    }

    pub(super) fn of(&mut self, columns: &Columns<'_>, at: usize, verbatim: bool) -> String {
        let (name, unit) = (columns.name.value(at), columns.unit.value(at));
        if verbatim {
            return name.to_owned();
        }
        let (kind, monotonic) = (kind(columns.metric_type.value(at)), columns.monotonic.value(at));
        if let Some((last, shown)) = &self.last
            && (last.name.as_str(), last.unit.as_str(), last.metric_type, last.monotonic)
                == (name, unit, kind, monotonic)
        {
            return shown.clone();
        }
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let metric = Metric { name, unit, metric_type: kind, monotonic, ..Default::default() };
        let shown = metric_name(&metric, self.options.strategy);
        self.last = Some((metric, shown.clone()));
        shown
    }
}

/// The type that a name means.
pub(super) fn kind(name: &str) -> MetricType {
    let all = [MetricType::Sum, MetricType::Histogram, MetricType::ExponentialHistogram, MetricType::Summary];
    all.into_iter().find(|kind| kind.as_str() == name).unwrap_or(MetricType::Gauge)
}

pub(super) fn with(pairs: &Pairs, name: &str, bound: Option<(&str, f64)>) -> Labels {
    let bound = bound.map(|(label, value)| (label, number::format(value)));
    let all = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = all.chain(bound.as_ref().map(|(label, value)| (*label, value.as_str())));
    Labels::new(all.chain([(METRIC_NAME, name)]))
}

/// The numbers of a row in range; how many.
fn numbers(samples: &Samples<'_>, row: usize, range: (i64, i64), found: &mut Found) -> u64 {
    let before = found.times.len();
    let in_range = |time: &i64| (range.0..=range.1).contains(time);
    let values = |at: usize| samples.values.get(row, at);
    let ints = |at: usize| samples.ints.get(row, at).map(|int| int as f64);
    if let (Some(times), Some(values)) = (samples.times.all(row), samples.values.all(row)) {
        found.extend(times, values.iter().copied(), in_range);
    } else if let (Some(times), Some(ints)) = (samples.times.all(row), samples.ints.all(row)) {
        found.extend(times, ints.iter().map(|int| *int as f64), in_range);
    } else {
        for at in 0..samples.len(row) {
            let Some(time) = samples.times.get(row, at).map(to_millis).filter(in_range) else { continue };
            // A row without a number ends the series, unless it is there for its exemplars alone.
            let ended = || samples.flags.get(row, at).is_some_and(|flags| flags & 1 != 0).then_some(STALE);
            if let Some(value) = values(at).or_else(|| ints(at)).or_else(ended) {
                found.push(time, value);
            }
        }
    }
    (found.times.len() - before) as u64
}

pub(super) fn to_millis(nanos: i64) -> i64 {
    nanos.div_euclid(1_000_000)
}
