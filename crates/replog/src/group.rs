//! One group on one node: the narrow contract of a log.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bonghwa_seam as seam;
use bytes::Bytes;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, ForwardToLeader, InitializeError, RaftError};
use openraft::metrics::WaitError;
use openraft::{RaftMetrics, ServerState};
use tokio::sync::Semaphore;

use crate::group_log::GroupLog;
use crate::host::Registry;
use crate::log_storage;
use crate::machine::{Applier, Machine};
use crate::raft_types::{Content, Fatal, Node, TypeConfig};
use crate::{Error, HostOptions, NodeId, Payload, Store};

mod leadership;

pub(crate) type Raft = openraft::Raft<TypeConfig, Machine>;
type Metrics = RaftMetrics<TypeConfig>;

/// How long an append waits before a core that refused is asked again: first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What an append returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The entry's position.
    pub position: u64,
    /// What [`StateMachine::apply`](crate::StateMachine::apply) returned for it.
    pub response: Bytes,
}

/// A group's figures, for metrics and pages.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// The group's name.
    pub name: String,
    /// The first position the log has, or the next one if it is empty.
    pub first_position: u64,
    /// The last position in the log; 0 if it never had one.
    pub last_position: u64,
    /// The last position that was applied here.
    pub applied: u64,
    /// The last position the durable snapshot covers.
    pub watermark: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// The number of the leadership; it grows with every election.
    pub term: u64,
    /// Bytes of entries on disk. Right after a start only what was replayed is counted.
    pub log_bytes: u64,
    /// Bytes of entries held in memory.
    pub tail_bytes: u64,
    /// On the leader: the last position each member is known to have.
    pub members: BTreeMap<NodeId, u64>,
    /// Why the group takes no more writes here, if it does not.
    pub failure: Option<Error>,
}

/// One group on this node.
pub struct Group {
    raft: Raft,
    log: Arc<GroupLog>,
    applier: Arc<Applier>,
    store: Arc<Store>,
    registry: Weak<Registry>,
    node: NodeId,
    /// The last position that was on disk when the group was opened.
    last_at_open: Option<u64>,
    /// KiB of appends that may be under way.
    room: Semaphore,
    room_total: u32,
    append_timeout: Duration,
    leader_wait: Duration,
    trimming: tokio::sync::Mutex<()>,
}

impl Group {
    #[allow(clippy::too_many_arguments)] // Made in one place, from what that place has.
    pub(crate) fn new(
        raft: Raft,
        log: Arc<GroupLog>,
        applier: Arc<Applier>,
        store: Arc<Store>,
        registry: Weak<Registry>,
        options: &HostOptions,
        node: NodeId,
        last_at_open: Option<u64>,
    ) -> Self {
        let room_total = u32::try_from(options.max_inflight_bytes / 1024).unwrap_or(u32::MAX >> 3);
        Self {
            raft,
            log,
            applier,
            store,
            registry,
            node,
            last_at_open,
            room: Semaphore::new(room_total as usize),
            room_total,
            append_timeout: options.append_timeout,
            leader_wait: options.election_max,
            trimming: tokio::sync::Mutex::default(),
        }
    }

    /// The group's name.
    pub fn name(&self) -> &str {
        &self.log.name
    }

    /// Appends an entry. Resolves when it is synced on a quorum of the members and applied here.
    ///
    /// Only the leader appends. Right after an election it waits a moment instead of answering
    /// that nobody leads. Dropping the future does not take the entry back.
    pub async fn append(&self, payload: Payload) -> Result<Appended, Error> {
        if let Some(error) = self.log.failure() {
            return Err(error);
        }
        let kib = (payload.bytes.len() / 1024 + 1).min(self.room_total as usize) as u32;
        let append = async {
            // The semaphore is never closed; a group that shuts down fails the write below.
            let _room = self.room.acquire_many(kib).await;
            self.write(payload).await
        };
        match seam::timeout(self.append_timeout, append).await {
            Ok(result) => result,
            Err(_) => Err(self.timeout("an append", self.append_timeout)),
        }
    }

    /// Reads applied entries from a position on: at least one if there is one, then as many as
    /// `max_bytes` allow. Empty at the end of the log. The log's own entries are left out, so
    /// positions may have gaps. Position 0 stands for the first one that is left. Works on every
    /// node.
    pub async fn read_from(&self, position: u64, max_bytes: usize) -> Result<Vec<(u64, Bytes)>, Error> {
        let end = self.log.applied_end();
        let mut next = position;
        loop {
            let first = self.log.ends().0.map_or(0, |id| id.index + 1);
            if next < first && position > 0 {
                return Err(Error::Trimmed { group: self.name().to_owned(), position, first });
            }
            next = next.max(first);
            let entries = log_storage::read(&self.log, next, end, max_bytes).await?;
            let Some(last) = entries.last() else { return Ok(Vec::new()) };
            next = last.log_id.index + 1;
            let payloads: Vec<(u64, Bytes)> = entries
                .into_iter()
                .filter_map(|entry| match entry.payload {
                    Content::Normal(payload) => Some((entry.log_id.index, payload.bytes)),
                    Content::Blank | Content::Membership(_) => None,
                })
                .collect();
            if !payloads.is_empty() {
                return Ok(payloads);
            }
        }
    }

