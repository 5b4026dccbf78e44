//! How messages between the nodes of a group travel: as opaque bytes, by whatever carries them.

use async_trait::async_trait;
use bytes::Bytes;

use crate::NodeId;

/// What a message asks for. The number is part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RpcKind {
    /// Take entries, or a heartbeat.
    Append = 1,
    /// Vote for a leader.
    Vote = 2,
    /// Say whether you would vote for a leader.
    PreVote = 3,
    /// Take a snapshot instead of entries.
    Snapshot = 4,
    /// Become the leader.
    TransferLeader = 5,
}

impl RpcKind {
    /// The number that stands for the kind in a message.
    pub fn as_u8(self) -> u8 {
        self as u8
    }

    /// The kind of a number; `None` for what only a newer build knows.
    pub fn from_u8(number: u8) -> Option<Self> {
        [Self::Append, Self::Vote, Self::PreVote, Self::Snapshot, Self::TransferLeader]
            .into_iter()
            .find(|kind| kind.as_u8() == number)
    }
}

/// Why a message had no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// The node could not be reached. It is left alone for a moment before the next attempt.
    #[error("node {target} at {addr} cannot be reached: {message}")]
    Unreachable {
        /// The node.
        target: NodeId,
        /// Where it was looked for.
        addr: String,
        /// What the network said.
        message: String,
    },
    /// The node was reached and answered with an error, such as that it does not have the group.
    #[error("node {target} refused: {message}")]
    Refused {
        /// The node.
        target: NodeId,
        /// What it said.
        message: String,
    },
}

/// Sends a message to a node and brings back its answer, which is what
/// [`Host::handle_rpc`](crate::Host::handle_rpc) returned there. Time limits are the caller's: it
/// drops the future.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `body` to the group on the node and waits for the answer.
    async fn call(
        &self,
        target: NodeId,
        addr: &str,
        group: &str,
        kind: RpcKind,
        body: Bytes,
    ) -> Result<Bytes, TransportError>;
}
