//! How much work the steps of a query are, about, before anything is read for them.
//!
//! The catalog tells how many samples there are for their time, and with that most queries are known to be little.
//! Of the others one or two blocks are asked which series the selectors select, which the query needs anyway and finds
//! in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use bonghwa_cluster::TenantBlock;
use bonghwa_model::Signal;
use bonghwa_promql::Evaluation;

use crate::evaluate::Job;
use crate::plan::Source;
use crate::promql::of_tenant;
use crate::series::{Held, Taken, Wanted};
use crate::view::View;
use crate::{Engine, QueryError};

/// What steps of a query have to read, by selector and tenant.
pub(super) struct Work<'a>(Vec<Candidate<'a>>);

/// Blocks of which a selector may select something.
struct Candidate<'a> {
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
        for selection in whole.selections() {
            let before = selection.min_ms.saturating_sub(job.params.start_ms);
            let after = selection.max_ms.saturating_sub(job.last_ms());
            let range = (steps.0.saturating_add(before), steps.1.saturating_add(after));
            for (source, views) in job.views {
                let Some(view) = views.get(&Signal::Metrics) else { continue };
                let Some(matchers) = of_tenant(&selection.matchers, &source.tenant, job.views.len()) else { continue };
                let wanted = Wanted { matchers, range, samples: Taken::Nothing };
                let mut blocks: Vec<_> = view.blocks.iter().filter(|block| items(block, range) > 0.0).collect();
                blocks.sort_by_key(|block| block.rows().min_time);
                candidates.push(Candidate { source, view, wanted, beside: (before, after), blocks });
            }
        }
        Work(candidates)
    }

    /// Samples that are selected. Zero where there are fewer than `enough`.
    pub(super) async fn samples(&self, engine: &Engine, job: &Job<'_>, enough: u64) -> Result<u64, QueryError> {
        if self.0.iter().map(Candidate::items).sum::<f64>() < enough as f64 {
            return Ok(0);
        }
        let mut selected = 0.0;
        for candidate in &self.0 {
            selected += candidate.selected(engine, job).await?;
        }
        Ok(selected as u64)
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

    /// Samples that are selected: those of the largest blocks of both halves of time, scaled.
    async fn selected(&self, engine: &Engine, job: &Job<'_>) -> Result<f64, QueryError> {
        let in_time = |block: &TenantBlock| items(block, self.wanted.range);
        let (older, newer) = self.blocks.split_at(self.blocks.len() / 2);
        let (mut looked_at, mut selected) = (0.0, 0.0);
        for half in [older, newer] {
            let Some(block) = half.iter().copied().max_by(|a, b| in_time(a).total_cmp(&in_time(b))) else { continue };
            let (blocks, deletes) = (vec![block.clone()], self.view.deletes.clone());
            let view = Arc::new(View { blocks, deletes, ..View::empty(Signal::Metrics) });
            let views = vec![(self.source.clone(), BTreeMap::from([(Signal::Metrics, view)]))];
            let series = engine.read_series(&views, &self.wanted, &Arc::new(Held::default()), job.alive).await?.len();
            looked_at += in_time(block);
            // Rows are series, and have about as many samples each.
            selected += in_time(block) * series as f64 / block.rows().rows.max(1) as f64;
        }
        Ok(if looked_at > 0.0 { self.items() * selected / looked_at } else { 0.0 })
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
