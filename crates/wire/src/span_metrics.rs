//! Metrics of spans, as Tempo's generator names them: how many there were of an operation, how long they took, how
//! large they were. [`count`] counts the spans of a request; [`rows`] writes what was counted as counters of
//! Prometheus, by the mapping of [`bonghwa_model::prometheus`]:
//!
//! | Series | Of each operation |
//! |---|---|
//! | [`CALLS`] | spans |
//! | [`LATENCY`]`_bucket`, `_sum`, `_count` | their durations, seconds; buckets end at 2 ms and its doubles up to 16.384 s |
//! | [`SIZE`] | their bytes as protobuf, about |
//!
//! An operation is `service`, `span_name`, `span_kind` (`SPAN_KIND_SERVER`) and `status_code`
//! (`STATUS_CODE_ERROR`). Each bucket has its newest span as exemplar. [`INSTANCE`] tells apart the nodes that count.

use std::hash::{Hash, Hasher};

use bonghwa_model::Kind;
use bonghwa_model::batch::Resource;
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, PointKind};
use bonghwa_model::prometheus::{Metadata, STALE_NAN, resource, scope};
use bonghwa_model::refs::Ref;
use bonghwa_model::spans::SpanBatch;
use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};

use crate::schema::{SPAN_KINDS, STATUS_CODES};
use crate::series;

/// Spans.
pub const CALLS: &str = "traces_spanmetrics_calls_total";
/// Durations, seconds.
pub const LATENCY: &str = "traces_spanmetrics_latency";
/// Bytes.
pub const SIZE: &str = "traces_spanmetrics_size_total";
/// The label of the node that counted: each counts what it received.
pub const INSTANCE: &str = "__metrics_gen_instance";

/// Ends of the buckets, milliseconds; one without an end follows.
const ENDS: [u64; 14] = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
/// The same as texts, seconds.
const BOUNDS: [&str; BUCKETS] = [
    "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512", "1.024", "2.048", "4.096",
    "8.192", "16.384", "+Inf",
];
const BUCKETS: usize = ENDS.len() + 1;

/// Series of an operation.
pub const SERIES: usize = BUCKETS + 4;

/// By what spans are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The service's name.
    pub service: String,
    /// The span's name.
    pub name: String,
    /// OTLP's SpanKind.
    pub kind: u8,
    /// OTLP's StatusCode.
    pub status: u8,
}

/// The same of a batch.
#[derive(PartialEq, Eq, Hash)]
struct OperationRef<'a> {
    service: &'a str,
    name: &'a str,
    kind: u8,
    status: u8,
}

impl Operation {
    fn borrowed(&self) -> OperationRef<'_> {
        OperationRef { service: &self.service, name: &self.name, kind: self.kind, status: self.status }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.service.len() + self.name.len()
    }
}

impl Hash for Operation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrowed().hash(state);
    }
}

impl Equivalent<Operation> for OperationRef<'_> {
    fn equivalent(&self, key: &Operation) -> bool {
        *self == key.borrowed()
    }
}

/// A span that a bucket stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Exemplar {
    time: i64,
    nanos: u64,
    trace_id: [u8; 16],
    span_id: [u8; 8],
}

/// What was counted of an operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    calls: u64,
    bytes: u64,
    nanos: u128,
    /// Spans by bucket.
    buckets: [u64; BUCKETS],
    /// By bucket the newest span that was not told yet.
    exemplars: [Option<Exemplar>; BUCKETS],
}

impl Counts {
    /// Spans.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Adds what was counted later.
    pub fn add(&mut self, more: &Counts) {
        self.calls += more.calls;
        self.bytes += more.bytes;
        self.nanos += more.nanos;
        for (own, more) in self.buckets.iter_mut().zip(&more.buckets) {
            *own += more;
        }
        for (own, more) in self.exemplars.iter_mut().zip(&more.exemplars) {
            *own = more.or(*own);
        }
    }

    /// Forgets the exemplars: they were told.
    pub fn forget_exemplars(&mut self) {
        self.exemplars = [None; BUCKETS];
    }

    fn span(&mut self, batch: &SpanBatch, row: usize) {
        let nanos = batch.end_time[row].saturating_sub(batch.start_time[row]).max(0) as u64;
        let bucket = ENDS.partition_point(|end| end * 1_000_000 < nanos);
        self.calls += 1;
        self.bytes += span_bytes(batch, row);
        self.nanos += u128::from(nanos);
        self.buckets[bucket] += 1;
        self.exemplars[bucket] = Some(Exemplar {
            time: batch.end_time[row],
            nanos,
            trace_id: batch.trace_id[row],
            span_id: batch.span_id[row],
        });
    }
}

