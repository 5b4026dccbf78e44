//! Reading series: what to read, by matchers and time, and reading it in several tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bonghwa_block::{Column, Predicate, RowRange, tokens_of_part};
use bonghwa_cluster::seam;
use bonghwa_model::{Value, json};
use bonghwa_promql::{Labels, METRIC_NAME, MatchOp, Matcher, ValuePart, Windows};
use futures::TryStreamExt;
use futures::future::try_join_all;

use super::block::Block;
use super::cache::SeriesCache;
use super::columns;
use super::found::{DAY_MS, Found};
use super::gather::Gather;
use super::heartbeat::Heartbeats;
use super::labels::{MetricsOptions, TARGET_INFO, UNKNOWN_SERVICE};
use super::sink::TenantSink;
use super::slice::Slice;
use super::tail::TailSeries;
use crate::alive::Alive;
use crate::plan::{self, Source, TablePlan, Unit};
use crate::pool::Lease;
use crate::view::View;
use crate::{QueryError, SeriesLimits, scan};

/// Bytes of a sample in memory.
const SAMPLE_BYTES: u64 = 16;
/// Bytes of a series in memory without its samples, roughly.
const SERIES_BYTES: u64 = 512;

/// Labels that are not made of attributes alone.
const FROM_ELSEWHERE: [&str; 5] = [METRIC_NAME, "le", "quantile", "otel_scope_name", "otel_scope_version"];
/// Values of a choice by which filters are asked, at most.
const MOST_VALUES: usize = 16;

/// Rows between two looks at what was gathered.
pub(super) const ROWS: usize = 1024;

/// Which series, of what time.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) matchers: Arc<[Matcher]>,
    /// Unix milliseconds, both inclusive.
    pub(crate) range: (i64, i64),
    /// Which times in it matter, where not all do; others may come all the same.
    pub(crate) windows: Option<Windows>,
    /// What of their samples.
    pub(crate) samples: Taken,
    /// Others are left out.
    pub(crate) slice: Slice,
}

/// What is wanted of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing: only labels are.
    Nothing,
    /// How values change: those of delta temporality are added up from the first that is read.
    Changes,
    /// What values are: those of delta temporality are added up from the beginning of each day (UTC), so that they are
    /// the same whatever range is asked for. The day's samples before it are read as well.
    Values,
}

impl Wanted {
    /// Of all series.
    pub(crate) fn new(matchers: Arc<[Matcher]>, range: (i64, i64), samples: Taken) -> Self {
        Wanted { matchers, range, windows: None, samples, slice: Slice::WHOLE }
    }

    pub(super) fn wants_samples(&self) -> bool {
        self.samples != Taken::Nothing
    }

    /// From the beginning of its first day on.
    fn of_whole_days(&self) -> Self {
        let from = self.range.0.div_euclid(DAY_MS).saturating_mul(DAY_MS);
        Wanted { range: (from, self.range.1), ..self.clone() }
    }
}

/// How much a read may hold.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: usize,
    pub(crate) limits: SeriesLimits,
    pub(crate) tasks: usize,
}

impl Wanted {
    pub(super) fn predicate(&self) -> Predicate {
        self.predicate_of(self.range)
    }

    /// The same of another time.
    fn predicate_of(&self, range: (i64, i64)) -> Predicate {
        let nanos = |millis: i64| millis.saturating_mul(1_000_000);
        Predicate {
            min_time: nanos(range.0),
            max_time: nanos(range.1).saturating_add(999_999),
            metric_names: self.metric_names(),
            services: self.services(),
            ..Default::default()
        }
    }

    fn equal(&self, label: &str) -> Option<&str> {
        let equal = self.matchers.iter().find(|m| m.name == label && m.op == MatchOp::Equal && !m.value.is_empty());
        equal.map(|m| m.value.as_str())
    }

    /// The one name that matchers ask for. `target_info` is made of all metrics.
    pub(super) fn metric_names(&self) -> Option<Vec<String>> {
        self.equal(METRIC_NAME).filter(|name| *name != TARGET_INFO).map(|name| vec![name.to_owned()])
    }

    /// What the attributes of a wanted series and its resource have, by matcher: all tokens of one of these lists.
    pub(super) fn tokens(&self) -> Vec<Vec<Vec<String>>> {
        let told = self.matchers.iter().filter(|matcher| !FROM_ELSEWHERE.contains(&matcher.name.as_str()));
        let tokens = told.filter_map(|matcher| {
            let mut any: Vec<Vec<String>> = Vec::new();
            for parts in matcher.parts()? {
                let tokens = parts.iter().flat_map(|part| tokens_of_part(part.text, part.starts, part.ends));
                let tokens: Vec<String> = tokens.map(str::to_owned).collect();
                let of_number = tokens_of_number(&parts)?;
                any.extend(of_number.filter(|other| !tokens.iter().all(|token| other.contains(token))));
                any.push(tokens);
            }
            (any.len() <= MOST_VALUES && any.iter().all(|all| !all.is_empty())).then_some(any)
        });
        tokens.collect()
    }

