//! The role: keeps the node's partitions as the catalog says, answers distributors and queriers.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_block::{BlockError, Column, SeriesRequest, WriteOptions};
use bonghwa_cluster::{ClusterView, seam};
use bonghwa_model::TenantId;
use bonghwa_model::prometheus_names::may_be_called;
use bonghwa_model::thin::Piece;
use bonghwa_protocol::{EncodedBatch, IngesterClient, MetaClient, RpcError, RpcErrorKind, v1};
use bonghwa_replog::Host;
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::flush::Flusher;
use crate::head::SeriesError;
use crate::hosting::{Hosting, keep};
use crate::memory::HeadMemory;
use crate::partition::{Partition, Shared, check_signal};
use crate::storage::BlockStore;
use crate::{IngesterError, IngesterOptions};

/// Samples in a row group of a flush: it takes some 100 bytes for each while it is made, more than the head did.
const FLUSH_SAMPLES: usize = 1 << 20;

/// The ingester of a node.
pub struct Ingester {
    hosting: Arc<Hosting>,
    options: Arc<IngesterOptions>,
    keeper: Mutex<Option<seam::Task>>,
}

impl Ingester {
    /// Opens every partition of which this node is a replica and replays their logs from the
    /// catalog's watermarks; from then on opens and drops partitions as the catalog has them.
    pub async fn open(
        node_id: u64,
        host: Arc<Host>,
        meta: Arc<dyn MetaClient>,
        view: Arc<ClusterView>,
        store: BlockStore,
        options: IngesterOptions,
    ) -> Result<Arc<Self>, IngesterError> {
        let options = Arc::new(options);
        let memory = Arc::new(HeadMemory::default());
        let flusher = Arc::new(Flusher {
            store,
            meta: meta.clone(),
            write: WriteOptions { row_group_samples: FLUSH_SAMPLES, ..Default::default() },
            encoding: Semaphore::new(1),
        });
        let shared = Shared { view, memory, options: options.clone() };
        let hosting = Arc::new(Hosting::new(node_id, host, meta, flusher, shared));
        hosting.open_all().await?;
        let keeper = seam::spawn(keep(Arc::downgrade(&hosting)));
        Ok(Arc::new(Ingester { hosting, options, keeper: Mutex::new(Some(keeper)) }))
    }

    /// Hands leadership over and closes the logs. What this node alone keeps is flushed before, as
    /// far as a bounded time allows; what is left is replayed by the next start.
    pub async fn shutdown(&self) {
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper {
            keeper.stop().await;
        }
        let alone = self.hosting.partitions().into_iter().filter(|p| self.hosting.is_alone(&p.name));
        let alone: Vec<Arc<Partition>> = alone.collect();
        match seam::timeout(self.options.shutdown_flush, self.flush_these(&alone)).await {
            Ok(Ok(blocks)) => tracing::info!(blocks = blocks.len(), "heads are flushed"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a head could not be flushed; its log keeps it for the next start")
            }
            Err(_) => tracing::warn!("flushing took too long; the logs keep the rest for the next start"),
        }
        self.hosting.close().await;
    }

    /// Resolves when a partition's log has failed for good: the process must end, a restart
    /// replays what is on the disk.
    pub async fn failed(&self) -> IngesterError {
        self.hosting.failed().await
    }

    /// The partitions that are open here, as this node sees them.
    pub fn partitions(&self) -> Vec<v1::PartitionStatus> {
        let status = |p: Arc<Partition>| v1::PartitionStatus {
            partition: p.name.clone(),
            position: p.head.applied(),
            watermark: p.head.watermark(),
            head_bytes: p.head.unflushed().0 as u64,
            leads: p.group.is_leader(),
            leader: p.group.leader().unwrap_or(0),
            log_bytes: p.group.status().log_bytes,
        };
        self.hosting.partitions().into_iter().map(status).collect()
    }

    fn partition(&self, name: &str) -> Result<Arc<Partition>, RpcError> {
        self.hosting.partition(name).ok_or_else(|| {
            let message = format!("partition {name:?} is not on this node: take a newer copy of the ring");
            RpcError::new(RpcErrorKind::NotFound, message)
        })
    }

