//! How well the cache of series serves.

use std::sync::LazyLock;

use prometheus::core::Collector;
use prometheus::{IntCounter, IntGauge, opts};

static HITS: LazyLock<IntCounter> = LazyLock::new(|| {
    let opts = opts!("bonghwa_series_cache_hits_total", "Series of queries whose labels were kept");
    registered(IntCounter::with_opts(opts))
});

static MISSES: LazyLock<IntCounter> = LazyLock::new(|| {
    let opts = opts!("bonghwa_series_cache_misses_total", "Series of queries whose labels were read");
    registered(IntCounter::with_opts(opts))
});

pub(super) static BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::with_opts(opts!("bonghwa_series_cache_bytes", "Bytes of series' labels that are kept")))
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

/// Counts series that were looked for.
pub(super) fn count(hits: usize, misses: usize) {
    HITS.inc_by(hits as u64);
    MISSES.inc_by(misses as u64);
}

/// Shows them from the start, at 0.
pub(super) fn show() {
    LazyLock::force(&HITS);
    LazyLock::force(&MISSES);
    LazyLock::force(&BYTES);
}
