//! Queries that several queriers answer together. Each querier is a worker of the
//! others: `datafusion-distributed` cuts a plan into stages, a [`split`] gives each task
//! its share of the blocks and tails, the [`codec`] carries that share to the worker, and
//! the [`worker`] reads it from its own object store, caches and clients of leaders.
//!
//! What holds for a query here holds there: a [`visit`] is what all of its tasks on one
//! node share: its tenants, its memory and its time. A query that a worker fails begins again
//! without workers, if it gave no row yet.
//!
//! Queries of PromQL are shared by time or by series: see [`ranges`].

mod channels;
mod codec;
mod metrics;
mod planner;
mod ranges;
mod split;
mod told;
mod visit;
mod whole;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_block::FooterCache;
use bonghwa_cluster::seam::{self, Instant};
use bonghwa_cluster::{Catalog, Directory};
use bonghwa_model::TenantSet;
use bonghwa_protocol::RemoteOptions;
use bonghwa_protocol::v1::NodeState;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion_distributed::{DistributedExt, SessionStateBuilderExt};
use object_store::ObjectStore;
use parking_lot::Mutex;
use url::Url;

use crate::alive::Alive;
use crate::run::Limits;
use channels::{Channels, Workers};
use codec::ScanCodec;
use visit::Visits;
use whole::Whole;

pub(crate) use planner::is_distributed;
pub(crate) use ranges::Sharing;
pub(crate) use told::{Told, read as read_told};
pub(crate) use visit::Visit;
pub use worker::WorkerDoor;

/// Bytes of a worker's answer that wait here unread.
const UNREAD_BYTES: usize = 8 * 1024 * 1024;

/// How long queries stay here after another querier failed one: it may be gone and not missed yet,
/// or have too much to do.
const ALONE_FOR: Duration = Duration::from_secs(5);

/// How a querier works with the others.
pub struct Peers {
    /// HOST:PORT at which the others reach this one.
    pub address: String,
    /// How the others are called.
    pub remote: RemoteOptions,
    /// Where the others' calls come in.
    pub door: Arc<WorkerDoor>,
    /// Whether queries that are asked here are shared out. If not, this querier still works for others.
    pub share: bool,
    /// What a querier reads by itself: a table of which so many bytes must be read, as they lie in
    /// blocks, goes to as many queriers as there are multiples of it.
    pub bytes: usize,
    /// The same of queries of PromQL, in samples to read.
    pub samples: u64,
}

/// What sharing out needs while the engine lives.
pub(crate) struct Distribution {
    peers: Peers,
    codec: Arc<ScanCodec>,
    channels: Channels,
    visits: Visits,
    /// After another querier failed a query.
    alone_until: Mutex<Option<Instant>>,
    /// Queriers that failed a share of a query of PromQL, until when they get no other.
    avoided: Mutex<HashMap<String, Instant>>,
    whole: Whole,
}

impl Distribution {
    /// Over what the engine reads from.
    pub(crate) fn new(
        peers: Peers,
        store: Arc<dyn ObjectStore>,
        footers: Arc<FooterCache>,
        directory: Arc<dyn Directory>,
        limits: &Limits,
    ) -> Self {
        metrics::show();
        let channels = Channels::new(peers.remote.clone());
        let codec = Arc::new(ScanCodec { store, footers, directory });
        let visits = Visits::new(limits);
        let (alone_until, avoided, whole) = Default::default();
        Distribution { peers, codec, channels, visits, alone_until, avoided, whole }
    }

    /// A session whose plans are shared out, where there is somebody to share with and nobody
    /// failed this query, or another a moment ago. `measured`: workers tell what their operators
    /// did.
    pub(crate) fn session(
        &self,
        builder: SessionStateBuilder,
        catalog: &Catalog,
        tenants: &TenantSet,
        alive: &Arc<Alive>,
        runtime: &Arc<RuntimeEnv>,
        measured: bool,
    ) -> Result<SessionStateBuilder> {
        if !self.peers.share || self.alone(alive) {
            return Ok(builder);
        }
        let workers = self.workers(catalog)?;
        if workers.len() < 2 {
            return Ok(builder);
        }
        let visit = self.visits.begin(tenants, alive, runtime);
        let local = self.peers.door.worker().to_local_worker_context(workers[0].clone());
        let mut builder = builder
            .with_distributed_passthrough_headers(visit.headers())?
            .with_distributed_worker_resolver(Workers(workers))
            .with_distributed_channel_resolver(self.channels.clone())
            .with_distributed_local_worker_context(local)
            .with_distributed_user_codec_arc(self.codec.clone())
            .with_distributed_desired_task_count_handler(split::desired_tasks(self.peers.bytes))
            .with_distributed_scale_up_leaf_node_handler(split::shares())
            .with_distributed_metrics_collection(measured)?
            .with_distributed_worker_connection_buffer_budget_bytes(UNREAD_BYTES)?;
        builder.config().get_or_insert_default().set_extension(visit);
        Ok(planner::install(builder.with_distributed_planner()))
    }

    /// Whether a query is not to be shared.
    fn alone(&self, alive: &Alive) -> bool {
        let mut until = self.alone_until.lock();
        if alive.stays() {
            if alive.shared() {
                metrics::FAILED.inc();
                *until = Some(seam::now() + ALONE_FOR);
            }
            return true;
        }
        until.is_some_and(|until| seam::now() < until)
    }

    /// The queriers that are there now, this one first.
    fn workers(&self, catalog: &Catalog) -> Result<Vec<Url>> {
        let mut workers = vec![url(&self.peers.address)?];
        workers.extend(self.others(catalog).filter_map(|address| url(address).ok()));
        Ok(workers)
    }

    /// Where the other queriers are.
    fn others<'a>(&'a self, catalog: &'a Catalog) -> impl Iterator<Item = &'a str> {
        let queriers = catalog.nodes().filter(|node| {
            node.has_role("querier")
                && node.effective_state() == NodeState::Active
                && node.address != self.peers.address
        });
        queriers.map(|node| node.address.as_str())
    }

    /// The queriers that may get a share of a query of PromQL, this one without its address. None where it is not to be
    /// shared.
    fn queriers(&self, catalog: &Catalog, alive: &Alive) -> Vec<Option<String>> {
        if !self.peers.share || self.alone(alive) {
            return Vec::new();
        }
        let mut avoided = self.avoided.lock();
        avoided.retain(|_, until| seam::now() < *until);
        let others = self.others(catalog).filter(|address| !avoided.contains_key(*address));
        std::iter::once(None).chain(others.map(|address| Some(address.to_owned()))).collect()
    }

    /// Gives a querier no share for a while.
    fn avoid(&self, address: &str) {
        self.avoided.lock().insert(address.to_owned(), seam::now() + ALONE_FOR);
    }
}

/// Counts a query that is shared out.
pub(crate) fn count() {
    metrics::SHARED.inc();
}

/// A worker's name: the scheme says nothing about TLS, which the channels know.
fn url(address: &str) -> Result<Url> {
    Url::parse(&format!("http://{address}")).map_err(|error| {
        DataFusionError::Configuration(format!("advertise is {address:?}, which is not HOST:PORT: {error}"))
    })
}
