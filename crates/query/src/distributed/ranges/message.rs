//! A share of a query as another querier is asked for them, and back.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use bonghwa_cluster::TenantBlock;
use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{Params, Query};
use bonghwa_protocol::v1;
use foldhash::fast::FixedState;

use super::ask::{self, Part};
use crate::engine::Views;
use crate::evaluate::Job;
use crate::past::Caching;
use crate::plan::Source;
use crate::series::{MetricsOptions, Slice};
use crate::view::{Tail, View};
use crate::{Engine, QueryError};

/// The newest [`v1::RangeShare`] that this build reads; what it writes is as old as can be.
const VERSION: u32 = 2;
const OF_STEPS: u32 = 1;
const OF_SERIES: u32 = 2;
const NANOS: i64 = 1_000_000;

/// A share as it was asked for.
pub(super) struct Share {
    pub(super) tenants: TenantSet,
    pub(super) query: Query,
    /// Without limits and without a flag.
    pub(super) params: Params,
    pub(super) caching: Caching,
    pub(super) views: Views,
    /// None: an answer is asked for, of all series.
    pub(super) slice: Option<Slice>,
}

/// A share of a job, and all that samples of its time may lie in.
pub(super) fn write(
    job: &Job<'_>,
    options: &MetricsOptions,
    ask::Share { part, time }: ask::Share<'_>,
) -> v1::RangeShare {
    let (from, to) = (time.0.saturating_mul(NANOS), time.1.saturating_mul(NANOS).saturating_add(NANOS - 1));
    let of_tenant = |(source, views): &(Arc<Source>, BTreeMap<Signal, Arc<View>>)| {
        let tenant = source.tenant.as_str().to_owned();
        let Some(view) = views.get(&Signal::Metrics) else { return v1::RangeView { tenant, ..Default::default() } };
        let in_time = |block: &&TenantBlock| block.rows().min_time <= to && block.rows().max_time >= from;
        v1::RangeView {
            tenant,
            as_of: view.as_of,
            missing: view.missing.clone(),
            blocks: view.blocks.iter().filter(in_time).map(write_block).collect(),
            tails: view.tails.iter().map(|tail| write_tail(tail)).collect(),
            deletes: view.deletes.iter().map(|delete| v1::Delete::clone(delete)).collect(),
        }
    };
    let (version, from_ms, to_ms, (slice, slices)) = match part {
        Part::Steps(from, to) => (OF_STEPS, from, to, (0, 0)),
        Part::Series { slice, .. } => (OF_SERIES, job.params.start_ms, job.params.end_ms, slice.of()),
    };
    v1::RangeShare {
        version,
        query: job.query.text().to_owned(),
        from_ms,
        to_ms,
        slice,
        slices,
        step_ms: job.params.step_ms,
        lookback_ms: job.params.lookback_ms,
        subquery_step_ms: job.params.subquery_step_ms,
        caching: job.caching == Caching::Allowed,
        metrics_options: fingerprint(options),
        count_steps: job.params.count_steps,
        views: job.views.iter().map(of_tenant).collect(),
    }
}

/// The share, over what this node can reach. Fails where this node cannot or must not evaluate it.
pub(super) fn read(share: v1::RangeShare, tenants: &TenantSet, engine: &Engine) -> Result<Share, QueryError> {
    if share.version > VERSION {
        let version = share.version;
        return Err(unreadable(format!("its version is {version}, this build reads up to {VERSION}")));
    }
    if share.metrics_options != fingerprint(&engine.metrics_options) {
        return Err(unreadable("its configuration has other metrics.* than this querier's"));
    }
    // The query is for the tenants that its asker let it in for, and reads no other's samples.
    if !share.views.iter().map(|view| view.tenant.as_str()).eq(tenants.iter().map(TenantId::as_str)) {
        return Err(unreadable(format!("it is not of the query's tenants, {tenants}")));
    }
    let query = Query::parse(&share.query).map_err(unreadable)?;
    let v1::RangeShare { from_ms, to_ms, step_ms, lookback_ms, subquery_step_ms, count_steps, .. } = share;
    let range_query = step_ms > 0;
    let params = Params::range(from_ms, to_ms, step_ms);
    let params = Params { lookback_ms, subquery_step_ms, count_steps, range_query, ..params };
    let slice = match share.slices {
        0 => None,
        count => Some(Slice::new(share.slice, count).ok_or_else(|| unreadable("there are not so many slices"))?),
    };
    let caching = if share.caching { Caching::Allowed } else { Caching::Off };
    let views = share.views.into_iter().zip(tenants.iter()).map(|(view, tenant)| read_view(view, tenant, engine));
    Ok(Share { tenants: tenants.clone(), query, params, caching, views: views.collect::<Result<_, _>>()?, slice })
}

