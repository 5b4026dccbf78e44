#![allow(clippy::unwrap_used)]
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampNanosecondType;
use bonghwa_block::{Column, SeriesRequest};
use bonghwa_model::Kind;
use bonghwa_model::batch::{Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow};

use super::*;

fn record(time: i64) -> Arc<Batch> {
    let mut batch = LogBatch::default();
    batch.common.resources.push(Resource { service_name: "cart".into(), ..Default::default() });
    batch.common.scopes.push(Scope::default());
    batch.push_row(LogRow { time, ..Default::default() });
    batch.common.close_group(0, 0, 1);
    Arc::new(Batch::Logs(batch))
}

fn shop() -> TenantId {
    TenantId::new("shop").unwrap()
}

fn name(time: i64) -> Option<BatchId> {
    Some(BatchId::new(time as u128))
}

fn entry(time: i64) -> Bytes {
    let bytes = codec::encode(&record(time)).into();
    frame::encode([(name(time), &shop(), &bytes)].into_iter())
}

fn payload(time: i64, decoded: bool) -> Payload {
    let staged = Staged::new(vec![name(time)], vec![(shop(), record(time))], vec![]);
    if decoded { Payload::with_decoded(entry(time), Arc::new(staged)) } else { Payload::new(entry(time)) }
}

fn leading(watermark: u64) -> (Head, Arc<HeadMemory>) {
    let memory = Arc::new(HeadMemory::default());
    let head = Head::new("logs-0001".into(), watermark, memory.clone());
    head.begin_loading();
    assert_eq!(head.finish_loading(), None);
    (head, memory)
}

/// A leading head with one record each at the positions 1, 3 and 4; 2 was the log's own.
fn head(watermark: u64) -> (Head, Arc<HeadMemory>) {
    let (head, memory) = leading(watermark);
    for (position, decoded) in [(1, true), (3, false), (4, true)] {
        head.apply(position, &payload(position as i64, decoded));
    }
    (head, memory)
}

fn times(head: &Head, watermark: u64) -> Result<Vec<i64>, TailError> {
    let pieces = head.tail(&shop(), watermark, head.applied())?;
    Ok(pieces.iter().flat_map(|piece| piece.times()).collect())
}

#[test]
fn a_tail_begins_after_the_watermark_and_belongs_to_one_tenant() {
    let (head, _) = head(0);
    assert_eq!(times(&head, 0), Ok(vec![1, 3, 4]), "decoded or read back, it is the same");
    assert_eq!(times(&head, 3), Ok(vec![4]));
    assert_eq!(head.tail(&TenantId::default_tenant(), 0, 4).unwrap().len(), 0);
    assert_eq!(head.describe(&shop(), 0).unwrap().rows.unwrap().rows, 3);
}

#[test]
fn replay_skips_what_the_catalog_has() {
    let (head, _) = head(3);
    assert_eq!(times(&head, 3), Ok(vec![4]));
    assert_eq!(times(&head, 0), Err(TailError::Stale), "an older catalog copy cannot be served");
}

#[test]
fn a_follower_keeps_bytes_and_a_new_leader_loads_them() {
    let memory = Arc::new(HeadMemory::default());
    let head = Head::new("logs-0001".into(), 1, memory.clone());
    for position in [1, 3, 4] {
        head.apply(position, &payload(position as i64, false));
    }
    // The answer to the first of them was lost: it is sent again.
    let again = head.apply(5, &payload(3, false));
    assert_eq!(positions(&again).collect::<Vec<_>>(), [3]);
    assert_eq!((memory.used(), times(&head, 1)), (0, Err(TailError::NotLoaded)));

    head.begin_loading();
    assert_eq!(head.finish_loading(), Some(2), "what is applied is not in yet");
    head.load(3, &entry(3));
    assert_eq!(head.flush_range(usize::MAX).unwrap().to, 3, "a flush takes no more than is loaded");
    // Applied while the log is read: the reader comes to it.
    head.apply(6, &payload(6, true));
    for (position, time) in [(4, 4), (5, 3), (6, 6)] {
        head.load(position, &entry(time));
    }
    assert_eq!(head.finish_loading(), None);
    head.apply(7, &payload(7, true));
    assert_eq!(times(&head, 1), Ok(vec![3, 4, 6, 7]), "each record once");

    head.follow();
    assert_eq!((memory.used(), times(&head, 1)), (0, Err(TailError::NotLoaded)));
}

