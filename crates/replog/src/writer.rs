//! The one thread that writes: it drains the requests of all groups into one batch and one sync.
//!
//! Order is kept: requests are written in the order in which they were sent, so a group's append
//! after its truncation lands after it. A failed write is permanent: nothing after it is
//! acknowledged. The queue needs no bound of its own: a group has a bounded number of bytes under
//! way, and waits for them.

use std::collections::BTreeMap;
use std::io;
#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::Instant as _;
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use rocksdb::{WriteBatch, WriteOptions};
use tokio::sync::{Notify, oneshot};

use crate::StoreOptions;
use crate::codec::Write;
use crate::group_log::{GroupLog, StateKey};
use crate::raft_types::{Entry, LogId, TypeConfig};
use crate::record;
use crate::rocks::{Db, STATE_FAMILY};

/// openraft's clock, so that the thread has no other.
type Instant = openraft::type_config::alias::InstantOf<TypeConfig>;

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
    /// End the thread.
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

pub(crate) struct Writer {
    db: Arc<Db>,
    progress: Arc<Progress>,
    linger: Duration,
    max_bytes: usize,
    scratch: Vec<u8>,
    /// Trimmed positions by group whose files can go once the trim itself is durable.
    reclaimable: BTreeMap<Arc<str>, u64>,
}

impl Writer {
    pub fn new(db: Arc<Db>, progress: Arc<Progress>, options: &StoreOptions) -> Self {
        Self {
            db,
            progress,
            linger: options.linger,
            max_bytes: options.max_write_bytes,
            scratch: Vec::new(),
            reclaimable: BTreeMap::new(),
        }
    }

    /// Runs until it is told to stop or nobody can send any more.
    pub fn run(mut self, requests: Receiver<Request>) {
        let mut expected = 0;
        let mut last_end = TypeConfig::now();
        while let Ok(first) = requests.recv() {
            // Under load the next requests are on their way already: those whose appends the last
            // round just acknowledged. Wait for as many, but not long. A lone append never waits.
            let loaded = expected > 1 && last_end.elapsed() < self.linger;
            let deadline = loaded.then(|| TypeConfig::now() + self.linger);
            let (round, stop) = self.gather(&requests, first, expected, deadline);
            expected = round.iter().filter(|r| matches!(r, Request::Append { .. })).count();
            self.commit(round);
            last_end = TypeConfig::now();
            if stop {
                return;
            }
        }
    }

    fn gather(
        &self,
        requests: &Receiver<Request>,
        first: Request,
        expected: usize,
        deadline: Option<Instant>,
    ) -> (Vec<Request>, bool) {
        let mut round = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        loop {
            match next.take() {
                Some(Request::Stop) => return (round, true),
                Some(request) => {
                    bytes += request.len();
                    round.push(request);
                }
                None => {}
            }
            if bytes >= self.max_bytes {
                return (round, false);
            }
            next = match requests.try_recv() {
                Ok(request) => Some(request),
                Err(TryRecvError::Disconnected) => return (round, true),
                Err(TryRecvError::Empty) => {
                    let left = deadline.map(|at| at.saturating_duration_since(TypeConfig::now()));
                    match left {
                        Some(left) if !left.is_zero() && round.len() < expected => match requests.recv_timeout(left) {
                            Ok(request) => Some(request),
                            Err(RecvTimeoutError::Timeout) => return (round, false),
                            Err(RecvTimeoutError::Disconnected) => return (round, true),
                        },
                        _ => return (round, false),
                    }
                }
            };
        }
    }

    fn commit(&mut self, round: Vec<Request>) {
        let result = self.write(&round);
        if let Err(message) = &result {
            tracing::error!(%message, "the log cannot be written; no more appends are taken");
            // Only the first failure is told; the later ones follow from it.
            let _ = self.progress.failure.set(message.clone());
            self.progress.failed.notify_waiters();
        }
        for request in round {
            request.complete(&result);
        }
    }

    fn write(&mut self, round: &[Request]) -> Result<(), String> {
        if let Some(message) = self.progress.failure.get() {
            return Err(message.clone());
        }
        #[cfg(test)]
        if self.progress.break_disk.load(Ordering::Relaxed) {
            return Err("the disk is broken by a test".to_owned());
        }
        let mut batch = WriteBatch::default();
        let mut sync = false;
        for request in round {
            sync |= matches!(request, Request::Append { .. } | Request::Put { .. });
            self.add(request, &mut batch)?;
        }
        if batch.is_empty() {
            return Ok(());
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|e| e.to_string())?;
        if sync {
            self.progress.syncs.fetch_add(1, Ordering::Relaxed);
            self.reclaim();
        }
        Ok(())
    }

