//! The head of one partition: what its log holds beyond the watermark, decoded
//! and readable. It is the log's state machine, and its snapshot is the watermark.

use std::collections::VecDeque;
use std::sync::Arc;

use bonghwa_block::Describer;
use bonghwa_cluster::seam::{self, Instant};
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_model::codec::{self, CodecError};
use bonghwa_protocol::v1;
use bonghwa_replog::{Payload, Snapshot, StateMachine};
use bytes::Bytes;
use parking_lot::Mutex;

use crate::frame::FrameError;
use crate::memory::{HeadMemory, Reservation};
use crate::{frame, metrics};

/// A batch and whose it is.
pub(crate) type Rows = (TenantId, Arc<Batch>);

/// The decoded form of a log entry, riding along from the appending node with the memory
/// that is reserved for it.
pub(crate) struct Staged {
    rows: Vec<Rows>,
    reserved: Mutex<Vec<Reservation>>,
}

impl Staged {
    pub(crate) fn new(rows: Vec<Rows>, reserved: Vec<Reservation>) -> Self {
        Staged { rows, reserved: Mutex::new(reserved) }
    }
}

struct Entry {
    position: u64,
    arrived: Instant,
    rows: Vec<Rows>,
    bytes: usize,
}

struct State {
    /// Entries in position order; those up to `watermark` are kept for older catalog copies.
    entries: VecDeque<Entry>,
    /// Queries may ask from here on: everything after it is in `entries`.
    kept_from: u64,
    /// Committed to the catalog up to here.
    watermark: u64,
    /// Applied up to here.
    applied: u64,
    /// Memory of the entries beyond the watermark.
    unflushed_bytes: usize,
    /// When the watermark reached which position.
    flushed: VecDeque<(Instant, u64)>,
    /// Why this build cannot read an entry that a newer one wrote.
    newer: Option<String>,
}

/// What a flush takes: the entries with positions in `from < p <= to`.
pub(crate) struct FlushRange {
    pub from: u64,
    pub to: u64,
    pub rows: Vec<Rows>,
}

pub(crate) struct Head {
    partition: String,
    memory: Arc<HeadMemory>,
    state: Mutex<State>,
}

impl Head {
    /// A head whose records up to `watermark` lie in blocks.
    pub(crate) fn new(partition: String, watermark: u64, memory: Arc<HeadMemory>) -> Self {
        let state = State {
            entries: VecDeque::new(),
            kept_from: watermark,
            watermark,
            applied: watermark,
            unflushed_bytes: 0,
            flushed: VecDeque::new(),
            newer: None,
        };
        Head { partition, memory, state: Mutex::new(state) }
    }

    pub(crate) fn watermark(&self) -> u64 {
        self.state.lock().watermark
    }

    pub(crate) fn applied(&self) -> u64 {
        self.state.lock().applied
    }

    /// Bytes beyond the watermark, and since when the oldest of them is here.
    pub(crate) fn unflushed(&self) -> (usize, Option<Instant>) {
        let state = self.state.lock();
        let first = state.entries.partition_point(|e| e.position <= state.watermark);
        (state.unflushed_bytes, state.entries.get(first).map(|e| e.arrived))
    }

    /// What is applied and not flushed, oldest first, up to about so many bytes; `None` if
    /// there is nothing.
    pub(crate) fn flush_range(&self, about: usize) -> Option<FlushRange> {
        let state = self.state.lock();
        let first = state.entries.partition_point(|e| e.position <= state.watermark);
        let mut rows: Vec<Rows> = Vec::new();
        let (mut bytes, mut last) = (0, state.watermark);
        for entry in state.entries.range(first..) {
            if bytes >= about {
                return Some(FlushRange { from: state.watermark, to: last, rows });
            }
            rows.extend(entry.rows.iter().cloned());
            bytes += entry.bytes;
            last = entry.position;
        }
        (!rows.is_empty()).then_some(FlushRange { from: state.watermark, to: state.applied, rows })
    }

