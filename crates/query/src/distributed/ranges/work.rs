//! How much work a query is, about, before anything is read for it; and how much queriers send who share its series.
//!
//! The catalog tells how many samples there are for their time, and with that most queries are known to be little.
//! Of the others one or two blocks are asked which series the selectors select, which the query needs anyway and finds
//! in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use bonghwa_cluster::TenantBlock;
use bonghwa_model::Signal;
use bonghwa_promql::{Evaluation, Keeps};

use crate::evaluate::Job;
use crate::fold::steps as steps_of;
use crate::plan::Source;
use crate::promql::of_tenant;
use crate::series::{Held, Taken, Wanted};
use crate::view::View;
use crate::{Engine, QueryError};

/// What steps of a query have to read, by selector and tenant.
pub(super) struct Work<'a>(Vec<Candidate<'a>>);

/// Values that cost as much as a series or group that travels with them: its labels, its place among others.
const SERIES_VALUES: f64 = 32.0;
/// What queriers send is little where they read so many samples for a value.
const READ: f64 = 4.0;

/// What a query reads of blocks, and what folds of that hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Estimate {
    /// Samples that are selected.
    pub(super) samples: u64,
    /// Values of whoever has the series,
    once: f64,
    /// and of each querier that has some series of a group.
    each: f64,
}

impl Estimate {
    /// Whether so many queriers, of whom each folds some of the series, send little against what they read.
    pub(super) fn travels_light(&self, queriers: usize) -> bool {
        (self.once + self.each * queriers as f64) * READ <= self.samples as f64
    }
}

/// Blocks of which a selector may select something.
struct Candidate<'a> {
    /// Which selection of the query it is, and at how many steps it is evaluated.
    number: usize,
    steps: f64,
    source: &'a Arc<Source>,
    view: &'a Arc<View>,
    wanted: Wanted,
    /// From the first and the last step to what is read for them, in milliseconds.
    beside: (i64, i64),
    /// In the order of time.
    blocks: Vec<&'a TenantBlock>,
}

impl<'a> Work<'a> {
    /// Of the steps from one to another, both inclusive, in milliseconds.
    pub(super) fn new(job: &Job<'a>, whole: &Evaluation, steps: (i64, i64)) -> Self {
        let mut candidates = Vec::new();
        for (number, selection) in whole.selections().iter().enumerate() {
            let at = steps_of(selection) as f64;
            let before = selection.min_ms.saturating_sub(job.params.start_ms);
            let after = selection.max_ms.saturating_sub(job.last_ms());
            let range = (steps.0.saturating_add(before), steps.1.saturating_add(after));
            for (source, views) in job.views {
                let Some(view) = views.get(&Signal::Metrics) else { continue };
                let Some(matchers) = of_tenant(&selection.matchers, &source.tenant, job.views.len()) else { continue };
                let wanted = Wanted::new(matchers, range, Taken::Nothing);
                let mut blocks: Vec<_> = view.blocks.iter().filter(|block| items(block, range) > 0.0).collect();
                blocks.sort_by_key(|block| block.rows().min_time);
                candidates.push(Candidate { number, steps: at, source, view, wanted, beside: (before, after), blocks });
            }
        }
        Work(candidates)
    }

    /// Nothing where fewer samples than `enough` are selected.
    pub(super) async fn estimate(
        &self,
        engine: &Engine,
        job: &Job<'_>,
        whole: &Evaluation,
        enough: u64,
    ) -> Result<Estimate, QueryError> {
        let mut all = Estimate::default();
        if self.0.iter().map(Candidate::items).sum::<f64>() < enough as f64 {
            return Ok(all);
        }
        for candidate in &self.0 {
            let Estimate { samples, once, each } = candidate.estimate(engine, job, whole).await?;
            all = Estimate { samples: all.samples + samples, once: all.once + once, each: all.each + each };
        }
        Ok(all)
    }

