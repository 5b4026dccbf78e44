//! Where telemetry goes: consistent hashing over the active partitions of one
//! signal, which of them a tenant may use, and how many of those a service is spread over. Pure:
//! no I/O, no clock.
//!
//! ```
//! use bonghwa_model::TenantId;
//! use bonghwa_ring::{Ring, key};
//!
//! let ring = Ring::new(["logs-0001", "logs-0002", "logs-0003"]);
//! let shards = ring.shard_set(key(&TenantId::default_tenant(), "checkout"), 2);
//! assert_eq!(shards.len(), 2);
//! assert!(shards.pick(42).is_some());
//! ```

mod ring;
mod shuffle;
mod width;

pub use ring::{Place, Ring, ShardSet, VIRTUAL_NODES, key};
pub use shuffle::TenantRing;
pub use width::{ShardWidth, ShardWidthOptions};