    fn add(&mut self, request: &Request, batch: &mut WriteBatch) -> Result<(), String> {
        let Some(log) = request.log() else { return Ok(()) };
        let Some(state) = self.db.cf_handle(STATE_FAMILY) else {
            return Err("the column family of states is gone".to_owned());
        };
        let Some(family) = self.db.cf_handle(&log.name) else {
            // Dropped while the request was on its way: there is nothing left to write to.
            return Ok(());
        };
        match request {
            Request::Append { entries, .. } => {
                for entry in entries {
                    self.scratch.clear();
                    record::encode(entry, &mut self.scratch);
                    batch.put_cf(&family, entry.log_id.index.to_be_bytes(), &self.scratch);
                    self.progress.bytes.fetch_add(self.scratch.len() as u64, Ordering::Relaxed);
                }
                self.progress.appends.fetch_add(1, Ordering::Relaxed);
                self.progress.entries.fetch_add(entries.len() as u64, Ordering::Relaxed);
                // What was committed so far rides along; it is only a hint for the next start.
                if let Some(committed) = log.take_unsaved_committed() {
                    let mut value = Vec::new();
                    value.put_log_id(&committed);
                    batch.put_cf(&state, log.state_key(StateKey::Committed), value);
                }
            }
            Request::Truncate { from, to, .. } => {
                batch.delete_range_cf(&family, from.to_be_bytes(), to.to_be_bytes());
            }
            Request::Purge { from, upto, .. } => {
                batch.delete_range_cf(&family, from.to_be_bytes(), (upto.index + 1).to_be_bytes());
                let mut value = Vec::new();
                value.put_log_id(upto);
                batch.put_cf(&state, log.state_key(StateKey::Purged), value);
                self.reclaimable.insert(log.name.clone(), upto.index);
            }
            Request::Put { key, value, .. } => {
                batch.put_cf(&state, log.state_key(*key), value);
            }
            Request::Stop => {}
        }
        // A large entry should not keep its memory for good.
        if self.scratch.capacity() > 4 << 20 {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// Drops whole files below trim points. Deleting files is durable at once, so it must follow
    /// the sync of the trim points, or a crash could leave a log that starts with a hole.
    fn reclaim(&mut self) {
        for (name, upto) in std::mem::take(&mut self.reclaimable) {
            let Some(family) = self.db.cf_handle(&name) else { continue };
            if let Err(error) = self.db.delete_file_in_range_cf(&family, 0u64.to_be_bytes(), upto.to_be_bytes()) {
                tracing::warn!(group = %name, %error, "cannot drop files of trimmed entries");
            }
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

    fn len(&self) -> usize {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;
    use crate::{
        BoxError, Error, GroupOptions, Host, HostOptions, LocalTransport, Payload, Snapshot, StateMachine, Store,
    };

    struct Forgetful;

    impl StateMachine for Forgetful {
        fn apply(&self, _position: u64, _payload: &Payload) -> Bytes {
            Bytes::new()
        }

        fn snapshot(&self) -> Result<Snapshot, BoxError> {
            Err("nothing to keep".into())
        }

        fn restore(&self, _position: u64, _data: Bytes) -> Result<(), BoxError> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broken_disk_is_permanent_and_acknowledges_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), StoreOptions::default()).unwrap();
        let host = Host::new(1, store.clone(), LocalTransport::alone(), HostOptions::default());
        let mut groups = Vec::new();
        for name in ["logs-0", "logs-1"] {
            let options =
                GroupOptions { name: name.to_owned(), members: BTreeMap::from([(1, String::new())]), bootstrap: true };
            let group = host.open_group(options, Arc::new(Forgetful)).await.unwrap();
            group.append(Payload::new("fine")).await.unwrap();
            groups.push(group);
        }
        store.core().progress.break_disk.store(true, Ordering::Relaxed);
        for group in &groups {
            let error = group.append(Payload::new("lost")).await.unwrap_err();
            assert!(matches!(error, Error::Storage { .. }) && !error.is_retryable(), "{error}");
        }
        // A disk that comes back does not bring the log back: what it missed is unknown.
        store.core().progress.break_disk.store(false, Ordering::Relaxed);
        for group in &groups {
            let error = group.append(Payload::new("lost")).await.unwrap_err();
            assert!(matches!(error, Error::Storage { .. }), "{error}");
            assert!(group.status().failure.is_some() && !group.is_leader());
            assert!(matches!(group.failed().await, Error::Storage { .. }));
        }
    }
}
