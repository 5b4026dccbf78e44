//! The distributor's own metrics.

use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGauge, opts};

fn counters(opts: prometheus::Opts, labels: &[&str]) -> IntCounterVec {
    match IntCounterVec::new(opts, labels) {
        Ok(metric) => {
            // A second registration of the same name can only come from this file.
            let _ = prometheus::register(Box::new(metric.clone()));
            metric
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
}

fn gauge(opts: prometheus::Opts) -> IntGauge {
    match IntGauge::with_opts(opts) {
        Ok(gauge) => {
            let _ = prometheus::register(Box::new(gauge.clone()));
            gauge
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
}

pub(crate) static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_distributor_requests_total", "Export requests by signal, protocol and status");
    counters(opts, &["signal", "protocol", "status"])
});

pub(crate) static RECEIVED_BYTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counters(opts!("bonghwa_distributor_received_bytes_total", "Decompressed bytes received"), &["tenant", "signal"])
});

pub(crate) static RECEIVED_ITEMS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_distributor_received_items_total", "Log records, points and spans acked");
    counters(opts, &["tenant", "signal"])
});

pub(crate) static DISCARDED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_distributor_discarded_items_total", "Log records, points and spans rejected, by reason");
    counters(opts, &["tenant", "signal", "reason"])
});

pub(crate) static DEDUPLICATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!(
        "bonghwa_distributor_deduplicated_items_total",
        "Samples not taken, as another replica is the elected one"
    );
    counters(opts, &["tenant"])
});

pub(crate) static UNCOUNTED_SPANS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!(
        "bonghwa_distributor_uncounted_spans_total",
        "Spans stored that metrics of spans leave out, as there are too many operations"
    );
    counters(opts, &["tenant"])
});

pub(crate) static UNCOUNTED_REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = opts!(
        "bonghwa_distributor_uncounted_requests_total",
        "Requests between services that the service graph leaves out, as there are too many edges"
    );
    counters(opts, &["tenant"])
});

pub(crate) static GRAPH_WAITING: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(opts!(
        "bonghwa_distributor_service_graph_waiting_spans",
        "Spans that wait for the other side of their request"
    ))
});

pub(crate) static GRAPH_QUEUED: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(opts!(
        "bonghwa_distributor_service_graph_queued_spans",
        "Spans that wait to be sent to the distributor that pairs them"
    ))
});

pub(crate) static INFLIGHT_BYTES: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(opts!("bonghwa_distributor_inflight_bytes", "Request bytes held in memory, compressed and decompressed"))
});
