//! Range reads of one object.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ParquetMetaData;

use crate::BlockError;

/// An object, and the part of its end that was read already.
#[derive(Clone)]
pub(super) struct ObjectReader {
    pub store: Arc<dyn ObjectStore>,
    pub path: Path,
    pub metadata: Option<Arc<ParquetMetaData>>,
    tail: Option<(u64, Bytes)>,
}

impl ObjectReader {
    pub fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        ObjectReader { store, path, metadata: None, tail: None }
    }

    /// Reads the end of the object and keeps it: what lies there needs no more requests.
    pub async fn prefetch(&mut self, range: Range<u64>) -> std::result::Result<(), BlockError> {
        let bytes = self.read(range.clone()).await?;
        self.tail = Some((range.start, bytes));
        Ok(())
    }

    /// Reads a range.
    pub async fn read(&self, range: Range<u64>) -> std::result::Result<Bytes, BlockError> {
        if let Some(bytes) = self.kept(&range) {
            return Ok(bytes);
        }
        let wanted = range.end.saturating_sub(range.start);
        // As ranges, which a cache keeps, not as a part of the object, which none does.
        let read = self.store.get_ranges(&self.path, std::slice::from_ref(&range)).await;
        let read = read.map_err(|e| BlockError::store(&self.path, e))?;
        let bytes = read.into_iter().next().unwrap_or_default();
        if (bytes.len() as u64) < wanted {
            return Err(BlockError::damaged(&self.path, "it is shorter than the catalog says"));
        }
        Ok(bytes)
    }

    fn kept(&self, range: &Range<u64>) -> Option<Bytes> {
        let (start, bytes) = self.tail.as_ref()?;
        let from = usize::try_from(range.start.checked_sub(*start)?).ok()?;
        let to = usize::try_from(range.end.checked_sub(*start)?).ok()?;
        (from <= to && to <= bytes.len()).then(|| bytes.slice(from..to))
    }
}

fn external(error: BlockError) -> ParquetError {
    match error {
        BlockError::Store { source, .. } => ParquetError::External(Box::new(source)),
        other => ParquetError::General(other.to_string()),
    }
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async move { self.read(range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move {
            let bytes = self.store.get_ranges(&self.path, &ranges).await;
            bytes.map_err(|e| ParquetError::External(Box::new(e)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let metadata = self.metadata.clone();
        async move { metadata.ok_or_else(|| ParquetError::General("metadata was not loaded".into())) }.boxed()
    }
}
