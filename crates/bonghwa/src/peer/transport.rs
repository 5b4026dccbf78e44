//! The replicated log's transport over gRPC: one stream to each node, whatever the number of groups.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bonghwa_cluster::ClusterView;
use bonghwa_protocol::RemoteOptions;
use bonghwa_replog::{NodeId, RpcKind, Transport, TransportError};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::link::{Call, Link};

/// Carries messages to the nodes of the cluster.
pub struct PeerTransport {
    options: RemoteOptions,
    /// Where nodes are now; known only once meta, which itself talks through here, answers.
    view: OnceLock<Arc<ClusterView>>,
    links: Mutex<HashMap<NodeId, Link>>,
}

impl PeerTransport {
    /// A transport without open streams.
    pub fn new(options: RemoteOptions) -> Arc<Self> {
        Arc::new(PeerTransport { options, view: OnceLock::new(), links: Mutex::default() })
    }

    /// From now on nodes are found where the catalog has them: their addresses change.
    pub fn follow(&self, view: Arc<ClusterView>) {
        // Set once, by the node that opens.
        let _ = self.view.set(view);
    }

    fn calls(&self, target: NodeId, known: &str) -> tokio::sync::mpsc::Sender<Call> {
        let current = self.view.get().and_then(|view| view.current().node(target).map(|node| node.address.clone()));
        let address = current.as_deref().unwrap_or(known);
        let mut links = self.links.lock();
        if let Some(link) = links.get(&target).filter(|link| link.address == address) {
            return link.calls();
        }
        let link = Link::new(address, self.options.clone());
        let calls = link.calls();
        links.insert(target, link);
        calls
    }
}

#[async_trait]
impl Transport for PeerTransport {
    async fn call(
        &self,
        target: NodeId,
        addr: &str,
        group: &str,
        kind: RpcKind,
        body: Bytes,
    ) -> Result<Bytes, TransportError> {
        let unreachable = |message: String| TransportError::Unreachable { target, addr: addr.to_owned(), message };
        let (answer, answered) = oneshot::channel();
        let call = Call { group: group.to_owned(), kind: kind.as_u8(), body, answer };
        let calls = self.calls(target, addr);
        if calls.send(call).await.is_err() {
            return Err(unreachable("its address changed".to_owned()));
        }
        match answered.await {
            Ok(Ok(message)) if message.error.is_empty() => Ok(message.body),
            Ok(Ok(message)) => Err(TransportError::Refused { target, message: message.error }),
            Ok(Err(broken)) => Err(unreachable(broken)),
            Err(_) => Err(unreachable("its address changed".to_owned())),
        }
    }
}
