//! Evaluating a query of PromQL over its views. A range query whose steps can be evaluated apart takes those that are
//! kept (`past`), and evaluates the others. What is much work is shared with other queriers (`distributed::ranges`): by
//! its steps, or, where these cannot be evaluated apart, by its series.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bonghwa_cluster::seam;
use bonghwa_model::TenantSet;
use bonghwa_promql::{Answer, Evaluation, Limits, Params, Query};

use crate::alive::Alive;
use crate::distributed::Sharing;
use crate::engine::{Missing, Views};
use crate::fold::Folded;
use crate::past::{self, Caching, Past, Piece, Segment};
use crate::series::Slice;
use crate::{Engine, QueryError, SeriesLimits};

/// Samples and values that are folded where the query runs: handing them to another thread would cost more.
pub(crate) const FEW: usize = 16 * 1024;
/// Bytes of a value at a step.
pub(crate) const POINT_BYTES: usize = 16;

/// A query to evaluate, and what it sees.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) tenants: &'a TenantSet,
    pub(crate) query: &'a Query,
    /// With limits, and the flag that ends it.
    pub(crate) params: &'a Params,
    pub(crate) caching: Caching,
    pub(crate) views: &'a Views,
    pub(crate) alive: &'a Arc<Alive>,
    /// Who shares the series of whatever is evaluated of it, this node among them; none: nobody.
    pub(crate) queriers: &'a [Option<String>],
}

impl Job<'_> {
    /// The last step, in Unix milliseconds.
    pub(crate) fn last_ms(&self) -> i64 {
        let Params { start_ms, end_ms, step_ms, .. } = *self.params;
        start_ms + (end_ms - start_ms) / step_ms.max(1) * step_ms.max(1)
    }

    /// Whether it may be evaluated in parts, as far as the query itself says.
    pub(crate) fn is_divisible(&self) -> bool {
        self.params.range_query && self.params.step_ms > 0 && self.query.is_divisible()
    }
}

/// Why some steps have no answer of their own.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The data does not let them be evaluated apart from others.
    Whole,
    /// The query has none.
    Failed(QueryError),
}

impl From<QueryError> for Stop {
    fn from(error: QueryError) -> Self {
        Stop::Failed(error)
    }
}

impl From<bonghwa_promql::Error> for Stop {
    fn from(error: bonghwa_promql::Error) -> Self {
        Stop::Failed(error.into())
    }
}

/// A flag that is raised when it is dropped: threads that evaluate end with the future that holds it.
#[derive(Default)]
pub(crate) struct Canceled(pub(crate) Arc<AtomicBool>);

impl Drop for Canceled {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An answer, and whether its values are what they are whatever other steps are evaluated with them.
struct Evaluated {
    answer: Answer,
    divisible: bool,
}

impl Engine {
    /// Evaluates a query that was asked here.
    pub(crate) async fn evaluate(
        &self,
        tenants: &TenantSet,
        query: &Query,
        mut params: Params,
        caching: Caching,
        missing: &Missing,
        alive: &Arc<Alive>,
    ) -> Result<Answer, QueryError> {
        let canceled = Canceled::default();
        params.cancel = Some(canceled.0.clone());
        params.limits = self.evaluation_limits();
        params.memory = Some(alive.memory.clone());
        let whole = Evaluation::new(query, params.clone())?;
        // What selects nothing needs no leader's answer.
        let selects = !whole.selections().is_empty();
        let views = if selects { self.metrics(tenants, missing, alive).await? } else { Vec::new() };
        let views = &views;
        let job = Job { tenants, query, params: &params, caching, views, alive, queriers: &[] };
        let past = self.past(&job, &whole);
        let segments =
            past.as_ref().map_or_else(|| vec![Segment::Rest(params.start_ms, job.last_ms())], Past::segments);
        let Sharing { by_time, by_series } = self.sharing(&job, &whole, &segments).await;
        let job = Job { queriers: &by_series, ..job };
        if let Some(shares) = by_time {
            let pieces = self.evaluate_shares(&job, shares).await;
            return self.put_together_or_whole(&job, past, pieces, whole).await;
        }
        match (past, &segments[..]) {
            (past, [Segment::Rest(from, to)]) => {
                let Evaluated { answer, divisible } = or_failed(self.evaluate_all(whole, &job, false).await)?;
                match past.filter(|_| divisible) {
                    Some(past) => put_together(Some(past), vec![Piece::New(answer, *from, *to)], params.limits).await,
                    None => Ok(answer),
                }
            }
            (past, _) => {
                let pieces = self.pieces(&job, segments).await;
                self.put_together_or_whole(&job, past, pieces, whole).await
            }
        }
    }

    /// Evaluates steps of a query that was asked elsewhere.
    pub(crate) async fn evaluate_share(&self, job: &Job<'_>) -> Result<Answer, Stop> {
        let whole = Evaluation::new(job.query, job.params.clone())?;
        let past = self.past(job, &whole);
        let segments =
            past.as_ref().map_or_else(|| vec![Segment::Rest(job.params.start_ms, job.last_ms())], Past::segments);
        let pieces = self.pieces(job, segments).await?;
        Ok(put_together(past, pieces, job.params.limits).await?)
    }

