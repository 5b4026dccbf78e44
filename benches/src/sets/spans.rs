//! Spans: traces of 8 over the 8 services, 5 attributes each, random ids.

use bonghwa_testkit::generate::{any, attribute, text};
use bonghwa_testkit::{Signal, seed};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::infrastructure::{PODS, PODS_PER_SERVICE, SERVICES, resource, scope};
use super::{BASE_TIME, LANES, SEED, Set};

const SPANS_PER_TRACE: usize = SERVICES.len();
const TRACES_PER_REQUEST: usize = 125;
/// On average 500 traces a second.
const MAX_STEP_NS: u64 = 4_000_000;
const HOP_NS: u64 = 1_000_000;
const MAX_DURATION_NS: u64 = 1_000_000_000;
const OPERATIONS: [&str; SPANS_PER_TRACE] =
    ["GET /", "GetCart", "PlaceOrder", "Charge", "Quote", "Convert", "Product", "Account"];
const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];
const STATUS_CODES: [i64; 5] = [200, 201, 400, 404, 500];
const PRODUCTS: u32 = 2_000;
const USERS: u32 = 1_000_000;
const ADDRESSES: u32 = 2_048;

/// Requests of 1,000 spans each, about 211 bytes a span.
pub fn spans(requests: usize) -> Set {
    let mut rng = seed::rng(SEED, 2);
    let mut time = BASE_TIME;
    let requests = (0..requests).map(|_| request(&mut rng, &mut time)).collect();
    Set {
        signal: Signal::Traces,
        items_per_request: (TRACES_PER_REQUEST * SPANS_PER_TRACE) as u64,
        requests,
        lanes: LANES,
    }
}

/// The spans of 125 traces, sorted by pod as a Collector's batch is.
fn request(rng: &mut StdRng, time: &mut u64) -> Bytes {
    let mut by_pod: Vec<Vec<Span>> = (0..PODS).map(|_| Vec::new()).collect();
    for _ in 0..TRACES_PER_REQUEST {
        *time += rng.random_range(0..MAX_STEP_NS);
        for (service, span) in trace(rng, *time).into_iter().enumerate() {
            by_pod[service * PODS_PER_SERVICE + rng.random_range(0..PODS_PER_SERVICE)].push(span);
        }
    }
    let resource_spans = by_pod
        .into_iter()
        .enumerate()
        .filter(|(_, spans)| !spans.is_empty())
        .map(|(pod, spans)| ResourceSpans {
            resource: Some(resource(pod)),
            scope_spans: vec![ScopeSpans { scope: Some(scope()), spans, ..Default::default() }],
            ..Default::default()
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn trace(rng: &mut StdRng, start: u64) -> [Span; SPANS_PER_TRACE] {
    let trace_id: [u8; 16] = rng.random();
    let ids: [[u8; 8]; SPANS_PER_TRACE] = rng.random();
    std::array::from_fn(|hop| {
        let parent_span_id = match hop {
            0 => vec![],
            _ => ids[rng.random_range(0..hop)].to_vec(),
        };
        let start_time_unix_nano = start + hop as u64 * HOP_NS;
        let status_code = STATUS_CODES[rng.random_range(0..STATUS_CODES.len())];
        let address = rng.random_range(0..ADDRESSES);
        Span {
            trace_id: trace_id.to_vec(),
            span_id: ids[hop].to_vec(),
            parent_span_id,
            name: OPERATIONS[hop].into(),
            kind: span::SpanKind::Server as i32,
            start_time_unix_nano,
            end_time_unix_nano: start_time_unix_nano + rng.random_range(0..MAX_DURATION_NS),
            attributes: vec![
                attribute("http.method", text(METHODS[rng.random_range(0..METHODS.len())])),
                attribute("http.status_code", any(Value::IntValue(status_code))),
                attribute("url.path", text(format!("/products/{}", rng.random_range(0..PRODUCTS)))),
                attribute("user.id", text(format!("u-{:06}", rng.random_range(0..USERS)))),
                attribute("client.ip", text(format!("10.0.{}.{}", address / 256, address % 256))),
            ],
            status: Some(Status { code: if status_code == 500 { 2 } else { 0 }, ..Default::default() }),
            ..Default::default()
        }
    })
}
