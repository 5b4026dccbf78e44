//! Asking other queriers for their shares, and evaluating those that they do not answer.

use std::collections::BTreeSet;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bonghwa_cluster::seam;
use bonghwa_promql::{Answer, DecodeError, Decoder, Evaluation, Selection};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::range_queries_client::RangeQueriesClient;
use foldhash::fast::FixedState;
use futures::future::try_join_all;
use prost::Message;
use tokio::sync::Mutex;
use tonic::Request;
use tonic::metadata::MetadataMap;

use super::cut::Slots;
use super::pace::Pace;
use super::told::{self, Unanswered};
use super::work::Work;
use super::{MOST_BYTES, message};
use crate::distributed::{Distribution, Visit, metrics};
use crate::evaluate::{Job, Stop};
use crate::past::{Piece, Segment, bucket_ms};
use crate::series::INFO_EVERY;
use crate::{Engine, QueryError, session};

/// A query is shared where the largest share is at most this part of it: long blocks are decoded for each share.
const WORTH_IT: f64 = 0.75;

/// A query in shares.
pub(crate) struct Shares {
    /// In the order of time, each with the number of its querier.
    segments: Vec<(Segment, usize)>,
    /// Their addresses; none: this one.
    queriers: Vec<Option<String>>,
    /// How far before a step and after it samples may matter, in milliseconds.
    reach_ms: (i64, i64),
}

impl Engine {
    /// How a query is shared out, of which these segments are left to evaluate. None where it is not: there is nobody
    /// to share with, it is little work or would become much more, or it was seen that its steps cannot be evaluated
    /// apart.
    pub(crate) async fn shares(&self, job: &Job<'_>, whole: &Evaluation, segments: &[Segment]) -> Option<Shares> {
        let distribution = self.distribution()?;
        let mut queriers = distribution.queriers(&self.cluster.current(), job.alive);
        let place = |address: &Option<String>| {
            let address = address.as_ref().unwrap_or(&distribution.peers.address);
            FixedState::with_seed(1).hash_one((name(job), address))
        };
        queriers.sort_by_key(place);
        let (start, last, step) = (job.params.start_ms, job.last_ms(), job.params.step_ms);
        let beside = |selection: &Selection| selection.max_ms.saturating_sub(selection.min_ms) - (last - start);
        let overlap = whole.selections().iter().map(beside).max()?;
        let all = [Segment::Rest(start, last)];
        let cut = |segments: &[Segment], count| Slots::new((start, last), step, overlap, count).cut(segments, step);
        let shares = |queriers: &[Option<String>]| {
            let segments = cut(segments, queriers.len());
            let others = busy(&segments).into_iter().any(|querier| queriers[querier].is_some());
            (others && busy(&cut(&all, queriers.len())).len() > 1).then_some(segments)
        };
        if queriers.len() < 2 || distribution.whole.knows(name(job)) {
            return None;
        }
        shares(&queriers)?;
        let work = Work::new(job, whole, left(segments)?);
        let alone = distribution.peers.samples.max(1);
        // What fails here fails the query, too, which tells more of it.
        let samples = work.samples(self, job, alone.saturating_mul(2)).await.ok()?;
        queriers.truncate(usize::try_from(samples / alone).unwrap_or(usize::MAX));
        if queriers.len() < 2 {
            return None;
        }
        let segments = shares(&queriers)?;
        // Whatever is left of it now: parts that are kept elsewhere cost little.
        let (work, parts) = (Work::new(job, whole, (start, last)), cut(&all, queriers.len()));
        let cost = |querier: usize| -> f64 {
            let own = parts.iter().filter(|(_, other)| *other == querier).filter_map(|(segment, _)| rest(segment));
            own.map(|steps| work.cost(steps)).sum()
        };
        if (0..queriers.len()).map(cost).fold(0.0, f64::max) > WORTH_IT * work.cost((start, last)) {
            return None;
        }
        let (before, after) = whole.reach_ms()?;
        // Instances that fell silent are seen for so long.
        let silence = i64::try_from(self.metrics_options.push_up.forget_after.as_millis()).unwrap_or(i64::MAX);
        let reach_ms = (before.saturating_add(INFO_EVERY).saturating_add(silence), after);
        Some(Shares { segments, queriers, reach_ms })
    }

