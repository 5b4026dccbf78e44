//! Rows of series: pages hold few of them, and single ones can be read.
#![allow(clippy::unwrap_used, clippy::single_range_in_vec_init)]

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use bonghwa_block::{
    BlockReader, Column, FooterCache, Predicate, RowRange, ScanRequest, WriteOptions, inspect, read_footer, write_l0,
};
use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::{Kind, Signal, TenantId, Value};
use bonghwa_protocol::v1::Block;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};

const SERIES: usize = 3000;
const SAMPLES: usize = 240;
const STEP: i64 = 15_000_000_000;
const PATH: &str = "metrics/l0/x.parquet";

/// Every second series is of a metric of integers; times jitter by up to 30 ms.
fn batch() -> Batch {
    let mut batch = MetricBatch::default();
    let service = Value::Str("shop".into());
    let attributes = vec![("service.name".into(), service)];
    batch.common.resources.push(Resource { service_name: "shop".into(), attributes, ..Default::default() });
    batch.common.scopes.push(Scope::default());
    for name in ["floats", "integers"] {
        let metric_type = MetricType::Gauge;
        batch.metrics.push(Metric { name: name.into(), metric_type, ..Default::default() });
    }
    for number in 0..SERIES * SAMPLES {
        let (sample, series) = (number / SERIES, number % SERIES);
        let key = batch.common.keys.id("pod");
        let pod = batch.common.arena.push(format!("pod-{series}").as_bytes());
        batch.attributes.push(key, Kind::Str, pod.0);
        // No pattern, but the same every time.
        let noise = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let (point_kind, value) = match series % 2 {
            0 => (PointKind::Double, ((noise % 10_000) as f64 / 100.0).to_bits()),
            _ => (PointKind::Int, sample as u64 * 8 + noise % 16),
        };
        batch.push_row(MetricRow {
            metric: (series % 2) as u32,
            series: [1, series as u64],
            time: sample as i64 * STEP + (noise % 31) as i64 * 1_000_000,
            point_kind,
            value,
            ..Default::default()
        });
    }
    batch.common.close_group(0, 0, (SERIES * SAMPLES) as u32);
    Batch::Metrics(batch)
}

async fn written() -> (Arc<dyn ObjectStore>, BlockReader) {
    written_with(&WriteOptions::default()).await
}

async fn written_with(options: &WriteOptions) -> (Arc<dyn ObjectStore>, BlockReader) {
    let batches = [(TenantId::default_tenant(), Arc::new(batch()))];
    let block = write_l0(Signal::Metrics, "metrics-0001", 0, 1, PATH.into(), &batches, options).unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&PATH.into(), block.bytes.into()).await.unwrap();
    let footers = FooterCache::new(1 << 26);
    let reader = BlockReader::open(store.clone(), Arc::new(block.block), &footers).await.unwrap();
    (store, reader)
}

/// Id, times and values of each series.
fn rows(batches: &[RecordBatch]) -> Vec<(String, Vec<i64>, Option<Vec<f64>>)> {
    let row = |batch: &RecordBatch, row: usize| {
        let id = batch.column(0).as_string::<i32>().value(row).to_owned();
        let times = batch.column(1).as_list::<i32>().value(row);
        let values = batch.column(2).as_list::<i32>();
        let values = values.is_valid(row).then(|| values.value(row).as_primitive::<Float64Type>().values().to_vec());
        (id, times.as_primitive::<TimestampNanosecondType>().values().to_vec(), values)
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at))).collect()
}

/// A flush makes its row groups one after another: what it holds in memory is bounded by series, too.
#[tokio::test]
async fn many_series_lie_in_several_row_groups() {
    let scan = |reader: BlockReader| async move {
        let columns = [Column::Base("series_id"), Column::List("times"), Column::List("values")];
        let tenant = TenantId::default_tenant();
        let request = ScanRequest { tenant, columns: columns.to_vec(), predicate: Predicate::default() };
        let plan = reader.plan(&request).await.unwrap();
        let mut rows = rows(&reader.scan(plan).try_collect::<Vec<_>>().await.unwrap());
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows
    };
    let whole = scan(written().await.1).await;
    for options in [
        WriteOptions { row_group_rows: 1000, ..Default::default() },
        WriteOptions { row_group_samples: 1000 * SAMPLES, ..Default::default() },
    ] {
        let (store, reader) = written_with(&options).await;
        let groups: Vec<i64> = inspect(&store, PATH).await.unwrap().row_groups.iter().map(|group| group.rows).collect();
        assert_eq!(groups, [1000; SERIES / 1000]);
        assert_eq!(scan(reader).await, whole);
    }
}

