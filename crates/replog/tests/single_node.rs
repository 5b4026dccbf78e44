//! The contract of a log on one node: append, read, trim, start again.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod kit;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_replog::{Error, Host, HostOptions, LocalTransport, Payload};
use bytes::Bytes;
use kit::{Disk, Ledger, Recorder, alone, eventually, open, patiently, single};

on_both_disks!(
    append_read_trim_restart,
    the_decoded_form_rides_along_once,
    a_snapshot_ahead_of_the_log_is_refused,
    full_state_survives_a_trim,
    many_groups_share_syncs,
    groups_are_dropped_with_all_they_have,
    a_group_of_one_leads_at_once,
    a_group_of_one_confirms_what_it_has_applied,
    options_that_cannot_work_are_named,
);

async fn append_read_trim_restart(disk: fn() -> Disk) {
    let disk = disk();
    let mut positions = Vec::new();
    {
        let host = single(&disk);
        let state = Recorder::new();
        let group = open(&host, alone("logs-0"), state.clone()).await;
        for i in 0..20 {
            let appended = group.append(Payload::new(format!("batch {i}"))).await.unwrap();
            assert_eq!(appended.response, appended.position.to_string());
            positions.push(appended.position);
        }
        assert!(positions.is_sorted());
        let read = group.read_from(0, 1 << 20).await.unwrap();
        assert_eq!(read, state.entries());
        assert_eq!(read.len(), 20);
        // At least one, however small the limit.
        let one = group.read_from(positions[5], 1).await.unwrap();
        assert_eq!(one, [(positions[5], Bytes::from("batch 5"))]);
        assert_eq!(group.read_from(positions[19] + 1, 100).await.unwrap(), []);

        // The snapshot bounds the trim, whatever is asked for.
        state.flushed.store(positions[9], Ordering::Relaxed);
        group.trim(positions[15]).await.unwrap();
        assert_eq!(group.watermark(), positions[9]);
        eventually("the purge", || group.status().first_position == positions[10]).await;
        let trimmed = group.read_from(positions[3], 100).await.unwrap_err();
        assert!(matches!(trimmed, Error::Trimmed { first, .. } if first == positions[10]), "{trimmed}");
        assert_eq!(group.read_from(0, 1 << 20).await.unwrap(), state.entries()[10..]);
        group.shutdown().await.unwrap();
        let closed = group.append(Payload::new("late")).await.unwrap_err();
        assert!(matches!(closed, Error::ShutDown { .. }), "{closed}");
    }
    let host = single(&disk);
    assert_eq!(host.store().group_names().unwrap(), ["logs-0"]);
    let state = Recorder::new();
    let group = open(&host, alone("logs-0"), state.clone()).await;
    assert_eq!(*state.restored.lock(), [positions[9]]);
    assert_eq!(group.watermark(), positions[9]);
    let expected: Vec<String> = (10..20).map(|i| format!("batch {i}")).collect();
    assert_eq!(state.texts(), expected);
    let next = group.append(Payload::new("after")).await.unwrap();
    assert!(next.position > positions[19]);
    assert_eq!(group.read_from(positions[19] + 1, 100).await.unwrap(), [(next.position, Bytes::from("after"))]);
    let status = group.status();
    assert_eq!((status.applied, status.last_position), (next.position, next.position));
    assert!(status.log_bytes > 100 && status.failure.is_none(), "{status:?}");
    host.shutdown().await.unwrap();
}

async fn the_decoded_form_rides_along_once(disk: fn() -> Disk) {
    let disk = disk();
    let host = single(&disk);
    let state = Recorder::new();
    let group = open(&host, alone("traces-0"), state.clone()).await;
    for i in 0..10u64 {
        let decoded = Arc::new(i);
        let payload = Payload::with_decoded("spans", decoded.clone());
        group.append(payload).await.unwrap();
        // Nothing of the log holds it any more: the state machine alone decides how long it lives.
        eventually("the decoded form let go", || Arc::strong_count(&decoded) == 1).await;
    }
    assert_eq!(state.decoded.load(Ordering::Relaxed), 10);
    // One voter: nobody will read what is applied.
    eventually("an empty tail", || group.status().tail_bytes == 0).await;
    host.shutdown().await.unwrap();

    let again = Recorder::new();
    let group = open(&host, alone("traces-0"), again.clone()).await;
    assert_eq!(again.entries().len(), 10);
    assert_eq!(again.decoded.load(Ordering::Relaxed), 0);
    group.shutdown().await.unwrap();
}

async fn a_snapshot_ahead_of_the_log_is_refused(disk: fn() -> Disk) {
    let disk = disk();
    let host = single(&disk);
    let state = Recorder::new();
    let group = open(&host, alone("logs-0"), state.clone()).await;
    group.trim(5).await.unwrap();
    let position = group.append(Payload::new("a")).await.unwrap().position;
    state.flushed.store(position + 7, Ordering::Relaxed);
    let refused = group.trim(position).await.unwrap_err();
    assert!(matches!(refused, Error::StateMachine { .. }) && !refused.is_retryable(), "{refused}");
    state.flushed.store(position, Ordering::Relaxed);
    group.trim(position).await.unwrap();
    assert_eq!(group.watermark(), position);
    group.append(Payload::new("b")).await.unwrap();
    host.shutdown().await.unwrap();
}