#[test]
fn what_the_old_leader_flushed_is_not_loaded() {
    let head = Head::new("logs-0001".into(), 0, Arc::default());
    for position in 1..=4 {
        head.apply(position, &payload(position as i64, false));
    }
    head.begin_loading();
    head.load(1, &entry(1));
    head.mark_flushed(3);
    for position in 2..=4 {
        head.load(position, &entry(position as i64));
    }
    assert_eq!(head.finish_loading(), None);
    assert_eq!((times(&head, 3), times(&head, 0)), (Ok(vec![4]), Err(TailError::Stale)));
}

#[test]
fn a_sealed_partition_is_flushed_to_its_end() {
    let (head, _) = head(0);
    head.apply(5, &Payload::new(frame::seal()));
    assert_eq!(positions(&head.apply(6, &payload(6, true))).collect::<Vec<_>>(), [0], "refused");
    assert_eq!(positions(&head.apply(7, &payload(4, true))).collect::<Vec<_>>(), [4], "it has that one");
    assert_eq!(head.sealed(), Some(5));
    let range = head.flush_range(usize::MAX).unwrap();
    assert_eq!((range.kept.len(), range.to), (3, 7));
    head.mark_flushed(4);
    let rest = head.flush_range(usize::MAX).unwrap();
    assert_eq!((rest.from, rest.to, rest.kept.len()), (4, 7, 0), "the catalog comes to know the end");
    head.mark_flushed(7);
    assert!(head.flush_range(usize::MAX).is_none());
}

#[test]
fn a_snapshot_remembers_names_and_the_seal() {
    let (first, _) = head(0);
    first.apply(5, &Payload::new(frame::seal()));
    first.mark_flushed(3);
    let snapshot = first.snapshot().unwrap();
    assert_eq!(snapshot.position, 3);
    let second = Head::new("logs-0001".into(), 0, Arc::default());
    second.restore(3, snapshot.data).unwrap();
    assert_eq!((second.watermark(), second.sealed()), (3, Some(5)));
    let answers = second.apply(6, &payload(1, false));
    assert_eq!(positions(&answers).collect::<Vec<_>>(), [1], "flushed and trimmed, and still known");
}

#[test]
fn a_log_trimmed_past_the_last_record_moves_no_watermark() {
    let head = Head::new("logs-0001".into(), 4, Arc::default());
    head.restore(5, Bytes::new()).unwrap();
    head.begin_loading();
    assert_eq!(head.finish_loading(), None, "what is trimmed is not looked for");
    head.apply(6, &payload(6, true));
    assert_eq!(times(&head, 4), Ok(vec![6]), "a query at the catalog's watermark");
    assert_eq!(head.flush_range(usize::MAX).unwrap().from, 4, "a flush that the catalog accepts");
}

#[test]
fn a_flush_takes_everything_once_and_older_copies_still_read_it() {
    let (head, memory) = head(0);
    let range = head.flush_range(usize::MAX).unwrap();
    assert_eq!((range.from, range.to, range.kept.len()), (0, 4, 3));
    head.apply(5, &payload(5, true));
    head.mark_flushed(range.to);
    assert_eq!(times(&head, 0), Ok(vec![1, 3, 4, 5]), "a query that began before the flush");
    assert_eq!(times(&head, 4), Ok(vec![5]), "one that began after it");
    let next = head.flush_range(usize::MAX).unwrap();
    assert_eq!((next.from, next.to, next.kept.len()), (4, 5, 1));
    let before = memory.used();
    head.release(seam::now().checked_sub(Duration::from_secs(60)));
    assert_eq!(memory.used(), before, "inside the grace period");
    head.release(Some(seam::now()));
    assert!(memory.used() < before);
    assert_eq!(times(&head, 0), Err(TailError::Stale));
    assert_eq!(times(&head, 4), Ok(vec![5]));
}

