//! A transport between hosts in one process, for tests and for a node that is alone. Links can be
//! cut.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::{Host, NodeId, RpcKind, Transport, TransportError};

/// The wires between the hosts of one process.
#[derive(Default)]
pub struct LocalNetwork {
    hosts: RwLock<HashMap<NodeId, Weak<Host>>>,
    /// Pairs of nodes that cannot reach each other, the smaller number first.
    cut: RwLock<HashSet<(NodeId, NodeId)>>,
}

impl LocalNetwork {
    /// A network without hosts.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The transport to give to the host of a node.
    pub fn transport(self: &Arc<Self>, node: NodeId) -> Arc<LocalTransport> {
        Arc::new(LocalTransport { node, network: self.clone() })
    }

    /// Makes a host reachable, in place of an earlier one of the same node.
    pub fn attach(&self, host: &Arc<Host>) {
        self.hosts.write().insert(host.node(), Arc::downgrade(host));
    }

    /// Cuts the link between two nodes, both ways.
    pub fn cut(&self, a: NodeId, b: NodeId) {
        self.cut.write().insert((a.min(b), a.max(b)));
    }

    /// Cuts all links of a node.
    pub fn isolate(&self, node: NodeId) {
        let others: Vec<NodeId> = self.hosts.read().keys().copied().collect();
        others.into_iter().filter(|o| *o != node).for_each(|o| self.cut(node, o));
    }

    /// Mends all links.
    pub fn heal(&self) {
        self.cut.write().clear();
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Option<Arc<Host>> {
        if self.cut.read().contains(&(from.min(to), from.max(to))) {
            return None;
        }
        self.hosts.read().get(&to)?.upgrade()
    }
}

/// One node's end of a [`LocalNetwork`].
pub struct LocalTransport {
    node: NodeId,
    network: Arc<LocalNetwork>,
}

impl LocalTransport {
    /// For a node whose groups have no other members.
    pub fn alone() -> Arc<Self> {
        LocalNetwork::new().transport(0)
    }
}

#[async_trait]
impl Transport for LocalTransport {
    async fn call(
        &self,
        target: NodeId,
        addr: &str,
        group: &str,
        kind: RpcKind,
        body: Bytes,
    ) -> Result<Bytes, TransportError> {
        let unreachable = || TransportError::Unreachable {
            target,
            addr: addr.to_owned(),
            message: "no such host in this process, or the link is cut".to_owned(),
        };
        let host = self.network.reach(self.node, target).ok_or_else(unreachable)?;
        let answer = host.handle_rpc(group, kind, body).await;
        // The answer goes over the same wire.
        self.network.reach(self.node, target).ok_or_else(unreachable)?;
        answer.map_err(|e| TransportError::Refused { target, message: e.to_string() })
    }
}
