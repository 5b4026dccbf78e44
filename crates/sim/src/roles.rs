//! Opens the real roles of a node inside its process, and keeps what others call.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use bonghwa_cluster::{ClusterDirectory, ClusterView, MetaRouter, node_id};
use bonghwa_distributor::Receiver;
use bonghwa_ingester::{BlockStore, Ingester, IngesterOptions};
use bonghwa_meta::{Meta, MetaOptions};
use bonghwa_protocol::{IngesterClient, MetaClient, v1};
use bonghwa_query::{Engine, EngineOptions};
use bonghwa_replog::{Host, HostOptions, MemoryDisk, Store, StoreOptions};

use crate::bugs::Bug;
use crate::clients::{LogWire, RemoteIngester, RemoteMeta, Wire};
use crate::network::Network;
use crate::objects::SimStore;

/// What a node is in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Keeps the catalog.
    Meta,
    /// Keeps partitions.
    Ingester,
    /// Distributor and querier: keeps nothing.
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
        match (self.meta_node.get(), self.ingester_node.get()) {
            (Some(meta), _) => meta.failed().await.into(),
            (_, Some(ingester)) => ingester.failed().await.into(),
            _ => std::future::pending().await,
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

/// Opens a node's roles; they are served one by one as they open.
pub async fn open(
    role: Role,
    name: &str,
    zone: &str,
    disk: &Arc<MemoryDisk>,
    around: &Surroundings,
    servers: &Servers,
) -> Result<()> {
    match role {
        Role::Meta => open_meta(name, disk, around, servers).await,
        Role::Ingester => open_ingester(name, zone, disk, around, servers).await,
        Role::Front => open_front(name, around, servers).await,
    }
}

fn open_log(name: &str, disk: &Arc<MemoryDisk>, around: &Surroundings, servers: &Servers) -> Arc<Host> {
    let transport = Arc::new(LogWire { network: around.network.clone(), from: name.to_owned() });
    let store = Store::memory(disk, StoreOptions::default());
    let host = Host::new(node_id(name), store, transport, HostOptions::default());
    servers.host.get_or_init(|| host).clone()
}

fn meta_client(name: &str, around: &Surroundings) -> Arc<dyn MetaClient> {
    let client = |meta: &String| -> (String, Arc<dyn MetaClient>) {
        let address = address(meta);
        let wire = Wire::new(&around.network, name, &address);
        (address, Arc::new(RemoteMeta(wire)))
    };
    around.bug.in_meta_client(Arc::new(MetaRouter::new(around.metas.iter().map(client).collect())), &around.objects)
}

async fn open_meta(name: &str, disk: &Arc<MemoryDisk>, around: &Surroundings, servers: &Servers) -> Result<()> {
    let host = open_log(name, disk, around, servers);
    let members: BTreeMap<u64, String> = around.metas.iter().map(|meta| (node_id(meta), address(meta))).collect();
    // Small, so that snapshots and short histories occur.
    let options = MetaOptions { trim_every: 40, history_changes: 30, ..MetaOptions::new(members, true) };
    let meta = Meta::open(&host, options).await?;
    servers.meta_node.get_or_init(|| meta.clone());
    servers.meta.get_or_init(|| meta);
    Ok(())
}

async fn open_ingester(
    name: &str,
    zone: &str,
    disk: &Arc<MemoryDisk>,
    around: &Surroundings,
    servers: &Servers,
) -> Result<()> {
    let host = open_log(name, disk, around, servers);
    let id = node_id(name);
    let client = meta_client(name, around);
    let view = ClusterView::follow(client.clone());
    register(&*client, id, name, zone, &view).await?;
    let store = BlockStore { store: around.objects.clone(), local_root: None };
    let ingester = Ingester::open(id, &address(name), &host, client, &view, store, around.ingester.clone()).await?;
    servers.ingester_node.get_or_init(|| ingester.clone());
    servers.ingester.get_or_init(|| around.bug.in_ingester(ingester));
    Ok(())
}

async fn open_front(name: &str, around: &Surroundings, servers: &Servers) -> Result<()> {
    let view = ClusterView::follow(meta_client(name, around));
    // An empty catalog would answer that there is nothing.
    while view.wait_for_version(1, Duration::from_secs(30)).await.is_err() {}
    let (network, from) = (around.network.clone(), name.to_owned());
    let connect = move |address: &str| -> Result<Arc<dyn IngesterClient>, bonghwa_protocol::RpcError> {
        Ok(Arc::new(RemoteIngester(Wire::new(&network, &from, address))))
    };
    let directory = Arc::new(ClusterDirectory::new(view.clone(), None, Box::new(connect)));
    let receiver = Receiver::new(Default::default(), view.clone(), directory.clone());
    let options = EngineOptions { target_partitions: 1, timeout: Duration::from_secs(30), ..EngineOptions::default() };
    let engine = Arc::new(Engine::new(view.clone(), directory, around.objects.clone(), options));
    servers.front.get_or_init(|| Front { receive: bonghwa_distributor::http::router(receiver), engine, view });
    Ok(())
}

async fn register(meta: &dyn MetaClient, id: u64, name: &str, zone: &str, view: &ClusterView) -> Result<()> {
    let node = v1::Node {
        id,
        name: name.to_owned(),
        address: address(name),
        zone: zone.to_owned(),
        roles: vec!["ingester".to_owned()],
        ..Default::default()
    };
    let kind = v1::command::Kind::RegisterNode(v1::RegisterNode { node: Some(node), ..Default::default() });
    let result = meta.execute(v1::Command { kind: Some(kind) }).await?;
    if let Some(v1::command_result::Outcome::Rejection(rejection)) = result.outcome {
        bail!("meta refused node {name}: {}", rejection.message);
    }
    view.wait_for_version(result.version, Duration::from_secs(30)).await.context("following meta")?;
    Ok(())
}
