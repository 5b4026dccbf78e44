//! Blocks: Parquet objects that hold a log range's rows, and the rows that are not
//! in one yet, both seen through the same logical columns.
//!
//! Write: [`write_l0`]. Read: [`BlockReader`]. Tails: [`to_record_batch`], [`SeriesIndex`]. Merge: [`Merge`].

mod column;
mod decode;
mod describe;
mod encode;
mod error;
mod index;
mod inspect;
mod intern;
mod json_scan;
mod layout;
mod logical;
mod memory;
mod merge;
mod packing;
mod physical;
mod read;
mod removal;
mod rows;
mod series_index;
mod write;

pub use column::{
    AttributeScope, BaseColumn, Column, LISTS, ValueType, base_column, base_columns, field, schema, time_column,
    value_type,
};
pub use describe::{Describer, describe};
pub use error::BlockError;
pub use index::{tokens, tokens_of_part};
pub use inspect::{ColumnInspection, Inspection, RowGroupInspection, TenantInspection, inspect};
pub use memory::to_record_batch;
pub use merge::{BlockOrigin, Chunk, Merge, MergeOptions, MergeWriter, Survey, Window, WindowRows};
pub use read::{
    BlockReader, CacheOptions, Comparison, FooterCache, NumberRow, Numbers, Op, Predicate, PruneStats, PrunedRows,
    RangeCache, RowRange, Scalar, ScanPlan, ScanRequest, read_footer, to_millis,
};
pub use removal::{Removal, Removals};
pub use series_index::{SeriesIndex, SeriesRequest};
pub use write::{EncodedBlock, WriteOptions, write_l0};
