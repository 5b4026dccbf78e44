//! State machines that remember what they were given, and clusters of hosts in one process.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bonghwa_replog::{
    BoxError, Group, GroupOptions, Host, HostOptions, LocalNetwork, LocalTransport, MemoryDisk, NodeId, Payload,
    Snapshot, StateMachine, Store, StoreOptions,
};
use bytes::Bytes;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;

/// Longer than anything takes here, even on a machine that is busy with a build.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A partition's kind of state: its snapshot is the position up to which it was flushed.
pub struct Recorder {
    entries: watch::Sender<Vec<(u64, Bytes)>>,
    pub flushed: AtomicU64,
    pub decoded: AtomicU64,
    pub restored: Mutex<Vec<u64>>,
}

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            entries: watch::Sender::new(Vec::new()),
            flushed: AtomicU64::new(0),
            decoded: AtomicU64::new(0),
            restored: Mutex::default(),
        })
    }

    pub fn entries(&self) -> Vec<(u64, Bytes)> {
        self.entries.borrow().clone()
    }

    pub fn texts(&self) -> Vec<String> {
        let text = |(_, bytes): &(u64, Bytes)| String::from_utf8_lossy(bytes).into_owned();
        self.entries.borrow().iter().map(text).collect()
    }

    pub async fn wait_text(&self, text: &str) {
        let mut watch = self.entries.subscribe();
        let arrived = watch.wait_for(|entries| entries.iter().any(|(_, bytes)| bytes == text));
        tokio::time::timeout(PATIENCE, arrived).await.expect(text).unwrap();
    }
}

impl StateMachine for Recorder {
    fn apply(&self, position: u64, payload: &Payload) -> Bytes {
        if payload.decoded.is_some() {
            self.decoded.fetch_add(1, Ordering::Relaxed);
        }
        self.entries.send_modify(|entries| {
            let last = entries.last().map_or(0, |(position, _)| *position);
            assert!(position > last, "{position} after {last}");
            entries.push((position, payload.bytes.clone()));
        });
        Bytes::from(position.to_string())
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        Ok(Snapshot { position: self.flushed.load(Ordering::Relaxed), data: Bytes::from_static(b"watermark") })
    }

    fn restore(&self, position: u64, data: Bytes) -> Result<(), BoxError> {
        assert_eq!(data, "watermark");
        self.restored.lock().push(position);
        self.flushed.store(position, Ordering::Relaxed);
        self.entries.send_modify(|entries| entries.retain(|(at, _)| *at > position));
        Ok(())
    }
}

/// Meta's kind of state: its snapshot is all of it.
#[derive(Default)]
pub struct Ledger(pub Mutex<(u64, Vec<String>)>);

impl StateMachine for Ledger {
    fn apply(&self, position: u64, payload: &Payload) -> Bytes {
        let mut ledger = self.0.lock();
        ledger.0 = position;
        ledger.1.push(String::from_utf8(payload.bytes.to_vec()).unwrap());
        Bytes::from(ledger.1.len().to_string())
    }

    fn snapshot(&self) -> Result<Snapshot, BoxError> {
        let ledger = self.0.lock();
        Ok(Snapshot { position: ledger.0, data: ledger.1.join("\n").into() })
    }

    fn restore(&self, position: u64, data: Bytes) -> Result<(), BoxError> {
        let lines = String::from_utf8(data.to_vec())?;
        *self.0.lock() = (position, lines.lines().map(str::to_owned).collect());
        Ok(())
    }
}

/// Fast elections: the tests wait for them.
pub fn host_options() -> HostOptions {
    HostOptions {
        heartbeat: Duration::from_millis(60),
        election_min: Duration::from_millis(300),
        election_max: Duration::from_millis(600),
        append_timeout: Duration::from_secs(3),
        ..HostOptions::default()
    }
}

pub fn alone(name: &str) -> GroupOptions {
    GroupOptions {
        name: name.to_owned(),
        members: BTreeMap::from([(1, "one".to_owned())]),
        bootstrap: true,
        prompt_commits: false,
    }
}

/// What a node's store is on.
pub enum Disk {
    Files(TempDir),
    Memory(Arc<MemoryDisk>),
}

impl Disk {
    pub fn files() -> Self {
        Self::Files(tempfile::tempdir().unwrap())
    }

