//! Metric points: 20,000 series, one point each every 15 s with up to 30 ms of jitter. Two
//! fifths of the series are counters, two fifths integer gauges, one fifth noisy decimals.
//! The same samples come as OTLP and as Prometheus remote write.

use bonghwa_testkit::generate::{attribute, text};
use bonghwa_testkit::{Signal, seed};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use prost::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::infrastructure::{self, resource, scope};
use super::{BASE_TIME, LANES, SEED, Set};
use remote_write::{Sample, TimeSeries};

pub(super) const PODS_PER_REQUEST: usize = 20;
const PODS: usize = PODS_PER_REQUEST * LANES;
const LAYERS: [&str; 4] = ["http", "rpc", "db", "cache"];
/// By kind: see [`Kind::of`].
const MEASURES: [&str; 5] = ["requests", "bytes", "queue.length", "connections", "utilization"];
const METRICS_PER_POD: usize = LAYERS.len() * MEASURES.len();
pub(super) const OPERATIONS: [&str; 5] = ["get", "list", "create", "update", "delete"];
pub(super) const SERIES_PER_POD: usize = METRICS_PER_POD * OPERATIONS.len();
pub(super) const POINTS_PER_REQUEST: usize = PODS_PER_REQUEST * SERIES_PER_POD;

const INTERVAL_MS: u64 = 15_000;
const JITTER_MS: u64 = 30;
pub(super) const MS: u64 = 1_000_000;
const CUMULATIVE: i32 = 2;

/// The same samples for different receivers.
pub struct Dialects {
    /// OTLP.
    pub otlp: Set,
    /// Prometheus remote write 1.0: protobuf in snappy's block format.
    pub remote_write: Set,
}

/// `steps` points for each of 20,000 series, in requests of 2,000 points.
pub fn metrics(steps: usize) -> Dialects {
    let mut rng = seed::rng(SEED, 3);
    let mut points: Vec<Point> = vec![Point::default(); PODS * SERIES_PER_POD];
    let (mut otlp, mut remote_write) = (vec![], vec![]);
    for step in 0..steps as u64 {
        for (series, point) in points.iter_mut().enumerate() {
            point.advance(&mut rng, Kind::of_series(series), step);
        }
        for (nth, points) in points.chunks(POINTS_PER_REQUEST).enumerate() {
            let first_pod = nth * PODS_PER_REQUEST;
            otlp.push(as_otlp(first_pod, points));
            remote_write.push(as_remote_write(first_pod, points, infrastructure::pod_name));
        }
    }
    let set = |requests| Set {
        signal: Signal::Metrics,
        items_per_request: POINTS_PER_REQUEST as u64,
        requests,
        lanes: LANES,
    };
    Dialects { otlp: set(otlp), remote_write: set(remote_write) }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Counter,
    IntegerGauge,
    NoisyGauge,
}

impl Kind {
    /// By the place of a series in its pod.
    pub(super) fn of_series(series: usize) -> Kind {
        Kind::of(series % SERIES_PER_POD / OPERATIONS.len())
    }

    fn of(metric: usize) -> Kind {
        match metric % MEASURES.len() {
            0 | 1 => Kind::Counter,
            2 | 3 => Kind::IntegerGauge,
            _ => Kind::NoisyGauge,
        }
    }
}

/// The current point of a series; hundredths keep decimals exact.
#[derive(Clone, Default)]
pub(super) struct Point {
    time_ms: u64,
    hundredths: i64,
}

impl Point {
    pub(super) fn advance(&mut self, rng: &mut StdRng, kind: Kind, step: u64) {
        self.time_ms = BASE_TIME / MS + step * INTERVAL_MS + rng.random_range(0..=JITTER_MS);
        match kind {
            Kind::Counter => self.hundredths += 100 * rng.random_range(0..16),
            Kind::IntegerGauge => self.hundredths = (self.hundredths + 100 * rng.random_range(-4..=4)).max(0),
            Kind::NoisyGauge => self.hundredths = rng.random_range(0..10_000),
        }
    }

