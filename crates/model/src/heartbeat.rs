//! The heartbeats of instances that push: how they lie in the model. A receiver writes one for each instance from
//! which a request with metrics came, and queries of series see by them who fell silent. They are stored, so this
//! never changes without a new [`VERSION`].
//!
//! | Of a heartbeat | In the model |
//! |---|---|
//! | that it is one | scope [`SCOPE`], version [`VERSION`] |
//! | whose | the resource that the request has |
//! | the metric | a gauge [`METRIC`] whose value is the integer 1 |
//! | the time | that of the receipt, by the server's clock, whole milliseconds |
//! | what tells it from a series that was scraped | the attribute [`SOURCE_LABEL`] with the value [`SOURCE`] |
//!
//! Nobody else writes a series [`METRIC`] with that label: receivers refuse it.

use crate::batch::Scope;
use crate::metrics::{Metric, MetricType};

/// The metric, as Prometheus calls that of its targets.
pub const METRIC: &str = "up";

/// The label that only heartbeats have.
pub const SOURCE_LABEL: &str = "bonghwa_source";

/// Its value: by what protocol the instance pushes.
pub const SOURCE: &str = "otlp";

/// The name of the scope of heartbeats.
pub const SCOPE: &str = "io.bonghwa.heartbeat";

/// The version of the scope.
pub const VERSION: &str = "1";

/// The scope of heartbeats.
pub fn scope() -> Scope {
    Scope { name: SCOPE.to_owned(), version: VERSION.to_owned(), ..Default::default() }
}

/// The metric of heartbeats.
pub fn metric() -> Metric {
    let description = "1: the instance sent metrics. Queries of series add a 0 for each that fell silent.";
    Metric {
        name: METRIC.to_owned(),
        description: description.to_owned(),
        metric_type: MetricType::Gauge,
        ..Default::default()
    }
}
