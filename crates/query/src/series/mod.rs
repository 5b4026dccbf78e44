//! Metrics as Prometheus' series, from blocks and tails: which series matchers select, their labels
//! and their samples.

mod columns;
mod distribution;
mod exemplars;
mod gather;
mod identities;
mod labels;
mod metadata;
mod read;

pub(crate) use exemplars::exemplars;
pub use exemplars::{Exemplar, Exemplars};
pub(crate) use gather::Found;
pub(crate) use identities::identities;
pub use labels::MetricsOptions;
pub use metadata::Metadata;
pub(crate) use metadata::metadata;
pub(crate) use read::{Bounds, Wanted, bytes, read};
