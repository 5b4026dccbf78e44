//! The compactor's own metrics.

use std::sync::LazyLock;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, histogram_opts, opts};

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

pub(crate) static JOBS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_compactor_jobs_total", "Compaction jobs by kind of work and outcome");
    registered(IntCounterVec::new(opts, &["work", "outcome"]))
});

pub(crate) static JOB_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    registered(Histogram::with_opts(histogram_opts!(
        "bonghwa_compactor_job_duration_seconds",
        "From the lease to the commit of one job",
        vec![0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0]
    )))
});

pub(crate) static BYTES_REMOVED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("bonghwa_compactor_removed_bytes_total", "Bytes of blocks that were replaced"));

pub(crate) static BYTES_ADDED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("bonghwa_compactor_added_bytes_total", "Bytes of blocks that replaced others"));

pub(crate) static ITEMS_DROPPED: LazyLock<IntCounter> =
    LazyLock::new(|| counter("bonghwa_compactor_dropped_items_total", "Rows taken out by deletes and retention"));

pub(crate) static GARBAGE: LazyLock<IntCounter> =
    LazyLock::new(|| counter("bonghwa_compactor_garbage_deleted_total", "Replaced objects deleted from the store"));

pub(crate) static ORPHANS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("bonghwa_compactor_orphans_deleted_total", "Objects deleted that no catalog listed"));

pub(crate) static PLANNED: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::with_opts(opts!("bonghwa_compactor_planned_jobs", "Jobs that the last plan found to do")))
});
