//! The groups of one node: opening and closing them, and answering the other nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::{Config, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::group::{Group, Raft};
use crate::group_log::GroupLog;
use crate::log_storage::LogStorage;
use crate::machine::{Applier, Machine};
use crate::network::Network;
use crate::rpc::{self, Message};
use crate::{Error, GroupOptions, HostOptions, NodeId, RpcKind, StateMachine, Store, Transport};

/// Runs the groups of one node on its store.
pub struct Host {
    node: NodeId,
    store: Arc<Store>,
    transport: Arc<dyn Transport>,
    options: HostOptions,
    groups: Arc<Registry>,
    /// One replay at a time: it reads up to 64 entries at once, and two cores have other work.
    replay: Semaphore,
}

/// The open groups by name.
#[derive(Default)]
pub(crate) struct Registry(Mutex<HashMap<String, Arc<Group>>>);

impl Registry {
    pub fn remove(&self, name: &str) -> Option<Arc<Group>> {
        self.0.lock().remove(name)
    }
}

impl Host {
    /// A host without open groups.
    pub fn new(node_id: NodeId, store: Arc<Store>, transport: Arc<dyn Transport>, options: HostOptions) -> Arc<Self> {
        Arc::new(Self { node: node_id, store, transport, options, groups: Arc::default(), replay: Semaphore::new(1) })
    }

    /// This node's number.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The store the groups are on.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// An open group.
    pub fn group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.0.lock().get(name).cloned()
    }

    /// All open groups, by name.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<_> = self.groups.0.lock().values().cloned().collect();
        groups.sort_by(|a, b| a.name().cmp(b.name()));
        groups
    }

    /// Opens a group: restores its state machine from the last snapshot, applies what is known to
    /// be committed beyond it, and starts taking part. The rest is applied once a leader is found:
    /// see [`Group::wait_replayed`]. A group with one member leads at once.
    pub async fn open_group(
        &self,
        options: GroupOptions,
        state_machine: Arc<dyn StateMachine>,
    ) -> Result<Arc<Group>, Error> {
        self.options.check()?;
        options.check(self.node)?;
        let alone = options.members.len() == 1;
        let log = self.store.open_log(&options.name, !alone)?;
        match self.start(&options, log, state_machine).await {
            Ok(group) => {
                self.groups.0.lock().insert(options.name, group.clone());
                if let Err(error) = group.join(&options.members, options.bootstrap).await {
                    // The first error tells more than what follows from it.
                    let _ = group.shutdown().await;
                    return Err(error);
                }
                Ok(group)
            }
            Err(error) => {
                self.store.close_log(&options.name);
                Err(error)
            }
        }
    }

    /// Shuts a group down, if it is open, and deletes it with all its entries.
    pub async fn drop_group(&self, name: &str) -> Result<(), Error> {
        if let Some(group) = self.group(name) {
            group.shutdown().await?;
        }
        self.store.drop_group(name)
    }

    /// Shuts all groups down, handing over those this node leads.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let groups = self.groups();
        let ends = futures::future::join_all(groups.iter().map(|group| group.shutdown())).await;
        ends.into_iter().collect()
    }

    /// Answers a message that a [`Transport`] brought from another node.
    pub async fn handle_rpc(&self, group: &str, kind: RpcKind, body: Bytes) -> Result<Bytes, Error> {
        let Some(group) = self.group(group) else {
            return Err(Error::UnknownGroup { group: group.to_owned() });
        };
        let unreadable =
            |e: crate::codec::Malformed| Error::Message { group: group.name().to_owned(), message: e.to_string() };
        let raft = group.raft();
        Ok(match kind {
            RpcKind::Append => {
                let request = rpc::AppendRequest::decode(body).map_err(unreadable)?;
                let answer = raft.append_entries(request).await;
                answer.map_err(|e| group.fatal(e.unwrap_fatal()))?.encode()
            }
            RpcKind::Vote => {
                let request = rpc::VoteRequest::decode(body).map_err(unreadable)?;
                let answer = raft.vote(request).await;
                answer.map_err(|e| group.fatal(e.unwrap_fatal()))?.encode()
            }
            RpcKind::PreVote => {
                let request = rpc::VoteRequest::decode(body).map_err(unreadable)?;
                let answer = raft.pre_vote(request).await;
                answer.map_err(|e| group.fatal(e.unwrap_fatal()))?.encode()
            }
            RpcKind::Snapshot => {
                let request = rpc::SnapshotRequest::decode(body).map_err(unreadable)?;
                let answer = raft.install_full_snapshot(request.vote, request.snapshot).await;
                answer.map_err(|e| group.fatal(e))?.encode()
            }
            RpcKind::TransferLeader => {
                let request = rpc::TransferRequest::decode(body).map_err(unreadable)?;
                let answer = raft.handle_transfer_leader(request).await;
                answer.map_err(|e| group.fatal(e))?.encode()
            }
        })
    }

    async fn start(
        &self,
        options: &GroupOptions,
        log: Arc<GroupLog>,
        state_machine: Arc<dyn StateMachine>,
    ) -> Result<Arc<Group>, Error> {
        let config = raft_config(&options.name, &self.options, options.members.len() == 1)?;
        let network = Network {
            node: self.node,
            group: log.name.clone(),
            transport: self.transport.clone(),
            addrs: options.members.clone(),
            options: self.options.clone(),
            commit_linger: if options.prompt_commits { Duration::ZERO } else { self.options.heartbeat },
        };
        let (_, last) = log.ends();
        let storage = LogStorage::new(log.clone(), self.options.max_message_bytes);
        let applier = Arc::new(Applier::new(log.clone(), state_machine));
        let machine = Machine(applier.clone());
        let raft = {
            let _turn = self.replay.acquire().await;
            Raft::new(self.node, Arc::new(config), network, storage, machine).await
        };
        let raft = raft.map_err(|e| crate::group::explain(&log, e))?;
        Ok(Arc::new(Group::new(
            raft,
            log,
            applier,
            self.store.clone(),
            Arc::downgrade(&self.groups),
            &self.options,
            self.node,
            last.map(|id| id.index),
        )))
    }
}

fn raft_config(group: &str, options: &HostOptions, alone: bool) -> Result<Config, Error> {
    // A node that is alone in its group has nobody to tell that it lives. Its clock only has to
    // tick for openraft's own sake, and ticks of many groups are what an idle node spends.
    let slower = if alone { 4 } else { 1 };
    let millis = |duration: Duration| duration.as_millis() as u64 * slower;
    let config = Config {
        cluster_name: group.to_owned(),
        heartbeat_interval: millis(options.heartbeat),
        // An append proves as much as a heartbeat does.
        heartbeat_min_interval: Some(millis(options.heartbeat)),
        election_timeout_min: millis(options.election_min),
        election_timeout_max: millis(options.election_max),
        install_snapshot_timeout: options.snapshot_timeout.as_millis() as u64,
        // Messages are bounded by bytes, in `LogStorage`.
        max_payload_entries: 256,
        max_append_entries: Some(256),
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        state_machine_channel_size: Some(256),
        // Only `Group::trim` snapshots and purges.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        enable_pre_vote: Some(true),
        // A restarted leader does not know for sure what it had committed. A new term does.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config
        .validate()
        .map_err(|e| Error::InvalidOption { option: "heartbeat, election_min, election_max", message: e.to_string() })
}
