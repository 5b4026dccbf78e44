//! OTLP's JSON encoding of traces: ids in hex, 64-bit integers as text, enums as
//! numbers, floats that JSON lacks as text (the OTLP specification's JSON Protobuf
//! encoding). Fields at their default are left out.
//!
//! `opentelemetry-proto`'s own encoding turns NaN and infinities into null.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};
use serde_json::{Map, Value, json};

/// A whole trace: `{"resourceSpans":[...]}`.
pub(crate) fn traces(data: &TracesData) -> Value {
    json!({ "resourceSpans": data.resource_spans.iter().map(resource_spans).collect::<Vec<_>>() })
}

/// An object from which fields at their default are left out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn any(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.any(key, value.into()) }
    }

    fn id(self, key: &str, bytes: &[u8]) -> Self {
        self.text(key, &bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    fn number(self, key: &str, value: i64) -> Self {
        if value == 0 { self } else { self.any(key, value.into()) }
    }

    fn time(self, key: &str, nanos: u64) -> Self {
        self.any(key, nanos.to_string().into())
    }

    fn list<T>(self, key: &str, items: &[T], write: impl Fn(&T) -> Value) -> Self {
        if items.is_empty() { self } else { self.any(key, items.iter().map(write).collect()) }
    }

    fn end(self) -> Value {
        Value::Object(self.0)
    }
}

fn resource_spans(group: &ResourceSpans) -> Value {
    let resource = group.resource.as_ref().map_or_else(|| json!({}), resource);
    let scopes = group.scope_spans.iter().map(scope_spans).collect();
    Object::default().any("resource", resource).any("scopeSpans", scopes).text("schemaUrl", &group.schema_url).end()
}

fn resource(resource: &Resource) -> Value {
    Object::default()
        .list("attributes", &resource.attributes, key_value)
        .number("droppedAttributesCount", resource.dropped_attributes_count.into())
        .end()
}

fn scope_spans(group: &ScopeSpans) -> Value {
    Object::default()
        .any("scope", group.scope.as_ref().map_or_else(|| json!({}), scope))
        .any("spans", group.spans.iter().map(span).collect())
        .text("schemaUrl", &group.schema_url)
        .end()
}

fn scope(scope: &InstrumentationScope) -> Value {
    Object::default()
        .text("name", &scope.name)
        .text("version", &scope.version)
        .list("attributes", &scope.attributes, key_value)
        .number("droppedAttributesCount", scope.dropped_attributes_count.into())
        .end()
}

fn span(span: &Span) -> Value {
    Object::default()
        .id("traceId", &span.trace_id)
        .id("spanId", &span.span_id)
        .text("traceState", &span.trace_state)
        .id("parentSpanId", &span.parent_span_id)
        .number("flags", span.flags.into())
        .any("name", span.name.as_str().into())
        .number("kind", span.kind.into())
        .time("startTimeUnixNano", span.start_time_unix_nano)
        .time("endTimeUnixNano", span.end_time_unix_nano)
        .list("attributes", &span.attributes, key_value)
        .number("droppedAttributesCount", span.dropped_attributes_count.into())
        .list("events", &span.events, event)
        .number("droppedEventsCount", span.dropped_events_count.into())
        .list("links", &span.links, link)
        .number("droppedLinksCount", span.dropped_links_count.into())
        .any("status", span.status.as_ref().map_or_else(|| json!({}), status))
        .end()
}

fn event(event: &Event) -> Value {
    Object::default()
        .time("timeUnixNano", event.time_unix_nano)
        .any("name", event.name.as_str().into())
        .list("attributes", &event.attributes, key_value)
        .number("droppedAttributesCount", event.dropped_attributes_count.into())
        .end()
}

fn link(link: &Link) -> Value {
    Object::default()
        .id("traceId", &link.trace_id)
        .id("spanId", &link.span_id)
        .text("traceState", &link.trace_state)
        .list("attributes", &link.attributes, key_value)
        .number("droppedAttributesCount", link.dropped_attributes_count.into())
        .number("flags", link.flags.into())
        .end()
}

fn status(status: &Status) -> Value {
    Object::default().text("message", &status.message).number("code", status.code.into()).end()
}

fn key_value(pair: &KeyValue) -> Value {
    json!({ "key": pair.key, "value": pair.value.as_ref().map_or_else(|| json!({}), any_value) })
}

fn any_value(value: &AnyValue) -> Value {
    use any_value::Value as V;
    match &value.value {
        None => json!({}),
        Some(V::StringValue(v)) => json!({ "stringValue": v }),
        Some(V::BoolValue(v)) => json!({ "boolValue": v }),
        Some(V::IntValue(v)) => json!({ "intValue": v.to_string() }),
        Some(V::DoubleValue(v)) if v.is_finite() => json!({ "doubleValue": v }),
        Some(V::DoubleValue(v)) if v.is_nan() => json!({ "doubleValue": "NaN" }),
        Some(V::DoubleValue(v)) => json!({ "doubleValue": if *v > 0.0 { "Infinity" } else { "-Infinity" } }),
        Some(V::BytesValue(v)) => json!({ "bytesValue": base64(v) }),
        Some(V::ArrayValue(v)) => {
            json!({ "arrayValue": { "values": v.values.iter().map(any_value).collect::<Vec<_>>() } })
        }
        Some(V::KvlistValue(v)) => {
            json!({ "kvlistValue": { "values": v.values.iter().map(key_value).collect::<Vec<_>>() } })
        }
        // An index into a table of strings, which only profiles have.
        Some(_) => json!({}),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn attribute(key: &str, value: any_value::Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
    }

    fn example(double: f64) -> TracesData {
        use any_value::Value as V;
        let span = Span {
            trace_id: vec![0xab; 16],
            span_id: vec![1; 8],
            name: "GET /".into(),
            kind: 2,
            start_time_unix_nano: u64::MAX / 2,
            end_time_unix_nano: 7,
            attributes: vec![
                attribute("int", V::IntValue(i64::MIN)),
                attribute("double", V::DoubleValue(double)),
                attribute("bytes", V::BytesValue(vec![0, 255])),
            ],
            events: vec![Event { time_unix_nano: 3, name: "e".into(), ..Default::default() }],
            links: vec![Link { trace_id: vec![2; 16], span_id: vec![3; 8], ..Default::default() }],
            status: Some(Status { message: "bad".into(), code: 2 }),
            ..Default::default()
        };
        let scope_spans = ScopeSpans {
            scope: Some(InstrumentationScope { name: "lib".into(), ..Default::default() }),
            spans: vec![span],
            ..Default::default()
        };
        TracesData {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource::default()),
                scope_spans: vec![scope_spans],
                ..Default::default()
            }],
        }
    }

    #[test]
    fn others_read_it() {
        let data = example(1.5);
        let read: TracesData = serde_json::from_value(traces(&data)).unwrap();
        assert_eq!(read, data);
    }

    #[test]
    fn what_json_lacks_is_text() {
        let json = traces(&example(f64::NAN));
        let span = &json["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["attributes"][1]["value"]["doubleValue"], "NaN");
        assert_eq!(span["attributes"][0]["value"]["intValue"], "-9223372036854775808");
        assert_eq!(span["attributes"][2]["value"]["bytesValue"], "AP8=");
        assert_eq!(span["traceId"], "abababababababababababababababab");
        assert_eq!(span["startTimeUnixNano"], (u64::MAX / 2).to_string());
    }
}
