//! Metrics of spans, as Tempo's generator names them: how many there were of an operation, how long they took, how
//! large they were. [`count`] counts the spans of a request; [`derived`](crate::derived) writes what was counted:
//!
//! | Series | Of each operation |
//! |---|---|
//! | [`CALLS`] | spans |
//! | [`LATENCY`]`_bucket`, `_sum`, `_count` | their durations, seconds; buckets end at 2 ms and its doubles up to 16.384 s |
//! | [`SIZE`] | their bytes as protobuf, about |
//!
//! An operation is `service`, `span_name`, `span_kind` (`SPAN_KIND_SERVER`) and `status_code`
//! (`STATUS_CODE_ERROR`). Each bucket has its newest span as exemplar.

use std::hash::{Hash, Hasher};

use bonghwa_model::Kind;
use bonghwa_model::prometheus::Metadata;
use bonghwa_model::refs::Ref;
use bonghwa_model::spans::SpanBatch;
use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};

use crate::derived::{Bounds, Counters, Exemplar, Histogram, Series, described};
use crate::schema::{SPAN_KINDS, STATUS_CODES};

/// Spans.
pub const CALLS: &str = "traces_spanmetrics_calls_total";
/// Durations, seconds.
pub const LATENCY: &str = "traces_spanmetrics_latency";
/// Bytes.
pub const SIZE: &str = "traces_spanmetrics_size_total";

const BUCKETS: usize = 15;
const BOUNDS: Bounds<BUCKETS> = Bounds {
    millis: &[2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384],
    seconds: [
        "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512", "1.024", "2.048", "4.096",
        "8.192", "16.384", "+Inf",
    ],
};

/// By what spans are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

/// What was counted of an operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    bytes: u64,
    latency: Histogram<BUCKETS>,
}

impl Counts {
    fn span(&mut self, batch: &SpanBatch, row: usize) {
        self.bytes += span_bytes(batch, row);
        self.latency.observe(&BOUNDS, Exemplar::of(batch, row));
    }
}

impl Counters for Counts {
    type Key = Operation;
    const WHAT: &'static str = "span metrics";
    const METRICS: &'static [&'static str] = &[
        CALLS,
        SIZE,
        "traces_spanmetrics_latency_bucket",
        "traces_spanmetrics_latency_sum",
        "traces_spanmetrics_latency_count",
    ];
    const SERIES: usize = BUCKETS + 4;

    fn metadata() -> Vec<Metadata> {
        vec![
            described(CALLS, 1, "Spans by service, name, kind and status", ""),
            described(LATENCY, 3, "Durations of spans", "seconds"),
            described(SIZE, 1, "Bytes of spans", "bytes"),
        ]
    }

    fn calls(&self) -> u64 {
        self.latency.count()
    }

    fn add(&mut self, more: &Counts) {
        self.bytes += more.bytes;
        self.latency.add(&more.latency);
    }

    fn forget_exemplars(&mut self) {
        self.latency.forget_exemplars();
    }

    fn write(&self, key: &Operation, series: &mut Series<'_>) {
        let Operation { service, name, kind, status } = key;
        let kind = SPAN_KINDS.get(*kind as usize).unwrap_or(&SPAN_KINDS[0]);
        let status = STATUS_CODES.get(*status as usize).unwrap_or(&STATUS_CODES[0]);
        series.of(service, &[("service", service), ("span_kind", kind), ("span_name", name), ("status_code", status)]);
        series.counter(0, self.calls() as f64);
        series.counter(1, self.bytes as f64);
        series.histogram(2, &BOUNDS, &self.latency);
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

#[cfg(test)]
mod tests {
    use bonghwa_model::batch::Resource;
    use bonghwa_model::prometheus::STALE_NAN;
    use bonghwa_model::spans::SpanRow;

    use super::*;
    use crate::derived::tests::shown;
    use crate::derived::{Told, rows};

    const SERIES: usize = Counts::SERIES;

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

    #[test]
    fn spans_are_counted_by_operation_and_bucket() {
        let batch = spans("shop", &[("get", 2, 0), ("get", 3, 0), ("get", 3, 2), ("put", 20_000, 0), ("get", 1, 0)]);
        let mut counted = count(&batch);
        assert_eq!(counted.len(), 3);
        let get = Operation { service: "shop".into(), name: "get".into(), kind: 2, status: 0 };
        counted.entry(get.clone()).or_default().add(&count(&batch)[&get]);
        let counts = &counted[&get];
        assert_eq!((counts.calls(), counts.latency.nanos), (6, 12_000_000));
        assert_eq!(counts.latency.buckets[..3], [4, 2, 0]);
        assert_eq!(counts.latency.exemplars[0].map(|one| one.trace_id), Some([5; 16]));
        let told = Told { key: &get, counts, since: SECOND, zero: None, ends: false };
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
            let told = counted.iter().map(|(key, counts)| Told { key, counts, since: 0, zero, ends });
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