#[test]
fn a_flush_takes_each_record_once_while_others_are_applied() {
    const RECORDS: u64 = 2000;
    let (head, _) = leading(0);
    let mut flushed = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=RECORDS).for_each(|at| _ = head.apply(at, &payload(at as i64, at % 2 == 0))));
        while head.watermark() < RECORDS {
            let Some(range) = head.flush_range(usize::MAX) else { continue };
            flushed.extend(range.kept.iter().flat_map(|(_, piece)| piece.times()));
            head.mark_flushed(range.to);
        }
    });
    assert_eq!(flushed, (1..=RECORDS as i64).collect::<Vec<_>>());
}

#[test]
fn a_flush_takes_no_more_than_it_is_asked_for() {
    let (head, _) = head(0);
    let first = head.flush_range(1).unwrap();
    assert_eq!((first.from, first.to, first.kept.len()), (0, 1, 1));
    head.mark_flushed(first.to);
    let second = head.flush_range(1).unwrap();
    assert_eq!((second.from, second.to, second.kept.len()), (1, 3, 1));
    head.mark_flushed(second.to);
    assert_eq!(head.flush_range(1).unwrap().to, 4);
    head.mark_flushed(4);
    assert!(head.flush_range(1).is_none());
}

#[test]
fn memory_is_counted_from_admission_to_release_whoever_waits() {
    let (head, memory) = head(0);
    let before = memory.used();
    let staged = Arc::new(Staged::new(vec![None], vec![(shop(), record(5))], vec![memory.reserve(1_000_000)]));
    assert_eq!(memory.used(), before + 1_000_000, "counted while it is on its way");
    let payload = Payload::with_decoded(entry(5), staged.clone());
    head.apply(5, &payload);
    let held = memory.used() - before;
    assert!((1..10_000).contains(&held), "the head counts what it holds: {held}");
    drop(Staged::new(vec![], vec![], vec![memory.reserve(1_000_000)]));
    assert_eq!(memory.used() - before, held, "an entry that nobody holds any more");
}

#[test]
fn an_entry_of_a_newer_version_is_told() {
    let (head, _) = head(0);
    assert_eq!(head.newer(), None);
    head.apply(5, &Payload::new(Bytes::from_static(&[200, 1, 0])));
    let said = head.newer().unwrap();
    assert!(said.contains("position 5") && said.contains("version 200"), "{said}");
    assert!(head.snapshot().is_err(), "the log keeps it");
}

#[test]
fn a_damaged_entry_hides_no_other() {
    let (head, _) = head(0);
    head.apply(5, &Payload::new(Bytes::from_static(&[1, 1, 0])));
    head.apply(6, &payload(6, false));
    assert_eq!(times(&head, 0), Ok(vec![1, 3, 4, 6]));
}

/// Samples of this many series at a time.
fn samples(series: u64, time: i64) -> Arc<Batch> {
    let mut batch = MetricBatch::default();
    batch.common.resources.push(Resource { service_name: "cart".into(), ..Default::default() });
    batch.common.scopes.push(Scope::default());
    batch.metrics.push(Metric { name: "requests".into(), ..Default::default() });
    for number in 0..series {
        let key = batch.common.keys.id("pod");
        let pod = batch.common.arena.push(format!("cart-7d9f8b6c5-{number}").as_bytes());
        batch.attributes.push(key, Kind::Str, pod.0);
        let time = time + number as i64 % 3;
        batch.push_row(MetricRow { series: [1, number], time, value: number, ..Default::default() });
    }
    batch.common.close_group(0, 0, series as u32);
    Arc::new(Batch::Metrics(batch))
}

fn apply_samples(head: &Head, position: u64, series: u64) {
    let batch = samples(series, 10 * position as i64);
    let bytes = codec::encode(&batch).into();
    let framed = frame::encode([(None, &shop(), &bytes)].into_iter());
    head.apply(
        position,
        &Payload::with_decoded(framed, Arc::new(Staged::new(vec![None], vec![(shop(), batch)], vec![]))),
    );
}

