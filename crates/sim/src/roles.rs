//! Opens the real roles of a node inside its process, and keeps what others call.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::Router;
use bonghwa_cluster::{ClusterDirectory, ClusterView, MetaRouter, node_id};
use bonghwa_compactor::{Compactor, CompactorOptions, Storage};
use bonghwa_distributor::Receiver;
use bonghwa_ingester::{BlockStore, Ingester, IngesterOptions};
use bonghwa_meta::{ControlOptions, Meta, MetaOptions, PlacementOptions};
use bonghwa_protocol::{IngesterClient, MetaClient, RpcError};
use bonghwa_query::{Engine, EngineOptions};
use bonghwa_replog::{Host, HostOptions, MemoryDisk, Store, StoreOptions};
use bonghwa_seam as seam;
use tokio::sync::watch;

use crate::bugs::Bug;
use crate::clients::{LogWire, RemoteIngester, RemoteMeta, Wire};
use crate::member::{Incarnations, Member, wait_for_catalog};
use crate::network::Network;
use crate::objects::SimStore;

/// How long a query may take. Replaced objects are kept for longer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(12);

/// What a node is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Keeps the catalog.
    Meta,
    /// Keeps partitions.
    Ingester,
    /// Distributor, querier and compactor: keeps nothing.
    Front,
}

/// What a node needs to open its roles.
#[derive(Clone)]
pub struct Surroundings {
    /// The wires.
    pub network: Arc<Network>,
    /// The blocks.
    pub objects: Arc<SimStore>,
    /// The names of the meta nodes.
    pub metas: Vec<String>,
    /// When heads are flushed.
    pub ingester: IngesterOptions,
    /// When a silent node is given up.
    pub lost_after: Duration,
    /// Whether blocks are compacted.
    pub compacts: bool,
    /// A fault planted into the product.
    pub bug: Bug,
}

/// What a process serves; each part once it is open.
#[derive(Default)]
pub struct Servers {
    host: OnceLock<Arc<Host>>,
    meta: OnceLock<Arc<dyn MetaClient>>,
    meta_node: OnceLock<Arc<Meta>>,
    ingester: OnceLock<Arc<dyn IngesterClient>>,
    ingester_node: OnceLock<Arc<Ingester>>,
    front: OnceLock<Front>,
    /// Why the process must not go on under its identity.
    disowned: watch::Sender<Option<String>>,
}

/// A machine, as its processes find it.
#[derive(Clone)]
pub struct Machine {
    /// What it is.
    pub role: Role,
    /// The node's name.
    pub name: String,
    /// Its failure domain.
    pub zone: String,
    /// Its log's disk.
    pub disk: Arc<MemoryDisk>,
    /// The same disk's file of incarnations.
    pub incarnations: Incarnations,
}

/// What users talk to.
#[derive(Clone)]
pub struct Front {
    /// The HTTP API of the distributor.
    pub receive: Router,
    /// Queries.
    pub engine: Arc<Engine>,
    /// The node's copy of the catalog.
    pub view: Arc<ClusterView>,
}

impl Servers {
    /// The node's logs, if it keeps any.
    pub fn host(&self) -> Option<Arc<Host>> {
        self.host.get().cloned()
    }

    /// Meta as others call it.
    pub fn meta(&self) -> Option<Arc<dyn MetaClient>> {
        self.meta.get().cloned()
    }

    /// Meta itself, for oracles.
    pub fn meta_node(&self) -> Option<Arc<Meta>> {
        self.meta_node.get().cloned()
    }

    /// The ingester as others call it.
    pub fn ingester(&self) -> Option<Arc<dyn IngesterClient>> {
        self.ingester.get().cloned()
    }

    /// What users talk to.
    pub fn front(&self) -> Option<Front> {
        self.front.get().cloned()
    }

