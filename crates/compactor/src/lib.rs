//! The compactor: makes few large blocks of one tenant out of many small ones, takes out
//! what is deleted or past its retention, and clears the object store of what nobody
//! reads any more.
//!
//! The story of a compaction: [`plan()`] looks at the catalog and says which blocks to put
//! together; a lease in meta gives the job to one compactor; `job` merges the rows of each
//! tenant window by window ([`bonghwa_block::Merge`]), counts them, and uploads the new
//! blocks; one command swaps them for the old ones in the catalog, which checks the counts
//! again. The old objects are garbage until the last query has let go of them; then
//! `garbage` deletes them. Whatever fails on the way leaves the catalog as it was, and
//! objects that it does not list: they are deleted once they are old enough.

mod admin;
mod compactor;
mod deletes;
mod error;
mod garbage;
mod job;
mod lease;
mod metrics;
mod options;
mod output;
mod plan;
mod report;
mod retention;
mod storage;

pub use admin::router;
pub use compactor::Compactor;
pub use error::CompactorError;
pub use options::CompactorOptions;
pub use plan::{Job, Work, plan};
pub use report::RunReport;
pub use retention::{Retention, SignalRetention, StreamRetention};
pub use storage::Storage;
