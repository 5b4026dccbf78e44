//! Metrics as Prometheus' series, from blocks and tails: which series matchers select, their labels
//! and their samples.

mod columns;
mod distribution;
mod gather;
mod labels;
mod metadata;
mod read;

pub(crate) use gather::Found;
pub use labels::MetricsOptions;
pub use metadata::Metadata;
pub(crate) use metadata::metadata;
pub(crate) use read::{Bounds, Wanted, read};
