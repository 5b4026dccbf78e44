//! Values of range queries that were evaluated before, kept by the steps that they are of.
//!
//! Steps lie in buckets of a fixed length, so that a dashboard that asks for the last day again finds all of it but
//! the newest minutes, and of those the blocks' part is kept as well (`steps`). A value is kept where all samples that
//! it is made of lie in blocks, and it is used as long as the catalog has the very same blocks and deletes for
//! that time and no tail reaches into it (`seen`): whatever is written late, deleted, merged or past its retention
//! changes those, and the steps are evaluated anew. Only queries whose steps can be evaluated apart take part.

mod cache;
mod metrics;
mod seen;
mod steps;

pub(crate) use cache::PastCache;
pub(crate) use steps::{Past, Piece, Segment, bucket_ms, put_together};

/// Whether a query may be answered by what was evaluated before, and what it gives may be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// It may.
    #[default]
    Allowed,
    /// It is evaluated from the samples, and leaves nothing behind.
    Off,
}
