//! Metrics that are derived from the spans that were acked: of the spans themselves
//! ([`span_metrics`]), and of the requests between services that they are sides of
//! ([`service_graph`]).

use std::sync::Arc;

use bonghwa_cluster::seam;
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_wire::derived::Counters;
use bonghwa_wire::service_graph::{self, Found};
use bonghwa_wire::span_metrics::{self, Counted};
use futures::future::join;

use crate::metrics;
use crate::receive::Receiver;

/// Series of an operation.
pub const OPERATION_SERIES: usize = span_metrics::Counts::SERIES;
/// Series of an edge of the service graph.
pub const EDGE_SERIES: usize = service_graph::Counts::SERIES;

/// What is to be counted of a request once it is acked.
#[derive(Default)]
pub(crate) struct Uncounted {
    spans: Option<Counted>,
    graph: Option<Found>,
}

impl Receiver {
    /// What is to be counted of a request.
    pub(crate) fn uncounted(&self, batch: &Batch) -> Uncounted {
        let Batch::Traces(spans) = batch else { return Uncounted::default() };
        Uncounted {
            spans: self.span_metrics.is_some().then(|| span_metrics::count(spans)),
            graph: self.service_graph.as_ref().map(|graph| service_graph::find(spans, graph.peer_attributes())),
        }
    }

    /// Counts what was acked.
    pub(crate) fn count_spans(&self, tenant: &TenantId, uncounted: Uncounted) {
        if let (Some(span_metrics), Some(counted)) = (&self.span_metrics, uncounted.spans) {
            let passed_over = span_metrics.add(tenant, counted);
            if passed_over > 0 {
                metrics::UNCOUNTED_SPANS.with_label_values(&[&self.labels.of(tenant)]).inc_by(passed_over);
            }
        }
        if let (Some(graph), Some(found)) = (&self.service_graph, uncounted.graph) {
            let passed_over = graph.take(&self.view.current(), tenant, found);
            self.passed_over_requests(tenant, passed_over);
        }
    }

    pub(crate) fn passed_over_requests(&self, tenant: &TenantId, passed_over: u64) {
        if passed_over > 0 {
            metrics::UNCOUNTED_REQUESTS.with_label_values(&[&self.labels.of(tenant)]).inc_by(passed_over);
        }
    }

    /// Tells of spans again and again, where they are counted, until it is dropped.
    pub async fn tell_of_spans(self: Arc<Self>) {
        let spans = async {
            let Some(span_metrics) = &self.span_metrics else { return };
            loop {
                seam::sleep(span_metrics.interval()).await;
                self.tell(span_metrics).await;
            }
        };
        let graph = async {
            let Some(graph) = &self.service_graph else { return };
            loop {
                seam::sleep(graph.counting().interval()).await;
                self.tell_of_graph().await;
            }
        };
        join(spans, graph).await;
    }

    /// Writes what was counted until now.
    pub async fn tell_of_spans_now(&self) {
        if let Some(span_metrics) = &self.span_metrics {
            self.tell(span_metrics).await;
        }
        self.tell_of_graph().await;
    }

    async fn tell_of_graph(&self) {
        let Some(graph) = &self.service_graph else { return };
        for (tenant, passed_over) in graph.expire() {
            self.passed_over_requests(&tenant, passed_over);
        }
        self.tell(graph.counting()).await;
    }
}
