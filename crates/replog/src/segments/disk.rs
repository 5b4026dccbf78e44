//! The reading side of segments: entries from files, states and families from RocksDB.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::{WriteBatch, WriteOptions};

use super::files::{Segment, SegmentWriter, sync_directory};
use super::index::{Index, Place};
use super::replay::replay;
use crate::codec::{Reader, Write};
use crate::disk::{Disk, DiskError};
use crate::group_log::StateKey;
use crate::states::Db;
use crate::{Error, StoreOptions};

/// The number of the next family; no group has a name that begins with NUL.
const NEXT_FAMILY: &[u8] = b"\0n";
/// Entries that a scan looks up at once.
const SCAN_ENTRIES: usize = 256;

pub(crate) struct SegmentDisk {
    pub db: Arc<Db>,
    pub index: Arc<Mutex<Index>>,
}

impl From<rocksdb::Error> for DiskError {
    fn from(error: rocksdb::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The key of a family's number: the group's name, NUL, one letter.
fn family_key(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0f"].concat()
}

impl SegmentDisk {
    /// Reads what is in the segments, which lie beside the database.
    pub fn open(path: &Path, db: Arc<Db>, options: &StoreOptions) -> Result<(Self, SegmentWriter), Error> {
        let directory = path.join("segments");
        let place = directory.display().to_string();
        let storage = |e: std::io::Error| Error::storage(&place, e);
        std::fs::create_dir_all(&directory).map_err(storage)?;
        sync_directory(path).map_err(storage)?;
        let mut index = Index::default();
        for (name, id) in families(&db).map_err(|e| Error::storage(&place, e))? {
            index.add_family(&name, id);
        }
        let mut writer =
            SegmentWriter::new(directory.clone(), options.segment_bytes, options.direct_io).map_err(storage)?;
        replay(&directory, &mut index, &mut writer)?;
        // A family's number is on disk before its first entry.
        if index.last_family() >= next_family(&db).map_err(|e| Error::storage(&place, e))? {
            let what = "there are entries of groups that the database beside it does not know: it lost its last writes";
            return Err(Error::corrupt(&place, None, what.to_owned()));
        }
        if index.families().next().is_some() && !index.has_segments() {
            tracing::warn!(%place, "groups are known, and there is no entry of any: a node whose entries were deleted leads nothing");
        }
        let disk = Self { db, index: Arc::new(Mutex::new(index)) };
        for name in disk.families().map_err(|e| Error::storage(&place, e))? {
            disk.forget_trimmed(&name)?;
        }
        Ok((disk, writer))
    }

    fn forget_trimmed(&self, name: &str) -> Result<(), Error> {
        let trimmed = self.state(&StateKey::Purged.of(name)).map_err(|e| Error::storage(name, e))?;
        let trimmed = trimmed.map(|value| Reader::new(value).log_id()).transpose();
        // What cannot be read is told when the group is opened.
        let Ok(Some(trimmed)) = trimmed else { return Ok(()) };
        let mut index = self.index.lock();
        if let Some(id) = index.id(name) {
            index.remove(id, ..=trimmed.index);
        }
        Ok(())
    }

    fn write(&self, batch: WriteBatch) -> Result<(), DiskError> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        Ok(self.db.write_opt(batch, &options)?)
    }

    /// Some entries of a range of positions, and the segments they lie in. Whoever has a segment can
    /// read it, whatever happens to it.
    fn places(&self, family: &str, range: Range<u64>) -> Result<Vec<(u64, Place, Arc<Segment>)>, DiskError> {
        let index = self.index.lock();
        let found = index.family(family).ok_or(DiskError::NoFamily)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let found = found.entries.range(range).take(SCAN_ENTRIES);
        Ok(found.filter_map(|(at, place)| Some((*at, *place, index.segment(place.segment)?))).collect())
    }
}

fn next_family(db: &Db) -> Result<u64, DiskError> {
    let next = db.get(NEXT_FAMILY)?.and_then(|value| Some(u64::from_le_bytes(value[..].try_into().ok()?)));
    Ok(next.unwrap_or(1))
}

/// The families and their numbers.
fn families(db: &Db) -> Result<Vec<(String, u64)>, DiskError> {
    let mut found = Vec::new();
    for state in db.iterator(rocksdb::IteratorMode::Start) {
        let (key, value) = state?;
        let Some(name) = key.strip_suffix(b"\0f") else { continue };
        let id = <[u8; 8]>::try_from(&value[..]).map_err(|_| DiskError::Failed("a family has no number".to_owned()))?;
        found.push((String::from_utf8_lossy(name).into_owned(), u64::from_le_bytes(id)));
    }
    Ok(found)
}

/// Reads a record.
pub(super) fn read(segment: &Segment, place: &Place) -> Result<Vec<u8>, DiskError> {
    let read = segment.read(place.offset, place.length as usize);
    read.map_err(|e| DiskError::Failed(format!("{}: {e}", segment.path.display())))
}

impl Disk for SegmentDisk {
    fn families(&self) -> Result<Vec<String>, DiskError> {
        Ok(self.index.lock().families().map(str::to_owned).collect())
    }