    /// Services whose series can have the job that matchers ask for: `namespace/name` is that of `name`,
    /// and points without a service may have a label of that name.
    fn services(&self) -> Option<Vec<String>> {
        let job = self.equal("job")?;
        let suffixes = job.match_indices('/').map(|(at, _)| job[at + 1..].to_owned());
        Some(suffixes.chain([job.to_owned(), UNKNOWN_SERVICE.to_owned()]).collect())
    }
}

/// Blocks have numbers as JSON, which is not how labels show some of the largest and smallest (`labels::label_value`): the
/// tokens of the number that a value may be. None where the value may be any of many.
fn tokens_of_number(parts: &[ValuePart<'_>]) -> Option<Option<Vec<String>>> {
    if let [ValuePart { text, starts: true, ends: true }] = parts {
        let Ok(number) = text.parse() else { return Some(None) };
        let mut json = Vec::new();
        json::write_value(&mut json, &Value::Double(number));
        let json = String::from_utf8_lossy(&json);
        return Some(Some(tokens_of_part(&json, true, true).map(str::to_owned).collect()));
    }
    let differs = |part: &ValuePart<'_>| {
        part.text.contains("e+") || part.starts && part.text.trim_start_matches('-').starts_with("0.")
    };
    (!parts.iter().any(differs)).then_some(None)
}

/// What ends a read.
#[derive(Clone, Copy)]
pub(super) struct Within<'a> {
    bounds: Bounds,
    alive: &'a Alive,
    held: &'a Held,
    sink: Option<&'a TenantSink>,
}

/// What all reads of one query hold at a time, whatever selector, tenant or task they are of.
#[derive(Debug)]
pub(crate) struct Held {
    series: AtomicU64,
    samples: AtomicU64,
    /// Bytes that the query was told to hold for them.
    bytes: AtomicU64,
    memory: Arc<Lease>,
}

impl Held {
    pub(crate) fn new(alive: &Alive) -> Arc<Self> {
        let [series, samples, bytes] = [(); 3].map(|()| AtomicU64::new(0));
        Arc::new(Held { series, samples, bytes, memory: alive.memory.clone() })
    }

    /// Adds series and samples; gives how many there are.
    fn add(&self, (series, samples): (u64, u64)) -> (u64, u64) {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Relaxed).saturating_add(more);
        (add(&self.series, series), add(&self.samples, samples))
    }

    /// Series and samples that were dropped, or became something else.
    pub(crate) fn let_go(&self, (series, samples): (u64, u64)) {
        let bytes = samples * SAMPLE_BYTES + series * SERIES_BYTES;
        for (counter, fewer) in [(&self.series, series), (&self.samples, samples), (&self.bytes, bytes)] {
            let _always = counter.fetch_update(Relaxed, Relaxed, |held| Some(held.saturating_sub(fewer)));
        }
        self.memory.let_go(bytes);
    }

    /// They take so many bytes in all.
    fn reach(&self, bytes: u64) -> Result<(), QueryError> {
        let before = self.bytes.fetch_max(bytes, Relaxed);
        if bytes > before { self.memory.hold(bytes - before) } else { Ok(()) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.let_go(*self.bytes.get_mut());
    }
}

/// What reads of an engine have in common.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) options: Arc<MetricsOptions>,
    pub(crate) cache: Arc<SeriesCache>,
    pub(crate) bounds: Bounds,
    pub(crate) alive: Arc<Alive>,
    pub(crate) held: Arc<Held>,
    /// Takes the place of series, where only their labels are wanted.
    pub(crate) sink: Option<TenantSink>,
}

impl Reading {
    fn gather<'a>(&'a self, source: &Source, wanted: &'a Wanted) -> Gather<'a> {
        let sink = self.sink.as_ref();
        Gather::new(wanted, &source.tenant, &self.cache, &self.options, sink)
    }

