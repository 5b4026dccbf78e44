//! Metrics as Prometheus' series, from blocks and tails: which series matchers select, their labels
//! and their samples.
//!
//! A row is told apart by its [`identity`], which a [`cache`] keeps, by its id and by [`granule`]. [`read()`] reads
//! units one after another: of a [`block`] only the samples of those rows that [`conditions`] select, of all else
//! whole batches; [`gather`] makes series of both, or hands them to a [`sink`] that keeps names or counts alone.

mod block;
mod cache;
mod columns;
mod conditions;
mod distribution;
mod exemplars;
mod gather;
mod granule;
mod identities;
mod identity;
mod labels;
mod metadata;
mod metrics;
mod read;
mod sink;

pub(crate) use cache::SeriesCache;
pub(crate) use exemplars::exemplars;
pub use exemplars::{Exemplar, Exemplars};
pub(crate) use gather::{Found, INFO_EVERY};
pub(crate) use identities::identities;
pub use labels::MetricsOptions;
pub(crate) use labels::TARGET_INFO;
pub use metadata::Metadata;
pub(crate) use metadata::metadata;
pub(crate) use read::{Bounds, Held, Reading, Wanted, read};
pub use sink::Counts;
pub(crate) use sink::{Asked, Sink, TenantSink};
