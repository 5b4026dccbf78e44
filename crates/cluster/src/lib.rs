//! What every role knows of the cluster: its nodes, partitions, rings and blocks as
//! one immutable [`Catalog`], kept fresh by a [`ClusterView`] that follows meta; and
//! how to reach the others through a [`Directory`]. Also the [`seam`] to clock,
//! randomness and tasks that all roles use.
//!
//! No query and no write asks meta on its way: they read `ClusterView::current`.

mod backoff;
mod catalog;
mod deletes;
mod directory;
mod error;
mod follow;
mod leader;
mod metas;
mod pieces;
mod time_index;
mod view;

pub use backoff::Backoff;
pub use bonghwa_seam as seam;
pub use catalog::Catalog;
pub use deletes::create_delete;
pub use directory::{ClusterDirectory, Connect, Directory, connect_ingester};
pub use error::ClusterError;
pub use follow::Follower;
pub use leader::LeaderClient;
pub use metas::MetaRouter;
pub use time_index::TenantBlock;
pub use view::ClusterView;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The id of the node of this name, unless it was registered with another: 53 bits
/// of the name's hash, so that every node knows its own and its peers' ids before
/// there is a meta to ask, and keeps them when the catalog has to be rebuilt.
/// Never 0; small enough to survive JSON.
pub fn node_id(name: &str) -> u64 {
    (xxh3_64(name.as_bytes()) >> 11).max(1)
}

/// The one of these nodes that shall have a key, by rendezvous hashing: all who know the same nodes agree, and a node
/// that comes or goes moves its own share alone.
pub fn rendezvous(nodes: &[u64], key: u64) -> Option<u64> {
    nodes.iter().copied().max_by_key(|node| xxh3_64_with_seed(&node.to_le_bytes(), key))
}

/// The hash of an object's path by which a compacted block names a block that it
/// replaced. Stored: never change it.
pub fn object_hash(path: &str) -> u64 {
    xxh3_64(path.as_bytes())
}
