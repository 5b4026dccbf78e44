//! Which distributor brings the sides of a trace's requests together, and how they get there. Best effort: what cannot
//! be sent in time is counted as dropped.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use bonghwa_cluster::{Catalog, rendezvous, seam};
use bonghwa_model::TenantId;
use bonghwa_protocol::{GraphClient, RpcError, v1};
use bonghwa_wire::service_graph::{self, Counts, Half, Settled, Side};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use xxhash_rust::xxh3::xxh3_64;

use crate::counting::Counting;
use crate::metrics;

/// The role of nodes that take spans.
const ROLE: &str = "distributor";
/// Spans that go to another node as one.
const TOGETHER: usize = 1_000;
/// Of these as many wait for one node as this; requests of few spans make small ones.
const QUEUE: usize = 64;

/// How other distributors are reached.
#[derive(Clone)]
pub struct GraphPeers {
    /// This node's id.
    pub node: u64,
    /// Makes a client of the distributor at HOST:PORT.
    pub connect: Arc<Connect>,
}

type Connect = dyn Fn(&str) -> Result<Arc<dyn GraphClient>, RpcError> + Send + Sync;

impl fmt::Debug for GraphPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GraphPeers").field("node", &self.node).finish_non_exhaustive()
    }
}

/// Spans on their way.
type Parcel = (TenantId, Vec<Half>);

/// The ways to the other distributors.
pub(super) struct Others {
    peers: GraphPeers,
    counting: Arc<Counting<Counts>>,
    links: Mutex<HashMap<u64, Link>>,
}

/// The way to one of them. Its task sends what is queued, and ends when this is dropped.
struct Link {
    address: String,
    queue: mpsc::Sender<Parcel>,
}

impl Others {
    pub fn new(peers: GraphPeers, counting: Arc<Counting<Counts>>) -> Self {
        Others { peers, counting, links: Mutex::default() }
    }

    /// Sends the sides of other nodes' traces there, and gives back those of this node's.
    pub fn share(&self, catalog: &Catalog, tenant: &TenantId, halves: Vec<Half>, settled: &mut Settled) -> Vec<Half> {
        let nodes: Vec<u64> = catalog.active_nodes(ROLE).map(|node| node.id).collect();
        if halves.is_empty() || nodes.is_empty() || nodes == [self.peers.node] {
            return halves;
        }
        let (mut own, mut others) = (Vec::new(), BTreeMap::<u64, Vec<Half>>::new());
        for half in halves {
            match rendezvous(&nodes, xxh3_64(&half.trace_id)) {
                Some(node) if node != self.peers.node => others.entry(node).or_default().push(half),
                _ => own.push(half),
            }
        }
        for (node, mut halves) in others {
            let Some(node) = catalog.node(node) else { continue };
            while !halves.is_empty() {
                let rest = halves.split_off(halves.len().min(TOGETHER));
                let parcel = (tenant.clone(), std::mem::replace(&mut halves, rest));
                self.send(catalog, node, parcel, settled);
            }
        }
        own
    }

    fn send(&self, catalog: &Catalog, node: &v1::Node, parcel: Parcel, settled: &mut Settled) {
        let mut links = self.links.lock();
        let known = links.get(&node.id).filter(|link| link.address == node.address).map(|link| link.queue.clone());
        let queue = known.unwrap_or_else(|| {
            // Nodes come and go: those that are gone are forgotten when the next one comes.
            links.retain(|id, _| catalog.node(*id).is_some());
            let (queue, parcels) = mpsc::channel(QUEUE);
            let client = (self.peers.connect)(&node.address);
            seam::spawn(run(node.address.clone(), client, parcels, self.counting.clone())).detach();
            links.insert(node.id, Link { address: node.address.clone(), queue: queue.clone() });
            queue
        });
        drop(links);
        let spans = parcel.1.len() as i64;
        match queue.try_send(parcel) {
            Ok(()) => metrics::GRAPH_QUEUED.add(spans),
            Err(mpsc::error::TrySendError::Full((_, halves)) | mpsc::error::TrySendError::Closed((_, halves))) => {
                halves.iter().for_each(|half| settled.dropped(half));
            }
        }
    }
}

/// Sends what is queued, of each tenant as much at once as there is.
async fn run(
    address: String,
    client: Result<Arc<dyn GraphClient>, RpcError>,
    mut parcels: mpsc::Receiver<Parcel>,
    counting: Arc<Counting<Counts>>,
) {
    let (mut taken, mut failing) = (Vec::new(), false);
    while parcels.recv_many(&mut taken, QUEUE).await > 0 {
        let mut tenants = BTreeMap::<TenantId, Vec<Half>>::new();
        for (tenant, halves) in taken.drain(..) {
            metrics::GRAPH_QUEUED.sub(halves.len() as i64);
            tenants.entry(tenant).or_default().extend(halves);
        }
        for (tenant, halves) in tenants {
            let request =
                v1::PairRequest { tenant: tenant.as_str().into(), halves: halves.iter().map(written).collect() };
            let sent = match &client {
                Ok(client) => client.pair(request).await,
                Err(error) => Err(error.clone()),
            };
            let failed = sent.is_err();
            if let Err(error) = sent {
                if !failing {
                    tracing::warn!(address, %error, "another distributor takes no spans for the service graph: they are dropped");
                }
                let mut settled = Settled::default();
                halves.iter().for_each(|half| settled.dropped(half));
                counting.add(&tenant, settled);
            }
            failing = failed;
        }
    }
}

fn written(half: &Half) -> v1::GraphHalf {
    let side = match half.side {
        Side::Client => v1::GraphSide::Client,
        Side::Server => v1::GraphSide::Server,
    };
    v1::GraphHalf {
        trace_id: Bytes::copy_from_slice(&half.trace_id),
        request: Bytes::copy_from_slice(&half.request),
        span_id: Bytes::copy_from_slice(&half.span_id),
        side: side.into(),
        messaging: half.messaging,
        failed: half.failed,
        nanos: half.nanos,
        time: half.time,
        service: half.service.as_ref().to_owned(),
        peer: half.peer.as_deref().unwrap_or_default().to_owned(),
    }
}

/// Reads what another distributor wrote.
pub(super) fn read(half: &v1::GraphHalf) -> Result<Half, RpcError> {
    fn id<const N: usize>(bytes: &Bytes) -> Result<[u8; N], RpcError> {
        let wrong = |_| RpcError::invalid(format!("an id has {} bytes: it must have {N}", bytes.len()));
        bytes.as_ref().try_into().map_err(wrong)
    }
    let side = match half.side() {
        v1::GraphSide::Client => Side::Client,
        v1::GraphSide::Server => Side::Server,
        v1::GraphSide::Unspecified => return Err(RpcError::invalid("a span is of neither side of its request")),
    };
    Ok(Half {
        trace_id: id(&half.trace_id)?,
        request: id(&half.request)?,
        span_id: id(&half.span_id)?,
        side,
        messaging: half.messaging,
        failed: half.failed,
        nanos: half.nanos,
        time: half.time,
        service: service_graph::name(&half.service),
        peer: Some(half.peer.as_str()).filter(|peer| !peer.is_empty()).map(service_graph::name),
    })
}
