//! A week of small blocks of two hundred tenants.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use bonghwa_block::{BlockReader, Column, FooterCache, Predicate, ScanRequest};
use bonghwa_compactor::CompactorOptions;
use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::{Kind, Signal, TenantId, Value};
use futures::TryStreamExt;
use object_store::ObjectStore;

use crate::world::{HOUR, World, without_errors};

const TENANTS: usize = 200;
const FLUSHES: i64 = 28;
const ROWS: i64 = 8;
/// A multiple of a day since 1970.
const START: i64 = 20_000 * 24 * HOUR;

fn batch(tenant: usize, flush: i64) -> Batch {
    let mut batch = LogBatch::default();
    let service = format!("service-{}", tenant % 7);
    let attributes = vec![("service.name".to_owned(), Value::Str(service.clone()))];
    batch.common.resources.push(Resource { service_name: service, attributes, ..Default::default() });
    batch.common.scopes.push(Scope::default());
    for row in 0..ROWS {
        let key = batch.common.keys.id("user");
        let user = batch.common.arena.push(format!("u{}", row % 3).as_bytes());
        batch.attributes.push(key, Kind::Str, user.0);
        let body = batch.common.arena.push(format!("tenant {tenant} said {row} in {flush}").as_bytes());
        let time = START + flush * 6 * HOUR + row * HOUR / 2;
        batch.push_row(LogRow { time, body_kind: Kind::Str, body, severity_number: 9, ..Default::default() });
    }
    batch.common.close_group(0, 0, ROWS as u32);
    Batch::Logs(batch)
}

/// Per tenant: rows, and a sum over times and bodies that no change of a row keeps.
async fn sums(world: &World) -> BTreeMap<String, (usize, u64)> {
    let store: Arc<dyn ObjectStore> = world.store.inner.clone();
    let mut sums: BTreeMap<String, (usize, u64)> = BTreeMap::new();
    for block in world.catalog().blocks() {
        let footers = FooterCache::new(0);
        let reader = BlockReader::open(store.clone(), block.clone(), &footers).await.unwrap();
        for rows in &block.tenants {
            let columns = ["time", "body", "attributes"].map(Column::Base).to_vec();
            let tenant = TenantId::new(&rows.tenant).unwrap();
            let plan = reader.plan(&ScanRequest { tenant, columns, predicate: Predicate::default() }).await.unwrap();
            let sum = sums.entry(rows.tenant.clone()).or_default();
            let batches: Vec<_> = reader.scan(plan).try_collect().await.unwrap();
            for batch in batches {
                let times = batch.column(0).as_primitive::<TimestampNanosecondType>();
                let (bodies, attributes) = (batch.column(1).as_string::<i32>(), batch.column(2).as_string::<i32>());
                for row in 0..batch.num_rows() {
                    let text = format!("{} {} {}", times.value(row), bodies.value(row), attributes.value(row));
                    sum.0 += 1;
                    sum.1 = sum.1.wrapping_add(bonghwa_cluster::object_hash(&text));
                }
            }
        }
    }
    sums
}

#[tokio::test]
async fn a_week_of_two_hundred_tenants() {
    let mut world = World::new().await;
    for flush in 0..FLUSHES {
        let tenants = (0..TENANTS)
            .map(|tenant| (TenantId::new(&format!("tenant-{tenant:03}")).unwrap(), Arc::new(batch(tenant, flush))));
        world.flush(Signal::Logs, &tenants.collect::<Vec<_>>(), &Default::default()).await;
    }
    let before = sums(&world).await;
    assert_eq!(before.len(), TENANTS);
    assert!(before.values().all(|sum| sum.0 == (FLUSHES * ROWS) as usize));
    let row_groups = |world: &World| -> usize {
        world.catalog().blocks().flat_map(|b| &b.tenants).map(|rows| rows.row_groups.len()).sum()
    };
    let groups = row_groups(&world);

    // Days are the longest windows.
    let windows = vec![Duration::from_secs(2 * 3600), Duration::from_secs(24 * 3600)];
    let options = CompactorOptions { memory_bytes: 32 << 20, windows, ..Default::default() };
    let compactor = world.compactor("n1", options.clone());
    let now = START + 8 * 24 * HOUR;
    let report = without_errors(compactor.run_once(now).await);
    assert!(report.peak_bytes <= options.memory_bytes as u64 / 2, "{report:?}");
    assert_eq!(sums(&world).await, before, "{report:?}");
    let catalog = world.catalog();
    assert!(catalog.blocks().all(|block| block.level == 2 && block.tenants.len() == 1));
    // A block for each tenant and day.
    assert_eq!(catalog.block_count(), TENANTS * 7, "{report:?}");
    assert!(row_groups(&world) * 3 < groups);
    let bytes: u64 = catalog.blocks().map(|block| block.bytes).sum();
    assert!(report.bytes_removed > bytes);
    assert_eq!(without_errors(compactor.run_once(now).await).jobs, 0);
}
