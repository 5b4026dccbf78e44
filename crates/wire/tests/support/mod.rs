//! A slow, plain reading of OTLP messages, to hold the decoders to; and messages at random.
#![allow(dead_code, clippy::unwrap_used)]

pub mod random;
pub mod rows;

use bonghwa_model::{Kind, Value, json};
use bonghwa_wire::DecodeOptions;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, Metric, ResourceMetrics, exemplar, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, span};

use rows::Row;

/// The arrival that tests pretend.
pub const NOW: u64 = 1_795_000_000_000_000_000;

pub fn options() -> DecodeOptions {
    DecodeOptions { now_ns: NOW as i64, max_age_ns: Some(86_400_000_000_000), ..Default::default() }
}

/// Rows that a request must give, and how many it must lose.
#[derive(Debug, Default, PartialEq)]
pub struct Expected {
    pub rows: Vec<Row>,
    pub rejected: u64,
}

impl Expected {
    fn add(&mut self, row: Option<Row>) {
        match row {
            Some(row) => self.rows.push(row),
            None => self.rejected += 1,
        }
    }
}

pub fn value(any: Option<&AnyValue>) -> Value {
    use any_value::Value as V;
    match any.and_then(|a| a.value.as_ref()) {
        None | Some(V::StringValueStrindex(_)) => Value::Null,
        Some(V::StringValue(v)) => Value::Str(v.clone()),
        Some(V::IntValue(v)) => Value::Int(*v),
        Some(V::DoubleValue(v)) => Value::Double(*v),
        Some(V::BoolValue(v)) => Value::Bool(*v),
        Some(V::BytesValue(v)) => Value::Bytes(v.clone()),
        Some(V::ArrayValue(v)) => Value::Array(v.values.iter().map(|i| value(Some(i))).collect()),
        Some(V::KvlistValue(v)) => Value::Map(pairs(&v.values)),
    }
}

pub fn pairs(attributes: &[KeyValue]) -> Vec<(String, Value)> {
    let mut list: Vec<(String, Value)> = Vec::new();
    for pair in attributes {
        let value = value(pair.value.as_ref());
        match list.iter_mut().find(|(key, _)| *key == pair.key) {
            Some(known) => known.1 = value,
            None => list.push((pair.key.clone(), value)),
        }
    }
    list
}

pub fn value_json(value: &Value) -> String {
    let mut out = Vec::new();
    json::write_value(&mut out, value);
    String::from_utf8(out).unwrap()
}

fn object(attributes: &[KeyValue]) -> String {
    let mut out = Vec::new();
    json::write_object(&mut out, &pairs(attributes));
    String::from_utf8(out).unwrap()
}

fn text(v: &str) -> String {
    value_json(&Value::Str(v.into()))
}

fn float(v: f64) -> String {
    value_json(&Value::Double(v))
}

fn list<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    if items.is_empty() {
        return String::new();
    }
    format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(","))
}

fn numbers<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(","))
}

fn id_ok(id: &[u8], len: usize) -> bool {
    id.is_empty() || id.len() == len
}

fn id_hex(id: &[u8]) -> String {
    if id.iter().all(|b| *b == 0) { String::new() } else { hex::encode(id) }
}

fn in_time(time: u64) -> bool {
    (NOW - 86_400_000_000_000..=NOW + 600_000_000_000).contains(&time)
}

fn head(resource: &Option<Resource>, resource_url: &str, scope: &Option<InstrumentationScope>, scope_url: &str) -> Row {
    let resource = resource.clone().unwrap_or_default();
    let scope = scope.clone().unwrap_or_default();
    let mut row = Row::default();
    row.set("resource", format!("{:?}", pairs(&resource.attributes)));
    row.set("resource.dropped", resource.dropped_attributes_count);
    row.set("resource.schema_url", resource_url);
    row.set("scope", format!("{} {} {:?}", scope.name, scope.version, pairs(&scope.attributes)));
    row.set("scope.dropped", scope.dropped_attributes_count);
    row.set("scope.schema_url", scope_url);
    row
}

