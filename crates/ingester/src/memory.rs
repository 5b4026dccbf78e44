//! The memory of a node's heads, and of what is on its way into them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics;

/// Bytes that all heads of a node hold or will hold.
#[derive(Default)]
pub(crate) struct HeadMemory {
    used: AtomicUsize,
}

impl HeadMemory {
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        metrics::HEAD_BYTES.set(self.used() as i64);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        metrics::HEAD_BYTES.set(self.used() as i64);
    }

    /// Counts bytes for as long as the reservation lives.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Reservation {
        self.add(bytes);
        Reservation { memory: self.clone(), bytes }
    }
}

/// Memory of a batch from its admission until its head counts it, or until nobody holds
/// the batch any more, whatever became of those who waited for it.
pub(crate) struct Reservation {
    memory: Arc<HeadMemory>,
    bytes: usize,
}

impl Reservation {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.memory.sub(self.bytes);
    }
}
