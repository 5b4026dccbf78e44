//! A merge keeps every row with every field, whatever was sent and however little memory
//! it has; and what it leaves is in the order of compacted blocks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use bonghwa_block::{
    BlockOrigin, BlockReader, Column, EncodedBlock, FooterCache, Merge, MergeOptions, MergeWriter, Predicate, Removal,
    Removals, ScanRequest, read_footer, time_column, write_l0,
};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

const SECOND: i64 = 1_000_000_000;

struct World {
    store: Arc<dyn ObjectStore>,
    blocks: Vec<v1::Block>,
}

impl World {
    /// A few flushed blocks of random rows.
    async fn new(signal: Signal, rng: &mut StdRng) -> Self {
        let mut world = World { store: Arc::new(InMemory::new()), blocks: Vec::new() };
        for at in 0..rng.random_range(1..5u64) {
            let batches = support::batches(signal, rng);
            let path = format!("{signal}/{at}");
            let options = support::small_options(rng);
            let block = write_l0(signal, "logs-0001", at, at + 1, path, &batches, &options).unwrap();
            world.put(block).await;
        }
        world
    }

    async fn put(&mut self, block: EncodedBlock) {
        self.store.put(&Path::from(block.block.path.as_str()), block.bytes.into()).await.unwrap();
        self.blocks.push(block.block);
    }

    async fn reader(&self, block: &v1::Block) -> Arc<BlockReader> {
        let cache = FooterCache::new(0);
        Arc::new(BlockReader::open(self.store.clone(), Arc::new(block.clone()), &cache).await.unwrap())
    }

    async fn scan(&self, block: &v1::Block, tenant: &TenantId, columns: &[Column]) -> Vec<RecordBatch> {
        let reader = self.reader(block).await;
        let request =
            ScanRequest { tenant: tenant.clone(), columns: columns.to_vec(), predicate: Predicate::default() };
        let plan = reader.plan(&request).await.unwrap();
        reader.scan(plan).try_collect().await.unwrap()
    }

    fn tenants(&self) -> BTreeSet<TenantId> {
        self.blocks.iter().flat_map(|b| &b.tenants).map(|t| TenantId::new(&t.tenant).unwrap()).collect()
    }

    fn items(&self, tenant: &TenantId) -> u64 {
        let rows = self.blocks.iter().flat_map(|b| &b.tenants);
        rows.filter(|rows| rows.tenant == tenant.as_str()).map(|rows| rows.items).sum()
    }
}

/// Merges a tenant's rows of all blocks; also how many rows went.
async fn merge(
    world: &World,
    signal: Signal,
    tenant: &TenantId,
    removals: Removals,
    options: &MergeOptions,
    name: &str,
) -> (Vec<EncodedBlock>, u64) {
    let mut blocks = Vec::new();
    for block in &world.blocks {
        if block.tenants.iter().any(|rows| rows.tenant == tenant.as_str()) {
            blocks.push(world.reader(block).await);
        }
    }
    let mut merge = Merge::new(signal, tenant.clone(), blocks, removals, options.clone());
    let survey = merge.survey().await.unwrap();
    assert_eq!(survey.kept + survey.removed, world.items(tenant));
    let mut out = Vec::new();
    for window in survey.windows {
        let (start, end, items) = (window.start, window.end, window.items);
        let mut rows = merge.window(window);
        let mut writer = MergeWriter::new(tenant.clone(), &rows, options).unwrap();
        while let Some(chunk) = merge.next(&mut rows).await.unwrap() {
            assert!(chunk.items() > 0);
            writer.write(chunk).unwrap();
        }
        assert_eq!(writer.items(), items);
        let origin = BlockOrigin { path: format!("{name}/{start}"), level: 1, ..Default::default() };
        let block = writer.finish(origin).unwrap();
        let rows = &block.block.tenants[0];
        assert!(start <= rows.min_time && rows.max_time <= end, "a block crosses its window");
        out.push(block);
    }
    (out, survey.removed)
}

fn random_options(rng: &mut StdRng) -> MergeOptions {
    MergeOptions {
        write: support::small_options(rng),
        // The least that a merge takes makes it come in many chunks.
        memory_bytes: *[1, 64 << 20].choose(rng).unwrap(),
        window_nanos: *[100 * SECOND, 100_000 * SECOND, i64::MAX].choose(rng).unwrap(),
    }
}

/// The order of compacted blocks, as far as the logical columns tell it.
fn assert_in_order(signal: Signal, batches: &[RecordBatch]) {
    let mut last: Option<(String, i64)> = None;
    for batch in batches {
        let first = batch.column(0).as_string::<i32>();
        let times = batch.column(1).as_primitive::<TimestampNanosecondType>();
        for row in 0..batch.num_rows() {
            // Series of one metric follow each other: only their names are in order here.
            let time = if signal == Signal::Metrics { 0 } else { times.value(row) };
            let key = (first.value(row).to_owned(), time);
            assert!(last.as_ref().is_none_or(|last| *last <= key), "{last:?} before {key:?}");
            last = Some(key);
        }
    }
}