fn set_attributes(row: &mut Row, attributes: &[KeyValue]) {
    let list = pairs(attributes);
    row.attributes = list.iter().map(|(k, v)| (k.clone(), v.kind(), value_json(v))).collect();
}

pub fn logs(request: &[ResourceLogs]) -> Expected {
    let mut expected = Expected::default();
    for r in request {
        for s in &r.scope_logs {
            for l in &s.log_records {
                let time = match (l.time_unix_nano, l.observed_time_unix_nano) {
                    (0, 0) => NOW,
                    (0, observed) => observed,
                    (time, _) => time,
                };
                let ok = in_time(time) && i64::try_from(l.observed_time_unix_nano).is_ok();
                let id = |id: &[u8], len| if id_ok(id, len) { id_hex(id) } else { String::new() };
                let mut row = head(&r.resource, &r.schema_url, &s.scope, &s.schema_url);
                row.set("time", time);
                row.set("observed", l.observed_time_unix_nano);
                row.set("severity", if (0..=24).contains(&l.severity_number) { l.severity_number } else { 0 });
                row.set("severity_text", &l.severity_text);
                let body = value(l.body.as_ref());
                row.set("body_kind", format!("{:?}", body.kind()));
                row.set(
                    "body",
                    match &body {
                        Value::Str(v) => v.clone(),
                        Value::Null => String::new(),
                        other => value_json(other),
                    },
                );
                row.set("trace_id", id(&l.trace_id, 16));
                row.set("span_id", id(&l.span_id, 8));
                row.set("flags", l.flags);
                row.set("dropped", l.dropped_attributes_count);
                row.set("event_name", &l.event_name);
                set_attributes(&mut row, &l.attributes);
                expected.add(ok.then_some(row));
            }
        }
    }
    expected
}

fn event(e: &span::Event) -> String {
    format!(
        r#"{{"time_unix_nano":{},"name":{},"attributes":{},"dropped_attributes_count":{}}}"#,
        e.time_unix_nano,
        text(&e.name),
        object(&e.attributes),
        e.dropped_attributes_count
    )
}

fn link(l: &span::Link) -> String {
    let padded = |id: &[u8], len: usize| if id.is_empty() { "0".repeat(len * 2) } else { hex::encode(id) };
    format!(
        r#"{{"trace_id":"{}","span_id":"{}","trace_state":{},"flags":{},"attributes":{},"dropped_attributes_count":{}}}"#,
        padded(&l.trace_id, 16),
        padded(&l.span_id, 8),
        text(&l.trace_state),
        l.flags,
        object(&l.attributes),
        l.dropped_attributes_count
    )
}

pub fn traces(request: &[ResourceSpans]) -> Expected {
    let mut expected = Expected::default();
    for r in request {
        for s in &r.scope_spans {
            for p in &s.spans {
                let ok = in_time(p.start_time_unix_nano)
                    && p.end_time_unix_nano <= NOW + 600_000_000_000
                    && p.trace_id.len() == 16
                    && p.span_id.len() == 8
                    && id_ok(&p.parent_span_id, 8)
                    && p.trace_id.iter().any(|b| *b != 0)
                    && p.span_id.iter().any(|b| *b != 0)
                    && p.links.iter().all(|l| id_ok(&l.trace_id, 16) && id_ok(&l.span_id, 8))
                    && p.events.iter().all(|e| i64::try_from(e.time_unix_nano).is_ok());
                let status = p.status.clone().unwrap_or_default();
                let mut row = head(&r.resource, &r.schema_url, &s.scope, &s.schema_url);
                row.set("trace_id", id_hex(&p.trace_id));
                row.set("span_id", id_hex(&p.span_id));
                row.set("parent", id_hex(&p.parent_span_id));
                row.set("flags", p.flags);
                row.set("kind", if (0..=5).contains(&p.kind) { p.kind } else { 0 });
                row.set("start", p.start_time_unix_nano);
                row.set("end", p.end_time_unix_nano);
                row.set("status", if (0..=2).contains(&status.code) { status.code } else { 0 });
                row.set("status_message", &status.message);
                row.set("dropped", p.dropped_attributes_count);
                row.set("dropped_events", p.dropped_events_count);
                row.set("dropped_links", p.dropped_links_count);
                row.set("trace_state", &p.trace_state);
                row.set("name", &p.name);
                row.set("events", list(&p.events, event));
                row.set("links", list(&p.links, link));
                set_attributes(&mut row, &p.attributes);
                expected.add(ok.then_some(row));
            }
        }
    }
    expected
}

