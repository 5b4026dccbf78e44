//! Seeded telemetry. Every record has an id that no other one of the run has, and few
//! enough other properties that a test can compute what a query must answer.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::seed;

/// What a batch carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Metric points.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    /// All three.
    pub const ALL: [Signal; 3] = [Signal::Logs, Signal::Metrics, Signal::Traces];

    /// The path of OTLP/HTTP.
    pub fn path(self) -> &'static str {
        match self {
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
            Signal::Traces => "/v1/traces",
        }
    }

    /// The table in SQL.
    pub fn table(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
            Signal::Traces => "spans",
        }
    }

    /// SQL for whether a row of the table was sent: a receiver adds heartbeats to metrics.
    pub fn sent(self) -> &'static str {
        match self {
            Signal::Logs | Signal::Traces => "true",
            Signal::Metrics => "name <> 'up'",
        }
    }

    /// SQL for a record's id as an integer.
    pub fn id_column(self) -> &'static str {
        match self {
            Signal::Logs | Signal::Traces => "cast(substr(attributes['record.id'], 2) as bigint)",
            Signal::Metrics => "cast(coalesce(value, sum) as bigint)",
        }
    }
}

/// The services that send.
pub const SERVICES: [&str; 4] = ["frontend", "checkout", "payment", "inventory"];
/// The values of the attribute `http.route`.
pub const ROUTES: [&str; 5] = ["/", "/cart", "/cart/{id}", "/checkout", "/products/{id}"];

/// What a test knows of one record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Unique in the run. As an attribute: `record.id`, text. Of a metric point: its value or sum.
    pub id: u64,
    /// Unix nanoseconds.
    pub time: u64,
    /// Index into [`SERVICES`].
    pub service: usize,
    /// Index into [`ROUTES`].
    pub route: usize,
    /// The integer attribute `amount`; of a span also its duration in microseconds.
    pub amount: i64,
    /// Severity ERROR, status error.
    pub error: bool,
}

/// Records and the OTLP request that carries them.
pub struct Batch {
    /// What it carries.
    pub signal: Signal,
    /// In no particular order.
    pub records: Vec<Record>,
    /// Protobuf.
    pub body: Vec<u8>,
}

/// Makes batches. Two generators of a run need different `worker`s.
pub struct Generator {
    rng: StdRng,
    next: u64,
    base_time: u64,
}

impl Generator {
    /// Ids start at `worker` * 2^32, times at `base_time` (Unix nanoseconds).
    pub fn new(seed: u64, worker: u64, base_time: u64) -> Self {
        Generator { rng: seed::rng(seed, worker), next: worker << 32, base_time }
    }

    /// The current time as a `base_time`.
    pub fn now() -> u64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |d| d.as_nanos() as u64)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    /// A batch of `count` records.
    pub fn batch(&mut self, signal: Signal, count: usize) -> Batch {
        let records: Vec<Record> = (0..count).map(|_| self.record()).collect();
        let body = match signal {
            Signal::Logs => self.logs(&records).encode_to_vec(),
            Signal::Metrics => metrics(&records).encode_to_vec(),
            Signal::Traces => self.traces(&records).encode_to_vec(),
        };
        Batch { signal, records, body }
    }

    fn record(&mut self) -> Record {
        let id = self.next;
        self.next += 1;
        Record {
            id,
            time: self.base_time + (id & 0xFFFF_FFFF) * 1_000,
            service: self.rng.random_range(0..SERVICES.len()),
            route: self.rng.random_range(0..ROUTES.len()),
            amount: self.rng.random_range(0..10_000),
            error: self.rng.random_bool(0.1),
        }
    }

    fn logs(&mut self, records: &[Record]) -> ExportLogsServiceRequest {
        let resource_logs = by_service(records)
            .map(|(service, records)| ResourceLogs {
                resource: Some(resource(service)),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    log_records: records.into_iter().map(|r| self.log(r)).collect(),
                    ..Default::default()
                }],
                ..Default::default()
            })
            .collect();
        ExportLogsServiceRequest { resource_logs }
    }

    fn log(&mut self, record: &Record) -> LogRecord {
        LogRecord {
            time_unix_nano: record.time,
            observed_time_unix_nano: record.time + 1,
            severity_number: if record.error { 17 } else { 9 },
            severity_text: if record.error { "ERROR" } else { "INFO" }.into(),
            body: Some(text(format!("request {} for {} took {} us", record.id, ROUTES[record.route], record.amount))),
            attributes: attributes(record),
            trace_id: self.rng.random::<[u8; 16]>().to_vec(),
            span_id: self.rng.random::<[u8; 8]>().to_vec(),
            ..Default::default()
        }
    }

    fn traces(&mut self, records: &[Record]) -> ExportTraceServiceRequest {
        let trace: [u8; 16] = self.rng.random();
        let root: [u8; 8] = self.rng.random();
        let resource_spans = by_service(records)
            .map(|(service, records)| ResourceSpans {
                resource: Some(resource(service)),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope()),
                    spans: records.into_iter().map(|r| self.span(r, trace, root)).collect(),
                    ..Default::default()
                }],
                ..Default::default()
            })
            .collect();
        ExportTraceServiceRequest { resource_spans }
    }

    fn span(&mut self, record: &Record, trace: [u8; 16], parent: [u8; 8]) -> Span {
        let event = span::Event {
            time_unix_nano: record.time + 1,
            name: "exception".into(),
            attributes: vec![attribute("exception.type", text("Declined"))],
            ..Default::default()
        };
        Span {
            trace_id: trace.to_vec(),
            span_id: self.rng.random::<[u8; 8]>().to_vec(),
            parent_span_id: parent.to_vec(),
            name: ROUTES[record.route].into(),
            kind: span::SpanKind::Server as i32,
            start_time_unix_nano: record.time,
            end_time_unix_nano: record.time + record.amount as u64 * 1_000,
            attributes: attributes(record),
            events: if record.error { vec![event] } else { vec![] },
            status: Some(Status { code: if record.error { 2 } else { 0 }, ..Default::default() }),
            ..Default::default()
        }
    }
}

