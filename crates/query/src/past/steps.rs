//! The steps of one range query: which are kept, which are to be evaluated, and keeping those.

use std::fmt::Write;
use std::sync::Arc;

use bonghwa_cluster::seam;
use bonghwa_model::TenantSet;
use bonghwa_promql::{Answer, Error, Evaluation, Limits, Params, Part, Parts, Query, Value};

use super::cache::{Entry, Key, PastCache};
use super::metrics;
use super::seen::Seen;
use crate::engine::Views;
use crate::series::INFO_EVERY;

/// A bucket is at least so long,
const BUCKET_MS: i64 = 2 * 3600 * 1000;
/// and has at least so many steps: a query has at most a few times as many.
const BUCKET_STEPS: i64 = 128;
/// Steps that lie apart are evaluated together where they are in more runs than this.
const MOST_RUNS: usize = 4;
/// Samples that come late come mostly within this time. Steps closer to the tails, or to now, are not kept: such
/// samples would undo it.
const SETTLING_MS: i64 = 120_000;
/// Bytes of a value, and of a series beside its values, in an answer that is kept, about.
const POINT_BYTES: usize = 8;
const SERIES_BYTES: usize = 512;

/// One range query, and what is kept of it.
pub(crate) struct Past {
    cache: Arc<PastCache>,
    query: Arc<str>,
    start_ms: i64,
    last_ms: i64,
    step_ms: i64,
    /// As [`Evaluation::reach_ms`].
    reach_ms: (i64, i64),
    seen: Seen,
    buckets: Vec<Bucket>,
}

struct Bucket {
    /// As of [`Key`].
    start_ms: i64,
    /// The first and the last step that the query has in it.
    asked: (i64, i64),
    /// What is kept and still holds.
    entry: Option<Arc<Entry>>,
}

/// Steps that follow each other: the first and the last.
#[derive(Debug)]
pub(crate) enum Segment {
    /// They are kept.
    Kept(Arc<Entry>, i64, i64),
    /// They are to be evaluated.
    Rest(i64, i64),
}

/// Steps with their values, from the first to the last.
pub(crate) enum Piece {
    /// They were kept.
    Kept(Arc<Entry>, i64, i64),
    /// They were evaluated.
    New(Answer, i64, i64),
}

impl Piece {
    /// About how many values it has.
    pub(crate) fn values(&self) -> usize {
        match self {
            Piece::Kept(entry, ..) => entry.part.bytes() / POINT_BYTES,
            Piece::New(answer, ..) => values(answer).1,
        }
    }
}

impl Past {
    /// None of a query whose values are not kept.
    pub(crate) fn new(
        cache: &Arc<PastCache>,
        tenants: &TenantSet,
        query: &Query,
        params: &Params,
        evaluation: &Evaluation,
        views: &Views,
    ) -> Option<Self> {
        if !cache.is_open() || !params.range_query || params.step_ms <= 0 || !query.is_divisible() {
            return None;
        }
        let (before, after) = evaluation.reach_ms()?;
        let (start_ms, step_ms) = (params.start_ms, params.step_ms);
        let mut past = Past {
            cache: cache.clone(),
            query: key(tenants, query, params),
            start_ms,
            last_ms: start_ms + (params.end_ms - start_ms) / step_ms * step_ms,
            step_ms,
            // Of `target_info` each slot has one sample, the first in it that is read: the slot is read whole.
            reach_ms: (before.saturating_add(INFO_EVERY), after),
            seen: Seen::new(views)?,
            buckets: Vec::new(),
        };
        past.buckets = past.buckets();
        Some(past)
    }

    fn buckets(&self) -> Vec<Bucket> {
        let length = bucket_ms(self.step_ms);
        // Those who ask at the same remainder of the step share buckets, whatever their start.
        let phase = self.start_ms.rem_euclid(self.step_ms);
        let mut buckets = Vec::new();
        let mut first = self.start_ms;
        while first <= self.last_ms {
            let start_ms = (first - phase).div_euclid(length).saturating_mul(length).saturating_add(phase);
            let end_ms = start_ms.saturating_add(length);
            buckets.push(Bucket {
                start_ms,
                asked: (first, self.last_ms.min(end_ms - self.step_ms)),
                entry: self.entry(start_ms),
            });
            first = end_ms;
        }
        buckets
    }

