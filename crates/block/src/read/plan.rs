//! Which granules of which row groups a scan reads.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use hashbrown::HashSet;

use super::predicate::{Op, Predicate, Scalar};
use super::prune::{Meet, Resolved, Test, keep_granules, leaf, meet};
use super::scan::BlockReader;
use crate::BlockError;
use crate::column::{Column, time_column};
use crate::index::{FilterKind, LINE, candidates, hash_token, hash_trace_id, is_indexed, line_of, tokens};
use crate::layout::Owner;
use crate::logical::Mapping;

/// What a scan returns.
#[derive(Clone, Debug)]
pub struct ScanRequest {
    /// Whose rows.
    pub tenant: TenantId,
    /// Which columns, in order; none to count rows.
    pub columns: Vec<Column>,
    /// Which rows, at least.
    pub predicate: Predicate,
}

/// What pruning left out and kept, for `EXPLAIN`. All of it is of one tenant's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct PruneStats {
    /// Row groups of the tenant.
    pub row_groups_total: usize,
    /// Row groups left out because of their times.
    pub row_groups_by_time: usize,
    /// Row groups left out because of their services.
    pub row_groups_by_service: usize,
    /// Row groups left out because no granule holds the trace ids.
    pub row_groups_by_trace_id: usize,
    /// Row groups left out because no granule holds the tokens.
    pub row_groups_by_tokens: usize,
    /// Row groups left out because of other columns' bounds.
    pub row_groups_by_statistics: usize,
    /// Granules of the tenant.
    pub granules_total: usize,
    /// Granules read.
    pub granules_kept: usize,
    /// Parquet rows read: of metrics these are series.
    pub rows_selected: usize,
}

impl std::ops::AddAssign for PruneStats {
    fn add_assign(&mut self, other: Self) {
        self.row_groups_total += other.row_groups_total;
        self.row_groups_by_time += other.row_groups_by_time;
        self.row_groups_by_service += other.row_groups_by_service;
        self.row_groups_by_trace_id += other.row_groups_by_trace_id;
        self.row_groups_by_tokens += other.row_groups_by_tokens;
        self.row_groups_by_statistics += other.row_groups_by_statistics;
        self.granules_total += other.granules_total;
        self.granules_kept += other.granules_kept;
        self.rows_selected += other.rows_selected;
    }
}

/// The rows of a block that may be wanted: see [`BlockReader::prune`].
pub struct PrunedRows {
    /// What pruning did.
    pub stats: PruneStats,
    row_groups: Vec<PlannedRowGroup>,
}

/// A planned scan: see [`BlockReader::scan`].
pub struct ScanPlan {
    /// What pruning did.
    pub stats: PruneStats,
    pub(super) mapping: Mapping,
    pub(super) row_groups: Vec<PlannedRowGroup>,
    pub(super) range: RangeInclusive<i64>,
    pub(super) ids: Option<IdTest>,
    pub(super) metric_names: Option<Arc<[String]>>,
}

/// Which trace ids a scan is about: other rows are passed over without being decoded.
#[derive(Clone, Debug)]
pub(crate) enum IdTest {
    OneOf(Arc<HashSet<[u8; 16]>>),
    Between(RangeInclusive<[u8; 16]>),
}

impl ScanPlan {
    /// Reads only rows with trace ids in this range.
    pub(crate) fn with_ids_between(mut self, range: RangeInclusive<[u8; 16]>) -> Self {
        self.ids = Some(IdTest::Between(range));
        self
    }
}

/// Some rows of a row group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RowRange {
    /// Number of the row group within the block.
    pub row_group: usize,
    /// Parquet rows, by their number within the row group.
    pub rows: Range<usize>,
}

/// A row group that is read, and which of its granules.
pub(super) struct PlannedRowGroup {
    pub index: usize,
    pub rows: usize,
    pub granules: Vec<bool>,
    /// Which rows, where they were picked one by one.
    picked: Option<Vec<Range<usize>>>,
}

impl PlannedRowGroup {
    fn any(&self) -> bool {
        self.granules.contains(&true)
    }

    /// Whether rows are passed over.
    pub fn is_partial(&self) -> bool {
        self.granules.contains(&false) || self.picked.is_some()
    }

    fn kept_granules(&self, granule_rows: usize) -> impl Iterator<Item = Range<usize>> {
        let kept = self.granules.iter().enumerate().filter(|(_, kept)| **kept);
        kept.map(move |(granule, _)| granule * granule_rows..((granule + 1) * granule_rows).min(self.rows))
    }