    /// Resolves when a role has failed for good: the process must end.
    pub async fn failed(&self) -> anyhow::Error {
        let role = async {
            match (self.meta_node.get(), self.ingester_node.get()) {
                (Some(meta), _) => meta.failed().await.into(),
                (_, Some(ingester)) => ingester.failed().await.into(),
                _ => std::future::pending::<anyhow::Error>().await,
            }
        };
        let mut disowned = self.disowned.subscribe();
        let disowned = async move {
            match disowned.wait_for(Option::is_some).await.map(|why| why.clone()) {
                Ok(Some(why)) => anyhow!(why),
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            error = role => error,
            error = disowned => error,
        }
    }

    /// Ends the roles as SIGTERM does.
    pub async fn close(&self) {
        if let Some(ingester) = self.ingester_node.get() {
            ingester.shutdown().await;
        }
        if let Some(meta) = self.meta_node.get()
            && let Err(error) = meta.shutdown().await
        {
            tracing::warn!(%error, "closing meta");
        }
    }
}

/// The address of a node.
pub fn address(name: &str) -> String {
    format!("{name}:7801")
}

/// Opens a machine's roles in the order in which the binary does; they are served one by one.
pub async fn open(machine: Machine, around: &Surroundings, servers: &Arc<Servers>) -> Result<()> {
    let Machine { role, name, zone, disk, incarnations } = machine;
    let member = Member::start(&name, &zone, role, incarnations);
    if role == Role::Meta {
        open_meta(&name, &disk, around, servers).await?;
    } else if role == Role::Ingester {
        open_log(&name, &disk, around, servers);
    }
    let meta = meta_client(&name, around, servers);
    let view = ClusterView::follow(meta.clone());
    tokio::select! {
        biased;
        error = servers.failed() => return Err(error),
        () = wait_for_catalog(&*meta, &view, member.id()) => {}
    }
    member.register(&*meta, &view).await?;
    let (living, told) = (member.clone().live(meta.clone(), view.clone()), servers.clone());
    seam::spawn(async move {
        let why = living.await;
        told.disowned.send_replace(Some(format!("{why:#}")));
    })
    .detach();
    match role {
        Role::Meta => Ok(()),
        Role::Ingester => open_ingester(member.id(), meta, view, around, servers).await,
        Role::Front => {
            if around.compacts {
                open_compactor(member.id(), meta.clone(), &view, around)?;
            }
            open_front(&name, meta, view, around, servers);
            Ok(())
        }
    }
}

fn open_log(name: &str, disk: &Arc<MemoryDisk>, around: &Surroundings, servers: &Servers) -> Arc<Host> {
    let transport = Arc::new(LogWire { network: around.network.clone(), from: name.to_owned() });
    let store = Store::memory(disk, StoreOptions::default());
    let host = Host::new(node_id(name), store, transport, HostOptions::default());
    servers.host.get_or_init(|| host).clone()
}

/// Meta as a node calls it: the others over the network, its own directly.
fn meta_client(name: &str, around: &Surroundings, servers: &Servers) -> Arc<dyn MetaClient> {
    let client = |meta: &String| -> (String, Arc<dyn MetaClient>) {
        let address = address(meta);
        let wire = Wire::new(&around.network, name, &address);
        (address, Arc::new(RemoteMeta(wire)))
    };
    let others = around.metas.iter().filter(|meta| *meta != name).map(client).collect();
    let mut router = MetaRouter::new(others);
    if let Some(local) = servers.meta() {
        router = router.with_local(&address(name), local);
    }
    around.bug.in_meta_client(Arc::new(router), &around.objects)
}

async fn open_meta(name: &str, disk: &Arc<MemoryDisk>, around: &Surroundings, servers: &Servers) -> Result<()> {
    let host = open_log(name, disk, around, servers);
    let members: BTreeMap<u64, String> = around.metas.iter().map(|meta| (node_id(meta), address(meta))).collect();
    let placement = Some(PlacementOptions { replication_factor: 3, partitions_per_signal: 1 });
    let control = ControlOptions { lost_after: around.lost_after, placement, ..ControlOptions::default() };
    // Small, so that snapshots and short histories occur.
    let options = MetaOptions { trim_every: 40, history_changes: 30, control, ..MetaOptions::new(members, true) };
    let meta = Meta::open(&host, options).await?;
    meta.wait_ready().await?;
    servers.meta_node.get_or_init(|| meta.clone());
    servers.meta.get_or_init(|| meta);
    Ok(())
}

async fn open_ingester(
    id: u64,
    meta: Arc<dyn MetaClient>,
    view: Arc<ClusterView>,
    around: &Surroundings,
    servers: &Servers,
) -> Result<()> {
    let Some(host) = servers.host() else { return Ok(()) };
    let store = BlockStore { store: around.objects.clone(), local_root: None };
    let ingester = Ingester::open(id, host, meta, view, store, around.ingester.clone()).await?;
    servers.ingester_node.get_or_init(|| ingester.clone());
    servers.ingester.get_or_init(|| around.bug.in_ingester(ingester));
    Ok(())
}

fn open_front(name: &str, meta: Arc<dyn MetaClient>, view: Arc<ClusterView>, around: &Surroundings, servers: &Servers) {
    let (network, from) = (around.network.clone(), name.to_owned());
    let connect = move |address: &str| -> Result<Arc<dyn IngesterClient>, RpcError> {
        Ok(Arc::new(RemoteIngester(Wire::new(&network, &from, address))))
    };
    let directory = Arc::new(ClusterDirectory::new(view.clone(), None, Box::new(connect)));
    let receiver = Receiver::new(Default::default(), meta, view.clone(), directory.clone());
    let options = EngineOptions { target_partitions: 1, timeout: QUERY_TIMEOUT, ..EngineOptions::default() };
    let engine = Arc::new(Engine::new(view.clone(), directory, around.objects.clone(), options));
    servers.front.get_or_init(|| Front { receive: bonghwa_distributor::http::router(receiver), engine, view });
}

/// Runs a compactor until the process ends; windows of seconds, as the runs are short.
fn open_compactor(node: u64, meta: Arc<dyn MetaClient>, view: &Arc<ClusterView>, around: &Surroundings) -> Result<()> {
    let options = CompactorOptions {
        interval: Duration::from_secs(4),
        windows: vec![Duration::from_secs(5), Duration::from_secs(20)],
        settle: Duration::from_secs(1),
        eager_blocks: 4,
        memory_bytes: 32 << 20,
        grace: QUERY_TIMEOUT + Duration::from_secs(3),
        ..CompactorOptions::default()
    };
    let storage = Storage { store: around.objects.clone(), local_root: None };
    let compactor = Compactor::new(node, meta, view.clone(), storage, options).map_err(|e| anyhow!(e))?;
    seam::spawn(compactor.run()).detach();
    Ok(())
}
