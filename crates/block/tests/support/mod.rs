//! Random batches, and the rows of record batches in a form that can be compared.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use bonghwa_block::{
    AttributeScope, BlockReader, Column, EncodedBlock, FooterCache, Predicate, PruneStats, ScanRequest, ValueType,
    WriteOptions, base_columns, write_l0,
};
use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::{Batch, Common, Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::refs::Ref;
use bonghwa_model::spans::{SpanBatch, SpanRow};
use bonghwa_model::{Kind, Signal, TenantId, Value, json};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Keys that occur, among them awkward ones.
pub const KEYS: [&str; 14] = [
    "service.name",
    "http.method",
    "code",
    "mixed",
    "flag",
    "ratio",
    "Größe",
    "quote\"d",
    "nested",
    "blob",
    "rest",
    "",
    "http.METHOD",
    "rare",
];

const TEXTS: [&str; 12] = [
    "",
    "GET",
    "POST",
    "a b c",
    "user_42 failed",
    "Größe: 7",
    "line\nbreak \"quoted\"",
    "봉화",
    "0",
    "null",
    "{\"x\":1}",
    "a rather long text that goes on and on, well beyond the sixty-four bytes of a bound, zzz",
];

fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..4) {
        0 => format!("id-{:x}", rng.random_range(0..10_000u32)),
        _ => (*TEXTS.choose(rng).unwrap()).to_owned(),
    }
}

fn double(rng: &mut StdRng) -> f64 {
    *[0.0, -0.0, 1.0, -2.5, 1e300, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 42.0]
        .choose(rng)
        .unwrap()
}

fn any_value(rng: &mut StdRng, depth: usize) -> Value {
    match rng.random_range(0..if depth == 0 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => Value::Str(text(rng)),
        2 => Value::Int(*[0, 1, -1, 42, i64::MIN, i64::MAX].choose(rng).unwrap()),
        3 => Value::Double(double(rng)),
        4 => Value::Bool(rng.random()),
        5 => Value::Bytes((0..rng.random_range(0..4)).map(|_| rng.random()).collect()),
        6 => Value::Array((0..rng.random_range(0..3)).map(|_| any_value(rng, depth - 1)).collect()),
        _ => Value::Map(
            (0..rng.random_range(0..3)).map(|i| (format!("{}{i}", text(rng)), any_value(rng, depth - 1))).collect(),
        ),
    }
}

/// A value of the kind that a key usually has.
fn value(rng: &mut StdRng, key: &str) -> Value {
    match key {
        "code" => Value::Int(*[200, 404, 500, -7].choose(rng).unwrap()),
        "flag" => Value::Bool(rng.random()),
        "ratio" => Value::Double(f64::from(rng.random_range(-4..5)) / 2.0),
        "mixed" => any_value(rng, 0),
        "nested" => any_value(rng, 2),
        "blob" => Value::Bytes(vec![rng.random()]),
        "service.name" | "http.method" => Value::Str(text(rng)),
        _ if rng.random_bool(0.9) => Value::Str(text(rng)),
        _ => any_value(rng, 1),
    }
}

fn values(rng: &mut StdRng) -> Vec<(String, Value)> {
    let mut out = Vec::new();
    let often = rng.random_bool(0.5);
    for key in KEYS {
        let chance = if key == "rare" {
            0.02
        } else if often {
            0.6
        } else {
            0.2
        };
        if rng.random_bool(chance) {
            out.push((key.to_owned(), value(rng, key)));
        }
    }
    out
}

fn push_attributes(common: &mut Common, attributes: &mut Attributes, values: &[(String, Value)]) {
    for (key, value) in values {
        let key = common.keys.id(key);
        let bits = match value {
            Value::Null => 0,
            Value::Str(v) => common.arena.push(v.as_bytes()).0,
            Value::Int(v) => *v as u64,
            Value::Double(v) => v.to_bits(),
            Value::Bool(v) => u64::from(*v),
            Value::Bytes(v) => common.arena.push(v).0,
            nested => common.arena.push_with(|out| json::write_value(out, nested)).0,
        };
        attributes.push(key, value.kind(), bits);
    }
}

