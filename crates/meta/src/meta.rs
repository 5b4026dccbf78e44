//! A meta node: the replicated group, its commands and its watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_cluster::{Catalog, seam};
use bonghwa_protocol::{MetaClient, RpcError, RpcErrorKind, v1};
use bonghwa_replog::{Group, GroupOptions, GroupStatus, Host, NodeId};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use prost::Message;

use crate::MetaError;
use crate::control::{ControlOptions, Liveness, control};
use crate::feed::HistoryLimits;
use crate::machine::{Machine, entry};

/// The name of meta's group, and of its column family.
pub const GROUP: &str = "meta";

/// How a meta node is run.
#[derive(Clone, Debug)]
pub struct MetaOptions {
    /// The meta nodes and their HOST:PORT, this one included; the same on all.
    pub members: BTreeMap<NodeId, String>,
    /// Found the group if it does not exist yet.
    pub bootstrap: bool,
    /// Changes kept for watchers that come back; older ones cost a snapshot.
    pub history_changes: usize,
    /// The most bytes that those changes may take.
    pub history_bytes: usize,
    /// Commands after which the state is stored and the log trimmed. The state is
    /// stored whole, so that fewer cost write amplification, more a longer start.
    pub trim_every: u64,
    /// What the leader does on its own.
    pub control: ControlOptions,
}

impl MetaOptions {
    /// The defaults, with these members.
    pub fn new(members: BTreeMap<NodeId, String>, bootstrap: bool) -> Self {
        MetaOptions {
            members,
            bootstrap,
            history_changes: 10_000,
            history_bytes: 32 * 1024 * 1024,
            trim_every: 5_000,
            control: ControlOptions::default(),
        }
    }
}

/// A meta node.
pub struct Meta {
    group: Arc<Group>,
    machine: Arc<Machine>,
    liveness: Arc<Liveness>,
    members: BTreeMap<NodeId, String>,
    tasks: Mutex<Vec<seam::Task>>,
}

impl Meta {
    /// Opens the group on this host. Returns when what this node stored is
    /// restored; the rest is applied once a leader is found.
    pub async fn open(host: &Host, options: MetaOptions) -> Result<Arc<Self>, MetaError> {
        let limits = HistoryLimits { changes: options.history_changes, bytes: options.history_bytes };
        let machine = Machine::new(limits);
        let members = options.members;
        let group = GroupOptions {
            name: GROUP.into(),
            members: members.clone(),
            bootstrap: options.bootstrap,
            prompt_commits: true,
        };
        let group = host.open_group(group, machine.clone()).await?;
        let liveness = Arc::new(Liveness::default());
        let tasks = vec![
            seam::spawn(trim(group.clone(), machine.clone(), options.trim_every.max(1))),
            seam::spawn(control(group.clone(), machine.clone(), liveness.clone(), options.control)),
        ];
        Ok(Arc::new(Meta { group, machine, liveness, members, tasks: Mutex::new(tasks) }))
    }

    /// Waits until this node has applied all that was committed before it started,
    /// and a leader is known.
    pub async fn wait_ready(&self) -> Result<(), MetaError> {
        Ok(self.group.wait_replayed().await?)
    }

    /// Waits until a meta node leads.
    pub async fn wait_leader(&self, timeout: Duration) -> Result<NodeId, MetaError> {
        Ok(self.group.wait_leader(timeout).await?)
    }

    /// Whether this node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.group.is_leader()
    }

    /// The catalog as this node has it.
    pub fn catalog(&self) -> Catalog {
        self.machine.feed().catalog()
    }

    /// The address of the leader, as the configuration of this node has it.
    fn leader_address(&self) -> Option<String> {
        self.members.get(&self.group.leader()?).cloned()
    }

    /// The group's figures.
    pub fn status(&self) -> GroupStatus {
        self.group.status()
    }

    /// Resolves when the log has failed for good: the process must end.
    pub async fn failed(&self) -> MetaError {
        self.group.failed().await.into()
    }

    /// Ends all watches, hands over leadership and closes the group.
    pub async fn shutdown(&self) -> Result<(), MetaError> {
        self.machine.feed().close();
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.stop().await;
        }
        Ok(self.group.shutdown().await?)
    }
}

#[async_trait]
impl MetaClient for Meta {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        if command.kind.is_none() {
            return Err(RpcError::invalid(
                "kind is missing, or a command of a newer release: name one, or upgrade the meta nodes first",
            ));
        }
        self.machine.check()?;
        let appended = self.group.append(entry(command)).await.map_err(MetaError::from)?;
        v1::CommandResult::decode(appended.response)
            .map_err(|error| RpcError::internal(format!("meta's own answer cannot be read: {error}")))
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        if !self.group.is_leader() {
            return Err(RpcError::new(
                RpcErrorKind::NotLeader { leader: self.leader_address() },
                "this meta node does not lead",
            ));
        }
        let catalog = self.machine.feed().catalog();
        let known = catalog.node(node).is_some_and(|n| n.incarnation == incarnation);
        if known {
            self.liveness.hear(node);
        }
        // One that was deposed without knowing it would let copies pass for new that are not.
        self.group.confirm_leader().await.map_err(MetaError::from)?;
        Ok(v1::HeartbeatResponse { known, version: self.machine.feed().version() })
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        self.machine.check()?;
        let version = self.machine.feed().version();
        if from_version > version && !self.group.is_leader() {
            // Behind the caller: going back would only hurt it. The leader knows
            // whether that version is real.
            return Err(RpcError::new(
                RpcErrorKind::Unavailable,
                format!("this meta node is at version {version}, behind {from_version}: watch another, or come back"),
            ));
        }
        Ok(self.machine.feed().watch(from_version))
    }
}

/// Stores the state and trims the log every so many positions.
async fn trim(group: Arc<Group>, machine: Arc<Machine>, every: u64) {
    let mut positions = machine.positions();
    let mut trimmed = group.watermark();
    loop {
        let position = match positions.wait_for(|position| position.saturating_sub(trimmed) >= every).await {
            Ok(position) => *position,
            Err(_) => return,
        };
        match group.trim(position).await {
            Ok(()) => tracing::debug!(position, "stored meta's state and trimmed its log"),
            // The log grows until the next attempt.
            Err(error) => tracing::warn!(%error, position, "meta's log could not be trimmed"),
        }
        trimmed = position;
    }
}
