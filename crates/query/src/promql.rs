//! PromQL, and what Prometheus' API tells of series: the language evaluates what `series` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{
    Answer, Evaluation, Fold, Labels, Limits, METRIC_NAME, Matcher, Params, Query, Selection, Series,
};
use futures::future::{BoxFuture, try_join_all};

use crate::alive::Alive;
use crate::engine::{Missing, Views};
use crate::past::{Caching, Past, Piece, Segment};
use crate::plan::Source;
use crate::series::{
    self, Asked, Bounds, Counts, Found, Held, INFO_EVERY, Metadata, Reading, Sink, TARGET_INFO, TenantSink, Wanted,
};
use crate::turns::Turn;
use crate::{Engine, QueryError, SeriesLimits};

/// Samples and values that are folded where the query runs: handing them to another thread would cost more.
const FEW: usize = 16 * 1024;

/// The label that tells tenants apart where several are read.
const TENANT_LABEL: &str = "__tenant_id__";
/// Bytes of a value at a step.
const POINT_BYTES: usize = 16;

/// The answer to a question about metrics, and whether that is all of it. The question has its turn until this is
/// dropped: what a caller makes of a large answer is work, too.
#[derive(Debug)]
pub struct MetricsAnswer<T> {
    /// The answer.
    pub answer: T,
    /// As of [`crate::SqlAnswer::missing`].
    pub missing: Vec<String>,
    _turn: Turn,
}

impl<T> MetricsAnswer<T> {
    /// The answer and what is missing; the turn is given back.
    pub fn into_parts(self) -> (T, Vec<String>) {
        (self.answer, self.missing)
    }
}

/// What metrics say of themselves, by their names in Prometheus.
pub type MetadataByName = BTreeMap<String, BTreeSet<Metadata>>;

/// A series without its samples is wanted where one of these sets of matchers selects it, in a range of
/// Unix milliseconds, both inclusive.
#[derive(Clone, Debug)]
pub struct SeriesQuery {
    /// Sets of matchers; one without any selects all.
    pub matchers: Vec<Vec<Matcher>>,
    /// Unix milliseconds, both inclusive.
    pub range: (i64, i64),
}

/// How many series there are, and of them each value of each label has how many.
#[derive(Debug)]
pub struct Cardinality {
    /// Series.
    pub series: u64,
    /// By label, then by value.
    pub values: Counts,
}

