//! Writing merged rows: one object of one tenant and window, chunk by chunk.

use bonghwa_model::TenantId;
use bonghwa_protocol::v1;

use super::{Chunk, MergeOptions, WindowRows};
use crate::BlockError;
use crate::describe::Describer;
use crate::index::VERSION;
use crate::layout::{Layout, Order};
use crate::rows::{Builder, Input};
use crate::write::{BlockWriter, EncodedBlock};

/// What a merged block says of itself beside its rows.
#[derive(Clone, Debug, Default)]
pub struct BlockOrigin {
    /// Object path.
    pub path: String,
    /// From 1.
    pub level: u32,
    /// Which compaction wrote it, and instead of which blocks.
    pub origin: v1::Origin,
    /// Deletes with an id up to this one have been carried out on it.
    pub deletes_through: u64,
    /// Fingerprints of the retention rules that have been carried out on it.
    pub retention_rules: Vec<u64>,
}

/// One object of one tenant and window, while it is written.
pub struct MergeWriter {
    writer: BlockWriter,
    layout: std::sync::Arc<Layout>,
    tenant: TenantId,
    describer: Describer,
    rows: u64,
}

impl MergeWriter {
    /// For rows of a window.
    pub fn new(tenant: TenantId, rows: &WindowRows, options: &MergeOptions) -> Result<Self, BlockError> {
        let layout = rows.window.layout.clone();
        let order = Order::of_compaction(layout.signal);
        let writer = BlockWriter::new((*layout).clone(), order, &options.write)?;
        Ok(MergeWriter { writer, layout, tenant, describer: Describer::default(), rows: 0 })
    }

    /// Sorts and encodes the rows of a chunk. CPU-bound: call it where blocking is allowed.
    pub fn write(&mut self, chunk: Chunk) -> Result<(), BlockError> {
        if !std::sync::Arc::ptr_eq(&chunk.layout, &self.layout) {
            return Err(BlockError::Request("a chunk came to the writer of another window".into()));
        }
        let batch = chunk.gathered.into_batch();
        self.describer.add(&batch);
        let input = Input::new(self.layout.signal, vec![&batch])?;
        let builder = Builder::new(&input, &self.layout, &|_| true);
        self.rows += self.writer.tenant(&self.tenant, &input, &builder, &[0])?;
        Ok(())
    }

    /// Log records, spans or samples so far.
    pub fn items(&self) -> u64 {
        self.describer.items()
    }

    /// The time of its last row, Unix nanoseconds.
    pub fn max_time(&self) -> i64 {
        self.describer.max_time()
    }

    /// Bytes of the object so far.
    pub fn bytes(&self) -> usize {
        self.writer.bytes()
    }

    /// Ends the object. The block returned is for the catalog, without its origin.
    pub fn finish(self, of: BlockOrigin) -> Result<EncodedBlock, BlockError> {
        let BlockOrigin { path, level, origin, deletes_through, retention_rules } = of;
        let mut rows = self.describer.finish(&self.tenant);
        rows.rows = self.rows;
        rows.row_groups = (0..self.writer.row_groups()).collect();
        let block = v1::Block {
            version: VERSION,
            path: path.clone(),
            signal: v1::Signal::from(self.layout.signal) as i32,
            level,
            tenants: vec![rows],
            origin: Some(origin),
            deletes_through,
            retention_rules,
            ..Default::default()
        };
        self.writer.finish(block).map_err(|error| error.at(path))
    }
}
