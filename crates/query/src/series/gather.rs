//! From rows of OpenTelemetry's points to Prometheus' series: which series a row is, or several (the
//! parts of a histogram), and their samples.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bonghwa_block::{NumberRow, to_millis};
use bonghwa_model::TenantId;
use bonghwa_model::metrics::MetricType;
use bonghwa_promql::{Histogram, Labels, Windows};
use foldhash::fast::FixedState;

use super::cache::{Known, OfTenant, SeriesCache};
use super::columns::{Columns, Samples, Texts};
use super::conditions::Conditions;
use super::distribution;
use super::found::{Found, STALE};
use super::granule::Granule;
use super::heartbeat::Heartbeats;
use super::identity::{Identity, IdentityReader};
use super::labels::{MetricsOptions, TARGET_INFO, Target};
use super::read::Wanted;
use super::sink::TenantSink;
use super::slice::Slice;
use crate::QueryError;

/// `target_info` has a sample in each slot of this length in which its resource sent something, in milliseconds.
pub(crate) const INFO_EVERY: i64 = 30_000;

/// Collects the series that matchers select.
pub(super) struct Gather<'a> {
    conditions: Conditions<'a>,
    /// Unix milliseconds, both inclusive.
    range: (i64, i64),
    /// Which times in it are wanted of what need not be added up.
    windows: Option<Windows>,
    slice: Slice,
    /// Whether heartbeats may be selected, and of which time they are read.
    heartbeats: Option<(i64, i64)>,
    /// Whether rows that come now lie before the range, so that they are read for heartbeats alone.
    early: bool,
    /// What comes is not later than this, Unix milliseconds.
    until: i64,
    cache: OfTenant<'a>,
    identities: IdentityReader<'a>,
    series: Vec<(Labels, Found)>,
    /// Samples of which only some are wanted.
    row: Found,
    by_labels: HashMap<Labels, usize, FixedState>,
    /// Series of numbers that are selected, by their identity.
    known: HashMap<u128, Verdict, FixedState>,
    /// Whether `target_info` may be selected.
    info: bool,
    /// The resource of the row before, and the place of its series.
    last_target: Option<(Arc<Target>, Option<usize>)>,
    /// By place and slot of [`INFO_EVERY`], which of its samples is that of the slot.
    info_samples: HashMap<(usize, i64), usize, FixedState>,
    /// By weight.
    samples: u64,
    /// Series and samples when they were last asked for.
    told: (u64, u64),
    /// Takes labels in place of `series`.
    sink: Option<&'a TenantSink>,
}

/// Whether a series is selected, and its place once a row of it was seen.
#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Not,
    Selected,
    At(usize),
}

impl<'a> Gather<'a> {
    pub fn new(
        wanted: &'a Wanted,
        tenant: &TenantId,
        cache: &'a SeriesCache,
        options: &'a MetricsOptions,
        sink: Option<&'a TenantSink>,
    ) -> Self {
        let Wanted { ref matchers, range, windows, slice, .. } = *wanted;
        let mut conditions = Conditions::new(matchers);
        Gather {
            info: conditions.is_named(TARGET_INFO),
            conditions,
            range,
            windows,
            slice,
            heartbeats: Heartbeats::of(matchers, range, &options.push_up).map(|heartbeats| heartbeats.range()),
            early: false,
            until: range.1,
            cache: cache.of(tenant),
            identities: IdentityReader::new(options),
            series: Vec::new(),
            row: Found::default(),
            by_labels: HashMap::default(),
            known: HashMap::default(),
            last_target: None,
            info_samples: HashMap::default(),
            samples: 0,
            told: (0, 0),
            sink,
        }
    }

    /// Series that were found.
    pub fn count(&self) -> u64 {
        self.series.len() as u64
    }

    /// Series and samples that were found since this was last asked.
    pub fn grown(&mut self) -> (u64, u64) {
        let now = (self.series.len() as u64, self.samples);
        let before = std::mem::replace(&mut self.told, now);
        (now.0 - before.0, now.1 - before.1)
    }

    /// What was found.
    pub fn finish(self) -> Vec<(Labels, Found)> {
        self.series
    }

    /// Adds what another found.
    pub fn merge(&mut self, other: Vec<(Labels, Found)>) {
        for (labels, found) in other {
            let at = self.place(&labels);
            let own = &mut self.series[at].1;
            self.samples += found.weight();
            if own.is_empty() {
                own.times = found.times;
                own.values = found.values;
                own.histograms = found.histograms;
            } else {
                own.times.extend(found.times);
                own.values.extend(found.values);
                own.histograms.extend(found.histograms);
            }
            own.delta |= found.delta;
            own.heartbeats |= found.heartbeats;
        }
    }