fn exemplar(e: &Exemplar) -> String {
    let value = match e.value {
        None => "null".to_owned(),
        Some(exemplar::Value::AsInt(v)) => v.to_string(),
        Some(exemplar::Value::AsDouble(v)) => float(v),
    };
    format!(
        r#"{{"time_unix_nano":{},"value":{value},"trace_id":"{}","span_id":"{}","attributes":{}}}"#,
        e.time_unix_nano,
        id_hex(&e.trace_id),
        id_hex(&e.span_id),
        object(&e.filtered_attributes)
    )
}

/// A point of any kind, in plain words.
struct Point<'a> {
    attributes: &'a [KeyValue],
    start: u64,
    time: u64,
    flags: u32,
    exemplars: &'a [Exemplar],
    /// `point_kind` and `value`, or `count`, `sum` and `buckets`; none if the point is invalid.
    content: Option<(String, u64, f64, String)>,
}

fn range(min: Option<f64>, max: Option<f64>) -> String {
    let min = min.map(|v| format!(",\"min\":{}", float(v))).unwrap_or_default();
    let max = max.map(|v| format!(",\"max\":{}", float(v))).unwrap_or_default();
    format!("{min}{max}")
}

fn points(metric: &Metric) -> Vec<Point<'_>> {
    let number = |p: &'_ opentelemetry_proto::tonic::metrics::v1::NumberDataPoint| match p.value {
        Some(number_data_point::Value::AsInt(v)) => Some((format!("Int {v}"), 0, 0.0, String::new())),
        Some(number_data_point::Value::AsDouble(v)) => Some((format!("Double {v:?}"), 0, 0.0, String::new())),
        None => None,
    };
    let kind = |sum: Option<f64>| {
        if sum.is_some() { "Distribution 0".to_owned() } else { "DistributionWithoutSum 0".to_owned() }
    };
    macro_rules! point {
        ($p:expr, $exemplars:expr, $content:expr) => {
            Point {
                attributes: &$p.attributes,
                start: $p.start_time_unix_nano,
                time: $p.time_unix_nano,
                flags: $p.flags,
                exemplars: $exemplars,
                content: $content,
            }
        };
    }
    match metric.data.as_ref() {
        None => Vec::new(),
        Some(Data::Gauge(d)) => d.data_points.iter().map(|p| point!(p, &p.exemplars, number(p))).collect(),
        Some(Data::Sum(d)) => d.data_points.iter().map(|p| point!(p, &p.exemplars, number(p))).collect(),
        Some(Data::Histogram(d)) => d
            .data_points
            .iter()
            .map(|p| {
                let (counts, bounds) = (&p.bucket_counts, &p.explicit_bounds);
                let fits = (counts.is_empty() && bounds.is_empty()) || counts.len() == bounds.len() + 1;
                let sorted = bounds.windows(2).all(|w| w[0] < w[1]);
                let buckets = format!(
                    "{{\"bounds\":{},\"counts\":{}{}}}",
                    numbers(bounds, |v| float(*v)),
                    numbers(counts, u64::to_string),
                    range(p.min, p.max)
                );
                let content = (kind(p.sum), p.count, p.sum.unwrap_or_default(), buckets);
                point!(p, &p.exemplars, (fits && sorted).then_some(content))
            })
            .collect(),
        Some(Data::ExponentialHistogram(d)) => d
            .data_points
            .iter()
            .map(|p| {
                let side =
                    |b: Option<&opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets>| {
                        let b = b.cloned().unwrap_or_default();
                        format!("{{\"offset\":{},\"counts\":{}}}", b.offset, numbers(&b.bucket_counts, u64::to_string))
                    };
                let buckets = format!(
                    "{{\"scale\":{},\"zero_count\":{},\"zero_threshold\":{},\"positive\":{},\"negative\":{}{}}}",
                    p.scale,
                    p.zero_count,
                    float(p.zero_threshold),
                    side(p.positive.as_ref()),
                    side(p.negative.as_ref()),
                    range(p.min, p.max)
                );
                let shown = p.scale >= -4 && p.zero_threshold >= 0.0 && p.zero_threshold.is_finite();
                let content = (kind(p.sum), p.count, p.sum.unwrap_or_default(), buckets);
                point!(p, &p.exemplars, shown.then_some(content))
            })
            .collect(),
        Some(Data::Summary(d)) => d
            .data_points
            .iter()
            .map(|p| {
                let quantiles = numbers(&p.quantile_values, |q| {
                    format!("{{\"quantile\":{},\"value\":{}}}", float(q.quantile), float(q.value))
                });
                let buckets = format!("{{\"quantiles\":{quantiles}}}");
                point!(p, &[], Some((kind(Some(p.sum)), p.count, p.sum, buckets)))
            })
            .collect(),
    }
}

