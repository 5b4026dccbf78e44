//! The one thread that writes RocksDB: it drains the requests of all groups into one batch and one
//! sync.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use openraft::Instant as _;
use openraft::type_config::TypeConfigExt;
use rocksdb::{BoundColumnFamily, WriteBatch, WriteOptions};

use crate::StoreOptions;
use crate::disk::Batch;
use crate::raft_types::{Entry, TypeConfig};
use crate::record;
use crate::request::{Progress, Request};
use crate::rocks::{Db, STATE_FAMILY};

/// openraft's clock, so that the thread has no other.
type Instant = openraft::type_config::alias::InstantOf<TypeConfig>;

pub(crate) struct RocksWriter {
    db: Arc<Db>,
    progress: Arc<Progress>,
    linger: Duration,
    max_bytes: usize,
    scratch: Vec<u8>,
    /// Trimmed positions by group whose files can go once the trim itself is durable.
    reclaimable: BTreeMap<Arc<str>, u64>,
}

impl RocksWriter {
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
        self.progress.conclude(round, &result);
    }

    fn write(&mut self, round: &[Request]) -> Result<(), String> {
        let (batch, sync) = self.batch(round)?;
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

    /// The changes of a round, and whether they must be synced.
    fn batch(&mut self, round: &[Request]) -> Result<(WriteBatch, bool), String> {
        let Some(states) = self.db.cf_handle(STATE_FAMILY) else {
            return Err("the column family of states is gone".to_owned());
        };
        let mut changes = Changes {
            db: &self.db,
            states,
            // In one piece: a batch that grows is copied each time.
            batch: WriteBatch::with_capacity_bytes(round.iter().map(Request::len).sum::<usize>() + 4096),
            scratch: &mut self.scratch,
            reclaimable: &mut self.reclaimable,
        };
        let sync = self.progress.fill(round, &mut changes)?;
        Ok((changes.batch, sync))
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

/// One write to RocksDB.
struct Changes<'a> {
    db: &'a Db,
    states: Arc<BoundColumnFamily<'a>>,
    batch: WriteBatch,
    scratch: &'a mut Vec<u8>,
    reclaimable: &'a mut BTreeMap<Arc<str>, u64>,
}

impl Changes<'_> {
    /// The first position that no table has. `None` while a table is being written, or where
    /// RocksDB does not say.
    fn first_outside_tables(&self, family: &str) -> Option<u64> {
        let handle = self.db.cf_handle(family)?;
        let frozen = self.db.property_int_value_cf(&handle, rocksdb::properties::NUM_IMMUTABLE_MEM_TABLE).ok()??;
        if frozen > 0 {
            return None;
        }
        let files = self.db.live_files().ok()?;
        let last_keys = files.iter().filter(|f| f.column_family_name == family).filter_map(|f| f.end_key.as_deref());
        let last = last_keys.filter_map(|key| Some(u64::from_be_bytes(key.try_into().ok()?))).max();
        Some(last.map_or(0, |last| last + 1))
    }
}

impl Batch for Changes<'_> {
    fn has_family(&self, family: &str) -> bool {
        self.db.cf_handle(family).is_some()
    }

    fn put_entries(&mut self, family: &str, entries: &[Entry]) -> u64 {
        let Some(family) = self.db.cf_handle(family) else { return 0 };
        let mut bytes = 0;
        for entry in entries {
            let record = match record::received(entry) {
                Some(record) => &**record,
                None => {
                    self.scratch.clear();
                    record::encode(entry, self.scratch);
                    &*self.scratch
                }
            };
            self.batch.put_cf(&family, entry.log_id.index.to_be_bytes(), record);
            bytes += record.len() as u64;
        }
        // A large entry should not keep its memory for good.
        if self.scratch.capacity() > 4 << 20 {
            *self.scratch = Vec::new();
        }
        bytes
    }

    fn delete_entries(&mut self, family: &str, start: u64, end: u64) {
        let Some(family) = self.db.cf_handle(family) else { return };
        self.batch.delete_range_cf(&family, start.to_be_bytes(), end.to_be_bytes());
    }

    /// Entries that are not in a table yet are deleted, so that they never will be. A deletion of
    /// those that are would make the next table overlap theirs, and compaction copy both: their
    /// tables are dropped whole instead, once all their entries are trimmed.
    fn trim(&mut self, family: &Arc<str>, from: u64, upto: u64) {
        self.reclaimable.insert(family.clone(), upto);
        if let Some(start) = self.first_outside_tables(family) {
            let start = start.max(from);
            if start <= upto {
                self.delete_entries(family, start, upto + 1);
            }
        }
    }

    fn put_state(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.batch.put_cf(&self.states, key, value);
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
            let options = GroupOptions {
                name: name.to_owned(),
                members: BTreeMap::from([(1, String::new())]),
                bootstrap: true,
                prompt_commits: false,
            };
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
