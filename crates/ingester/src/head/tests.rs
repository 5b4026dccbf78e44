#![allow(clippy::unwrap_used)]
use std::time::Duration;

use bonghwa_model::batch::{Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};

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
    let batches = head.tail(&shop(), watermark, head.applied())?;
    Ok(batches.iter().flat_map(|b| b.times().to_vec()).collect())
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
    assert_eq!((range.rows.len(), range.to), (3, 7));
    head.mark_flushed(4);
    let rest = head.flush_range(usize::MAX).unwrap();
    assert_eq!((rest.from, rest.to, rest.rows.len()), (4, 7, 0), "the catalog comes to know the end");
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
    assert_eq!((range.from, range.to, range.rows.len()), (0, 4, 3));
    head.apply(5, &payload(5, true));
    head.mark_flushed(range.to);
    assert_eq!(times(&head, 0), Ok(vec![1, 3, 4, 5]), "a query that began before the flush");
    assert_eq!(times(&head, 4), Ok(vec![5]), "one that began after it");
    let next = head.flush_range(usize::MAX).unwrap();
    assert_eq!((next.from, next.to, next.rows.len()), (4, 5, 1));
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
            flushed.extend(range.rows.iter().flat_map(|(_, rows)| rows.times().to_vec()));
            head.mark_flushed(range.to);
        }
    });
    assert_eq!(flushed, (1..=RECORDS as i64).collect::<Vec<_>>());
}

#[test]
fn a_flush_takes_no_more_than_it_is_asked_for() {
    let (head, _) = head(0);
    let first = head.flush_range(1).unwrap();
    assert_eq!((first.from, first.to, first.rows.len()), (0, 1, 1));
    head.mark_flushed(first.to);
    let second = head.flush_range(1).unwrap();
    assert_eq!((second.from, second.to, second.rows.len()), (1, 3, 1));
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
