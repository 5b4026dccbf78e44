//! What a run did.

use serde::Serialize;

/// What a run did, for its log and for whoever asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunReport {
    /// Jobs that replaced blocks.
    pub jobs: u64,
    /// Jobs that another compactor had, or had done.
    pub skipped: u64,
    /// Blocks that are no longer in the catalog.
    pub blocks_removed: u64,
    /// Blocks that are in their place.
    pub blocks_added: u64,
    /// Bytes of the blocks removed.
    pub bytes_removed: u64,
    /// Bytes of the blocks added.
    pub bytes_added: u64,
    /// Log records, spans and samples in the blocks added.
    pub items_written: u64,
    /// Log records, spans and samples that deletes and retention took out.
    pub items_dropped: u64,
    /// Objects deleted that queries had let go of.
    pub garbage_deleted: u64,
    /// Objects deleted that no catalog ever listed.
    pub orphans_deleted: u64,
    /// Deletes that are carried out on all blocks.
    pub deletes_closed: u64,
    /// The most bytes of rows that a job held at once, as far as they are counted.
    pub peak_bytes: u64,
    /// What failed, and is tried again by the next run.
    pub errors: Vec<String>,
}

impl RunReport {
    /// Takes in what was done beside it.
    pub(crate) fn add(&mut self, other: RunReport) {
        self.jobs += other.jobs;
        self.skipped += other.skipped;
        self.blocks_removed += other.blocks_removed;
        self.blocks_added += other.blocks_added;
        self.bytes_removed += other.bytes_removed;
        self.bytes_added += other.bytes_added;
        self.items_written += other.items_written;
        self.items_dropped += other.items_dropped;
        self.garbage_deleted += other.garbage_deleted;
        self.orphans_deleted += other.orphans_deleted;
        self.deletes_closed += other.deletes_closed;
        self.peak_bytes = self.peak_bytes.max(other.peak_bytes);
        self.errors.extend(other.errors);
    }
}