    /// Has all shares evaluated. The first error is the query's; all others end then.
    pub(crate) async fn evaluate_shares(&self, job: &Job<'_>, shares: Shares) -> Result<Vec<Piece>, Stop> {
        let nobody = || QueryError::Internal("there is nobody to share a query with".to_owned());
        let distribution = self.distribution().ok_or_else(nobody)?;
        let runtime = session::runtime(self.limits.memory_bytes);
        let runtime = runtime.map_err(|error| QueryError::Internal(error.strip_backtrace()))?;
        metrics::SHARED.inc();
        let asking = Asking {
            engine: self,
            distribution,
            job,
            reach_ms: shares.reach_ms,
            visit: distribution.visits.begin(job.tenants, job.alive, &runtime),
            pace: Pace::new(busy(&shares.segments).len(), job.alive.left() / 2),
            here: Mutex::new(0),
            samples: AtomicU64::new(0),
            held: AtomicU64::new(0),
        };
        let of_querier = |number: usize, address: &Option<String>| {
            let own = shares.segments.iter().enumerate().filter(|(_, (_, querier))| *querier == number);
            let steps = own.filter_map(|(at, (segment, _))| Some((at, rest(segment)?)));
            asking.querier(address.clone(), steps.collect())
        };
        let asked = shares.queriers.iter().enumerate().map(|(number, address)| of_querier(number, address));
        let answers = try_join_all(asked).await;
        if matches!(answers, Err(Stop::Whole)) {
            distribution.whole.learn(name(job));
        }
        let mut answers: Vec<(usize, Answer)> = answers?.into_iter().flatten().collect();
        answers.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        let mut pieces = Vec::with_capacity(shares.segments.len());
        for (segment, _) in shares.segments {
            match (segment, answers.pop_if(|(at, _)| *at == pieces.len())) {
                (Segment::Kept(entry, from, to), _) => pieces.push(Piece::Kept(entry, from, to)),
                (Segment::Rest(from, to), Some((_, answer))) => pieces.push(Piece::New(answer, from, to)),
                (Segment::Rest(..), None) => {
                    return Err(QueryError::Internal("a share of a query was not evaluated".to_owned()).into());
                }
            }
        }
        Ok(pieces)
    }
}

/// Steps that are not kept.
fn rest(segment: &Segment) -> Option<(i64, i64)> {
    match segment {
        Segment::Rest(from, to) => Some((*from, *to)),
        Segment::Kept(..) => None,
    }
}

/// From the first step to the last of those that are not kept.
fn left(segments: &[Segment]) -> Option<(i64, i64)> {
    segments.iter().filter_map(rest).reduce(|all, next| (all.0, next.1))
}

/// The queriers that have something to evaluate.
fn busy(segments: &[(Segment, usize)]) -> BTreeSet<usize> {
    segments.iter().filter(|(segment, _)| rest(segment).is_some()).map(|(_, querier)| *querier).collect()
}

/// A query by its tenants, its text and its step.
fn name(job: &Job<'_>) -> u64 {
    FixedState::with_seed(0).hash_one((job.tenants.to_string(), job.query.text(), job.params.step_ms))
}

/// A query that is being shared.
struct Asking<'a> {
    engine: &'a Engine,
    distribution: &'a Distribution,
    job: &'a Job<'a>,
    reach_ms: (i64, i64),
    visit: Arc<Visit>,
    pace: Pace,
    /// Held by the share that is evaluated here; samples that those before it read.
    here: Mutex<u64>,
    /// Samples that all shares read.
    samples: AtomicU64,
    /// Bytes of answers that came from others.
    held: AtomicU64,
}