impl Engine {
    /// Evaluates a query within `timeout`, or the time that one may take if that is shorter.
    pub fn promql(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: Arc<Query>,
        params: Params,
        timeout: Duration,
        caching: Caching,
    ) -> BoxFuture<'_, Result<MetricsAnswer<Answer>, QueryError>> {
        let tenants = tenants.into();
        self.ask(tenants, timeout, move |engine, tenants, missing, alive| {
            let (query, params) = (query.clone(), params.clone());
            Box::pin(async move { engine.evaluate(&tenants, &query, params, caching, &missing, &alive).await })
        })
    }

    /// The labels of series, sorted.
    pub fn series(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: SeriesQuery,
    ) -> BoxFuture<'_, Result<MetricsAnswer<Vec<Labels>>, QueryError>> {
        self.ask(tenants.into(), Duration::MAX, move |engine, tenants, missing, alive| {
            let query = query.clone();
            Box::pin(async move {
                let views = engine.metrics(&tenants, &missing, &alive).await?;
                let held = Arc::new(Held::default());
                let mut all = BTreeSet::new();
                for matchers in &query.matchers {
                    let wanted = Wanted { matchers: matchers.clone().into(), range: query.range, samples: false };
                    let found = engine.read_series(&views, &wanted, &held, &alive).await?;
                    let both = all.len() + found.len();
                    all.extend(found.into_iter().map(|(labels, _)| labels));
                    held.let_go(((both - all.len()) as u64, 0));
                }
                Ok(all.into_iter().collect())
            })
        })
    }

    /// The names of series' labels, sorted. Of more than `most` some are left out.
    pub fn label_names(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: SeriesQuery,
        most: usize,
    ) -> BoxFuture<'_, Result<MetricsAnswer<BTreeSet<String>>, QueryError>> {
        self.collect(tenants.into(), query, Asked::Names(most), |sink| sink.take().texts)
    }

    /// The values of a label of series, sorted. Of more than `most` some are left out.
    pub fn label_values(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: SeriesQuery,
        label: String,
        most: usize,
    ) -> BoxFuture<'_, Result<MetricsAnswer<BTreeSet<String>>, QueryError>> {
        self.collect(tenants.into(), query, Asked::Values(label, most), |sink| sink.take().texts)
    }

    /// How many series have each value of each label.
    pub fn cardinality(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        query: SeriesQuery,
    ) -> BoxFuture<'_, Result<MetricsAnswer<Cardinality>, QueryError>> {
        self.collect(tenants.into(), query, Asked::Counts, |sink| {
            let collected = sink.take();
            Cardinality { series: collected.series(), values: collected.counts }
        })
    }

    /// Has all series go through a sink.
    fn collect<T: Send + 'static>(
        self: &Arc<Self>,
        tenants: TenantSet,
        query: SeriesQuery,
        asked: Asked,
        take: fn(&Sink) -> T,
    ) -> BoxFuture<'_, Result<MetricsAnswer<T>, QueryError>> {
        self.ask(tenants, Duration::MAX, move |engine, tenants, missing, alive| {
            let (query, sink) = (query.clone(), Sink::new(asked.clone()));
            Box::pin(async move {
                let views = engine.metrics(&tenants, &missing, &alive).await?;
                let held = Arc::new(Held::default());
                for matchers in &query.matchers {
                    let wanted = Wanted { matchers: matchers.clone().into(), range: query.range, samples: false };
                    engine.read_into(&views, &wanted, &held, Some(&sink), &alive).await?;
                }
                Ok(take(&sink))
            })
        })
    }

    /// What metrics said of themselves in the last hours, by their names in Prometheus; or what one did.
    pub fn metadata(
        self: &Arc<Self>,
        tenants: impl Into<TenantSet>,
        metric: Option<String>,
    ) -> BoxFuture<'_, Result<MetricsAnswer<MetadataByName>, QueryError>> {
        self.ask(tenants.into(), Duration::MAX, move |engine, tenants, missing, alive| {
            let metric = metric.clone();
            Box::pin(async move {
                let views = engine.metrics(&tenants, &missing, &alive).await?;
                let (metric, options) = (metric.as_deref(), &engine.metrics_options);
                let mut all = MetadataByName::new();
                for (source, views) in &views {
                    let Some(view) = views.get(&Signal::Metrics) else { continue };
                    let found = series::metadata(source, view, metric, options, &alive).await?;
                    for (name, metadata) in found.into_iter().filter(|(name, _)| metric.is_none_or(|m| m == name)) {
                        all.entry(name).or_default().insert(metadata);
                    }
                }
                Ok(all)
            })
        })
    }

    pub(crate) fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        tenants: TenantSet,
        timeout: Duration,
        ask: impl Fn(Arc<Engine>, TenantSet, Missing, Arc<Alive>) -> BoxFuture<'static, Result<T, QueryError>>
        + Send
        + Sync
        + 'static,
    ) -> BoxFuture<'_, Result<MetricsAnswer<T>, QueryError>> {
        let engine = self.clone();
        Box::pin(async move {
            let missing = Missing::default();
            let (of, left_out) = (tenants.clone(), missing.clone());
            let asking = engine.clone();
            let ask = move |alive| ask(asking.clone(), of.clone(), left_out.clone(), alive);
            let (answer, _turn) = engine.limits.answer(tenants.first(), timeout, ask).await?;
            Ok(MetricsAnswer { answer, missing: missing.take(), _turn })
        })
    }

    pub(crate) async fn metrics(
        &self,
        tenants: &TenantSet,
        missing: &Missing,
        alive: &Alive,
    ) -> Result<Views, QueryError> {
        let views = self.views(tenants, &BTreeSet::from([Signal::Metrics]), alive).await?;
        missing.note(&views);
        Ok(views)
    }

    async fn evaluate(
        &self,
        tenants: &TenantSet,
        query: &Query,
        mut params: Params,
        caching: Caching,
        missing: &Missing,
        alive: &Arc<Alive>,
    ) -> Result<Answer, QueryError> {
        // Raised when this future ends, whoever drops it: threads that evaluate end with it.
        let canceled = Canceled::default();
        params.cancel = Some(canceled.0.clone());
        params.limits = self.evaluation_limits();
        let evaluation = Evaluation::new(query, params.clone())?;
        let views = self.metrics(tenants, missing, alive).await?;
        let past = (caching == Caching::Allowed)
            .then(|| Past::new(&self.past, tenants, query, &params, &evaluation, &views))
            .flatten();
        match past {
            Some(past) => self.evaluate_rest(past, query, params, evaluation, &views, alive).await,
            None => Ok(self.evaluate_all(evaluation, &views, alive).await?.answer),
        }
    }

    /// Evaluates those steps that are not kept.
    async fn evaluate_rest(
        &self,
        past: Past,
        query: &Query,
        params: Params,
        whole: Evaluation,
        views: &Views,
        alive: &Arc<Alive>,
    ) -> Result<Answer, QueryError> {
        let segments = past.segments();
        if let [Segment::Rest(from, to)] = segments[..] {
            let Evaluated { answer, divisible } = self.evaluate_all(whole, views, alive).await?;
            return if divisible {
                put_together(past, vec![Piece::New(answer, from, to)], params.limits).await
            } else {
                Ok(answer)
            };
        }
        let mut limits = params.limits;
        let mut pieces = Vec::with_capacity(segments.len());
        for segment in segments {
            let (from, to) = match segment {
                Segment::Kept(entry, from, to) => {
                    pieces.push(Piece::Kept(entry, from, to));
                    continue;
                }
                Segment::Rest(from, to) => (from, to),
            };
            let part = Params { start_ms: from, end_ms: to, limits, ..params.clone() };
            let evaluated = self.evaluate_all(Evaluation::new(query, part)?, views, alive).await?;
            if !evaluated.divisible {
                return Ok(self.evaluate_all(whole, views, alive).await?.answer);
            }
            limits.samples = limits.samples.saturating_sub(evaluated.answer.stats.samples);
            pieces.push(Piece::New(evaluated.answer, from, to));
        }
        put_together(past, pieces, params.limits).await
    }

    /// Reads what an evaluation wants, and evaluates.
    async fn evaluate_all(
        &self,
        evaluation: Evaluation,
        views: &Views,
        alive: &Arc<Alive>,
    ) -> Result<Evaluated, QueryError> {
        let held = Arc::new(Held::default());
        let divisible = AtomicBool::new(true);
        let reading = evaluation.selections().iter().enumerate().map(|(number, selection)| {
            let range = (first_ms(selection), selection.max_ms);
            let wanted = Wanted { matchers: selection.matchers.clone().into(), range, samples: true };
            let (evaluation, held, divisible) = (&evaluation, &held, &divisible);
            async move {
                let found = self.read_series(views, &wanted, held, alive).await?;
                if found.iter().any(|(_, found)| found.delta || found.heartbeats) {
                    divisible.store(false, Ordering::Relaxed);
                }
                let samples: usize = found.iter().map(|(_, found)| found.len()).sum();
                if samples.max(found.len().saturating_mul(steps(selection))) <= FEW {
                    let fold = evaluation.fold(number).map(|fold| folded(fold, found, held, alive));
                    return Ok((fold.transpose()?, true));
                }
                Ok::<_, QueryError>((fold(evaluation, number, found, self.tasks(), held, alive).await?, false))
            }
        });
        let (folds, few): (Vec<_>, Vec<bool>) = try_join_all(reading).await?.into_iter().unzip();
        let folds: Vec<Fold> = folds.into_iter().flatten().collect();
        // What is made of no series may be any amount of work.
        let little = !folds.is_empty() && evaluation.work().is_some_and(|work| work <= FEW as u64);
        let divisible = divisible.into_inner();
        if little && few.iter().all(|few| *few) {
            return Ok(Evaluated { answer: evaluation.finish(folds)?, divisible });
        }
        let finished = seam::blocking(move || evaluation.finish(folds)).await;
        Ok(Evaluated { answer: finished.ok_or_else(stopped)??, divisible })
    }

    /// What an evaluation may keep: no more points than fit into a query's memory.
    fn evaluation_limits(&self) -> Limits {
        let SeriesLimits { series, samples } = self.series_limits;
        Limits { series, samples, points: (self.limits.memory_bytes / POINT_BYTES) as u64 }
    }

    /// What a question about series may hold.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { memory_bytes: self.limits.memory_bytes, limits: self.series_limits, tasks: self.tasks() }
    }

    /// The series of all tenants; their tenant is a label where there are several.
    pub(crate) async fn read_series(
        &self,
        views: &Views,
        wanted: &Wanted,
        held: &Arc<Held>,
        alive: &Arc<Alive>,
    ) -> Result<Vec<(Labels, Found)>, QueryError> {
        self.read_into(views, wanted, held, None, alive).await
    }

    /// The same; where there is a sink, it takes the series, and none are given.
    async fn read_into(
        &self,
        views: &Views,
        wanted: &Wanted,
        held: &Arc<Held>,
        sink: Option<&Arc<Sink>>,
        alive: &Arc<Alive>,
    ) -> Result<Vec<(Labels, Found)>, QueryError> {
        let mut all = Vec::new();
        for (source, of_signals) in views {
            let Some(view) = of_signals.get(&Signal::Metrics) else { continue };
            let Some(matchers) = of_tenant(&wanted.matchers, source, views.len()) else { continue };
            let tenant = (views.len() > 1).then(|| source.tenant.clone());
            let reading = Reading {
                options: self.metrics_options.clone(),
                cache: self.series_cache.clone(),
                bounds: self.bounds(),
                alive: alive.clone(),
                held: held.clone(),
                sink: sink.map(|sink| TenantSink { sink: sink.clone(), tenant }),
            };
            let found = series::read(source, view, &Wanted { matchers, ..wanted.clone() }, &reading).await?;
            if views.len() == 1 {
                return Ok(found);
            }
            all.extend(found.into_iter().map(|(labels, found)| (with_tenant(&labels, &source.tenant), found)));
        }
        Ok(all)
    }

    fn tasks(&self) -> usize {
        self.base().config().target_partitions()
    }
}