/// What was counted of some operations.
pub type Counted = HashMap<Operation, Counts, FixedState>;

/// Counts the spans of a request.
pub fn count(batch: &SpanBatch) -> Counted {
    let mut counted = Counted::default();
    for (group, rows) in batch.common.group_ranges() {
        let service = batch.common.resources[group.resource as usize].service_name.as_str();
        for row in rows {
            let name = batch.common.arena.str(batch.name[row]);
            let (kind, status) = (batch.kind[row], batch.status_code[row]);
            let operation = OperationRef { service, name, kind, status };
            if let Some(counts) = counted.get_mut(&operation) {
                counts.span(batch, row);
                continue;
            }
            let (service, name) = (service.to_owned(), name.to_owned());
            counted.entry(Operation { service, name, kind, status }).or_default().span(batch, row);
        }
    }
    counted
}

/// Bytes of a span as OTLP's protobuf: exact of ids, names, times and attributes of texts and numbers; events and links
/// count as the JSON that they are kept as.
fn span_bytes(batch: &SpanBatch, row: usize) -> u64 {
    let text = |text: Ref| batch.common.arena.bytes(text).len();
    let field = |length: usize| if length == 0 { 0 } else { 2 + length };
    let attribute = |entry: usize| {
        let value = match Kind::from_u8(batch.attributes.kinds[entry]) {
            Some(Kind::Str | Kind::Bytes | Kind::Json) => 2 + text(Ref(batch.attributes.values[entry])),
            Some(Kind::Double) => 9,
            Some(Kind::Int) => 1 + varint_bytes(batch.attributes.values[entry]),
            Some(Kind::Bool) => 2,
            Some(Kind::Null) | None => 0,
        };
        let key = batch.attributes.keys[entry] as usize;
        2 + 2 + batch.common.keys.names().get(key).map_or(0, String::len) + 2 + value
    };
    let parent = if batch.parent_span_id[row] == [0; 8] { 0 } else { 10 };
    let status = match batch.status_code[row] {
        0 => 0,
        _ => 4 + field(text(batch.status_message[row])),
    };
    let texts = [batch.name[row], batch.trace_state[row], batch.events[row], batch.links[row]];
    let texts: usize = texts.into_iter().map(|one| field(text(one))).sum();
    let attributes: usize = batch.attributes.range(row).map(attribute).sum();
    // Trace id, span id, kind, two times.
    (18 + 10 + 2 + 18 + parent + status + texts + attributes) as u64
}

fn varint_bytes(value: u64) -> usize {
    (64 - value.leading_zeros() as usize).div_ceil(7).max(1)
}

/// An operation to be told of.
pub struct Told<'a> {
    /// Which.
    pub operation: &'a Operation,
    /// What was counted of it so far.
    pub counts: &'a Counts,
    /// Unix nanoseconds: when counting began.
    pub since: i64,
    /// Unix nanoseconds of a zero that comes first, so that what was counted until now shows as an increase.
    pub zero: Option<i64>,
    /// Whether it ends: nobody sent any span of it for long.
    pub ends: bool,
}

/// What was counted until this time, Unix nanoseconds, as rows.
pub fn rows<'a>(told: impl IntoIterator<Item = Told<'a>>, instance: &str, time: i64) -> MetricBatch {
    let mut rows = Rows::new(instance, time);
    told.into_iter().for_each(|told| rows.operation(&told));
    rows.finish()
}

/// What the series are, for whoever asks for metadata.
pub fn metadata() -> [Metadata; 3] {
    let metadata = |family: &str, metric_type, help: &str, unit: &str| Metadata {
        family: family.to_owned(),
        metric_type,
        help: help.to_owned(),
        unit: unit.to_owned(),
    };
    [
        metadata(CALLS, 1, "Spans by service, name, kind and status", ""),
        metadata(LATENCY, 3, "Durations of spans", "seconds"),
        metadata(SIZE, 1, "Bytes of spans", "bytes"),
    ]
}

/// The metrics' names, in the order of their numbers.
const METRICS: [&str; 5] = [
    CALLS,
    SIZE,
    "traces_spanmetrics_latency_bucket",
    "traces_spanmetrics_latency_sum",
    "traces_spanmetrics_latency_count",
];

struct Rows<'a> {
    batch: MetricBatch,
    instance: &'a str,
    time: i64,
}

/// A label: its key's number, its value in the arena, and its part of the series' identity.
type Label = (u32, Ref, u128);

impl<'a> Rows<'a> {
    fn new(instance: &'a str, time: i64) -> Self {
        let mut batch = MetricBatch::default();
        batch.metrics.extend(METRICS.map(|name| Metric { name: name.to_owned(), ..Default::default() }));
        batch.common.scopes.push(scope());
        Rows { batch, instance, time: time - time.rem_euclid(1_000_000) }
    }

