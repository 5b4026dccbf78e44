//! One process's roles: opened in the order in which they need each other, closed in the other.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_block::RangeCache;
use bonghwa_cluster::{ClusterDirectory, ClusterView, MetaRouter, connect_ingester, seam};
use bonghwa_compactor::{Compactor, Storage};
use bonghwa_distributor::{GraphPeers, Receiver};
use bonghwa_ingester::{BlockStore, Ingester};
use bonghwa_meta::{Meta, MetaOptions};
use bonghwa_model::Signal;
use bonghwa_protocol::{GraphClient, IngesterClient, MetaClient, RemoteGraph, RemoteOptions, RpcError};
use bonghwa_query::{Engine, Peers, WorkerDoor};
use bonghwa_replog::{Host, Store, StoreOptions};
use bonghwa_scraper::Scraper;
use tokio::sync::watch;

use crate::config::Config;
use crate::identity::{Identity, remember};
use crate::late::Late;
use crate::membership::{self, Member};
use crate::peer::PeerTransport;
use crate::roles::Roles;
use crate::scraping::ToDistributor;
use crate::storage;

/// The file that remembers which nodes meta's group has.
const META_MEMBERS: &str = "meta-members";

/// What other nodes call on this one; open as far as its roles are.
pub struct Doors {
    /// The log, under the wires between nodes.
    pub host: Arc<OnceLock<Arc<Host>>>,
    /// Meta.
    pub meta: Arc<Late<dyn MetaClient>>,
    /// The ingester.
    pub ingester: Arc<Late<dyn IngesterClient>>,
    /// The distributor, for spans that others received.
    pub graph: Arc<Late<dyn GraphClient>>,
    /// The querier, for what other queriers share with it.
    pub worker: Arc<WorkerDoor>,
}

impl Doors {
    /// All closed.
    pub fn new() -> Self {
        let (meta, ingester, graph) = (Late::new(), Late::new(), Late::new());
        Doors { host: Arc::default(), meta, ingester, graph, worker: WorkerDoor::new() }
    }
}

/// The roles of a node.
pub struct Node {
    /// How the cluster knows it.
    pub member: Member,
    /// Commands to meta, wherever it leads.
    pub meta: Arc<dyn MetaClient>,
    /// The node's copy of the catalog.
    pub view: Arc<ClusterView>,
    /// All ingesters.
    pub ingesters: Arc<dyn IngesterClient>,
    /// The control plane, if it runs here.
    pub local_meta: Option<Arc<Meta>>,
    /// Partitions and heads, if they are here.
    pub ingester: Option<Arc<Ingester>>,
    /// Receiving, if it is done here.
    pub receiver: Option<Arc<Receiver>>,
    /// Queries, if they are answered here.
    pub engine: Option<Arc<Engine>>,
    /// Compaction, if it is done here.
    pub compactor: Option<Arc<Compactor>>,
    /// Scraping, if it is done here.
    pub scraper: Option<Arc<Scraper>>,
    /// Parts of blocks that queries read lately.
    cache: Option<RangeCache>,
    drain_timeout: Option<Duration>,
    /// Why the process must not go on under its identity.
    disowned: watch::Receiver<Option<String>>,
    _heartbeats: seam::Task,
    _compactions: Option<seam::Task>,
    _spans: Option<seam::Task>,
}

/// Opens the log of a data directory.
pub fn open_log(config: &Config, id: u64, remote: &RemoteOptions) -> Result<(Arc<Host>, Arc<PeerTransport>)> {
    let path = config.data_dir.join("log");
    storage::create_directory(&path).with_context(|| format!("data_dir: creating {}", path.display()))?;
    let store = Store::open(&path, StoreOptions::default())
        .with_context(|| format!("opening the log in {}", path.display()))?;
    let transport = PeerTransport::new(remote.clone());
    Ok((Host::new(id, store, transport.clone(), config.host_options()), transport))
}

/// Opens the control plane, and waits until it takes commands.
pub async fn open_meta(host: &Host, options: MetaOptions) -> Result<Arc<Meta>> {
    let meta = Meta::open(host, options).await?;
    meta.wait_ready().await?;
    Ok(meta)
}

