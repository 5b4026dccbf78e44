//! Reading blocks: footers and their cache, pruning, scanning.

mod footer;
mod object;
mod plan;
mod predicate;
mod prune;
mod scan;

pub use footer::{FooterCache, read_footer};
pub use plan::{PruneStats, ScanPlan, ScanRequest};
pub use predicate::{Comparison, Op, Predicate, Scalar};
pub use scan::BlockReader;

pub(crate) use footer::{Footer, parse_path};
