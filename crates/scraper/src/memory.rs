//! A bound on the bytes of bodies and messages that are in memory at once, over all targets.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics;

/// What is counted, in bytes: a semaphore's permits at once are a `u32`.
const UNIT: usize = 1 << 10;

/// The bound.
#[derive(Debug)]
pub(crate) struct Memory {
    limit: usize,
    free: Arc<Semaphore>,
}

/// What one scrape holds of it.
#[derive(Debug)]
pub(crate) struct Held {
    memory: Arc<Memory>,
    bytes: usize,
    /// The units that the bytes are in.
    permit: Option<OwnedSemaphorePermit>,
    /// Whether it waits for more, or was given up while it did.
    pub waits: bool,
}

impl Memory {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Memory { limit, free: Arc::new(Semaphore::new(limit / UNIT)) })
    }

    /// Nothing yet.
    pub fn hold(self: &Arc<Self>) -> Held {
        Held { memory: self.clone(), bytes: 0, permit: None, waits: false }
    }
}

impl Held {
    /// Takes more, and waits until others give it back. An error says that there can never be so much.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), String> {
        let units = self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = (self.bytes + bytes).div_ceil(UNIT);
        if wanted > self.memory.limit / UNIT {
            return Err(self.refusal());
        }
        if let Some(more) = u32::try_from(wanted - units).ok().filter(|more| *more > 0) {
            self.waits = true;
            let taken = self.memory.free.clone().acquire_many_owned(more).await.map_err(|error| error.to_string())?;
            self.waits = false;
            match &mut self.permit {
                Some(permit) => permit.merge(taken),
                None => self.permit = Some(taken),
            }
        }
        self.bytes += bytes;
        metrics::BODIES.add(bytes as i64);
        Ok(())
    }

    /// Why a scrape that got no memory failed.
    pub fn refusal(&self) -> String {
        let limit = self.memory.limit;
        format!("scrapes hold too much memory: all bodies at once may have {limit} bytes (scrape.max_inflight_bytes)")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        metrics::BODIES.sub(self.bytes as i64);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn who_finds_no_memory_waits_for_it() {
        let memory = Memory::new(8 << 10);
        let (mut first, mut second) = (memory.hold(), memory.hold());
        assert_eq!(first.grow(5 << 10).now_or_never(), Some(Ok(())));
        // Many small pieces are one.
        (0..100).for_each(|_| assert_eq!(first.grow(10).now_or_never(), Some(Ok(()))));
        assert_eq!(second.grow(2 << 10).now_or_never(), Some(Ok(())));
        assert_eq!(second.grow(1 << 10).now_or_never(), None);
        assert!(second.waits);
        drop(first);
        assert_eq!(second.grow(1 << 10).now_or_never(), Some(Ok(())));
        assert!(!second.waits);
        let never = second.grow(6 << 10).now_or_never().unwrap();
        assert!(never.unwrap_err().contains("scrape.max_inflight_bytes"));
    }
}