fn order_columns(signal: Signal) -> Vec<Column> {
    let first = match signal {
        Signal::Logs => "service_name",
        Signal::Traces => "trace_id",
        Signal::Metrics => "name",
    };
    vec![Column::Base(first), Column::Base(time_column(signal))]
}

async fn rows_of(world: &World, blocks: &[v1::Block], tenant: &TenantId, columns: &[Column]) -> Vec<String> {
    let mut rows = Vec::new();
    for block in blocks {
        rows.extend(support::rows(&world.scan(block, tenant, columns).await));
    }
    rows.sort();
    rows
}

/// Twice, so that blocks that were merged are merged as well.
async fn nothing_changes(signal: Signal, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(signal, &mut rng).await;
    for tenant in world.tenants() {
        let columns = support::columns(signal, &mut rng);
        let before = rows_of(&world, &world.blocks, &tenant, &columns).await;
        let mut from = World { store: world.store.clone(), blocks: world.blocks.clone() };
        for turn in ["first", "second"] {
            let options = random_options(&mut rng);
            let name = format!("{turn}/{}", tenant.as_str());
            let (blocks, removed) = merge(&from, signal, &tenant, Removals::new(signal, vec![]), &options, &name).await;
            assert_eq!(removed, 0);
            let mut to = World { store: world.store.clone(), blocks: Vec::new() };
            for block in blocks {
                to.put(block).await;
            }
            let after = rows_of(&to, &to.blocks, &tenant, &columns).await;
            assert_eq!(after, before, "seed {seed}, tenant {tenant}, {turn} merge");
            for block in &to.blocks {
                assert_in_order(signal, &to.scan(block, &tenant, &order_columns(signal)).await);
                assert_eq!(
                    read_footer(&to.store, &block.path).await.unwrap(),
                    v1::Block { origin: Some(v1::Origin::default()), ..block.clone() }
                );
            }
            let attributes = |blocks: &[v1::Block]| -> BTreeSet<(i32, String, u32)> {
                let mut kinds = std::collections::BTreeMap::new();
                for rows in blocks.iter().flat_map(|b| &b.tenants).filter(|rows| rows.tenant == tenant.as_str()) {
                    for a in &rows.attributes {
                        *kinds.entry((a.scope, a.key.clone())).or_insert(0) |= a.kinds;
                    }
                }
                kinds.into_iter().map(|((scope, key), kinds)| (scope, key, kinds)).collect()
            };
            assert_eq!(attributes(&to.blocks), attributes(&from.blocks), "seed {seed}");
            from = to;
        }
    }
}

fn random_removal(signal: Signal, rng: &mut StdRng) -> Removal {
    let mut selector = v1::Selector::default();
    let mut random_selector = |rng: &mut StdRng| {
        if rng.random_bool(0.4) {
            selector.service = format!("service-{}", rng.random_range(0..4));
        }
        if rng.random_bool(0.4) {
            let key = (*support::KEYS.choose(rng).unwrap()).to_owned();
            let value = (*["GET", "200", "true", "0", ""].choose(rng).unwrap()).to_owned();
            selector.attributes = vec![v1::AttributeMatch { key, value, scope: rng.random_range(0..3) }];
        }
        if signal == Signal::Logs && rng.random_bool(0.3) {
            selector.body_contains = (*["a", "failed", "봉"].choose(rng).unwrap()).to_owned();
        }
        if signal == Signal::Logs && rng.random_bool(0.3) {
            selector.max_severity = rng.random_range(1..25);
        }
        selector.clone()
    };
    let selector = random_selector(rng);
    let unless = if rng.random_bool(0.3) { vec![random_selector(rng)] } else { vec![] };
    let start = 1_700_000_000 * SECOND + rng.random_range(0..1000) * SECOND;
    let (min_time, max_time) = *[(i64::MIN, i64::MAX), (start, i64::MAX), (0, start)].choose(rng).unwrap();
    Removal { id: Removal::OF_ALL, selector, min_time, max_time, unless }
}

/// What a merge takes out is what a query no longer shows.
async fn removals_take_out_what_queries_hide(signal: Signal, seed: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::new(signal, &mut rng).await;
    let removals: Vec<Removal> = (0..rng.random_range(1..3)).map(|_| random_removal(signal, &mut rng)).collect();
    let removals = Removals::new(signal, removals);
    let mut all = 0;
    for tenant in world.tenants() {
        let columns = support::columns(signal, &mut rng);
        let mut shown = Vec::new();
        for block in &world.blocks {
            let asked: Vec<Column> = columns.iter().chain(removals.columns()).cloned().collect();
            for batch in world.scan(block, &tenant, &asked).await {
                shown.push(removals.apply(&batch, 0).unwrap());
            }
        }
        let options = random_options(&mut rng);
        let (blocks, removed) = merge(&world, signal, &tenant, removals.clone(), &options, tenant.as_str()).await;
        let mut to = World { store: world.store.clone(), blocks: Vec::new() };
        for block in blocks {
            to.put(block).await;
        }
        assert_eq!(rows_of(&to, &to.blocks, &tenant, &columns).await, support::rows(&shown), "seed {seed}");
        assert_eq!(removed + to.items(&tenant), world.items(&tenant));
        all += removed;
    }
    all
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn logs_stay(seed: u64) {
        run(nothing_changes(Signal::Logs, seed));
    }

    #[test]
    fn spans_stay(seed: u64) {
        run(nothing_changes(Signal::Traces, seed));
    }

    #[test]
    fn samples_stay(seed: u64) {
        run(nothing_changes(Signal::Metrics, seed));
    }

    #[test]
    fn what_is_removed_is_what_queries_hide(seed: u64) {
        for signal in Signal::ALL {
            run(removals_take_out_what_queries_hide(signal, seed));
        }
    }
}

