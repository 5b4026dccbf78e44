//! Samples that are read without Arrow are those that Arrow's reader gives.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, RecordBatch};
use bonghwa_block::{BlockReader, Column, EncodedBlock, FooterCache, Predicate, RowRange};
use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, PointKind};
use bonghwa_model::{Signal, TenantId};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Stands for the end of a series.
const ENDED: f64 = -12345.0;

/// Times and bits of values.
type Samples = Vec<(i64, u64)>;

async fn reader(block: &EncodedBlock) -> BlockReader {
    let store = support::store(block).await;
    BlockReader::open(store, Arc::new(block.block.clone()), &FooterCache::new(1 << 20)).await.unwrap()
}

async fn granules(reader: &BlockReader, tenant: &TenantId) -> Vec<RowRange> {
    reader.granules(&reader.prune(tenant, &Predicate::default()).await.unwrap())
}

/// What Arrow's reader gives, row by row.
async fn by_arrow(reader: &BlockReader, tenant: &TenantId, rows: &[RowRange], range: (i64, i64)) -> Vec<Samples> {
    let columns = ["times", "values", "ints", "flags"].map(Column::List);
    let plan = reader.plan_rows(tenant, &columns, rows).unwrap();
    let batches: Vec<RecordBatch> = reader.scan(plan).try_collect().await.unwrap();
    let of = |batch: &RecordBatch, row: usize| -> Samples {
        let list = |column: usize| Some(batch.column(column).as_list::<i32>()).filter(|list| list.is_valid(row));
        let items = |column: usize| list(column).map(|list| list.value(row));
        let [times, values, ints, flags] = [0, 1, 2, 3].map(items);
        let times = times.unwrap();
        let times = times.as_primitive::<TimestampNanosecondType>();
        let sample = |at: usize| {
            let value = values.as_ref().map(|v| v.as_primitive::<Float64Type>()).filter(|v| v.is_valid(at));
            let int = ints.as_ref().map(|v| v.as_primitive::<Int64Type>()).filter(|v| v.is_valid(at));
            let flags = flags.as_ref().map(|v| v.as_primitive::<Int32Type>()).filter(|v| v.is_valid(at));
            let ended = || flags.filter(|flags| flags.value(at) & 1 != 0).map(|_| ENDED);
            let value = value.map(|v| v.value(at)).or_else(|| int.map(|v| v.value(at) as f64)).or_else(ended)?;
            let time = times.value(at).div_euclid(1_000_000);
            (range.0..=range.1).contains(&time).then_some((time, value.to_bits()))
        };
        (0..times.len()).filter_map(sample).collect()
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| of(batch, row)).collect::<Vec<_>>()).collect()
}

/// The same by `numbers`, of those rows that are kept.
async fn by_numbers(
    reader: &BlockReader,
    tenant: &TenantId,
    rows: &[RowRange],
    range: (i64, i64),
    mut kept: impl FnMut() -> bool,
) -> Vec<Option<Samples>> {
    let mut numbers = reader.numbers(tenant, rows).await.unwrap().unwrap();
    let mut found = Vec::new();
    for _ in rows.iter().flat_map(|range| range.rows.clone()) {
        if !kept() {
            numbers.skip();
            found.push(None);
            continue;
        }
        let (mut times, mut values) = (vec![7], vec![7.0]);
        let count = numbers.next_row().unwrap().unwrap().append(range, ENDED, &mut times, &mut values);
        assert_eq!((times.len(), values.len()), (count + 1, count + 1));
        found.push(Some(times.into_iter().zip(values.into_iter().map(f64::to_bits)).skip(1).collect()));
    }
    assert!(numbers.next_row().unwrap().is_none());
    found
}

/// Compares all rows, and then some picked ones, within some time.
async fn compare(reader: &BlockReader, tenant: &TenantId, rng: &mut StdRng) -> usize {
    let all = granules(reader, tenant).await;
    let mut samples = 0;
    for round in 0..4 {
        let mut rows = Vec::new();
        for granule in &all {
            let mut start = granule.rows.start;
            while start < granule.rows.end {
                let end = (start + rng.random_range(1..40)).min(granule.rows.end);
                if round == 0 || rng.random_bool(0.4) {
                    rows.push(RowRange { row_group: granule.row_group, rows: start..end });
                }
                start = end;
            }
        }
        let mut range = (i64::MIN, i64::MAX);
        if round > 0 {
            let times = by_arrow(reader, tenant, &all, range).await;
            let mut times: Vec<i64> = times.into_iter().flatten().map(|(time, _)| time).collect();
            times.sort_unstable();
            if !times.is_empty() {
                let mut pick = || times[rng.random_range(0..times.len())];
                range = (pick(), pick());
            }
        }
        let expected = by_arrow(reader, tenant, &rows, range).await;
        let found = by_numbers(reader, tenant, &rows, range, || rng.random_bool(0.8)).await;
        assert_eq!(expected.len(), found.len());
        for (expected, found) in expected.iter().zip(found) {
            samples += found.as_ref().map_or(0, Vec::len);
            assert!(found.is_none_or(|found| found == *expected));
        }
    }
    samples
}

