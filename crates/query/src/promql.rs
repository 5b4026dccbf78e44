//! PromQL, and what Prometheus' API tells of series: `evaluate` has the language evaluate what `series` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{Answer, Labels, Matcher, Params, Query};
use futures::future::BoxFuture;

use crate::alive::Alive;
use crate::engine::{Missing, Views};
use crate::past::Caching;
use crate::series::{self, Asked, Bounds, Counts, Found, Held, Metadata, Reading, Sink, Taken, TenantSink, Wanted};
use crate::turns::Turn;
use crate::{Engine, QueryError};

/// The label that tells tenants apart where several are read.
const TENANT_LABEL: &str = "__tenant_id__";

/// The answer to a question about metrics, and whether that is all of it. The question has its turn until this is
/// dropped: what a caller makes of a large answer is work, too.
#[derive(Debug)]
pub struct MetricsAnswer<T> {
    /// The answer.
    pub answer: T,
    /// As of [`crate::SqlAnswer::missing`].
    pub missing: Vec<String>,
    /// How long the question waited for its turn, and how long it took then.
    pub took: (Duration, Duration),
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
                let held = Held::new(&alive);
                let mut all = BTreeSet::new();
                for matchers in &query.matchers {
                    let wanted = Wanted::new(matchers.clone().into(), query.range, Taken::Nothing);
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
                let held = Held::new(&alive);
                for matchers in &query.matchers {
                    let wanted = Wanted::new(matchers.clone().into(), query.range, Taken::Nothing);
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
            let (asked, begun) = (seam::now(), Arc::new(OnceLock::new()));
            let begins = begun.clone();
            let ask = move |alive| {
                begins.get_or_init(seam::now);
                ask(asking.clone(), of.clone(), left_out.clone(), alive)
            };
            let (answer, _turn) = engine.limits.answer(tenants.first(), timeout, ask).await?;
            let begun = begun.get().copied().unwrap_or(asked);
            let took = (begun - asked, seam::now() - begun);
            Ok(MetricsAnswer { answer, missing: missing.take(), took, _turn })
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
            let Some(matchers) = of_tenant(&wanted.matchers, &source.tenant, views.len()) else { continue };
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

    pub(crate) fn tasks(&self) -> usize {
        self.base().config().target_partitions()
    }
}

/// The labels of a series where several tenants are read.
pub(crate) fn with_tenant(labels: &Labels, tenant: &TenantId) -> Labels {
    labels.builder().set(TENANT_LABEL, tenant.as_str()).build()
}

/// What one of `count` tenants is asked for: a label tells several apart, which no series of theirs has. None where
/// that label leaves the tenant out.
pub fn of_tenant(matchers: &[Matcher], tenant: &TenantId, count: usize) -> Option<Arc<[Matcher]>> {
    if count == 1 {
        return Some(matchers.into());
    }
    let (of_label, others): (Vec<_>, Vec<_>) = matchers.iter().cloned().partition(|m| m.name == TENANT_LABEL);
    of_label.iter().all(|matcher| matcher.matches(tenant.as_str())).then(|| others.into())
}
