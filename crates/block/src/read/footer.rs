//! What must be known of a block before its pages are read, and a cache of it.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bonghwa_protocol::v1;
use futures::FutureExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::page_index::offset_index::PageLocation;

use super::object::ObjectReader;
use crate::BlockError;
use crate::index::{DIRECTORY_KEY, Directory, Pointer, VERSION, VERSION_KEY};
use crate::layout::Layout;

/// The footer, the page index and the directory of one block.
pub(crate) struct Footer {
    pub arrow: ArrowReaderMetadata,
    pub layout: Layout,
    pub directory: Directory,
    pub block: v1::Block,
    /// The column chunk of each field; the first one, where a field has several.
    leaves: Vec<usize>,
    /// Bytes in memory, roughly.
    size: usize,
}

/// At least this much of an object's end is read at once.
const MIN_TAIL: u64 = 64 * 1024;
/// At most this much.
const MAX_TAIL: u64 = 1024 * 1024;

impl Footer {
    /// Reads the footer of an object of `size` bytes.
    pub async fn load(store: Arc<dyn ObjectStore>, path: &Path, size: u64) -> Result<Footer, BlockError> {
        if size < 12 {
            return Err(BlockError::damaged(path, format!("{size} bytes are too few for a Parquet file")));
        }
        let mut object = ObjectReader::new(store, path.clone());
        let tail = (size / 64).clamp(MIN_TAIL, MAX_TAIL).min(size);
        object.prefetch(size - tail..size).await?;
        let metadata = ParquetMetaDataReader::new()
            .with_page_index_policy(PageIndexPolicy::Optional)
            .load_and_finish(&mut object, size);
        let metadata = AssertUnwindSafe(metadata).catch_unwind().await.map_err(|p| panicked(path, &*p))?;
        let metadata = metadata.map_err(|e| BlockError::parquet(path, e))?;
        let pointer = pointer(&metadata).map_err(|e| e.at(path))?;
        let end = pointer.offset.checked_add(pointer.length).filter(|end| *end <= size);
        let end = end.ok_or_else(|| BlockError::damaged(path, "its directory lies outside"))?;
        let directory = pointer.read(&object.read(pointer.offset..end).await?).map_err(|e| e.at(path))?;
        let footer = Footer::new(metadata, directory, path, size)?;
        footer.check_columns(path)?;
        Ok(footer)
    }

    fn new(metadata: ParquetMetaData, mut directory: Directory, path: &Path, size: u64) -> Result<Self, BlockError> {
        let damaged = |what: &str| BlockError::damaged(path, what);
        let block = directory.block.take().ok_or_else(|| damaged("its directory does not describe it"))?;
        let block = v1::Block { bytes: size, path: path.to_string(), ..block };
        let signal = block.model_signal().map_err(|e| BlockError::damaged(path, e))?;
        let row_groups = metadata.num_row_groups();
        if directory.row_groups.len() != row_groups || directory.granule_rows == 0 {
            return Err(damaged("its directory does not fit its row groups"));
        }
        if block.tenants.iter().flat_map(|t| &t.row_groups).any(|r| *r as usize >= row_groups) {
            return Err(damaged("its description names row groups that it does not have"));
        }
        if metadata.row_groups().iter().any(|r| r.num_rows() < 0) {
            return Err(damaged("a row group has fewer than no rows"));
        }
        let memory = metadata.memory_size() + 1024 + 64 * row_groups;
        let arrow = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
            .map_err(|e| BlockError::parquet(path, e))?;
        let layout = Layout::from_schema(signal, Arc::clone(arrow.schema()));
        let schema = arrow.parquet_schema();
        let mut leaves = Vec::new();
        for leaf in 0..schema.num_columns() {
            if schema.get_column_root_idx(leaf) == leaves.len() {
                leaves.push(leaf);
            }
        }
        Ok(Footer { arrow, layout, directory, block, leaves, size: memory })
    }

    /// The column chunk of a field that lies in the block.
    pub fn leaf(&self, field: usize) -> Option<usize> {
        self.leaves.get(field).copied()
    }

    /// The Parquet metadata.
    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.arrow.metadata()
    }

    /// Every column chunk and page must lie where it can: the Parquet reader trusts that.
    fn check_columns(&self, path: &Path) -> Result<(), BlockError> {
        let metadata = self.metadata();
        for (number, row_group) in metadata.row_groups().iter().enumerate() {
            for (leaf, column) in row_group.columns().iter().enumerate() {
                let pages = metadata.offset_index().and_then(|i| i.get(number)?.get(leaf));
                let pages = pages.map_or(&[][..], |pages| pages.page_locations());
                if !self.lies_inside(column) || !pages_are_in_order(pages, column, row_group.num_rows()) {
                    let what = format!("column {} of row group {number} lies outside the file", column.column_path());
                    return Err(BlockError::damaged(path, what));
                }
            }
        }
        Ok(())
    }

    fn lies_inside(&self, column: &ColumnChunkMetaData) -> bool {
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let end = start.checked_add(column.compressed_size());
        start >= 0 && column.compressed_size() >= 0 && end.is_some_and(|end| end <= self.block.bytes as i64)
    }
}