    /// The rows kept, as ranges within the row group.
    pub fn ranges(&self, granule_rows: usize) -> Vec<Range<usize>> {
        if let Some(picked) = &self.picked {
            return picked.clone();
        }
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for rows in self.kept_granules(granule_rows) {
            match ranges.last_mut() {
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => ranges.push(rows),
            }
        }
        ranges
    }
}

impl BlockReader {
    /// Plans a scan: decides by time, services, filters and bounds what need not be read.
    pub async fn plan(&self, request: &ScanRequest) -> Result<ScanPlan, BlockError> {
        let pruned = self.prune(&request.tenant, &request.predicate).await?;
        self.plan_pruned(request, pruned)
    }

    /// Plans a scan of what [`Self::prune`] left, with the same predicate.
    pub fn plan_pruned(&self, request: &ScanRequest, pruned: PrunedRows) -> Result<ScanPlan, BlockError> {
        let tenant = self.tenant(&request.tenant);
        let rest_holds = |owner: Owner, key: &str| tenant.is_some_and(|t| rest_holds(t, owner, key));
        let mapping = Mapping::new(&self.footer.layout, &request.columns, &rest_holds);
        let predicate = &request.predicate;
        Ok(ScanPlan {
            stats: pruned.stats,
            mapping: mapping.map_err(|e| e.at(&self.path))?,
            row_groups: pruned.row_groups,
            range: predicate.min_time..=predicate.max_time,
            metric_names: predicate.metric_names.as_deref().map(Arc::from),
            ids: predicate.trace_ids.as_ref().map(|ids| IdTest::OneOf(Arc::new(ids.iter().copied().collect()))),
        })
    }

    /// Fails where rows are not all a tenant's.
    pub(super) fn check_owner(&self, tenant: &TenantId, rows: &[RowRange]) -> Result<(), BlockError> {
        let owned = self.tenant(tenant).map_or(&[][..], |tenant| &tenant.row_groups);
        match rows.iter().find(|range| !owned.contains(&(range.row_group as u32))) {
            Some(RowRange { row_group, .. }) => {
                Err(BlockError::Request(format!("row group {row_group} of {} is not {tenant}'s", self.path)))
            }
            None => Ok(()),
        }
    }

    fn tenant(&self, tenant: &TenantId) -> Option<&v1::TenantRows> {
        self.footer.block.tenants.iter().find(|t| t.tenant == tenant.as_str())
    }

    /// Decides by time, services, filters and bounds which of a tenant's rows need not be read.
    pub async fn prune(&self, tenant: &TenantId, predicate: &Predicate) -> Result<PrunedRows, BlockError> {
        let footer = &self.footer;
        let layout = &footer.layout;
        let tenant = self.tenant(tenant);
        let rest_holds = |owner: Owner, key: &str| tenant.is_some_and(|t| rest_holds(t, owner, key));
        let mut stats = PruneStats::default();
        let granule_rows = footer.directory.granule_rows as usize;
        let mut row_groups = Vec::new();
        for &index in tenant.map(|t| &t.row_groups).into_iter().flatten() {
            let index = index as usize;
            let rows = footer.metadata().row_group(index).num_rows() as usize;
            let granules = vec![true; rows.div_ceil(granule_rows)];
            stats.row_groups_total += 1;
            stats.granules_total += granules.len();
            row_groups.push(PlannedRowGroup { index, rows, granules, picked: None });
        }
        stats.row_groups_by_time = self.drop_granules(&mut row_groups, &time_tests(layout.signal, predicate));
        if let Some(services) = &predicate.services {
            let test = Test::OneOf { column: "service_name", values: services.clone() };
            stats.row_groups_by_service = self.drop_granules(&mut row_groups, &[test]);
        }
        let mut tests = Vec::new();
        let mut wanted: Vec<u64> =
            predicate.tokens.iter().flat_map(|t| tokens(t)).map(|t| hash_token(t.as_bytes())).collect();
        for comparison in &predicate.comparisons {
            let resolved = Resolved::new(layout, &comparison.column, &rest_holds);
            if let (Op::Eq, Scalar::String(text)) = (comparison.op, &comparison.value)
                && resolved.is_indexed(|column| is_indexed(layout.signal, column))
            {
                wanted.extend(tokens(text).map(|t| hash_token(t.as_bytes())));
            }
            tests.extend(resolved.test(comparison));
        }
        stats.row_groups_by_statistics = self.drop_granules(&mut row_groups, &tests);
        if let Some(ids) = &predicate.trace_ids {
            let hashes: Vec<Vec<u64>> = ids.iter().map(|id| vec![hash_trace_id(id)]).collect();
            stats.row_groups_by_trace_id = self.filter(&mut row_groups, FilterKind::TraceIds, &hashes).await?;
        }
        wanted.sort_unstable();
        wanted.dedup();
        if !wanted.is_empty() {
            stats.row_groups_by_tokens = self.filter(&mut row_groups, FilterKind::Tokens, &[wanted]).await?;
        }
        for row_group in &row_groups {
            stats.granules_kept += row_group.granules.iter().filter(|kept| **kept).count();
            stats.rows_selected += row_group.ranges(granule_rows).iter().map(Range::len).sum::<usize>();
        }
        Ok(PrunedRows { stats, row_groups })
    }