    /// Takes a snapshot of the state machine, makes it durable, then lets the log forget entries
    /// up to `watermark`, as far as the snapshot covers them.
    ///
    /// For a partition the snapshot must not run ahead of the catalog: a follower that comes back
    /// after the trim gets the snapshot and never those entries. Trims this node only.
    pub async fn trim(&self, watermark: u64) -> Result<(), Error> {
        if let Some(error) = self.log.failure() {
            return Err(error);
        }
        let _one = self.trimming.lock().await;
        let Some(covered) = self.applier.prepare_snapshot().await? else { return Ok(()) };
        self.raft.trigger().snapshot().await.map_err(|e| self.fatal(e))?;
        self.wait(Some(self.append_timeout), "a snapshot", |m| m.snapshot.is_some_and(|id| id.index >= covered.index))
            .await?;
        let upto = watermark.min(covered.index);
        self.raft.trigger().purge_log(upto).await.map_err(|e| self.fatal(e))
    }

    /// The last position that was applied here, the log's own entries included; 0 if there is none.
    pub fn applied(&self) -> u64 {
        self.log.applied_end().saturating_sub(1)
    }

    /// The last position the durable snapshot covers; 0 if there is none.
    pub fn watermark(&self) -> u64 {
        self.applier.watermark()
    }

    /// Waits until all entries that were committed before the start are applied. On a follower:
    /// those that its own log held at the start.
    pub async fn wait_replayed(&self) -> Result<(), Error> {
        let at_open = self.last_at_open;
        self.wait(None, "the replay", move |m| {
            // An applied entry of the present leadership has all that was committed before it.
            // A tail that was cut off by a new leader is not waited for.
            let current = m.last_applied.filter(|id| id.leader_id.term == m.current_term);
            let target = at_open.min(m.last_log_index);
            m.current_leader.is_some() && current.is_some_and(|id| Some(id.index) >= target)
        })
        .await?;
        Ok(())
    }

    /// Waits until a position is applied on this node.
    pub async fn wait_applied(&self, position: u64, timeout: Duration) -> Result<(), Error> {
        self.wait(Some(timeout), "applying", |m| m.last_applied.is_some_and(|id| id.index >= position)).await?;
        Ok(())
    }

    /// Resolves when the group has failed for good, or is shut down.
    pub async fn failed(&self) -> Error {
        let stored = self.store.core().progress.failed.notified();
        tokio::pin!(stored);
        // From here on no failure is missed.
        stored.as_mut().enable();
        if let Some(known) = self.log.failure() {
            return known;
        }
        let mut metrics = self.raft.server_metrics();
        let core = async { while metrics.changed().await.is_ok() {} };
        tokio::select! {
            () = stored => self.fatal(Fatal::Stopped),
            () = core => self.ended(),
        }
    }

    /// Why the core of the group, which has ended, did.
    fn ended(&self) -> Error {
        let state = self.raft.metrics().borrow_watched().running_state.clone();
        self.fatal(state.err().unwrap_or(Fatal::Stopped))
    }

