//! Reading the rows of a planned scan.

use std::collections::BTreeSet;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::DataType;
use bonghwa_model::prometheus_names;
use bonghwa_protocol::v1;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowPredicateFn, RowFilter, RowSelection};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;

use super::footer::{panicked, parse_path};
use super::object::ObjectReader;
use super::plan::{IdTest, PlannedRowGroup, ScanPlan};
use super::{Footer, FooterCache};
use crate::BlockError;
use crate::logical::Arrays;

/// Log records or spans per batch.
const BATCH_ROWS: usize = 8192;
/// Metric samples per batch, about.
const BATCH_SAMPLES: u64 = 16 * 1024;

/// One block, ready to be scanned.
pub struct BlockReader {
    store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) footer: Arc<Footer>,
    deletes_through: u64,
}

impl BlockReader {
    /// Reads the footer, or takes it from the cache.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        block: Arc<v1::Block>,
        footers: &FooterCache,
    ) -> Result<Self, BlockError> {
        let path = parse_path(&block.path)?;
        let footer = footers.get(&store, &block.path, block.bytes).await?;
        Ok(BlockReader { store, path, footer, deletes_through: block.deletes_through })
    }

    /// The block's description, from its footer.
    pub fn block(&self) -> &v1::Block {
        &self.footer.block
    }

    /// Deletes up to this id were carried out on the block, or do not concern it, as the catalog says.
    pub fn deletes_through(&self) -> u64 {
        self.deletes_through
    }

    /// Reads ranges of the object.
    pub(super) async fn read_ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, BlockError> {
        if ranges.is_empty() {
            return Ok(Vec::new());
        }
        let read = self.store.get_ranges(&self.path, ranges).await;
        let read = read.map_err(|e| BlockError::store(&self.path, e))?;
        if read.iter().zip(ranges).any(|(bytes, range)| bytes.len() as u64 != range.end - range.start) {
            return Err(BlockError::damaged(&self.path, "it is shorter than the catalog says"));
        }
        Ok(read)
    }

    /// Reads the rows of a plan. Batches have the schema of [`ScanPlan::schema`].
    pub fn scan(&self, plan: ScanPlan) -> BoxStream<'static, Result<RecordBatch, BlockError>> {
        match self.try_scan(plan) {
            Ok(stream) => stream,
            Err(error) => futures::stream::once(async move { Err(error) }).boxed(),
        }
    }

    fn try_scan(&self, plan: ScanPlan) -> Result<BoxStream<'static, Result<RecordBatch, BlockError>>, BlockError> {
        let path = self.path.clone();
        let arrays = self.arrays(&plan, &plan.mapping.needed)?;
        let (mapping, range) = (plan.mapping, plan.range);
        Ok(arrays
            .and_then(move |arrays| futures::future::ready(mapping.apply(&arrays, &range).map_err(|e| e.at(&path))))
            .try_filter(|batch| futures::future::ready(batch.num_rows() > 0))
            .boxed())
    }

    /// Reads the physical columns of these indexes, of the granules that a plan left.
    pub(crate) fn arrays(
        &self,
        plan: &ScanPlan,
        needed: &BTreeSet<usize>,
    ) -> Result<BoxStream<'static, Result<Arrays, BlockError>>, BlockError> {
        let footer = Arc::clone(&self.footer);
        if plan.row_groups.is_empty() {
            return Ok(futures::stream::empty().boxed());
        }
        let read = footer.layout.packed.as_ref().map_or_else(|| needed.clone(), |packed| packed.sources(needed));
        let path = self.path.clone();
        let mut object = ObjectReader::new(Arc::clone(&self.store), path.clone());
        object.metadata = Some(Arc::clone(footer.metadata()));
        let schema = footer.metadata().file_metadata().schema_descr_ptr();
        let mut builder = ParquetRecordBatchStreamBuilder::new_with_metadata(object, footer.arrow.clone())
            .with_row_groups(plan.row_groups.iter().map(|r| r.index).collect())
            .with_projection(ProjectionMask::roots(&schema, read.iter().copied()))
            .with_batch_size(self.batch_size(plan, needed));
        if plan.row_groups.iter().any(PlannedRowGroup::is_partial) {
            builder = builder.with_row_selection(self.selection(plan));
        }
        if let (Some(test), Some(index)) = (plan.ids.clone(), footer.layout.index("trace_id")) {
            let mask = ProjectionMask::roots(&schema, [index]);
            let matches = move |batch: RecordBatch| Ok(with_ids(&batch, &test));
            builder = builder.with_row_filter(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, matches))]));
        }
        if let (Some(names), Some(index)) = (plan.metric_names.clone(), footer.layout.index("name")) {
            let mask = ProjectionMask::roots(&schema, [index]);
            let matches = move |batch: RecordBatch| Ok(may_be_called(&batch, &names));
            builder = builder.with_row_filter(RowFilter::new(vec![Box::new(ArrowPredicateFn::new(mask, matches))]));
        }
        let stream = builder.build().map_err(|e| BlockError::parquet(&path, e))?;
        let columns = footer.layout.schema.fields().len();
        let needed = needed.clone();
        let batches = AssertUnwindSafe(stream).catch_unwind().map(move |batch| match batch {
            Ok(batch) => batch.map_err(|e| BlockError::parquet(&path, e)),
            Err(payload) => Err(panicked(&path, &*payload)),
        });
        let arrays = move |batch: RecordBatch| {
            let mut arrays = Arrays { columns: vec![None; columns], rows: batch.num_rows() };
            for (index, column) in read.iter().zip(batch.columns()) {
                arrays.columns[*index] = Some(Arc::clone(column));
            }
            if let Some(packed) = &footer.layout.packed {
                packed.unpack(&mut arrays, &needed)?;
            }
            Ok(arrays)
        };
        Ok(batches.map(move |batch| batch.and_then(&arrays)).boxed())
    }

    fn selection(&self, plan: &ScanPlan) -> RowSelection {
        let granule_rows = self.footer.directory.granule_rows as usize;
        let mut ranges = Vec::new();
        let mut before = 0;
        for row_group in &plan.row_groups {
            ranges.extend(row_group.ranges(granule_rows).into_iter().map(|r| r.start + before..r.end + before));
            before += row_group.rows;
        }
        RowSelection::from_consecutive_ranges(ranges.into_iter(), before)
    }

    /// Parquet rows per batch: series are many samples each, where those are read.
    fn batch_size(&self, plan: &ScanPlan, needed: &BTreeSet<usize>) -> usize {
        let tenants = &self.footer.block.tenants;
        let (rows, items) = tenants.iter().fold((0, 0), |(rows, items), t| (rows + t.rows, items + t.items));
        let per_row = items.checked_div(rows).unwrap_or(1).max(1);
        let fields = self.footer.layout.schema.fields();
        let lists = needed.iter().any(|index| matches!(fields[*index].data_type(), DataType::List(_)));
        let most = if lists { (BATCH_SAMPLES / per_row).clamp(1, BATCH_ROWS as u64) as usize } else { BATCH_ROWS };
        most.min(plan.stats.rows_selected.max(1))
    }
}

