//! What a store stands on, segments on a disk or a simulated disk: families of entries by position, a table
//! of states, and batches that change both at once.

use std::sync::Arc;

use bytes::Bytes;

use crate::raft_types::{Entry, LogId};

/// Why a disk did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("its family is gone")]
    NoFamily,
    #[error("{0}")]
    Failed(String),
}

/// The reading side of a disk, and the rare changes that are durable at once. Keys of entries are
/// positions, eight bytes each, big-endian; what was written is readable before it is synced.
pub(crate) trait Disk: Send + Sync + 'static {
    /// The families, sorted.
    fn families(&self) -> Result<Vec<String>, DiskError>;

    fn has_family(&self, family: &str) -> bool;

    fn create_family(&self, family: &str) -> Result<(), DiskError>;

    /// Deletes a family with all its entries, if it exists.
    fn drop_family(&self, family: &str) -> Result<(), DiskError>;

    fn state(&self, key: &[u8]) -> Result<Option<Bytes>, DiskError>;

    /// Deletes states, if they exist.
    fn delete_states(&self, keys: &[Vec<u8>]) -> Result<(), DiskError>;

    /// The first key at or after a position.
    fn first_key(&self, family: &str, position: u64) -> Result<Option<Vec<u8>>, DiskError>;

    /// The last key and its record.
    fn last(&self, family: &str) -> Result<Option<(Vec<u8>, Bytes)>, DiskError>;

    /// Shows the keys in `start..end` and their records in order, until `visit` has enough and
    /// returns false.
    fn scan(
        &self,
        family: &str,
        start: u64,
        end: u64,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), DiskError>;
}

/// Changes that are written together, all or none.
pub(crate) trait Batch {
    fn has_family(&self, family: &str) -> bool;

    /// Adds the records of entries; returns their bytes.
    fn put_entries(&mut self, family: &str, entries: &[Entry]) -> u64;

    /// Deletes the positions in `start..end`: they will be written again.
    fn delete_entries(&mut self, family: &str, start: u64, end: u64);

    /// Lets go of the positions in `from..=upto`, which nobody reads again. They may stay where
    /// they lie until their space can be had cheaply.
    fn trim(&mut self, family: &Arc<str>, from: u64, upto: u64);

    /// Remembers what of a family is committed: a hint for the next start, which may be lost.
    fn put_committed(&mut self, family: &str, committed: &LogId);

    fn put_state(&mut self, key: Vec<u8>, value: Vec<u8>);
}
