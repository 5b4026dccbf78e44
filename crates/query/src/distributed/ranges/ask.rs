//! Asking other queriers for their shares, and evaluating those that they do not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bonghwa_cluster::seam;
use bonghwa_promql::{DecodeError, Evaluation};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::range_queries_client::RangeQueriesClient;
use futures::future::{BoxFuture, try_join_all};
use prost::Message;
use tokio::sync::Mutex;
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::made::{Made, Reading};
use super::pace::Pace;
use super::sharing::{Shares, busy, name, rest};
use super::told::{self, Unanswered};
use super::{MOST_BYTES, message};
use crate::distributed::{Distribution, Visit, metrics};
use crate::evaluate::{Job, Stop};
use crate::fold::{Folded, first_ms};
use crate::past::{Piece, Segment, bucket_ms};
use crate::series::Slice;
use crate::{Engine, QueryError, session};

/// What one querier is asked for.
#[derive(Clone, Copy)]
pub(super) struct Share<'a> {
    pub(super) part: Part<'a>,
    /// The time of samples that may matter to it, Unix milliseconds, both inclusive.
    pub(super) time: (i64, i64),
}

/// Shares of one querier, by their numbers.
type Numbered<'a> = Vec<(usize, Share<'a>)>;

/// A part of a query.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// The answer at steps, from the first to the last.
    Steps(i64, i64),
    /// Folds of some series, for this evaluation. `apart`: it ends where steps are not to be evaluated apart.
    Series { slice: Slice, evaluation: &'a Evaluation, apart: bool },
}

impl Engine {
    /// Has all shares of a query's steps evaluated. The first error is the query's; all others end then.
    pub(crate) async fn evaluate_shares(&self, job: &Job<'_>, shares: Shares) -> Result<Vec<Piece>, Stop> {
        let Shares { segments, queriers, reach_ms } = shares;
        // A share is evaluated by one querier alone.
        let job = &Job { queriers: &[], ..*job };
        let share = |steps: (i64, i64)| Share {
            part: Part::Steps(steps.0, steps.1),
            time: self.time_of_steps(job, steps, reach_ms),
        };
        let of_querier = |number: usize| {
            let own = segments.iter().enumerate().filter(|(_, (_, querier))| *querier == number);
            own.filter_map(|(at, (segment, _))| Some((at, share(rest(segment)?)))).collect::<Vec<_>>()
        };
        let asked = queriers.iter().enumerate().map(|(number, address)| (address.clone(), of_querier(number)));
        let made = self.asked(job, busy(&segments).len(), asked.collect()).await;
        if matches!(made, Err(Stop::Whole)) {
            self.distribution().into_iter().for_each(|distribution| distribution.whole.learn(name(job)));
        }
        let mut made = made?.into_iter();
        let mut pieces = Vec::with_capacity(segments.len());
        for (segment, _) in segments {
            pieces.push(match segment {
                Segment::Kept(entry, from, to) => Piece::Kept(entry, from, to),
                Segment::Rest(from, to) => Piece::New(made.next().and_then(Made::answer).ok_or_else(lost)?, from, to),
            });
        }
        Ok(pieces)
    }