pub fn metrics(request: &[ResourceMetrics]) -> Expected {
    let mut expected = Expected::default();
    for r in request {
        for s in &r.scope_metrics {
            for m in &s.metrics {
                let (name, temporality, monotonic) = match m.data.as_ref() {
                    None | Some(Data::Gauge(_)) => ("gauge", 0, false),
                    Some(Data::Sum(d)) => ("sum", d.aggregation_temporality, d.is_monotonic),
                    Some(Data::Histogram(d)) => ("histogram", d.aggregation_temporality, false),
                    Some(Data::ExponentialHistogram(d)) => ("exponential_histogram", d.aggregation_temporality, false),
                    Some(Data::Summary(_)) => ("summary", 0, false),
                };
                let metadata = if m.metadata.is_empty() { String::new() } else { object(&m.metadata) };
                for p in points(m) {
                    let stale = p.flags & 1 != 0;
                    let valid_shape = p.content.is_some();
                    let number = matches!(name, "gauge" | "sum");
                    let content = match p.content {
                        _ if stale => ("None 0".to_owned(), 0, 0.0, String::new()),
                        Some(content) => content,
                        None => Default::default(),
                    };
                    // A number without a value is fine if it says so; a broken histogram never is.
                    let ok = (valid_shape || (stale && number))
                        && m.name.contains(|c: char| c.is_ascii_alphanumeric() || c == ':')
                        && (matches!(name, "gauge" | "summary") || matches!(temporality, 1 | 2))
                        && p.attributes.iter().all(|pair| !pair.key.is_empty())
                        && in_time(p.time)
                        && i64::try_from(p.start).is_ok()
                        && p.exemplars.iter().all(|e| {
                            id_ok(&e.trace_id, 16) && id_ok(&e.span_id, 8) && i64::try_from(e.time_unix_nano).is_ok()
                        });
                    let mut row = head(&r.resource, &r.schema_url, &s.scope, &s.schema_url);
                    row.set("metric", format!("{} {} {} {name}", m.name, m.unit, m.description));
                    row.set("temporality", temporality);
                    row.set("monotonic", monotonic);
                    row.set("metadata", &metadata);
                    row.set("time", p.time);
                    row.set("start", p.start);
                    row.set("value", content.0);
                    row.set("count", content.1);
                    row.set("sum", format!("{:?}", content.2));
                    row.set("flags", p.flags);
                    row.set("buckets", content.3);
                    row.set("exemplars", list(p.exemplars, exemplar));
                    set_attributes(&mut row, p.attributes);
                    expected.add(ok.then_some(row));
                }
            }
        }
    }
    expected
}

/// The kind of a value that a row shows.
pub fn kind_of(kind: u8) -> Kind {
    Kind::from_u8(kind).unwrap()
}
