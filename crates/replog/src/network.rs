//! openraft's view of the other nodes: its calls, encoded and handed to the [`Transport`], each
//! with a time limit of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_seam as seam;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, stream_append_sequential};
use openraft::raft::StreamAppendResult;
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
    /// How long a commit waits for entries to travel with.
    pub commit_linger: Duration,
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
            commit_linger: self.commit_linger,
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
    commit_linger: Duration,
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

    /// One message at a time, as is openraft's default; what only brings a commit waits for entries
    /// that bring it too.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Answer<BoxStream<'s, Answer<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        let input = join_commits(input, self.commit_linger);
        stream_append_sequential(self, Box::pin(input), option)
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

/// Holds back messages without entries for as long as `linger`, and leaves out those that the next
/// message makes needless: it continues the same log and knows at least the same commit. The
/// answer to it answers both, since it acknowledges at least as much.
///
/// openraft tells followers of a commit at once, in a message of its own unless entries wait. That
/// is a second message for most entries, and followers of most groups do nothing with it.
fn join_commits<S>(input: S, linger: Duration) -> impl Stream<Item = AppendRequest> + 'static
where
    S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
{
    // Fused: openraft's stream must not be asked again after its end, which may show while one waits.
    stream::unfold((input.fuse(), None::<AppendRequest>), move |(mut input, ahead)| async move {
        let mut request = match ahead {
            Some(request) => request,
            None => input.next().await?,
        };
        let until = seam::now() + linger;
        while request.entries.is_empty() && !linger.is_zero() {
            let left = until.saturating_duration_since(seam::now());
            match seam::timeout(left, input.next()).await {
                Ok(Some(next)) if (next.vote, next.prev_log_id) == (request.vote, request.prev_log_id) => {
                    request = next;
                }
                Ok(next) => return Some((request, (input, next))),
                Err(_) => break,
            }
        }
        Some((request, (input, None)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::channel::mpsc;

    use super::*;
    use crate::Payload;
    use crate::raft_types::{Content, Entry, LeaderId, LogId};

    const LINGER: Duration = Duration::from_millis(200);

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 4, node_id: 2 }, index)
    }

    fn request(prev: u64, entries: &[u64], commit: u64) -> AppendRequest {
        let entry = |&index: &u64| Entry { log_id: id(index), payload: Content::Normal(Payload::new("batch")) };
        AppendRequest {
            vote: Vote { leader_id: id(0).leader_id, committed: true },
            prev_log_id: Some(id(prev)),
            entries: entries.iter().map(entry).collect(),
            leader_commit: Some(id(commit)),
        }
    }

    fn told(request: &AppendRequest) -> (u64, usize, u64) {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        (index(request.prev_log_id), request.entries.len(), index(request.leader_commit))
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_travels_with_entries_or_alone_after_a_while() {
        let (input, requests) = mpsc::unbounded();
        let mut joined = Box::pin(join_commits(requests, LINGER));
        let began = seam::now();
        for request in [request(1, &[2, 3], 1), request(3, &[], 2), request(3, &[], 3), request(3, &[4], 3)] {
            input.unbounded_send(request).unwrap();
        }
        assert_eq!(told(&joined.next().await.unwrap()), (1, 2, 1));
        assert_eq!(told(&joined.next().await.unwrap()), (3, 1, 3), "both commits travel with the entry");
        assert_eq!(seam::now(), began, "nothing waited");
        input.unbounded_send(request(4, &[], 4)).unwrap();
        assert_eq!(told(&joined.next().await.unwrap()), (4, 0, 4));
        assert_eq!(seam::now() - began, LINGER, "a commit alone waits, but goes");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_message_does_not_replace_goes() {
        let (input, requests) = mpsc::unbounded();
        let mut joined = Box::pin(join_commits(requests, LINGER));
        input.unbounded_send(request(3, &[], 2)).unwrap();
        input.unbounded_send(request(5, &[6], 5)).unwrap();
        assert_eq!(told(&joined.next().await.unwrap()), (3, 0, 2));
        assert_eq!(told(&joined.next().await.unwrap()), (5, 1, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_after_which_the_stream_ends_does_not_wait() {
        // A probe, or a heartbeat. An unfold panics when it is asked beyond its end.
        let input = stream::unfold(Some(request(6, &[], 6)), |left| async { Some((left?, None)) });
        let mut joined = Box::pin(join_commits(Box::pin(input), LINGER));
        let began = seam::now();
        assert_eq!(told(&joined.next().await.unwrap()), (6, 0, 6));
        assert!(joined.next().await.is_none());
        assert_eq!(seam::now(), began);
    }
}
