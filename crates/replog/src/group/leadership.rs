//! Who leads a group: asking, proving, waiting, handing over.

use std::time::Duration;

use bonghwa_seam as seam;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{ReadPolicy, ServerState};

use super::Group;
use crate::{Error, NodeId};

/// How long a leader that shuts down waits for another node to take over.
const HAND_OVER: Duration = Duration::from_secs(1);

/// A member that lacks no more entries than this can take over at once.
const CAUGHT_UP: u64 = 16;

impl Group {
    /// Who leads, as far as this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    /// Whether this node leads, as far as it knows. Only an append proves it.
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.node) && self.log.failure().is_none()
    }

    /// Confirms with a quorum that this node leads, and waits until everything that was acknowledged
    /// before the call, by whichever leader, is applied here. A leader that was deposed without
    /// knowing it finds out.
    pub async fn confirm_leader(&self) -> Result<(), Error> {
        if let Some(error) = self.log.failure() {
            return Err(error);
        }
        if self.leads_alone() {
            return Ok(());
        }
        let confirmed = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match seam::timeout(self.leader_wait, confirmed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                let leader = forward.leader_id.filter(|leader| *leader != self.node);
                let addr = forward.leader_node.map(|node| node.addr).unwrap_or_default();
                Err(Error::NotLeader { group: self.name().to_owned(), leader: leader.map(|id| (id, addr)) })
            }
            // A quorum that is away may have elected another.
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) => {
                Err(Error::NotLeader { group: self.name().to_owned(), leader: None })
            }
            Ok(Err(RaftError::Fatal(e))) => Err(self.fatal(e)),
            Err(_) => Err(self.timeout("an answer of the quorum", self.leader_wait)),
        }
    }

    /// Whether this node leads, is the quorum, and has applied what was acknowledged before it led: nobody else can
    /// lead, and whatever was acknowledged since is applied. A second voter comes by entries that this node commits.
    fn leads_alone(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let alone = [&metrics.membership_config, &metrics.committed_membership_config].into_iter().all(|config| {
            let voters = config.membership().get_joint_config();
            matches!(&voters[..], [voters] if voters.len() == 1 && voters.contains(&self.node))
        });
        let applied = metrics.last_applied.is_some_and(|id| id.leader_id.term == metrics.current_term);
        alone && applied && metrics.state == ServerState::Leader && metrics.running_state.is_ok()
    }

    /// Waits until someone leads.
    pub async fn wait_leader(&self, timeout: Duration) -> Result<NodeId, Error> {
        let metrics = self.wait(Some(timeout), "an election", |m| m.current_leader.is_some()).await?;
        // The condition above holds for these metrics.
        Ok(metrics.current_leader.unwrap_or(self.node))
    }

    /// Waits until the leader is another than `seen`, and returns it: `None` while nobody leads.
    pub async fn leader_changed(&self, seen: Option<NodeId>) -> Result<Option<NodeId>, Error> {
        // Not all metrics: those change with each entry.
        let mut metrics = self.raft.server_metrics();
        loop {
            let leader = metrics.borrow_watched().current_leader;
            if leader != seen {
                return Ok(leader);
            }
            if metrics.changed().await.is_err() {
                return Err(self.ended());
            }
        }
    }

    /// Lets a member lead that has all of the log, or nearly; does nothing where this node does not
    /// lead or the member is behind. Writes pause for milliseconds.
    pub async fn hand_over_to(&self, node: NodeId) -> Result<(), Error> {
        let ready = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let has = metrics.replication.iter().flatten().find(|(id, _)| **id == node).and_then(|(_, id)| *id);
            let last = metrics.last_log_index.unwrap_or(0);
            metrics.state == ServerState::Leader && has.is_some_and(|id| id.index + CAUGHT_UP >= last)
        };
        if ready && node != self.node {
            self.raft.trigger().transfer_leader(node).await.map_err(|e| self.fatal(e))?;
        }
        Ok(())
    }

    /// Lets the follower that has most of the log lead, so that writes pause for milliseconds.
    pub(super) async fn hand_over(&self) {
        let target = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let members = metrics.replication.iter().flatten();
            let others = members.filter(|(node, _)| **node != self.node && metrics.state == ServerState::Leader);
            others.max_by_key(|(_, id)| id.map(|id| id.index)).map(|(node, _)| *node)
        };
        let Some(target) = target else { return };
        if self.raft.trigger().transfer_leader(target).await.is_ok()
            && let Err(error) = self.wait(Some(HAND_OVER), "a hand-over", |m| m.state != ServerState::Leader).await
        {
            tracing::info!(group = %self.name(), %error, "nobody took over; the others will elect a leader");
        }
    }
}
