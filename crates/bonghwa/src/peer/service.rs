//! The answering end: this node's name, and messages of the log for its groups.

use std::sync::{Arc, OnceLock};

use bonghwa_cluster::seam;
use bonghwa_protocol::v1::peer_server::{Peer, PeerServer};
use bonghwa_protocol::{MAX_MESSAGE_BYTES, v1};
use bonghwa_replog::{Host, RpcKind};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::{Semaphore, mpsc};
use tonic::{Request, Response, Status, Streaming};

use super::{QUEUE, gather};

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
        let (answers, outgoing) = mpsc::channel(QUEUE);
        let host = self.host.clone();
        // Ends with the stream; its work ends with it.
        seam::spawn(read(request.into_inner(), host, answers)).detach();
        let frames = futures::stream::unfold(outgoing, |mut outgoing| async move {
            let first = outgoing.recv().await?;
            let messages = gather(first, &mut outgoing, |m: &v1::LogMessage| m.body.len());
            Some((Ok(v1::LogFrame { messages }), outgoing))
        });
        Ok(Response::new(frames.boxed()))
    }
}

async fn read(
    mut frames: Streaming<v1::LogFrame>,
    host: Arc<OnceLock<Arc<Host>>>,
    answers: mpsc::Sender<v1::LogMessage>,
) {
    let at_work = Arc::new(Semaphore::new(AT_WORK));
    while let Some(Ok(frame)) = frames.next().await {
        for message in frame.messages {
            // The semaphore is never closed.
            let Ok(turn) = at_work.clone().acquire_owned().await else { return };
            let (host, answers) = (host.get().cloned(), answers.clone());
            seam::spawn(async move {
                // A caller that is gone needs no answer.
                let _ = answers.send(answer(host, message).await).await;
                drop(turn);
            })
            .detach();
        }
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