    /// What some of the steps cost: of each block all samples of a series are decoded, and those in time evaluated.
    pub(super) fn cost(&self, steps: (i64, i64)) -> f64 {
        let of_candidate = |candidate: &Candidate<'_>| {
            let (before, after) = candidate.beside;
            let range = (steps.0.saturating_add(before), steps.1.saturating_add(after));
            let in_time =
                candidate.blocks.iter().map(|block| (block, items(block, range))).filter(|(_, items)| *items > 0.0);
            in_time.map(|(block, items)| items + block.rows().items as f64).sum::<f64>()
        };
        self.0.iter().map(of_candidate).sum()
    }
}

impl Candidate<'_> {
    /// Samples in time, selected or not.
    fn items(&self) -> f64 {
        self.blocks.iter().map(|block| items(block, self.wanted.range)).sum()
    }

    /// What the largest blocks of both halves of time have, scaled.
    async fn estimate(&self, engine: &Engine, job: &Job<'_>, whole: &Evaluation) -> Result<Estimate, QueryError> {
        let in_time = |block: &TenantBlock| items(block, self.wanted.range);
        let (older, newer) = self.blocks.split_at(self.blocks.len() / 2);
        let (mut looked_at, mut selected) = (0.0, 0.0);
        let (mut series_kept, mut groups_kept) = (0.0f64, 0.0f64);
        for half in [older, newer] {
            let Some(block) = half.iter().copied().max_by(|a, b| in_time(a).total_cmp(&in_time(b))) else { continue };
            let (blocks, deletes) = (vec![block.clone()], self.view.deletes.clone());
            let view = Arc::new(View { blocks, deletes, ..View::empty(Signal::Metrics) });
            let views = vec![(self.source.clone(), BTreeMap::from([(Signal::Metrics, view)]))];
            let series = engine.read_series(&views, &self.wanted, &Held::new(job.alive), job.alive).await?;
            looked_at += in_time(block);
            // Rows are series, and have about as many samples each.
            selected += in_time(block) * series.len() as f64 / block.rows().rows.max(1) as f64;
            // Blocks of one time may have series of their own.
            let beside = self.beside_of(block);
            match whole.keeps(self.number, series.iter().map(|(labels, _)| labels)) {
                Keeps::Samples => {}
                Keeps::Series(series) => series_kept = series_kept.max(series as f64 * beside),
                Keeps::Groups(groups) => groups_kept = groups_kept.max(groups as f64 * beside),
            }
        }
        let samples = if looked_at > 0.0 { self.items() * selected / looked_at } else { 0.0 };
        let values = |count: f64| count * (self.steps + SERIES_VALUES);
        let keeps_samples = whole.keeps(self.number, [].iter()) == Keeps::Samples;
        let once = if keeps_samples { samples } else { values(series_kept) };
        Ok(Estimate { samples: samples as u64, once, each: values(groups_kept) })
    }

    /// How many times what a block has there is in its time.
    fn beside_of(&self, block: &TenantBlock) -> f64 {
        let millis = |nanos: i64| nanos.div_euclid(1_000_000);
        let time = (millis(block.rows().min_time), millis(block.rows().max_time));
        let all: f64 = self.blocks.iter().map(|other| items(other, time)).sum();
        (all / items(block, time).max(1.0)).max(1.0)
    }
}

/// Samples that a block has in a range of Unix milliseconds, about.
fn items(block: &TenantBlock, range: (i64, i64)) -> f64 {
    let rows = block.rows();
    let (from, to) = (range.0.saturating_mul(1_000_000), range.1.saturating_mul(1_000_000));
    let length = |from: i64, to: i64| to.saturating_sub(from) as f64 + 1.0;
    let (first, last) = (rows.min_time.max(from), rows.max_time.min(to));
    if first > last { 0.0 } else { rows.items as f64 * length(first, last) / length(rows.min_time, rows.max_time) }
}