    fn has_family(&self, family: &str) -> bool {
        self.index.lock().id(family).is_some()
    }

    /// A family has a number that none had before: entries of one that was dropped may still be in
    /// segments.
    fn create_family(&self, family: &str) -> Result<(), DiskError> {
        // One at a time.
        let mut index = self.index.lock();
        let id = next_family(&self.db)?;
        let mut batch = WriteBatch::default();
        batch.put(NEXT_FAMILY, (id + 1).to_le_bytes());
        batch.put(family_key(family), id.to_le_bytes());
        self.write(batch)?;
        index.add_family(family, id);
        Ok(())
    }

    fn drop_family(&self, family: &str) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        batch.delete(family_key(family));
        self.write(batch)?;
        self.index.lock().drop_family(family);
        Ok(())
    }

    /// What is committed may be known from frames, too, and newer there.
    fn state(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError> {
        let stored = self.db.get(key)?.map(Bytes::from);
        let Some(name) = key.strip_suffix(StateKey::Committed.suffix()) else { return Ok(stored) };
        let index = self.index.lock();
        let in_frames = std::str::from_utf8(name).ok().and_then(|name| index.family(name)?.committed);
        let Some(in_frames) = in_frames else { return Ok(stored) };
        let newer = stored.clone().and_then(|value| Reader::new(value).log_id().ok()).is_some_and(|id| id > in_frames);
        if newer {
            return Ok(stored);
        }
        let mut value = Vec::new();
        value.put_log_id(&in_frames);
        Ok(Some(value.into()))
    }

    fn delete_states(&self, keys: &[Vec<u8>]) -> Result<(), DiskError> {
        let mut batch = WriteBatch::default();
        keys.iter().for_each(|key| batch.delete(key));
        self.write(batch)?;
        let mut index = self.index.lock();
        for key in keys {
            let name = key.strip_suffix(StateKey::Committed.suffix()).and_then(|name| std::str::from_utf8(name).ok());
            name.into_iter().for_each(|name| index.forget_committed(name));
        }
        Ok(())
    }

    fn first_key(&self, family: &str, position: u64) -> Result<Option<Vec<u8>>, DiskError> {
        let index = self.index.lock();
        let entries = &index.family(family).ok_or(DiskError::NoFamily)?.entries;
        Ok(entries.range(position..).next().map(|(at, _)| at.to_be_bytes().to_vec()))
    }

    fn last(&self, family: &str) -> Result<Option<(Vec<u8>, Bytes)>, DiskError> {
        let last = {
            let index = self.index.lock();
            let last = index.family(family).ok_or(DiskError::NoFamily)?.entries.last_key_value();
            last.and_then(|(at, place)| Some((*at, *place, index.segment(place.segment)?)))
        };
        let Some((at, place, segment)) = last else { return Ok(None) };
        Ok(Some((at.to_be_bytes().to_vec(), read(&segment, &place)?.into())))
    }

    fn scan(
        &self,
        family: &str,
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError> {
        let mut next = start;
        loop {
            // The visitor takes locks of its own: not under the index's.
            let places = self.places(family, next..end)?;
            let Some((last, ..)) = places.last() else { return Ok(()) };
            next = last + 1;
            for (at, place, segment) in &places {
                if !visit(&at.to_be_bytes(), &read(segment, place)?) {
                    return Ok(());
                }
            }
        }
    }
}
