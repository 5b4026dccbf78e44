//! Entries on disk: segments that all groups share, written one after another, and an index of them in
//! memory. An entry is written once. RocksDB, which held entries first, wrote them twice, log and
//! table: `crates/README.md` has the measurement.
//!
//! A segment is given up once nothing in it is wanted and all before it are. Where a few entries keep
//! a long row of segments, they are moved to the newest.

mod disk;
mod files;
mod frame;
mod index;
mod replay;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use disk::SegmentDisk;
pub(crate) use writer::Writer;
