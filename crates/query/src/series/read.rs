//! Reading series: what to read, by matchers and time, and reading it in several tasks.

use std::sync::Arc;

use bonghwa_block::{Column, Predicate};
use bonghwa_cluster::seam;
use bonghwa_promql::{Labels, METRIC_NAME, MatchOp, Matcher};
use futures::TryStreamExt;
use futures::future::try_join_all;

use super::columns::{self, Columns};
use super::gather::{Found, Gather};
use super::labels::{MetricsOptions, UNKNOWN_SERVICE};
use crate::alive::Alive;
use crate::plan::{self, Source, TablePlan, Unit};
use crate::view::View;
use crate::{QueryError, SeriesLimits, scan};

/// Bytes of a sample in memory.
const SAMPLE_BYTES: u64 = 16;
/// Bytes of a series in memory without its samples, roughly.
const SERIES_BYTES: u64 = 512;

/// Which series, of what time.
#[derive(Clone)]
pub(crate) struct Wanted {
    pub(crate) matchers: Arc<[Matcher]>,
    /// Unix milliseconds, both inclusive.
    pub(crate) range: (i64, i64),
    /// Whether their samples are wanted, or their labels alone.
    pub(crate) samples: bool,
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
        let nanos = |millis: i64| millis.saturating_mul(1_000_000);
        Predicate {
            min_time: nanos(self.range.0),
            max_time: nanos(self.range.1).saturating_add(999_999),
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
    fn metric_names(&self) -> Option<Vec<String>> {
        self.equal(METRIC_NAME).filter(|name| *name != "target_info").map(|name| vec![name.to_owned()])
    }

    /// Services whose series can have the job that matchers ask for: `namespace/name` is that of `name`,
    /// and points without a service may have a label of that name.
    fn services(&self) -> Option<Vec<String>> {
        let job = self.equal("job")?;
        let suffixes = job.match_indices('/').map(|(at, _)| job[at + 1..].to_owned());
        Some(suffixes.chain([job.to_owned(), UNKNOWN_SERVICE.to_owned()]).collect())
    }
}

/// The series of one tenant.
pub(crate) async fn read(
    source: &Source,
    view: &View,
    wanted: &Wanted,
    options: &Arc<MetricsOptions>,
    bounds: Bounds,
    alive: &Arc<Alive>,
) -> Result<Vec<(Labels, Found)>, QueryError> {
    let columns = columns::of_series(wanted.samples);
    let plan = Arc::new(plan(source, view, columns, wanted.predicate()).await?);
    let shares = by_time(&plan, bounds.tasks);
    let reading = shares.into_iter().map(|units| {
        let (plan, wanted, options, alive) = (plan.clone(), wanted.clone(), options.clone(), alive.clone());
        // Of its own, so that decoding uses more than one core; it ends with the query.
        let task = seam::spawn(async move {
            let mut gather = Gather::new(&wanted.matchers, wanted.range, &options);
            for unit in units {
                let batches = scan::open(&plan, &unit).await.map_err(|error| QueryError::of_stream(&error))?;
                let mut batches = batches.map_err(|error| QueryError::of_stream(&error));
                while let Some(batch) = batches.try_next().await? {
                    gather.add(&Columns::new(&batch)?)?;
                    check(gather.size(), bounds)?;
                    alive.check()?;
                    tokio::task::yield_now().await;
                }
            }
            Ok::<_, QueryError>(gather.finish())
        });
        async move { task.join().await.unwrap_or_else(|| Err(QueryError::Internal("a read was stopped".into()))) }
    });
    let mut shares = try_join_all(reading).await?.into_iter();
    let first = shares.next().unwrap_or_default();
    if shares.len() == 0 {
        return Ok(first);
    }
    let mut all = Gather::new(&wanted.matchers, wanted.range, options);
    for found in std::iter::once(first).chain(shares) {
        all.merge(found);
        check(all.size(), bounds)?;
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

/// The units in the order of time, shared out over so many tasks, so that samples of a series come
/// nearly sorted, and those of one task before those of the next.
fn by_time(plan: &TablePlan, tasks: usize) -> Vec<Vec<Arc<Unit>>> {
    let mut units = plan.units.clone();
    units.sort_by_key(|unit| unit.time());
    let total: u64 = units.iter().map(|unit| unit.rows()).sum();
    let each = (total / tasks.max(1) as u64).max(1);
    let mut shares: Vec<Vec<Arc<Unit>>> = vec![Vec::new()];
    let mut rows = 0;
    for unit in units {
        if rows >= each && shares.len() < tasks {
            shares.push(Vec::new());
            rows = 0;
        }
        rows += unit.rows();
        if let Some(share) = shares.last_mut() {
            share.push(unit);
        }
    }
    shares
}

/// Fails where a read holds more than it may.
pub(super) fn check((series, samples): (usize, u64), bounds: Bounds) -> Result<(), QueryError> {
    let SeriesLimits { series: most_series, samples: most_samples } = bounds.limits;
    let (series, memory) = (series as u64, bounds.memory_bytes as u64);
    let limit = |what, reached, limit, key| Err(QueryError::Limit { what, reached, limit, key });
    if series > most_series {
        return limit("series", series, most_series, "query.max_series");
    }
    if samples > most_samples {
        return limit("samples", samples, most_samples, "query.max_samples");
    }
    let bytes = bytes((series, samples));
    if bytes > memory {
        return limit("bytes of series and samples", bytes, memory, "query.memory_bytes");
    }
    Ok(())
}

/// What so many series with so many samples hold, roughly.
pub(crate) fn bytes((series, samples): (u64, u64)) -> u64 {
    samples * SAMPLE_BYTES + series * SERIES_BYTES
}