    fn operation(&mut self, told: &Told<'_>) {
        let Operation { service, name, kind, status } = told.operation;
        let place = match self.batch.common.resources.last() {
            Some(last) if last.service_name == *service => self.batch.common.resources.len() - 1,
            _ => {
                self.batch.common.resources.push(resource("", "", service));
                self.batch.common.resources.len() - 1
            }
        };
        let sender = series::sender(&Resource::default(), &self.batch.common.scopes[0]);
        // In the order of their names; `le` comes behind the first one.
        let first = self.label(INSTANCE, self.instance);
        let rest = [
            self.label("service", service),
            self.label("span_kind", SPAN_KINDS.get(*kind as usize).unwrap_or(&SPAN_KINDS[0])),
            self.label("span_name", name),
            self.label("status_code", STATUS_CODES.get(*status as usize).unwrap_or(&STATUS_CODES[0])),
        ];
        let metrics = std::array::from_fn::<u128, 5, _>(|at| series::metric(sender, &self.batch.metrics[at]));
        let row = |rows: &mut Self, metric: usize, le: Option<Label>, value: f64, exemplar: Option<Exemplar>| {
            // Empty ones are no labels.
            let labels = [first].into_iter().chain(le).chain(rest).filter(|(_, value, _)| !value.is_empty());
            let labels: Vec<Label> = labels.collect();
            let hash = labels.iter().fold(0u128, |sum, (_, _, hash)| sum.wrapping_add(*hash));
            let identity = series::identity(metrics[metric], hash);
            let exemplars = exemplar.map_or(Ref::default(), |exemplar| rows.exemplar(&exemplar));
            let stale = told.ends.then(|| f64::from_bits(STALE_NAN));
            let zero = told.zero.filter(|_| stale.is_none());
            for (time, value, exemplars) in zero.map(|zero| (zero, 0.0, Ref::default())).into_iter().chain([(
                rows.time,
                stale.unwrap_or(value),
                exemplars,
            )]) {
                labels.iter().for_each(|(key, value, _)| rows.batch.attributes.push(*key, Kind::Str, value.0));
                rows.batch.push_row(MetricRow {
                    metric: metric as u32,
                    series: identity,
                    time: time - time.rem_euclid(1_000_000),
                    start_time: told.since,
                    point_kind: PointKind::Double,
                    value: value.to_bits(),
                    exemplars,
                    ..Default::default()
                });
            }
        };
        let Counts { calls, bytes, nanos, buckets, exemplars } = told.counts;
        row(self, 0, None, *calls as f64, None);
        row(self, 1, None, *bytes as f64, None);
        let mut sum = 0;
        for (at, (spans, exemplar)) in buckets.iter().zip(exemplars).enumerate() {
            sum += spans;
            let le = self.label("le", BOUNDS[at]);
            row(self, 2, Some(le), sum as f64, *exemplar);
        }
        row(self, 3, None, *nanos as f64 / 1e9, None);
        row(self, 4, None, *calls as f64, None);
        self.batch.common.close_group(place as u32, 0, self.batch.rows() as u32);
    }

    fn label(&mut self, key: &str, value: &str) -> Label {
        let number = self.batch.common.keys.id(key);
        (number, self.batch.common.arena.push(value.as_bytes()), series::text(key, value))
    }

    fn exemplar(&mut self, exemplar: &Exemplar) -> Ref {
        let Exemplar { time, nanos, trace_id, span_id } = exemplar;
        let (trace, span) = (hex::encode(trace_id), hex::encode(span_id));
        let seconds = *nanos as f64 / 1e9;
        let text = format!(
            r#"[{{"time_unix_nano":{time},"value":{seconds:?},"trace_id":"{trace}","span_id":"{span}","attributes":{{}}}}]"#
        );
        self.batch.common.arena.push(text.as_bytes())
    }