/// Whether pages follow each other within their column and its rows.
fn pages_are_in_order(pages: &[PageLocation], column: &ColumnChunkMetaData, rows: i64) -> bool {
    let (start, length) = column.byte_range();
    let mut offset = start as i64;
    let end = (start + length) as i64;
    let mut row = -1;
    pages.iter().all(|page| {
        let page_end = page.offset.checked_add(i64::from(page.compressed_page_size));
        let fits = page.offset >= offset && page.compressed_page_size >= 0 && page_end.is_some_and(|e| e <= end);
        let follows =
            page.first_row_index > row && page.first_row_index < rows && (row >= 0 || page.first_row_index == 0);
        offset = page_end.unwrap_or(i64::MAX);
        row = page.first_row_index;
        fits && follows
    })
}

fn pointer(metadata: &ParquetMetaData) -> Result<Pointer, BlockError> {
    let entries = metadata.file_metadata().key_value_metadata();
    let find = |key: &str| entries.into_iter().flatten().find(|e| e.key == key).and_then(|e| e.value.as_deref());
    let version = find(VERSION_KEY).and_then(|v| v.parse::<u32>().ok());
    let version = version.ok_or_else(|| BlockError::damaged("", "it is Parquet, but no block of Bonghwa"))?;
    if version > VERSION {
        return Err(BlockError::Version { path: String::new(), found: version, supported: VERSION });
    }
    let pointer = find(DIRECTORY_KEY).and_then(Pointer::parse);
    pointer.ok_or_else(|| BlockError::damaged("", "its metadata does not say where its directory lies"))
}

/// The Parquet and Arrow crates panic on some damaged bytes. They hold nothing but the
/// bytes of this read, so it is safe to go on; and one damaged object must not take the
/// process with it.
pub(super) fn panicked(path: &Path, payload: &(dyn Any + Send)) -> BlockError {
    let said = payload.downcast_ref::<String>().map(String::as_str);
    let said = said.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    BlockError::damaged(path, format!("decoding it panicked: {said}"))
}

/// Reads a block's own description; `bytes` is the object's size.
pub async fn read_footer(store: &Arc<dyn ObjectStore>, path: &str) -> Result<v1::Block, BlockError> {
    let location = parse_path(path)?;
    let size = store.head(&location).await.map_err(|e| BlockError::store(&location, e))?.size;
    Ok(Footer::load(Arc::clone(store), &location, size).await?.block)
}

pub(crate) fn parse_path(path: &str) -> Result<Path, BlockError> {
    Path::parse(path).map_err(|e| BlockError::Request(format!("{path:?} is no object path: {e}")))
}

/// Footers of blocks read lately, within a bound of bytes. Shared by all readers of
/// one object store: blocks are known by their path, and never change.
pub struct FooterCache {
    capacity: usize,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    entries: HashMap<String, (Arc<Footer>, u64)>,
    /// By last use.
    order: BTreeMap<u64, String>,
    clock: u64,
    bytes: usize,
}

impl FooterCache {
    /// A cache of at most `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        FooterCache { capacity, state: Mutex::default() }
    }

    /// Bytes in use, roughly.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Number of footers kept.
    pub fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Whether no footer is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) async fn get(
        &self,
        store: &Arc<dyn ObjectStore>,
        path: &str,
        size: u64,
    ) -> Result<Arc<Footer>, BlockError> {
        if let Some(footer) = self.state.lock().touch(path) {
            return Ok(footer);
        }
        let location = parse_path(path)?;
        let size = match size {
            0 => store.head(&location).await.map_err(|e| BlockError::store(&location, e))?.size,
            known => known,
        };
        let footer = Arc::new(Footer::load(Arc::clone(store), &location, size).await?);
        self.state.lock().insert(path, &footer, self.capacity);
        Ok(footer)
    }
}

impl CacheState {
    fn touch(&mut self, path: &str) -> Option<Arc<Footer>> {
        self.clock += 1;
        let (footer, used) = self.entries.get_mut(path)?;
        if let Some(name) = self.order.remove(used) {
            self.order.insert(self.clock, name);
        }
        *used = self.clock;
        Some(Arc::clone(footer))
    }

    fn insert(&mut self, path: &str, footer: &Arc<Footer>, capacity: usize) {
        if footer.size > capacity || self.touch(path).is_some() {
            return;
        }
        self.bytes += footer.size;
        self.entries.insert(path.to_owned(), (Arc::clone(footer), self.clock));
        self.order.insert(self.clock, path.to_owned());
        while self.bytes > capacity {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some((dropped, _)) = self.entries.remove(&oldest) {
                self.bytes -= dropped.size;
            }
        }
    }
}