    pub fn memory() -> Self {
        let disk = MemoryDisk::new();
        disk.set_sync_time(Duration::from_millis(1), Duration::from_millis(3));
        Self::Memory(disk)
    }

    pub fn open(&self) -> Arc<Store> {
        match self {
            Self::Files(dir) => Store::open(dir.path(), StoreOptions::default()).unwrap(),
            Self::Memory(disk) => Store::memory(disk, StoreOptions::default()),
        }
    }
}

/// Makes of each function a test per kind of disk: the same is asked of both.
#[macro_export]
macro_rules! on_both_disks {
    ($($name:ident),* $(,)?) => {
        mod files {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::kit::Disk::files).await;
            })*
        }
        mod memory {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(super::kit::Disk::memory).await;
            })*
        }
    };
}

/// A host of one node on a disk.
pub fn single(disk: &Disk) -> Arc<Host> {
    Host::new(1, disk.open(), LocalTransport::alone(), host_options())
}

pub async fn open(host: &Host, options: GroupOptions, state: Arc<dyn StateMachine>) -> Arc<Group> {
    let group = host.open_group(options, state).await.unwrap();
    group.wait_leader(PATIENCE).await.unwrap();
    patiently(group.wait_replayed()).await.unwrap();
    group
}

pub async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits for a condition that nothing announces.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.expect(what);
}

/// Three nodes with one group each.
pub struct Cluster {
    pub network: Arc<LocalNetwork>,
    pub nodes: BTreeMap<NodeId, Node>,
    disks: BTreeMap<NodeId, Disk>,
}

pub struct Node {
    pub host: Arc<Host>,
    pub group: Arc<Group>,
    pub state: Arc<Recorder>,
}

impl Cluster {
    pub async fn start(disk: fn() -> Disk) -> Self {
        let disks = (1..=3).map(|id| (id, disk())).collect();
        let mut cluster = Self { network: LocalNetwork::new(), nodes: BTreeMap::new(), disks };
        for id in 1..=3 {
            cluster.start_node(id, Recorder::new()).await;
        }
        cluster.leader(&[1, 2, 3]).await;
        cluster
    }

    pub async fn start_node(&mut self, id: NodeId, state: Arc<Recorder>) {
        let host = Host::new(id, self.disks[&id].open(), self.network.transport(id), host_options());
        self.network.attach(&host);
        let members = (1..=3).map(|id| (id, format!("node-{id}"))).collect();
        let options = GroupOptions { name: "logs-0".to_owned(), members, bootstrap: true, prompt_commits: false };
        let group = host.open_group(options, state.clone()).await.unwrap();
        self.nodes.insert(id, Node { host, group, state });
    }

    pub async fn stop_node(&mut self, id: NodeId) -> Arc<Recorder> {
        let node = self.nodes.remove(&id).unwrap();
        node.host.shutdown().await.unwrap();
        node.state
    }

    pub fn group(&self, id: NodeId) -> &Arc<Group> {
        &self.nodes[&id].group
    }

    pub fn state(&self, id: NodeId) -> &Arc<Recorder> {
        &self.nodes[&id].state
    }

    /// The leader among nodes, once they agree on one of them.
    pub async fn leader(&self, among: &[NodeId]) -> NodeId {
        let agreed = || {
            let leader = self.group(among[0]).leader()?;
            let all = among.iter().all(|id| self.group(*id).leader() == Some(leader));
            (all && among.contains(&leader)).then_some(leader)
        };
        eventually("an agreed leader", || agreed().is_some()).await;
        match agreed() {
            Some(leader) => leader,
            None => Box::pin(self.leader(among)).await,
        }
    }

    /// Appends through whoever leads among nodes, until it is acknowledged.
    pub async fn append(&self, among: &[NodeId], text: &str) -> u64 {
        patiently(async {
            loop {
                let leader = self.leader(among).await;
                match self.group(leader).append(Payload::new(text.to_owned())).await {
                    Ok(appended) => return appended.position,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
            }
        })
        .await
    }

    /// Waits until all nodes have applied a text, and checks that they applied the same.
    pub async fn settle(&self, last: &str) -> Vec<(u64, Bytes)> {
        for node in self.nodes.values() {
            node.state.wait_text(last).await;
        }
        let mut all = self.nodes.values().map(|node| node.state.entries());
        let first = all.next().unwrap();
        for other in all {
            assert_eq!(other, first);
        }
        first
    }
}