fn common(rng: &mut StdRng) -> Common {
    let mut common = Common::default();
    for _ in 0..rng.random_range(1..4) {
        common.resources.push(Resource {
            service_name: format!("service-{}", rng.random_range(0..4)),
            attributes: values(rng),
            dropped_attributes: rng.random_range(0..2),
            schema_url: text(rng),
        });
    }
    for _ in 0..rng.random_range(1..3) {
        common.scopes.push(Scope {
            name: text(rng),
            version: text(rng),
            attributes: if rng.random() { values(rng) } else { Vec::new() },
            dropped_attributes: 0,
            schema_url: String::new(),
        });
    }
    common
}

fn id<const N: usize>(rng: &mut StdRng) -> [u8; N] {
    match rng.random_range(0..4) {
        0 => [0; N],
        1 => [rng.random_range(1..5); N],
        _ => rng.random::<u128>().to_le_bytes()[..N].try_into().unwrap(),
    }
}

fn time(rng: &mut StdRng) -> i64 {
    match rng.random_range(0..20) {
        0 => 0,
        1 => i64::MAX - 1,
        _ => 1_700_000_000_000_000_000 + rng.random_range(0..1000) * 1_000_000_007,
    }
}

fn maybe(rng: &mut StdRng, common: &mut Common) -> Ref {
    if rng.random() { Ref::EMPTY } else { common.arena.push(text(rng).as_bytes()) }
}

/// Rows in groups of random resource and scope.
fn groups(rng: &mut StdRng, rows: usize, common: &Common) -> Vec<(u32, u32)> {
    let mut out = Vec::new();
    let (mut resource, mut scope) = (0, 0);
    for _ in 0..rows {
        if rng.random_bool(0.2) {
            resource = rng.random_range(0..common.resources.len()) as u32;
            scope = rng.random_range(0..common.scopes.len()) as u32;
        }
        out.push((resource, scope));
    }
    out
}

fn logs(rng: &mut StdRng, rows: usize) -> Batch {
    let mut b = LogBatch { common: common(rng), ..Default::default() };
    for (row, (resource, scope)) in groups(rng, rows, &b.common).into_iter().enumerate() {
        let values = values(rng);
        push_attributes(&mut b.common, &mut b.attributes, &values);
        let body = if rng.random_bool(0.7) { Value::Str(text(rng)) } else { any_value(rng, 2) };
        let text = b.common.arena.push_with(|out| match &body {
            Value::Str(v) => out.extend_from_slice(v.as_bytes()),
            Value::Null => {}
            other => json::write_value(out, other),
        });
        let (severity_text, event_name) = (maybe(rng, &mut b.common), maybe(rng, &mut b.common));
        b.push_row(LogRow {
            time: time(rng),
            observed_time: time(rng),
            severity_number: rng.random_range(0..25),
            body_kind: body.kind(),
            trace_id: id(rng),
            span_id: id(rng),
            flags: if rng.random_bool(0.8) { 1 } else { rng.random() },
            dropped_attributes: rng.random_range(0..3),
            severity_text,
            body: text,
            event_name,
        });
        b.common.close_group(resource, scope, row as u32 + 1);
    }
    Batch::Logs(b)
}