    /// Why an entry cannot be read that a newer Bonghwa wrote. A flush would pass over it, and
    /// the log forget it: such a head must not be used.
    pub(crate) fn newer(&self) -> Option<String> {
        self.state.lock().newer.clone()
    }

    /// The catalog holds everything up to `to` now.
    pub(crate) fn mark_flushed(&self, to: u64) {
        let mut state = self.state.lock();
        if to <= state.watermark {
            return;
        }
        let first = state.entries.partition_point(|e| e.position <= state.watermark);
        let end = state.entries.partition_point(|e| e.position <= to);
        let bytes: usize = state.entries.range(first..end).map(|e| e.bytes).sum();
        state.unflushed_bytes -= bytes;
        state.watermark = to;
        state.applied = state.applied.max(to);
        state.flushed.push_back((seam::now(), to));
    }

    /// Forgets flushed entries: those flushed before `before`, or all of them if memory is short.
    pub(crate) fn release(&self, before: Option<Instant>) {
        let mut state = self.state.lock();
        let upto = match before {
            None => {
                state.flushed.clear();
                state.watermark
            }
            Some(before) => {
                let mut upto = state.kept_from;
                while let Some(&(at, to)) = state.flushed.front() {
                    if at > before {
                        break;
                    }
                    upto = to;
                    state.flushed.pop_front();
                }
                upto
            }
        };
        let end = state.entries.partition_point(|e| e.position <= upto);
        let released: Vec<Entry> = state.entries.drain(..end).collect();
        state.kept_from = state.kept_from.max(upto);
        drop(state);
        self.memory.sub(released.iter().map(|e| e.bytes).sum());
    }

    /// The tenant's batches with positions in `watermark < p <= through`. `None`: the
    /// watermark lies below what is still kept, the caller needs a newer catalog copy.
    pub(crate) fn tail(&self, tenant: &TenantId, watermark: u64, through: u64) -> Option<Vec<Arc<Batch>>> {
        let state = self.state.lock();
        if watermark < state.kept_from {
            return None;
        }
        let first = state.entries.partition_point(|e| e.position <= watermark);
        let end = state.entries.partition_point(|e| e.position <= through);
        let rows = state.entries.range(first..end.max(first)).flat_map(|e| &e.rows);
        Some(rows.filter(|(t, _)| t == tenant).map(|(_, batch)| batch.clone()).collect())
    }

    /// What the tenant has beyond a watermark; `None` as in [`Head::tail`].
    pub(crate) fn describe(&self, tenant: &TenantId, watermark: u64) -> Option<v1::DescribeTailResponse> {
        let through = self.applied();
        let batches = self.tail(tenant, watermark, through)?;
        if batches.is_empty() {
            return Some(v1::DescribeTailResponse { through, rows: None });
        }
        let mut describer = Describer::default();
        for batch in &batches {
            describer.add(batch);
        }
        Some(v1::DescribeTailResponse { through, rows: Some(describer.finish(tenant)) })
    }

    fn decode(&self, position: u64, bytes: &Bytes) -> Vec<Rows> {
        let unreadable = |error: &dyn std::fmt::Display, newer: bool| {
            metrics::UNREADABLE.inc();
            tracing::error!(partition = self.partition, position, %error, "a log entry cannot be decoded; its records are not visible");
            if newer {
                self.state.lock().newer.get_or_insert_with(|| format!("position {position}: {error}"));
            }
        };
        let batches = match frame::decode(bytes) {
            Ok(batches) => batches,
            Err(error) => {
                unreadable(&error, matches!(error, FrameError::Version(_)));
                return Vec::new();
            }
        };
        let mut rows = Vec::with_capacity(batches.len());
        for (tenant, bytes) in batches {
            match codec::decode(&bytes) {
                Ok(batch) => rows.push((tenant, Arc::new(batch))),
                Err(error) => unreadable(&error, matches!(error, CodecError::Version(_))),
            }
        }
        rows
    }
}

