//! The scraper's own metrics.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, opts};

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

fn counter(name: &str, help: &str) -> IntCounter {
    registered(IntCounter::with_opts(opts!(name, help)))
}

pub(crate) static TARGETS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_scraper_targets", "Targets of a job that this node scrapes, and those dropped");
    registered(IntGaugeVec::new(opts, &["job", "state"]))
});

pub(crate) static SCRAPES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_scraper_scrapes_total", "Scrapes by job and outcome");
    registered(IntCounterVec::new(opts, &["job", "outcome"]))
});

pub(crate) static SAMPLES: LazyLock<IntCounter> =
    LazyLock::new(|| counter("bonghwa_scraper_samples_total", "Samples that scrapes brought, before relabelling"));

pub(crate) static DUPLICATES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("bonghwa_scraper_duplicate_samples_total", "Samples of series that their scrape had before")
});

pub(crate) static SKIPPED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("bonghwa_scraper_skipped_scrapes_total", "Scrapes whose time passed while the one before ran")
});

pub(crate) static WRITES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!(
        "bonghwa_scraper_writes_total",
        "Writes of scrapes by outcome: ok, rejected in part, passed over because another replica is elected, repeated, \
         or dropped because they failed until the next scrape was due"
    );
    registered(IntCounterVec::new(opts, &["outcome"]))
});

pub(crate) static BODIES: LazyLock<IntGauge> = LazyLock::new(|| {
    let opts = opts!("bonghwa_scraper_inflight_bytes", "Bytes of bodies and messages that are in memory");
    registered(IntGauge::with_opts(opts))
});

pub(crate) static DISCOVERY_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_scraper_discovery_failures_total", "Failures to find targets, by job and way of finding");
    registered(IntCounterVec::new(opts, &["job", "kind"]))
});

pub(crate) static RELOADS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_scraper_reloads_total", "Changes of the scrape configuration, by outcome");
    registered(IntCounterVec::new(opts, &["outcome"]))
});

pub(crate) static BROKEN: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "1 while the newest scrape configuration cannot be used and the one before it holds";
    registered(IntGauge::with_opts(opts!("bonghwa_scraper_config_broken", help)))
});

pub(crate) static SHARDS: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::with_opts(opts!("bonghwa_scraper_shards", "Shards of the targets that this node scrapes")))
});
