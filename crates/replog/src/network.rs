//! openraft's view of the other nodes: its calls, encoded and handed to the [`Transport`], each
//! with a time limit of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_seam as seam;
use bytes::Bytes;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::RPCOption;
use openraft::{OptionalSend, RPCTypes, RaftNetworkFactory, RaftNetworkV2};

use crate::raft_types::{Node, RaftSnapshot, TypeConfig, Vote};
use crate::rpc::{
    AppendRequest, AppendResponse, Message, SnapshotRequest, SnapshotResponse, TransferRequest, TransferResponse,
    VoteRequest, VoteResponse,
};
use crate::transport::{RpcKind, Transport};
use crate::{HostOptions, NodeId};

/// Makes connections for one group.
pub(crate) struct Network {
    pub node: NodeId,
    pub group: Arc<str>,
    pub transport: Arc<dyn Transport>,
    /// The members' addresses of this start; the log may hold older ones.
    pub addrs: BTreeMap<NodeId, String>,
    pub options: HostOptions,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &Node) -> Peer {
        Peer {
            node: self.node,
            target,
            addr: self.addrs.get(&target).unwrap_or(&node.addr).clone(),
            group: self.group.clone(),
            transport: self.transport.clone(),
            options: self.options.clone(),
        }
    }
}

/// One other node of one group.
pub(crate) struct Peer {
    node: NodeId,
    target: NodeId,
    addr: String,
    group: Arc<str>,
    transport: Arc<dyn Transport>,
    options: HostOptions,
}

type Answer<T> = Result<T, RPCError<TypeConfig>>;

impl Peer {
    async fn call<M: Message>(&self, kind: RpcKind, body: Bytes, limit: Duration) -> Answer<M> {
        let call = self.transport.call(self.target, &self.addr, &self.group, kind, body);
        match seam::timeout(limit, call).await {
            Ok(Ok(answer)) => M::decode(answer).map_err(|e| {
                let message = format!("the answer of node {} cannot be read: {e}", self.target);
                RPCError::Network(NetworkError::from_string(message))
            }),
            Ok(Err(error)) => Err(RPCError::Unreachable(Unreachable::new(&error))),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action: match kind {
                    RpcKind::Append => RPCTypes::AppendEntries,
                    RpcKind::Vote | RpcKind::PreVote => RPCTypes::Vote,
                    RpcKind::Snapshot => RPCTypes::InstallSnapshot,
                    RpcKind::TransferLeader => RPCTypes::TransferLeader,
                },
                id: self.node,
                target: self.target,
                timeout: limit,
            })),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Bytes;

    /// Also serves openraft's stream of appends, one message at a time; so its limit must hold for
    /// a message with entries that the follower has to sync, not only for a heartbeat.
    async fn append_entries(&mut self, rpc: AppendRequest, _option: RPCOption) -> Answer<AppendResponse> {
        let limit = if rpc.entries.is_empty() { self.options.election_min } else { self.options.rpc_timeout };
        self.call(RpcKind::Append, rpc.encode(), limit).await
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Answer<VoteResponse> {
        self.call(RpcKind::Vote, rpc.encode(), option.hard_ttl()).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Answer<VoteResponse> {
        self.call(RpcKind::PreVote, rpc.encode(), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: RaftSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse, StreamingError<TypeConfig>> {
        let body = SnapshotRequest { vote, snapshot }.encode();
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.call(RpcKind::Snapshot, body, self.options.snapshot_timeout) => Ok(answer?),
        }
    }

    async fn transfer_leader(&mut self, req: TransferRequest, option: RPCOption) -> Answer<TransferResponse> {
        self.call(RpcKind::TransferLeader, req.encode(), option.hard_ttl()).await
    }
}
