//! How well the cache of blocks' ranges serves.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, opts};

fn registered<T: prometheus::core::Collector + Clone + 'static>(metric: prometheus::Result<T>) -> T {
    match metric {
        Ok(metric) => {
            // A second registration of the same name can only come from this file.
            let _ = prometheus::register(Box::new(metric.clone()));
            metric
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
}

fn by_tier(opts: Opts) -> IntCounterVec {
    registered(IntCounterVec::new(opts, &["tier"]))
}

pub(super) static HITS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_tier(opts!("bonghwa_block_cache_hits_total", "Ranges of blocks that were kept, by tier: memory or disk"))
});

pub(super) static HIT_BYTES: LazyLock<IntCounterVec> =
    LazyLock::new(|| by_tier(opts!("bonghwa_block_cache_hit_bytes_total", "Bytes of those ranges")));

pub(super) static MISSES: LazyLock<IntCounter> = LazyLock::new(|| {
    let opts = opts!("bonghwa_block_cache_misses_total", "Ranges of blocks that were fetched from the object store");
    registered(IntCounter::with_opts(opts))
});

pub(super) static MISS_BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    registered(IntCounter::with_opts(opts!("bonghwa_block_cache_miss_bytes_total", "Bytes of those ranges")))
});

pub(super) static MEMORY_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::with_opts(opts!("bonghwa_block_cache_memory_bytes", "Bytes of blocks' ranges in memory")))
});
