//! A trace by its id: spans back in the shape in which OTLP sent them.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampNanosecondType};
use arrow_array::{Array, Int32Array, RecordBatch, StringArray, TimestampNanosecondArray};
use bonghwa_model::spans::{SPAN_KINDS, STATUS_CODES};
use bonghwa_model::{Value, json};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, ident, lit};
use datafusion::physical_plan::ExecutionPlan;
use futures::TryStreamExt;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, TracesData};

use crate::QueryError;
use crate::alive::Alive;
use crate::table::SignalTable;

/// A trace may reach this far beyond the time that a caller guesses.
const SLACK: i64 = 3_600_000_000_000;

/// The scan for a trace's rows. The hint is in Unix nanoseconds, both inclusive.
pub(crate) async fn plan(
    state: &dyn Session,
    table: SignalTable,
    trace_id: [u8; 16],
    hint: Option<(i64, i64)>,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    let mut filters = vec![ident("trace_id").eq(lit(hex(&trace_id)))];
    if let Some((start, end)) = hint {
        filters.push(ident("start_time").gt_eq(instant(start.saturating_sub(SLACK))));
        filters.push(ident("start_time").lt_eq(instant(end.saturating_add(SLACK))));
    }
    table.scan(state, None, &filters, None).await
}

fn instant(nanos: i64) -> Expr {
    lit(ScalarValue::TimestampNanosecond(Some(nanos), Some("UTC".into())))
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Builds the trace from the rows of its scan, while somebody waits; None without spans.
pub(crate) async fn collect(
    mut rows: SendableRecordBatchStream,
    trace_id: [u8; 16],
    memory_bytes: usize,
    alive: &Alive,
) -> Result<Option<TracesData>, QueryError> {
    let mut trace = Trace { id: hex(&trace_id), ..Default::default() };
    let mut bytes = 0;
    while let Some(batch) = rows.try_next().await.map_err(|error| QueryError::of_stream(&error))? {
        let more = trace.add(&batch)?;
        bytes += more;
        alive.memory.hold(more as u64)?;
        if bytes > memory_bytes {
            return Err(QueryError::Memory { limit: memory_bytes, what: format!("trace {}", trace.id) });
        }
        alive.check()?;
        // Batches may all be there already: others get their turn between two.
        tokio::task::yield_now().await;
    }
    Ok(trace.finish())
}

#[derive(Default)]
struct Trace {
    id: String,
    /// Where in `out` a resource is.
    resources: HashMap<Source, usize>,
    /// Where in its resource's groups a scope is, by the place of the resource.
    scopes: HashMap<(usize, ScopeSource), usize>,
    out: Vec<ResourceSpans>,
}

/// A resource as the columns of a row tell of it: attributes as JSON, schema, dropped attributes.
type Source = (String, String, u32);
/// Likewise a scope: name, version, attributes as JSON, schema, dropped attributes.
type ScopeSource = (String, String, String, String, u32);

impl Trace {
    /// Takes in the rows of this trace; roughly the bytes that they hold.
    fn add(&mut self, batch: &RecordBatch) -> Result<usize, QueryError> {
        let columns = Columns { batch };
        let ids = columns.text("trace_id")?;
        let mut bytes = 0;
        for row in 0..batch.num_rows() {
            if ids.value(row) == self.id {
                let (span, size) = columns.span(row)?;
                bytes += size;
                self.place(&columns, row)?.spans.push(span);
            }
        }
        Ok(bytes)
    }

    /// The group of spans of a row's resource and scope.
    fn place(&mut self, columns: &Columns<'_>, row: usize) -> Result<&mut ScopeSpans, QueryError> {
        let out = &mut self.out;
        let resource = *self.resources.entry(columns.resource(row)?).or_insert_with_key(|source| {
            out.push(resource_spans(source));
            out.len() - 1
        });
        let groups = &mut self.out[resource].scope_spans;
        let scope = *self.scopes.entry((resource, columns.scope(row)?)).or_insert_with_key(|(_, source)| {
            groups.push(scope_spans(source));
            groups.len() - 1
        });
        Ok(&mut groups[scope])
    }

    fn finish(mut self) -> Option<TracesData> {
        let start = |group: &ScopeSpans| group.spans.first().map_or(0, |span| span.start_time_unix_nano);
        for resource in &mut self.out {
            for group in &mut resource.scope_spans {
                group
                    .spans
                    .sort_by(|a, b| (a.start_time_unix_nano, &a.span_id).cmp(&(b.start_time_unix_nano, &b.span_id)));
            }
            resource.scope_spans.sort_by_key(start);
        }
        self.out.sort_by_key(|resource| resource.scope_spans.first().map_or(0, start));
        (!self.out.is_empty()).then_some(TracesData { resource_spans: self.out })
    }
}

/// The columns of a batch of spans by name.
struct Columns<'a> {
    batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn column<T: 'static>(
        &self,
        name: &str,
        cast: impl Fn(&'a dyn Array) -> Option<&'a T>,
    ) -> Result<&'a T, QueryError> {
        let column = self.batch.column_by_name(name).and_then(|column| cast(column.as_ref()));
        column.ok_or_else(|| QueryError::Internal(format!("the spans lack the column {name}")))
    }

    fn text(&self, name: &str) -> Result<&'a StringArray, QueryError> {
        self.column(name, |column| column.as_string_opt::<i32>())
    }

    fn count(&self, name: &str, row: usize) -> Result<u32, QueryError> {
        let column: &Int32Array = self.column(name, |column| column.as_primitive_opt::<Int32Type>())?;
        Ok(column.value(row) as u32)
    }

    fn time(&self, name: &str) -> Result<&'a TimestampNanosecondArray, QueryError> {
        self.column(name, |column| column.as_primitive_opt::<TimestampNanosecondType>())
    }

    /// The text of a row; empty where it has none.
    fn text_of(&self, name: &str, row: usize) -> Result<String, QueryError> {
        let column = self.text(name)?;
        Ok(if column.is_null(row) { String::new() } else { column.value(row).to_owned() })
    }

    fn resource(&self, row: usize) -> Result<Source, QueryError> {
        Ok((
            self.text_of("resource", row)?,
            self.text_of("resource_schema_url", row)?,
            self.count("resource_dropped_attributes_count", row)?,
        ))
    }

    fn scope(&self, row: usize) -> Result<ScopeSource, QueryError> {
        Ok((
            self.text_of("scope_name", row)?,
            self.text_of("scope_version", row)?,
            self.text_of("scope_attributes", row)?,
            self.text_of("scope_schema_url", row)?,
            self.count("scope_dropped_attributes_count", row)?,
        ))
    }

    /// A span, and roughly the bytes that it holds.
    fn span(&self, row: usize) -> Result<(Span, usize), QueryError> {
        let text = |name: &str| -> Result<&str, QueryError> {
            let column = self.text(name)?;
            Ok(if column.is_null(row) { "" } else { column.value(row) })
        };
        let count = |name: &str| self.count(name, row);
        let time = |name: &str| -> Result<u64, QueryError> { Ok(self.time(name)?.value(row) as u64) };
        let (attribute_text, event_text, link_text) = (text("attributes")?, text("events")?, text("links")?);
        let status = Status {
            code: number_of(&STATUS_CODES, text("status_code")?),
            message: text("status_message")?.to_owned(),
        };
        let span = Span {
            trace_id: bytes(text("trace_id")?),
            span_id: bytes(text("span_id")?),
            parent_span_id: bytes(text("parent_span_id")?),
            trace_state: text("trace_state")?.to_owned(),
            flags: count("flags")?,
            name: text("name")?.to_owned(),
            kind: number_of(&SPAN_KINDS, text("kind")?),
            start_time_unix_nano: time("start_time")?,
            end_time_unix_nano: time("end_time")?,
            attributes: attributes(attribute_text),
            dropped_attributes_count: count("dropped_attributes_count")?,
            events: objects(event_text).iter().map(event).collect(),
            dropped_events_count: count("dropped_events_count")?,
            links: objects(link_text).iter().map(link).collect(),
            dropped_links_count: count("dropped_links_count")?,
            status: (status != Status::default()).then_some(status),
        };
        Ok((span, 400 + 3 * (attribute_text.len() + event_text.len() + link_text.len())))
    }
}

