//! Partitions whose logs are vectors, and a meta that is a channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_block::Column;
use bonghwa_block::WriteOptions;
use bonghwa_cluster::{ClusterView, Directory};
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{EncodedBatch, IngesterClient, MetaClient, RpcError, RpcErrorKind, v1};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use std::sync::Mutex;
use tokio::sync::{broadcast, watch};

use crate::{Engine, EngineOptions};

#[derive(Default)]
struct Log {
    entries: Vec<(TenantId, Arc<Batch>)>,
    /// Positions up to here are no longer kept.
    trimmed: u64,
    flushed: u64,
}

/// Ingester, meta, directory and object store in one.
pub(crate) struct Fakes {
    logs: Mutex<BTreeMap<String, Log>>,
    version: AtomicU64,
    events: broadcast::Sender<v1::Event>,
    snapshot: Mutex<v1::Snapshot>,
    store: Arc<InMemory>,
    /// Partitions whose leaders cannot be reached.
    pub(crate) away: Mutex<BTreeMap<String, Away>>,
    /// Tails that still break after their first batch.
    pub(crate) tails_to_break: AtomicU64,
    /// Tails that were read.
    pub(crate) tails_read: AtomicU64,
    /// Queriers that read tails.
    pub(crate) readers: Mutex<BTreeSet<String>>,
    /// While set, tails give what they have and do not end.
    pub(crate) endless: AtomicBool,
    /// Readers for whom they do end all the same.
    pub(crate) ending: Mutex<BTreeSet<String>>,
    /// Tails that are being read.
    pub(crate) open: watch::Sender<usize>,
}

/// How a leader cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Away {
    /// It says so at once.
    Unreachable,
    /// It never answers.
    Silent,
}

/// A cluster in memory, and the engine over it.
pub(crate) struct Cluster {
    pub(crate) fakes: Arc<Fakes>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) view: Arc<ClusterView>,
}

impl Cluster {
    /// With one partition of each signal.
    pub(crate) async fn start() -> Self {
        Self::with(EngineOptions { target_partitions: 2, ..Default::default() }).await
    }

    pub(crate) async fn with(options: EngineOptions) -> Self {
        Self::of_partitions(1, options).await
    }

    /// With so many partitions of each signal.
    pub(crate) async fn of_partitions(count: usize, options: EngineOptions) -> Self {
        let partition = |signal: Signal, number: usize| v1::Partition {
            name: format!("{signal}-{number:04}"),
            signal: v1::Signal::from(signal) as i32,
            state: v1::PartitionState::Active as i32,
            replicas: vec![1],
            watermark: 0,
        };
        let numbers = |signal| (1..=count).map(move |number| partition(signal, number));
        let partitions: Vec<_> = Signal::ALL.into_iter().flat_map(numbers).collect();
        let logs = partitions.iter().map(|p| (p.name.clone(), Log::default())).collect();
        let fakes = Arc::new(Fakes {
            logs: Mutex::new(logs),
            version: AtomicU64::new(1),
            events: broadcast::channel(1000).0,
            snapshot: Mutex::new(v1::Snapshot { version: 1, partitions, ..Default::default() }),
            store: Arc::new(InMemory::new()),
            away: Default::default(),
            tails_to_break: Default::default(),
            tails_read: Default::default(),
            readers: Default::default(),
            endless: Default::default(),
            ending: Default::default(),
            open: watch::Sender::new(0),
        });
        let view = ClusterView::follow(fakes.clone());
        view.wait_for_version(1, Duration::from_secs(5)).await.unwrap();
        let engine = Arc::new(fakes.engine("first", &view, options));
        Cluster { fakes, engine, view }
    }

    /// A change of the catalog, and its arrival in this cluster's copy.
    pub(crate) async fn change(&self, change: v1::Change) {
        let version = self.fakes.change(change);
        self.view.wait_for_version(version, Duration::from_secs(5)).await.unwrap();
    }

    /// Appends a batch to its signal's partition.
    pub(crate) fn append(&self, batch: Batch) {
        self.append_as(&TenantId::default_tenant(), batch);
    }

    pub(crate) fn append_as(&self, tenant: &TenantId, batch: Batch) {
        let name = format!("{}-0001", batch.signal());
        self.fakes.logs.lock().unwrap().get_mut(&name).unwrap().entries.push((tenant.clone(), Arc::new(batch)));
    }

    /// Appends a batch to this partition.
    pub(crate) fn append_to(&self, partition: &str, batch: Batch) {
        let entry = (TenantId::default_tenant(), Arc::new(batch));
        self.fakes.logs.lock().unwrap().get_mut(partition).unwrap().entries.push(entry);
    }