    /// The group's figures.
    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let (purged, last) = self.log.ends();
        let members = metrics.replication.iter().flatten();
        GroupStatus {
            name: self.name().to_owned(),
            first_position: purged.map_or(0, |id| id.index + 1),
            last_position: last.map_or(0, |id| id.index),
            applied: self.applied(),
            watermark: self.watermark(),
            leader: metrics.current_leader,
            term: metrics.current_term,
            log_bytes: self.log.bytes(),
            tail_bytes: self.log.tail_bytes() as u64,
            members: members.map(|(node, id)| (*node, id.map_or(0, |id| id.index))).collect(),
            failure: self.log.failure(),
        }
    }

    /// Hands leadership over if this node has it, and ends the group on this node. Its log stays.
    pub async fn shutdown(&self) -> Result<(), Error> {
        if let Some(registry) = self.registry.upgrade() {
            self.hand_over().await;
            registry.remove(self.name());
        }
        let stopped = self.raft.shutdown().await;
        // Only a hint for the next start; a failed store has said so already.
        let _ = self.log.flush_committed().await;
        self.store.close_log(self.name());
        stopped.map_err(|_| Error::Panicked { group: self.name().to_owned() })
    }

    pub(crate) fn raft(&self) -> &Raft {
        &self.raft
    }

    /// Founds the group if it is to be founded here, and leads it if nobody else can.
    pub(crate) async fn join(
        self: &Arc<Self>,
        members: &BTreeMap<NodeId, String>,
        bootstrap: bool,
    ) -> Result<(), Error> {
        let found = bootstrap && members.keys().next() == Some(&self.node);
        if found && self.last_at_open.is_none() {
            self.found(members).await?;
        } else if bootstrap && self.last_at_open.is_none() {
            self.found_in_the_founders_stead(members.clone());
        }
        if members.len() == 1 && (found || self.last_at_open.is_some()) {
            self.raft.trigger().elect(false).await.map_err(|e| self.fatal(e))?;
        }
        Ok(())
    }

    async fn found(&self, members: &BTreeMap<NodeId, String>) -> Result<(), Error> {
        let nodes: BTreeMap<NodeId, Node> = members.iter().map(|(id, addr)| (*id, Node::new(addr))).collect();
        match self.raft.initialize(nodes).await {
            // Not allowed: entries of another member are here already.
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotInMembers(e))) => {
                Err(Error::InvalidOption { option: "members", message: e.to_string() })
            }
            Err(RaftError::Fatal(e)) => Err(self.fatal(e)),
        }
    }

    /// The founder may be away when the group is born. The others then found it after a while, one
    /// after another; that two found it is allowed, since they name the same members.
    fn found_in_the_founders_stead(self: &Arc<Self>, members: BTreeMap<NodeId, String>) {
        let rank = members.keys().position(|id| *id == self.node).unwrap_or(0) as u32;
        let patience = self.leader_wait * 3 * rank.max(1);
        let group = Arc::downgrade(self);
        seam::spawn(async move {
            seam::sleep(patience).await;
            let Some(group) = group.upgrade() else { return };
            if group.leader().is_none()
                && group.log.ends().1.is_none()
                && let Err(error) = group.found(&members).await
            {
                tracing::warn!(group = group.name(), %error, "the group could not be founded here");
            }
        })
        .detach();
    }

    /// What a permanent error of openraft means for callers.
    pub(crate) fn fatal(&self, error: Fatal) -> Error {
        explain(&self.log, error)
    }

    async fn write(&self, payload: Payload) -> Result<Appended, Error> {
        let started = seam::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.raft.client_write(payload.clone()).await {
                Ok(written) => {
                    return Ok(Appended { position: written.log_id.index, response: written.data });
                }
                Err(error) => error,
            };
            match error {
                RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                    self.wait_to_lead(forward).await?;
                    // The metrics may be a step ahead of the core that refused. Or the core leads
                    // and has not heard from a quorum for so long that another may lead by now: for
                    // as long as that takes, not in a busy loop.
                    if started.elapsed() >= self.leader_wait {
                        return Err(Error::NotLeader { group: self.name().to_owned(), leader: None });
                    }
                    seam::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                RaftError::APIError(_) => {
                    return Err(Error::Uncertain { group: self.name().to_owned() });
                }
                RaftError::Fatal(e) => return Err(self.fatal(e)),
            }
        }
    }

    /// An election may have just been won here, or be under way: then the entry can be tried
    /// again. Otherwise the error names the leader.
    async fn wait_to_lead(&self, forward: ForwardToLeader<TypeConfig>) -> Result<(), Error> {
        let not_leader = |leader| Error::NotLeader { group: self.name().to_owned(), leader };
        if let Some(leader) = forward.leader_id.filter(|leader| *leader != self.node) {
            let addr = forward.leader_node.map(|node| node.addr).unwrap_or_default();
            return Err(not_leader(Some((leader, addr))));
        }
        let known = |m: &Metrics| m.current_leader.is_some_and(|l| l != self.node) || m.state == ServerState::Leader;
        let metrics = match self.wait(Some(self.leader_wait), "an election", known).await {
            Err(Error::Timeout { .. }) => return Err(not_leader(None)),
            other => other?,
        };
        match metrics.current_leader.filter(|leader| *leader != self.node) {
            None => Ok(()),
            Some(leader) => {
                let addr = metrics.membership_config.get_node(&leader).map(|node| node.addr.clone());
                Err(not_leader(Some((leader, addr.unwrap_or_default()))))
            }
        }
    }

    async fn wait(
        &self,
        timeout: Option<Duration>,
        waiting_for: &'static str,
        condition: impl Fn(&Metrics) -> bool + Send + Sync,
    ) -> Result<Metrics, Error> {
        // A failed group keeps its last metrics; do not wait for what cannot come.
        let met_or_failed = |m: &Metrics| condition(m) || m.running_state.is_err();
        let waited = self.raft.wait(timeout).metrics(met_or_failed, waiting_for).await;
        match waited {
            Ok(metrics) => match metrics.running_state.clone() {
                Ok(()) => Ok(metrics),
                Err(e) => Err(self.fatal(e)),
            },
            Err(WaitError::Timeout(after, _)) => Err(self.timeout(waiting_for, after)),
            Err(WaitError::ShuttingDown) => Err(self.fatal(Fatal::Stopped)),
        }
    }

    fn timeout(&self, waiting_for: &'static str, after: Duration) -> Error {
        Error::Timeout { group: self.name().to_owned(), waiting_for, after }
    }
}

/// What a permanent error of openraft means: the log knows its own failures better.
pub(crate) fn explain(log: &GroupLog, error: Fatal) -> Error {
    if let Some(known) = log.failure() {
        return known;
    }
    let group = log.name.to_string();
    match error {
        Fatal::StorageError(e) => Error::storage(&group, e),
        Fatal::Panicked => Error::Panicked { group },
        Fatal::Stopped => Error::ShutDown { group },
    }
}
