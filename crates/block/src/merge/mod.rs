//! Merging blocks: the rows of one tenant in many blocks, in the order of compacted
//! blocks, within a bound of memory however many they are.
//!
//! First a [`Merge::survey`] reads keys and attributes of all rows: it tells how many
//! there are in each window of time, chooses the attributes that get columns, and samples
//! the keys. Then the rows of a window come in [`Chunk`]s, each a range of keys that is
//! small enough to be held and sorted in memory; every block is asked for the rows of the
//! range, and answers from the few granules that may hold them where it is sorted itself.
//! So no number of blocks is too many, and none needs to be sorted.

mod gather;
mod key;
mod survey;
mod writer;

use std::sync::Arc;

use bonghwa_model::{Signal, TenantId};

pub use survey::{Survey, Window};
pub use writer::{BlockOrigin, MergeWriter};

use crate::decode::Gatherer;
use crate::layout::Layout;
use crate::read::BlockReader;
use crate::removal::Removals;
use crate::write::WriteOptions;
use gather::Cursor;

/// How blocks are merged.
#[derive(Clone, Debug)]
pub struct MergeOptions {
    /// How the new blocks are written.
    pub write: WriteOptions,
    /// Bytes that a merge may hold in memory, its output included.
    pub memory_bytes: usize,
    /// Rows are split at the multiples of this many nanoseconds since 1970.
    pub window_nanos: i64,
}

impl MergeOptions {
    /// Bytes of gathered rows: sorting and encoding them needs about as much again, and
    /// the rest is for the object that is being written.
    fn chunk_bytes(&self) -> usize {
        (self.memory_bytes / 3).max(1 << 16)
    }

    /// An object is ended when it has this many bytes.
    pub fn block_bytes(&self) -> usize {
        (self.memory_bytes / 4).max(1 << 16)
    }
}

/// The rows of one tenant in some blocks.
pub struct Merge {
    signal: Signal,
    tenant: TenantId,
    blocks: Vec<Arc<BlockReader>>,
    removals: Removals,
    options: MergeOptions,
    peak: usize,
}

/// Rows of one window that follow those of the chunk before.
pub struct Chunk {
    gathered: Gatherer,
    layout: Arc<Layout>,
}

impl Chunk {
    /// Log records, spans or samples.
    pub fn items(&self) -> u64 {
        self.gathered.batch().rows() as u64
    }

    /// Bytes held, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.gathered.heap_bytes()
    }
}

impl Merge {
    /// Of this tenant's rows in these blocks, but for those to be removed.
    pub fn new(
        signal: Signal,
        tenant: TenantId,
        blocks: Vec<Arc<BlockReader>>,
        removals: Removals,
        options: MergeOptions,
    ) -> Self {
        Merge { signal, tenant, blocks, removals, options, peak: 0 }
    }

    /// The most bytes of rows that were held at once, as far as the merge counts them.
    pub fn peak_bytes(&self) -> usize {
        self.peak
    }

    /// Begins with the rows of a window.
    pub fn window(&self, window: Window) -> WindowRows {
        WindowRows { cursor: Cursor::default(), window }
    }
}

/// The rows of one window, as far as they have come.
pub struct WindowRows {
    cursor: Cursor,
    window: Window,
}

impl WindowRows {
    /// Log records, spans or samples of the whole window.
    pub fn items(&self) -> u64 {
        self.window.items
    }
}
