//! What was sent, and what was acked.

use std::collections::{BTreeMap, BTreeSet};

use bonghwa_testkit::generate::{Batch, Signal};
use parking_lot::Mutex;

/// The ids of the records of a run, by the table they belong to.
#[derive(Default)]
pub struct Ledger {
    tables: Mutex<BTreeMap<&'static str, Known>>,
}

/// What is known of one table's records.
#[derive(Clone, Default)]
pub struct Known {
    /// Records that were sent at least once.
    pub sent: BTreeSet<u64>,
    /// Records whose request was acked.
    pub acked: BTreeSet<u64>,
}

impl Ledger {
    /// A batch is about to be sent.
    pub fn sent(&self, batch: &Batch) {
        self.tables.lock().entry(batch.signal.table()).or_default().sent.extend(batch.records.iter().map(|r| r.id));
    }

    /// A batch was acked.
    pub fn acked(&self, batch: &Batch) {
        self.tables.lock().entry(batch.signal.table()).or_default().acked.extend(batch.records.iter().map(|r| r.id));
    }

    /// What is known now.
    pub fn of(&self, signal: Signal) -> Known {
        self.tables.lock().get(signal.table()).cloned().unwrap_or_default()
    }

    /// Records sent and acked, over all signals.
    pub fn totals(&self) -> (usize, usize) {
        let tables = self.tables.lock();
        (tables.values().map(|k| k.sent.len()).sum(), tables.values().map(|k| k.acked.len()).sum())
    }
}
