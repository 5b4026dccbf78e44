//! A node's one database for all its logs: opening it, listing and dropping groups, figures.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rocksdb::{Options, WriteBatch, WriteOptions};

use crate::group_log::{GroupLog, StateKey};
use crate::rocks::{self, Db, STATE_FAMILY};
use crate::writer::{Progress, Request, Writer};
use crate::{Error, StoreOptions};

/// The logs of one node: one RocksDB, a column family per group, one writer thread.
///
/// Dropping it stops the writer after what it was given; groups that are still open fail then.
pub struct Store {
    path: PathBuf,
    core: Arc<StoreCore>,
    group_options: Options,
    open: Mutex<HashSet<String>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the groups share of the store.
pub(crate) struct StoreCore {
    pub db: Arc<Db>,
    pub progress: Arc<Progress>,
    pub tail_total: Arc<AtomicUsize>,
    pub tail_budget: usize,
    requests: Sender<Request>,
}

/// What the store has done since it was opened, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Syncs of the write-ahead log.
    pub syncs: u64,
    /// Append requests written; many share a sync.
    pub appends: u64,
    /// Entries written.
    pub entries: u64,
    /// Bytes of entries written.
    pub bytes: u64,
    /// Bytes of entries held in memory.
    pub tail_bytes: u64,
}

impl Store {
    /// Opens the store in a directory, which is made if it does not exist.
    pub fn open(path: impl AsRef<Path>, options: StoreOptions) -> Result<Arc<Self>, Error> {
        let path = path.as_ref().to_owned();
        let place = path.display().to_string();
        let (db, group_options) = rocks::open(&path, &options)?;
        let db = Arc::new(db);
        let progress = Arc::new(Progress::default());
        let (requests, queue) = mpsc::channel();
        let writer = Writer::new(db.clone(), progress.clone(), &options);
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|e| Error::storage(&place, e))?;
        let core =
            StoreCore { db, progress, tail_total: Arc::default(), tail_budget: options.tail_cache_bytes, requests };
        Ok(Arc::new(Self {
            path,
            core: Arc::new(core),
            group_options,
            open: Mutex::default(),
            writer: Mutex::new(Some(writer)),
        }))
    }

    /// The groups that are stored here, open or not, by name.
    pub fn group_names(&self) -> Result<Vec<String>, Error> {
        let mut names = Db::list_cf(&Options::default(), &self.path).map_err(|e| self.failed(e))?;
        names.retain(|name| name != STATE_FAMILY);
        names.sort();
        Ok(names)
    }

    /// Deletes a group with all its entries. It must not be open.
    pub fn drop_group(&self, name: &str) -> Result<(), Error> {
        let open = self.open.lock();
        if open.contains(name) {
            return Err(Error::AlreadyOpen { group: name.to_owned() });
        }
        if self.core.db.cf_handle(name).is_some() && name != STATE_FAMILY {
            self.core.db.drop_cf(name).map_err(|e| self.failed(e))?;
        }
        self.forget_state(name)
    }

    /// What was written since the store was opened.
    pub fn stats(&self) -> StoreStats {
        let progress = &self.core.progress;
        StoreStats {
            syncs: progress.syncs.load(Ordering::Relaxed),
            appends: progress.appends.load(Ordering::Relaxed),
            entries: progress.entries.load(Ordering::Relaxed),
            bytes: progress.bytes.load(Ordering::Relaxed),
            tail_bytes: self.core.tail_total.load(Ordering::Relaxed) as u64,
        }
    }

    /// Opens a group's log, and founds it if it is new. `keep_tail`: others will read what was
    /// just appended.
    pub(crate) fn open_log(&self, name: &str, keep_tail: bool) -> Result<Arc<GroupLog>, Error> {
        let mut open = self.open.lock();
        if open.contains(name) {
            return Err(Error::AlreadyOpen { group: name.to_owned() });
        }
        if self.core.db.cf_handle(name).is_none() {
            // A crash between the two steps of a drop leaves the state of the dropped group.
            self.forget_state(name)?;
            self.core.db.create_cf(name, &self.group_options).map_err(|e| self.failed(e))?;
        }
        let log = Arc::new(GroupLog::load(name, self.core.clone(), keep_tail)?);
        open.insert(name.to_owned());
        Ok(log)
    }

    pub(crate) fn close_log(&self, name: &str) {
        self.open.lock().remove(name);
    }

    fn forget_state(&self, name: &str) -> Result<(), Error> {
        let Some(family) = self.core.db.cf_handle(STATE_FAMILY) else { return Ok(()) };
        let mut batch = WriteBatch::default();
        StateKey::ALL.iter().for_each(|key| batch.delete_cf(&family, key.of(name)));
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.core.db.write_opt(batch, &options).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: rocksdb::Error) -> Error {
        Error::storage(&self.path.display().to_string(), error)
    }

    pub(crate) fn core(&self) -> &StoreCore {
        &self.core
    }
}

impl StoreCore {
    pub fn send(&self, request: Request) -> io::Result<()> {
        self.requests.send(request).map_err(|_| io::Error::other("the store is shut down"))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The thread is gone already where sending fails.
        let _ = self.core.send(Request::Stop);
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
    }
}
