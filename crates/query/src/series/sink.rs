//! What is asked of all series at once: the names of their labels, the values of one, or how many have which. Of
//! each series little or nothing is kept, so that there may be any number of them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bonghwa_model::TenantId;
use bonghwa_promql::Labels;
use foldhash::fast::FixedState;
use parking_lot::Mutex;

use crate::promql::with_tenant;

/// Bytes of a text that is kept, beside itself, roughly.
const TEXT_BYTES: usize = 64;
/// Bytes of a series that was counted, roughly.
const COUNTED_BYTES: usize = 16;

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// Names of labels, and how many of them suffice.
    Names(usize),
    /// Values of a label, and how many of them suffice.
    Values(String, usize),
    /// How many series have each value of each label.
    Counts,
}

/// For each value of each label, how many series have it.
pub type Counts = BTreeMap<String, HashMap<String, u64>>;

/// Shared by all tasks of a query.
#[derive(Debug)]
pub(crate) struct Sink {
    asked: Asked,
    collected: Mutex<Collected>,
    bytes: AtomicU64,
    full: AtomicBool,
}

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// Names, or values of the one label.
    pub(crate) texts: BTreeSet<String>,
    pub(crate) counts: Counts,
    /// Series that were counted, by their hashes: tasks and blocks see the same ones.
    counted: HashSet<u64, FixedState>,
}

impl Collected {
    /// Series that were counted.
    pub(crate) fn series(&self) -> u64 {
        self.counted.len() as u64
    }
}

impl Sink {
    pub(crate) fn new(asked: Asked) -> Arc<Self> {
        Arc::new(Sink { asked, collected: Mutex::default(), bytes: AtomicU64::new(0), full: AtomicBool::new(false) })
    }

    /// What it holds, roughly.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Whether enough was found.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Relaxed)
    }

    /// What was collected, once nobody collects any more.
    pub(crate) fn take(&self) -> Collected {
        std::mem::take(&mut self.collected.lock())
    }

    fn see(&self, labels: &Labels) {
        let collected = &mut *self.collected.lock();
        let mut bytes = 0;
        let mut enough = usize::MAX;
        let mut keep = |text: &str| {
            if !collected.texts.contains(text) {
                bytes += text.len() + TEXT_BYTES;
                collected.texts.insert(text.to_owned());
            }
        };
        match &self.asked {
            Asked::Names(most) => {
                enough = *most;
                labels.iter().for_each(|(name, _)| keep(name));
            }
            Asked::Values(name, most) => {
                enough = *most;
                Some(labels.get(name)).filter(|value| !value.is_empty()).into_iter().for_each(keep);
            }
            Asked::Counts => {
                if collected.counted.insert(labels.hash64()) {
                    bytes += COUNTED_BYTES;
                    for (name, value) in labels.iter() {
                        bytes += count(&mut collected.counts, name, value);
                    }
                }
            }
        }
        if collected.texts.len() >= enough {
            self.full.store(true, Relaxed);
        }
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

/// Counts a series; gives the bytes of texts that are new.
fn count(counts: &mut Counts, name: &str, value: &str) -> usize {
    let mut bytes = 0;
    if !counts.contains_key(name) {
        bytes += name.len() + TEXT_BYTES;
        counts.insert(name.to_owned(), HashMap::new());
    }
    let Some(values) = counts.get_mut(name) else { return bytes };
    match values.get_mut(value) {
        Some(count) => *count += 1,
        None => {
            bytes += value.len() + TEXT_BYTES;
            values.insert(value.to_owned(), 1);
        }
    }
    bytes
}

/// A sink for the series of one tenant.
#[derive(Clone)]
pub(crate) struct TenantSink {
    pub(crate) sink: Arc<Sink>,
    /// Where several are read: a label of their series.
    pub(crate) tenant: Option<TenantId>,
}

impl TenantSink {
    pub(super) fn see(&self, labels: &Labels) {
        match &self.tenant {
            Some(tenant) => self.sink.see(&with_tenant(labels, tenant)),
            None => self.sink.see(labels),
        }
    }
}
