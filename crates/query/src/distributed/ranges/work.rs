//! How much work the steps of a query are, about, before anything is read for them.
//!
//! The catalog tells how many samples there are for their time, and with that most queries are known to be little.
//! Of the others one or two blocks are asked which series the selectors select, which the query needs anyway and finds
//! in the cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use bonghwa_cluster::TenantBlock;
use bonghwa_model::Signal;

use crate::evaluate::Job;
use crate::plan::Source;
use crate::promql::of_tenant;
use crate::series::{Held, Wanted};
use crate::view::View;
use crate::{Engine, QueryError};

/// Samples in blocks that have these conditions and times, about. Zero where there are fewer than `enough`.
pub(super) async fn samples(engine: &Engine, job: &Job<'_>, wanted: &[Wanted], enough: u64) -> Result<u64, QueryError> {
    let mut candidates = Vec::new();
    for wanted in wanted {
        for (source, views) in job.views {
            let Some(view) = views.get(&Signal::Metrics) else { continue };
            let Some(matchers) = of_tenant(&wanted.matchers, source, job.views.len()) else { continue };
            let wanted = Wanted { matchers, range: wanted.range, samples: false };
            candidates.push(Candidate::new(source, view, wanted));
        }
    }
    let all = |of: &dyn Fn(&Candidate<'_>) -> f64| candidates.iter().map(of).sum::<f64>();
    if all(&|candidate| candidate.items) < enough as f64 {
        return Ok(0);
    }
    let mut selected = 0.0;
    for candidate in &candidates {
        selected += candidate.selected(engine, job).await?;
    }
    Ok(selected as u64)
}

/// Blocks of which a selector may select something.
struct Candidate<'a> {
    source: &'a Arc<Source>,
    view: &'a Arc<View>,
    wanted: Wanted,
    /// And how many samples each has in time, about; in the order of time.
    blocks: Vec<(&'a TenantBlock, f64)>,
    items: f64,
}

impl<'a> Candidate<'a> {
    fn new(source: &'a Arc<Source>, view: &'a Arc<View>, wanted: Wanted) -> Self {
        let in_time = |block: &'a TenantBlock| Some((block, items(block, wanted.range)?));
        let mut blocks: Vec<(&TenantBlock, f64)> = view.blocks.iter().filter_map(in_time).collect();
        blocks.sort_by_key(|(block, _)| block.rows().min_time);
        let items = blocks.iter().map(|(_, items)| items).sum();
        Candidate { source, view, wanted, blocks, items }
    }

    /// Samples that are selected: those of the largest blocks of both halves of time, scaled.
    async fn selected(&self, engine: &Engine, job: &Job<'_>) -> Result<f64, QueryError> {
        let (older, newer) = self.blocks.split_at(self.blocks.len() / 2);
        let largest = |blocks: &[(&'a TenantBlock, f64)]| blocks.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
        let (mut looked_at, mut selected) = (0.0, 0.0);
        for (block, items) in [largest(older), largest(newer)].into_iter().flatten() {
            let view = View {
                blocks: vec![block.clone()],
                deletes: self.view.deletes.clone(),
                ..View::empty(Signal::Metrics)
            };
            let views = vec![(self.source.clone(), BTreeMap::from([(Signal::Metrics, Arc::new(view))]))];
            let series = engine.read_series(&views, &self.wanted, &Arc::new(Held::default()), job.alive).await?.len();
            looked_at += items;
            // Rows are series, and have about as many samples each.
            selected += items * series as f64 / block.rows().rows.max(1) as f64;
        }
        Ok(if looked_at > 0.0 { self.items * selected / looked_at } else { 0.0 })
    }
}

/// Samples that a block has in a range of Unix milliseconds, about.
fn items(block: &TenantBlock, range: (i64, i64)) -> Option<f64> {
    let rows = block.rows();
    let (from, to) = (range.0.saturating_mul(1_000_000), range.1.saturating_mul(1_000_000));
    let length = |from: i64, to: i64| to.saturating_sub(from) as f64 + 1.0;
    let (first, last) = (rows.min_time.max(from), rows.max_time.min(to));
    (first <= last).then(|| rows.items as f64 * length(first, last) / length(rows.min_time, rows.max_time))
}