    fn within(&self) -> Within<'_> {
        Within { bounds: self.bounds, alive: &self.alive, held: &self.held, sink: self.sink.as_ref() }
    }

    /// The series of some parts, one after another.
    async fn parts(
        &self,
        source: &Source,
        plan: &Arc<TablePlan>,
        parts: &[Part],
        wanted: &Wanted,
    ) -> Result<Vec<(Labels, Found)>, QueryError> {
        let latest = parts.iter().map(|part| part.unit.time().1).max().unwrap_or(i64::MAX);
        let mut gather = self.gather(source, wanted).until(latest);
        for Part { unit, granules } in parts {
            if self.within().has_enough() {
                break;
            }
            gather.begin(unit.time().1);
            if let (Unit::Block(block), Some(granules)) = (&**unit, granules)
                && let Some(reader) = block.reader()
            {
                let block = Block { reader, tenant: &source.tenant, wanted, within: self.within() };
                block.read(granules, &mut gather).await?;
                continue;
            }
            if let Unit::Tail(tail) = &**unit {
                let series = TailSeries { tail, plan, wanted, within: self.within() };
                series.read(&mut gather).await?;
                continue;
            }
            let batches = scan::open(plan, unit).await.map_err(|error| QueryError::of_stream(&error))?;
            let mut batches = batches.map_err(|error| QueryError::of_stream(&error));
            while let Some(batch) = batches.try_next().await? {
                // A tail's batches are as large as the requests that brought them.
                for first in (0..batch.num_rows()).step_by(ROWS) {
                    gather.add(&batch.slice(first, ROWS.min(batch.num_rows() - first)))?;
                    self.within().check(&mut gather)?;
                    tokio::task::yield_now().await;
                }
            }
        }
        self.within().check(&mut gather)?;
        Ok(gather.finish())
    }
}

/// The series of one tenant; heartbeats of instances that push are completed.
pub(crate) async fn read(
    source: &Arc<Source>,
    view: &View,
    wanted: &Wanted,
    reading: &Reading,
) -> Result<Vec<(Labels, Found)>, QueryError> {
    let heartbeats =
        Heartbeats::of(&wanted.matchers, wanted.range, &reading.options.push_up).filter(|_| wanted.wants_samples());
    let mut found = gathered(source, view, wanted, heartbeats, reading).await?;
    if wanted.samples == Taken::Values && found.iter().any(|(_, found)| found.delta) {
        let days = wanted.of_whole_days();
        if days.range != wanted.range {
            reading.held.let_go((found.len() as u64, found.iter().map(|(_, found)| found.weight()).sum()));
            drop(found);
            found = gathered(source, view, &days, heartbeats, reading).await?;
        }
        found.iter_mut().for_each(|(_, found)| found.daily = found.delta);
    }
    if let Some(heartbeats) = heartbeats {
        let as_of = view.missing.is_empty().then_some(view.as_of / 1_000_000);
        for (_, found) in found.iter_mut().filter(|(_, found)| found.heartbeats) {
            let before = found.weight();
            heartbeats.complete(found, as_of);
            reading.held.let_go((0, before));
            reading.within().check_held(reading.held.add((0, found.weight())))?;
        }
    }
    Ok(found)
}

/// What was sent of the series of one tenant.
async fn gathered(
    source: &Arc<Source>,
    view: &View,
    wanted: &Wanted,
    heartbeats: Option<Heartbeats>,
    reading: &Reading,
) -> Result<Vec<(Labels, Found)>, QueryError> {
    let columns = columns::of_series(wanted.wants_samples());
    let (first, last) = heartbeats.map_or(wanted.range, |heartbeats| heartbeats.range());
    let time = (first.min(wanted.range.0), last.max(wanted.range.1));
    let plan = Arc::new(plan(source, view, columns, wanted.predicate_of(time)).await?);
    let mut shares = by_time(&plan, reading.bounds.tasks);
    if shares.len() == 1 {
        let parts = shares.pop().unwrap_or_default();
        return reading.parts(source, &plan, &parts, wanted).await;
    }
    let shared = shares.into_iter().map(|parts| {
        let (source, plan, wanted, reading) = (source.clone(), plan.clone(), wanted.clone(), reading.clone());
        // Of its own, so that decoding uses more than one core; it ends with the query.
        let task = seam::spawn(async move { reading.parts(&source, &plan, &parts, &wanted).await });
        async move { task.join().await.unwrap_or_else(|| Err(QueryError::Internal("a read was stopped".into()))) }
    });
    let mut shares = try_join_all(shared).await?.into_iter();
    let first = shares.next().unwrap_or_default();
    if shares.len() == 0 {
        return Ok(first);
    }
    let mut all = reading.gather(source, wanted);
    for found in std::iter::once(first).chain(shares) {
        let held = (found.len() as u64, found.iter().map(|(_, found)| found.weight()).sum());
        all.merge(found);
        reading.held.let_go(held);
        reading.within().check(&mut all)?;
    }
    Ok(all.finish())
}

