//! One process with all roles: opened in the order in which they need each other,
//! closed in the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_cluster::{ClusterDirectory, ClusterView, connect_ingester, node_id};
use bonghwa_distributor::Receiver;
use bonghwa_ingester::Ingester;
use bonghwa_meta::{Meta, MetaOptions};
use bonghwa_protocol::{IngesterClient, MetaClient, RemoteOptions, v1};
use bonghwa_query::Engine;
use bonghwa_replog::{Host, HostOptions, LocalTransport, Store, StoreOptions};

use crate::config::Config;
use crate::storage;

/// The roles of a node.
pub struct Node {
    /// The control plane.
    pub meta: Arc<Meta>,
    /// The node's copy of the catalog.
    pub view: Arc<ClusterView>,
    /// Partitions and heads.
    pub ingester: Arc<Ingester>,
    /// Receiving.
    pub receiver: Arc<Receiver>,
    /// Queries.
    pub engine: Arc<Engine>,
}

/// This node's name.
pub fn name(config: &Config) -> String {
    if !config.node_name.is_empty() {
        return config.node_name.clone();
    }
    // Every Linux has it; elsewhere one node is told from another by its configuration.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "bonghwa".into() } else { host.trim().to_owned() }
}

/// Opens the log of a data directory. The name is kept in it: the log's votes are this node's.
pub fn open_log(config: &Config) -> Result<(Arc<Host>, u64)> {
    std::fs::create_dir_all(&config.data_dir).with_context(|| format!("creating {}", config.data_dir.display()))?;
    let name = remembered_name(&config.data_dir, config)?;
    let id = node_id(&name);
    let path = config.data_dir.join("log");
    let store = Store::open(&path, StoreOptions::default())
        .with_context(|| format!("opening the log in {}", path.display()))?;
    Ok((Host::new(id, store, LocalTransport::alone(), HostOptions::default()), id))
}

fn remembered_name(data_dir: &Path, config: &Config) -> Result<String> {
    let path = data_dir.join("node-name");
    match std::fs::read_to_string(&path) {
        Ok(kept) => {
            let kept = kept.trim().to_owned();
            if !config.node_name.is_empty() && config.node_name != kept {
                bail!(
                    "node_name is {:?}, but {} belongs to node {kept:?}: use that name, or another data directory",
                    config.node_name,
                    data_dir.display()
                );
            }
            Ok(kept)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = name(config);
            std::fs::write(&path, &name).with_context(|| format!("writing {}", path.display()))?;
            std::fs::File::open(&path)?.sync_all()?;
            std::fs::File::open(data_dir)?.sync_all()?;
            Ok(name)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
    }
}

/// Opens the control plane of a single node, and waits until it takes commands.
pub async fn open_meta(host: &Host, id: u64, address: &str) -> Result<Arc<Meta>> {
    let members = BTreeMap::from([(id, address.to_owned())]);
    let meta = Meta::open(host, MetaOptions::new(members, true)).await?;
    meta.wait_ready().await?;
    meta.wait_leader(Duration::from_secs(30)).await?;
    Ok(meta)
}

impl Node {
    /// Opens all roles; logs are replayed when this returns.
    pub async fn open(config: &Config) -> Result<Node> {
        let store = storage::open(config)?;
        let (host, id) = open_log(config)?;
        let address = config.grpc_listen.clone();
        let meta = open_meta(&host, id, &address).await?;
        let client: Arc<dyn MetaClient> = meta.clone();
        let view = ClusterView::follow(client.clone());
        register(client.as_ref(), id, &name(config), &address, &view).await?;
        let ingester =
            Ingester::open(id, &address, &host, client, &view, store.clone(), config.ingester_options()).await?;
        let local: Arc<dyn IngesterClient> = ingester.clone();
        let connect = connect_ingester(RemoteOptions::default());
        let directory = Arc::new(ClusterDirectory::new(view.clone(), Some((id, local)), connect));
        let receiver = Receiver::new(config.distributor_options(), view.clone(), directory.clone());
        let engine = Arc::new(Engine::new(view.clone(), directory, store.store, config.engine_options()));
        Ok(Node { meta, view, ingester, receiver, engine })
    }

    /// Flushes what time allows and closes the logs.
    pub async fn close(&self) {
        self.ingester.shutdown().await;
        if let Err(error) = self.meta.shutdown().await {
            tracing::warn!(%error, "closing meta");
        }
    }
}

async fn register(meta: &dyn MetaClient, id: u64, name: &str, address: &str, view: &ClusterView) -> Result<()> {
    let node = v1::Node {
        id,
        name: name.to_owned(),
        address: address.to_owned(),
        zone: String::new(),
        roles: ["distributor", "ingester", "meta", "querier"].map(str::to_owned).to_vec(),
    };
    let kind = v1::command::Kind::RegisterNode(v1::RegisterNode { node: Some(node) });
    let result = meta.execute(v1::Command { kind: Some(kind) }).await?;
    match result.outcome {
        Some(v1::command_result::Outcome::Node(registered)) if registered.id == id => {}
        Some(v1::command_result::Outcome::Rejection(rejection)) => {
            bail!("meta refused this node: {}", rejection.message)
        }
        other => bail!("meta gave node {name:?} another identity: {other:?}"),
    }
    view.wait_for_version(result.version, Duration::from_secs(10)).await?;
    Ok(())
}
