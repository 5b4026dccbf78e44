//! The newest entries of one group in memory: readable before they are synced, given to `apply`
//! with their decoded form, sent to followers without reading the disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::raft_types::{Content, Entry};
use crate::record;

/// A gapless run of entries up to the last one. The bytes of all groups share one budget.
pub(crate) struct Tail {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Bytes held by all groups of the store, and how many they should hold at most.
    total: Arc<AtomicUsize>,
    budget: usize,
    /// Keep applied entries while the budget lasts: someone will read them again.
    keep: bool,
}

impl Tail {
    pub fn new(total: Arc<AtomicUsize>, budget: usize, keep: bool) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, total, budget, keep }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The first position held, or `None` if empty.
    pub fn first(&self) -> Option<u64> {
        self.entries.front().map(|e| e.log_id.index)
    }

    pub fn push(&mut self, entry: Entry) {
        if self.entries.back().is_some_and(|e| e.log_id.index + 1 != entry.log_id.index) {
            self.clear();
        }
        let len = record::stored_len(&entry);
        self.bytes += len;
        self.total.fetch_add(len, Ordering::Relaxed);
        self.entries.push_back(entry);
    }

    /// The held entries from a position on, up to but without `end`.
    pub fn range(&self, start: u64, end: u64) -> impl Iterator<Item = &Entry> {
        let first = self.first().unwrap_or(end);
        let from = start.saturating_sub(first).min(self.entries.len() as u64) as usize;
        let to = (end.saturating_sub(first).min(self.entries.len() as u64) as usize).max(from);
        self.entries.range(from..to)
    }

    /// Drops an applied entry's decoded form: the state machine has it now.
    pub fn forget_decoded(&mut self, index: u64) {
        let Some(first) = self.first() else { return };
        let Some(at) = index.checked_sub(first) else { return };
        if let Some(Content::Normal(payload)) = self.entries.get_mut(at as usize).map(|e| &mut e.payload) {
            payload.decoded = None;
        }
    }

    /// Drops entries before `end` (all synced and applied) that the budget has no room for.
    pub fn evict_before(&mut self, end: u64) {
        while self.first().is_some_and(|first| first < end)
            && (!self.keep || self.total.load(Ordering::Relaxed) > self.budget)
        {
            self.pop_front();
        }
    }

    /// Drops entries up to a position, inclusive.
    pub fn drop_through(&mut self, index: u64) {
        while self.first().is_some_and(|first| first <= index) {
            self.pop_front();
        }
    }

    /// Drops entries from a position on.
    pub fn drop_from(&mut self, index: u64) {
        while self.entries.back().is_some_and(|e| e.log_id.index >= index) {
            if let Some(entry) = self.entries.pop_back() {
                self.release(&entry);
            }
        }
    }

    pub fn clear(&mut self) {
        self.drop_from(0);
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.release(&entry);
        }
        if self.entries.is_empty() {
            self.entries.shrink_to(64);
        }
    }

    fn release(&mut self, entry: &Entry) {
        let len = record::stored_len(entry);
        self.bytes -= len;
        self.total.fetch_sub(len, Ordering::Relaxed);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;
    use crate::raft_types::{LeaderId, LogId};

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: LogId::new(LeaderId { term: 1, node_id: 1 }, index),
            payload: Content::Normal(Payload::with_decoded(vec![0; 78], Arc::new(index))),
        }
    }

    fn indexes(tail: &Tail, start: u64, end: u64) -> Vec<u64> {
        tail.range(start, end).map(|e| e.log_id.index).collect()
    }

    #[test]
    fn keeps_what_is_not_done_and_what_fits() {
        let total = Arc::new(AtomicUsize::new(0));
        let mut tail = Tail::new(total.clone(), 250, true);
        (5..10).for_each(|i| tail.push(entry(i)));
        assert_eq!(total.load(Ordering::Relaxed), 500);
        tail.evict_before(5);
        assert_eq!(indexes(&tail, 0, 100), [5, 6, 7, 8, 9]);
        tail.evict_before(10);
        assert_eq!(indexes(&tail, 0, 100), [8, 9]);
        tail.drop_from(9);
        assert_eq!(indexes(&tail, 8, 9), [8]);
        assert_eq!(indexes(&tail, 9, 20), [] as [u64; 0]);
        tail.push(entry(30));
        assert_eq!(indexes(&tail, 0, 100), [30]);
        drop(tail);
        assert_eq!(total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_single_voter_keeps_nothing_applied() {
        let mut tail = Tail::new(Arc::default(), 1 << 20, false);
        (1..4).for_each(|i| tail.push(entry(i)));
        tail.evict_before(3);
        assert_eq!(indexes(&tail, 0, 100), [3]);
    }

    #[test]
    fn decoded_forms_are_forgotten_one_by_one() {
        let mut tail = Tail::new(Arc::default(), 1 << 20, true);
        (1..4).for_each(|i| tail.push(entry(i)));
        tail.forget_decoded(2);
        tail.forget_decoded(7);
        let decoded: Vec<bool> =
            tail.range(0, 9).map(|e| matches!(&e.payload, Content::Normal(p) if p.decoded.is_some())).collect();
        assert_eq!(decoded, [true, false, true]);
    }
}