impl Node {
    /// Opens the roles; logs that this node alone keeps are replayed when this returns. `address` is
    /// where other nodes reach `doors`.
    pub async fn open(config: &Config, member: Member, doors: &Doors, remote: RemoteOptions) -> Result<Node> {
        let roles = config.roles()?;
        let store = storage::open(config)?;
        let log = if roles.keeps_log() { Some(open_log(config, member.identity.id, &remote)?) } else { None };
        if let Some((host, _)) = &log {
            let _ = doors.host.set(host.clone());
        }
        let local_meta = match &log {
            Some((host, _)) if roles.has("meta") => {
                let members = meta_members(config, &member, &remote).await?;
                Some((open_meta(host, config.meta_options(members.clone())).await?, members))
            }
            _ => None,
        };
        let meta: Arc<dyn MetaClient> = match &local_meta {
            Some((local, members)) => {
                doors.meta.open(local.clone());
                let others: Vec<String> = members.values().filter(|a| **a != member.address).cloned().collect();
                Arc::new(MetaRouter::connect(&others, remote.clone())?.with_local(&member.address, local.clone()))
            }
            None => Arc::new(MetaRouter::connect(&config.join_addresses(), remote.clone())?),
        };
        let view = ClusterView::follow(meta.clone());
        let local_failed = async {
            match &local_meta {
                Some((local, _)) => local.failed().await,
                None => std::future::pending().await,
            }
        };
        // A log that fails now would be waited for without an end: this copy follows it.
        tokio::select! {
            error = local_failed => return Err(error).context("a log failed for good"),
            () = wait_for_catalog(&*meta, &view, member.identity.id) => {}
        }
        if local_meta.is_some() {
            refuse_strange_blocks(&view, &store, config).await?;
        }
        if let Some((_, transport)) = &log {
            transport.follow(view.clone());
        }
        member.register(&*meta, &view, &remote).await?;
        member.identity.registered(config)?;
        let (heartbeats, disowned) = live(&member, &meta, &view, &remote, config.cluster.heartbeat.0);
        let ingester = match &log {
            Some((host, _)) if roles.has("ingester") => {
                let (id, options) = (member.identity.id, config.ingester_options());
                let opened =
                    Ingester::open(id, host.clone(), meta.clone(), view.clone(), store.clone(), options).await?;
                doors.ingester.open(opened.clone());
                Some(opened)
            }
            _ => None,
        };
        let local = ingester.clone().map(|ingester| (member.identity.id, ingester as Arc<dyn IngesterClient>));
        let directory = Arc::new(ClusterDirectory::new(view.clone(), local, connect_ingester(remote.clone())));
        let receive = || {
            let mut options = config.distributor_options();
            if let Some(span_metrics) = &mut options.span_metrics {
                span_metrics.instance.clone_from(&member.identity.name);
            }
            if let Some(service_graph) = &mut options.service_graph {
                service_graph.counting.instance.clone_from(&member.identity.name);
                service_graph.peers = Some(graph_peers(&member, &remote));
            }
            Receiver::new(options, meta.clone(), view.clone(), directory.clone())
        };
        let receiver = roles.has("distributor").then(receive);
        if let Some(receiver) = &receiver {
            doors.graph.open(receiver.clone());
        }
        let spans = receiver.clone().map(|receiver| seam::spawn(receiver.tell_of_spans()));
        let writer = roles.has("scraper").then(|| receiver.clone().unwrap_or_else(receive));
        let cache = if roles.has("querier") { RangeCache::open(&config.cache_options()).await? } else { None };
        let blocks = cache.as_ref().map_or(store.store.clone(), |cache| cache.over(store.store.clone()));
        let engine = roles.has("querier").then(|| {
            let engine = Engine::new(view.clone(), directory.clone(), blocks, config.engine_options());
            let engine = Arc::new(engine.with_peers(peers(config, &member, doors, &remote)));
            doors.worker.open(&engine);
            engine
        });
        let (compactor, compactions) = match roles.has("compactor") {
            true => {
                let BlockStore { store, local_root } = store;
                let options = config.compactor.options(&config.retention);
                let (id, storage) = (member.identity.id, Storage { store, local_root });
                let compactor = Compactor::new(id, meta.clone(), view.clone(), storage, options);
                let compactor = compactor.map_err(|message| anyhow::anyhow!(message))?;
                (Some(compactor.clone()), Some(seam::spawn(compactor.run())))
            }
            false => (None, None),
        };
        let scraper = match &writer {
            Some(writer) => {
                let options = config.scrape.options(config.cluster.unreachable_after.0);
                let options = options.map_err(|message| anyhow::anyhow!("scrape.tenant: {message}"))?;
                let sink = Arc::new(ToDistributor(writer.clone()));
                let scraper = Scraper::start(options, member.identity.id, meta.clone(), view.clone(), sink);
                Some(scraper.context("scrape.config")?)
            }
            None => None,
        };
        let node = Node {
            member,
            meta,
            view,
            ingesters: directory.leaders(),
            local_meta: local_meta.map(|(meta, _)| meta),
            ingester,
            receiver,
            engine,
            compactor,
            scraper,
            cache,
            drain_timeout: config.drain_on_shutdown.then_some(config.cluster.drain_timeout.0),
            disowned,
            _heartbeats: heartbeats,
            _compactions: compactions,
            _spans: spans,
        };
        Ok(node)
    }

