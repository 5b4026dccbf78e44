//! One partition on this node: its log, its head, and the group commit before them.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::{ClusterView, seam};
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{BatchId, EncodedBatch, RpcError, RpcErrorKind};
use bonghwa_replog::{Group, Payload};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::head::{Head, Mode, Rows, Staged, TailError, positions};
use crate::memory::{HeadMemory, Reservation};
use crate::{IngesterError, IngesterOptions, frame, metrics};

/// Writers that are told to come back are told to do so after this long.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A partition may hold this part of what all heads may, so that a flood of one signal leaves room to others.
const PARTITION_SHARE: usize = 2;
/// Flushed entries have their grace while heads hold less than this part of what they may.
const ROOMY: usize = 4;

struct Pending {
    id: Option<BatchId>,
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
    /// Told when the head of a new leader is loaded, and when it is let go.
    pub loaded: watch::Sender<bool>,
    /// Held by a flush: a second one of the same range would be refused by the catalog.
    pub flushing: tokio::sync::Mutex<()>,
    view: Arc<ClusterView>,
    memory: Arc<HeadMemory>,
    options: Arc<IngesterOptions>,
    queue: mpsc::Sender<Pending>,
}

/// What the partitions of a node share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub view: Arc<ClusterView>,
    pub memory: Arc<HeadMemory>,
    pub options: Arc<IngesterOptions>,
}

impl Partition {
    pub(crate) fn start(
        name: String,
        signal: Signal,
        head: Arc<Head>,
        group: Arc<Group>,
        Shared { view, memory, options }: Shared,
    ) -> Arc<Self> {
        let (queue, pending) = mpsc::channel(options.queue);
        let partition = Arc::new(Partition {
            name,
            signal,
            head,
            group,
            flush_wanted: Arc::default(),
            loaded: watch::Sender::new(false),
            flushing: tokio::sync::Mutex::default(),
            view,
            memory,
            options,
            queue,
        });
        // The task ends when the partition, and with it the sender, is dropped.
        seam::spawn(commit_loop(Arc::downgrade(&partition), pending)).detach();
        partition
    }

