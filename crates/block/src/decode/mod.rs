//! From physical columns back to batches: what a compaction reads, it writes again with
//! the writer of flushes.
//!
//! Nothing is lost on the way: numbers keep their type, texts their bytes, arrays and maps
//! the text that they had. Of a metric's points only the first one of each row has the
//! series' attributes; the writer asks no other one for them.

mod attributes;
mod cells;
mod items;
mod nested;
mod points;
mod records;
mod sources;

use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;
use bonghwa_model::logs::LogBatch;
use bonghwa_model::metrics::MetricBatch;
use bonghwa_model::spans::SpanBatch;

pub(crate) use items::{Items, KeyRef, key_columns};

use crate::BlockError;
use crate::layout::Layout;
use crate::logical::Arrays;
use sources::Sources;

/// Puts rows of many blocks into one batch.
pub(crate) struct Gatherer {
    batch: Batch,
    sources: Sources,
}

impl Gatherer {
    pub fn new(signal: Signal) -> Self {
        let batch = match signal {
            Signal::Logs => Batch::Logs(LogBatch::default()),
            Signal::Metrics => Batch::Metrics(MetricBatch::default()),
            Signal::Traces => Batch::Traces(SpanBatch::default()),
        };
        Gatherer { batch, sources: Sources::default() }
    }

    /// Adds those items (records, spans or samples) of some physical rows that are kept.
    /// Columns that were not read give what a sender gives who says nothing.
    pub fn add(
        &mut self,
        layout: &Layout,
        arrays: &Arrays,
        items: &Items<'_>,
        kept: &[bool],
    ) -> Result<(), BlockError> {
        match &mut self.batch {
            Batch::Logs(batch) => records::logs(batch, &mut self.sources, layout, arrays, kept),
            Batch::Traces(batch) => records::spans(batch, &mut self.sources, layout, arrays, kept),
            Batch::Metrics(batch) => points::points(batch, &mut self.sources, layout, arrays, items, kept),
        }
    }

    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    pub fn into_batch(self) -> Batch {
        self.batch
    }

    /// Lets go of all rows but these, which must be ascending.
    pub fn retain(&mut self, rows: &[u32]) {
        // Tables keep their order, so that the numbers in `sources` stay true.
        self.batch = self.batch.take(rows);
    }

    /// Bytes held, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.batch.heap_bytes() + self.sources.heap_bytes()
    }
}