async fn full_state_survives_a_trim(disk: fn() -> Disk) {
    let disk = disk();
    let lines: Vec<String> = (0..50).map(|i| format!("line {i}")).collect();
    {
        let host = single(&disk);
        let group = open(&host, alone("meta"), Arc::new(Ledger::default())).await;
        for (i, line) in lines.iter().enumerate() {
            let position = group.append(Payload::new(line.clone())).await.unwrap().position;
            if i % 20 == 19 {
                group.trim(position).await.unwrap();
                assert_eq!(group.watermark(), position);
            }
        }
        host.shutdown().await.unwrap();
    }
    let host = single(&disk);
    let ledger = Arc::new(Ledger::default());
    let group = open(&host, alone("meta"), ledger.clone()).await;
    assert_eq!(ledger.0.lock().1, lines);
    assert_eq!(group.append(Payload::new("next")).await.unwrap().response, "51");
    host.shutdown().await.unwrap();
}

async fn many_groups_share_syncs(disk: fn() -> Disk) {
    const GROUPS: usize = 8;
    const WRITERS: usize = 4;
    const APPENDS: usize = 25;
    let disk = disk();
    let host = single(&disk);
    let mut groups = Vec::new();
    for i in 0..GROUPS {
        let state = Recorder::new();
        groups.push((open(&host, alone(&format!("logs-{i}")), state.clone()).await, state));
    }
    let before = host.store().stats();
    let mut writers = Vec::new();
    for (group, _) in &groups {
        for writer in 0..WRITERS {
            let group = group.clone();
            writers.push(tokio::spawn(async move {
                for i in 0..APPENDS {
                    group.append(Payload::new(format!("{writer}-{i}"))).await.unwrap();
                }
            }));
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let after = host.store().stats();
    let (syncs, entries) = (after.syncs - before.syncs, after.entries - before.entries);
    assert_eq!(entries as usize, GROUPS * WRITERS * APPENDS);
    assert!(syncs * 4 < entries, "{syncs} syncs for {entries} entries");
    for (group, state) in &groups {
        assert_eq!(state.entries().len(), WRITERS * APPENDS);
        assert_eq!(group.read_from(0, usize::MAX).await.unwrap(), state.entries());
    }
    host.shutdown().await.unwrap();
}

async fn groups_are_dropped_with_all_they_have(disk: fn() -> Disk) {
    let disk = disk();
    let host = single(&disk);
    let state = Recorder::new();
    let group = open(&host, alone("logs-0"), state.clone()).await;
    open(&host, alone("logs-1"), Recorder::new()).await;
    let position = group.append(Payload::new("a")).await.unwrap().position;
    state.flushed.store(position, Ordering::Relaxed);
    group.trim(position).await.unwrap();
    assert!(matches!(host.store().drop_group("logs-0"), Err(Error::AlreadyOpen { .. })));
    let twice = host.open_group(alone("logs-0"), Recorder::new()).await;
    assert!(matches!(twice, Err(Error::AlreadyOpen { .. })));
    host.drop_group("logs-0").await.unwrap();
    assert_eq!(host.store().group_names().unwrap(), ["logs-1"]);
    // Nothing of the old one is left in a new one of that name.
    let state = Recorder::new();
    let group = open(&host, alone("logs-0"), state.clone()).await;
    assert_eq!((group.watermark(), state.entries().len(), state.restored.lock().len()), (0, 0, 0));
    host.shutdown().await.unwrap();
}

async fn a_group_of_one_leads_at_once(disk: fn() -> Disk) {
    let disk = disk();
    let options = HostOptions {
        election_min: Duration::from_secs(600),
        election_max: Duration::from_secs(700),
        ..HostOptions::default()
    };
    for _start in 0..3 {
        let store = disk.open();
        let host = Host::new(1, store, LocalTransport::alone(), options.clone());
        let group = open(&host, alone("logs-0"), Recorder::new()).await;
        assert!(group.is_leader());
        host.shutdown().await.unwrap();
    }
}

/// Right after a start, too, when what was acked before it is being applied again.
async fn a_group_of_one_confirms_what_it_has_applied(disk: fn() -> Disk) {
    let disk = disk();
    let mut acked = Vec::new();
    for start in 0..4 {
        let host = single(&disk);
        let state = Recorder::new();
        let group = host.open_group(alone("logs-0"), state.clone()).await.unwrap();
        let confirmed = async {
            // Until it leads, it says that it does not.
            while let Err(error) = group.confirm_leader().await {
                assert!(matches!(error, Error::NotLeader { .. }), "{error}");
                tokio::task::yield_now().await;
            }
        };
        patiently(confirmed).await;
        assert_eq!(state.texts(), acked);
        for i in 0..200 {
            let text = format!("{start}: {i}");
            group.append(Payload::new(text.clone())).await.unwrap();
            acked.push(text);
            group.confirm_leader().await.unwrap();
            assert_eq!(state.texts().last(), acked.last());
        }
        group.shutdown().await.unwrap();
        let closed = group.confirm_leader().await.unwrap_err();
        assert!(matches!(closed, Error::ShutDown { .. }), "{closed}");
        host.shutdown().await.unwrap();
    }
}

async fn options_that_cannot_work_are_named(disk: fn() -> Disk) {
    let disk = disk();
    let host = single(&disk);
    for name in ["", "default", "a\0b"] {
        let error = host.open_group(alone(name), Recorder::new()).await.err().unwrap();
        assert!(matches!(error, Error::InvalidOption { option: "name", .. }), "{error}");
    }
    let mut others = alone("logs-0");
    others.members = [(2, "two".to_owned())].into();
    let error = host.open_group(others, Recorder::new()).await.err().unwrap();
    assert!(matches!(error, Error::InvalidOption { option: "members", .. }), "{error}");
}
