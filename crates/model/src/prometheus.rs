//! How a Prometheus series lies in the model: what receivers of Prometheus' protocols write, and
//! what queries read back. It is stored, so it never changes without a new [`VERSION`].
//!
//! | Of Prometheus | In the model |
//! |---|---|
//! | that the series came with Prometheus' labels | scope [`SCOPE`], version [`VERSION`], no attributes |
//! | `__name__` | the metric's name; unit, description and metadata are empty |
//! | all other labels, `job` and `instance` among them | attributes, texts, sorted by name, none of them empty |
//! | `job`, `instance` | also the resource, see [`resource`]: shards, SQL and the catalog see the service |
//! | a float sample | a [`PointKind::Double`] of a gauge: its bits, NaN and [`STALE_NAN`] included |
//! | a native histogram | a [`PointKind::Distribution`], see below |
//! | a timestamp, milliseconds | nanoseconds |
//! | a start (created) timestamp | `start_time` |
//! | an exemplar | an entry of `exemplars` of a sample of its series, see below |
//! | type, help and unit of a metric | a row of its own, see [`metadata`] |
//!
//! The type of a metric comes late or never, so that it is no part of a series: all floats are of
//! a gauge, whatever they count, without temporality and not monotonic.
//!
//! **Native histograms.** With a schema (-4 to 52) the metric's type is exponential histogram, with
//! custom bounds (schema -53) histogram; `buckets` is the JSON that [`crate::metrics`] documents.
//! `scale` is the schema. Prometheus' bucket `i` ends at `base^i`, OpenTelemetry's begins there: `offset`
//! is the first bucket's index less one. Gaps between spans are buckets of 0. What OpenTelemetry has no
//! place for follows as keys of the same object: `"reset_hint"`, one of [`RESET_HINTS`], absent for unknown;
//! and for a histogram of floats `"float_count"`, its count. Its counts are JSON floats, and the column
//! `count` holds the whole part. One whose sum has the bits of [`STALE_NAN`] is a staleness marker. A marker
//! comes as whatever its sender thinks the series is: it ends the floats and both kinds of histograms
//! of its labels.
//!
//! **Exemplars.** Prometheus sends them apart from samples. One goes to the last sample of its series, in
//! the same request, at or before its time; else to the first one after it. Without any sample of the
//! series in the request it gets a row that is no sample: a [`PointKind::None`] of the gauge at the time of
//! the first exemplar, whose flags are 0 (see [`is_sample`]). The labels `trace_id` and `span_id` become
//! the exemplar's ids where they are 32 and 16 lower-case hex digits, and are attributes otherwise.

use crate::Value;
use crate::batch::{Resource, Scope};
use crate::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};

/// The name of the scope whose series came with Prometheus' labels.
pub const SCOPE: &str = "io.bonghwa.prometheus";

/// The coarsest schema of native histograms that queries read; finer ones than [`FINEST_SCHEMA`] are merged.
pub const COARSEST_SCHEMA: i32 = -4;

/// The finest schema that Prometheus shows.
pub const FINEST_SCHEMA: i32 = 8;

/// The name of the scope of metadata: its rows are no samples, queries of series pass over them.
pub const METADATA_SCOPE: &str = "io.bonghwa.prometheus.metadata";

/// The service that metadata belongs to: it is known by metric name, not by service.
pub const METADATA_SERVICE: &str = "prometheus.metadata";

/// The version of both scopes.
pub const VERSION: &str = "1";

/// The label that is the metric's name.
pub const NAME_LABEL: &str = "__name__";

/// The label that says which service a series is of.
pub const JOB_LABEL: &str = "job";

/// The label that says which instance of the service.
pub const INSTANCE_LABEL: &str = "instance";

/// The bits of the value by which Prometheus says that a series ended.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// The key of a metric's metadata that holds Prometheus' own type, one of [`TYPES`].
pub const TYPE_KEY: &str = "prometheus.type";

/// Prometheus' metric types by their protobuf numbers.
pub const TYPES: [&str; 8] =
    ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];

/// The reset hints of native histograms by their protobuf numbers; the first is not written.
pub const RESET_HINTS: [&str; 4] = ["unknown", "yes", "no", "gauge"];

/// The scope of series.
pub fn scope() -> Scope {
    Scope { name: SCOPE.to_owned(), version: VERSION.to_owned(), ..Default::default() }
}

/// Whether a row is a sample of a series, and not one that only holds exemplars or metadata.
pub fn is_sample(kind: PointKind, flags: u32) -> bool {
    kind != PointKind::None || flags != 0
}

