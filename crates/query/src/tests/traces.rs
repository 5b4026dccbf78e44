//! A trace by its id, as it was sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema};
use bonghwa_model::{Signal, TenantId, Value};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::stream;
use opentelemetry_proto::tonic::common::v1::any_value::Value as V;

use super::cluster::Cluster;
use super::data;
use crate::alive::Alive;
use crate::pool::Pool;
use crate::{QueryError, trace};

#[tokio::test]
async fn traces_come_back_whole() {
    let cluster = Cluster::start().await;
    let tenant = TenantId::default_tenant();
    let id = [7; 16];
    let attributes = [
        ("a.str", Value::Str("x".into())),
        ("b.int", Value::Int(-5)),
        ("c.double", Value::Double(2.0)),
        ("d.nan", Value::Double(f64::INFINITY)),
        ("e.bool", Value::Bool(true)),
        ("f.bytes", Value::Bytes(vec![1, 2])),
        ("g.list", Value::Array(vec![Value::Int(1), Value::Null])),
        ("h.map", Value::Map(vec![("k".to_owned(), Value::Str("v".into()))])),
    ];
    cluster.append(data::span("a", id, 2, &attributes));
    cluster.append(data::span("b", id, 1, &[]));
    cluster.append(data::span("b", [8; 16], 1, &[]));
    let before = cluster.engine.trace(&tenant, id, None).await.unwrap().trace.unwrap();
    cluster.flush(Signal::Traces, true).await;
    let after = cluster.engine.trace(&tenant, id, None).await.unwrap().trace.unwrap();
    assert_eq!(before, after);
    assert_eq!(after.resource_spans.len(), 2);

    let first = &after.resource_spans[0];
    assert_eq!(first.resource.as_ref().unwrap().attributes.len(), 2);
    let group = &after.resource_spans[1].scope_spans[0];
    let scope = group.scope.as_ref().unwrap();
    assert_eq!((scope.name.as_str(), scope.version.as_str(), scope.attributes.len()), ("tracer", "2", 1));
    let span = &group.spans[0];
    assert_eq!((span.trace_id.as_slice(), span.span_id.as_slice()), (&id[..], &2u64.to_be_bytes()[..]));
    assert_eq!(span.parent_span_id, 1u64.to_be_bytes());
    assert_eq!((span.kind, span.flags, span.name.as_str(), span.trace_state.as_str()), (2, 257, "span 2", "a=b"));
    assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1500);
    assert_eq!(span.dropped_attributes_count, 1);
    assert_eq!((span.dropped_events_count, span.dropped_links_count), (2, 3));
    let status = span.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "broken"));
    let mut values: Vec<_> =
        span.attributes.iter().map(|a| (a.key.as_str(), a.value.as_ref().unwrap().value.clone().unwrap())).collect();
    values.sort_by_key(|(key, _)| *key);
    assert_eq!(values[0], ("a.str", V::StringValue("x".into())));
    assert_eq!(values[1], ("b.int", V::IntValue(-5)));
    assert_eq!(values[2], ("c.double", V::DoubleValue(2.0)));
    assert_eq!(values[3], ("d.nan", V::DoubleValue(f64::INFINITY)));
    assert_eq!(values[4], ("e.bool", V::BoolValue(true)));
    assert_eq!(values[5], ("f.bytes", V::BytesValue(vec![1, 2])));
    assert!(matches!(&values[6].1, V::ArrayValue(list) if list.values.len() == 2));
    assert!(matches!(&values[7].1, V::KvlistValue(map) if map.values.len() == 1));
    let event = &span.events[0];
    assert_eq!((event.time_unix_nano, event.name.as_str()), (1_767_225_600_000_000_001, "boom"));
    assert_eq!((event.attributes.len(), event.dropped_attributes_count), (2, 4));
    let link = &span.links[0];
    assert_eq!((link.trace_id.len(), link.span_id.len(), link.flags), (16, 8, 1));
    assert_eq!((link.trace_state.as_str(), link.dropped_attributes_count), ("c=d", 5));

    let near = Some((data::START, data::START));
    assert_eq!(cluster.engine.trace(&tenant, id, near).await.unwrap().trace.unwrap(), after);
    assert!(cluster.engine.trace(&tenant, [9; 16], None).await.unwrap().trace.is_none());
    let other = TenantId::new("other").unwrap();
    assert!(cluster.engine.trace(&other, id, None).await.unwrap().trace.is_none());
}

#[tokio::test]
async fn many_scopes_take_no_longer_than_many_spans() {
    let cluster = Cluster::start().await;
    cluster.append(data::scopes([7; 16], 20_000));
    let start = Instant::now();
    let trace = cluster.engine.trace(&TenantId::default_tenant(), [7; 16], None).await.unwrap().trace.unwrap();
    assert_eq!(trace.resource_spans[0].scope_spans.len(), 20_000);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test]
async fn building_a_trace_has_a_time_limit() {
    let schema = Arc::new(Schema::new(vec![Field::new("trace_id", DataType::Utf8, false)]));
    for (timeout, ends) in [(Duration::from_secs(60), false), (Duration::ZERO, true)] {
        let batches = stream::iter([Ok(RecordBatch::new_empty(schema.clone()))]);
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema.clone(), batches));
        let built = trace::collect(rows, [7; 16], usize::MAX, &Alive::new(timeout, &Pool::new(1 << 30))).await;
        assert_eq!(matches!(built, Err(QueryError::Timeout(_))), ends, "{built:?}");
    }
}