    /// Waits until records can be written, if this node receives or scrapes any.
    pub async fn wait_for_rings(&self) {
        if self.receiver.is_none() && self.scraper.is_none() {
            return;
        }
        let served = |catalog: &bonghwa_cluster::Catalog| Signal::ALL.iter().all(|s| !catalog.ring(*s).is_empty());
        while self.view.wait_for(Duration::from_secs(10), served).await.is_err() {
            tracing::warn!(
                "waiting for partitions on the rings: they need as many ingesters as replication_factor says"
            );
        }
    }

    /// Resolves when the process must end: a log takes no more writes, or another has its identity.
    pub async fn failed(&self) -> anyhow::Error {
        let ingester = async {
            match &self.ingester {
                Some(ingester) => ingester.failed().await.into(),
                None => std::future::pending::<anyhow::Error>().await,
            }
        };
        let meta = async {
            match &self.local_meta {
                Some(meta) => meta.failed().await.into(),
                None => std::future::pending::<anyhow::Error>().await,
            }
        };
        tokio::select! {
            error = ingester => error.context("a log failed for good"),
            error = meta => error.context("a log failed for good"),
            error = self.disowned() => error,
        }
    }

    async fn disowned(&self) -> anyhow::Error {
        let mut disowned = self.disowned.clone();
        match disowned.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(Some(why)) => anyhow::anyhow!(why),
            _ => std::future::pending().await,
        }
    }

    /// Stops what writes by itself, while there is somewhere to write to: another node takes over scraping, and spans
    /// that were counted are told of.
    pub async fn stop_writing(&self) {
        if let Some(receiver) = &self.receiver {
            receiver.tell_of_spans_now().await;
        }
        if let Some(scraper) = &self.scraper {
            scraper.stop().await;
        }
    }

    /// Leaves the cluster first, where that is wished: its partitions are replaced, sealed and flushed.
    pub async fn drain(&self) {
        let Some(patience) = self.drain_timeout.filter(|_| self.ingester.is_some()) else { return };
        tracing::info!(?patience, "draining: partitions of this node are replaced and flushed");
        match membership::drain(&*self.meta, &self.view, self.member.identity.id, patience).await {
            Ok(()) => tracing::info!("drained"),
            Err(error) => {
                tracing::warn!(%error, "not drained; what is left stays in the logs of this node and its peers")
            }
        }
    }

    /// Flushes what only this node keeps, as far as time allows, and closes the logs.
    pub async fn close(&self) {
        if let Some(ingester) = &self.ingester {
            ingester.shutdown().await;
        }
        if let Some(meta) = &self.local_meta
            && let Err(error) = meta.shutdown().await
        {
            tracing::warn!(%error, "closing meta");
        }
        if let Some(cache) = &self.cache {
            cache.close().await;
        }
        self.view.stop().await;
    }
}

/// How this node's querier works with the others.
fn peers(config: &Config, member: &Member, doors: &Doors, remote: &RemoteOptions) -> Peers {
    Peers {
        address: member.address.clone(),
        remote: remote.clone(),
        door: doors.worker.clone(),
        share: config.query.distributed,
        bytes: config.query.distributed_bytes.0,
        samples: config.query.distributed_samples,
    }
}

/// How this node's distributor reaches the others.
fn graph_peers(member: &Member, remote: &RemoteOptions) -> GraphPeers {
    let remote = remote.clone();
    let connect = move |address: &str| -> Result<Arc<dyn GraphClient>, RpcError> {
        Ok(Arc::new(RemoteGraph::connect(address, remote.clone())?))
    };
    GraphPeers { node: member.identity.id, connect: Arc::new(connect) }
}

