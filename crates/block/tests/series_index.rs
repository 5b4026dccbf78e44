//! The series of batches in memory are those of a block with the same batches.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use bonghwa_block::{Column, Predicate, SeriesIndex, SeriesRequest};
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TOLD: [&str; 13] = [
    "series_id",
    "name",
    "type",
    "unit",
    "description",
    "monotonic",
    "temporality",
    "metadata",
    "service_name",
    "scope_name",
    "scope_version",
    "resource",
    "attributes",
];
const LISTS: [&str; 8] = ["times", "values", "ints", "counts", "sums", "flags", "buckets", "exemplars"];

fn columns() -> Vec<Column> {
    TOLD.iter().map(|name| Column::Base(name)).chain(LISTS.iter().map(|name| Column::List(name))).collect()
}

/// What series say of themselves, and each sample as a text, with the id of its series.
fn shown(batches: &[RecordBatch]) -> (Vec<String>, Vec<String>) {
    let options = FormatOptions::default().with_null("-");
    let told: Vec<RecordBatch> =
        batches.iter().map(|batch| batch.project(&(0..TOLD.len()).collect::<Vec<_>>()).unwrap()).collect();
    let mut samples = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let list =
                |name: &str| Some(batch.column_by_name(name)?.as_list::<i32>()).filter(|list| list.is_valid(row));
            let lists: Vec<_> = LISTS.iter().map(|name| list(name).map(|list| list.value(row))).collect();
            let id = batch.column(0).as_string::<i32>().value(row);
            for at in 0..lists[0].as_ref().map_or(0, |times| times.len()) {
                let item = |list: &Option<Arc<dyn Array>>| match list {
                    Some(list) => ArrayFormatter::try_new(list, &options).unwrap().value(at).to_string(),
                    None => "-".to_owned(),
                };
                samples.push(format!("{id} {}", lists.iter().map(item).collect::<Vec<_>>().join(" ")));
            }
        }
    }
    samples.sort();
    (support::rows(&told), samples)
}

/// What a block of these batches shows.
async fn of_block(batches: &[Arc<Batch>]) -> (Vec<String>, Vec<String>) {
    let tenant = TenantId::default_tenant();
    let batches: Vec<_> = batches.iter().map(|batch| (tenant.clone(), batch.clone())).collect();
    if batches.iter().all(|(_, batch)| batch.rows() == 0) {
        return Default::default();
    }
    let block = support::write(Signal::Metrics, &batches, &Default::default());
    let store = support::store(&block).await;
    shown(&support::scan(&store, &block, &tenant, &columns(), Predicate::default()).await.0)
}

fn request<'a>(positions: (u64, u64), columns: &'a [Column]) -> SeriesRequest<'a> {
    let time = (i64::MIN, i64::MAX);
    SeriesRequest { positions, time, columns, names: &|_| true, services: &[], ids: &[] }
}

#[tokio::test]
async fn series_are_those_of_a_block() {
    let mut rng = StdRng::seed_from_u64(31);
    let columns = columns();
    for round in 0..60 {
        let batches = support::batches(Signal::Metrics, &mut rng);
        let batches: Vec<(u64, Arc<Batch>)> =
            batches.into_iter().enumerate().map(|(at, (_, batch))| (10 + 2 * at as u64, batch)).collect();
        let mut index = SeriesIndex::new(5);
        let mut after = 5;
        for (position, batch) in &batches {
            index.push(*position, batch.clone()).unwrap();
            if rng.random_bool(0.2) {
                after = rng.random_range(after..=*position);
                index.forget(after).unwrap();
                assert_eq!(index.after(), after);
            }
        }
        for _ in 0..4 {
            let after = rng.random_range(after..=24);
            let through = rng.random_range(after..=25);
            let of_range = batches.iter().filter(|(position, _)| *position > after && *position <= through);
            let expected = of_block(&of_range.map(|(_, batch)| batch.clone()).collect::<Vec<_>>()).await;
            let found = shown(&index.read(&request((after, through), &columns)).unwrap());
            assert_eq!(found.1, expected.1, "round {round}");
            // Of a series with two resources, which nobody sends, one is told.
            let all = of_block(&batches.iter().map(|(_, batch)| batch.clone()).collect::<Vec<_>>()).await.0;
            let all: BTreeSet<String> = all.into_iter().collect();
            assert!(found.0.iter().all(|told| all.contains(told)), "round {round}");
            let ids = |rows: &[String]| rows.iter().map(|row| row[..32].to_owned()).collect::<BTreeSet<_>>();
            assert_eq!(ids(&found.0), ids(&expected.0));
            assert_eq!(ids(&found.0).len(), found.0.len(), "each once");
        }
    }
}