    /// What is kept of a bucket, if the views have the same for its time.
    fn entry(&self, start_ms: i64) -> Option<Arc<Entry>> {
        let entry = self.cache.get(&Key { query: self.query.clone(), start_ms })?;
        let holds = entry.window_ms.1 < self.seen.tails_from_ms()
            && entry.fingerprint == self.seen.fingerprint(entry.window_ms);
        holds.then_some(entry)
    }

    /// All steps of the query, in the order of time.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for Bucket { asked, entry, .. } in &self.buckets {
            let kept = entry.as_ref().and_then(|entry| {
                let (from, to) = (entry.part.from_ms().max(asked.0), entry.part.to_ms().min(asked.1));
                (from <= to).then(|| (entry.clone(), from, to))
            });
            match kept {
                Some((entry, from, to)) => {
                    self.push_rest(&mut segments, asked.0, from - self.step_ms);
                    segments.push(Segment::Kept(entry, from, to));
                    self.push_rest(&mut segments, to + self.step_ms, asked.1);
                }
                None => self.push_rest(&mut segments, asked.0, asked.1),
            }
        }
        let segments = in_few_runs(segments);
        let steps = |from: i64, to: i64| (to - from) / self.step_ms + 1;
        let counts = segments.iter().map(|segment| match segment {
            Segment::Kept(_, from, to) => (steps(*from, *to), 0),
            Segment::Rest(from, to) => (0, steps(*from, *to)),
        });
        let (hits, misses) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        metrics::count(hits, misses);
        segments
    }

    fn push_rest(&self, segments: &mut Vec<Segment>, from: i64, to: i64) {
        if from > to {
            return;
        }
        match segments.last_mut() {
            Some(Segment::Rest(_, last)) if *last + self.step_ms == from => *last = to,
            _ => segments.push(Segment::Rest(from, to)),
        }
    }

    /// Keeps what was evaluated.
    pub(crate) fn keep_new(mut self, pieces: &[Piece]) {
        for piece in pieces {
            if let Piece::New(answer, from, to) = piece {
                self.keep(answer, *from, *to);
            }
        }
    }

    /// Keeps what an answer has from one step to another, as far as all of its samples lie in blocks.
    fn keep(&mut self, answer: &Answer, from: i64, to: i64) {
        let (series, points) = values(answer);
        if !self.cache.holds(series * SERIES_BYTES + points * POINT_BYTES) {
            return;
        }
        let settled = self.seen.tails_from_ms().min(seam::unix_nanos() / 1_000_000).saturating_sub(SETTLING_MS);
        let last = settled.saturating_sub(self.reach_ms.1);
        for at in 0..self.buckets.len() {
            let Bucket { start_ms, asked, ref entry } = self.buckets[at];
            let from = asked.0.max(from);
            let to = asked.1.min(to).min(last);
            if from > to {
                continue;
            }
            let to = from + (to - from) / self.step_ms * self.step_ms;
            let Some(part) = Part::cut(answer, self.step_ms, from, to) else { return };
            let part = entry.as_ref().and_then(|entry| entry.part.joined(&part)).unwrap_or(part);
            let (before, after) = self.reach_ms;
            let window_ms = (part.from_ms().saturating_sub(before), part.to_ms().saturating_add(after));
            let entry = Arc::new(Entry { fingerprint: self.seen.fingerprint(window_ms), window_ms, part });
            self.buckets[at].entry = Some(entry.clone());
            self.cache.insert(Key { query: self.query.clone(), start_ms }, entry);
        }
    }
}

/// How long a bucket is, in milliseconds: some steps, of this length.
pub(crate) fn bucket_ms(step_ms: i64) -> i64 {
    step_ms.saturating_mul(((BUCKET_MS - 1) / step_ms + 1).max(BUCKET_STEPS))
}

