//! The answering end: this node's name, and messages of the log for its groups.

use std::sync::{Arc, OnceLock};

use bonghwa_protocol::v1::peer_server::{Peer, PeerServer};
use bonghwa_protocol::{MAX_MESSAGE_BYTES, v1};
use bonghwa_replog::{Host, RpcKind};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, StreamExt};
use futures::{FutureExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::FRAME_BYTES;

/// Messages of one stream that are worked on at once; the others wait unread.
const AT_WORK: usize = 256;

/// Serves other nodes.
#[derive(Clone)]
pub struct PeerService {
    identity: v1::Identity,
    /// Set once the log is open; a node without one answers that it has no groups.
    host: Arc<OnceLock<Arc<Host>>>,
}

impl PeerService {
    /// The tonic service of a node, and where its log is put once it is open.
    pub fn service(identity: v1::Identity, host: Arc<OnceLock<Arc<Host>>>) -> PeerServer<Self> {
        PeerServer::new(PeerService { identity, host })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    type ExchangeStream = BoxStream<'static, Result<v1::LogFrame, Status>>;

    async fn identify(&self, _: Request<v1::IdentifyRequest>) -> Result<Response<v1::Identity>, Status> {
        Ok(Response::new(self.identity.clone()))
    }

    async fn exchange(
        &self,
        request: Request<Streaming<v1::LogFrame>>,
    ) -> Result<Response<Self::ExchangeStream>, Status> {
        let exchange =
            Exchange { frames: request.into_inner(), host: self.host.clone(), at_work: FuturesUnordered::new() };
        Ok(Response::new(stream::unfold(exchange, Exchange::next).boxed()))
    }
}

/// One stream of another node: messages come in, and answers leave as they are ready. All of it is
/// one task, since waking another costs a follower more than most messages do.
struct Exchange {
    frames: Streaming<v1::LogFrame>,
    host: Arc<OnceLock<Arc<Host>>>,
    at_work: FuturesUnordered<BoxFuture<'static, v1::LogMessage>>,
}

impl Exchange {
    /// The next frame of answers. Ends when the other node's stream does: nobody waits for more.
    async fn next(mut self) -> Option<(Result<v1::LogFrame, Status>, Self)> {
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.at_work.next() => {
                    let frame = self.gather(answer);
                    return Some((Ok(frame), self));
                }
                frame = self.frames.next(), if self.at_work.len() < AT_WORK => {
                    let host = self.host.get();
                    for message in frame?.ok()?.messages {
                        self.at_work.push(answer(host.cloned(), message).boxed());
                    }
                }
            }
        }
    }

    /// A first answer and all others that are ready, as much as one frame holds.
    fn gather(&mut self, first: v1::LogMessage) -> v1::LogFrame {
        let mut bytes = first.body.len();
        let mut messages = vec![first];
        while bytes < FRAME_BYTES
            && let Some(Some(answer)) = self.at_work.next().now_or_never()
        {
            bytes += answer.body.len();
            messages.push(answer);
        }
        v1::LogFrame { messages }
    }
}

async fn answer(host: Option<Arc<Host>>, message: v1::LogMessage) -> v1::LogMessage {
    let v1::LogMessage { id, group, kind, body, .. } = message;
    let kind = u8::try_from(kind).ok().and_then(RpcKind::from_u8);
    let answer = match (host, kind) {
        (Some(host), Some(kind)) => host.handle_rpc(&group, kind, body).await.map_err(|error| error.to_string()),
        (None, _) => Err("this node has no log open: it is starting, or has none".to_owned()),
        (_, None) => Err("this node does not know the kind of the message: upgrade it".to_owned()),
    };
    let mut answered = v1::LogMessage { id, ..Default::default() };
    match answer {
        Ok(body) => answered.body = body,
        Err(error) => answered.error = error,
    }
    answered
}
