//! Counts of shared queries.

use std::sync::LazyLock;

use prometheus::{IntCounter, opts};

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

fn counter(name: &str, help: &str) -> IntCounter {
    match IntCounter::with_opts(opts!(name, help)) {
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
}