#[tokio::test]
async fn requests_are_kept_to() {
    let mut rng = StdRng::seed_from_u64(32);
    let batch = loop {
        match support::batches(Signal::Metrics, &mut rng).pop() {
            Some((_, batch)) if batch.rows() > 40 => break batch,
            _ => {}
        }
    };
    let mut index = SeriesIndex::new(0);
    index.push(1, batch.clone()).unwrap();
    let Batch::Metrics(metrics) = &*batch else { panic!("metrics") };
    let columns = columns();
    let all = request((0, 1), &columns);
    let whole = shown(&index.read(&all).unwrap());
    // Names.
    let named = SeriesRequest { names: &|name| name == "metric_1", ..all };
    let named = shown(&index.read(&named).unwrap());
    assert!(!named.0.is_empty() && named.0.iter().all(|row| row.contains("metric_1")));
    // Ids: each once, unknown ones are passed over.
    let ids = [[3, 9], [1, 9], [77, 77]];
    let by_id = shown(&index.read(&SeriesRequest { ids: &ids, ..request((0, 1), &columns) }).unwrap());
    let is_asked = |row: &&String| row.starts_with("00000000000000030") || row.starts_with("00000000000000010");
    assert_eq!(by_id.1, whole.1.iter().filter(is_asked).cloned().collect::<Vec<_>>());
    // Time: without lists as well.
    let mut times = metrics.time.clone();
    times.sort_unstable();
    let time = (times[10], times[20]);
    let in_time = metrics.time.iter().filter(|t| (time.0..=time.1).contains(t)).count();
    let timed = index.read(&SeriesRequest { time, ..request((0, 1), &columns) }).unwrap();
    assert_eq!(shown(&timed).1.len(), in_time);
    let only_ids = [Column::Base("series_id")];
    let bare = index.read(&SeriesRequest { time, ..request((0, 1), &only_ids) }).unwrap();
    assert_eq!(
        bare.iter().map(RecordBatch::num_rows).sum::<usize>(),
        timed.iter().map(RecordBatch::num_rows).sum::<usize>()
    );
    // Services.
    let service = metrics.common.resources[0].service_name.clone();
    let of_service = SeriesRequest { services: std::slice::from_ref(&service), ..request((0, 1), &columns) };
    let rows = shown(&index.read(&of_service).unwrap()).0;
    assert!(rows.iter().all(|row| row.split('\u{1f}').nth(8) == Some(&service)));
    // What no series tells.
    let unknown = [Column::Base("value")];
    let error = index.read(&request((0, 1), &unknown)).unwrap_err().to_string();
    assert!(error.contains("value"), "{error}");
}

#[test]
fn what_is_forgotten_is_given_back() {
    let mut rng = StdRng::seed_from_u64(33);
    let mut index = SeriesIndex::new(0);
    for position in 1..200 {
        for (_, batch) in support::batches(Signal::Metrics, &mut rng) {
            index.push(position, batch).unwrap();
        }
        if position > 20 {
            index.forget(position - 10).unwrap();
            assert!(index.bytes() < 200_000, "{}", index.bytes());
        }
    }
    index.forget(500).unwrap();
    assert_eq!((index.bytes(), index.after(), index.through()), (0, 500, 500));
}
