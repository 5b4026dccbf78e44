//! Metrics as Prometheus' series, from blocks and tails: which series matchers select, their labels
//! and their samples.
//!
//! A row is told apart by its [`identity`], which a [`cache`] keeps, by its id and by [`granule`]. [`read()`] reads
//! units one after another: of a [`block`] or a [`tail`] only the samples of those series that [`conditions`] select,
//! where rows may be deleted whole batches; [`gather`] makes series of both, or hands them to a [`sink`] that keeps
//! names or counts alone. Several queriers may each read a [`mod@slice`] of the series. What silence means of instances that push is told by [`heartbeat`].

mod block;
mod cache;
mod columns;
mod conditions;
mod distribution;
mod exemplars;
mod found;
mod gather;
mod granule;
mod heartbeat;
mod identities;
mod identity;
mod labels;
mod metadata;
mod metrics;
mod read;
mod sink;
mod slice;
mod tail;

pub(crate) use cache::SeriesCache;
pub(crate) use exemplars::exemplars;
pub use exemplars::{Exemplar, Exemplars};
pub(crate) use found::{DAY_MS, Found};
pub(crate) use gather::INFO_EVERY;
pub use heartbeat::PushUp;
pub(crate) use identities::identities;
pub(crate) use labels::TARGET_INFO;
pub use labels::{MetricsOptions, Promoted};
pub use metadata::Metadata;
pub(crate) use metadata::metadata;
pub(crate) use read::{Bounds, Held, Reading, Taken, Wanted, read};
pub use sink::Counts;
pub(crate) use sink::{Asked, Sink, TenantSink};
pub(crate) use slice::Slice;
