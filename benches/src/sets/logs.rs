//! Log records: 8 templates with numbers, a severity, two attributes, random ids.

use bonghwa_testkit::generate::{attribute, text};
use bonghwa_testkit::{Signal, seed};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::infrastructure::{PODS, resource, scope};
use super::{BASE_TIME, LANES, SEED, Set};

/// A Collector's batch holds what several pods of a node wrote.
const PODS_PER_REQUEST: usize = 8;
const RECORDS_PER_POD: usize = 125;
/// On average 4,000 records a second.
const MAX_STEP_NS: u64 = 500_000;
const ADDRESSES: u32 = 2_048;
const ROUTES: [&str; 16] = [
    "/",
    "/cart",
    "/cart/items",
    "/cart/empty",
    "/checkout",
    "/checkout/confirm",
    "/products",
    "/products/{id}",
    "/search",
    "/login",
    "/logout",
    "/account",
    "/orders",
    "/orders/{id}",
    "/health",
    "/metrics",
];

/// Requests of 1,000 records each, about 181 bytes a record.
pub fn logs(requests: usize) -> Set {
    let mut rng = seed::rng(SEED, 1);
    let mut time = BASE_TIME;
    let requests = (0..requests).map(|_| request(&mut rng, &mut time)).collect();
    Set { signal: Signal::Logs, items_per_request: (PODS_PER_REQUEST * RECORDS_PER_POD) as u64, requests, lanes: LANES }
}

fn request(rng: &mut StdRng, time: &mut u64) -> Bytes {
    let mut resource_logs: Vec<ResourceLogs> = (0..PODS_PER_REQUEST)
        .map(|_| ResourceLogs {
            resource: Some(resource(rng.random_range(0..PODS))),
            scope_logs: vec![ScopeLogs { scope: Some(scope()), ..Default::default() }],
            ..Default::default()
        })
        .collect();
    // The pods write at the same time, so their records interleave.
    for _ in 0..RECORDS_PER_POD {
        for pod in &mut resource_logs {
            *time += rng.random_range(0..MAX_STEP_NS);
            pod.scope_logs[0].log_records.push(record(rng, *time));
        }
    }
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}

fn record(rng: &mut StdRng, time: u64) -> LogRecord {
    let (severity_number, severity_text) = match rng.random_range(0..100) {
        0..80 => (9, "INFO"),
        80..95 => (13, "WARN"),
        _ => (17, "ERROR"),
    };
    let address = rng.random_range(0..ADDRESSES);
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        severity_number,
        severity_text: severity_text.into(),
        body: Some(text(body(rng))),
        attributes: vec![
            attribute("http.route", text(ROUTES[rng.random_range(0..ROUTES.len())])),
            attribute("client.address", text(format!("10.0.{}.{}", address / 256, address % 256))),
        ],
        trace_id: rng.random::<[u8; 16]>().to_vec(),
        span_id: rng.random::<[u8; 8]>().to_vec(),
        ..Default::default()
    }
}

fn body(rng: &mut StdRng) -> String {
    let template = rng.random_range(0..8);
    let (id, ms, small) = (rng.random_range(0..1_000_000), rng.random_range(1..2_000), rng.random_range(0..64));
    match template {
        0 => format!("GET /products/{id} answered in {ms} ms, {small} rows in this page"),
        1 => format!("order {id} placed with {small} items, packed after {ms} minutes"),
        2 => format!("payment {id} authorized after {ms} ms, attempt {small} of many"),
        3 => format!("cache miss for product {id}: shard {small} loaded it in {ms} ms"),
        4 => format!("retry {small} of call {id} to inventory after {ms} ms of waiting"),
        5 => format!("the session {id} expired after {ms} seconds, {small} others are left"),
        6 => format!("a slow query, {id}, took {ms} ms and returned {small} rows to it"),
        _ => format!("queue {small} holds {ms} messages, the oldest is {id} ms old"),
    }
}