    /// Makes a partition's leader be away.
    pub(crate) fn lose(&self, partition: &str, away: Away) {
        self.fakes.away.lock().unwrap().insert(partition.to_owned(), away);
    }

    /// Makes a delete.
    pub(crate) async fn delete(&self, delete: v1::Delete) {
        let change = v1::Change { deletes: vec![delete], ..Default::default() };
        let version = self.fakes.change_deletes(change);
        self.view.wait_for_version(version, Duration::from_secs(5)).await.unwrap();
    }

    /// Ends a delete.
    pub(crate) async fn end_delete(&self, id: u64) {
        let change = v1::Change { removed_deletes: vec![id], ..Default::default() };
        let version = self.fakes.change_deletes(change);
        self.view.wait_for_version(version, Duration::from_secs(5)).await.unwrap();
    }

    /// Writes a block of what is not flushed, commits it, and lets go of it in the log
    /// when `trim`.
    pub(crate) async fn flush(&self, signal: Signal, trim: bool) -> Option<Arc<v1::Block>> {
        let name = format!("{signal}-0001");
        let (from, to, batches) = {
            let logs = self.fakes.logs.lock().unwrap();
            let log = &logs[&name];
            (log.flushed, log.entries.len() as u64, log.entries[log.flushed as usize..].to_vec())
        };
        if batches.is_empty() {
            return None;
        }
        let path = format!("{name}/{from}-{to}.parquet");
        let options = WriteOptions::default();
        let encoded = bonghwa_block::write_l0(signal, &name, from, to, path.clone(), &batches, &options).unwrap();
        self.fakes.store.put(&Path::from(path), encoded.bytes.into()).await.unwrap();
        let version = self.fakes.commit(&name, to, encoded.block.clone());
        {
            let mut logs = self.fakes.logs.lock().unwrap();
            let log = logs.get_mut(&name).unwrap();
            log.flushed = to;
            if trim {
                log.trimmed = to;
            }
        }
        self.view.wait_for_version(version, Duration::from_secs(5)).await.unwrap();
        Some(Arc::new(encoded.block))
    }
}

impl Fakes {
    /// An engine over the same logs, blocks and catalog. `reader` is what [`Self::readers`] calls it.
    pub(crate) fn engine(
        self: &Arc<Self>,
        reader: &'static str,
        view: &Arc<ClusterView>,
        options: EngineOptions,
    ) -> Engine {
        self.engine_over(self.store.clone(), reader, view, options)
    }

    /// The same, which reads blocks from a store of its own.
    pub(crate) fn engine_over(
        self: &Arc<Self>,
        store: Arc<dyn ObjectStore>,
        reader: &'static str,
        view: &Arc<ClusterView>,
        options: EngineOptions,
    ) -> Engine {
        let directory = Arc::new(FakeDirectory { fakes: self.clone(), reader });
        Engine::new(view.clone(), directory, store, options)
    }

    /// Where blocks are.
    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    fn change(&self, change: v1::Change) -> u64 {
        let mut snapshot = self.snapshot.lock().unwrap();
        snapshot.nodes.extend(change.nodes.iter().cloned());
        self.publish(&mut snapshot, change)
    }

    fn publish(&self, snapshot: &mut v1::Snapshot, change: v1::Change) -> u64 {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        snapshot.version = version;
        let _ = self.events.send(v1::Event { version, kind: Some(v1::event::Kind::Change(change)) });
        version
    }

    fn commit(&self, partition: &str, to: u64, block: v1::Block) -> u64 {
        let mut snapshot = self.snapshot.lock().unwrap();
        // As meta does it: these rows came after all deletes that there are.
        let deletes_through = snapshot.deletes.iter().map(|delete| delete.id).max().unwrap_or(0);
        let block = v1::Block { deletes_through, written: snapshot.version + 1, ..block };
        let partition = snapshot.partitions.iter_mut().find(|p| p.name == partition).unwrap();
        partition.watermark = to;
        let change =
            v1::Change { partitions: vec![partition.clone()], blocks: vec![block.clone()], ..Default::default() };
        snapshot.blocks.push(block);
        self.publish(&mut snapshot, change)
    }

    /// Makes a delete, or ends the one of its id; the catalog's version with it.
    fn change_deletes(&self, change: v1::Change) -> u64 {
        let mut snapshot = self.snapshot.lock().unwrap();
        snapshot.deletes.retain(|delete| !change.removed_deletes.contains(&delete.id));
        snapshot.deletes.extend(change.deletes.iter().cloned());
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        snapshot.version = version;
        let _ = self.events.send(v1::Event { version, kind: Some(v1::event::Kind::Change(change)) });
        version
    }

