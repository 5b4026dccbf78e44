//! One partition on this node: its log, its head, and the group commit before them.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{RpcError, RpcErrorKind};
use bonghwa_replog::{Group, Payload};
use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::head::{Head, Rows, Staged};
use crate::memory::{HeadMemory, Reservation};
use crate::{IngesterError, IngesterOptions, frame, metrics};

/// Writers that are told to come back are told to do so after this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);

struct Pending {
    tenant: TenantId,
    bytes: Bytes,
    decoded: Arc<Batch>,
    reserved: Reservation,
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
        });
        // The task ends when the partition, and with it the sender, is dropped.
        seam::spawn(commit_loop(Arc::downgrade(&partition), pending)).detach();
        partition
    }

    /// Appends a batch; returns its position once it is fsynced on a quorum and in the head.
    pub(crate) async fn append(&self, tenant: &TenantId, bytes: Bytes, decoded: Arc<Batch>) -> Result<u64, RpcError> {
        if self.memory.used() > self.options.head_bytes {
            self.head.release(None);
            self.flush_wanted.notify_one();
            if self.memory.used() > self.options.head_bytes {
                return Err(self.overloaded("the heads of this node are full and wait for the log or the object store"));
            }
        }
        let (rows, encoded) = (decoded.rows() as u64, bytes.len());
        let reserved = self.memory.reserve(decoded.heap_bytes() + encoded);
        let (done, answer) = oneshot::channel();
        let pending = Pending { tenant: tenant.clone(), bytes, decoded, reserved, done };
        if self.queue.try_send(pending).is_err() {
            return Err(self.overloaded("too many appends wait for this partition's log"));
        }
        metrics::QUEUE.with_label_values(&[&self.name]).set((self.options.queue - self.queue.capacity()) as i64);
        let position = answer.await.unwrap_or_else(|_| {
            Err(RpcError::new(RpcErrorKind::Unavailable, format!("partition {} is shutting down", self.name)))
        })?;
        metrics::APPENDED_ROWS.with_label_values(&[self.signal.as_str()]).inc_by(rows);
        metrics::APPENDED_BYTES.with_label_values(&[self.signal.as_str()]).inc_by(encoded as u64);
        if self.head.unflushed().0 >= self.options.flush_bytes {
            self.flush_wanted.notify_one();
        }
        Ok(position)
    }

    /// Resolves when the log has failed for good.
    pub(crate) async fn failed(&self) -> IngesterError {
        IngesterError::Log { partition: self.name.clone(), source: self.group.failed().await }
    }

    /// What one flush takes at most, about.
    pub(crate) fn flush_limit(&self) -> usize {
        self.options.flush_bytes.saturating_mul(2)
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
        let mut batches: Vec<Pending> = Vec::new();
        let (mut bytes, mut next) = (0, Some(first));
        while let Some(batch) = next {
            // A writer that went away was told nothing: what it sends again must not be there twice.
            if !batch.done.is_closed() {
                bytes += frame::size(&batch.tenant, &batch.bytes);
                batches.push(batch);
            }
            next = if bytes < options.entry_bytes { pending.try_recv().ok() } else { None };
        }
        if batches.is_empty() {
            continue;
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
    let bytes = frame::encode(batches.iter().map(|p| (&p.tenant, &p.bytes)));
    let (mut rows, mut reserved, mut waiting): (Vec<Rows>, Vec<Reservation>, Vec<_>) = Default::default();
    for pending in batches {
        rows.push((pending.tenant, pending.decoded));
        reserved.push(pending.reserved);
        waiting.push(pending.done);
    }
    let result = group.append(Payload { bytes, decoded: Some(Arc::new(Staged::new(rows, reserved))) }).await;
    for done in waiting {
        // A writer that went away does not wait for its answer.
        let _ = done.send(match &result {
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
        // A disk that failed takes the node down; whoever sends again finds it restarted.
        Error::Storage { .. } | Error::Corrupt { .. } | Error::Panicked { .. } => RpcErrorKind::Unavailable,
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