/// The name of the metric that a record becomes: all five types take their turn.
pub fn metric_name(record: &Record) -> &'static str {
    ["queue.length", "requests", "latency", "payload.size", "rpc.time"][(record.id % 5) as usize]
}

fn metrics(records: &[Record]) -> ExportMetricsServiceRequest {
    let resource_metrics = by_service(records)
        .map(|(service, records)| ResourceMetrics {
            resource: Some(resource(service)),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: records.into_iter().map(metric).collect(),
                ..Default::default()
            }],
            ..Default::default()
        })
        .collect();
    ExportMetricsServiceRequest { resource_metrics }
}

fn metric(record: &Record) -> Metric {
    let attributes = vec![attribute("http.route", text(ROUTES[record.route]))];
    let time_unix_nano = record.time;
    let start_time_unix_nano = record.time - record.time % 3_600_000_000_000;
    let sum = record.id as f64;
    let number = |value| NumberDataPoint {
        attributes: attributes.clone(),
        time_unix_nano,
        start_time_unix_nano,
        value: Some(value),
        ..Default::default()
    };
    let data = match record.id % 5 {
        0 => Data::Gauge(Gauge { data_points: vec![number(Value::AsDouble(sum))] }),
        1 => Data::Sum(Sum {
            data_points: vec![number(Value::AsInt(record.id as i64))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        2 => Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                attributes,
                time_unix_nano,
                start_time_unix_nano,
                count: 6,
                sum: Some(sum),
                bucket_counts: vec![1, 2, 3],
                explicit_bounds: vec![0.5, 5.0],
                ..Default::default()
            }],
            aggregation_temporality: 2,
        }),
        3 => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![ExponentialHistogramDataPoint {
                attributes,
                time_unix_nano,
                start_time_unix_nano,
                count: 4,
                sum: Some(sum),
                scale: 3,
                zero_count: 1,
                positive: Some(Buckets { offset: -1, bucket_counts: vec![1, 2] }),
                ..Default::default()
            }],
            aggregation_temporality: 2,
        }),
        _ => Data::Summary(Summary {
            data_points: vec![SummaryDataPoint {
                attributes,
                time_unix_nano,
                start_time_unix_nano,
                count: 3,
                sum,
                ..Default::default()
            }],
        }),
    };
    Metric { name: metric_name(record).into(), unit: "1".into(), data: Some(data), ..Default::default() }
}

fn by_service(records: &[Record]) -> impl Iterator<Item = (usize, Vec<&Record>)> {
    (0..SERVICES.len())
        .map(move |service| (service, records.iter().filter(|r| r.service == service).collect::<Vec<_>>()))
        .filter(|(_, records)| !records.is_empty())
}

fn attributes(record: &Record) -> Vec<KeyValue> {
    vec![
        attribute("record.id", text(format!("r{}", record.id))),
        attribute("http.route", text(ROUTES[record.route])),
        attribute("amount", any(any_value::Value::IntValue(record.amount))),
        attribute("failed", any(any_value::Value::BoolValue(record.error))),
    ]
}

fn resource(service: usize) -> Resource {
    Resource {
        attributes: vec![
            attribute("service.name", text(SERVICES[service])),
            attribute("k8s.pod.name", text(format!("{}-7d9f", SERVICES[service]))),
        ],
        ..Default::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "testkit".into(), version: "1".into(), ..Default::default() }
}

/// An attribute.
pub fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
}

/// A text value.
pub fn text(value: impl Into<String>) -> AnyValue {
    any(any_value::Value::StringValue(value.into()))
}

/// A value of any type.
pub fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}