    fn tail_of(&self, partition: &str, tenant: &str, from: u64, to: Option<u64>) -> Result<Tail, RpcError> {
        if self.away.lock().unwrap().get(partition) == Some(&Away::Unreachable) {
            return Err(RpcError::new(RpcErrorKind::Unreachable, "nobody leads the partition"));
        }
        let logs = self.logs.lock().unwrap();
        let log = &logs[partition];
        if from < log.trimmed {
            return Err(RpcError::new(RpcErrorKind::StaleWatermark, "the watermark is behind"));
        }
        let to = to.unwrap_or(log.entries.len() as u64);
        let mine = log.entries[from as usize..to as usize].iter().filter(|(t, _)| t.as_str() == tenant);
        Ok(Tail { to, batches: mine.map(|(_, batch)| batch.clone()).collect() })
    }
}

struct Tail {
    to: u64,
    batches: Vec<Arc<Batch>>,
}

#[async_trait]
impl MetaClient for Fakes {
    async fn execute(&self, _: v1::Command) -> Result<v1::CommandResult, RpcError> {
        Err(RpcError::internal("not here"))
    }

    async fn heartbeat(&self, _: u64, _: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        Err(RpcError::internal("not here"))
    }

    async fn watch(&self, _: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        let snapshot = self.snapshot.lock().unwrap();
        let first = v1::Event { version: snapshot.version, kind: Some(v1::event::Kind::Snapshot(snapshot.clone())) };
        let later = stream::unfold(self.events.subscribe(), |mut events| async move {
            events.recv().await.ok().map(|event| (Ok(event), events))
        });
        Ok(stream::iter([Ok(first)]).chain(later).boxed())
    }
}

struct FakeDirectory {
    fakes: Arc<Fakes>,
    reader: &'static str,
}

impl Directory for FakeDirectory {
    fn ingester(&self, _: u64) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Ok(Arc::new(FakeIngester { fakes: self.fakes.clone(), reader: self.reader }))
    }

    fn leader_of(&self, _: &str) -> Result<Arc<dyn IngesterClient>, RpcError> {
        self.ingester(1)
    }
}

struct FakeIngester {
    fakes: Arc<Fakes>,
    reader: &'static str,
}

/// Counts a tail as being read until it is dropped.
struct Open(Arc<Fakes>);

impl Open {
    fn new(fakes: &Arc<Fakes>) -> Self {
        fakes.open.send_modify(|open| *open += 1);
        Open(fakes.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

#[async_trait]
impl IngesterClient for FakeIngester {
    async fn append(&self, _: &str, _: &TenantId, _: EncodedBatch) -> Result<u64, RpcError> {
        Err(RpcError::internal("not here"))
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        let away = self.fakes.away.lock().unwrap().get(&request.partition).copied();
        if away == Some(Away::Silent) {
            std::future::pending::<()>().await;
        }
        let tail = self.fakes.tail_of(&request.partition, &request.tenant, request.watermark, None)?;
        let tenant = TenantId::new(&request.tenant).unwrap();
        let described = bonghwa_block::describe(tail.batches.iter().map(|b| &**b)).finish(&tenant);
        Ok(v1::DescribeTailResponse { through: tail.to, rows: (described.items > 0).then_some(described) })
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        self.fakes.tails_read.fetch_add(1, Ordering::SeqCst);
        self.fakes.readers.lock().unwrap().insert(self.reader.to_owned());
        let tail = self.fakes.tail_of(&request.partition, &request.tenant, request.watermark, Some(request.through))?;
        let signal = tail.batches[0].signal();
        let columns: Vec<Column> =
            request.columns.into_iter().map(|c| Column::from_proto(signal, c).unwrap()).collect();
        let batches: Vec<_> = tail
            .batches
            .iter()
            .map(|b| Ok(bonghwa_block::to_record_batch(&b.clone().into(), &columns).unwrap()))
            .collect();
        let left = |left: u64| left.checked_sub(1);
        if self.fakes.tails_to_break.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            let broken = Err(RpcError::unavailable("the connection broke"));
            return Ok(stream::iter(batches.into_iter().take(1).chain([broken])).boxed());
        }
        let open = Open::new(&self.fakes);
        let endless =
            self.fakes.endless.load(Ordering::SeqCst) && !self.fakes.ending.lock().unwrap().contains(self.reader);
        let rest = if endless { stream::pending().boxed() } else { stream::empty().boxed() };
        let held = move |batch| {
            let _ = &open;
            batch
        };
        Ok(stream::iter(batches).chain(rest).map(held).boxed())
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        Ok(Vec::new())
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        Err(RpcError::internal("not here"))
    }
}
