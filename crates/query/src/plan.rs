//! What a scan will read, decided before anything is read: blocks by the catalog,
//! then row groups and granules by each block's footer and indexes, then tails.

use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use bonghwa_block::{
    BlockError, BlockReader, Column, FooterCache, Predicate, PruneStats, PrunedRows, RowRange, ScanRequest,
};
use bonghwa_cluster::TenantBlock;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;
use parking_lot::Mutex;

use crate::QueryError;
use crate::deleted::Deleted;
use crate::view::{Tail, View};

/// Footers and indexes that are fetched at once.
const CONCURRENT_OPENS: usize = 16;

/// What a row of a tail would take in a block, roughly.
const TAIL_ROW_BYTES: u64 = 64;

/// Where a tenant's rows come from.
pub(crate) struct Source {
    pub(crate) tenant: TenantId,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) footers: Arc<FooterCache>,
}

/// One thing to read.
pub(crate) enum Unit {
    /// The rest of a block after pruning.
    Block(Box<PlannedBlock>),
    /// A tail. Whatever is deleted lay in blocks when it was.
    Tail(Arc<Tail>),
}

/// A block of which something is left to read.
pub(crate) struct PlannedBlock {
    rest: Rest,
    stats: PruneStats,
    time: (i64, i64),
    /// As the catalog says it. Not known where another node planned it.
    written: u64,
    /// Whether it may hold deleted rows.
    deleted: bool,
}

/// What is known of what is left of a block.
enum Rest {
    /// The rows are taken by the first that reads; a query that reads twice prunes again.
    Planned { reader: BlockReader, rows: Mutex<Option<PrunedRows>> },
    /// Another node planned it: it is opened and planned where it is read.
    Elsewhere { source: Arc<Source>, block: Arc<v1::Block> },
}

impl PlannedBlock {
    /// A block of which another node says that so many rows, of these times, are left to
    /// read, and whether deleted ones may be among them. Only path, size and carried out deletes need be known.
    pub(crate) fn elsewhere(source: Arc<Source>, block: v1::Block, rows: u64, time: (i64, i64), deleted: bool) -> Self {
        let stats = PruneStats { rows_selected: usize::try_from(rows).unwrap_or(usize::MAX), ..Default::default() };
        let written = block.written;
        PlannedBlock { rest: Rest::Elsewhere { source, block: Arc::new(block) }, stats, time, written, deleted }
    }

    /// Its path and its size.
    pub(crate) fn object(&self) -> (String, u64) {
        let block = self.block();
        (block.path.clone(), block.bytes)
    }

    /// Deletes up to this id were carried out on it, or do not concern it.
    pub(crate) fn deletes_through(&self) -> u64 {
        match &self.rest {
            Rest::Planned { reader, .. } => reader.deletes_through(),
            Rest::Elsewhere { block, .. } => block.deletes_through,
        }
    }

    fn block(&self) -> &v1::Block {
        match &self.rest {
            Rest::Planned { reader, .. } => reader.block(),
            Rest::Elsewhere { block, .. } => block,
        }
    }

    /// The rows that pruning left.
    pub(crate) async fn scan(
        &self,
        request: &ScanRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, BlockError>>, QueryError> {
        match &self.rest {
            Rest::Planned { reader, rows } => {
                let pruned = rows.lock().take();
                let plan = match pruned {
                    Some(pruned) => reader.plan_pruned(request, pruned)?,
                    None => reader.plan(request).await?,
                };
                Ok(reader.scan(plan))
            }
            Rest::Elsewhere { source, block } => {
                let reader = BlockReader::open(source.store.clone(), block.clone(), &source.footers).await?;
                let plan = reader.plan(request).await?;
                Ok(reader.scan(plan))
            }
        }
    }

    /// Its reader. None where another node planned it.
    pub(crate) fn reader(&self) -> Option<&BlockReader> {
        match &self.rest {
            Rest::Planned { reader, .. } => Some(reader),
            Rest::Elsewhere { .. } => None,
        }
    }

    /// The granules that pruning left. None where another node planned it, or they were taken.
    pub(crate) fn granules(&self) -> Option<Vec<RowRange>> {
        let Rest::Planned { reader, rows } = &self.rest else { return None };
        rows.lock().as_ref().map(|rows| reader.granules(rows))
    }

    /// Bytes of the object that are left to read, roughly: those of all columns.
    fn bytes(&self) -> u64 {
        let block = self.block();
        let rows: u64 = block.tenants.iter().map(|tenant| tenant.rows).sum();
        match rows {
            0 => block.bytes,
            rows => (block.bytes as u128 * self.stats.rows_selected as u128 / u128::from(rows)) as u64,
        }
    }
}

impl Unit {
    /// Unix nanoseconds, both inclusive.
    pub(crate) fn time(&self) -> (i64, i64) {
        match self {
            Unit::Block(block) => block.time,
            Unit::Tail(tail) => (tail.rows.min_time, tail.rows.max_time),
        }
    }

