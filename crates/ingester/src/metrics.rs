//! The ingester's own metrics.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, histogram_opts, opts,
};

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

fn counter(opts: Opts) -> IntCounter {
    registered(IntCounter::with_opts(opts))
}

fn histogram(opts: HistogramOpts) -> Histogram {
    registered(Histogram::with_opts(opts))
}

pub(crate) static APPENDED_ROWS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_ingester_appended_rows_total", "Log records, points and spans acked by partitions here");
    registered(IntCounterVec::new(opts, &["signal"]))
});

pub(crate) static APPENDED_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_ingester_appended_bytes_total", "Encoded batch bytes acked by partitions here");
    registered(IntCounterVec::new(opts, &["signal"]))
});

pub(crate) static HEAD_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    registered(IntGauge::with_opts(opts!(
        "bonghwa_ingester_head_bytes",
        "Memory held by the heads, flushed tails included"
    )))
});

pub(crate) static QUEUE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_ingester_queue_length", "Appends that wait for a partition's log");
    registered(IntGaugeVec::new(opts, &["partition"]))
});

pub(crate) static OVERLOADED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(opts!("bonghwa_ingester_overloaded_total", "Appends refused because heads or queues were full"))
});

pub(crate) static FLUSHES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_ingester_flushes_total", "Flushes by signal and outcome");
    registered(IntCounterVec::new(opts, &["signal", "outcome"]))
});

pub(crate) static FLUSHED_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_ingester_flushed_bytes_total", "Bytes of the blocks written");
    registered(IntCounterVec::new(opts, &["signal"]))
});

pub(crate) static FLUSH_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let opts = histogram_opts!(
        "bonghwa_ingester_flush_duration_seconds",
        "From the first byte sorted to the commit",
        vec![0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
    );
    histogram(opts)
});

pub(crate) static UNREADABLE: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(opts!(
        "bonghwa_ingester_unreadable_entries_total",
        "Log entries that passed their checksum and could not be decoded"
    ))
});
