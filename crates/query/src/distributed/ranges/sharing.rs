//! Whether other queriers take part in a query, and in what: its steps, or its series.

use std::collections::BTreeSet;
use std::hash::BuildHasher;

use bonghwa_promql::{Evaluation, Selection};
use foldhash::fast::FixedState;

use super::cut::Slots;
use super::work::Work;
use crate::Engine;
use crate::evaluate::Job;
use crate::past::Segment;
use crate::series::{DAY_MS, INFO_EVERY};

/// A query is shared by time where the largest share is at most this part of it: long blocks are decoded for each share.
const WORTH_IT: f64 = 0.75;

/// How a query is shared.
#[derive(Default)]
pub(crate) struct Sharing {
    /// Its steps, each evaluated of all series.
    pub(crate) by_time: Option<Shares>,
    /// Where it is not by time, or its steps turn out not to be evaluated apart: those who share its series, by their
    /// addresses; without one: this node. Nobody where it is not.
    pub(crate) by_series: Vec<Option<String>>,
}

/// A query in shares of its steps.
pub(crate) struct Shares {
    /// In the order of time, each with the number of its querier.
    pub(super) segments: Vec<(Segment, usize)>,
    /// Their addresses; none: this one.
    pub(super) queriers: Vec<Option<String>>,
    /// How far before a step and after it samples may matter, in milliseconds.
    pub(super) reach_ms: (i64, i64),
}

impl Engine {
    /// How a query is shared out, of which these segments are left to evaluate. It is not where there is nobody to share
    /// with, where it is little work or would become much more.
    pub(crate) async fn sharing(&self, job: &Job<'_>, whole: &Evaluation, segments: &[Segment]) -> Sharing {
        self.shared(job, whole, segments).await.unwrap_or_default()
    }

    async fn shared(&self, job: &Job<'_>, whole: &Evaluation, segments: &[Segment]) -> Option<Sharing> {
        let distribution = self.distribution()?;
        let mut queriers = distribution.queriers(&self.cluster.current(), job.alive);
        let left = left(segments)?;
        if queriers.len() < 2 || whole.selections().is_empty() {
            return None;
        }
        let place = |address: &Option<String>| {
            let address = address.as_ref().unwrap_or(&distribution.peers.address);
            FixedState::with_seed(1).hash_one((name(job), address))
        };
        queriers.sort_by_key(place);
        let alone = distribution.peers.samples.max(1);
        // What fails here fails the query, too, which tells more of it.
        let work = Work::new(job, whole, left).estimate(self, job, whole, alone.saturating_mul(2)).await.ok()?;
        queriers.truncate(usize::try_from(work.samples / alone).unwrap_or(usize::MAX));
        if queriers.len() < 2 {
            return None;
        }
        // It may have been seen that its steps cannot be evaluated apart.
        let by_time = job.is_divisible() && !distribution.whole.knows(name(job));
        Some(Sharing {
            by_time: if by_time { shares(job, whole, segments, &queriers) } else { None },
            by_series: if work.travels_light(queriers.len()) { queriers } else { Vec::new() },
        })
    }

    /// How far before what a query reads there may be samples that tell something of it, in milliseconds.
    pub(super) fn prelude_ms(&self) -> i64 {
        // Instances that fell silent are seen for so long.
        let silence = i64::try_from(self.metrics_options.push_up.forget_after.as_millis()).unwrap_or(i64::MAX);
        // Values of delta temporality are those of their day so far.
        silence.saturating_add(INFO_EVERY).max(DAY_MS)
    }
}

/// Shares of the steps, where these are worth it.
fn shares(job: &Job<'_>, whole: &Evaluation, segments: &[Segment], queriers: &[Option<String>]) -> Option<Shares> {
    let (start, last, step) = (job.params.start_ms, job.last_ms(), job.params.step_ms);
    let beside = |selection: &Selection| selection.max_ms.saturating_sub(selection.min_ms) - (last - start);
    let overlap = whole.selections().iter().map(beside).max()?;
    let slots = Slots::new((start, last), step, overlap, queriers.len());
    let (segments, all) = (slots.cut(segments, step), slots.cut(&[Segment::Rest(start, last)], step));
    let others = busy(&segments).into_iter().any(|querier| queriers[querier].is_some());
    if !others || busy(&all).len() < 2 {
        return None;
    }
    // Whatever is left of it now: parts that are kept elsewhere cost little.
    let work = Work::new(job, whole, (start, last));
    let cost = |querier: usize| -> f64 {
        let own = all.iter().filter(|(_, other)| *other == querier).filter_map(|(segment, _)| rest(segment));
        own.map(|steps| work.cost(steps)).sum()
    };
    let largest = (0..queriers.len()).map(cost).fold(0.0, f64::max);
    if largest > WORTH_IT * work.cost((start, last)) {
        return None;
    }
    Some(Shares { segments, queriers: queriers.to_vec(), reach_ms: whole.reach_ms()? })
}

/// Steps that are not kept.
pub(super) fn rest(segment: &Segment) -> Option<(i64, i64)> {
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
pub(super) fn busy(segments: &[(Segment, usize)]) -> BTreeSet<usize> {
    segments.iter().filter(|(segment, _)| rest(segment).is_some()).map(|(_, querier)| *querier).collect()
}

/// A query by its tenants, its text and its step.
pub(super) fn name(job: &Job<'_>) -> u64 {
    FixedState::with_seed(0).hash_one((job.tenants.to_string(), job.query.text(), job.params.step_ms))
}
