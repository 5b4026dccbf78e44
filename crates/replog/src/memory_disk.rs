//! A simulated disk: it outlives the process that writes to it, and forgets at a crash what was
//! not synced.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_seam as seam;
use bytes::Bytes;
use parking_lot::Mutex;

use crate::codec::Write;
use crate::disk::{Batch, Disk, DiskError};
use crate::group_log::StateKey;
use crate::raft_types::{Entry, LogId};
use crate::record;

/// A disk in memory, for simulations and tests; see [`Store::memory`](crate::Store::memory).
///
/// What a store writes is readable at once, and survives a [`crash`](Self::crash) once it is
/// synced; of what was written since, the crash decides. A sync takes simulated time. Stores that
/// were open at a crash fail from then on.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What is on the disk for good.
    durable: Image,
    /// What a reader sees: the unsynced batches on top of it.
    written: Image,
    unsynced: Vec<Vec<Change>>,
    /// Counts crashes: a store of an earlier life reads and writes nothing.
    life: u64,
    sync_time: (Duration, Duration),
    failure: Option<String>,
    /// Syncs do nothing.
    lying: bool,
}

#[derive(Clone, Debug, Default)]
struct Image {
    families: BTreeMap<String, BTreeMap<u64, Bytes>>,
    states: BTreeMap<Vec<u8>, Bytes>,
}

impl Image {
    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Put { family, position, record } => {
                    if let Some(entries) = self.families.get_mut(family) {
                        entries.insert(*position, record.clone());
                    }
                }
                Change::Delete { family, start, end } => {
                    if let Some(entries) = self.families.get_mut(family) {
                        entries.retain(|position, _| !(start..end).contains(&position));
                    }
                }
                Change::State { key, value } => drop(self.states.insert(key.clone(), value.clone())),
            }
        }
    }
}

impl MemoryDisk {
    /// An empty disk that syncs in no time.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// From now on a sync takes this long: at random between the two.
    pub fn set_sync_time(&self, shortest: Duration, longest: Duration) {
        self.inner.lock().sync_time = (shortest, longest.max(shortest));
    }

    /// From now on every write fails with this message, until it is `None` again.
    pub fn set_failure(&self, failure: Option<String>) {
        self.inner.lock().failure = failure;
    }

    /// Whether the disk says that it has synced, and has not: what no program survives, and every
    /// oracle must notice.
    pub fn set_lying(&self, lying: bool) {
        self.inner.lock().lying = lying;
    }

    /// How many writes are not synced.
    pub fn unsynced_writes(&self) -> usize {
        self.inner.lock().unsynced.len()
    }

    /// The process is gone: of the writes that are not synced the first `kept` survive.
    pub fn crash(&self, kept: usize) {
        let mut inner = self.inner.lock();
        inner.harden(kept);
        inner.unsynced.clear();
        inner.written = inner.durable.clone();
        inner.life += 1;
    }

    /// The disk as the process that opens it now has it.
    pub(crate) fn attach(self: &Arc<Self>) -> MemoryHandle {
        let life = self.inner.lock().life;
        MemoryHandle { disk: self.clone(), life }
    }
}

impl Inner {
    /// The first of the unsynced writes are durable.
    fn harden(&mut self, count: usize) {
        let count = count.min(self.unsynced.len());
        for changes in self.unsynced.drain(..count) {
            self.durable.apply(&changes);
        }
    }

    fn check_writable(&self) -> Result<(), DiskError> {
        self.failure.clone().map_or(Ok(()), |message| Err(DiskError::Failed(message)))
    }
}

/// One process's use of a disk; it ends with a crash.
#[derive(Clone)]
pub(crate) struct MemoryHandle {
    disk: Arc<MemoryDisk>,
    life: u64,
}

impl MemoryHandle {
    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let mut inner = self.disk.inner.lock();
        if inner.life != self.life {
            return Err(DiskError::Failed("the process that opened the disk has crashed".to_owned()));
        }
        act(&mut inner)
    }

    fn read<T>(
        &self,
        family: &str,
        act: impl FnOnce(&BTreeMap<u64, Bytes>) -> Result<T, DiskError>,
    ) -> Result<T, DiskError> {
        self.with(|inner| act(inner.written.families.get(family).ok_or(DiskError::NoFamily)?))
    }

    /// An empty batch.
    pub fn batch(&self) -> MemoryBatch<'_> {
        MemoryBatch { handle: self, changes: Vec::new() }
    }

    /// Writes a batch: readable from now on, lost in a crash before the next sync.
    pub fn write(&self, batch: MemoryBatch<'_>) -> Result<(), DiskError> {
        self.with(|inner| {
            inner.check_writable()?;
            inner.written.apply(&batch.changes);
            inner.unsynced.push(batch.changes);
            Ok(())
        })
    }

    /// Makes everything durable that was written before.
    pub async fn sync(&self) -> Result<(), DiskError> {
        let (written, (shortest, longest)) = self.with(|inner| Ok((inner.unsynced.len(), inner.sync_time)))?;
        if !longest.is_zero() {
            let share = (seam::random() >> 11) as f64 / (1u64 << 53) as f64;
            seam::sleep(shortest + (longest - shortest).mul_f64(share)).await;
        }
        self.with(|inner| {
            inner.check_writable()?;
            inner.harden(if inner.lying { 0 } else { written });
            Ok(())
        })
    }

    /// A change of both images, durable at once and with it all that was written before.
    fn change_now(&self, change: impl Fn(&mut Image)) -> Result<(), DiskError> {
        self.with(|inner| {
            inner.check_writable()?;
            inner.harden(usize::MAX);
            change(&mut inner.written);
            change(&mut inner.durable);
            Ok(())
        })
    }
}