    fn finish(self) -> MetricBatch {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use bonghwa_model::spans::SpanRow;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Spans of this name, of so many milliseconds; failed ones have the status 2.
    fn spans(service: &str, spans: &[(&str, i64, u8)]) -> SpanBatch {
        let mut batch = SpanBatch::default();
        batch.common.resources.push(Resource { service_name: service.to_owned(), ..Default::default() });
        batch.common.scopes.push(Default::default());
        for (number, (name, millis, status)) in spans.iter().enumerate() {
            let name = batch.common.arena.push(name.as_bytes());
            let (key, value) = (batch.common.keys.id("k"), batch.common.arena.push(b"four"));
            batch.attributes.push(key, Kind::Str, value.0);
            batch.push_row(SpanRow {
                trace_id: [number as u8 + 1; 16],
                span_id: [7; 8],
                kind: 2,
                start_time: SECOND,
                end_time: SECOND + millis * 1_000_000,
                status_code: *status,
                name,
                ..Default::default()
            });
        }
        batch.common.close_group(0, 0, spans.len() as u32);
        batch
    }

    /// Values by series; times as seconds.
    fn shown(batch: &MetricBatch) -> Vec<String> {
        let common = &batch.common;
        let row = |at: usize| {
            let labels = batch.attributes.row(at, &common.arena).map(|(key, value)| {
                let mut text = Vec::new();
                value.write_json(&mut text);
                format!("{}={}", common.keys.names()[key as usize], String::from_utf8_lossy(&text))
            });
            let labels: Vec<String> = labels.collect();
            let value = f64::from_bits(batch.value[at]);
            let name = &batch.metrics[batch.metric[at] as usize].name;
            format!("{name}{{{}}} {value} @{}", labels.join(","), batch.time[at] / SECOND)
        };
        (0..batch.rows()).map(row).collect()
    }

    #[test]
    fn spans_are_counted_by_operation_and_bucket() {
        let batch = spans("shop", &[("get", 2, 0), ("get", 3, 0), ("get", 3, 2), ("put", 20_000, 0), ("get", 1, 0)]);
        let mut counted = count(&batch);
        assert_eq!(counted.len(), 3);
        let get = Operation { service: "shop".into(), name: "get".into(), kind: 2, status: 0 };
        counted.entry(get.clone()).or_default().add(&count(&batch)[&get]);
        let counts = &counted[&get];
        assert_eq!((counts.calls, counts.nanos), (6, 12_000_000));
        assert_eq!(counts.buckets[..3], [4, 2, 0]);
        assert_eq!(counts.exemplars[0].map(|one| one.trace_id), Some([5; 16]));
        let told = Told { operation: &get, counts, since: SECOND, zero: None, ends: false };
        let rows = rows([told], "n", 60 * SECOND + 1);
        let all = shown(&rows);
        assert_eq!(all.len(), SERIES);
        let labels = r#"service="shop",span_kind="SPAN_KIND_SERVER",span_name="get",status_code="STATUS_CODE_UNSET""#;
        let expected = |name: &str, le: &str, value: &str| {
            format!(r#"traces_spanmetrics_{name}{{__metrics_gen_instance="n",{le}{labels}}} {value} @60"#)
        };
        // Ids, kind, times, name, an attribute: 18 + 10 + 2 + 18 + 5 + 13.
        for (name, le, value) in [
            ("calls_total", "", "6"),
            ("size_total", "", "396"),
            ("latency_bucket", r#"le="0.002","#, "4"),
            ("latency_bucket", r#"le="0.004","#, "6"),
            ("latency_bucket", r#"le="+Inf","#, "6"),
            ("latency_sum", "", "0.012"),
            ("latency_count", "", "6"),
        ] {
            assert!(all.contains(&expected(name, le, value)), "{} of {all:#?}", expected(name, le, value));
        }
        let exemplars = rows.exemplars.iter().map(|one| rows.common.arena.str(*one)).filter(|one| !one.is_empty());
        let exemplars: Vec<&str> = exemplars.collect();
        assert_eq!(exemplars.len(), 2);
        assert!(exemplars[0].contains(&format!(r#""value":0.001,"trace_id":"{}""#, "05".repeat(16))), "{exemplars:?}");
    }

    #[test]
    fn series_begin_with_a_zero_and_end_with_a_marker() {
        let counted = count(&spans("shop", &[("get", 2, 0)]));
        let told = |zero, ends| {
            let told = counted.iter().map(|(operation, counts)| Told { operation, counts, since: 0, zero, ends });
            rows(told, "", 60 * SECOND)
        };
        let begins = told(Some(45 * SECOND), false);
        let labels = r#"service="shop",span_kind="SPAN_KIND_SERVER",span_name="get",status_code="STATUS_CODE_UNSET""#;
        let all = shown(&begins);
        assert_eq!(all.len(), 2 * SERIES);
        assert_eq!(all[0], format!("traces_spanmetrics_calls_total{{{labels}}} 0 @45"));
        assert_eq!(all[1], format!("traces_spanmetrics_calls_total{{{labels}}} 1 @60"));
        assert_eq!(begins.series[0], begins.series[1]);
        let ends = told(Some(45 * SECOND), true);
        assert_eq!(ends.rows(), SERIES);
        assert!(ends.value.iter().all(|value| *value == STALE_NAN));
    }
}
