//! Why a compaction did not come about.

use bonghwa_block::BlockError;
use bonghwa_cluster::ClusterError;
use bonghwa_protocol::RpcError;

/// What went wrong, with what. Nothing is lost by any of them: the blocks that were to be
/// replaced stay, and the next run tries again.
#[derive(Debug, thiserror::Error)]
pub enum CompactorError {
    /// A block could not be read or written.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The object store failed.
    #[error("object store failed on {path}: {source}")]
    Store {
        /// Object path.
        path: String,
        /// The store's own words.
        source: object_store::Error,
    },
    /// An uploaded object could not be made durable.
    #[error("{path} could not be made durable: {source}")]
    Sync {
        /// File path.
        path: String,
        /// The system's own words.
        source: std::io::Error,
    },
    /// Meta could not be asked.
    #[error("meta: {0}")]
    Meta(#[from] RpcError),
    /// The copy of the catalog did not follow.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The catalog did not allow the command.
    #[error("{command} was refused: {message}")]
    Refused {
        /// Which.
        command: &'static str,
        /// Meta's words.
        message: String,
    },
    /// Rows were lost or doubled on the way: the new blocks were thrown away.
    #[error(
        "{tenant} has {read} items in the blocks to compact, {written} in the new ones and {dropped} dropped ones: nothing was replaced; report this with the blocks {blocks:?}"
    )]
    Unbalanced {
        /// Whose.
        tenant: String,
        /// By the catalog.
        read: u64,
        /// In the new blocks.
        written: u64,
        /// By deletes and retention.
        dropped: u64,
        /// Their paths.
        blocks: Vec<String>,
    },
    /// The job took so long that its objects may have been taken for orphans.
    #[error(
        "compacting {blocks} blocks took {seconds} s, too long for orphan_age: nothing was replaced; raise orphan_age, or lower job_blocks"
    )]
    TooSlow {
        /// How many blocks.
        blocks: usize,
        /// How long.
        seconds: u64,
    },
    /// The process ends, or the encoder panicked.
    #[error("the encoder stopped on {path}")]
    Stopped {
        /// Object path.
        path: String,
    },
}
