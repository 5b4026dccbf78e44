//! How well values that were kept serve.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, opts};

static HITS: LazyLock<IntCounter> = LazyLock::new(|| {
    let opts = opts!("bonghwa_results_cache_hits_total", "Steps of range queries whose values were kept");
    registered(IntCounter::with_opts(opts))
});

static MISSES: LazyLock<IntCounter> = LazyLock::new(|| {
    let opts = opts!(
        "bonghwa_results_cache_misses_total",
        "Steps of range queries that were evaluated, of those queries whose values may be kept"
    );
    registered(IntCounter::with_opts(opts))
});

pub(super) static BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::with_opts(opts!(
        "bonghwa_results_cache_bytes",
        "Bytes of range queries' values that are kept"
    )))
});

fn registered<T: Collector + Clone + 'static>(metric: prometheus::Result<T>) -> T {
    match metric {
        Ok(metric) => {
            // A second registration of the same name can only come from this file.
            let _ = prometheus::register(Box::new(metric.clone()));
            metric
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
}

/// Counts steps.
pub(super) fn count(hits: i64, misses: i64) {
    HITS.inc_by(u64::try_from(hits).unwrap_or(0));
    MISSES.inc_by(u64::try_from(misses).unwrap_or(0));
}

/// Shows them from the start, at 0.
pub(super) fn show() {
    LazyLock::force(&HITS);
    LazyLock::force(&MISSES);
    LazyLock::force(&BYTES);
}