/// Decides what to read; where rows may be deleted, they are read one by one.
pub(super) async fn plan(
    source: &Source,
    view: &View,
    columns: Vec<Column>,
    predicate: Predicate,
) -> Result<TablePlan, QueryError> {
    plan::plan_with(source, view, columns, columns::of_samples(), predicate, true).await
}

/// A unit to read: of a block that can be read by rows only some granules.
struct Part {
    unit: Arc<Unit>,
    granules: Option<Vec<RowRange>>,
}

impl Part {
    /// A unit in parts of about so many rows at least.
    fn of(unit: Arc<Unit>, rows: u64) -> Vec<Part> {
        let granules = match &*unit {
            Unit::Block(block) if !unit.may_hold_deleted() => block.granules(),
            _ => None,
        };
        let Some(granules) = granules else { return vec![Part { unit, granules: None }] };
        let mut parts: Vec<Part> = Vec::new();
        for granule in granules {
            match parts.last_mut().filter(|last| last.rows() < rows).and_then(|last| last.granules.as_mut()) {
                Some(last) => last.push(granule),
                None => parts.push(Part { unit: unit.clone(), granules: Some(vec![granule]) }),
            }
        }
        parts
    }

    fn rows(&self) -> u64 {
        let of_granules = |granules: &Vec<RowRange>| granules.iter().map(|granule| granule.rows.len() as u64).sum();
        self.granules.as_ref().map_or_else(|| self.unit.rows(), of_granules)
    }
}

/// The units in the order of time, shared out over so many tasks, so that samples of a series come
/// nearly sorted, and those of one task before those of the next; those whose times overlap in the order of writing.
fn by_time(plan: &TablePlan, tasks: usize) -> Vec<Vec<Part>> {
    let mut units = plan.units.clone();
    units.sort_by_key(|unit| unit.time());
    later_last(&mut units);
    let total: u64 = units.iter().map(|unit| unit.rows()).sum();
    let each = (total / tasks.max(1) as u64).max(1);
    let mut shares: Vec<Vec<Part>> = vec![Vec::new()];
    let mut rows = 0;
    for part in units.into_iter().flat_map(|unit| Part::of(unit, each)) {
        if rows >= each && shares.len() < tasks {
            shares.push(Vec::new());
            rows = 0;
        }
        rows += part.rows();
        if let Some(share) = shares.last_mut() {
            share.push(part);
        }
    }
    shares
}

/// Of units in the order of time brings those whose times overlap into the order in which they were written: of two
/// samples of one time the one that is read last counts.
fn later_last(units: &mut [Arc<Unit>]) {
    let (mut first, mut end) = (0, i64::MIN);
    for at in 0..units.len() {
        let (min, max) = units[at].time();
        if min > end {
            units[first..at].sort_by_key(|unit| unit.written());
            first = at;
        }
        end = end.max(max);
    }
    units[first..].sort_by_key(|unit| unit.written());
}

impl Within<'_> {
    /// Whether no more is to be read, though there may be more.
    pub(super) fn has_enough(&self) -> bool {
        self.sink.is_some_and(|to| to.sink.is_full())
    }

    /// Fails where too much was gathered by all reads of the query, or nobody waits for it.
    pub(super) fn check(&self, gather: &mut Gather<'_>) -> Result<(), QueryError> {
        let held = self.held.add(gather.grown());
        let (reached, limit) = (gather.count(), self.bounds.limits.series);
        // Of one selector: several tasks hold the same series, each for a time of its own.
        if reached > limit {
            return Err(QueryError::Limit { what: "series", reached, limit, key: "query.max_series" });
        }
        self.check_held(held)
    }

    /// The same of series and samples that are held.
    fn check_held(&self, (held_series, samples): (u64, u64)) -> Result<(), QueryError> {
        let most_samples = self.bounds.limits.samples;
        let limit = |what, reached, limit, key| Err(QueryError::Limit { what, reached, limit, key });
        if samples > most_samples {
            return limit("samples", samples, most_samples, "query.max_samples");
        }
        let texts = self.sink.map_or(0, |to| to.sink.bytes());
        let (bytes, memory) =
            (samples * SAMPLE_BYTES + held_series * SERIES_BYTES + texts, self.bounds.memory_bytes as u64);
        if bytes > memory {
            return limit("bytes of series and samples", bytes, memory, "query.memory_bytes");
        }
        self.held.reach(bytes)?;
        self.alive.check()
    }
}
