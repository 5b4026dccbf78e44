//! Samples without what their series tell of themselves: a row of another batch tells it for all of them.

use std::sync::Arc;

use crate::batch::Batch;
use crate::column::{Column, Uniform};
use crate::metrics::MetricBatch;

/// Rows as a head keeps them.
#[derive(Clone, Debug)]
pub enum Piece {
    /// A batch.
    Whole(Arc<Batch>),
    /// Samples of series of which other batches tell.
    Thin(Arc<ThinBatch>),
}

impl From<Arc<Batch>> for Piece {
    fn from(batch: Arc<Batch>) -> Self {
        Piece::Whole(batch)
    }
}

impl Piece {
    /// Log records, metric points or spans.
    pub fn rows(&self) -> usize {
        match self {
            Piece::Whole(batch) => batch.rows(),
            Piece::Thin(thin) => thin.rows(),
        }
    }

    /// The time of each row, Unix nanoseconds; for spans the start.
    pub fn times(&self) -> impl Iterator<Item = i64> + '_ {
        (0..self.rows()).map(move |row| match self {
            Piece::Whole(batch) => batch.times()[row],
            Piece::Thin(thin) => thin.time(row),
        })
    }

    /// The batches that have the resources of its rows, and perhaps others.
    pub fn batches(&self) -> &[Arc<Batch>] {
        match self {
            Piece::Whole(batch) => std::slice::from_ref(batch),
            Piece::Thin(thin) => thin.tellers(),
        }
    }

    /// Bytes that it holds in memory, roughly, without the batches that tell of its series.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Piece::Whole(batch) => batch.heap_bytes(),
            Piece::Thin(thin) => thin.heap_bytes(),
        }
    }
}

/// Plain numbers, each of a series of which a row of another batch tells, its teller: the sample is as that row is, but for
/// its time, start and value.
#[derive(Debug, Default)]
pub struct ThinBatch {
    tellers: Vec<Arc<Batch>>,
    /// The number of the first row of each teller, of all their rows.
    firsts: Vec<u32>,
    /// By sample: the number of the row that tells of its series.
    told: Vec<u32>,
    time: Uniform<i64>,
    /// How much later than that of the row that tells.
    start: Uniform<i64>,
    value: Vec<u64>,
}

impl ThinBatch {
    /// Samples.
    pub fn rows(&self) -> usize {
        self.told.len()
    }

    /// The batches that tell of its series, all of metrics.
    pub fn tellers(&self) -> &[Arc<Batch>] {
        &self.tellers
    }

    /// One of the tellers.
    pub fn teller(&self, number: usize) -> &MetricBatch {
        match &*self.tellers[number] {
            Batch::Metrics(batch) => batch,
            other => unreachable!("`add_teller` takes no {}", other.signal()),
        }
    }

    /// What tells of a sample's series: the number of the teller, and the row there.
    #[inline]
    pub fn told(&self, sample: usize) -> (usize, usize) {
        let number = self.told[sample];
        // The first teller's first row has the number 0.
        let teller = self.firsts.partition_point(|first| *first <= number) - 1;
        (teller, (number - self.firsts[teller]) as usize)
    }

    /// Unix nanoseconds.
    #[inline]
    pub fn time(&self, sample: usize) -> i64 {
        self.time[sample]
    }

    /// Unix nanoseconds; 0 when not sent.
    pub fn start_time(&self, sample: usize) -> i64 {
        let (teller, row) = self.told(sample);
        self.teller(teller).start_time[row].wrapping_add(self.start[sample])
    }

    /// An integer or the bits of a float, as the row that tells has.
    pub fn value(&self, sample: usize) -> u64 {
        self.value[sample]
    }

    /// Bytes allocated, roughly, without the tellers.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.tellers.capacity() * size_of::<Arc<Batch>>()
            + self.firsts.heap_bytes()
            + self.told.heap_bytes()
            + self.time.heap_bytes()
            + self.start.heap_bytes()
            + self.value.heap_bytes()
    }

    /// Samples of so many rows at most.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        ThinBatch { told: Vec::with_capacity(rows), value: Vec::with_capacity(rows), ..Default::default() }
    }

    /// Adds a batch that tells of series; none where it is no batch of metrics.
    pub(crate) fn add_teller(&mut self, batch: Arc<Batch>) -> Option<usize> {
        let Batch::Metrics(_) = *batch else { return None };
        let rows = self.tellers.last().map_or(0, |last| last.rows() as u32);
        self.firsts.push(self.firsts.last().map_or(0, |first| first + rows));
        self.tellers.push(batch);
        Some(self.tellers.len() - 1)
    }

    /// Adds a row of a batch as a sample of which a row of a teller tells.
    pub(crate) fn push(&mut self, (teller, told): (usize, usize), batch: &MetricBatch, row: usize) {
        self.start.push(batch.start_time[row].wrapping_sub(self.teller(teller).start_time[told]));
        self.told.push(self.firsts[teller] + told as u32);
        self.time.push(batch.time[row]);
        self.value.push(batch.value[row]);
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.tellers.shrink_to_fit();
        self.firsts.shrink_to_fit();
        self.time.shrink_to_fit();
        self.start.shrink_to_fit();
    }
}
