//! The control plane: one replicated state that says which nodes, partitions and
//! blocks there are, the commands that change it, and the stream of its changes.
//!
//! The story of a command: `Meta::execute -> replog::Group::append -> (fsync on a
//! quorum) -> Machine::apply -> State::apply -> Feed` on every meta node; the
//! appender answers, the watchers get the change. The state is a
//! [`bonghwa_cluster::Catalog`], the same that all roles hold a copy of, and the
//! little beside it that only meta needs.
//!
//! The leader also acts by itself: `control` hears who lives and `placement` says which partitions
//! there should be.
//!
//! [`rebuild()`] recreates the catalog from blocks, which describe themselves.

mod compaction;
mod control;
mod deletes;
mod error;
mod feed;
mod flush;
mod leases;
mod machine;
mod meta;
mod names;
mod nodes;
mod partitions;
mod placement;
mod rebuild;
mod reject;
mod replaced;
mod replicas;
mod restore;
mod state;
mod stored;
mod tenants;

pub use control::ControlOptions;
pub use error::MetaError;
pub use meta::{GROUP, Meta, MetaOptions};
pub use names::PartitionName;
pub use placement::PlacementOptions;
pub use rebuild::{Orphan, Rebuilt, rebuild};
pub use state::{Applied, State};
