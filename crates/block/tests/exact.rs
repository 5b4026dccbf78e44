//! What a block shows is what the tail showed, whatever was sent; and what a block
//! says of itself is true.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeSet;

use bonghwa_block::{Predicate, describe, read_footer, to_record_batch};
use bonghwa_model::{Signal, TenantId};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn tenants(batches: &support::TenantBatches) -> BTreeSet<TenantId> {
    batches.iter().map(|(tenant, _)| tenant.clone()).collect()
}

fn block_equals_tail(signal: Signal, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let batches = support::batches(signal, &mut rng);
    let block = support::write(signal, &batches, &support::small_options(&mut rng));
    runtime().block_on(async {
        let store = support::store(&block).await;
        for tenant in tenants(&batches) {
            let columns = support::columns(signal, &mut rng);
            let mine = batches.iter().filter(|(t, _)| *t == tenant);
            let tail: Vec<_> =
                mine.map(|(_, batch)| to_record_batch(&batch.clone().into(), &columns).unwrap()).collect();
            let (read, stats) = support::scan(&store, &block, &tenant, &columns, Predicate::default()).await;
            for batch in read.iter().chain(&tail) {
                assert_eq!(batch.schema(), bonghwa_block::schema(signal, &columns));
            }
            assert_eq!(support::rows(&read), support::rows(&tail), "seed {seed}, tenant {tenant}");
            assert_eq!(stats.granules_kept, stats.granules_total);
            let (counted, _) = support::scan(&store, &block, &tenant, &[], Predicate::default()).await;
            let count: usize = counted.iter().map(|b| b.num_rows()).sum();
            assert_eq!(count, tail.iter().map(|b| b.num_rows()).sum::<usize>());
        }
    });
}

fn description_is_true(signal: Signal, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let batches = support::batches(signal, &mut rng);
    let block = support::write(signal, &batches, &support::small_options(&mut rng));
    let said = &block.block;
    assert_eq!((said.version, said.level, said.from, said.to), (2, 0, 3, 17));
    assert_eq!((said.partition.as_str(), said.path.as_str()), ("p-0001", support::PATH));
    assert_eq!(said.bytes, block.bytes.len() as u64);
    assert_eq!(said.model_signal().unwrap(), signal);
    runtime().block_on(async {
        let store = support::store(&block).await;
        assert_eq!(&read_footer(&store, support::PATH).await.unwrap(), said);
    });
    let file = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(block.bytes.clone()).unwrap();
    let metadata = std::sync::Arc::clone(file.metadata());
    let mut row_groups: Vec<u32> = Vec::new();
    for tenant in &said.tenants {
        let id = TenantId::new(&tenant.tenant).unwrap();
        let mine = || batches.iter().filter(|(t, _)| *t == id).map(|(_, b)| &**b);
        let described = describe(mine()).finish(&id);
        assert_eq!(tenant.items, mine().map(|b| b.rows() as u64).sum::<u64>());
        assert_eq!(tenant.min_time, mine().flat_map(|b| b.times()).copied().min().unwrap());
        assert_eq!(tenant.max_time, mine().flat_map(|b| b.times()).copied().max().unwrap());
        assert_eq!((&tenant.attributes, &tenant.services), (&described.attributes, &described.services));
        assert!(tenant.attributes_complete && tenant.services.is_sorted());
        let rows: i64 = tenant.row_groups.iter().map(|r| metadata.row_group(*r as usize).num_rows()).sum();
        assert_eq!(tenant.rows as i64, rows);
        if signal != Signal::Metrics {
            assert_eq!(tenant.rows, tenant.items);
        }
        for row_group in &tenant.row_groups {
            let statistics = metadata.row_group(*row_group as usize).column(0).statistics().unwrap();
            // The first column is the tenant: its bounds show that a row group has but one.
            assert_eq!(statistics.min_bytes_opt().unwrap(), tenant.tenant.as_bytes());
            assert_eq!(statistics.max_bytes_opt().unwrap(), tenant.tenant.as_bytes());
        }
        row_groups.extend(&tenant.row_groups);
    }
    assert_eq!(row_groups, (0..metadata.num_row_groups() as u32).collect::<Vec<_>>());
    let mut with_rows = tenants(&batches);
    with_rows.retain(|t| batches.iter().any(|(other, b)| other == t && b.rows() > 0));
    assert_eq!(
        said.tenants.iter().map(|t| t.tenant.as_str()).collect::<Vec<_>>(),
        with_rows.iter().map(|t| t.as_str()).collect::<Vec<_>>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() })]

    #[test]
    fn logs_are_exact(seed: u64) {
        block_equals_tail(Signal::Logs, seed);
        description_is_true(Signal::Logs, seed);
    }

    #[test]
    fn spans_are_exact(seed: u64) {
        block_equals_tail(Signal::Traces, seed);
        description_is_true(Signal::Traces, seed);
    }

    #[test]
    fn metrics_are_exact(seed: u64) {
        block_equals_tail(Signal::Metrics, seed);
        description_is_true(Signal::Metrics, seed);
    }
}
