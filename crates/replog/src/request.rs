//! What groups ask of a store's writer, how a round of requests becomes one batch, and how the
//! groups are told. The writers differ in how they wait and sync; this is what they share.
//!
//! Order is kept: requests are written in the order in which they were sent, so a group's append
//! after its truncation lands after it. A failed write is permanent: nothing after it is
//! acknowledged. The queue needs no bound of its own: a group has a bounded number of bytes under
//! way, and waits for them.

use std::io;
#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use openraft::storage::IOFlushed;
use tokio::sync::{Notify, oneshot};

use crate::codec::Write;
use crate::disk::Batch;
use crate::group_log::{GroupLog, StateKey};
use crate::raft_types::{Entry, LogId, TypeConfig};
use crate::record;

/// What a group asks of the writer.
pub(crate) enum Request {
    /// Write entries; `done` is told once they are synced.
    Append {
        log: Arc<GroupLog>,
        /// The log's count of truncations when the entries were appended.
        epoch: u64,
        entries: Vec<Entry>,
        done: IOFlushed<TypeConfig>,
    },
    /// Delete entries in `from..to`, which were never acknowledged.
    Truncate { log: Arc<GroupLog>, from: u64, to: u64 },
    /// Delete entries in `from..=upto`, which a durable snapshot covers.
    Purge { log: Arc<GroupLog>, from: u64, upto: LogId },
    /// Write a piece of state and sync.
    Put { log: Arc<GroupLog>, key: StateKey, value: Vec<u8>, done: oneshot::Sender<io::Result<()>> },
    /// End the writer.
    Stop,
}

/// What the writer counts and what it failed with.
#[derive(Default)]
pub(crate) struct Progress {
    pub syncs: AtomicU64,
    pub appends: AtomicU64,
    pub entries: AtomicU64,
    pub bytes: AtomicU64,
    pub failure: OnceLock<String>,
    /// Told when there is a failure.
    pub failed: Notify,
    /// Writes fail from now on, as on a broken disk.
    #[cfg(test)]
    pub break_disk: AtomicBool,
}

impl Progress {
    /// Adds a round to a batch. True: the batch must be synced before the groups are told.
    pub fn fill(&self, round: &[Request], batch: &mut impl Batch) -> Result<bool, String> {
        if let Some(message) = self.failure.get() {
            return Err(message.clone());
        }
        #[cfg(test)]
        if self.break_disk.load(Ordering::Relaxed) {
            return Err("the disk is broken by a test".to_owned());
        }
        for request in round {
            self.add(request, batch);
        }
        Ok(round.iter().any(|r| matches!(r, Request::Append { .. } | Request::Put { .. })))
    }

    fn add(&self, request: &Request, batch: &mut impl Batch) {
        // Without its family, the group was dropped while the request was on its way: there is
        // nothing left to write to.
        let Some(log) = request.log().filter(|log| batch.has_family(&log.name)) else { return };
        match request {
            Request::Append { entries, .. } => {
                let bytes = batch.put_entries(&log.name, entries);
                self.bytes.fetch_add(bytes, Ordering::Relaxed);
                self.appends.fetch_add(1, Ordering::Relaxed);
                self.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
                // What was committed so far rides along; it is only a hint for the next start.
                if let Some(committed) = log.take_unsaved_committed() {
                    batch.put_committed(&log.name, &committed);
                }
            }
            Request::Truncate { from, to, .. } => batch.delete_entries(&log.name, *from, *to),
            Request::Purge { from, upto, .. } => {
                batch.trim(&log.name, *from, upto.index);
                let mut value = Vec::new();
                value.put_log_id(upto);
                batch.put_state(log.state_key(StateKey::Purged), value);
            }
            Request::Put { key, value, .. } => batch.put_state(log.state_key(*key), value.clone()),
            Request::Stop => {}
        }
    }

    /// Tells the groups how their round went.
    pub fn conclude(&self, round: Vec<Request>, result: &Result<(), String>) {
        if let Err(message) = result {
            tracing::error!(%message, "the log cannot be written; no more appends are taken");
            // Only the first failure is told; the later ones follow from it.
            let _ = self.failure.set(message.clone());
            self.failed.notify_waiters();
        }
        for request in round {
            request.complete(result);
        }
    }
}

impl Request {
    fn log(&self) -> Option<&Arc<GroupLog>> {
        match self {
            Self::Append { log, .. } | Self::Truncate { log, .. } | Self::Purge { log, .. } | Self::Put { log, .. } => {
                Some(log)
            }
            Self::Stop => None,
        }
    }

    /// Bytes that it writes, about.
    pub fn len(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.iter().map(record::stored_len).sum(),
            Self::Put { value, .. } => value.len(),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Stop => 0,
        }
    }

    /// Tells the group. Rounds complete in order, as openraft's flush watermark asks.
    fn complete(self, result: &Result<(), String>) {
        let result = result.as_ref().map(|_| ()).map_err(|e| io::Error::other(e.clone()));
        match self {
            Self::Append { log, epoch, entries, done } => {
                if let (Ok(()), Some(last)) = (&result, entries.last()) {
                    log.flushed(epoch, last.log_id.index);
                }
                done.io_completed(result);
            }
            // The waiter may be gone with its runtime; what was written stays written.
            Self::Put { done, .. } => drop(done.send(result)),
            Self::Truncate { .. } | Self::Purge { .. } | Self::Stop => {}
        }
    }
}