/// Puts steps together, of at most so many values; of what was evaluated no more than so many samples.
pub(crate) fn put_together(mut pieces: Vec<Piece>, limits: Limits) -> Result<Answer, Error> {
    let limit = |what, reached, limit| Err(Error::Limit { what, reached, limit });
    if let [Piece::New(..)] = pieces.as_slice()
        && let Some(Piece::New(answer, ..)) = pieces.pop()
    {
        return Ok(answer);
    }
    let mut parts = Parts::default();
    for piece in pieces {
        match piece {
            Piece::Kept(entry, from, to) => parts.push_part(&entry.part, from, to),
            Piece::New(answer, ..) => parts.push(answer),
        }
        if parts.points() > limits.points {
            return limit("points", parts.points(), limits.points);
        }
    }
    let answer = parts.finish();
    if answer.stats.samples > limits.samples {
        return limit("samples", answer.stats.samples, limits.samples);
    }
    Ok(answer)
}

/// Evaluates all between the first and the last run where there are too many.
fn in_few_runs(segments: Vec<Segment>) -> Vec<Segment> {
    let is_rest = |segment: &Segment| matches!(segment, Segment::Rest(..));
    let (first, last) = (segments.iter().position(is_rest), segments.iter().rposition(is_rest));
    let (Some(first), Some(last)) = (first, last) else { return segments };
    if segments.iter().filter(|segment| is_rest(segment)).count() <= MOST_RUNS {
        return segments;
    }
    let from = |segment: &Segment| match segment {
        Segment::Kept(_, from, _) | Segment::Rest(from, _) => *from,
    };
    let to = |segment: &Segment| match segment {
        Segment::Kept(_, _, to) | Segment::Rest(_, to) => *to,
    };
    let whole = Segment::Rest(from(&segments[first]), to(&segments[last]));
    let mut few = Vec::with_capacity(segments.len());
    let mut whole = Some(whole);
    for (at, segment) in segments.into_iter().enumerate() {
        if (first..=last).contains(&at) {
            few.extend(whole.take());
        } else {
            few.push(segment);
        }
    }
    few
}

/// Series and values of an answer.
fn values(answer: &Answer) -> (usize, usize) {
    let Value::Matrix(series) = &answer.value else { return (0, 0) };
    let mut values = 0;
    for one in series {
        values += one.floats.len();
        values += one.histograms.iter().map(|(_, histogram)| histogram.weight() as usize).sum::<usize>();
    }
    (series.len(), values)
}

/// Everything that decides about values at a step, but for the time of the step and the data.
fn key(tenants: &TenantSet, query: &Query, params: &Params) -> Arc<str> {
    let mut key = String::new();
    for tenant in tenants.iter() {
        key.push_str(tenant.as_str());
        key.push('|');
    }
    // Writing to a text does not fail.
    let _ = write!(key, "\n{} {} {}\n", params.step_ms, params.lookback_ms, params.subquery_step_ms);
    // As it was written: annotations name places in it.
    key.push_str(query.text());
    key.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_promql::{Annotations, Stats};

    use super::*;

    /// `k` for ten steps that are kept, `R` for ten that are not.
    fn segments(shape: &str) -> Vec<Segment> {
        let answer =
            Answer { value: Value::Matrix(Vec::new()), annotations: Annotations::default(), stats: Stats::default() };
        let part = Part::cut(&answer, 1, 0, 9).unwrap();
        let entry = Arc::new(Entry { part, window_ms: (0, 9), fingerprint: Default::default() });
        let segment = |(at, kind): (usize, char)| {
            let (from, to) = (10 * at as i64, 10 * at as i64 + 9);
            if kind == 'k' { Segment::Kept(entry.clone(), from, to) } else { Segment::Rest(from, to) }
        };
        shape.chars().enumerate().map(segment).collect()
    }

    #[test]
    fn many_runs_become_one() {
        for (shape, expected) in [
            ("", ""),
            ("kkk", "k0-9 k10-19 k20-29"),
            ("kRkRkRkR", "k0-9 R10-19 k20-29 R30-39 k40-49 R50-59 k60-69 R70-79"),
            ("kRkRkRkRkRk", "k0-9 R10-99 k100-109"),
            ("RkRkRkRkR", "R0-89"),
        ] {
            let few = in_few_runs(segments(shape));
            let shown = few.iter().map(|segment| match segment {
                Segment::Kept(_, from, to) => format!("k{from}-{to}"),
                Segment::Rest(from, to) => format!("R{from}-{to}"),
            });
            assert_eq!(shown.collect::<Vec<_>>().join(" "), expected, "{shape}");
        }
    }
}