fn spans(rng: &mut StdRng, rows: usize) -> Batch {
    let mut b = SpanBatch { common: common(rng), ..Default::default() };
    for (row, (resource, scope)) in groups(rng, rows, &b.common).into_iter().enumerate() {
        let values = values(rng);
        push_attributes(&mut b.common, &mut b.attributes, &values);
        let events = match rng.random_range(0..3) {
            0 => Ref::EMPTY,
            _ => b.common.arena.push(br#"[{"time_unix_nano":5,"name":"exception","attributes":{"m":"boom\n"}}]"#),
        };
        let (name, status) = (maybe(rng, &mut b.common), maybe(rng, &mut b.common));
        let (trace_state, links) = (maybe(rng, &mut b.common), maybe(rng, &mut b.common));
        let (mut trace_id, mut span_id) = (id::<16>(rng), id::<8>(rng));
        (trace_id[3], span_id[3]) = (trace_id[3] | 1, span_id[3] | 1);
        b.push_row(SpanRow {
            trace_id,
            span_id,
            parent_span_id: id(rng),
            flags: rng.random_range(0..3),
            kind: rng.random_range(0..7),
            start_time: time(rng),
            end_time: time(rng),
            status_code: rng.random_range(0..4),
            dropped_attributes: 0,
            dropped_events: rng.random_range(0..2),
            dropped_links: 1,
            trace_state,
            name,
            status_message: status,
            events,
            links,
        });
        b.common.close_group(resource, scope, row as u32 + 1);
    }
    Batch::Traces(b)
}

fn metrics(rng: &mut StdRng, rows: usize) -> Batch {
    let mut b = MetricBatch { common: common(rng), ..Default::default() };
    for n in 0..3 {
        b.metrics.push(Metric {
            name: format!("metric_{n}"),
            unit: "ms".into(),
            description: if n == 0 { String::new() } else { "what it is".into() },
            metric_type: MetricType::from_u8(n + 1).unwrap(),
            monotonic: n == 1,
            temporality: n,
            metadata: if n == 2 { "{\"a\":1}".into() } else { String::new() },
        });
    }
    for (row, (resource, scope)) in groups(rng, rows, &b.common).into_iter().enumerate() {
        let series = rng.random_range(0..6u64);
        // A series' attributes follow from its identity.
        let values = values(&mut StdRng::seed_from_u64(series));
        push_attributes(&mut b.common, &mut b.attributes, &values);
        let kind = match series {
            0 => PointKind::Int,
            1 => PointKind::Double,
            _ => PointKind::from_u8(rng.random_range(0..5)).unwrap(),
        };
        let distribution = matches!(kind, PointKind::Distribution | PointKind::DistributionWithoutSum);
        let buckets =
            if distribution { b.common.arena.push(br#"{"bounds":[1.0],"counts":[1,2]}"#) } else { Ref::EMPTY };
        let exemplars = if rng.random_bool(0.1) { b.common.arena.push(b"[{\"value\":1}]") } else { Ref::EMPTY };
        b.push_row(MetricRow {
            metric: (series % 3) as u32,
            series: [series, 9],
            time: time(rng),
            start_time: if series % 2 == 0 { 77 } else { *[0, 78, 79].choose(rng).unwrap() },
            point_kind: kind,
            value: if kind == PointKind::Int { rng.random() } else { double(rng).to_bits() },
            count: if distribution { rng.random_range(0..9) } else { 0 },
            sum: if kind == PointKind::Distribution { double(rng) } else { 0.0 },
            flags: u32::from(kind == PointKind::None),
            buckets,
            exemplars,
        });
        b.common.close_group(resource, scope, row as u32 + 1);
    }
    Batch::Metrics(b)
}

pub type TenantBatches = Vec<(TenantId, Arc<Batch>)>;

/// Random batches of one to three tenants.
pub fn batches(signal: Signal, rng: &mut StdRng) -> TenantBatches {
    let rows = rng.random_range(1..60);
    (0..rng.random_range(1..7))
        .map(|_| {
            let tenant = TenantId::new(["default", "team-a", "Team-B"].choose(rng).unwrap()).unwrap();
            let rows = rng.random_range(0..rows);
            let batch = match signal {
                Signal::Logs => logs(rng, rows),
                Signal::Traces => spans(rng, rows),
                Signal::Metrics => metrics(rng, rows),
            };
            (tenant, Arc::new(batch))
        })
        .collect()
}

/// Row groups and granules of a few rows, so that small blocks have many.
pub fn small_options(rng: &mut StdRng) -> WriteOptions {
    WriteOptions {
        row_group_rows: *[5, 24, 1000].choose(rng).unwrap(),
        row_group_samples: *[4, 1000].choose(rng).unwrap(),
        granule_rows: *[1, 4, 7, 8192].choose(rng).unwrap(),
        granule_series: *[1, 3].choose(rng).unwrap(),
        zstd_level: 1,
    }
}

pub const PATH: &str = "blocks/test.parquet";

pub fn write(signal: Signal, batches: &TenantBatches, options: &WriteOptions) -> EncodedBlock {
    write_l0(signal, "p-0001", 3, 17, PATH.into(), batches, options).unwrap()
}

pub async fn store(block: &EncodedBlock) -> Arc<dyn ObjectStore> {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&Path::from(PATH), block.bytes.clone().into()).await.unwrap();
    store
}

/// All base columns, and attributes of random keys and types.
pub fn columns(signal: Signal, rng: &mut StdRng) -> Vec<Column> {
    let mut columns: Vec<Column> = base_columns(signal).iter().map(|c| Column::Base(c.name)).collect();
    for _ in 0..6 {
        columns.push(attribute(rng));
    }
    columns
}

pub fn attribute(rng: &mut StdRng) -> Column {
    let key = *KEYS.choose(rng).unwrap();
    let value_type = match key {
        "code" => ValueType::Int64,
        "flag" => ValueType::Boolean,
        "ratio" => ValueType::Float64,
        _ => ValueType::String,
    };
    let any = [ValueType::String, ValueType::Int64, ValueType::Float64, ValueType::Boolean];
    Column::Attribute {
        scope: *[AttributeScope::Any, AttributeScope::Record, AttributeScope::Resource].choose(rng).unwrap(),
        key: key.into(),
        value_type: if rng.random_bool(0.7) { value_type } else { *any.choose(rng).unwrap() },
    }
}

pub async fn scan(
    store: &Arc<dyn ObjectStore>,
    block: &EncodedBlock,
    tenant: &TenantId,
    columns: &[Column],
    predicate: Predicate,
) -> (Vec<RecordBatch>, PruneStats) {
    scan_block(store, &block.block, tenant, columns, predicate).await
}

pub async fn scan_block(
    store: &Arc<dyn ObjectStore>,
    block: &bonghwa_protocol::v1::Block,
    tenant: &TenantId,
    columns: &[Column],
    predicate: Predicate,
) -> (Vec<RecordBatch>, PruneStats) {
    let cache = FooterCache::new(1 << 20);
    let reader = BlockReader::open(Arc::clone(store), Arc::new(block.clone()), &cache).await.unwrap();
    let request = ScanRequest { tenant: tenant.clone(), columns: columns.to_vec(), predicate };
    let plan = reader.plan(&request).await.unwrap();
    let stats = plan.stats;
    (reader.scan(plan).try_collect().await.unwrap(), stats)
}

/// Rows as text, cells separated by a character that no text has.
pub fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("<null>");
    let mut out = Vec::new();
    for batch in batches {
        let cells: Vec<ArrayFormatter<'_>> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let line: Vec<String> = cells
                .iter()
                .zip(batch.columns())
                // A timestamp that the formatter cannot show is still told apart.
                .map(|(c, array)| match array.data_type() {
                    arrow_schema::DataType::Timestamp(..) if array.is_valid(row) => {
                        use arrow_array::cast::AsArray;
                        array.as_primitive::<arrow_array::types::TimestampNanosecondType>().value(row).to_string()
                    }
                    _ => c.value(row).try_to_string().unwrap(),
                })
                .collect();
            out.push(line.join("\u{1f}"));
        }
    }
    out.sort();
    out
}

pub fn kinds_of(batch: &Batch) -> Vec<Kind> {
    batch.attributes().kinds.iter().filter_map(|k| Kind::from_u8(*k)).collect()
}