    /// Grows from what was written before to what was written after it.
    pub(crate) fn written(&self) -> u64 {
        match self {
            Unit::Block(block) => block.written,
            Unit::Tail(_) => u64::MAX,
        }
    }

    /// Rows to decode, roughly.
    pub(crate) fn rows(&self) -> u64 {
        match self {
            Unit::Block(block) => block.stats.rows_selected as u64,
            Unit::Tail(tail) => tail.rows.items,
        }
    }

    /// Whether it may hold deleted rows.
    pub(crate) fn may_hold_deleted(&self) -> bool {
        match self {
            Unit::Block(block) => block.deleted,
            Unit::Tail(_) => false,
        }
    }

    /// Bytes to read, roughly, as they lie in a block.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Unit::Block(block) => block.bytes(),
            Unit::Tail(tail) => tail.rows.items.saturating_mul(TAIL_ROW_BYTES),
        }
    }
}

/// All that a scan will read.
pub(crate) struct TablePlan {
    pub(crate) signal: Signal,
    pub(crate) request: Arc<ScanRequest>,
    /// The same where rows may be deleted: with the columns that tell them.
    pub(crate) with_deleted: Arc<ScanRequest>,
    pub(crate) deleted: Deleted,
    pub(crate) units: Vec<Arc<Unit>>,
    pub(crate) pruned: Pruned,
    /// How many rows the scan gives, where nothing filters it.
    pub(crate) exact_rows: Option<u64>,
}

/// What was left out, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pruned {
    pub(crate) blocks: usize,
    pub(crate) blocks_by_time: usize,
    pub(crate) blocks_by_service: usize,
    pub(crate) blocks_by_index: usize,
    pub(crate) tails: usize,
    pub(crate) tails_pruned: usize,
    /// Tails that nobody could be asked for, by partition.
    pub(crate) tails_missing: Vec<String>,
    pub(crate) inside: PruneStats,
}

/// Decides what to read.
pub(crate) async fn plan(
    source: &Source,
    view: &View,
    columns: Vec<Column>,
    predicate: Predicate,
    filtered: bool,
) -> Result<TablePlan, QueryError> {
    plan_with(source, view, columns.clone(), columns, predicate, filtered).await
}

/// The same, with other columns where rows may be deleted.
pub(crate) async fn plan_with(
    source: &Source,
    view: &View,
    columns: Vec<Column>,
    where_deleted: Vec<Column>,
    predicate: Predicate,
    filtered: bool,
) -> Result<TablePlan, QueryError> {
    let mut pruned = Pruned {
        blocks: view.blocks.len(),
        tails: view.tails.len(),
        tails_missing: view.missing.clone(),
        ..Default::default()
    };
    let deleted = Deleted::new(view.signal, view.deletes.clone());
    let exact = !filtered && !deleted.any(view);
    let exact_rows = exact.then(|| view.rows().map(|rows| rows.items).sum());

    let mut candidates = Vec::new();
    for block in &view.blocks {
        match catalog_prunes(&predicate, block.rows()) {
            Some(By::Time) => pruned.blocks_by_time += 1,
            Some(By::Service) => pruned.blocks_by_service += 1,
            None => candidates.push(block.clone()),
        }
    }
    let request = Arc::new(ScanRequest { tenant: source.tenant.clone(), columns, predicate });
    let with_deleted = deleted.request(&ScanRequest { columns: where_deleted, ..ScanRequest::clone(&request) });
    let opening = candidates.into_iter().map(|block| {
        let may_hold = deleted.may_hold(block.rows(), block.block().deletes_through);
        open(source, block, if may_hold { &with_deleted } else { &request }, may_hold)
    });
    let mut opened = stream::iter(opening.collect::<Vec<_>>()).buffered(CONCURRENT_OPENS);
    let mut units = Vec::new();
    while let Some(block) = opened.try_next().await? {
        pruned.inside += block.stats;
        if block.stats.rows_selected == 0 {
            pruned.blocks_by_index += 1;
        } else {
            units.push(Arc::new(Unit::Block(Box::new(block))));
        }
    }
    drop(opened);
    for tail in &view.tails {
        match catalog_prunes(&request.predicate, &tail.rows) {
            Some(_) => pruned.tails_pruned += 1,
            None => units.push(Arc::new(Unit::Tail(tail.clone()))),
        }
    }
    Ok(TablePlan { signal: view.signal, request, with_deleted, deleted, units, pruned, exact_rows })
}