fn resource_spans((resource, schema_url, dropped): &Source) -> ResourceSpans {
    let resource =
        Resource { attributes: attributes(resource), dropped_attributes_count: *dropped, ..Default::default() };
    ResourceSpans { resource: Some(resource), schema_url: schema_url.clone(), ..Default::default() }
}

fn scope_spans((name, version, text, schema_url, dropped): &ScopeSource) -> ScopeSpans {
    let scope = InstrumentationScope {
        name: name.clone(),
        version: version.clone(),
        attributes: attributes(text),
        dropped_attributes_count: *dropped,
    };
    ScopeSpans { scope: Some(scope), schema_url: schema_url.clone(), ..Default::default() }
}

type Object = serde_json::Map<String, serde_json::Value>;

fn objects(text: &str) -> Vec<Object> {
    serde_json::from_str(text).unwrap_or_default()
}

fn event(object: &Object) -> Event {
    Event {
        time_unix_nano: natural(object, "time_unix_nano"),
        name: string(object, "name").to_owned(),
        attributes: inner_attributes(object),
        dropped_attributes_count: natural(object, "dropped_attributes_count") as u32,
    }
}

fn link(object: &Object) -> Link {
    Link {
        trace_id: bytes(string(object, "trace_id")),
        span_id: bytes(string(object, "span_id")),
        trace_state: string(object, "trace_state").to_owned(),
        attributes: inner_attributes(object),
        dropped_attributes_count: natural(object, "dropped_attributes_count") as u32,
        flags: natural(object, "flags") as u32,
    }
}