#[tokio::test]
async fn pages_hold_few_series() {
    let (store, _) = written().await;
    let inspection = inspect(&store, PATH).await.unwrap();
    for (name, series) in [("time_offsets", SERIES), ("numbers", SERIES)] {
        let pages = inspection.columns.iter().find(|column| column.name == name).unwrap().pages;
        assert!((10..=150).contains(&(series / pages)), "{name}: {series} series in {pages} pages");
    }
    // Jitter of 31 milliseconds is 5 bits; half of the values are 14 bits, half 4.
    assert!(inspection.bytes < (SERIES * SAMPLES * 2) as u64, "{} bytes", inspection.bytes);
}

/// Version 1 had times and values as they are. The block is one that a server wrote then.
#[tokio::test]
async fn blocks_of_version_1_are_read() {
    const BLOCK: &[u8] = include_bytes!("blocks/metrics-v1.parquet");
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&PATH.into(), BLOCK.into()).await.unwrap();
    let described = Block { path: PATH.into(), bytes: BLOCK.len() as u64, ..read_footer(&store, PATH).await.unwrap() };
    let reader = BlockReader::open(store, Arc::new(described), &FooterCache::new(1 << 26)).await.unwrap();
    assert_eq!(reader.block().version, 1);
    let columns = [Column::Base("name"), Column::List("times"), Column::List("values"), Column::List("ints")];
    let request =
        ScanRequest { tenant: TenantId::default_tenant(), columns: columns.to_vec(), predicate: Predicate::default() };
    let batches: Vec<RecordBatch> = reader.scan(reader.plan(&request).await.unwrap()).try_collect().await.unwrap();
    let of = |wanted: &str, column: usize| {
        let rows = batches.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)));
        let row = |(batch, row): (&RecordBatch, usize)| batch.column(column).as_list::<i32>().value(row);
        rows.filter(|(batch, row)| batch.column(0).as_string::<i32>().value(*row) == wanted)
            .map(row)
            .collect::<Vec<_>>()
    };
    let start = 1_767_225_600_000_000_000;
    for (times, values) in of("temperature", 1).iter().zip(of("temperature", 2)) {
        let expected = [0, 15_001, 30_002, 45_000, 60_001].map(|ms| start + ms * 1_000_000);
        assert_eq!(times.as_primitive::<TimestampNanosecondType>().values().as_ref(), expected);
        assert_eq!(values.as_primitive::<Float64Type>().values().as_ref(), [21.5, 21.75, -0.5, 1e300, 22.0]);
    }
    let ints = of("queue", 3);
    assert_eq!(ints.len(), 2);
    assert_eq!(ints[0].as_primitive::<Int64Type>().values().as_ref(), [1, 9_007_199_254_740_993, -3]);
}

#[tokio::test]
async fn rows_can_be_picked() {
    let (_, reader) = written().await;
    let tenant = TenantId::default_tenant();
    let columns = [Column::Base("series_id"), Column::List("times"), Column::List("values")];
    let request = ScanRequest { tenant: tenant.clone(), columns: columns.to_vec(), predicate: Predicate::default() };
    let pruned = reader.prune(&tenant, &request.predicate).await.unwrap();
    let granules = reader.granules(&pruned);
    let plan = reader.plan_pruned(&request, pruned).unwrap();
    let all = rows(&reader.scan(plan).try_collect::<Vec<_>>().await.unwrap());
    assert_eq!((all.len(), granules.iter().map(|g| g.rows.len()).sum::<usize>()), (SERIES, SERIES));
    assert_eq!(
        granules.iter().map(|g| (g.row_group, g.rows.start)).collect::<Vec<_>>(),
        [(0, 0), (0, 1024), (0, 2048)]
    );
    for picked in
        [vec![0..1], vec![5..6, 7..9, 1023..1025, 2999..3000], vec![0..3000], vec![100..200, 200..300], vec![]]
    {
        let ranges: Vec<RowRange> = picked.iter().map(|rows| RowRange { row_group: 0, rows: rows.clone() }).collect();
        let plan = reader.plan_rows(&tenant, &columns, &ranges).unwrap();
        let found = rows(&reader.scan(plan).try_collect::<Vec<_>>().await.unwrap());
        let expected: Vec<_> = picked.iter().cloned().flatten().map(|row| all[row].clone()).collect();
        assert_eq!(found, expected, "{picked:?}");
    }
    // Without lists there is still a row for each series.
    let ranges = [RowRange { row_group: 0, rows: 10..20 }];
    let plan = reader.plan_rows(&tenant, &columns[..1], &ranges).unwrap();
    let batches: Vec<RecordBatch> = reader.scan(plan).try_collect().await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 10);
    let other = TenantId::new("other").unwrap();
    assert!(reader.plan_rows(&other, &columns, &ranges).is_err());
    assert!(reader.plan_rows(&tenant, &[Column::Base("value")], &ranges).is_err());
}
