//! The crate's one error: what went wrong, where, and whether trying again can help.

use std::io;
use std::time::Duration;

use crate::NodeId;

/// Why an operation on the log failed. Cheap to clone, so that one failure can answer every
/// waiting caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another node leads the group, or none does at the moment. Send the entry to the leader
    /// named here, or wait and try again where none is named.
    #[error("group {group}: this node does not lead it; {}", describe_leader(.leader))]
    NotLeader {
        /// The group.
        group: String,
        /// Who leads and the address it is reached at, if known.
        leader: Option<(NodeId, String)>,
    },
    /// The wait ended before its condition was met. An append that timed out may still be stored.
    #[error("group {group}: {waiting_for} did not happen within {after:?}")]
    Timeout {
        /// The group.
        group: String,
        /// What was waited for.
        waiting_for: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The leader changed while the entry was on its way: it may or may not be stored. A caller
    /// that appends it again must be able to bear it twice.
    #[error("group {group}: the leader changed during the append; the entry may or may not be stored")]
    Uncertain {
        /// The group.
        group: String,
    },
    /// The group or the store is shut down on this node.
    #[error("group {group}: it is shut down on this node")]
    ShutDown {
        /// The group.
        group: String,
    },
    /// The disk or the database failed. Permanent: the group takes no more writes on this node.
    #[error("{place}: the storage failed: {message}; check the disk, then restart the node")]
    Storage {
        /// The group or the directory.
        place: String,
        /// What the storage said.
        message: String,
    },
    /// Another process has the directory.
    #[error("{place}: another process uses it: stop that one, or give this one a directory of its own")]
    InUse {
        /// The directory.
        place: String,
    },
    /// Stored bytes are not what was written. Permanent: restore the node from its peers.
    #[error("{place}: {} is corrupt: {message}", describe_position(.position))]
    Corrupt {
        /// The group.
        place: String,
        /// The entry's position, where it is an entry.
        position: Option<u64>,
        /// What is wrong with it.
        message: String,
    },
    /// The position was trimmed from the log: what it held is covered by the watermark.
    #[error("group {group}: position {position} is trimmed; the log starts at {first}")]
    Trimmed {
        /// The group.
        group: String,
        /// The position asked for.
        position: u64,
        /// The first position the log still has.
        first: u64,
    },
    /// This node has no open group of that name.
    #[error("group {group}: it is not open on this node")]
    UnknownGroup {
        /// The group.
        group: String,
    },
    /// The group is open on this node, which the operation does not allow.
    #[error("group {group}: it is open on this node")]
    AlreadyOpen {
        /// The group.
        group: String,
    },
    /// An option has a value that cannot work.
    #[error("option {option}: {message}")]
    InvalidOption {
        /// The option's name.
        option: &'static str,
        /// What is wrong and what would be right.
        message: String,
    },
    /// The state machine refused to give or to take a snapshot.
    #[error("group {group}: its state machine failed: {message}")]
    StateMachine {
        /// The group.
        group: String,
        /// What the state machine said.
        message: String,
    },
    /// A message from another node could not be read: it is damaged, or of a newer version.
    #[error("group {group}: a message from another node could not be read: {message}")]
    Message {
        /// The group.
        group: String,
        /// What is wrong with it.
        message: String,
    },
    /// A task of the group panicked. Permanent until the node is restarted.
    #[error("group {group}: an internal task panicked; see the log of this node")]
    Panicked {
        /// The group.
        group: String,
    },
}

impl Error {
    /// Whether the same call can succeed later, here or at the leader. An append that failed with
    /// [`Error::Timeout`] or [`Error::Uncertain`] may have been stored nevertheless.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotLeader { .. }
            | Self::Timeout { .. }
            | Self::Uncertain { .. }
            | Self::ShutDown { .. }
            | Self::UnknownGroup { .. } => true,
            Self::Storage { .. }
            | Self::InUse { .. }
            | Self::Corrupt { .. }
            | Self::Trimmed { .. }
            | Self::AlreadyOpen { .. }
            | Self::InvalidOption { .. }
            | Self::StateMachine { .. }
            | Self::Message { .. }
            | Self::Panicked { .. } => false,
        }
    }

    pub(crate) fn storage(place: &str, message: impl ToString) -> Self {
        Self::Storage { place: place.to_owned(), message: message.to_string() }
    }

    pub(crate) fn corrupt(place: &str, position: Option<u64>, message: impl ToString) -> Self {
        Self::Corrupt { place: place.to_owned(), position, message: message.to_string() }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

fn describe_leader(leader: &Option<(NodeId, String)>) -> String {
    match leader {
        Some((node, addr)) => format!("node {node} at {addr} does"),
        None => "no leader is known, try again in a moment".to_owned(),
    }
}

fn describe_position(position: &Option<u64>) -> String {
    match position {
        Some(position) => format!("the entry at position {position}"),
        None => "the stored state".to_owned(),
    }
}
