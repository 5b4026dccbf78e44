//! The ingester: hosts partitions, keeps the heads of those it leads, serves
//! their tails and flushes them into blocks.
//!
//! A partition's life: `hosting::keep` opens it when the catalog names this node, `life::live` loads
//! the head when this node leads and seals, flushes and removes it when the catalog says so.
//!
//! The write path: [`IngesterClient::append`](bonghwa_protocol::IngesterClient::append) ->
//! `partition::Partition::append` -> `frame::encode` -> `replog::Group::append`
//! -> `head::Head::apply` -> (later) `flush::Flusher::flush` -> `block::write_l0`
//! -> `storage::BlockStore::put` -> meta's `CommitFlush`.

mod flush;
mod frame;
mod head;
mod hosting;
mod ingester;
mod life;
mod memory;
mod metrics;
mod options;
mod partition;
mod storage;
mod window;

pub use ingester::Ingester;
pub use options::IngesterOptions;
pub use storage::BlockStore;

/// Why an ingester could not start or work.
#[derive(Debug, thiserror::Error)]
pub enum IngesterError {
    /// The replicated log.
    #[error("partition {partition}: {source}")]
    Log {
        /// Which partition.
        partition: String,
        /// What the log said.
        source: bonghwa_replog::Error,
    },
    /// The log has an entry of a newer version; this build would lose it.
    #[error("partition {partition}: {message}; nothing was changed: start the version that wrote it")]
    Newer {
        /// Which partition.
        partition: String,
        /// The entry.
        message: String,
    },
    /// A log that failed for good while it was open.
    #[error(transparent)]
    Failed(std::sync::Arc<IngesterError>),
    /// The control plane.
    #[error("meta: {0}")]
    Meta(#[from] bonghwa_protocol::RpcError),
    /// Meta answered with a rejection.
    #[error("meta refused {command}: {message}")]
    Rejected {
        /// The command.
        command: &'static str,
        /// Its sentence.
        message: String,
    },
    /// The copy of the catalog.
    #[error(transparent)]
    Catalog(#[from] bonghwa_cluster::ClusterError),
    /// Writing a block.
    #[error("partition {partition}: block {path}: {message}")]
    Block {
        /// Which partition.
        partition: String,
        /// Object path.
        path: String,
        /// What happened.
        message: String,
    },
    /// The object store.
    #[error("object store, {path}: {source}")]
    Store {
        /// Object path.
        path: String,
        /// What it said.
        source: object_store::Error,
    },
    /// The local file system below the object store.
    #[error("syncing {path}: {source}")]
    Sync {
        /// File or folder.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}
