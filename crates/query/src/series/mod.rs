//! Metrics as Prometheus' series, from blocks and tails: which series matchers select, their labels
//! and their samples.
//!
//! A row is told apart by its [`identity`], which a [`cache`] keeps, by its id and by [`granule`]. [`read`] reads
//! units one after another: of a [`block`] only the samples of those rows that [`conditions`] select, of all else
//! whole batches; [`gather`] makes series of both.

mod block;
mod cache;
mod columns;
mod conditions;
mod distribution;
mod gather;
mod granule;
mod identity;
mod labels;
mod metadata;
mod metrics;
mod read;

pub(crate) use cache::SeriesCache;
pub(crate) use gather::Found;
pub use labels::MetricsOptions;
pub use metadata::Metadata;
pub(crate) use metadata::metadata;
pub(crate) use read::{Bounds, Reading, Wanted, read};