/// The labels of a series where several tenants are read.
pub(crate) fn with_tenant(labels: &Labels, tenant: &TenantId) -> Labels {
    labels.builder().set(TENANT_LABEL, tenant.as_str()).build()
}

/// What one of `count` tenants is asked for: a label tells several apart, which no series of theirs has. None where
/// that label leaves the tenant out.
pub(crate) fn of_tenant(matchers: &[Matcher], source: &Source, count: usize) -> Option<Arc<[Matcher]>> {
    if count == 1 {
        return Some(matchers.into());
    }
    let (tenant, others): (Vec<_>, Vec<_>) = matchers.iter().cloned().partition(|m| m.name == TENANT_LABEL);
    tenant.iter().all(|matcher| matcher.matches(source.tenant.as_str())).then(|| others.into())
}

/// An answer, and whether its values are what they are whatever other steps are evaluated with them: changes are
/// added up from the first sample that is read, and what was read tells how often a heartbeat comes.
struct Evaluated {
    answer: Answer,
    divisible: bool,
}

/// Keeps what is new, and makes one answer of all: elsewhere, where that is work.
async fn put_together(past: Past, pieces: Vec<Piece>, limits: Limits) -> Result<Answer, QueryError> {
    let most = limits.points;
    if pieces.iter().map(Piece::values).sum::<usize>() <= FEW {
        return Ok(past.finish(pieces, most)?);
    }
    let finished = seam::blocking(move || past.finish(pieces, most)).await;
    Ok(finished.ok_or_else(stopped)??)
}