#[test]
fn something_is_removed() {
    for signal in Signal::ALL {
        let removed: u64 = (0..10).map(|seed| run(removals_take_out_what_queries_hide(signal, seed))).sum();
        assert!(removed > 100, "{signal}: {removed} rows");
    }
}

/// A trace is found without reading other traces' granules.
#[test]
fn a_merged_trace_lies_together() {
    run(async {
        let mut rng = StdRng::seed_from_u64(5);
        let signal = Signal::Traces;
        let mut world = World::new(signal, &mut rng).await;
        for at in 10..40u64 {
            let batches = support::batches(signal, &mut rng);
            let path = format!("{signal}/{at}");
            world.put(write_l0(signal, "p", at, at + 1, path, &batches, &Default::default()).unwrap()).await;
        }
        let tenant = TenantId::default_tenant();
        let options = MergeOptions {
            write: bonghwa_block::WriteOptions { granule_rows: 16, ..Default::default() },
            memory_bytes: 64 << 20,
            window_nanos: i64::MAX,
        };
        let (blocks, _) = merge(&world, signal, &tenant, Removals::new(signal, vec![]), &options, "m").await;
        let mut to = World { store: world.store.clone(), blocks: Vec::new() };
        for block in blocks {
            to.put(block).await;
        }
        let largest = to.blocks.iter().max_by_key(|block| block.tenants[0].items).unwrap();
        let batches = to.scan(largest, &tenant, &[Column::Base("trace_id")]).await;
        let hex = batches[0].column(0).as_string::<i32>().value(batches[0].num_rows() / 2).to_owned();
        let id: [u8; 16] = std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap());
        let spans = batches
            .iter()
            .flat_map(|b| b.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>());
        let expected = spans.filter(|found| *found == hex).count();
        let predicate = Predicate { trace_ids: Some(vec![id]), ..Default::default() };
        let (found, stats) =
            support::scan_block(&to.store, largest, &tenant, &[Column::Base("trace_id")], predicate).await;
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), expected);
        assert!(stats.granules_total > 10 && stats.granules_kept <= 1 + expected.div_ceil(16), "{stats:?}");
    });
}

/// An attribute that few rows of a flush have, because it is another tenant's, gets a
/// column where it fills the block.
#[test]
fn columns_are_chosen_anew() {
    run(async {
        use bonghwa_model::batch::{Batch, Resource, Scope};
        use bonghwa_model::logs::{LogBatch, LogRow};
        let batch = |key: &str, rows: u32| {
            let mut batch = LogBatch::default();
            batch.common.resources.push(Resource { service_name: "s".into(), ..Default::default() });
            batch.common.scopes.push(Scope::default());
            for row in 0..rows {
                let (key, value) = (batch.common.keys.id(key), batch.common.arena.push(b"value"));
                batch.attributes.push(key, bonghwa_model::Kind::Str, value.0);
                batch.push_row(LogRow { time: i64::from(row), ..Default::default() });
            }
            batch.common.close_group(0, 0, rows);
            Arc::new(Batch::Logs(batch))
        };
        let (small, large) = (TenantId::new("small").unwrap(), TenantId::new("large").unwrap());
        let batches = vec![(small.clone(), batch("mine", 5)), (large, batch("theirs", 1000))];
        let mut world = World { store: Arc::new(InMemory::new()), blocks: Vec::new() };
        let flushed = write_l0(Signal::Logs, "p", 0, 1, "l0".into(), &batches, &Default::default()).unwrap();
        assert!(!column_names(&flushed).contains(&"attributes.mine".to_owned()));
        world.put(flushed).await;
        let options = MergeOptions { write: Default::default(), memory_bytes: 64 << 20, window_nanos: i64::MAX };
        let removals = Removals::new(Signal::Logs, vec![]);
        let (blocks, _) = merge(&world, Signal::Logs, &small, removals, &options, "m").await;
        let names = column_names(&blocks[0]);
        assert!(names.contains(&"attributes.mine".to_owned()), "{names:?}");
        assert!(!names.contains(&"attributes.theirs".to_owned()), "{names:?}");
    });
}

fn column_names(block: &EncodedBlock) -> Vec<String> {
    let file = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(block.bytes.clone()).unwrap();
    file.schema().fields().iter().map(|field| field.name().clone()).collect()
}
