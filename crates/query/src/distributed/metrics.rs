//! Counts of shared queries.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntCounterVec, opts};

/// Queries that other queriers were asked to take part in.
pub(super) static SHARED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("bonghwa_queries_shared_total", "Queries asked here that other queriers were asked to take part in")
});

/// Those of them that began again without others.
pub(super) static FAILED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "bonghwa_queries_shared_failed_total",
        "Queries asked here that began again without other queriers, as one of those failed",
    )
});

/// Parts of queries that were asked elsewhere.
pub(super) static TASKS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("bonghwa_query_tasks_total", "Parts of queries asked at other queriers that were begun here")
});

/// Parts of queries that were asked elsewhere, and are not worked on.
pub(super) static REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "bonghwa_query_tasks_refused_total",
        "Parts of queries asked at other queriers that were refused, as too many were under way or the releases differ",
    )
});

/// What becomes of shares of queries of PromQL that others are asked for: those that fail, or are too slow, are evaluated
/// where they were asked.
const OUTCOMES: [&str; 3] = ["answered", "failed", "slow"];

static SHARES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!(
        "bonghwa_query_range_shares_total",
        "Shares of queries of PromQL that other queriers were asked for, by what became of them; what failed or was too slow was evaluated here"
    );
    registered(IntCounterVec::new(opts, &["outcome"]))
});

/// Of one of [`OUTCOMES`].
pub(super) fn share(outcome: &str) -> IntCounter {
    SHARES.with_label_values(&[outcome])
}

fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::with_opts(opts!(name, help)))
}

fn registered<T: Collector + Clone + 'static>(metric: prometheus::Result<T>) -> T {
    match metric {
        Ok(counter) => {
            // A second registration of the same name can only come from this file.
            let _ = prometheus::register(Box::new(counter.clone()));
            counter
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
}

/// Shows them from the start, at 0.
pub(super) fn show() {
    for counter in [&SHARED, &FAILED, &TASKS, &REFUSED] {
        LazyLock::force(counter);
    }
    OUTCOMES.iter().for_each(|outcome| drop(share(outcome)));
}
