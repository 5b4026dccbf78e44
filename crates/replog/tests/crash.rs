//! What is left after a node stops without saying so, and what is made of damaged bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod kit;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bonghwa_replog::{Error, Payload};
use kit::{Disk, PATIENCE, Recorder, alone, open, single};
use parking_lot::Mutex;
use rocksdb::{ColumnFamilyDescriptor, DB, Options};
use tokio::runtime::Runtime;

#[test]
fn nothing_acknowledged_is_lost() {
    survive_crashes(&Disk::rocks());
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

fn raw(disk: &Disk) -> DB {
    let Disk::Rocks(dir) = disk else { panic!("only files can be damaged") };
    let families = ["default", "logs-0"].map(|name| ColumnFamilyDescriptor::new(name, Options::default()));
    DB::open_cf_descriptors(&Options::default(), dir.path(), families).unwrap()
}

/// Changes what is stored at a position behind the log's back; `None` deletes it.
fn damage(disk: &Disk, position: u64, change: impl Fn(Vec<u8>) -> Option<Vec<u8>>) {
    let db = raw(disk);
    let family = db.cf_handle("logs-0").unwrap();
    let key = position.to_be_bytes();
    let value = db.get_cf(&family, key).unwrap().unwrap();
    match change(value) {
        Some(value) => db.put_cf(&family, key, value).unwrap(),
        None => db.delete_cf(&family, key).unwrap(),
    }
}

async fn open_error(disk: &Disk) -> Error {
    let host = single(disk);
    let opened = host.open_group(alone("logs-0"), Recorder::new()).await;
    opened.err().expect("a damaged log must not open")
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_entries_are_found() {
    type Change = fn(Vec<u8>) -> Option<Vec<u8>>;
    let flip: Change = |mut value| {
        let last = value.len() - 1;
        value[last] ^= 1;
        Some(value)
    };
    let cut: Change = |value| Some(value[..value.len() - 3].to_vec());
    let stub: Change = |value| Some(value[..5].to_vec());
    let newer: Change = |mut value| {
        value[0] = 9;
        Some(value)
    };
    let gone: Change = |_| None;
    for (what, change) in [("flip", flip), ("cut", cut), ("stub", stub), ("newer", newer), ("gone", gone)] {
        let disk = Disk::rocks();
        let first = ten_entries(&disk).await;
        damage(&disk, first + 4, change);
        let error = open_error(&disk).await;
        assert!(matches!(error, Error::Corrupt { position: Some(at), .. } if at == first + 4), "{what}: {error}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_end_is_found() {
    let disk = Disk::rocks();
    let first = ten_entries(&disk).await;
    damage(&disk, first + 9, |value| Some(value[..9].to_vec()));
    let error = open_error(&disk).await;
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    let disk = Disk::rocks();
    ten_entries(&disk).await;
    damage(&disk, 0, |_| None);
    let error = open_error(&disk).await;
    assert!(matches!(error, Error::Corrupt { position: Some(0), .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trimmed_log_without_its_snapshot_does_not_open() {
    let disk = Disk::rocks();
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
    raw(&disk).delete("logs-0\0s").unwrap();
    let error = open_error(&disk).await;
    assert!(matches!(error, Error::Corrupt { position: None, .. }), "{error}");
}