    /// Has the queriers of a job fold the series of an evaluation, each a slice of them. `apart`: it ends where steps are
    /// not to be evaluated apart.
    // Boxed: what is evaluated here of a query in shares of its steps might be shared again, as far as types tell.
    pub(crate) fn folded_together<'a>(
        &'a self,
        evaluation: &'a Evaluation,
        job: &'a Job<'_>,
        apart: bool,
    ) -> BoxFuture<'a, Result<Folded, Stop>> {
        let queriers = job.queriers;
        let slice = |number: usize| Slice::new(u32::try_from(number).ok()?, u32::try_from(queriers.len()).ok()?);
        let time = self.time_of_series(evaluation);
        let asked = queriers.iter().enumerate().filter_map(|(number, address)| {
            let part = Part::Series { slice: slice(number)?, evaluation, apart };
            Some((address.clone(), vec![(number, Share { part, time })]))
        });
        let asked = asked.collect();
        Box::pin(async move {
            let mut all = Folded { folds: Vec::new(), few: false, divisible: true };
            for made in self.asked(job, queriers.len(), asked).await? {
                let Folded { folds, divisible, .. } = made.folded().ok_or_else(lost)?;
                all.folds.extend(folds);
                all.divisible &= divisible;
            }
            if apart && !all.divisible { Err(Stop::Whole) } else { Ok(all) }
        })
    }

    /// Has shares evaluated by their queriers, so many of which have some; what comes of them in the order of their
    /// numbers.
    async fn asked(
        &self,
        job: &Job<'_>,
        busy: usize,
        shares: Vec<(Option<String>, Numbered<'_>)>,
    ) -> Result<Vec<Made>, Stop> {
        let distribution = self.distribution().ok_or_else(lost)?;
        let runtime = session::runtime(self.limits.memory_bytes, &job.alive.memory);
        let runtime = runtime.map_err(|error| QueryError::Internal(error.strip_backtrace()))?;
        metrics::SHARED.inc();
        let asking = Asking {
            engine: self,
            distribution,
            job,
            visit: distribution.visits.begin(job.tenants, job.alive, &runtime),
            pace: Pace::new(busy, job.alive.left() / 2),
            here: Mutex::new(0),
            samples: AtomicU64::new(0),
            held: AtomicU64::new(0),
        };
        let asked = shares.into_iter().map(|(address, shares)| asking.querier(address, shares));
        let mut made: Vec<(usize, Made)> = try_join_all(asked).await?.into_iter().flatten().collect();
        made.sort_by_key(|(number, _)| *number);
        Ok(made.into_iter().map(|(_, made)| made).collect())
    }

    /// The time of steps: with the whole buckets that they lie in, of which a querier may have kept values. `reach_ms`: how
    /// far before a step and after it samples may matter.
    fn time_of_steps(&self, job: &Job<'_>, (from, to): (i64, i64), reach_ms: (i64, i64)) -> (i64, i64) {
        let step = job.params.step_ms;
        let (bucket, phase) = (bucket_ms(step), job.params.start_ms.rem_euclid(step));
        let start = |time: i64| (time - phase).div_euclid(bucket).saturating_mul(bucket).saturating_add(phase);
        let (before, after) = (reach_ms.0.saturating_add(self.prelude_ms()), reach_ms.1);
        (start(from).saturating_sub(before), start(to).saturating_add(bucket).saturating_add(after))
    }

    /// The time of all that an evaluation reads.
    fn time_of_series(&self, evaluation: &Evaluation) -> (i64, i64) {
        let selections = evaluation.selections();
        let first = selections.iter().map(first_ms).min().unwrap_or_default();
        let last = selections.iter().map(|selection| selection.max_ms).max().unwrap_or_default();
        (first.saturating_sub(self.prelude_ms()), last)
    }
}

fn lost() -> QueryError {
    QueryError::Internal("a share of a query was not evaluated".to_owned())
}

/// A query that is being shared.
struct Asking<'a> {
    engine: &'a Engine,
    distribution: &'a Distribution,
    job: &'a Job<'a>,
    visit: Arc<Visit>,
    pace: Pace,
    /// Held by the share that is evaluated here; samples that those before it read.
    here: Mutex<u64>,
    /// Samples that all shares of steps read.
    samples: AtomicU64,
    /// Bytes of answers that came from others.
    held: AtomicU64,
}