/// Every time that a tail, a description and an index of series have, sorted.
fn sample_times(head: &Head, watermark: u64) -> Vec<i64> {
    let mut times = times(head, watermark).unwrap();
    times.sort_unstable();
    let described = head.describe(&shop(), watermark).unwrap();
    let rows = described.rows.unwrap();
    assert_eq!((rows.rows, rows.min_time, rows.max_time), (times.len() as u64, times[0], times[times.len() - 1]));
    assert_eq!(rows.services, ["cart"]);
    let columns = [Column::Base("series_id"), Column::List("times")];
    let positions = (watermark, described.through);
    let time = (i64::MIN, i64::MAX);
    let names = |name: &str| name == "requests";
    let request = SeriesRequest { positions, time, columns: &columns, names: &names, services: &[], ids: &[] };
    let series = head.series(&shop(), &request).unwrap();
    let lists = series.iter().map(|batch| batch.column(1).as_list::<i32>().values().clone());
    let mut indexed: Vec<i64> =
        lists.flat_map(|list| list.as_primitive::<TimestampNanosecondType>().values().to_vec()).collect();
    indexed.sort_unstable();
    assert_eq!(indexed, times);
    times
}

fn times_of(series: i64, positions: std::ops::RangeInclusive<i64>) -> Vec<i64> {
    let mut times: Vec<i64> = positions.flat_map(|at| (0..series).map(move |number| 10 * at + number % 3)).collect();
    times.sort_unstable();
    times
}

#[test]
fn samples_of_few_series_take_little_memory() {
    let (head, memory) = leading(0);
    apply_samples(&head, 1, 100);
    let labels = memory.used();
    (2..=101).for_each(|position| apply_samples(&head, position, 100));
    let each = (memory.used() - labels) as f64 / 10_000.0;
    assert!(each < 24.0, "{each} bytes");
    assert_eq!(sample_times(&head, 0), times_of(100, 1..=101));
    // The index of series is counted as well, and goes with the head.
    head.follow();
    assert_eq!(memory.used(), 0);
}

#[test]
fn what_comes_after_a_flush_tells_of_its_series_again() {
    let (head, memory) = leading(0);
    (1..=4).for_each(|position| apply_samples(&head, position, 50));
    let range = head.flush_range(usize::MAX).unwrap();
    (5..=6).for_each(|position| apply_samples(&head, position, 50));
    head.mark_flushed(range.to);
    assert_eq!(sample_times(&head, 0), times_of(50, 1..=6), "an older copy of the catalog");
    head.release(None);
    assert_eq!(sample_times(&head, 4), times_of(50, 5..=6));
    let tellers = |piece: &Piece| piece.batches().iter().flat_map(|batch| batch.times().to_vec()).min();
    let tail = head.tail(&shop(), 4, 6).unwrap();
    assert!(tail.iter().filter_map(tellers).all(|time| time >= 50), "nothing keeps what is flushed");
    let range = head.flush_range(usize::MAX).unwrap();
    head.mark_flushed(range.to);
    head.release(None);
    assert_eq!(memory.used(), 0);
}

#[test]
fn what_tells_of_series_stays_as_long_as_their_samples() {
    let (head, memory) = leading(0);
    (1..=6).for_each(|position| apply_samples(&head, position, 50));
    let all = memory.used();
    // A flush that takes as much as it may, and no more.
    let range = head.flush_range(1).unwrap();
    assert_eq!(range.to, 1);
    head.mark_flushed(range.to);
    head.release(None);
    assert!(memory.used() * 2 > all, "the labels are there, and are counted");
    assert_eq!(head.describe(&shop(), 0).err(), Some(TailError::Stale));
    assert_eq!(sample_times(&head, 1), times_of(50, 2..=6));
    // One of another leader.
    head.mark_flushed(5);
    head.release(None);
    assert_eq!(sample_times(&head, 5), times_of(50, 6..=6));
    head.mark_flushed(6);
    head.release(None);
    assert_eq!(memory.used(), 0);
}

#[test]
fn a_new_leader_loads_samples_as_they_were() {
    let head = Head::new("metrics-0001".into(), 0, Arc::default());
    let entry = |position: u64| {
        let bytes = codec::encode(&samples(20, 10 * position as i64)).into();
        frame::encode([(None, &shop(), &bytes)].into_iter())
    };
    (1..=5).for_each(|position| _ = head.apply(position, &Payload::new(entry(position))));
    for _ in 0..2 {
        head.begin_loading();
        (1..=5).for_each(|position| head.load(position, &entry(position)));
        assert_eq!(head.finish_loading(), None);
        assert_eq!(sample_times(&head, 0), times_of(20, 1..=5));
        head.follow();
    }
}