    fn past(&self, job: &Job<'_>, whole: &Evaluation) -> Option<Past> {
        let Job { tenants, query, params, caching, views, .. } = *job;
        let may = caching == Caching::Allowed;
        may.then(|| Past::new(&self.past, tenants, query, params, whole, views)).flatten()
    }

    async fn put_together_or_whole(
        &self,
        job: &Job<'_>,
        past: Option<Past>,
        pieces: Result<Vec<Piece>, Stop>,
        whole: Evaluation,
    ) -> Result<Answer, QueryError> {
        match pieces {
            Ok(pieces) => put_together(past, pieces, job.params.limits).await,
            Err(Stop::Failed(error)) => Err(error),
            Err(Stop::Whole) => Ok(or_failed(self.evaluate_all(whole, job, false).await)?.answer),
        }
    }

    /// Evaluates those steps that are not kept, one run after another.
    async fn pieces(&self, job: &Job<'_>, segments: Vec<Segment>) -> Result<Vec<Piece>, Stop> {
        let mut spent = 0;
        let mut pieces = Vec::with_capacity(segments.len());
        for segment in segments {
            match segment {
                Segment::Kept(entry, from, to) => pieces.push(Piece::Kept(entry, from, to)),
                Segment::Rest(from, to) => {
                    let answer = self.steps(job, (from, to), spent).await?;
                    spent = spent.saturating_add(answer.stats.samples);
                    pieces.push(Piece::New(answer, from, to));
                }
            }
        }
        Ok(pieces)
    }

    /// Evaluates some steps apart from the others, after so many samples were read for those.
    pub(crate) async fn steps(
        &self,
        job: &Job<'_>,
        (start_ms, end_ms): (i64, i64),
        spent: u64,
    ) -> Result<Answer, Stop> {
        let mut params = Params { start_ms, end_ms, ..job.params.clone() };
        params.limits.samples = params.limits.samples.saturating_sub(spent);
        let most = params.limits.samples;
        let evaluation = Evaluation::new(job.query, params.clone())?;
        let evaluated = self.evaluate_all(evaluation, &Job { params: &params, ..*job }, true).await;
        match evaluated {
            Ok(evaluated) => Ok(evaluated.answer),
            // The limit is one of all steps.
            Err(Stop::Failed(QueryError::Limit { what, reached, limit, key }))
                if what == "samples" && limit == most =>
            {
                let (reached, limit) = (reached.saturating_add(spent), job.params.limits.samples);
                Err(Stop::Failed(QueryError::Limit { what, reached, limit, key }))
            }
            Err(stop) => Err(stop),
        }
    }

    /// Reads what an evaluation wants, here or with other queriers, and evaluates. `apart`: it ends once it shows that its
    /// steps are not to be evaluated apart from others.
    async fn evaluate_all(&self, evaluation: Evaluation, job: &Job<'_>, apart: bool) -> Result<Evaluated, Stop> {
        let Folded { folds, few, divisible } = match job.queriers {
            [] => self.folded(&evaluation, job, Slice::WHOLE, apart).await?,
            _ => self.folded_together(&evaluation, job, apart).await?,
        };
        // What is made of no series may be any amount of work.
        let little = few && !folds.is_empty() && evaluation.work().is_some_and(|work| work <= FEW as u64);
        if little {
            return Ok(Evaluated { answer: evaluation.finish(folds)?, divisible });
        }
        let finished = seam::blocking(move || evaluation.finish(folds)).await;
        Ok(Evaluated { answer: finished.ok_or_else(stopped)??, divisible })
    }

    /// What an evaluation may keep: no more points than fit into a query's memory.
    pub(crate) fn evaluation_limits(&self) -> Limits {
        let SeriesLimits { series, samples } = self.series_limits;
        Limits { series, samples, points: (self.limits.memory_bytes / POINT_BYTES) as u64 }
    }
}

/// What is evaluated as a whole is not stopped for that.
fn or_failed<T>(evaluated: Result<T, Stop>) -> Result<T, QueryError> {
    evaluated.map_err(|stop| match stop {
        Stop::Failed(error) => error,
        Stop::Whole => QueryError::Internal("a query was to be evaluated as a whole, and was".to_owned()),
    })
}

/// Keeps what is new, and makes one answer of all: elsewhere, where that is work.
async fn put_together(past: Option<Past>, pieces: Vec<Piece>, limits: Limits) -> Result<Answer, QueryError> {
    let values: usize = pieces.iter().map(Piece::values).sum();
    let finish = move || {
        if let Some(past) = past {
            past.keep_new(&pieces);
        }
        past::put_together(pieces, limits)
    };
    if values <= FEW {
        return Ok(finish()?);
    }
    Ok(seam::blocking(finish).await.ok_or_else(stopped)??)
}

pub(crate) fn stopped() -> QueryError {
    QueryError::Internal("the evaluation of the query was stopped".to_owned())
}