impl Asking<'_> {
    /// What one querier makes of its shares, or this one in its place.
    async fn querier(
        &self,
        mut address: Option<String>,
        shares: Vec<(usize, Share<'_>)>,
    ) -> Result<Vec<(usize, Made)>, Stop> {
        if shares.is_empty() {
            return Ok(Vec::new());
        }
        let mut all = Vec::with_capacity(shares.len());
        for (at, share) in shares {
            let made = match &address {
                None => self.here(share).await?,
                Some(other) => match self.there(other, share).await {
                    Ok(made) => made,
                    Err(Unanswered::Stop(stop)) => return Err(stop),
                    Err(Unanswered::Here(why)) => {
                        tracing::debug!(querier = other, why, "a share of a query is evaluated where it was asked");
                        self.distribution.avoid(other);
                        address = None;
                        self.here(share).await?
                    }
                },
            };
            // An evaluation counts those of its series by itself.
            let samples = made.as_answer().map_or(0, |answer| answer.stats.samples);
            let read = self.samples.fetch_add(samples, Ordering::Relaxed) + samples;
            let limit = self.job.params.limits.samples;
            if read > limit {
                return Err(bonghwa_promql::Error::Limit { what: "samples", reached: read, limit }.into());
            }
            all.push((at, made));
        }
        self.pace.done();
        Ok(all)
    }

    /// Evaluates a share, one after another, so that they take no more memory than one query may.
    async fn here(&self, share: Share<'_>) -> Result<Made, Stop> {
        let mut spent = self.here.lock().await;
        match share.part {
            Part::Steps(from, to) => {
                let answer = self.engine.steps(self.job, (from, to), *spent).await?;
                *spent = spent.saturating_add(answer.stats.samples);
                Ok(Made::Answer(answer))
            }
            Part::Series { slice, evaluation, apart } => {
                Ok(Made::Folded(self.engine.folded(evaluation, self.job, slice, apart).await?))
            }
        }
    }

    async fn there(&self, address: &str, share: Share<'_>) -> Result<Made, Unanswered> {
        let mut held = 0;
        let (made, outcome) = tokio::select! {
            made = self.ask(address, share, &mut held) => {
                let failed = matches!(made, Err(Unanswered::Here(_)));
                (made, if failed { "failed" } else { "answered" })
            }
            () = self.pace.too_slow() => {
                (Err(Unanswered::Here("it is much slower than the others".to_owned())), "slow")
            }
        };
        metrics::share(outcome).inc();
        if made.is_err() {
            self.held.fetch_sub(held, Ordering::Relaxed);
            self.job.alive.memory.let_go(held);
        }
        made
    }

    /// Has a querier evaluate a share; it ends there when this is dropped. `held`: bytes that were added to those of all
    /// answers.
    async fn ask(&self, address: &str, share: Share<'_>, held: &mut u64) -> Result<Made, Unanswered> {
        let failed = |what: &dyn std::fmt::Display| Unanswered::Here(what.to_string());
        let message = message::write(self.job, &self.engine.metrics_options, share);
        if message.encoded_len() > MOST_BYTES {
            return Err(failed(&"it would name too many blocks"));
        }
        let channel = self.distribution.channels.channel(address).map_err(|error| failed(&error))?;
        let client = RangeQueriesClient::new(channel);
        let mut client = client.max_decoding_message_size(MOST_BYTES).max_encoding_message_size(MOST_BYTES);
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(self.visit.headers());
        let patience = self.distribution.peers.remote.read_timeout;
        let begun = seam::timeout(patience, client.evaluate(request)).await;
        let begun = begun.map_err(|_| failed(&format!("no answer within {patience:?}")))?;
        let mut chunks = begun.map_err(|status| failed(&status))?.into_inner();
        let memory = self.engine.limits.memory_bytes as u64;
        let too_large = |bytes| Unanswered::Stop(told::too_large(bytes, memory).into());
        let unread = |error: DecodeError, bytes| match error {
            DecodeError::TooLarge { .. } => too_large(bytes),
            DecodeError::Query(error) => Unanswered::Stop(error.into()),
            DecodeError::Broken(_) => failed(&error),
        };
        let mut reading = Reading::new(share.part, self.job.params.step_ms, memory);
        while let Some(chunk) = chunks.message().await.map_err(|status| failed(&status))? {
            let part = match chunk.kind {
                Some(v1::range_chunk::Kind::Part(part)) => part,
                Some(v1::range_chunk::Kind::Error(error)) => {
                    return Err(told::read(error, self.job.params.limits, memory));
                }
                None => return Err(failed(&"it sent what this build does not know")),
            };
            reading.push(&part, chunk.whole).map_err(|error| unread(error, reading.bytes()))?;
            let more = reading.bytes() - *held;
            *held += more;
            let all = self.held.fetch_add(more, Ordering::Relaxed) + more;
            if all > memory {
                return Err(too_large(all));
            }
            self.job.alive.memory.hold(more).map_err(|error| Unanswered::Stop(error.into()))?;
        }
        reading.finish().map_err(|error| unread(error, *held))
    }
}
