//! Decoding OTLP requests: bytes in, columns out, on one core.
//!
//! The payloads are those of `performance.md`: logs of about 181 B, 1,000 a request; spans of
//! about 211 B with 5 attributes, traces of 8; gauge points of 20k series. prost stands beside
//! as the yardstick: it only builds its message structs. Times are those of the thread on its
//! core, so that neighbours on a busy machine count for little.
#![allow(clippy::expect_used, missing_docs)] // A benchmark: its functions are its documentation.

use bonghwa_model::{Signal, codec};
use bonghwa_wire::{DecodeOptions, decode, decode_json};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, black_box, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

const START: u64 = 1_795_000_000_000_000_000;

/// Nanoseconds that this thread has run.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        // The kernel brings the number up to date when it looks for who runs next.
        std::thread::yield_now();
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts a thread's time");
        stat.split(' ').next().and_then(|n| n.parse().ok()).expect("the first number is nanoseconds")
    }

    fn end(&self, start: u64) -> u64 {
        self.start() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        static WALL: WallTime = WallTime;
        WALL.formatter()
    }
}

/// A small generator of numbers: the same payload in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ (self.0 >> 29)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    pair(key, Value::StringValue(value.into()))
}

fn resource(service: &str) -> Option<Resource> {
    let attributes = vec![
        text("service.name", service),
        text("service.namespace", "shop"),
        text("host.name", "node-7"),
        text("k8s.pod.name", format!("{service}-5d8f7c-x2x9z")),
    ];
    Some(Resource { attributes, ..Default::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "shop.instrumentation".into(), version: "1.4.2".into(), ..Default::default() })
}

fn logs() -> Vec<u8> {
    let mut n = Numbers(1);
    let log_records = (0..1000)
        .map(|i| LogRecord {
            time_unix_nano: START + i * 1_000_000,
            observed_time_unix_nano: START + i * 1_000_000 + 500,
            severity_number: 9,
            severity_text: "INFO".into(),
            body: Some(AnyValue {
                value: Some(Value::StringValue(format!(
                    "GET /api/cart/{} took {} ms",
                    n.next() % 9999,
                    n.next() % 300
                ))),
            }),
            attributes: vec![
                text("http.request.method", "GET"),
                pair("http.response.status_code", Value::IntValue(200)),
                text("user.id", format!("u{:05}", n.next() % 50_000)),
            ],
            trace_id: n.bytes(16),
            span_id: n.bytes(8),
            ..Default::default()
        })
        .collect();
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource("cart"), scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn spans() -> Vec<u8> {
    let mut n = Numbers(2);
    let mut spans = Vec::new();
    for trace in 0..125 {
        let trace_id = n.bytes(16);
        let mut parent = Vec::new();
        for i in 0..8 {
            let span_id = n.bytes(8);
            let start = START + trace * 10_000_000 + i * 100_000;
            spans.push(Span {
                trace_id: trace_id.clone(),
                parent_span_id: std::mem::replace(&mut parent, span_id.clone()),
                span_id,
                name: "GET /api/cart/{id}".into(),
                kind: 2 + (i as i32 & 1),
                start_time_unix_nano: start,
                end_time_unix_nano: start + n.next() % 90_000_000,
                attributes: vec![
                    text("http.request.method", "GET"),
                    text("http.route", "/api/cart/{id}"),
                    pair("http.response.status_code", Value::IntValue(200)),
                    text("server.address", "cart.shop.svc"),
                    text("user.id", format!("u{:05}", n.next() % 50_000)),
                ],
                status: Some(Status::default()),
                flags: 0x101,
                ..Default::default()
            });
        }
    }
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource("cart"), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// One of 20 requests: 50 points of each of 20 metrics, 20k series in all.
fn gauges(request: usize) -> Vec<u8> {
    let mut n = Numbers(3);
    let metrics = (0..20)
        .map(|m| Metric {
            name: format!("shop.queue.depth.{m}"),
            unit: "{item}".into(),
            description: "Items that wait".into(),
            data: Some(metric::Data::Gauge(Gauge {
                data_points: (request * 50..request * 50 + 50)
                    .map(|i| NumberDataPoint {
                        attributes: vec![
                            text("queue", format!("q{:03}", i / 10)),
                            text("shard", format!("{}", i % 10)),
                            text("zone", ["a", "b", "c"][i % 3]),
                        ],
                        time_unix_nano: START,
                        start_time_unix_nano: START - 60_000_000_000,
                        value: Some(number_data_point::Value::AsDouble((n.next() % 10_000) as f64 / 8.0)),
                        ..Default::default()
                    })
                    .collect(),
            })),
            ..Default::default()
        })
        .collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource("cart"), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn decoding(c: &mut Criterion<CpuTime>) {
    let options = DecodeOptions { now_ns: START as i64 + 3_600_000_000_000, ..Default::default() };
    let payloads = [
        (Signal::Logs, vec![logs()]),
        (Signal::Traces, vec![spans()]),
        (Signal::Metrics, (0..20).map(gauges).collect()),
    ];
    for (signal, requests) in payloads {
        let decoded: Vec<_> =
            requests.iter().map(|r| decode(signal, r, &options).expect("the payload is valid")).collect();
        let rows: usize = decoded.iter().map(|d| d.batch.rows()).sum();
        let bytes: usize = requests.iter().map(Vec::len).sum();
        assert!(decoded.iter().all(|d| d.rejected == 0));
        println!("{signal}: {rows} records, {} B each", bytes / rows);

        let mut group = c.benchmark_group(signal.as_str());
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("decode", |b| {
            b.iter(|| {
                for request in &requests {
                    black_box(decode(signal, request, &options)).ok();
                }
            })
        });
        group.bench_function("prost", |b| {
            b.iter(|| {
                for request in &requests {
                    match signal {
                        Signal::Logs => drop(black_box(ExportLogsServiceRequest::decode(&request[..]))),
                        Signal::Traces => drop(black_box(ExportTraceServiceRequest::decode(&request[..]))),
                        Signal::Metrics => drop(black_box(ExportMetricsServiceRequest::decode(&request[..]))),
                    }
                }
            })
        });
        group.bench_function("batch to bytes", |b| {
            b.iter(|| {
                for decoded in &decoded {
                    black_box(codec::encode(&decoded.batch));
                }
            })
        });
        group.finish();
    }

    let request = ExportLogsServiceRequest::decode(&logs()[..]).expect("the payload is valid");
    let json = serde_json::to_vec(&request).expect("messages serialize");
    let mut group = c.benchmark_group("logs");
    group.throughput(Throughput::Bytes(json.len() as u64));
    group.bench_function("decode JSON", |b| b.iter(|| decode_json(Signal::Logs, black_box(&json), &options)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = decoding
}
criterion_main!(benches);
