//! Meta nodes on RocksDB: commands, watches, restarts, and three of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::{ClusterView, Follower, MetaRouter};
use bonghwa_meta::{Meta, MetaOptions};
use bonghwa_protocol::{MetaClient, RpcErrorKind, v1};
use bonghwa_replog::{Host, HostOptions, LocalNetwork, Store, StoreOptions};
use futures::StreamExt;
use v1::command::Kind;
use v1::command_result::Outcome;

use crate::fixtures::{block, command, create, flush, register};

pub const LONG: Duration = Duration::from_secs(30);

pub struct Node {
    host: Arc<Host>,
    pub meta: Arc<Meta>,
}

pub async fn start(
    path: &Path,
    id: u64,
    nodes: u64,
    network: &Arc<LocalNetwork>,
    set: impl Fn(&mut MetaOptions),
) -> Node {
    let store = Store::open(path.join(format!("n{id}")), StoreOptions::default()).unwrap();
    let host = Host::new(id, store, network.transport(id), HostOptions::default());
    network.attach(&host);
    let members: BTreeMap<u64, String> = (1..=nodes).map(|id| (id, format!("m{id}:7801"))).collect();
    let mut options = MetaOptions::new(members, true);
    set(&mut options);
    let meta = Meta::open(&host, options).await.unwrap();
    Node { host, meta }
}

pub async fn stop(node: Node) {
    node.meta.shutdown().await.unwrap();
    node.host.shutdown().await.unwrap();
}

async fn run(meta: &dyn MetaClient, kind: Kind) -> v1::CommandResult {
    let result = meta.execute(command(kind)).await.unwrap();
    assert!(!matches!(result.outcome, Some(Outcome::Rejection(_))), "{result:?}");
    result
}

/// Commits flushes from..to, one position each.
async fn flushes(meta: &dyn MetaClient, positions: std::ops::Range<u64>) -> u64 {
    let mut version = 0;
    for at in positions {
        let kind = flush("logs-0001", at, at + 1, vec![block(&format!("b{at}"), "logs-0001", at, at + 1)]);
        version = run(meta, kind).await.version;
    }
    version
}