/// The series whose metric may be called one of these in Prometheus.
fn may_be_called(batch: &RecordBatch, wanted: &[String]) -> BooleanArray {
    let Some(names) = batch.columns().first().and_then(|c| c.as_string_opt::<i32>()) else {
        return BooleanArray::from(vec![true; batch.num_rows()]);
    };
    // Series are sorted by name: most have that of the one before.
    let mut last = None;
    let passes = |row: usize| {
        let name = names.value(row);
        match last {
            Some((known, passes)) if known == name => passes,
            _ => {
                let passes = wanted.iter().any(|wanted| prometheus_names::may_be_called(name, wanted));
                last = Some((name, passes));
                passes
            }
        }
    };
    (0..names.len()).map(passes).map(Some).collect()
}

/// The rows whose trace id passes; one that is missing counts as zero.
fn with_ids(batch: &RecordBatch, test: &IdTest) -> BooleanArray {
    let Some(column) = batch.columns().first().and_then(|c| c.as_fixed_size_binary_opt()) else {
        return BooleanArray::from(vec![true; batch.num_rows()]);
    };
    let id = |row: usize| column.is_valid(row).then(|| <[u8; 16]>::try_from(column.value(row)).ok()).flatten();
    let passes = |row: usize| match test {
        IdTest::OneOf(ids) => id(row).is_some_and(|id| ids.contains(&id)),
        IdTest::Between(range) => range.contains(&id(row).unwrap_or_default()),
    };
    (0..column.len()).map(passes).map(Some).collect()
}