    fn value(&self) -> f64 {
        self.hundredths as f64 / 100.0
    }

    fn otlp(&self, kind: Kind, operation: &str) -> NumberDataPoint {
        NumberDataPoint {
            attributes: vec![attribute("operation", text(operation))],
            start_time_unix_nano: if kind == Kind::Counter { BASE_TIME } else { 0 },
            time_unix_nano: self.time_ms * MS,
            value: Some(match kind {
                Kind::Counter => number_data_point::Value::AsInt(self.hundredths / 100),
                _ => number_data_point::Value::AsDouble(self.value()),
            }),
            ..Default::default()
        }
    }
}

fn metric_name(metric: usize) -> String {
    format!("{}.{}", LAYERS[metric / MEASURES.len()], MEASURES[metric % MEASURES.len()])
}

fn as_otlp(first_pod: usize, points: &[Point]) -> Bytes {
    let metric = |(metric, points): (usize, &[Point])| {
        let kind = Kind::of(metric);
        let data_points = points.iter().zip(OPERATIONS).map(|(point, operation)| point.otlp(kind, operation)).collect();
        let data = match kind {
            Kind::Counter => Data::Sum(Sum { data_points, aggregation_temporality: CUMULATIVE, is_monotonic: true }),
            _ => Data::Gauge(Gauge { data_points }),
        };
        Metric { name: metric_name(metric), data: Some(data), ..Default::default() }
    };
    let resource_metrics = points
        .chunks(SERIES_PER_POD)
        .enumerate()
        .map(|(nth, points)| ResourceMetrics {
            resource: Some(resource(first_pod + nth)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: points.chunks(OPERATIONS.len()).enumerate().map(metric).collect(),
                ..Default::default()
            }],
            ..Default::default()
        })
        .collect();
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into()
}

/// `name` is a pod's, by its number.
pub(super) fn as_remote_write(first_pod: usize, points: &[Point], name: impl Fn(usize) -> String) -> Bytes {
    let series = |(nth, point): (usize, &Point)| {
        let pod = first_pod + nth / SERIES_PER_POD;
        let metric = nth % SERIES_PER_POD / OPERATIONS.len();
        let own = [("operation", OPERATIONS[nth % OPERATIONS.len()].to_owned()), ("k8s_pod_name", name(pod))];
        let labels = remote_write::labels(&metric_name(metric).replace('.', "_"), pod, own);
        TimeSeries { labels, samples: vec![Sample { value: point.value(), timestamp: point.time_ms as i64 }] }
    };
    remote_write::request(points.iter().enumerate().map(series).collect())
}

/// The part of Prometheus's `remote.proto` that samples need.
pub(super) mod remote_write {
    use bytes::Bytes;
    use prost::Message as _;

    use super::super::infrastructure::{self, NAMESPACE};

    /// A body as the protocol wants it.
    pub fn request(timeseries: Vec<TimeSeries>) -> Bytes {
        let mut compressed = snap::raw::Encoder::new();
        match compressed.compress_vec(&WriteRequest { timeseries }.encode_to_vec()) {
            Ok(body) => body.into(),
            Err(error) => unreachable!("a request is far below snappy's 4 GiB: {error}"),
        }
    }

    /// The labels of a pod's series, sorted by name.
    pub fn labels<const N: usize>(metric: &str, pod: usize, own: [(&str, String); N]) -> Vec<Label> {
        let common = [
            ("__name__", metric.to_owned()),
            ("host_name", infrastructure::node_name(pod)),
            ("k8s_namespace_name", NAMESPACE.to_owned()),
            ("service_name", infrastructure::service(pod).to_owned()),
        ];
        let labels = common.into_iter().chain(own).map(|(name, value)| Label { name: name.into(), value });
        let mut labels: Vec<Label> = labels.collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        labels
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct WriteRequest {
        #[prost(message, repeated, tag = "1")]
        pub timeseries: Vec<TimeSeries>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        #[prost(message, repeated, tag = "1")]
        pub labels: Vec<Label>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Label {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Sample {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }
}
