//! A node's one place for all its logs: opening it, listing and dropping groups, figures.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use bonghwa_seam as seam;
use parking_lot::Mutex;

use crate::disk::{Disk, DiskError};
use crate::group_log::{GroupLog, StateKey};
use crate::memory_disk::MemoryDisk;
use crate::memory_writer::MemoryWriter;
use crate::migrate::migrate;
use crate::request::{Progress, Request};
use crate::segments::{SegmentDisk, Writer};
use crate::{Error, StoreOptions, states};

/// The logs of one node: segments that its groups share, one writer thread.
///
/// Dropping it stops the writer after what it was given; groups that are still open fail then.
pub struct Store {
    /// Where it is, for errors.
    place: String,
    core: Arc<StoreCore>,
    open: Mutex<HashSet<String>>,
    /// The thread that writes segments; a simulated disk is written by a task that ends by itself.
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// What the groups share of the store.
pub(crate) struct StoreCore {
    pub disk: Arc<dyn Disk>,
    pub progress: Arc<Progress>,
    pub tail_total: Arc<AtomicUsize>,
    pub tail_budget: usize,
    /// Gives a request to the writer; false if the writer has ended.
    requests: Box<dyn Fn(Request) -> bool + Send + Sync>,
}

/// What the store has done since it was opened, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Writes that were synced.
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
        let (disk, segments) = SegmentDisk::open(&path, Arc::new(states::open(&path)?), &options)?;
        let progress = Arc::new(Progress::default());
        let mut writer = Writer::new(&disk, segments, progress.clone(), &options);
        migrate(&path, &disk, &mut writer)?;
        let (requests, queue) = mpsc::channel();
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|e| Error::storage(&place, e))?;
        let send = Box::new(move |request| requests.send(request).is_ok());
        Ok(Self::on(place, Arc::new(disk), progress, &options, send, Some(writer)))
    }

    /// Opens the store on a simulated disk, with a writer that is a task of the current Tokio
    /// runtime.
    pub fn memory(disk: &Arc<MemoryDisk>, options: StoreOptions) -> Arc<Self> {
        let disk = disk.attach();
        let progress = Arc::new(Progress::default());
        let (requests, queue) = tokio::sync::mpsc::unbounded_channel();
        seam::spawn(MemoryWriter::new(disk.clone(), progress.clone(), &options).run(queue)).detach();
        let send = Box::new(move |request| requests.send(request).is_ok());
        Self::on("the simulated disk".to_owned(), Arc::new(disk), progress, &options, send, None)
    }

    fn on(
        place: String,
        disk: Arc<dyn Disk>,
        progress: Arc<Progress>,
        options: &StoreOptions,
        requests: Box<dyn Fn(Request) -> bool + Send + Sync>,
        writer: Option<JoinHandle<()>>,
    ) -> Arc<Self> {
        let (tail_total, tail_budget) = (Arc::default(), options.tail_cache_bytes);
        let core = StoreCore { disk, progress, tail_total, tail_budget, requests };
        Arc::new(Self { place, core: Arc::new(core), open: Mutex::default(), writer: Mutex::new(writer) })
    }

    /// The groups that are stored here, open or not, by name.
    pub fn group_names(&self) -> Result<Vec<String>, Error> {
        self.core.disk.families().map_err(|e| self.failed(e))
    }

    /// Deletes a group with all its entries. It must not be open.
    pub fn drop_group(&self, name: &str) -> Result<(), Error> {
        let open = self.open.lock();
        if open.contains(name) {
            return Err(Error::AlreadyOpen { group: name.to_owned() });
        }
        self.core.disk.drop_family(name).map_err(|e| self.failed(e))?;
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
        if !self.core.disk.has_family(name) {
            // A crash between the two steps of a drop leaves the state of the dropped group.
            self.forget_state(name)?;
            self.core.disk.create_family(name).map_err(|e| self.failed(e))?;
        }
        let log = Arc::new(GroupLog::load(name, self.core.clone(), keep_tail)?);
        open.insert(name.to_owned());
        Ok(log)
    }

    pub(crate) fn close_log(&self, name: &str) {
        self.open.lock().remove(name);
    }

    fn forget_state(&self, name: &str) -> Result<(), Error> {
        let keys = StateKey::ALL.map(|key| key.of(name));
        self.core.disk.delete_states(&keys).map_err(|e| self.failed(e))
    }

    fn failed(&self, error: DiskError) -> Error {
        Error::storage(&self.place, error)
    }

    pub(crate) fn core(&self) -> &StoreCore {
        &self.core
    }
}

impl StoreCore {
    pub fn send(&self, request: Request) -> io::Result<()> {
        if (self.requests)(request) { Ok(()) } else { Err(io::Error::other("the store is shut down")) }
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