/// The resource of a series with these labels; empty ones are as good as none.
///
/// `service.name` is the job; of a job `namespace/name` the name, and the rest is
/// `service.namespace`. `service.instance.id` is the instance. The caller says how a service without a
/// job is called.
pub fn resource(job: &str, instance: &str, unnamed: &str) -> Resource {
    let mut attributes = Vec::with_capacity(3);
    let mut add = |key: &str, value: &str| {
        if !value.is_empty() {
            attributes.push((key.to_owned(), Value::Str(value.to_owned())));
        }
    };
    let (namespace, name) = service(job);
    add("service.namespace", namespace);
    add("service.name", name);
    add("service.instance.id", instance);
    let service_name = if name.is_empty() { unnamed } else { name };
    Resource { service_name: service_name.to_owned(), attributes, ..Default::default() }
}

/// Namespace and name of the service that a job is.
pub fn service(job: &str) -> (&str, &str) {
    match job.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => (namespace, name),
        _ => ("", job),
    }
}

/// Type, help and unit of a metric family, as a sender told them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Name of the family.
    pub family: String,
    /// Number in [`TYPES`].
    pub metric_type: u8,
    /// Help text.
    pub help: String,
    /// Unit.
    pub unit: String,
}

impl Metadata {
    /// As a metric: the type that is nearest, and Prometheus' own as [`TYPE_KEY`] of its metadata.
    pub fn metric(&self) -> Metric {
        let (metric_type, monotonic, temporality) = match self.metric_type {
            1 => (MetricType::Sum, true, 2),
            3 => (MetricType::Histogram, false, 2),
            4 => (MetricType::Histogram, false, 0),
            5 => (MetricType::Summary, false, 0),
            _ => (MetricType::Gauge, false, 0),
        };
        let own = TYPES.get(self.metric_type as usize).unwrap_or(&TYPES[0]);
        Metric {
            name: self.family.clone(),
            unit: self.unit.clone(),
            description: self.help.clone(),
            metric_type,
            monotonic,
            temporality,
            metadata: format!("{{\"{TYPE_KEY}\":\"{own}\"}}"),
        }
    }
}

/// Metadata as rows: a [`PointKind::None`] without flags or attributes for each, at its arrival, of the
/// scope [`METADATA_SCOPE`] and the service [`METADATA_SERVICE`]. `series` gives a metric its identity.
pub fn metadata(
    families: &[Metadata],
    arrival: i64,
    series: impl Fn(&Resource, &Scope, &Metric) -> [u64; 2],
) -> MetricBatch {
    let mut batch = MetricBatch::default();
    let resource = Resource { service_name: METADATA_SERVICE.to_owned(), ..Default::default() };
    let scope = Scope { name: METADATA_SCOPE.to_owned(), version: VERSION.to_owned(), ..Default::default() };
    for family in families {
        let metric = family.metric();
        let row = MetricRow {
            metric: batch.metrics.len() as u32,
            series: series(&resource, &scope, &metric),
            time: arrival,
            point_kind: PointKind::None,
            ..Default::default()
        };
        batch.metrics.push(metric);
        batch.push_row(row);
    }
    batch.common.close_group(0, 0, families.len() as u32);
    batch.common.resources.push(resource);
    batch.common.scopes.push(scope);
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_services() {
        for (job, expected) in [
            ("node", ("", "node")),
            ("monitoring/kubelet", ("monitoring", "kubelet")),
            ("a/b/c", ("a", "b/c")),
            ("/x", ("", "/x")),
            ("x/", ("", "x/")),
            ("", ("", "")),
        ] {
            assert_eq!(service(job), expected, "{job}");
        }
        let made = resource("shop/cart", "10.0.0.1:80", "unknown_service");
        let text = |key: &str, value: &str| (key.to_owned(), Value::Str(value.to_owned()));
        assert_eq!(made.service_name, "cart");
        assert_eq!(
            made.attributes,
            [
                text("service.namespace", "shop"),
                text("service.name", "cart"),
                text("service.instance.id", "10.0.0.1:80")
            ]
        );
        let nobody = resource("", "", "unknown_service");
        assert_eq!((nobody.service_name.as_str(), nobody.attributes.len()), ("unknown_service", 0));
    }

    #[test]
    fn what_is_no_sample() {
        assert!(is_sample(PointKind::Double, 0));
        assert!(is_sample(PointKind::Distribution, 0));
        assert!(is_sample(PointKind::None, 1), "OTLP's staleness");
        assert!(!is_sample(PointKind::None, 0));
        assert!(f64::from_bits(STALE_NAN).is_nan());
    }
}