    /// Takes in the rows of a batch, whose series may be known or not.
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let columns = Columns::new(batch)?;
        let (samples, texts) = (Samples::new(batch)?, Texts::of_distributions(batch)?);
        let ids: Vec<u128> = (0..columns.rows).map(|row| columns.id(row)).collect();
        // Each row may be a sample, of a series that came before.
        let mut read: HashMap<u128, Known, FixedState> = HashMap::default();
        for (row, known) in self.cache.series(&ids).into_iter().enumerate() {
            let known = known.unwrap_or_else(|| {
                let read = read.entry(ids[row]).or_insert_with(|| {
                    let read = vec![(ids[row], self.read(&columns, row))];
                    self.cache.keep_series(read).pop().flatten()
                });
                read.clone()
            });
            if let Some(identity) = known.filter(|identity| self.wants(identity)) {
                self.row(&identity, samples.as_ref(), &texts, row);
            }
        }
        Ok(())
    }

    /// Reads what a row says of itself.
    pub fn read(&mut self, columns: &Columns<'_>, row: usize) -> Known {
        self.identities.read(columns, row).map(Arc::new)
    }

    /// Whether resources may be wanted, which have the times of all their series.
    pub fn is_info(&self) -> bool {
        self.info
    }

    /// What is kept of series.
    pub fn cache(&self) -> OfTenant<'a> {
        self.cache
    }

    /// Which rows of a granule are worth asking for; never wrongly false.
    pub fn may_want(&mut self, granule: &Granule) -> Vec<bool> {
        match self.info {
            // Their resources may be selected, whatever they are themselves.
            true => vec![true; granule.rows.len()],
            false => granule.may_select(&mut self.conditions),
        }
    }

    /// All that comes is not later than this, Unix nanoseconds.
    pub fn until(mut self, latest: i64) -> Self {
        self.until = self.until.min(to_millis(latest));
        self
    }

    /// Begins a unit whose rows are not later than this, Unix nanoseconds.
    pub fn begin(&mut self, latest: i64) {
        self.early = self.heartbeats.is_some() && to_millis(latest) < self.range.0;
    }

    /// Whether something of a series may be selected.
    pub fn wants(&mut self, identity: &Identity) -> bool {
        if self.early && !Heartbeats::is_one(&identity.labels) {
            return false;
        }
        let tells = |target: &Arc<Target>| self.slice.holds(target.place) && self.conditions.select(&target.labels);
        let info = self.info && identity.target.as_ref().is_some_and(tells);
        info || self.may_select(identity)
    }

    /// Whether a series, or a part of a distribution, may be selected.
    fn may_select(&mut self, identity: &Identity) -> bool {
        if !self.slice.holds(identity.place) {
            return false;
        }
        let suffixes = match identity.kind {
            MetricType::Gauge | MetricType::Sum => return self.verdict(identity) != Verdict::Not,
            MetricType::Histogram if !identity.verbatim => ["_bucket", "_count", "_sum"],
            MetricType::Summary => ["", "_count", "_sum"],
            MetricType::Histogram | MetricType::ExponentialHistogram => {
                return self.conditions.select(&identity.labels);
            }
        };
        let name = identity.labels.metric_name();
        suffixes.iter().any(|suffix| self.conditions.is_named(&format!("{name}{suffix}")))
            && self.conditions.may_select_parts(&identity.labels)
    }

    fn verdict(&mut self, identity: &Identity) -> Verdict {
        if let Some(verdict) = self.known.get(&identity.id) {
            return *verdict;
        }
        if !self.slice.holds(identity.place) || !self.conditions.select(&identity.labels) {
            return Verdict::Not;
        }
        if self.sink.is_none() {
            self.known.insert(identity.id, Verdict::Selected);
        }
        Verdict::Selected
    }

    /// The place of the series with these labels, if it is selected.
    fn select(&mut self, labels: &Labels) -> Option<usize> {
        self.conditions.select(labels).then(|| self.place(labels))
    }

    /// The place of the series with these labels; with a sink there is none, and whatever comes is nowhere.
    fn place(&mut self, labels: &Labels) -> usize {
        if let Some(sink) = self.sink {
            sink.see(labels);
            return usize::MAX;
        }
        if let Some(at) = self.by_labels.get(labels) {
            return *at;
        }
        self.series.push((labels.clone(), Found::default()));
        self.by_labels.insert(labels.clone(), self.series.len() - 1);
        self.series.len() - 1
    }

    /// Takes in a row of a series that is wanted. Where only labels are asked for there are no samples, but
    /// the texts of distributions.
    pub fn row(&mut self, identity: &Identity, samples: Option<&Samples<'_>>, texts: &Texts<'_>, row: usize) {
        if identity.is_number() {
            self.number(identity, samples, row);
        } else if self.may_select(identity) {
            match (identity.kind, samples) {
                (_, None) => self.without_samples(identity, texts.first(row)),
                (MetricType::ExponentialHistogram, Some(samples)) => self.exponential(identity, samples, row),
                (MetricType::Summary, Some(samples)) => self.summary(identity, samples, row),
                (_, Some(samples)) => self.explicit(identity, samples, row),
            }
        }
        if let Some(target) = identity.target.as_ref().filter(|_| self.info) {
            self.info(target, samples, row);
        }
    }

    fn number(&mut self, identity: &Identity, samples: Option<&Samples<'_>>, row: usize) {
        let place = self.place_of_number(identity);
        if let Some((place, samples)) = place.zip(samples) {
            self.add_row(place, |found, range| numbers(samples, row, range, found));
        }
    }

    /// Takes in a row of a block, of a series of numbers.
    pub fn numbers(&mut self, identity: &Identity, row: &NumberRow<'_>) {
        let Some(place) = self.place_of_number(identity) else { return };
        let until = self.until;
        self.add_row(place, |found, range| {
            found.make_room(row.len(), until);
            row.append(range, STALE, &mut found.times, &mut found.values);
        });
    }

    /// Adds the samples of a row to a series.
    fn add_row(&mut self, place: usize, add: impl FnOnce(&mut Found, (i64, i64))) {
        let range = self.range_of(place);
        let found = &mut self.series[place].1;
        let before = found.times.len();
        match self.windows.filter(|_| !found.delta && !found.heartbeats) {
            None => add(found, range),
            Some(windows) => {
                self.row.times.clear();
                self.row.values.clear();
                add(&mut self.row, range);
                found.extend_in(&windows, &self.row.times, &self.row.values);
            }
        }
        self.samples += (found.times.len() - before) as u64;
    }

    /// What time is wanted of a series: heartbeats before the range tell whether somebody fell silent.
    fn range_of(&self, place: usize) -> (i64, i64) {
        self.heartbeats.filter(|_| self.series[place].1.heartbeats).unwrap_or(self.range)
    }

    /// The place of a series of numbers, if it is selected and has one.
    fn place_of_number(&mut self, identity: &Identity) -> Option<usize> {
        match self.verdict(identity) {
            Verdict::Not => None,
            Verdict::At(place) => Some(place),
            Verdict::Selected => {
                let place = self.place(&identity.labels);
                if self.sink.is_some() {
                    return None;
                }
                self.known.insert(identity.id, Verdict::At(place));
                let found = &mut self.series[place].1;
                found.delta |= identity.delta && identity.kind == MetricType::Sum;
                found.heartbeats |= self.heartbeats.is_some() && Heartbeats::is_one(&identity.labels);
                Some(place)
            }
        }
    }

    fn explicit(&mut self, identity: &Identity, samples: &Samples<'_>, row: usize) {
        let mut parts = Parts { gather: self, identity, places: HashMap::new() };
        for at in 0..samples.len(row) {
            let Some(time) = parts.time(samples, row, at) else { continue };
            let Some(count) = samples.counts.get(row, at) else {
                parts.end(time);
                continue;
            };
            let (count, sum) = (count as u64 as f64, samples.sums.get(row, at));
            let explicit = samples.buckets(row, at).and_then(distribution::explicit).unwrap_or_default();
            if identity.verbatim {
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

    fn exponential(&mut self, identity: &Identity, samples: &Samples<'_>, row: usize) {
        let mut parts = Parts { gather: self, identity, places: HashMap::new() };
        for at in 0..samples.len(row) {
            let Some(time) = parts.time(samples, row, at) else { continue };
            let sum = samples.sums.get(row, at).unwrap_or(f64::NAN);
            let count = samples.counts.get(row, at).map(|count| count as u64 as f64);
            match count.zip(samples.buckets(row, at)) {
                Some((count, text)) => {
                    if let Some(histogram) = distribution::exponential(text, count, sum) {
                        parts.native(time, histogram);
                    }
                }
                None => parts.float("", None, time, STALE),
            }
        }
    }

    fn summary(&mut self, identity: &Identity, samples: &Samples<'_>, row: usize) {
        let mut parts = Parts { gather: self, identity, places: HashMap::new() };
        for at in 0..samples.len(row) {
            let Some(time) = parts.time(samples, row, at) else { continue };
            let Some(count) = samples.counts.get(row, at) else {
                parts.end(time);
                continue;
            };
            let summary = samples.buckets(row, at).and_then(distribution::summary).unwrap_or_default();
            for quantile in summary.quantiles {
                parts.float("", Some(("quantile", quantile.quantile)), time, quantile.value);
            }
            parts.float("_count", None, time, count as u64 as f64);
            parts.float("_sum", None, time, samples.sums.get(row, at).unwrap_or(f64::NAN));
        }
    }

    /// The parts of a distribution, where only labels are asked for.
    fn without_samples(&mut self, identity: &Identity, text: Option<&str>) {
        let mut parts = Parts { gather: self, identity, places: HashMap::new() };
        if !identity.has_bounds() {
            parts.place("", None);
            return;
        }
        if identity.kind == MetricType::Histogram {
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

    /// A row's resource sent while it has samples.
    fn info(&mut self, target: &Arc<Target>, samples: Option<&Samples<'_>>, row: usize) {
        let place = match &self.last_target {
            Some((last, place)) if Arc::ptr_eq(last, target) => *place,
            _ => {
                let is_ours = self.slice.holds(target.place);
                let place = if is_ours { self.select(&target.labels) } else { None };
                self.last_target = Some((target.clone(), place));
                place
            }
        };
        let (Some(place), Some(samples)) = (place, samples) else { return };
        let mut last = None;
        for sample in 0..samples.len(row) {
            let Some(time) = self.time(samples, row, sample) else { continue };
            // Of each slot the first sample, whichever of the resource's series it is of.
            let slot = time.div_euclid(INFO_EVERY);
            if last.replace(slot) == Some(slot) {
                continue;
            }
            let found = &mut self.series[place].1;
            match self.info_samples.entry((place, slot)) {
                Entry::Occupied(at) => {
                    let first = &mut found.times[*at.get()];
                    *first = time.min(*first);
                }
                Entry::Vacant(at) => {
                    at.insert(found.times.len());
                    found.push(time, 1.0);
                    self.samples += 1;
                }
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
    identity: &'r Identity,
    /// By suffix and bound.
    places: HashMap<(&'static str, u64), Option<usize>>,
}

impl Parts<'_, '_, '_> {
    /// The time of a sample that is wanted.
    fn time(&self, samples: &Samples<'_>, row: usize, sample: usize) -> Option<i64> {
        let windows = self.gather.windows.filter(|_| !self.identity.delta);
        let wanted = |time: &i64| windows.is_none_or(|windows| windows.holds(*time));
        self.gather.time(samples, row, sample).filter(wanted)
    }

    fn place(&mut self, suffix: &'static str, bound: Option<(&str, f64)>) -> Option<usize> {
        let key = (suffix, bound.map_or(u64::MAX, |(_, value)| value.to_bits()));
        if let Some(place) = self.places.get(&key) {
            return *place;
        }
        let name = format!("{}{suffix}", self.identity.labels.metric_name());
        let place = match self.gather.conditions.is_named(&name) {
            true => self.gather.select(&self.identity.part(suffix, bound)),
            false => None,
        };
        self.places.insert(key, place);
        place
    }

    fn float(&mut self, suffix: &'static str, bound: Option<(&str, f64)>, time: i64, value: f64) {
        if let Some(place) = self.place(suffix, bound) {
            let found = &mut self.gather.series[place].1;
            found.delta |= self.identity.delta;
            found.push(time, value);
            self.gather.samples += 1;
        }
    }

    fn native(&mut self, time: i64, histogram: Histogram) {
        if let Some(place) = self.place("", None) {
            let found = &mut self.gather.series[place].1;
            found.delta |= self.identity.delta;
            self.gather.samples += histogram.weight();
            found.histograms.push((time, Arc::new(histogram)));
        }
    }

    /// All parts seen so far end here.
    fn end(&mut self, time: i64) {
        for place in self.places.values().copied().flatten() {
            self.gather.series[place].1.push(time, STALE);
            self.gather.samples += 1;
        }
    }
}

/// Adds the numbers of a row in range.
fn numbers(samples: &Samples<'_>, row: usize, range: (i64, i64), found: &mut Found) {
    let in_range = |time: &i64| (range.0..=range.1).contains(time);
    let values = |at: usize| samples.values.get(row, at);
    let ints = |at: usize| samples.ints.get(row, at).map(|int| int as f64);
    if let (Some(times), Some(values)) = (samples.times.all(row), samples.values.all(row)) {
        found.extend(times, values, |value| value, range);
    } else if let (Some(times), Some(ints)) = (samples.times.all(row), samples.ints.all(row)) {
        found.extend(times, ints, |int| int as f64, range);
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
}