impl Disk for MemoryHandle {
    fn families(&self) -> Result<Vec<String>, DiskError> {
        self.with(|inner| Ok(inner.written.families.keys().cloned().collect()))
    }

    fn has_family(&self, family: &str) -> bool {
        self.read(family, |_| Ok(())).is_ok()
    }

    fn create_family(&self, family: &str) -> Result<(), DiskError> {
        self.change_now(|image| drop(image.families.insert(family.to_owned(), BTreeMap::new())))
    }

    fn drop_family(&self, family: &str) -> Result<(), DiskError> {
        self.change_now(|image| drop(image.families.remove(family)))
    }

    fn state(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        self.with(|inner| Ok(inner.written.states.get(key).cloned()))
    }

    fn delete_states(&self, keys: &[Vec<u8>]) -> Result<(), DiskError> {
        self.change_now(|image| keys.iter().for_each(|key| drop(image.states.remove(key))))
    }

    fn first_key(&self, family: &str, position: u64) -> Result<Option<Vec<u8>>, DiskError> {
        self.read(family, |entries| Ok(entries.range(position..).next().map(|(key, _)| key.to_be_bytes().to_vec())))
    }

    fn last(&self, family: &str) -> Result<Option<(Vec<u8>, Bytes)>, DiskError> {
        self.read(family, |entries| {
            Ok(entries.last_key_value().map(|(key, v)| (key.to_be_bytes().to_vec(), v.clone())))
        })
    }

    fn scan(
        &self,
        family: &str,
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        // The visitor takes locks of its own: not under this one.
        let mut next = start;
        loop {
            let found = self.read(family, |entries| {
                let found = if next < end { entries.range(next..end).next() } else { None };
                Ok(found.map(|(key, record)| (*key, record.clone())))
            })?;
            let Some((key, record)) = found else { return Ok(()) };
            if !visit(&key.to_be_bytes(), &record) || key == u64::MAX {
                return Ok(());
            }
            next = key + 1;
        }
    }
}

/// One write to a [`MemoryDisk`].
pub(crate) struct MemoryBatch<'a> {
    handle: &'a MemoryHandle,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Put { family: String, position: u64, record: Bytes },
    Delete { family: String, start: u64, end: u64 },
    State { key: Vec<u8>, value: Bytes },
}

impl MemoryBatch<'_> {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Batch for MemoryBatch<'_> {
    fn has_family(&self, family: &str) -> bool {
        self.handle.has_family(family)
    }

    fn put_entries(&mut self, family: &str, entries: &[Entry]) -> u64 {
        let mut bytes = 0;
        for entry in entries {
            let mut record = Vec::new();
            record::encode(entry, &mut record);
            bytes += record.len() as u64;
            let (family, position) = (family.to_owned(), entry.log_id.index);
            self.changes.push(Change::Put { family, position, record: record.into() });
        }
        bytes
    }

    fn delete_entries(&mut self, family: &str, start: u64, end: u64) {
        self.changes.push(Change::Delete { family: family.to_owned(), start, end });
    }

    fn trim(&mut self, family: &Arc<str>, from: u64, upto: u64) {
        self.delete_entries(family, from, upto + 1);
    }

    fn put_committed(&mut self, family: &str, committed: &LogId) {
        let mut value = Vec::new();
        value.put_log_id(committed);
        self.put_state(StateKey::Committed.of(family), value);
    }

    fn put_state(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push(Change::State { key, value: value.into() });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Payload;
    use crate::raft_types::{Content, LeaderId};

    fn entry(index: u64) -> Entry {
        let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, index);
        Entry { log_id, payload: Content::Normal(Payload::new("batch")) }
    }

    fn write(handle: &MemoryHandle, index: u64) {
        let mut batch = handle.batch();
        batch.put_entries("logs-0", &[entry(index)]);
        batch.put_state(b"last".to_vec(), vec![index as u8]);
        handle.write(batch).unwrap();
    }

    fn positions(handle: &MemoryHandle) -> Vec<u64> {
        let mut found = Vec::new();
        let mut visit = |key: &[u8], _: &[u8]| {
            found.push(u64::from_be_bytes(key.try_into().unwrap()));
            true
        };
        handle.scan("logs-0", 0, 100, &mut visit).unwrap();
        found
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_keeps_what_is_synced_and_some_of_the_rest() {
        let disk = MemoryDisk::new();
        disk.set_sync_time(Duration::from_millis(5), Duration::from_millis(5));
        let first = disk.attach();
        first.create_family("logs-0").unwrap();
        write(&first, 1);
        write(&first, 2);
        let before = seam::now();
        first.sync().await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_millis(5));
        (3..=5).for_each(|index| write(&first, index));
        assert_eq!(positions(&first), [1, 2, 3, 4, 5]);
        disk.crash(1);
        let second = disk.attach();
        assert_eq!(positions(&second), [1, 2, 3]);
        assert_eq!(second.state(b"last").unwrap().unwrap(), vec![3]);
        assert!(first.write(first.batch()).is_err() && first.sync().await.is_err());
        disk.crash(0);
        assert_eq!(positions(&disk.attach()), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_broken_disk_takes_no_writes() {
        let disk = MemoryDisk::new();
        let handle = disk.attach();
        handle.create_family("logs-0").unwrap();
        write(&handle, 1);
        disk.set_failure(Some("no space left".to_owned()));
        assert!(handle.write(handle.batch()).is_err() && handle.sync().await.is_err());
        disk.set_failure(None);
        disk.crash(0);
        assert_eq!(positions(&disk.attach()), [0; 0]);
    }
}
