//! The role: opens the node's partitions, answers distributors and queriers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_block::{Column, WriteOptions};
use bonghwa_cluster::{ClusterView, seam};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{EncodedBatch, IngesterClient, MetaClient, RpcError, RpcErrorKind, v1};
use bonghwa_replog::{GroupOptions, Host};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use crate::flush::{Flusher, flush_loop};
use crate::head::Head;
use crate::memory::HeadMemory;
use crate::partition::{Partition, check_signal};
use crate::storage::BlockStore;
use crate::{IngesterError, IngesterOptions};

/// The ingester of a node.
pub struct Ingester {
    partitions: BTreeMap<String, Arc<Partition>>,
    flusher: Arc<Flusher>,
    options: Arc<IngesterOptions>,
}

/// How long the local copy of the catalog may take to show what meta just did.
const CATALOG_PATIENCE: Duration = Duration::from_secs(10);

impl Ingester {
    /// Opens every partition of which this node is a replica, after creating those that
    /// each signal lacks, and replays their logs from the catalog's watermarks.
    pub async fn open(
        node_id: u64,
        address: &str,
        host: &Host,
        meta: Arc<dyn MetaClient>,
        view: &ClusterView,
        store: BlockStore,
        options: IngesterOptions,
    ) -> Result<Arc<Self>, IngesterError> {
        let options = Arc::new(options);
        let memory = Arc::new(HeadMemory::default());
        ensure_partitions(node_id, meta.as_ref(), view, options.partitions_per_signal).await?;
        let flusher = Arc::new(Flusher { store, meta, write: WriteOptions::default(), encoding: Semaphore::new(1) });
        let catalog = view.current();
        let mut partitions = BTreeMap::new();
        for signal in Signal::ALL {
            for partition in catalog.partitions(signal).filter(|p| p.replicas.contains(&node_id)) {
                let name = partition.name.clone();
                let head = Arc::new(Head::new(name.clone(), partition.watermark, memory.clone()));
                let members = BTreeMap::from([(node_id, address.to_owned())]);
                let group_options = GroupOptions { name: name.clone(), members, bootstrap: true };
                let log_error = |source| IngesterError::Log { partition: name.clone(), source };
                let group = host.open_group(group_options, head.clone()).await.map_err(log_error)?;
                group.wait_replayed().await.map_err(log_error)?;
                if let Some(message) = head.newer() {
                    return Err(IngesterError::Newer { partition: name, message });
                }
                let opened = Partition::start(name.clone(), signal, head, group, memory.clone(), options.clone());
                seam::spawn(flush_loop(Arc::downgrade(&opened), flusher.clone(), options.clone())).detach();
                partitions.insert(name, opened);
            }
        }
        Ok(Arc::new(Ingester { partitions, flusher, options }))
    }

    /// Flushes what a bounded time allows and closes the logs; what is left is replayed by the next start.
    pub async fn shutdown(&self) {
        match seam::timeout(self.options.shutdown_flush, self.flush()).await {
            Ok(Ok(blocks)) => tracing::info!(blocks = blocks.len(), "heads are flushed"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a head could not be flushed; its log keeps it for the next start")
            }
            Err(_) => tracing::warn!("flushing took too long; the logs keep the rest for the next start"),
        }
        for partition in self.partitions.values() {
            if let Err(error) = partition.group.shutdown().await {
                tracing::warn!(partition = partition.name, %error, "closing the log");
            }
        }
    }

    /// Resolves when a partition's log has failed for good: the process must end, a restart
    /// replays what is on the disk.
    pub async fn failed(&self) -> IngesterError {
        let failures: Vec<_> = self.partitions.values().map(|partition| Box::pin(partition.failed())).collect();
        if failures.is_empty() {
            return std::future::pending().await;
        }
        futures::future::select_all(failures).await.0
    }

    /// One line per partition, for pages: name, last position, watermark, unflushed bytes, leads.
    pub fn status(&self) -> Vec<PartitionStatus> {
        let status = |p: &Arc<Partition>| PartitionStatus {
            partition: p.name.clone(),
            position: p.head.applied(),
            watermark: p.head.watermark(),
            head_bytes: p.head.unflushed().0 as u64,
            leads: p.group.is_leader(),
        };
        self.partitions.values().map(status).collect()
    }

    fn partition(&self, name: &str) -> Result<&Arc<Partition>, RpcError> {
        self.partitions.get(name).ok_or_else(|| {
            let message = format!("partition {name:?} is not on this node: take a newer copy of the ring");
            RpcError::new(RpcErrorKind::NotFound, message)
        })
    }
}

