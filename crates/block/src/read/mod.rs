//! Reading blocks: footers and ranges and their caches, pruning, scanning.

mod cache;
mod footer;
mod metrics;
mod numbers;
mod object;
mod plan;
mod predicate;
mod prune;
mod scan;

pub use cache::{CacheOptions, RangeCache};
pub use footer::{FooterCache, read_footer};
pub use numbers::{NumberRow, Numbers, to_millis};
pub use plan::{PruneStats, PrunedRows, RowRange, ScanPlan, ScanRequest};
pub use predicate::{Comparison, Op, Predicate, Scalar};
pub use scan::BlockReader;

pub(crate) use footer::{Footer, parse_path};