/// Waits for a copy of the catalog that is as new as meta's leader has it.
async fn wait_for_catalog(meta: &dyn MetaClient, view: &ClusterView, node: u64) {
    loop {
        let asked = seam::now();
        match meta.heartbeat(node, 0).await {
            Ok(leader) => match view.wait_for_version(leader.version, Duration::from_secs(5)).await {
                Ok(_) => return view.expect(leader.version, asked),
                Err(error) => tracing::warn!(%error, "waiting for the catalog"),
            },
            Err(error) => tracing::warn!(%error, "waiting for meta"),
        }
    }
}

/// Starts saying that the node lives; and where it is told why it must not.
fn live(
    member: &Member,
    meta: &Arc<dyn MetaClient>,
    view: &Arc<ClusterView>,
    remote: &RemoteOptions,
    every: Duration,
) -> (seam::Task, watch::Receiver<Option<String>>) {
    let (disown, disowned) = watch::channel(None);
    let (member, meta, view, remote) = (member.clone(), meta.clone(), view.clone(), remote.clone());
    let task = seam::spawn(async move {
        let error = member.live(meta, view, remote, every).await;
        disown.send_replace(Some(format!("{error:#}")));
        // Whoever looks later finds it as well.
        std::future::pending::<()>().await;
    });
    (task, disowned)
}

/// The nodes of meta's group and their addresses: remembered from the first start, or asked for.
async fn meta_members(config: &Config, member: &Member, remote: &RemoteOptions) -> Result<BTreeMap<u64, String>> {
    let peers = config.meta_peer_addresses();
    if peers.is_empty() {
        return Ok(BTreeMap::from([(member.identity.id, member.address.clone())]));
    }
    let path = config.data_dir.join(META_MEMBERS);
    let known: BTreeMap<String, u64> =
        std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let known: Option<BTreeMap<u64, String>> =
        peers.iter().map(|peer| known.get(peer).map(|id| (*id, peer.clone()))).collect();
    let members = match known {
        Some(members) => members,
        None => {
            let asked = membership::identify_peers(&peers, remote).await;
            let members: BTreeMap<u64, String> = asked.into_iter().collect();
            let text: BTreeMap<&String, u64> = members.iter().map(|(id, address)| (address, *id)).collect();
            remember(&serde_json::to_string(&text)?, &path).with_context(|| format!("writing {}", path.display()))?;
            members
        }
    };
    if members.len() != peers.len() {
        bail!("meta_peers: two of {} are one node: list each once", config.meta_peers);
    }
    if !members.contains_key(&member.identity.id) {
        bail!(
            "meta_peers: this node, {}, is none of {}: list the address that it advertises, {}, on all meta nodes",
            member.identity.name,
            config.meta_peers,
            member.address
        );
    }
    Ok(members)
}

/// An empty catalog beside blocks is a lost one. Partitions made in it would take the names of the
/// lost ones and count positions from 0 again: the old blocks would be invisible, and a later
/// rebuild could not tell the two apart.
async fn refuse_strange_blocks(view: &ClusterView, store: &BlockStore, config: &Config) -> Result<()> {
    let catalog = view.current();
    if catalog.block_count() > 0 || catalog.all_partitions().next().is_some() {
        return Ok(());
    }
    let url = config.object_store_url();
    let found = storage::any_object(store.store.as_ref()).await;
    let found = found.with_context(|| {
        format!(
            "object_store: {url} cannot be listed, and a new data directory must not start beside blocks of \
             another: check the URL, its endpoint and its credentials"
        )
    })?;
    if let Some(object) = found {
        bail!(
            "object_store: {url} holds blocks ({object}), but the catalog in {} is empty, as after a lost disk: \
             run `bonghwa meta rebuild` with the same flags to bring it back from the blocks, or start on an \
             empty prefix",
            config.data_dir.display()
        );
    }
    Ok(())
}

/// Who this process is: on a disk where a role keeps one.
pub fn identity(config: &Config, roles: &Roles) -> Result<Identity> {
    if roles.keeps_log() { Identity::of_disk(config) } else { Ok(Identity::without_disk(config)) }
}

/// How other nodes are called.
pub fn remote_options(config: &Config) -> Result<(RemoteOptions, Option<bonghwa_protocol::ServerTls>)> {
    let Some(files) = config.tls_files() else { return Ok((RemoteOptions::default(), None)) };
    let (server, client) = files.load()?;
    Ok((RemoteOptions { tls: Some(client), ..RemoteOptions::default() }, Some(server)))
}