/// A partition as this node sees it.
#[derive(Clone, Debug)]
pub struct PartitionStatus {
    /// Name.
    pub partition: String,
    /// The last position applied.
    pub position: u64,
    /// Flushed up to here.
    pub watermark: u64,
    /// Memory of what is not flushed.
    pub head_bytes: u64,
    /// Whether this node leads it.
    pub leads: bool,
}

async fn ensure_partitions(
    node_id: u64,
    meta: &dyn MetaClient,
    view: &ClusterView,
    wanted: usize,
) -> Result<(), IngesterError> {
    for signal in Signal::ALL {
        let have = view.current().partitions(signal).filter(|p| p.replicas.contains(&node_id)).count();
        for _ in have..wanted {
            let create = v1::CreatePartition { signal: v1::Signal::from(signal) as i32, replicas: vec![node_id] };
            let kind = Some(v1::command::Kind::CreatePartition(create));
            let result = meta.execute(v1::Command { kind }).await?;
            if let Some(v1::command_result::Outcome::Rejection(rejection)) = result.outcome {
                return Err(IngesterError::Rejected { command: "CreatePartition", message: rejection.message });
            }
            view.wait_for_version(result.version, CATALOG_PATIENCE).await?;
        }
    }
    Ok(())
}

fn tenant(name: &str) -> Result<TenantId, RpcError> {
    TenantId::new(name).map_err(|e| RpcError::new(RpcErrorKind::Invalid, e.to_string()))
}

/// The leader no longer keeps what an old watermark asks for.
fn stale(partition: &str, watermark: u64) -> RpcError {
    let message =
        format!("partition {partition} no longer keeps positions after {watermark}: take a newer catalog copy");
    RpcError::new(RpcErrorKind::StaleWatermark, message)
}

#[async_trait]
impl IngesterClient for Ingester {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        let partition = self.partition(partition)?;
        check_signal(partition, &batch.bytes)?;
        let decoded = match batch.decoded {
            Some(decoded) => decoded,
            None => {
                let decoded = bonghwa_model::codec::decode(&batch.bytes);
                Arc::new(decoded.map_err(|e| RpcError::new(RpcErrorKind::Invalid, e.to_string()))?)
            }
        };
        partition.append(tenant, batch.bytes, decoded).await
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        let partition = self.partition(&request.partition)?;
        let described = partition.head.describe(&tenant(&request.tenant)?, request.watermark);
        described.ok_or_else(|| stale(&request.partition, request.watermark))
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        let partition = self.partition(&request.partition)?;
        let batches = partition.head.tail(&tenant(&request.tenant)?, request.watermark, request.through);
        let batches = batches.ok_or_else(|| stale(&request.partition, request.watermark))?;
        let signal = partition.signal;
        let invalid = |message: String| RpcError::new(RpcErrorKind::Invalid, message);
        let columns: Result<Vec<Column>, _> =
            request.columns.into_iter().map(|c| Column::from_proto(signal, c)).collect();
        let columns = columns.map_err(|e| invalid(e.to_string()))?;
        let (min, max) = (request.min_time, request.max_time);
        let services = request.services;
        let wanted = move |batch: &bonghwa_model::batch::Batch| {
            let in_time = batch.times().iter().any(|t| (min..=max).contains(t));
            let has = |name: &String| services.contains(name);
            in_time && (services.is_empty() || batch.common().resources.iter().any(|r| has(&r.service_name)))
        };
        let records = batches.into_iter().filter(move |b| wanted(b)).map(move |batch| {
            bonghwa_block::to_record_batch(&batch, &columns)
                .map_err(|e| RpcError::new(RpcErrorKind::Internal, e.to_string()))
        });
        Ok(stream::iter(records).boxed())
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        let mut blocks = Vec::new();
        let mut failed = None;
        for partition in self.partitions.values() {
            // In a task: a caller that goes away cuts no flush short.
            let flush = seam::spawn(flush_all(self.flusher.clone(), partition.clone())).join().await;
            match flush {
                Some(Ok(flushed)) => blocks.extend(flushed),
                Some(Err(error)) => failed = failed.or(Some(error.to_string())),
                None => failed = failed.or(Some(format!("the flush of partition {} panicked", partition.name))),
            }
        }
        failed.map_or(Ok(blocks), |message| Err(RpcError::new(RpcErrorKind::Unavailable, message)))
    }
}

/// Flushes what the partition holds now.
async fn flush_all(flusher: Arc<Flusher>, partition: Arc<Partition>) -> Result<Vec<String>, IngesterError> {
    let target = partition.head.applied();
    let mut blocks = Vec::new();
    while partition.head.watermark() < target {
        let Some(path) = flusher.flush(&partition).await? else { break };
        blocks.push(path);
    }
    Ok(blocks)
}