/// The first millisecond to read. Of each slot of `target_info` the first sample counts: slots are read whole.
fn first_ms(selection: &Selection) -> i64 {
    let mut names = selection.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    let info = names.all(|matcher| matcher.matches(TARGET_INFO));
    if info { selection.min_ms.div_euclid(INFO_EVERY).saturating_mul(INFO_EVERY) } else { selection.min_ms }
}

/// A flag that is raised when it is dropped.
#[derive(Default)]
struct Canceled(Arc<AtomicBool>);

impl Drop for Canceled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// At how many steps a selection is evaluated, about.
fn steps(selection: &Selection) -> usize {
    let span = selection.max_ms.saturating_sub(selection.min_ms).saturating_sub(selection.range_ms);
    usize::try_from(span.max(0) / selection.step_ms.max(1)).unwrap_or(usize::MAX).saturating_add(1)
}

/// Folds the series that one selector selected, on several threads.
async fn fold(
    evaluation: &Evaluation,
    number: usize,
    mut found: Vec<(Labels, Found)>,
    tasks: usize,
    held: &Arc<Held>,
    alive: &Arc<Alive>,
) -> Result<Option<Fold>, QueryError> {
    let share = found.len().div_ceil(tasks.max(1)).max(1);
    let mut folding = Vec::new();
    while !found.is_empty() {
        let share = found.split_off(found.len().saturating_sub(share));
        let Some(fold) = evaluation.fold(number) else { return Ok(None) };
        let (held, alive) = (held.clone(), alive.clone());
        folding.push(async move {
            let folded = seam::blocking(move || folded(fold, share, &held, &alive));
            folded.await.unwrap_or_else(|| Err(stopped()))
        });
    }
    let mut folds = try_join_all(folding).await?.into_iter();
    let mut all = folds.next();
    if let Some(all) = &mut all {
        for fold in folds {
            all.merge(fold)?;
        }
    }
    Ok(all)
}

/// Folds series in.
fn folded(mut fold: Fold, series: Vec<(Labels, Found)>, held: &Held, alive: &Alive) -> Result<Fold, QueryError> {
    for (labels, found) in series {
        alive.check()?;
        let weight = found.weight();
        push(&mut fold, &labels, found)?;
        held.let_go((1, weight));
    }
    Ok(fold)
}

fn push(fold: &mut Fold, labels: &Labels, mut found: Found) -> Result<(), QueryError> {
    found.finish();
    let (times, histograms): (Vec<i64>, Vec<_>) = found.histograms.into_iter().unzip();
    fold.push(&Series {
        labels,
        timestamps: &found.times,
        values: &found.values,
        histogram_timestamps: &times,
        histograms: &histograms,
    })?;
    Ok(())
}

fn stopped() -> QueryError {
    QueryError::Internal("the evaluation of the query was stopped".to_owned())
}