impl Asking<'_> {
    /// The answers of one querier, or of this one in its place.
    async fn querier(
        &self,
        mut address: Option<String>,
        shares: Vec<(usize, (i64, i64))>,
    ) -> Result<Vec<(usize, Answer)>, Stop> {
        if shares.is_empty() {
            return Ok(Vec::new());
        }
        let mut answers = Vec::with_capacity(shares.len());
        for (at, steps) in shares {
            let answer = match &address {
                None => self.here(steps).await?,
                Some(other) => match self.there(other, steps).await {
                    Ok(answer) => answer,
                    Err(Unanswered::Stop(stop)) => return Err(stop),
                    Err(Unanswered::Here(why)) => {
                        tracing::debug!(querier = other, why, "a share of a query is evaluated where it was asked");
                        self.distribution.avoid(other);
                        address = None;
                        self.here(steps).await?
                    }
                },
            };
            let read = self.samples.fetch_add(answer.stats.samples, Ordering::Relaxed) + answer.stats.samples;
            let limit = self.job.params.limits.samples;
            if read > limit {
                return Err(bonghwa_promql::Error::Limit { what: "samples", reached: read, limit }.into());
            }
            answers.push((at, answer));
        }
        self.pace.done();
        Ok(answers)
    }

    /// Evaluates a share, one after another, so that they take no more memory than one query may.
    async fn here(&self, steps: (i64, i64)) -> Result<Answer, Stop> {
        let mut spent = self.here.lock().await;
        let answer = self.engine.steps(self.job, steps, *spent).await?;
        *spent = spent.saturating_add(answer.stats.samples);
        Ok(answer)
    }

    async fn there(&self, address: &str, steps: (i64, i64)) -> Result<Answer, Unanswered> {
        let mut held = 0;
        let (answer, outcome) = tokio::select! {
            answer = self.ask(address, steps, &mut held) => {
                let failed = matches!(answer, Err(Unanswered::Here(_)));
                (answer, if failed { "failed" } else { "answered" })
            }
            () = self.pace.too_slow() => {
                (Err(Unanswered::Here("it is much slower than the others".to_owned())), "slow")
            }
        };
        metrics::share(outcome).inc();
        if answer.is_err() {
            self.held.fetch_sub(held, Ordering::Relaxed);
        }
        answer
    }

    /// Has a querier evaluate a share; it ends there when this is dropped. `held`: bytes that were added to those of all
    /// answers.
    async fn ask(&self, address: &str, steps: (i64, i64), held: &mut u64) -> Result<Answer, Unanswered> {
        let failed = |what: &dyn std::fmt::Display| Unanswered::Here(what.to_string());
        let share = message::write(self.job, &self.engine.metrics_options, steps, self.time(steps));
        if share.encoded_len() > MOST_BYTES {
            return Err(failed(&"it would name too many blocks"));
        }
        let channel = self.distribution.channels.channel(address).map_err(|error| failed(&error))?;
        let client = RangeQueriesClient::new(channel);
        let mut client = client.max_decoding_message_size(MOST_BYTES).max_encoding_message_size(MOST_BYTES);
        let mut request = Request::new(share);
        *request.metadata_mut() = MetadataMap::from_headers(self.visit.headers());
        let patience = self.distribution.peers.remote.read_timeout;
        let begun = seam::timeout(patience, client.evaluate(request)).await;
        let begun = begun.map_err(|_| failed(&format!("no answer within {patience:?}")))?;
        let mut chunks = begun.map_err(|status| failed(&status))?.into_inner();
        let memory = self.engine.limits.memory_bytes as u64;
        let too_large = |bytes| Unanswered::Stop(told::too_large(bytes, memory).into());
        let mut decoder = Decoder::new(steps, self.job.params.step_ms, memory);
        while let Some(chunk) = chunks.message().await.map_err(|status| failed(&status))? {
            let part = match chunk.kind {
                Some(v1::range_chunk::Kind::Part(part)) => part,
                Some(v1::range_chunk::Kind::Error(error)) => {
                    return Err(told::read(error, self.job.params.limits, memory));
                }
                None => return Err(failed(&"it sent what this build does not know")),
            };
            let read = decoder.push(&part).map_err(|error| match error {
                DecodeError::TooLarge { .. } => too_large(decoder.bytes()),
                DecodeError::Broken(_) => failed(&error),
            });
            read?;
            let more = decoder.bytes() - *held;
            *held += more;
            let all = self.held.fetch_add(more, Ordering::Relaxed) + more;
            if all > memory {
                return Err(too_large(all));
            }
        }
        decoder.finish().map_err(|error| failed(&error))
    }

    /// The time of samples that a querier may look at for some steps: with the whole buckets that they lie in, of which
    /// it may have kept values.
    fn time(&self, (from, to): (i64, i64)) -> (i64, i64) {
        let step = self.job.params.step_ms;
        let (bucket, phase) = (bucket_ms(step), self.job.params.start_ms.rem_euclid(step));
        let start = |time: i64| (time - phase).div_euclid(bucket).saturating_mul(bucket).saturating_add(phase);
        let (before, after) = self.reach_ms;
        (start(from).saturating_sub(before), start(to).saturating_add(bucket).saturating_add(after))
    }
}
