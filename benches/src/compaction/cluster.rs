//! What a compaction needs of a cluster, in this process: a catalog without a log under it,
//! and an object store in a directory.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bonghwa_block::{WriteOptions, write_l0};
use bonghwa_cluster::{Catalog, ClusterView, Directory, node_id};
use bonghwa_compactor::{Compactor, CompactorOptions, Storage};
use bonghwa_meta::State;
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{IngesterClient, MetaClient, RpcError, v1};
use bonghwa_query::{Engine, EngineOptions};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use tokio::sync::broadcast;

const NODE: &str = "bench";

/// Meta's state machine, without the log.
struct Meta {
    state: Mutex<State>,
    events: broadcast::Sender<v1::Event>,
}

#[async_trait]
impl MetaClient for Meta {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        let mut state = self.state.lock();
        let applied = state.apply(&command);
        if let Some(change) = applied.change {
            let kind = Some(v1::event::Kind::Change(change));
            // Nobody may be watching yet.
            let _ = self.events.send(v1::Event { version: applied.result.version, kind });
        }
        Ok(applied.result)
    }

    async fn heartbeat(&self, _: u64, _: u64) -> Result<bool, RpcError> {
        Ok(true)
    }

    async fn watch(&self, _: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        let state = self.state.lock();
        let snapshot = state.catalog().snapshot();
        let first = v1::Event { version: snapshot.version, kind: Some(v1::event::Kind::Snapshot(snapshot)) };
        let later = stream::unfold(self.events.subscribe(), |mut events| async move {
            events.recv().await.ok().map(|event| (Ok(event), events))
        });
        Ok(stream::iter([Ok(first)]).chain(later).boxed())
    }
}

/// There are no tails here.
struct Nobody;

impl Directory for Nobody {
    fn ingester(&self, node: u64) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Err(RpcError::not_found(format!("node is {node}: there is none")))
    }

    fn leader_of(&self, partition: &str) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Err(RpcError::not_found(format!("partition is {partition}: there is none")))
    }
}

/// Catalog, store and compactor of one set.
pub struct Cluster {
    meta: Arc<Meta>,
    view: Arc<ClusterView>,
    store: Arc<LocalFileSystem>,
    folder: tempfile::TempDir,
    signal: Signal,
    end: u64,
}

impl Cluster {
    pub async fn start(signal: Signal) -> Result<Cluster> {
        let folder = tempfile::tempdir()?;
        let store = Arc::new(LocalFileSystem::new_with_prefix(folder.path())?);
        let meta = Arc::new(Meta { state: Mutex::default(), events: broadcast::channel(100_000).0 });
        let view = ClusterView::follow(meta.clone());
        let cluster = Cluster { meta, view, store, folder, signal, end: 0 };
        let node = v1::Node { name: NODE.into(), address: "127.0.0.1:7801".into(), ..Default::default() };
        cluster.command(Kind::RegisterNode(v1::RegisterNode { node: Some(node), ..Default::default() })).await?;
        let number = v1::Signal::from(signal).into();
        let create = v1::CreatePartition { signal: number, replicas: vec![node_id(NODE)] };
        cluster.command(Kind::CreatePartition(create)).await?;
        Ok(cluster)
    }

    async fn command(&self, kind: Kind) -> Result<()> {
        let result = self.meta.execute(v1::Command { kind: Some(kind) }).await?;
        if let Some(Outcome::Rejection(rejection)) = result.outcome {
            bail!("{}", rejection.message);
        }
        self.view.wait_for_version(result.version, Duration::from_secs(10)).await?;
        Ok(())
    }

    /// Writes a block as a flush does.
    pub async fn flush(&mut self, batches: &[(TenantId, Arc<Batch>)]) -> Result<()> {
        let (from, to) = (self.end, self.end + 1);
        self.end = to;
        let partition = format!("{}-0001", self.signal);
        let path = format!("{}/l0/{partition}/{from:020}-{to:020}-{from:08x}.parquet", self.signal);
        let block = write_l0(self.signal, &partition, from, to, path.clone(), batches, &WriteOptions::default())?;
        self.store.put(&Path::from(path), block.bytes.into()).await?;
        let commit = v1::CommitFlush { partition, from, to, blocks: vec![block.block] };
        self.command(Kind::CommitFlush(commit)).await
    }

    pub fn compactor(&self, options: CompactorOptions) -> Result<Arc<Compactor>> {
        let storage = Storage { store: self.store.clone(), local_root: Some(self.folder.path().to_owned()) };
        let compactor = Compactor::new(node_id(NODE), self.meta.clone(), self.view.clone(), storage, options);
        compactor.map_err(anyhow::Error::msg)
    }

    /// An engine that sees the blocks that there are now, and no tails.
    pub fn engine(&self) -> Arc<Engine> {
        let blocks = self.view.current().blocks().map(|block| (**block).clone()).collect();
        let catalog = Catalog::from_snapshot(&v1::Snapshot { version: 1, blocks, ..Default::default() });
        let options = EngineOptions::default();
        Arc::new(Engine::new(ClusterView::fixed(catalog), Arc::new(Nobody), self.store.clone(), options))
    }

    /// Objects in the store, and their bytes.
    pub async fn stored(&self) -> Result<(usize, u64)> {
        let objects: Vec<ObjectMeta> = self.store.list(None).try_collect().await?;
        Ok((objects.len(), objects.iter().map(|object| object.size).sum()))
    }

    /// Log records, spans or samples that the catalog counts, and row groups.
    pub fn counted(&self) -> (u64, usize) {
        let catalog = self.view.current();
        let rows: Vec<_> = catalog.blocks().flat_map(|block| &block.tenants).collect();
        (rows.iter().map(|rows| rows.items).sum(), rows.iter().map(|rows| rows.row_groups.len()).sum())
    }
}

/// A tenant by its name.
pub fn tenant(name: &str) -> Result<TenantId> {
    TenantId::new(name).with_context(|| format!("tenant {name}"))
}