    /// The granules that pruning left, in the order of rows.
    pub fn granules(&self, plan: &PrunedRows) -> Vec<RowRange> {
        let granule_rows = self.footer.directory.granule_rows as usize;
        let of = |row_group: &PlannedRowGroup| {
            let rows = row_group.kept_granules(granule_rows).collect::<Vec<_>>();
            let index = row_group.index;
            rows.into_iter().map(move |rows| RowRange { row_group: index, rows })
        };
        plan.row_groups.iter().flat_map(of).collect()
    }

    /// Plans a scan of these rows and no others, which shows them as they are stored: those of metrics are
    /// series, without columns of single samples. They are a tenant's, sorted, and no range is empty.
    pub fn plan_rows(&self, tenant: &TenantId, columns: &[Column], rows: &[RowRange]) -> Result<ScanPlan, BlockError> {
        let footer = &self.footer;
        self.check_owner(tenant, rows)?;
        let owned = self.tenant(tenant);
        let rest_holds = |owner: Owner, key: &str| owned.is_some_and(|t| rest_holds(t, owner, key));
        let mapping = Mapping::by_rows(&footer.layout, columns, &rest_holds, true).map_err(|e| e.at(&self.path))?;
        let mut row_groups: Vec<PlannedRowGroup> = Vec::new();
        let mut stats = PruneStats::default();
        for RowRange { row_group: index, rows } in rows {
            stats.rows_selected += rows.len();
            let picked = match row_groups.last_mut().filter(|last| last.index == *index) {
                Some(last) => last.picked.get_or_insert_default(),
                None => {
                    let all = footer.metadata().row_group(*index).num_rows() as usize;
                    row_groups.push(PlannedRowGroup { index: *index, rows: all, granules: vec![], picked: None });
                    let Some(last) = row_groups.last_mut() else { continue };
                    last.picked.get_or_insert_default()
                }
            };
            match picked.last_mut() {
                Some(last) if last.end == rows.start => last.end = rows.end,
                _ => picked.push(rows.clone()),
            }
        }
        for row_group in &mut row_groups {
            let all = 0..row_group.rows;
            if row_group.picked.as_deref() == Some(std::slice::from_ref(&all)) {
                row_group.picked = None;
                row_group.granules = vec![true; row_group.rows.div_ceil(footer.directory.granule_rows as usize)];
            }
        }
        Ok(ScanPlan { stats, mapping, row_groups, range: i64::MIN..=i64::MAX, ids: None, metric_names: None })
    }

    /// Drops row groups and granules whose bounds fail a test; returns how many row groups went.
    fn drop_granules(&self, row_groups: &mut Vec<PlannedRowGroup>, tests: &[Test]) -> usize {
        let before = row_groups.len();
        let metadata = self.footer.metadata();
        let granule_rows = self.footer.directory.granule_rows as usize;
        for test in tests {
            let leaf = leaf(&self.footer, test);
            row_groups.retain_mut(|row_group| {
                match (meet(&self.footer, row_group.index, leaf, test), leaf) {
                    (Meet::None, _) => return false,
                    (Meet::Some, Some(leaf)) => keep_granules(metadata, leaf, row_group, granule_rows, test),
                    (Meet::Some, None) | (Meet::All, _) => {}
                }
                row_group.any()
            });
        }
        before - row_groups.len()
    }

