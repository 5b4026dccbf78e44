//! The replicated log: many small logs (groups) on one disk, each kept by several nodes.
//!
//! A node has one [`Store`] (segment files that all groups share, one writer thread, one sync for all
//! groups that have something to write; in a simulation a [`MemoryDisk`] and a task) and one [`Host`] that runs its groups on it. A [`Group`] is the narrow
//! contract an ingester works against: append a batch and get its position, read from a position,
//! trim to the watermark, learn who leads. What stands behind a group (a partition's head, the
//! metadata) is a [`StateMachine`].
//!
//! The story of a write: `Group::append -> openraft -> log_storage -> writer (fsync) -> quorum ->
//! machine -> StateMachine::apply -> Appended`. The story of a start: `Store::open ->
//! Host::open_group -> StateMachine::restore (watermark) -> StateMachine::apply (the rest)`.
//!
//! Absent on purpose: sockets (a [`Transport`] carries opaque bytes), the meaning of a payload,
//! changes of membership (partitions never move), chunked snapshots.

mod codec;
mod disk;
mod error;
mod group;
mod group_log;
mod host;
mod local;
mod log_storage;
mod machine;
mod memory_disk;
mod memory_writer;
mod migrate;
mod network;
mod options;
mod raft_types;
mod record;
mod request;
mod rpc;
mod runtime;
mod segments;
mod state_machine;
mod states;
mod store;
mod stored_snapshot;
mod tail;
mod transport;

#[cfg(test)]
mod storage_suite;

pub use error::Error;
pub use group::{Appended, Group, GroupStatus};
pub use host::Host;
pub use local::{LocalNetwork, LocalTransport};
pub use memory_disk::MemoryDisk;
pub use options::{GroupOptions, HostOptions, StoreOptions};
pub use state_machine::{BoxError, NodeId, Payload, Snapshot, StateMachine};
pub use store::{Store, StoreStats};
pub use transport::{RpcKind, Transport, TransportError};