impl StateMachine for Head {
    fn apply(&self, position: u64, payload: &Payload) -> Bytes {
        let staged = payload.decoded.as_ref().and_then(|d| d.downcast_ref::<Staged>());
        // Given back at the end, when the head counts what it got.
        let _reserved = staged.map(|s| std::mem::take(&mut *s.reserved.lock()));
        if position <= self.state.lock().watermark {
            return Bytes::new();
        }
        let rows = staged.map_or_else(|| self.decode(position, &payload.bytes), |s| s.rows.clone());
        let bytes = rows.iter().map(|(_, batch)| batch.heap_bytes()).sum();
        let arrived = seam::now();
        self.memory.add(bytes);
        let mut state = self.state.lock();
        state.applied = position;
        state.unflushed_bytes += bytes;
        state.entries.push_back(Entry { position, arrived, rows, bytes });
        Bytes::new()
    }

    fn snapshot(&self) -> Result<Snapshot, bonghwa_replog::BoxError> {
        Ok(Snapshot { position: self.watermark(), data: Bytes::new() })
    }

    /// The log's own watermark adds nothing: it was told after the catalog, and it also counts
    /// entries of the log's own past the last record. Flushes and queries go by the catalog's.
    fn restore(&self, position: u64, _data: Bytes) -> Result<(), bonghwa_replog::BoxError> {
        let mut state = self.state.lock();
        state.applied = state.applied.max(position);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use bonghwa_model::batch::{Resource, Scope};
    use bonghwa_model::logs::{LogBatch, LogRow};

    use super::*;

    fn record(time: i64) -> Arc<Batch> {
        let mut batch = LogBatch::default();
        batch.common.resources.push(Resource { service_name: "cart".into(), ..Default::default() });
        batch.common.scopes.push(Scope::default());
        batch.push_row(LogRow { time, ..Default::default() });
        batch.common.close_group(0, 0, 1);
        Arc::new(Batch::Logs(batch))
    }

    fn shop() -> TenantId {
        TenantId::new("shop").unwrap()
    }

    fn payload(tenant: &TenantId, time: i64, decoded: bool) -> Payload {
        let batch = record(time);
        let bytes = bonghwa_model::codec::encode(&batch).into();
        let staged = Staged::new(vec![(tenant.clone(), batch)], vec![]);
        let entry = frame::encode([(tenant, &bytes)].into_iter());
        Payload { bytes: entry, decoded: decoded.then(|| Arc::new(staged) as _) }
    }

    /// A head with one record each at the positions 1, 3 and 4; 2 was the log's own.
    fn head(watermark: u64) -> (Head, Arc<HeadMemory>) {
        let memory = Arc::new(HeadMemory::default());
        let head = Head::new("logs-0001".into(), watermark, memory.clone());
        for (position, decoded) in [(1, true), (3, false), (4, true)] {
            head.apply(position, &payload(&shop(), position as i64, decoded));
        }
        (head, memory)
    }

    fn times(head: &Head, watermark: u64) -> Option<Vec<i64>> {
        let batches = head.tail(&shop(), watermark, head.applied())?;
        Some(batches.iter().flat_map(|b| b.times().to_vec()).collect())
    }

    #[test]
    fn a_tail_begins_after_the_watermark_and_belongs_to_one_tenant() {
        let (head, _) = head(0);
        assert_eq!(times(&head, 0), Some(vec![1, 3, 4]), "decoded or read back, it is the same");
        assert_eq!(times(&head, 3), Some(vec![4]));
        assert_eq!(head.tail(&TenantId::default_tenant(), 0, 4).unwrap().len(), 0);
        assert_eq!(head.describe(&shop(), 0).unwrap().rows.unwrap().rows, 3);
    }

    #[test]
    fn replay_skips_what_the_catalog_has() {
        let (head, _) = head(3);
        assert_eq!(times(&head, 3), Some(vec![4]));
        assert_eq!(times(&head, 0), None, "an older catalog copy cannot be served");
    }

    #[test]
    fn a_log_trimmed_past_the_last_record_moves_no_watermark() {
        let head = Head::new("logs-0001".into(), 4, Arc::default());
        head.restore(5, Bytes::new()).unwrap();
        head.apply(6, &payload(&shop(), 6, true));
        assert_eq!(times(&head, 4), Some(vec![6]), "a query at the catalog's watermark");
        assert_eq!(head.flush_range(usize::MAX).unwrap().from, 4, "a flush that the catalog accepts");
    }

    #[test]
    fn a_flush_takes_everything_once_and_older_copies_still_read_it() {
        let (head, memory) = head(0);
        let range = head.flush_range(usize::MAX).unwrap();
        assert_eq!((range.from, range.to, range.rows.len()), (0, 4, 3));
        head.apply(5, &payload(&shop(), 5, true));
        head.mark_flushed(range.to);
        assert_eq!(times(&head, 0), Some(vec![1, 3, 4, 5]), "a query that began before the flush");
        assert_eq!(times(&head, 4), Some(vec![5]), "one that began after it");
        let next = head.flush_range(usize::MAX).unwrap();
        assert_eq!((next.from, next.to, next.rows.len()), (4, 5, 1));
        let before = memory.used();
        head.release(seam::now().checked_sub(Duration::from_secs(60)));
        assert_eq!(memory.used(), before, "inside the grace period");
        head.release(Some(seam::now()));
        assert!(memory.used() < before);
        assert_eq!(times(&head, 0), None);
        assert_eq!(times(&head, 4), Some(vec![5]));
    }

    #[test]
    fn a_flush_takes_no_more_than_it_is_asked_for() {
        let (head, _) = head(0);
        let first = head.flush_range(1).unwrap();
        assert_eq!((first.from, first.to, first.rows.len()), (0, 1, 1));
        head.mark_flushed(first.to);
        let second = head.flush_range(1).unwrap();
        assert_eq!((second.from, second.to, second.rows.len()), (1, 3, 1));
        head.mark_flushed(second.to);
        assert_eq!(head.flush_range(1).unwrap().to, 4);
        head.mark_flushed(4);
        assert!(head.flush_range(1).is_none());
    }

    #[test]
    fn memory_is_counted_from_admission_to_release_whoever_waits() {
        let (head, memory) = head(0);
        let before = memory.used();
        let rows = vec![(shop(), record(5))];
        let bytes = frame::encode([(&shop(), &Bytes::from(codec::encode(&rows[0].1)))].into_iter());
        let staged = Arc::new(Staged::new(rows, vec![memory.reserve(1_000_000)]));
        assert_eq!(memory.used(), before + 1_000_000, "counted while it is on its way");
        let payload = Payload { bytes, decoded: Some(staged.clone()) };
        head.apply(5, &payload);
        let held = memory.used() - before;
        assert!((1..10_000).contains(&held), "the head counts what it holds: {held}");
        drop(Staged::new(vec![], vec![memory.reserve(1_000_000)]));
        assert_eq!(memory.used() - before, held, "an entry that nobody holds any more");
    }

    #[test]
    fn an_entry_of_a_newer_version_is_told() {
        let (head, _) = head(0);
        assert_eq!(head.newer(), None);
        head.apply(5, &Payload { bytes: Bytes::from_static(&[200, 1, 0]), decoded: None });
        let said = head.newer().unwrap();
        assert!(said.contains("position 5") && said.contains("version 200"), "{said}");
    }

    #[test]
    fn a_damaged_entry_hides_no_other() {
        let (head, _) = head(0);
        head.apply(5, &Payload { bytes: Bytes::from_static(&[1, 1, 0]), decoded: None });
        head.apply(6, &payload(&shop(), 6, false));
        assert_eq!(times(&head, 0), Some(vec![1, 3, 4, 6]));
    }
}
