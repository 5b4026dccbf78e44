//! What can be set, documented field by field; the defaults suit two cores, one voter and a
//! handful of groups.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::{Error, NodeId};

const MIB: usize = 1 << 20;

/// Options of a node's [`Store`](crate::Store).
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of one segment, but for entries that are larger.
    pub segment_bytes: u64,
    /// Segments on the disk before what is wanted of the oldest is moved to the newest, if most of
    /// what they hold is trimmed.
    pub max_segments: usize,
    /// Bytes of the newest entries kept in memory for replication and reads, over all groups.
    /// Entries that are not yet synced or applied are kept in any case.
    pub tail_cache_bytes: usize,
    /// Bytes of entries in one write and sync.
    pub max_write_bytes: usize,
    /// How long the writer waits for other groups' appends, under load only: a lone append is
    /// written at once.
    pub linger: Duration,
    /// Whether entries are written past the page cache. `None`: where the file system can.
    pub direct_io: Option<bool>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MIB as u64,
            max_segments: 8,
            tail_cache_bytes: 32 * MIB,
            max_write_bytes: 16 * MIB,
            linger: Duration::from_millis(2),
            direct_io: None,
        }
    }
}

/// Options of a node's [`Host`](crate::Host).
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// How often a leader tells its followers that it lives.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a node stands for election.
    pub election_min: Duration,
    /// The longest such time; also how long a leader is trusted after its last word.
    pub election_max: Duration,
    /// How long an append may take before it fails with [`Error::Timeout`].
    pub append_timeout: Duration,
    /// How long one message with entries may take to a follower's disk and back.
    pub rpc_timeout: Duration,
    /// How long a snapshot may take to a follower.
    pub snapshot_timeout: Duration,
    /// Bytes of appends one group has under way; more wait for their turn.
    pub max_inflight_bytes: usize,
    /// Bytes of entries in one message to a follower.
    pub max_message_bytes: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_millis(1000),
            election_max: Duration::from_millis(2000),
            append_timeout: Duration::from_secs(10),
            rpc_timeout: Duration::from_secs(5),
            snapshot_timeout: Duration::from_secs(60),
            max_inflight_bytes: 32 * MIB,
            max_message_bytes: 2 * MIB,
        }
    }
}

impl HostOptions {
    pub(crate) fn check(&self) -> Result<(), Error> {
        let invalid = |option, message: &str| Err(Error::InvalidOption { option, message: message.to_owned() });
        if self.heartbeat < Duration::from_millis(10) {
            return invalid("heartbeat", "must be 10 ms or more");
        }
        if self.election_min < self.heartbeat * 3 {
            return invalid("election_min", "must be three heartbeats or more");
        }
        if self.election_max <= self.election_min {
            return invalid("election_max", "must be longer than election_min");
        }
        if self.max_inflight_bytes < 1024 {
            return invalid("max_inflight_bytes", "must be 1024 or more");
        }
        Ok(())
    }
}

/// Which group to open.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The group's name, the same on all its nodes.
    pub name: String,
    /// The nodes that keep the group and the addresses they are reached at. The nodes are fixed
    /// when the group is founded; addresses may change with a restart.
    pub members: BTreeMap<NodeId, String>,
    /// Found the group if it does not exist. All members may say so, if they name the same
    /// members: the one with the lowest number founds it, and the others wait for its word. (If
    /// all did, they would stand for election all at once and wait for each other for seconds.)
    pub bootstrap: bool,
    /// Followers apply entries as soon as they are committed, for a message more per entry.
    /// Otherwise they may learn of it with the next entries or the next heartbeat.
    pub prompt_commits: bool,
}

impl GroupOptions {
    pub(crate) fn check(&self, node: NodeId) -> Result<(), Error> {
        if self.name.is_empty() || self.name == "default" || self.name.contains('\0') {
            return Err(Error::InvalidOption {
                option: "name",
                message: format!(
                    "{:?} cannot name a group; use another name than the empty one and \"default\", without NUL",
                    self.name
                ),
            });
        }
        if !self.members.contains_key(&node) {
            return Err(Error::InvalidOption {
                option: "members",
                message: format!("group {}: this node, {node}, is not among them", self.name),
            });
        }
        Ok(())
    }
}