    /// Appends a batch; returns its position once it is fsynced on a quorum and applied here.
    pub(crate) async fn append(
        &self,
        tenant: &TenantId,
        batch: EncodedBatch,
        decoded: Arc<Batch>,
    ) -> Result<u64, RpcError> {
        let EncodedBatch { bytes, id, .. } = batch;
        if let Some(leader) = self.group.leader().filter(|_| !self.group.is_leader()) {
            return Err(not_leader(&self.view, &self.name, Some(leader)));
        }
        if self.memory.used() > self.options.head_bytes {
            self.head.release(None);
            self.flush_wanted.notify_one();
            if self.memory.used() > self.options.head_bytes {
                return Err(self.overloaded("the heads of this node are full and wait for the log or the object store"));
            }
        }
        if self.head.unflushed().0 > self.options.head_bytes / PARTITION_SHARE {
            self.flush_wanted.notify_one();
            return Err(self.overloaded("its head is full and waits for the log or the object store"));
        }
        let (rows, encoded) = (decoded.rows() as u64, bytes.len());
        let reserved = self.memory.reserve(decoded.heap_bytes() + encoded);
        let (done, answer) = oneshot::channel();
        let pending = Pending { id, tenant: tenant.clone(), bytes, decoded, reserved, done };
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

    /// Resolves when the log has failed for good. Does not keep the partition.
    pub(crate) fn failure(&self) -> impl Future<Output = IngesterError> + use<> {
        let (partition, group) = (self.name.clone(), self.group.clone());
        async move { IngesterError::Log { partition, source: group.failed().await } }
    }

    /// Reads the head once it holds everything that was acked before the call: this node leads,
    /// as a quorum confirms, and has loaded its log.
    pub(crate) async fn read<T>(&self, read: impl Fn(&Head) -> Result<T, TailError>) -> Result<T, RpcError> {
        self.group.confirm_leader().await.map_err(|error| to_rpc(&self.view, &self.name, &error))?;
        self.read_applied(read).await
    }

    /// Reads the head up to a position that a query has been told of already. It was told by a leader
    /// that had applied it; this one may lead since a moment ago, and have yet to.
    pub(crate) async fn read_through<T>(
        &self,
        through: u64,
        read: impl Fn(&Head) -> Result<T, TailError>,
    ) -> Result<T, RpcError> {
        let applied = self.group.wait_applied(through, self.options.load_patience).await;
        applied.map_err(|error| to_rpc(&self.view, &self.name, &error))?;
        self.read_applied(read).await
    }

    /// Reads the head once it is loaded.
    async fn read_applied<T>(&self, read: impl Fn(&Head) -> Result<T, TailError>) -> Result<T, RpcError> {
        let mut loaded = self.loaded.subscribe();
        let reading = async {
            loop {
                loaded.borrow_and_update();
                match read(&self.head) {
                    Ok(found) => return Ok(found),
                    Err(error @ TailError::Stale) => return Err(self.unreadable(error)),
                    Err(error @ TailError::NotLoaded) if !self.group.is_leader() => return Err(self.unreadable(error)),
                    // The sender lives in `self`.
                    Err(TailError::NotLoaded) => _ = loaded.changed().await,
                }
            }
        };
        match seam::timeout(self.options.load_patience, reading).await {
            Ok(read) => read,
            Err(_) => Err(RpcError::new(
                RpcErrorKind::Unavailable,
                format!("partition {}: its new leader still reads its log", self.name),
            )),
        }
    }

    /// What a caller is told whom the head cannot answer.
    pub(crate) fn unreadable(&self, error: TailError) -> RpcError {
        match error {
            TailError::Stale => {
                let name = &self.name;
                let message = format!("partition {name} no longer keeps what this catalog asks for: take a newer one");
                RpcError::new(RpcErrorKind::StaleWatermark, message)
            }
            TailError::NotLoaded => not_leader(&self.view, &self.name, self.group.leader()),
        }
    }

    /// Whether the head is this node's to flush.
    pub(crate) fn is_leading(&self) -> bool {
        self.head.mode() != Mode::Following
    }

    /// Writes into the log that the partition takes no more batches.
    pub(crate) async fn seal(&self) -> Result<(), bonghwa_replog::Error> {
        self.group.append(Payload::new(frame::seal())).await.map(drop)
    }

    /// What one flush takes at most, about.
    pub(crate) fn flush_limit(&self) -> usize {
        self.options.flush_bytes
    }

    /// Lets flushed entries go whose grace is over, or all of them where the node's heads are not
    /// nearly empty: queries that still want them begin again with a newer catalog copy.
    pub(crate) fn release_flushed(&self) {
        let roomy = self.memory.used() <= self.options.head_bytes / ROOMY;
        self.head.release(if roomy { seam::now().checked_sub(self.options.grace) } else { None });
    }

    fn overloaded(&self, why: &str) -> RpcError {
        metrics::OVERLOADED.inc();
        RpcError::new(
            RpcErrorKind::Overloaded { retry_after: Some(RETRY_AFTER) },
            format!("partition {}: {why}", self.name),
        )
    }
}

/// Takes what waits, makes one log entry of it, and gathers the next entry while it is on its way:
/// an entry costs every replica a message and a sync, whatever its size.
async fn commit_loop(partition: std::sync::Weak<Partition>, mut pending: mpsc::Receiver<Pending>) {
    let upgraded = partition.upgrade().map(|p| (p.view.clone(), p.name.clone(), p.group.clone(), p.options.clone()));
    let Some((view, name, group, options)) = upgraded else { return };
    drop(partition);
    while let Some(first) = pending.recv().await {
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
        if !batches.is_empty() {
            commit(&view, &name, &group, batches).await;
        }
    }
}

async fn commit(view: &ClusterView, partition: &str, group: &Group, batches: Vec<Pending>) {
    let bytes = frame::encode(batches.iter().map(|p| (p.id, &p.tenant, &p.bytes)));
    let (mut rows, mut reserved, mut waiting): (Vec<Rows>, Vec<Reservation>, Vec<_>) = Default::default();
    let names = batches.iter().map(|p| p.id).collect();
    for pending in batches {
        rows.push((pending.tenant, pending.decoded));
        reserved.push(pending.reserved);
        waiting.push(pending.done);
    }
    let staged = Arc::new(Staged::new(names, rows, reserved));
    let result = group.append(Payload::with_decoded(bytes, staged)).await;
    let mut answers = result.as_ref().map(|appended| positions(&appended.response));
    for done in waiting {
        let answer = match &mut answers {
            Ok(positions) => match positions.next() {
                Some(0) => Err(sealed(partition)),
                Some(position) => Ok(position),
                None => Err(RpcError::internal(format!("partition {partition}: the log answered for too few batches"))),
            },
            Err(error) => Err(to_rpc(view, partition, error)),
        };
        // A writer that went away does not wait for its answer.
        let _ = done.send(answer);
    }
}

fn sealed(partition: &str) -> RpcError {
    let message = format!("partition {partition} is sealed and does not have this batch: take a newer ring");
    RpcError::new(RpcErrorKind::Sealed, message)
}

/// Names the leader by the address that the catalog has: the log may know an old one.
fn not_leader(view: &ClusterView, partition: &str, leader: Option<u64>) -> RpcError {
    let leader = leader.and_then(|id| view.current().node(id).map(|node| node.address.clone()));
    RpcError::new(RpcErrorKind::NotLeader { leader }, format!("partition {partition} is not led by this node"))
}

/// A log's error as the caller of an ingester sees it.
fn to_rpc(view: &ClusterView, partition: &str, error: &bonghwa_replog::Error) -> RpcError {
    use bonghwa_replog::Error;
    let kind = match error {
        Error::NotLeader { leader, .. } => return not_leader(view, partition, leader.as_ref().map(|(id, _)| *id)),
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
