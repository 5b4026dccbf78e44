//! What a block knows of itself beyond Parquet: its own catalog message, and filters
//! that tell which granules may hold a token or a trace id.
//!
//! They lie between the last row group and Parquet's page index, where other readers
//! pass over them: first the filters, then a [`Directory`], which the file's key-value
//! metadata points to.

mod build;
mod filter;
mod tokens;

use bonghwa_model::Signal;
use bonghwa_protocol::v1;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

pub(crate) use build::IndexBuilder;
pub(crate) use filter::{LINE, candidates, line_of};
pub(crate) use tokens::{hash_token, hash_trace_id};
pub use tokens::{tokens, tokens_of_part};

use crate::BlockError;
use crate::layout::Owner;

/// Version of blocks: of their layout, their directory and their filters.
pub(crate) const VERSION: u32 = 2;
/// Key of the metadata entry that holds [`VERSION`].
pub(crate) const VERSION_KEY: &str = "bonghwa.version";
/// Key of the metadata entry that points to the directory.
pub(crate) const DIRECTORY_KEY: &str = "bonghwa.directory";

/// What a filter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum FilterKind {
    Unknown = 0,
    Tokens = 1,
    TraceIds = 2,
}

/// One filter of one row group; see [`filter`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FilterEntry {
    #[prost(enumeration = "FilterKind", tag = "1")]
    pub kind: i32,
    /// In the file.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// How many lines of 32 bytes each granule has.
    #[prost(uint32, tag = "3")]
    pub lines: u32,
    /// How many granules the row group has.
    #[prost(uint32, tag = "4")]
    pub granules: u32,
}

impl FilterEntry {
    /// Bytes in the file.
    pub fn size(&self) -> u64 {
        u64::from(self.lines) * u64::from(self.granules) * LINE as u64
    }
}

/// The filters of one row group.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RowGroupIndex {
    #[prost(message, repeated, tag = "1")]
    pub filters: Vec<FilterEntry>,
}

/// The root of a block's own index.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Directory {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, optional, tag = "2")]
    pub block: Option<v1::Block>,
    /// Rows per granule; the last one of a row group may have fewer.
    #[prost(uint32, tag = "3")]
    pub granule_rows: u32,
    #[prost(message, repeated, tag = "4")]
    pub row_groups: Vec<RowGroupIndex>,
}

/// Where a directory lies, and its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    pub offset: u64,
    pub length: u64,
    pub checksum: u64,
}

impl Pointer {
    /// Points at bytes that will lie at `offset`.
    pub fn to(bytes: &[u8], offset: u64) -> Self {
        Pointer { offset, length: bytes.len() as u64, checksum: xxh3_64(bytes) }
    }

    /// The text of the metadata entry.
    pub fn to_text(self) -> String {
        format!("{},{},{:016x}", self.offset, self.length, self.checksum)
    }

    /// Reads the metadata entry.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(',');
        let pointer = Pointer {
            offset: parts.next()?.parse().ok()?,
            length: parts.next()?.parse().ok()?,
            checksum: u64::from_str_radix(parts.next()?, 16).ok()?,
        };
        parts.next().is_none().then_some(pointer)
    }

    /// Reads the directory that it points to.
    pub fn read(&self, bytes: &[u8]) -> Result<Directory, BlockError> {
        if bytes.len() as u64 != self.length || xxh3_64(bytes) != self.checksum {
            return Err(BlockError::damaged("", "its directory does not match the checksum"));
        }
        let directory = Directory::decode(bytes).map_err(|e| BlockError::damaged("", e))?;
        if directory.version > VERSION {
            let found = directory.version;
            return Err(BlockError::Version { path: String::new(), found, supported: VERSION });
        }
        Ok(directory)
    }
}

/// Whether the tokens of a text column are in the token filter. Of metrics those of other columns are, too: labels
/// are texts, whatever they were made of.
pub(crate) fn is_indexed(signal: Signal, column: &str) -> bool {
    let fixed = match signal {
        Signal::Logs => matches!(column, "body" | "service_name" | "severity_text" | "event_name"),
        Signal::Traces => matches!(column, "name" | "service_name" | "status_message" | "events"),
        Signal::Metrics => column == "service_name",
    };
    fixed || [Owner::Resource, Owner::Record].iter().any(|o| column == o.rest() || column.starts_with(o.prefix()))
}
