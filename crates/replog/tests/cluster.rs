//! Three nodes in one process: replication, failover, catching up.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod kit;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_replog::{Error, Payload};
use kit::{Cluster, Disk, PATIENCE, Recorder, eventually, patiently};

const ALL: [u64; 3] = [1, 2, 3];

fn others(of: u64) -> Vec<u64> {
    ALL.into_iter().filter(|id| *id != of).collect()
}

on_both_disks!(
    all_nodes_apply_the_same,
    a_lost_leader_is_replaced_and_nothing_acknowledged_is_lost,
    a_follower_that_missed_entries_gets_them_all,
    a_follower_behind_the_trim_starts_at_the_watermark,
    nodes_restart_one_by_one,
    without_a_quorum_nothing_is_acknowledged,
);

async fn all_nodes_apply_the_same(disk: fn() -> Disk) {
    let cluster = Cluster::start(disk).await;
    for i in 0..50 {
        cluster.append(&ALL, &format!("batch {i}")).await;
    }
    let applied = cluster.settle("batch 49").await;
    assert!(applied.len() >= 50);
    let leader = cluster.leader(&ALL).await;
    for follower in others(leader) {
        let error = cluster.group(follower).append(Payload::new("x")).await.unwrap_err();
        let addr = format!("node-{leader}");
        assert!(
            matches!(&error, Error::NotLeader { leader: Some((id, at)), .. } if *id == leader && *at == addr),
            "{error}"
        );
        assert!(error.is_retryable());
        let last = applied.last().unwrap().0;
        cluster.group(follower).wait_applied(last, PATIENCE).await.unwrap();
        let read = cluster.group(follower).read_from(0, usize::MAX).await.unwrap();
        assert_eq!(read, applied);
    }
    let status = cluster.group(leader).status();
    assert_eq!(status.members.len(), 3, "{status:?}");
}

async fn a_lost_leader_is_replaced_and_nothing_acknowledged_is_lost(disk: fn() -> Disk) {
    let cluster = Cluster::start(disk).await;
    let mut acked = Vec::new();
    for round in 0..3 {
        for i in 0..20 {
            let text = format!("{round}/{i}");
            acked.push((cluster.append(&ALL, &text).await, text));
        }
        let old = cluster.leader(&ALL).await;
        cluster.network.isolate(old);
        // It still takes itself for the leader, but gets no quorum.
        let stuck = cluster.group(old).clone();
        let stuck = tokio::spawn(async move { stuck.append(Payload::new("never acknowledged")).await });
        let rest = others(old);
        for i in 20..40 {
            let text = format!("{round}/{i}");
            acked.push((cluster.append(&rest, &text).await, text));
        }
        let error = patiently(stuck).await.unwrap().unwrap_err();
        assert!(error.is_retryable(), "{error}");
        cluster.network.heal();
        cluster.settle(&acked.last().unwrap().1).await;
    }
    let applied = cluster.settle(&acked.last().unwrap().1).await;
    for (position, text) in acked {
        assert!(applied.iter().any(|(at, bytes)| *at == position && *bytes == text), "{text} is lost");
    }
}

async fn a_follower_that_missed_entries_gets_them_all(disk: fn() -> Disk) {
    let cluster = Cluster::start(disk).await;
    cluster.append(&ALL, "before").await;
    cluster.settle("before").await;
    let behind = others(cluster.leader(&ALL).await)[0];
    cluster.network.isolate(behind);
    let rest = others(behind);
    // More than one message holds, and more than the tail keeps.
    let large = "x".repeat(256 << 10);
    for i in 0..200 {
        cluster.append(&rest, &format!("{i} {large}")).await;
    }
    cluster.append(&rest, "after").await;
    cluster.network.heal();
    let applied = cluster.settle("after").await;
    assert!(applied.len() >= 202);
}

async fn a_follower_behind_the_trim_starts_at_the_watermark(disk: fn() -> Disk) {
    let cluster = Cluster::start(disk).await;
    cluster.append(&ALL, "before").await;
    cluster.settle("before").await;
    let behind = others(cluster.leader(&ALL).await)[0];
    cluster.network.isolate(behind);
    let rest = others(behind);
    let mut watermark = 0;
    for i in 0..30 {
        watermark = cluster.append(&rest, &format!("flushed {i}")).await;
    }
    cluster.append(&rest, "in the log").await;
    for id in &rest {
        let group = cluster.group(*id);
        group.wait_applied(watermark, PATIENCE).await.unwrap();
        cluster.state(*id).flushed.store(watermark, Ordering::Relaxed);
        group.trim(watermark).await.unwrap();
        // A leader keeps what is on its way to a follower; it lets go when that ends.
        eventually("the purge", || group.status().first_position == watermark + 1).await;
    }
    cluster.network.heal();
    cluster.state(behind).wait_text("in the log").await;
    assert_eq!(*cluster.state(behind).restored.lock(), [watermark]);
    assert_eq!(cluster.group(behind).watermark(), watermark);
    cluster.append(&ALL, "after").await;
    cluster.state(behind).wait_text("after").await;
    assert!(!cluster.state(behind).texts().contains(&"flushed 29".to_owned()));
}

async fn nodes_restart_one_by_one(disk: fn() -> Disk) {
    let mut cluster = Cluster::start(disk).await;
    let mut acked = Vec::new();
    for id in ALL {
        let text = format!("before {id} stops");
        acked.push((cluster.append(&ALL, &text).await, text));
        let led = cluster.leader(&ALL).await == id;
        cluster.stop_node(id).await;
        let rest = others(id);
        let leader = cluster.leader(&rest).await;
        assert!(rest.contains(&leader), "{led}");
        let text = format!("while {id} is away");
        acked.push((cluster.append(&rest, &text).await, text));
        // Its state starts empty, and gets everything from its log and the others.
        cluster.start_node(id, Recorder::new()).await;
        patiently(cluster.group(id).wait_replayed()).await.unwrap();
        cluster.settle(&acked.last().unwrap().1).await;
    }
    let applied = cluster.settle(&acked.last().unwrap().1).await;
    for (position, text) in acked {
        assert!(applied.iter().any(|(at, bytes)| *at == position && *bytes == text), "{text} is lost");
    }
}

async fn without_a_quorum_nothing_is_acknowledged(disk: fn() -> Disk) {
    let cluster = Cluster::start(disk).await;
    let leader = cluster.leader(&ALL).await;
    ALL.iter().for_each(|id| cluster.network.isolate(*id));
    let error = cluster.group(leader).append(Payload::new("alone")).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    let nobody = cluster.group(leader).wait_applied(1_000_000, Duration::from_millis(10)).await;
    assert!(matches!(nobody, Err(Error::Timeout { .. })));
    cluster.network.heal();
    cluster.append(&ALL, "together").await;
    cluster.settle("together").await;
}
