//! Requests of three records each, whose second one a case changes.

use bonghwa_testkit::Generator;
use bonghwa_testkit::generate::any;
pub use bonghwa_testkit::generate::{attribute, text};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
pub use opentelemetry_proto::tonic::logs::v1::LogRecord as Log;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
pub use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint as Point;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
pub use opentelemetry_proto::tonic::trace::v1::Span as SpanMessage;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, span};
use prost::Message as _;

/// Text that a case replaces with bytes that are no UTF-8.
pub const MARKER: &str = "@@marker@@";

/// Three records; `change` sees the second.
fn three<T>(make: impl Fn(u64) -> T, change: impl Fn(&mut T)) -> Vec<T> {
    let now = Generator::now();
    let mut records: Vec<T> = (0..3).map(|n| make(now + n)).collect();
    change(&mut records[1]);
    records
}

fn resource(service: &str) -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", text(service))], ..Default::default() })
}

/// Log records.
pub fn logs(service: &str, change: impl Fn(&mut Log)) -> Vec<u8> {
    let make = |time_unix_nano| Log { time_unix_nano, body: Some(text("a body")), ..Default::default() };
    let scope_logs = vec![ScopeLogs { log_records: three(make, change), ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(service), scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

/// Spans.
pub fn spans(service: &str, change: impl Fn(&mut SpanMessage)) -> Vec<u8> {
    let make = |time: u64| SpanMessage {
        trace_id: vec![1; 16],
        span_id: time.to_be_bytes().to_vec(),
        name: "a span".into(),
        start_time_unix_nano: time,
        end_time_unix_nano: time + 1_000,
        ..Default::default()
    };
    let scope_spans = vec![ScopeSpans { spans: three(make, change), ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(service), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// Points of one gauge.
pub fn metrics(service: &str, change: impl Fn(&mut Point)) -> Vec<u8> {
    let make = |time_unix_nano| Point { time_unix_nano, value: double(1.5), ..Default::default() };
    let data = Some(Data::Gauge(Gauge { data_points: three(make, change) }));
    let metrics = vec![Metric { name: "a.gauge".into(), data, ..Default::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(service), scope_metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// A point's value.
pub fn double(value: f64) -> Option<Value> {
    Some(Value::AsDouble(value))
}

/// An attribute with a double.
pub fn double_attribute(key: &str, value: f64) -> KeyValue {
    attribute(key, any(any_value::Value::DoubleValue(value)))
}

/// So many attributes.
pub fn many(count: usize) -> Vec<KeyValue> {
    (0..count).map(|n| attribute(&format!("key.{n}"), text("value"))).collect()
}

/// A list in a list, so many levels deep.
pub fn nested(levels: usize) -> AnyValue {
    (0..levels).fold(text("bottom"), |inner, _| any(any_value::Value::ArrayValue(ArrayValue { values: vec![inner] })))
}

/// OTLP/JSON: three log records of a service, the second with a body of nested arrays.
pub fn json_nested(service: &str, levels: usize) -> String {
    let nested = [r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels)].concat();
    json_logs(service, &format!(r#""body":{nested}"#))
}

/// OTLP/JSON: three log records of a service, the second with this trace id.
pub fn json_id(service: &str, trace_id: &str) -> String {
    json_logs(service, &format!(r#""traceId":"{trace_id}""#))
}

fn json_logs(service: &str, second: &str) -> String {
    format!(
        r#"{{"resourceLogs":[{{
            "resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"{service}"}}}}]}},
            "scopeLogs":[{{"logRecords":[{{}},{{{second}}},{{}}]}}]}}]}}"#
    )
}

/// A link with this trace id.
pub fn link(trace_id: Vec<u8>) -> span::Link {
    span::Link { trace_id, span_id: vec![1; 8], ..Default::default() }
}