    async fn flush_these(&self, partitions: &[Arc<Partition>]) -> Result<Vec<String>, RpcError> {
        let mut blocks = Vec::new();
        let mut failed = None;
        for partition in partitions.iter().filter(|p| p.is_leading()) {
            // In a task: a caller that goes away cuts no flush short.
            let flush = seam::spawn(flush_all(self.hosting.flusher().clone(), partition.clone())).join().await;
            match flush {
                Some(Ok(flushed)) => blocks.extend(flushed),
                // Another leads by now, and flushes.
                Some(Err(_)) if !partition.group.is_leader() => {}
                Some(Err(error)) => failed = failed.or(Some(error.to_string())),
                None => failed = failed.or(Some(format!("the flush of partition {} panicked", partition.name))),
            }
        }
        failed.map_or(Ok(blocks), |message| Err(RpcError::new(RpcErrorKind::Unavailable, message)))
    }
}

fn tenant(name: &str) -> Result<TenantId, RpcError> {
    TenantId::new(name).map_err(|e| RpcError::new(RpcErrorKind::Invalid, e.to_string()))
}

#[async_trait]
impl IngesterClient for Ingester {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        let partition = self.partition(partition)?;
        check_signal(&partition, &batch.bytes)?;
        let decoded = batch.batch().map_err(|e| RpcError::new(RpcErrorKind::Invalid, e.to_string()))?;
        partition.append(tenant, batch, decoded).await
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        let tenant = tenant(&request.tenant)?;
        self.partition(&request.partition)?.read(|head| head.describe(&tenant, request.watermark)).await
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        let partition = self.partition(&request.partition)?;
        let signal = partition.signal;
        let tenant = tenant(&request.tenant)?;
        let positions = (request.watermark, request.through);
        let invalid = |message: String| RpcError::new(RpcErrorKind::Invalid, message);
        let columns: Result<Vec<Column>, _> =
            request.columns.into_iter().map(|c| Column::from_proto(signal, c)).collect();
        let columns = columns.map_err(|e| invalid(e.to_string()))?;
        let time = (request.min_time, request.max_time);
        let services = request.services;
        if request.by_series || columns.iter().any(|column| matches!(column, Column::List(_))) {
            let (ids, rest) = request.series_ids.as_chunks::<16>();
            if !rest.is_empty() {
                return Err(invalid(format!(
                    "{} bytes of series_ids are no ids of 16 bytes",
                    request.series_ids.len()
                )));
            }
            let ids: Vec<[u64; 2]> =
                ids.iter().map(|id| u128::from_be_bytes(*id)).map(|id| [(id >> 64) as u64, id as u64]).collect();
            partition.read_through(positions.1, |head| head.tail(&tenant, positions.0, positions.0)).await?;
            let (head, names) = (partition.head.clone(), request.metric_names);
            let series = seam::blocking(move || {
                let may_be = |metric: &str| names.is_empty() || names.iter().any(|name| may_be_called(metric, name));
                let (columns, services, ids) = (&columns[..], &services[..], &ids[..]);
                head.series(&tenant, &SeriesRequest { positions, time, columns, names: &may_be, services, ids })
            });
            let series = series.await.ok_or_else(|| RpcError::internal("the node is stopping"))?;
            let series = series.map_err(|error| match error {
                SeriesError::Tail(error) => partition.unreadable(error),
                SeriesError::Block(error @ BlockError::Request(_)) => invalid(error.to_string()),
                SeriesError::Block(error) => RpcError::internal(error.to_string()),
            })?;
            return Ok(stream::iter(series.into_iter().map(Ok)).boxed());
        }
        let pieces = partition.read_through(positions.1, |head| head.tail(&tenant, positions.0, positions.1)).await?;
        let wanted = move |piece: &Piece| {
            let in_time = piece.times().any(|t| (time.0..=time.1).contains(&t));
            let mut resources = piece.batches().iter().flat_map(|batch| &batch.common().resources);
            in_time && (services.is_empty() || resources.any(|r| services.contains(&r.service_name)))
        };
        let records = pieces.into_iter().filter(move |piece| wanted(piece)).map(move |piece| {
            bonghwa_block::to_record_batch(&piece, &columns)
                .map_err(|e| RpcError::new(RpcErrorKind::Internal, e.to_string()))
        });
        Ok(stream::iter(records).boxed())
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        self.flush_these(&self.hosting.partitions()).await
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        Ok(self.partitions())
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