/// The asker evaluates by itself what this node does not understand.
fn unreadable(what: impl fmt::Display) -> QueryError {
    QueryError::Unavailable(format!("another querier sent a part of a query that cannot be evaluated here: {what}"))
}

/// What decides about names and labels must be the same on both nodes; their release is.
fn fingerprint(options: &MetricsOptions) -> u64 {
    FixedState::with_seed(0).hash_one(format!("{options:?}"))
}

fn write_block(block: &TenantBlock) -> v1::RangeBlock {
    let (rows, block) = (block.rows(), block.block());
    v1::RangeBlock {
        path: block.path.clone(),
        bytes: block.bytes,
        rows: rows.rows,
        items: rows.items,
        min_time: rows.min_time,
        max_time: rows.max_time,
        deletes_through: block.deletes_through,
        written: block.written,
    }
}

fn write_tail(tail: &Tail) -> v1::RangeTail {
    let Tail { partition, watermark, through, rows, .. } = tail;
    v1::RangeTail {
        partition: partition.clone(),
        watermark: *watermark,
        through: *through,
        items: rows.items,
        min_time: rows.min_time,
        max_time: rows.max_time,
    }
}

type TenantView = (Arc<Source>, BTreeMap<Signal, Arc<View>>);

fn read_view(view: v1::RangeView, tenant: &TenantId, engine: &Engine) -> Result<TenantView, QueryError> {
    let signal = Signal::Metrics;
    let catalog = engine.cluster.current();
    let blocks = view.blocks.into_iter().filter_map(|block| {
        // Blocks never change: this node's copy of the catalog may know which services are in it.
        let known = catalog.block(&block.path).and_then(|known| {
            let slot = known.tenants.iter().position(|rows| rows.tenant == tenant.as_str())?;
            TenantBlock::new(known.clone(), slot)
        });
        known.or_else(|| TenantBlock::new(Arc::new(read_block(block, tenant)), 0))
    });
    let tails = view.tails.into_iter().map(|tail| {
        let v1::RangeTail { partition, watermark, through, items, min_time, max_time } = tail;
        let leader = engine.directory.leader_of(&partition)?;
        let rows = v1::TenantRows { items, min_time, max_time, ..rows_of(tenant) };
        Ok(Arc::new(Tail { partition, watermark, through, rows, leader }))
    });
    let view = View {
        signal,
        blocks: blocks.collect(),
        tails: tails.collect::<Result<_, QueryError>>()?,
        deletes: view.deletes.into_iter().map(Arc::new).collect(),
        missing: view.missing,
        as_of: view.as_of,
    };
    Ok((engine.source(tenant), BTreeMap::from([(signal, Arc::new(view))])))
}

/// Which row groups are the tenant's the block itself tells.
fn read_block(block: v1::RangeBlock, tenant: &TenantId) -> v1::Block {
    let v1::RangeBlock { path, bytes, rows, items, min_time, max_time, deletes_through, written } = block;
    let rows = v1::TenantRows { rows, items, min_time, max_time, ..rows_of(tenant) };
    v1::Block { path, bytes, deletes_through, written, tenants: vec![rows], ..Default::default() }
}

/// Any service may be among them.
fn rows_of(tenant: &TenantId) -> v1::TenantRows {
    v1::TenantRows { tenant: tenant.as_str().to_owned(), ..Default::default() }
}