    /// Drops granules that a filter rules out: those that miss a hash of each of these lists. Returns how many
    /// row groups went.
    async fn filter(
        &self,
        row_groups: &mut Vec<PlannedRowGroup>,
        kind: FilterKind,
        any: &[Vec<u64>],
    ) -> Result<usize, BlockError> {
        let before = row_groups.len();
        let mut ranges = Vec::new();
        let entry_of = |row_group: &PlannedRowGroup| {
            let filters = &self.footer.directory.row_groups[row_group.index].filters;
            filters.iter().find(|f| {
                let fits = f.granules as usize == row_group.granules.len() && f.lines > 0;
                f.kind == kind as i32 && fits && f.offset.saturating_add(f.size()) <= self.footer.block.bytes
            })
        };
        for entry in row_groups.iter().filter_map(entry_of) {
            let line = u64::from(entry.granules) * LINE as u64;
            ranges.extend(any.iter().flatten().map(|hash| {
                let start = entry.offset + u64::from(line_of(*hash, entry.lines)) * line;
                start..start + line
            }));
        }
        let mut lines = self.read_ranges(&ranges).await?.into_iter();
        row_groups.retain_mut(|row_group| {
            if entry_of(row_group).is_none() {
                return true;
            }
            let mut kept = vec![false; row_group.granules.len()];
            for all in any {
                let mut holds = vec![true; kept.len()];
                for (hash, line) in all.iter().zip(lines.by_ref()) {
                    holds.iter_mut().zip(candidates(*hash, &line)).for_each(|(holds, candidate)| *holds &= candidate);
                }
                kept.iter_mut().zip(holds).for_each(|(kept, holds)| *kept |= holds);
            }
            row_group.granules.iter_mut().zip(kept).for_each(|(granule, kept)| *granule &= kept);
            row_group.any()
        });
        Ok(before - row_groups.len())
    }

    /// Of granules, in the order of rows, those of which some row may have all tokens of one of these lists in its
    /// attributes and its resource's. Of metrics numbers and booleans have tokens too, those of their JSON.
    pub async fn granules_with(
        &self,
        granules: Vec<RowRange>,
        any: &[Vec<String>],
    ) -> Result<Vec<RowRange>, BlockError> {
        let granule_rows = self.footer.directory.granule_rows.max(1) as usize;
        let mut row_groups: Vec<PlannedRowGroup> = Vec::new();
        for granule in &granules {
            let index = granule.row_group;
            if row_groups.last().is_none_or(|last| last.index != index) {
                let rows = self.footer.metadata().row_group(index).num_rows() as usize;
                let granules = vec![false; rows.div_ceil(granule_rows)];
                row_groups.push(PlannedRowGroup { index, rows, granules, picked: None });
            }
            let kept = row_groups.last_mut().and_then(|last| last.granules.get_mut(granule.rows.start / granule_rows));
            kept.into_iter().for_each(|kept| *kept = true);
        }
        let hashes = any.iter().map(|all| all.iter().map(|token| hash_token(token.as_bytes())).collect());
        self.filter(&mut row_groups, FilterKind::Tokens, &hashes.collect::<Vec<_>>()).await?;
        let kept = |granule: &RowRange| {
            let row_group = row_groups.binary_search_by_key(&granule.row_group, |row_group| row_group.index);
            row_group.is_ok_and(|at| row_groups[at].granules[granule.rows.start / granule_rows])
        };
        Ok(granules.into_iter().filter(kept).collect())
    }
}

fn time_tests(signal: Signal, predicate: &Predicate) -> Vec<Test> {
    let (least, greatest) = match signal {
        Signal::Metrics => ("min_time", "max_time"),
        _ => (time_column(signal), time_column(signal)),
    };
    let test =
        |column: &'static str, op, value| Test::Compare { column: column.into(), op, value: Scalar::Int64(value) };
    let mut tests = Vec::new();
    if predicate.min_time > i64::MIN {
        tests.push(test(greatest, Op::Ge, predicate.min_time));
    }
    if predicate.max_time < i64::MAX {
        tests.push(test(least, Op::Le, predicate.max_time));
    }
    tests
}

/// Whether some row of a tenant may have a key in the rest of its attributes, given
/// that the key has no column.
fn rest_holds(tenant: &v1::TenantRows, owner: Owner, key: &str) -> bool {
    let scope = match owner {
        Owner::Resource => v1::AttributeScope::Resource,
        Owner::Record => v1::AttributeScope::Record,
    } as i32;
    let known = tenant.attributes.binary_search_by(|a| (a.scope, a.key.as_str()).cmp(&(scope, key)));
    known.is_ok() || !tenant.attributes_complete
}

impl std::fmt::Debug for ScanPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScanPlan").field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl ScanPlan {
    /// The schema of the batches: that of [`crate::schema`].
    pub fn schema(&self) -> arrow_schema::SchemaRef {
        Arc::clone(self.mapping.schema())
    }
}