/// The units shared out over at most so many readers, about as many rows to each. For
/// each the tails come first, before their leaders let go of them, and then the newest,
/// because they are what a query with a limit mostly wants.
pub(crate) fn share_out(units: &[Arc<Unit>], most: usize) -> Vec<Vec<Arc<Unit>>> {
    let mut units = units.to_vec();
    units.sort_by_key(|unit| (matches!(**unit, Unit::Block(_)), std::cmp::Reverse(unit.time().1)));
    let count = most.clamp(1, units.len().max(1));
    let mut shares: Vec<(u64, Vec<Arc<Unit>>)> = vec![Default::default(); count];
    for unit in units {
        if let Some(least) = shares.iter_mut().min_by_key(|(rows, units)| (*rows, units.len())) {
            least.0 += unit.rows();
            least.1.push(unit);
        }
    }
    shares.into_iter().map(|(_, units)| units).collect()
}

async fn open(
    source: &Source,
    block: TenantBlock,
    request: &ScanRequest,
    deleted: bool,
) -> Result<PlannedBlock, QueryError> {
    let reader = BlockReader::open(source.store.clone(), block.block().clone(), &source.footers).await?;
    let pruned = reader.prune(&request.tenant, &request.predicate).await?;
    let (stats, time) = (pruned.stats, (block.rows().min_time, block.rows().max_time));
    let (rest, written) = (Rest::Planned { reader, rows: Mutex::new(Some(pruned)) }, block.block().written);
    Ok(PlannedBlock { rest, stats, time, written, deleted })
}

enum By {
    Time,
    Service,
}

/// Whether what the catalog says of these rows rules out that any matches.
fn catalog_prunes(predicate: &Predicate, rows: &v1::TenantRows) -> Option<By> {
    if rows.max_time < predicate.min_time || rows.min_time > predicate.max_time {
        return Some(By::Time);
    }
    let services = predicate.services.as_ref()?;
    // An empty list in the catalog means that it was too long to keep.
    let none = !rows.services.is_empty() && !services.iter().any(|s| rows.services.binary_search(s).is_ok());
    none.then_some(By::Service)
}

impl fmt::Display for Pruned {
    /// As EXPLAIN shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pruned { blocks, blocks_by_time, blocks_by_service, blocks_by_index, .. } = self;
        let Pruned { tails, tails_pruned, tails_missing, inside, .. } = self;
        let read = blocks - blocks_by_time - blocks_by_service - blocks_by_index;
        write!(f, "blocks={read}/{blocks}")?;
        let by = [("time", *blocks_by_time), ("service", *blocks_by_service), ("index", *blocks_by_index)];
        reasons(f, &by)?;
        let by = [
            ("time", inside.row_groups_by_time),
            ("service", inside.row_groups_by_service),
            ("trace_id", inside.row_groups_by_trace_id),
            ("tokens", inside.row_groups_by_tokens),
            ("statistics", inside.row_groups_by_statistics),
        ];
        let pruned: usize = by.iter().map(|(_, count)| count).sum();
        let total = inside.row_groups_total;
        write!(f, ", row_groups={}/{total}", total.saturating_sub(pruned))?;
        reasons(f, &by)?;
        write!(f, ", granules={}/{}, rows={}", inside.granules_kept, inside.granules_total, inside.rows_selected)?;
        write!(f, ", tails={}/{tails}", tails - tails_pruned)?;
        if !tails_missing.is_empty() {
            write!(f, " (missing: {})", tails_missing.join(", "))?;
        }
        Ok(())
    }
}

/// What was left out, by reason.
fn reasons(f: &mut fmt::Formatter<'_>, by: &[(&str, usize)]) -> fmt::Result {
    let by: Vec<String> = by.iter().map(|(reason, count)| format!("{reason}: {count}")).collect();
    write!(f, " (pruned by {})", by.join(", "))
}