async fn found(meta: &dyn MetaClient) {
    run(meta, register("n1", 1)).await;
    run(meta, create(v1::Signal::Logs, &[1])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_views_and_survive_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let network = LocalNetwork::new();
    let node = start(folder.path(), 1, 1, &network, |_| {}).await;
    let view = ClusterView::follow(node.meta.clone());
    found(&*node.meta).await;
    let version = flushes(&*node.meta, 0..20).await;
    assert_eq!(view.wait_for_version(version, LONG).await.unwrap().block_count(), 20);
    let refused = node.meta.execute(command(flush("logs-0001", 3, 4, vec![]))).await.unwrap();
    assert!(matches!(refused.outcome, Some(Outcome::Rejection(r)) if r.watermark == 20));
    let nothing = node.meta.execute(v1::Command { kind: None }).await.unwrap_err();
    assert_eq!(nothing.kind, RpcErrorKind::Invalid);
    view.stop().await;
    stop(node).await;

    let node = start(folder.path(), 1, 1, &network, |_| {}).await;
    node.meta.wait_ready().await.unwrap();
    assert_eq!((node.meta.catalog().version(), node.meta.catalog().block_count()), (version, 20));
    assert_eq!(flushes(&*node.meta, 20..25).await, version + 5);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_trimmed_and_the_state_restored() {
    let folder = tempfile::tempdir().unwrap();
    let network = LocalNetwork::new();
    let node = start(folder.path(), 1, 1, &network, |options| options.trim_every = 10).await;
    found(&*node.meta).await;
    let version = flushes(&*node.meta, 0..50).await;
    bonghwa_cluster::seam::timeout(LONG, async {
        while node.meta.status().watermark < 40 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    let before = node.meta.catalog().snapshot();
    stop(node).await;
    let node = start(folder.path(), 1, 1, &network, |_| {}).await;
    node.meta.wait_ready().await.unwrap();
    assert!(node.meta.status().first_position > 10);
    assert_eq!((node.meta.catalog().version(), node.meta.catalog().snapshot()), (version, before));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_resume_or_get_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let node = start(folder.path(), 1, 1, &LocalNetwork::new(), |options| options.history_changes = 5).await;
    let mut slow = node.meta.watch(0).await.unwrap();
    let first = slow.next().await.unwrap().unwrap();
    assert!(matches!(first.kind, Some(v1::event::Kind::Snapshot(_))));
    found(&*node.meta).await;
    let version = flushes(&*node.meta, 0..20).await;
    assert_eq!(version, 22);

    let kinds = |from: u64| {
        let meta = node.meta.clone();
        async move {
            let mut events = meta.watch(from).await.unwrap();
            let mut seen = Vec::new();
            while seen.last().is_none_or(|(at, _)| *at < version) {
                let event = events.next().await.unwrap().unwrap();
                seen.push((event.version, matches!(event.kind, Some(v1::event::Kind::Snapshot(_)))));
            }
            seen
        }
    };
    assert_eq!(kinds(19).await, [(20, false), (21, false), (22, false)]);
    assert_eq!(kinds(17).await.len(), 5, "the oldest change kept");
    assert_eq!(kinds(16).await, [(22, true)], "fell out of the history");
    assert_eq!(kinds(0).await, [(22, true)]);
    assert_eq!(kinds(90).await, [(22, true)], "the leader knows that there is no version 90");

    let mut follower = Follower::default();
    follower.take(&first).unwrap();
    while follower.current().version() < version {
        follower.take(&slow.next().await.unwrap().unwrap()).unwrap();
    }
    assert_eq!(follower.current().block_count(), 20, "a slow watcher loses nothing");

    node.meta.shutdown().await.unwrap();
    assert_eq!(slow.next().await.unwrap().unwrap_err().kind, RpcErrorKind::Unavailable);
    assert!(slow.next().await.is_none());
    node.host.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_lose_their_leader() {
    let folder = tempfile::tempdir().unwrap();
    let network = LocalNetwork::new();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(start(folder.path(), id, 3, &network, |_| {}).await);
    }
    let clients = |nodes: &[Node]| -> Vec<(String, Arc<dyn MetaClient>)> {
        nodes.iter().map(|n| (format!("m{}:7801", n.host.node()), n.meta.clone() as Arc<dyn MetaClient>)).collect()
    };
    let router = Arc::new(MetaRouter::new(clients(&nodes)).with_patience(LONG));
    let view = ClusterView::follow(router.clone());
    found(&*router).await;
    let version = flushes(&*router, 0..10).await;
    view.wait_for_version(version, LONG).await.unwrap();

    let leader = nodes.iter().position(|n| n.meta.is_leader()).unwrap();
    let follower = nodes.iter().find(|n| !n.meta.is_leader()).unwrap();
    let told = follower.meta.execute(command(register("n9", 9))).await.unwrap_err();
    let address = format!("m{}:7801", nodes[leader].host.node());
    assert_eq!(told.kind, RpcErrorKind::NotLeader { leader: Some(address) });

    network.isolate(nodes[leader].host.node());
    let lost = nodes.remove(leader);
    let rest = Arc::new(MetaRouter::new(clients(&nodes)).with_patience(LONG));
    let view = ClusterView::follow(rest.clone());
    let version = flushes(&*rest, 10..20).await;
    assert_eq!(view.wait_for_version(version, LONG).await.unwrap().block_count(), 20);

    network.heal();
    let caught_up = ClusterView::follow(lost.meta.clone());
    assert_eq!(caught_up.wait_for_version(version, LONG).await.unwrap().block_count(), 20);
    for node in nodes.into_iter().chain([lost]) {
        stop(node).await;
    }
}
