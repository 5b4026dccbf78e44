//! What is left after a node stops without saying so, and what is made of damaged bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bonghwa_replog::{Error, Payload};
use kit::{Disk, PATIENCE, Recorder, alone, open, single};
use parking_lot::Mutex;
use rocksdb::DB;
use tokio::runtime::Runtime;

#[test]
fn nothing_acknowledged_is_lost() {
    survive_crashes(&Disk::files());
}

#[test]
fn nothing_acknowledged_is_lost_on_a_simulated_disk() {
    survive_crashes(&Disk::memory());
}

/// Runs for a while, then drops everything in the middle of the work.
fn survive_crashes(disk: &Disk) {
    let acked: Arc<Mutex<BTreeSet<(u64, String)>>> = Arc::default();
    let watermark = Arc::new(AtomicU64::new(0));
    for life in 0..5 {
        let runtime = Runtime::new().unwrap();
        // A simulated disk's writer is a task.
        let host = runtime.block_on(async { single(disk) });
        runtime.block_on(async {
            let state = Recorder::new();
            let group = open(&host, alone("logs-0"), state.clone()).await;
            check(&acked.lock(), &state, watermark.load(Ordering::Relaxed));
            let (enough, mut count) = tokio::sync::mpsc::channel(1000);
            for writer in 0..8 {
                let (group, acked, enough) = (group.clone(), acked.clone(), enough.clone());
                tokio::spawn(async move {
                    for i in 0.. {
                        let text = format!("{life}/{writer}/{i} {}", "x".repeat(writer * 500));
                        let Ok(appended) = group.append(Payload::new(text.clone())).await else { return };
                        acked.lock().insert((appended.position, text));
                        if enough.send(appended.position).await.is_err() {
                            return;
                        }
                    }
                });
            }
            let mut last = 0;
            for n in 0..400 {
                last = tokio::time::timeout(PATIENCE, count.recv()).await.unwrap().unwrap();
                if n == 200 {
                    state.flushed.store(last, Ordering::Relaxed);
                    group.trim(last).await.unwrap();
                    watermark.store(last, Ordering::Relaxed);
                }
            }
            assert!(last > 0);
        });
        // The tasks, the log's included, end wherever they are.
        drop(runtime);
        drop(host);
        if let Disk::Memory(disk) = disk {
            disk.crash(disk.unsynced_writes() / 2);
        }
    }
}

fn check(acked: &BTreeSet<(u64, String)>, state: &Recorder, watermark: u64) {
    let applied: BTreeSet<(u64, String)> = state
        .entries()
        .into_iter()
        .map(|(position, bytes)| (position, String::from_utf8(bytes.to_vec()).unwrap()))
        .collect();
    let beyond: BTreeSet<_> = acked.iter().filter(|(position, _)| *position > watermark).cloned().collect();
    let lost: Vec<_> = beyond.difference(&applied).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), beyond.len());
}

/// Ten entries in a log that was shut down; returns the position of the first.
async fn ten_entries(disk: &Disk) -> u64 {
    let host = single(disk);
    let group = open(&host, alone("logs-0"), Recorder::new()).await;
    let first = group.append(Payload::new("batch 0")).await.unwrap().position;
    for i in 1..10 {
        group.append(Payload::new(format!("batch {i}"))).await.unwrap();
    }
    host.shutdown().await.unwrap();
    first
}

/// Changes the bytes of a batch behind the log's back, where they lie in a file: `change` gets the
/// whole record, which ends with the batch.
fn damage(disk: &Disk, batch: &str, change: impl Fn(&mut [u8])) {
    /// Bytes of a record before the batch.
    const HEADER: usize = 22;
    let Disk::Files(dir) = disk else { panic!("only files can be damaged") };
    for entry in std::fs::read_dir(dir.path().join("segments")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let Some(at) = bytes.windows(batch.len()).position(|window| window == batch.as_bytes()) else { continue };
        change(&mut bytes[at - HEADER..at + batch.len()]);
        return std::fs::write(path, bytes).unwrap();
    }
    panic!("{batch} is in no segment");
}

async fn open_error(disk: &Disk) -> Error {
    let host = single(disk);
    let opened = host.open_group(alone("logs-0"), Recorder::new()).await;
    opened.err().expect("a damaged log must not open")
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_entries_are_found() {
    type Change = fn(&mut [u8]);
    let flip: Change = |record| *record.last_mut().unwrap() ^= 1;
    let newer: Change = |record| record[0] = 9;
    let zeros: Change = |record| record.fill(0);
    // The last one, too: a log that was closed has no write that was cut short.
    for batch in [4, 9] {
        for (what, change) in [("flip", flip), ("newer", newer), ("zeros", zeros)] {
            let disk = Disk::files();
            let first = ten_entries(&disk).await;
            damage(&disk, &format!("batch {batch}"), change);
            let error = open_error(&disk).await;
            assert!(
                matches!(error, Error::Corrupt { position: Some(at), .. } if at == first + batch),
                "{what}: {error}"
            );
            assert!(!error.is_retryable());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_without_its_snapshot_does_not_open() {
    let disk = Disk::files();
    {
        let host = single(&disk);
        let state = Recorder::new();
        let group = open(&host, alone("logs-0"), state.clone()).await;
        let position = group.append(Payload::new("a")).await.unwrap().position;
        state.flushed.store(position, Ordering::Relaxed);
        group.trim(position).await.unwrap();
        kit::eventually("the purge", || group.status().first_position > position).await;
        host.shutdown().await.unwrap();
    }
    let Disk::Files(dir) = &disk else { panic!("a database is damaged") };
    DB::open_default(dir.path()).unwrap().delete("logs-0\0s").unwrap();
    let error = open_error(&disk).await;
    assert!(matches!(error, Error::Corrupt { position: None, .. }), "{error}");
}
