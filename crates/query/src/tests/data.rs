//! Telemetry for the tests.

use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::spans::{SpanBatch, SpanRow};
use bonghwa_model::{Kind, Value};

/// 2026-01-01T00:00:00Z.
pub(crate) const START: i64 = 1_767_225_600_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;

/// A log record.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) time: i64,
    pub(crate) body: String,
    pub(crate) trace_id: [u8; 16],
    pub(crate) attributes: Vec<(&'static str, Value)>,
}

pub(crate) fn resource(service: &str) -> Resource {
    Resource {
        service_name: service.to_owned(),
        attributes: vec![
            ("service.name".to_owned(), Value::Str(service.to_owned())),
            ("host.cpus".to_owned(), Value::Int(4)),
        ],
        ..Default::default()
    }
}

macro_rules! push_attributes {
    ($batch:expr, $attributes:expr) => {
        for (key, value) in $attributes {
            let key = $batch.common.keys.id(key);
            let (kind, bits) = match value {
                Value::Null => (Kind::Null, 0),
                Value::Str(v) => (Kind::Str, $batch.common.arena.push(v.as_bytes()).0),
                Value::Int(v) => (Kind::Int, *v as u64),
                Value::Double(v) => (Kind::Double, v.to_bits()),
                Value::Bool(v) => (Kind::Bool, u64::from(*v)),
                Value::Bytes(v) => (Kind::Bytes, $batch.common.arena.push(v).0),
                other => {
                    let mut text = Vec::new();
                    bonghwa_model::json::write_value(&mut text, other);
                    (Kind::Json, $batch.common.arena.push(&text).0)
                }
            };
            $batch.attributes.push(key, kind, bits);
        }
    };
}

pub(crate) use push_attributes;

/// Log records of one service.
pub(crate) fn logs(service: &str, records: &[Log]) -> Batch {
    let mut batch = LogBatch::default();
    batch.common.resources.push(resource(service));
    batch.common.scopes.push(Scope { name: "lib".into(), version: "1".into(), ..Default::default() });
    for record in records {
        push_attributes!(batch, &record.attributes);
        let body = batch.common.arena.push(record.body.as_bytes());
        batch.push_row(LogRow {
            time: record.time,
            observed_time: record.time + 1,
            severity_number: 9,
            body_kind: Kind::Str,
            trace_id: record.trace_id,
            body,
            ..Default::default()
        });
    }
    batch.common.close_group(0, 0, records.len() as u32);
    Batch::Logs(batch)
}

/// `count` records a second apart: n (int), even (bool), name (text), share (float).
pub(crate) fn numbered(service: &str, first: i64, count: i64) -> Batch {
    let record = |n: i64| Log {
        time: START + n * SECOND,
        body: format!("request {n} took {} ms, id=req{n}", n % 7),
        trace_id: (n as u128 + 1).to_be_bytes(),
        attributes: vec![
            ("n", Value::Int(n)),
            ("even", Value::Bool(n % 2 == 0)),
            ("user.name", Value::Str(format!("user-{}", n % 3))),
            ("share", Value::Double(n as f64 / 2.0)),
        ],
    };
    logs(service, &(first..first + count).map(record).collect::<Vec<_>>())
}

/// A span with everything that a span can have.
pub(crate) fn span(service: &str, trace_id: [u8; 16], span_id: u64, attributes: &[(&str, Value)]) -> Batch {
    let mut batch = SpanBatch::default();
    batch.common.resources.push(resource(service));
    batch.common.scopes.push(Scope {
        name: "tracer".into(),
        version: "2".into(),
        attributes: vec![("scope.key".to_owned(), Value::Bool(true))],
        ..Default::default()
    });
    push_attributes!(batch, attributes);
    let arena = &mut batch.common.arena;
    let row = SpanRow {
        trace_id,
        span_id: span_id.to_be_bytes(),
        parent_span_id: span_id.saturating_sub(1).to_be_bytes(),
        flags: 257,
        kind: 2,
        start_time: START + span_id as i64,
        end_time: START + span_id as i64 + 1500,
        status_code: 2,
        dropped_attributes: 1,
        dropped_events: 2,
        dropped_links: 3,
        trace_state: arena.push(b"a=b"),
        name: arena.push(format!("span {span_id}").as_bytes()),
        status_message: arena.push(b"broken"),
        events: arena.push(
            br#"[{"time_unix_nano":1767225600000000001,"name":"boom","attributes":{"x":1,"y":2.0},"dropped_attributes_count":4}]"#,
        ),
        links: arena.push(
            br#"[{"trace_id":"000102030405060708090a0b0c0d0e0f","span_id":"0001020304050607","trace_state":"c=d","flags":1,"attributes":{"l":"v"},"dropped_attributes_count":5}]"#,
        ),
    };
    batch.push_row(row);
    batch.common.close_group(0, 0, 1);
    Batch::Traces(batch)
}

/// A trace with a span in each of many scopes.
pub(crate) fn scopes(trace_id: [u8; 16], count: u32) -> Batch {
    let mut batch = SpanBatch::default();
    batch.common.resources.push(resource("a"));
    for scope in 0..count {
        let attributes = vec![("n".to_owned(), Value::Int(i64::from(scope)))];
        batch.common.scopes.push(Scope { name: "tracer".into(), attributes, ..Default::default() });
        let span_id = u64::from(scope + 1).to_be_bytes();
        batch.push_row(SpanRow { trace_id, span_id, start_time: START, end_time: START, ..Default::default() });
        batch.common.close_group(0, scope, scope + 1);
    }
    Batch::Traces(batch)
}

/// Points of a gauge: integers, a float, and an end.
pub(crate) fn gauge(service: &str, name: &str, values: &[i64]) -> Batch {
    let mut batch = MetricBatch::default();
    batch.common.resources.push(resource(service));
    batch.common.scopes.push(Scope::default());
    batch.metrics.push(Metric {
        name: name.to_owned(),
        unit: "1".into(),
        metric_type: MetricType::Gauge,
        ..Default::default()
    });
    for (at, value) in values.iter().enumerate() {
        push_attributes!(batch, &[("pod", Value::Str("a".into()))]);
        batch.push_row(MetricRow {
            metric: 0,
            series: [7, name.len() as u64],
            time: START + at as i64 * SECOND,
            point_kind: PointKind::Int,
            value: *value as u64,
            ..Default::default()
        });
    }
    batch.common.close_group(0, 0, values.len() as u32);
    Batch::Metrics(batch)
}
