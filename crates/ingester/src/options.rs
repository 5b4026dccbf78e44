//! Configuration of the ingester.

use std::time::Duration;

/// When heads are flushed, and how much they may hold.
#[derive(Clone, Debug)]
pub struct IngesterOptions {
    /// A partition is flushed when its head holds this many bytes in memory.
    pub flush_bytes: usize,
    /// A partition is flushed when its oldest record has been in the head for this long.
    pub flush_age: Duration,
    /// Bytes that all heads of the node may hold, and one of them half of it; beyond it writers are
    /// told to come back.
    pub head_bytes: usize,
    /// How long flushed records stay readable for queries that hold an older catalog copy.
    /// They go earlier when the heads hold over a quarter of `head_bytes`.
    pub grace: Duration,
    /// Appends that wait for one partition's log before writers are told to come back.
    pub queue: usize,
    /// A log entry takes waiting batches up to this size, in encoded bytes.
    pub entry_bytes: usize,
    /// How long a shutdown may spend flushing; what is left stays in the log.
    pub shutdown_flush: Duration,
    /// How long a query waits for a new leader to read its log into memory.
    pub load_patience: Duration,
    /// How long a sealed partition stays after its last flush, for writers whose answer was lost
    /// to ask again.
    pub seal_grace: Duration,
}

impl Default for IngesterOptions {
    fn default() -> Self {
        IngesterOptions {
            flush_bytes: 64 << 20,
            flush_age: Duration::from_secs(300),
            head_bytes: 256 << 20,
            grace: Duration::from_secs(30),
            queue: 1024,
            entry_bytes: 1 << 20,
            shutdown_flush: Duration::from_secs(20),
            load_patience: Duration::from_secs(4),
            seal_grace: Duration::from_secs(10),
        }
    }
}
