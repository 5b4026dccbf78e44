//! What meta does for all other roles.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::{RpcError, v1};

/// Meta, or whatever stands for it: the local node, a gRPC client of one node, or
/// a client that finds the leader first.
#[async_trait]
pub trait MetaClient: Send + Sync {
    /// Runs one command; answers once it is durable on a quorum. A command that
    /// the state does not allow is no error: its result carries a rejection.
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError>;

    /// Says that a node lives, to the leader.
    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError>;

    /// A snapshot (in one piece or several), or only what came after
    /// `from_version` where meta still has it, then every later change in version
    /// order. A follower that falls too far behind gets a new snapshot in between.
    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError>;
}
