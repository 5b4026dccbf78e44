//! Memory that the queries of a node hold together: each has a limit of its own, and as many as run at once could fill
//! more than the node has.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bonghwa_promql::Memory;
use datafusion::common::Result;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryLimit, MemoryPool, MemoryReservation};
use prometheus::{IntGauge, opts};

use crate::QueryError;
use crate::evaluate::POINT_BYTES;

/// Queries take memory in pieces of this size: most of them ask once.
const PIECE: u64 = 1 << 20;

static HELD: LazyLock<IntGauge> = LazyLock::new(|| {
    let opts =
        opts!("bonghwa_queries_memory_bytes", "Memory that running queries have taken, each with the most it held");
    match IntGauge::with_opts(opts) {
        Ok(gauge) => {
            // A second registration of the same name can only come from this file.
            let _ = prometheus::register(Box::new(gauge.clone()));
            gauge
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
});

/// The memory of all queries.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: u64,
    taken: AtomicU64,
}

impl Pool {
    /// Of so many bytes.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Pool { limit: limit as u64, taken: AtomicU64::new(0) })
    }

    fn take(&self, bytes: u64) -> Result<(), QueryError> {
        let more = |taken: u64| taken.checked_add(bytes).filter(|taken| *taken <= self.limit);
        if self.taken.fetch_update(Relaxed, Relaxed, more).is_err() {
            return Err(QueryError::Crowded(self.limit));
        }
        HELD.add(bytes as i64);
        Ok(())
    }
}

/// What one query holds of it. The query counts with the most that it held, until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Arc<Pool>,
    held: AtomicU64,
    taken: AtomicU64,
    /// Whether it did not get what it asked for.
    refused: AtomicBool,
}

impl Lease {
    pub(crate) fn new(pool: &Arc<Pool>) -> Arc<Self> {
        let [held, taken] = [(); 2].map(|()| AtomicU64::new(0));
        Arc::new(Lease { pool: pool.clone(), held, taken, refused: AtomicBool::new(false) })
    }

    /// What an operator that got no memory says, which does not know whose limit it met.
    pub(crate) fn explain(&self, error: QueryError) -> QueryError {
        match error {
            QueryError::Memory { .. } if self.refused.load(Relaxed) => QueryError::Crowded(self.pool.limit),
            error => error,
        }
    }

    /// The query holds so many bytes more. They count also where they are too many, until they are let go.
    pub(crate) fn hold(&self, bytes: u64) -> Result<(), QueryError> {
        let held = self.held.fetch_add(bytes, Relaxed).saturating_add(bytes);
        let mut taken = self.taken.load(Relaxed);
        while taken < held {
            let wanted = held.next_multiple_of(PIECE);
            match self.taken.compare_exchange(taken, wanted, Relaxed, Relaxed) {
                Ok(_) => {
                    let more = self.pool.take(wanted - taken);
                    if more.is_err() {
                        self.taken.fetch_sub(wanted - taken, Relaxed);
                        self.refused.store(true, Relaxed);
                    }
                    return more;
                }
                Err(now) => taken = now,
            }
        }
        Ok(())
    }

    /// The query holds so many bytes less.
    pub(crate) fn let_go(&self, bytes: u64) {
        let less = |held: u64| Some(held.saturating_sub(bytes));
        let _always = self.held.fetch_update(Relaxed, Relaxed, less);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let taken = *self.taken.get_mut();
        self.pool.taken.fetch_sub(taken, Relaxed);
        HELD.sub(taken as i64);
    }
}

/// Points that an evaluation of PromQL keeps.
impl Memory for Lease {
    fn keep(&self, points: u64) -> Result<(), bonghwa_promql::Error> {
        let kept = self.hold(points.saturating_mul(POINT_BYTES as u64));
        kept.map_err(|_| bonghwa_promql::Error::Crowded(self.pool.limit))
    }

    fn let_go(&self, points: u64) {
        Lease::let_go(self, points.saturating_mul(POINT_BYTES as u64));
    }
}

/// What the operators of one query may hold, of its own limit and of that of all queries.
#[derive(Debug)]
pub(crate) struct OfQuery {
    own: GreedyMemoryPool,
    lease: Arc<Lease>,
}

impl OfQuery {
    pub(crate) fn new(limit: usize, lease: &Arc<Lease>) -> Self {
        OfQuery { own: GreedyMemoryPool::new(limit), lease: lease.clone() }
    }
}

impl std::fmt::Display for OfQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.own.fmt(f)
    }
}

impl MemoryPool for OfQuery {
    fn name(&self) -> &str {
        "of_query"
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.own.grow(reservation, additional);
        // It cannot be refused, and counts.
        let _ = self.lease.hold(additional as u64);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.own.shrink(reservation, shrink);
        self.lease.let_go(shrink as u64);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        self.own.try_grow(reservation, additional)?;
        self.lease.hold(additional as u64).map_err(|error| {
            self.own.shrink(reservation, additional);
            self.lease.let_go(additional as u64);
            error.into()
        })
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.own.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn queries_share_memory_and_give_it_back() {
        let pool = Pool::new(10 << 20);
        let (one, other) = (Lease::new(&pool), Lease::new(&pool));
        one.hold(6 << 20).unwrap();
        other.hold(3 << 20).unwrap();
        assert_eq!(other.hold(2 << 20), Err(QueryError::Crowded(10 << 20)));
        other.let_go(2 << 20);
        // What it has once it keeps.
        one.let_go(6 << 20);
        one.hold(6 << 20).unwrap();
        other.hold(1 << 20).unwrap();
        assert!(other.hold(1 << 20).is_err());
        drop(one);
        other.hold(5 << 20).unwrap();
        drop(other);
        assert_eq!(pool.taken.load(Relaxed), 0);
    }
}
