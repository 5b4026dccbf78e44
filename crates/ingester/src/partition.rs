//! One partition on this node: its log, its head, and the group commit before them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{EncodedBatch, RpcError, RpcErrorKind};
use bonghwa_replog::{Group, Payload};
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::head::{Decoded, Head, HeadMemory};
use crate::{IngesterOptions, frame, metrics};

/// Writers that are told to come back are told to do so after this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct Pending {
    tenant: TenantId,
    batch: EncodedBatch,
    done: oneshot::Sender<Result<u64, RpcError>>,
}

pub(crate) struct Partition {
    pub name: String,
    pub signal: Signal,
    pub head: Arc<Head>,
    pub group: Arc<Group>,
    /// Told whenever the head grew past its flush size.
    pub flush_wanted: Arc<Notify>,
    /// Held by a flush: a second one of the same range would be refused by the catalog.
    pub flushing: tokio::sync::Mutex<()>,
    memory: Arc<HeadMemory>,
    options: Arc<IngesterOptions>,
    queue: mpsc::Sender<Pending>,
    /// Encoded bytes in the queue and in the log's hands, not yet in the head.
    underway: Arc<AtomicUsize>,
}

impl Partition {
    pub(crate) fn start(
        name: String,
        signal: Signal,
        head: Arc<Head>,
        group: Arc<Group>,
        memory: Arc<HeadMemory>,
        options: Arc<IngesterOptions>,
    ) -> Arc<Self> {
        let (queue, pending) = mpsc::channel(options.queue);
        let partition = Arc::new(Partition {
            name,
            signal,
            head,
            group,
            flush_wanted: Arc::default(),
            flushing: tokio::sync::Mutex::default(),
            memory,
            options,
            queue,
            underway: Arc::default(),
        });
        // The task ends when the partition, and with it the sender, is dropped.
        seam::spawn(commit_loop(Arc::downgrade(&partition), pending)).detach();
        partition
    }

    /// Appends a batch; returns its position once it is fsynced on a quorum and in the head.
    pub(crate) async fn append(&self, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        let bytes = batch.bytes.len();
        // Encoded bytes unpack to several times their size in the head.
        let expected = self.memory.used() + 4 * self.underway.load(Ordering::Relaxed);
        if expected > self.options.head_bytes {
            self.head.release(None);
            self.flush_wanted.notify_one();
            if self.memory.used() > self.options.head_bytes {
                return Err(self.overloaded("the heads of this node are full and wait for the object store"));
            }
        }
        let rows = batch.decoded.as_ref().map_or(0, |b| b.rows() as u64);
        let (done, answer) = oneshot::channel();
        let pending = Pending { tenant: tenant.clone(), batch, done };
        if self.queue.try_send(pending).is_err() {
            return Err(self.overloaded("too many appends wait for this partition's log"));
        }
        self.underway.fetch_add(bytes, Ordering::Relaxed);
        metrics::QUEUE.with_label_values(&[&self.name]).set((self.options.queue - self.queue.capacity()) as i64);
        let result = answer.await;
        self.underway.fetch_sub(bytes, Ordering::Relaxed);
        let position = result.unwrap_or_else(|_| {
            Err(RpcError::new(RpcErrorKind::Unavailable, format!("partition {} is shutting down", self.name)))
        })?;
        metrics::APPENDED_ROWS.with_label_values(&[self.signal.as_str()]).inc_by(rows);
        metrics::APPENDED_BYTES.with_label_values(&[self.signal.as_str()]).inc_by(bytes as u64);
        if self.head.unflushed().0 >= self.options.flush_bytes {
            self.flush_wanted.notify_one();
        }
        Ok(position)
    }

    fn overloaded(&self, why: &str) -> RpcError {
        metrics::OVERLOADED.inc();
        RpcError::new(
            RpcErrorKind::Overloaded { retry_after: Some(RETRY_AFTER) },
            format!("partition {}: {why}", self.name),
        )
    }
}

/// Takes what waits, makes one log entry of it, and keeps a few entries on their way.
async fn commit_loop(partition: std::sync::Weak<Partition>, mut pending: mpsc::Receiver<Pending>) {
    let Some((group, options)) = partition.upgrade().map(|p| (p.group.clone(), p.options.clone())) else { return };
    drop(partition);
    let inflight = Arc::new(Semaphore::new(options.inflight));
    while let Some(first) = pending.recv().await {
        // The semaphore is never closed. While all permits are out, the queue gathers the next entry.
        let Ok(permit) = inflight.clone().acquire_owned().await else { return };
        let mut bytes = frame::size(&first.tenant, &first.batch.bytes);
        let mut batches = vec![first];
        while bytes < options.entry_bytes {
            let Ok(next) = pending.try_recv() else { break };
            bytes += frame::size(&next.tenant, &next.batch.bytes);
            batches.push(next);
        }
        let group = group.clone();
        seam::spawn(async move {
            commit(&group, batches).await;
            drop(permit);
        })
        .detach();
    }
}

async fn commit(group: &Group, batches: Vec<Pending>) {
    let bytes = frame::encode(batches.iter().map(|p| (&p.tenant, &p.batch.bytes)));
    let decoded: Option<Decoded> = batches.iter().map(|p| Some((p.tenant.clone(), p.batch.decoded.clone()?))).collect();
    let decoded = decoded.map(|d| Arc::new(d) as Arc<dyn std::any::Any + Send + Sync>);
    let result = group.append(Payload { bytes, decoded }).await;
    for pending in batches {
        // A writer that went away does not wait for its answer.
        let _ = pending.done.send(match &result {
            Ok(appended) => Ok(appended.position),
            Err(error) => Err(to_rpc(error)),
        });
    }
}

/// A log's error as the caller of an ingester sees it.
pub(crate) fn to_rpc(error: &bonghwa_replog::Error) -> RpcError {
    use bonghwa_replog::Error;
    let kind = match error {
        Error::NotLeader { leader, .. } => {
            RpcErrorKind::NotLeader { leader: leader.as_ref().map(|(_, address)| address.clone()) }
        }
        Error::Timeout { .. } => RpcErrorKind::Timeout,
        error if error.is_retryable() => RpcErrorKind::Unavailable,
        _ => RpcErrorKind::Internal,
    };
    RpcError::new(kind, error.to_string())
}

/// The answer for a batch whose bytes are no batch of the partition's signal.
pub(crate) fn check_signal(partition: &Partition, batch: &Bytes) -> Result<(), RpcError> {
    match bonghwa_model::codec::peek(batch) {
        Some((signal, _)) if signal == partition.signal => Ok(()),
        found => {
            let found = found.map_or("something unreadable", |(signal, _)| signal.as_str());
            let message = format!("batch holds {found}, partition {} takes {}", partition.name, partition.signal);
            Err(RpcError::new(RpcErrorKind::Invalid, message))
        }
    }
}