#[tokio::test]
async fn samples_of_all_kinds_of_metrics_are_the_same() {
    let mut rng = StdRng::seed_from_u64(21);
    let mut samples = 0;
    for _ in 0..60 {
        let batches = support::batches(Signal::Metrics, &mut rng);
        let block = support::write(Signal::Metrics, &batches, &support::small_options(&mut rng));
        let reader = reader(&block).await;
        for tenant in &block.block.tenants {
            samples += compare(&reader, &TenantId::new(&tenant.tenant).unwrap(), &mut rng).await;
        }
    }
    assert!(samples > 1000, "{samples}");
}

/// Series whose values and times take each way that a column may be encoded: dictionaries that become too large,
/// decimals with exceptions, integers of 64 bits, ends between them.
fn series(rng: &mut StdRng) -> Batch {
    let mut batch = MetricBatch::default();
    batch.common.resources.push(Resource { service_name: "shop".into(), ..Default::default() });
    batch.common.scopes.push(Scope::default());
    batch.metrics.push(Metric { name: "m".into(), ..Default::default() });
    let (series, mut rows) = (rng.random_range(1..400u64), 0);
    for id in 0..series {
        let (kind, jitter) = (rng.random_range(0..8), [1, 31_000_000, 14_000_000_000][rng.random_range(0..3)]);
        for sample in 0..rng.random_range(1..300) {
            let (point_kind, value) = match kind {
                0 => (PointKind::Double, f64::from(rng.random_range(0..10_000)) / 100.0),
                1 => (PointKind::Double, rng.random::<f64>()),
                2 if rng.random_bool(0.02) => (PointKind::Double, f64::from_bits(0x7ff0_0000_0000_0002)),
                2 => (PointKind::Double, f64::from(sample)),
                3 => (PointKind::Int, f64::from_bits(rng.random())),
                4 if rng.random_bool(0.1) => (PointKind::None, 0.0),
                4 => (PointKind::Int, f64::from_bits(sample as u64)),
                5 if rng.random_bool(0.3) => (PointKind::Int, f64::from_bits(sample as u64)),
                5 => (PointKind::Double, [1.5, f64::NAN, -0.0, f64::INFINITY][rng.random_range(0..4)]),
                6 => (PointKind::Double, 42.0),
                _ => (PointKind::None, 0.0),
            };
            batch.push_row(MetricRow {
                series: [2, id],
                time: i64::from(sample) * 15_000_000_000 + rng.random_range(0..jitter),
                point_kind,
                value: value.to_bits(),
                flags: u32::from(point_kind == PointKind::None),
                ..Default::default()
            });
            rows += 1;
        }
    }
    batch.common.close_group(0, 0, rows);
    Batch::Metrics(batch)
}

#[tokio::test]
async fn samples_of_all_encodings_are_the_same() {
    let mut rng = StdRng::seed_from_u64(22);
    let mut samples = 0;
    for _ in 0..25 {
        let batches = vec![(TenantId::default_tenant(), Arc::new(series(&mut rng)))];
        let block = support::write(Signal::Metrics, &batches, &support::small_options(&mut rng));
        samples += compare(&reader(&block).await, &TenantId::default_tenant(), &mut rng).await;
    }
    assert!(samples > 100_000, "{samples}");
}

#[tokio::test]
async fn damage_is_an_error_and_no_panic() {
    let mut rng = StdRng::seed_from_u64(23);
    let tenant = TenantId::default_tenant();
    // Of many series: most of the block is pages, and its footer lies at the end.
    let batches = (0..8).map(|_| (tenant.clone(), Arc::new(series(&mut rng)))).collect();
    let whole = support::write(Signal::Metrics, &batches, &Default::default());
    let rows = granules(&reader(&whole).await, &tenant).await;
    let mut errors = 0;
    for _ in 0..400 {
        let mut bytes = whole.bytes.to_vec();
        for _ in 0..rng.random_range(1..30) {
            let at = rng.random_range(0..bytes.len() / 2);
            bytes[at] = rng.random();
        }
        let reader = reader(&EncodedBlock { bytes: bytes.into(), ..whole.clone() }).await;
        let mut numbers = reader.numbers(&tenant, &rows).await.unwrap().unwrap();
        let (mut times, mut values) = (Vec::new(), Vec::new());
        loop {
            match numbers.next_row() {
                Ok(Some(row)) => row.append((i64::MIN, i64::MAX), ENDED, &mut times, &mut values),
                Ok(None) => break,
                Err(error) => {
                    assert!(error.to_string().contains(support::PATH), "{error}");
                    errors += 1;
                    break;
                }
            };
        }
    }
    assert!(errors > 200, "{errors}");
}
