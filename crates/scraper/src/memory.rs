//! A bound on the bytes of bodies and messages that are in memory at once, over all targets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics;

/// The bound.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    used: AtomicUsize,
}

/// What one scrape holds of it.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Memory {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Memory { limit, used: AtomicUsize::new(0) })
    }

    /// Nothing yet.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { memory: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more; an error says that there is none.
    pub fn grow(&mut self, bytes: usize) -> Result<(), String> {
        let limit = self.memory.limit;
        let taken = self.memory.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= limit)
        });
        if taken.is_err() {
            return Err(format!(
                "scrapes hold too much memory: all bodies at once may have {limit} bytes (scrape.max_inflight_bytes)"
            ));
        }
        self.bytes += bytes;
        metrics::BODIES.add(bytes as i64);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::Relaxed);
        metrics::BODIES.sub(self.bytes as i64);
    }
}
