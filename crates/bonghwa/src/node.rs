//! One process with all roles: opened in the order in which they need each other,
//! closed in the other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_cluster::{ClusterDirectory, ClusterView, connect_ingester, node_id};
use bonghwa_distributor::Receiver;
use bonghwa_ingester::{BlockStore, Ingester};
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

/// The name of a node that starts for the first time.
fn name(config: &Config) -> String {
    if !config.node_name.is_empty() {
        return config.node_name.clone();
    }
    // Every Linux has it; elsewhere one node is told from another by its configuration.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if host.trim().is_empty() { "bonghwa".into() } else { host.trim().to_owned() }
}

/// Who this node is in the cluster.
pub struct Identity {
    /// By which the log's votes are counted; follows from the name.
    pub id: u64,
    /// The name that the data directory has known since its first start.
    pub name: String,
}

/// Opens the log of a data directory. The name is kept in it: the log's votes are this node's.
pub fn open_log(config: &Config) -> Result<(Arc<Host>, Identity)> {
    let path = config.data_dir.join("log");
    storage::create_directory(&path).with_context(|| format!("data_dir: creating {}", path.display()))?;
    let name = remembered_name(config)?;
    let id = node_id(&name);
    let store = Store::open(&path, StoreOptions::default())
        .with_context(|| format!("opening the log in {}", path.display()))?;
    Ok((Host::new(id, store, LocalTransport::alone(), HostOptions::default()), Identity { id, name }))
}

/// The name of the first start: the host's may be another by now, as a container's that was recreated.
fn remembered_name(config: &Config) -> Result<String> {
    let path = config.data_dir.join("node-name");
    let kept = match std::fs::read_to_string(&path) {
        Ok(kept) => kept.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    if kept.is_empty() {
        let name = name(config);
        remember(&name, &path).with_context(|| format!("writing {}", path.display()))?;
        return Ok(name);
    }
    if !config.node_name.is_empty() && config.node_name != kept {
        bail!(
            "node_name is {:?}, but {} belongs to node {kept:?}: use that name, or another data directory",
            config.node_name,
            config.data_dir.display()
        );
    }
    Ok(kept)
}

/// Writes the name so that a crash leaves all of it or no file.
fn remember(name: &str, path: &Path) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(name.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), storage::sync)
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
        let (host, Identity { id, name }) = open_log(config)?;
        let address = config.grpc_listen.clone();
        let meta = open_meta(&host, id, &address).await?;
        let client: Arc<dyn MetaClient> = meta.clone();
        let view = ClusterView::follow(client.clone());
        register(client.as_ref(), id, &name, &address, &view).await?;
        refuse_strange_blocks(&view, &store, config).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config(data_dir: &Path) -> Config {
        Config { data_dir: data_dir.to_owned(), ..Config::default() }
    }

    #[test]
    fn a_name_outlives_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node-name");
        let first = remembered_name(&config(dir.path())).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap(), !first.is_empty()), (first.clone(), true));

        std::fs::write(&path, "other-host\n").unwrap();
        assert_eq!(remembered_name(&config(dir.path())).unwrap(), "other-host");
        let named = Config { node_name: "third".into(), ..config(dir.path()) };
        let error = remembered_name(&named).unwrap_err().to_string();
        assert!(error.contains("node_name is \"third\"") && error.contains("other-host"), "{error}");
    }

    #[test]
    fn an_empty_name_is_none() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("node-name"), "").unwrap();
        let named = Config { node_name: "third".into(), ..config(dir.path()) };
        assert_eq!(remembered_name(&named).unwrap(), "third");
        assert_eq!(remembered_name(&config(dir.path())).unwrap(), "third");
    }
}