fn natural(object: &Object, key: &str) -> u64 {
    let value = object.get(key);
    value.and_then(|v| v.as_u64().or_else(|| v.as_i64().map(|v| v as u64))).unwrap_or(0)
}

fn string<'a>(object: &'a Object, key: &str) -> &'a str {
    object.get(key).and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn inner_attributes(object: &Object) -> Vec<KeyValue> {
    let map = object.get("attributes").and_then(serde_json::Value::as_object);
    map.into_iter().flatten().map(|(key, value)| key_value(key.clone(), json::parse_value(value))).collect()
}

fn attributes(text: &str) -> Vec<KeyValue> {
    json::parse_object(text).into_iter().map(|(key, value)| key_value(key, value)).collect()
}

fn key_value(key: String, value: Value) -> KeyValue {
    KeyValue { key, value: Some(any_value(value)), ..Default::default() }
}

fn any_value(value: Value) -> AnyValue {
    use any_value::Value as V;
    let value = match value {
        Value::Null => None,
        Value::Str(v) => Some(V::StringValue(v)),
        Value::Int(v) => Some(V::IntValue(v)),
        Value::Double(v) => Some(V::DoubleValue(v)),
        Value::Bool(v) => Some(V::BoolValue(v)),
        Value::Bytes(v) => Some(V::BytesValue(v)),
        Value::Array(items) => Some(V::ArrayValue(ArrayValue { values: items.into_iter().map(any_value).collect() })),
        Value::Map(entries) => {
            let values = entries.into_iter().map(|(key, value)| key_value(key, value)).collect();
            Some(V::KvlistValue(KeyValueList { values }))
        }
    };
    AnyValue { value }
}

fn number_of(names: &[&str], name: &str) -> i32 {
    names.iter().position(|n| *n == name).unwrap_or(0) as i32
}

/// Bytes of hex text; none for text that is not hex.
fn bytes(hex: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).map(|d| d as u8);
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect::<Option<_>>().unwrap_or_default()
}
