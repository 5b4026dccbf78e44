//! The decoders against a slow reading of the same messages, made at random.
#![allow(clippy::unwrap_used)]

mod support;

use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, codec};
use bonghwa_wire::{Decoded, decode, decode_json};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use prost::Message;

use support::{Expected, options, random, rows};

fn check(signal: Signal, decoded: &Decoded, expected: &Expected) -> Result<(), TestCaseError> {
    prop_assert_eq!(decoded.batch.signal(), signal);
    let found = rows::of(&decoded.batch);
    prop_assert_eq!(decoded.rejected, expected.rejected, "{}", decoded.message());
    prop_assert_eq!(found.len(), expected.rows.len());
    for (found, expected) in found.iter().zip(&expected.rows) {
        prop_assert_eq!(found, expected);
    }
    let counted: u64 = decoded.reasons.iter().map(|r| r.count).sum();
    prop_assert_eq!(counted, decoded.rejected);
    // Rows apart from attributes compare as bits: Debug tells NaN from nothing else.
    let again = codec::decode(&codec::encode(&decoded.batch)).unwrap();
    prop_assert_eq!(rows_only(&again), rows_only(&decoded.batch));
    Ok(())
}

/// What the codec must keep; the order inside nested maps is JSON's.
fn rows_only(batch: &Batch) -> Vec<Vec<(String, bonghwa_model::Kind, String)>> {
    rows::of(batch).into_iter().map(|r| r.attributes).collect()
}

fn check_json(signal: Signal, json: &[u8], protobuf: &Decoded) -> Result<(), TestCaseError> {
    let decoded = decode_json(signal, json, &options()).unwrap();
    prop_assert_eq!(decoded.rejected, protobuf.rejected, "{}\n{}", decoded.message(), String::from_utf8_lossy(json));
    prop_assert_eq!(rows::of(&decoded.batch), rows::of(&protobuf.batch));
    if let (Batch::Metrics(a), Batch::Metrics(b)) = (&decoded.batch, &protobuf.batch) {
        prop_assert_eq!(&a.series, &b.series);
    }
    Ok(())
}

/// Cuts a request at every byte, and damages every byte.
fn damage(signal: Signal, bytes: &[u8]) {
    for cut in 0..bytes.len() {
        if let Ok(decoded) = decode(signal, &bytes[..cut], &options()) {
            rows::of(&decoded.batch);
        }
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 0x81;
        if let Ok(decoded) = decode(signal, &damaged, &options()) {
            codec::decode(&codec::encode(&decoded.batch)).unwrap();
        }
    }
}

/// Some requests of a kind, none so long that damaging each byte takes long.
fn some<T: std::fmt::Debug>(requests: impl Strategy<Value = T>, encode: impl Fn(T) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::deterministic();
    let bytes = || encode(requests.new_tree(&mut runner).unwrap().current());
    std::iter::repeat_with(bytes).filter(|b| (100..2000).contains(&b.len())).take(6).collect()
}

#[test]
fn damage_never_panics() {
    for bytes in some(random::logs(), |resource_logs| ExportLogsServiceRequest { resource_logs }.encode_to_vec()) {
        damage(Signal::Logs, &bytes);
    }
    for bytes in some(random::traces(), |resource_spans| ExportTraceServiceRequest { resource_spans }.encode_to_vec()) {
        damage(Signal::Traces, &bytes);
    }
    for bytes in
        some(random::metrics(), |resource_metrics| ExportMetricsServiceRequest { resource_metrics }.encode_to_vec())
    {
        damage(Signal::Metrics, &bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn logs(resource_logs in random::logs()) {
        let expected = support::logs(&resource_logs);
        let request = ExportLogsServiceRequest { resource_logs };
        let decoded = decode(Signal::Logs, &request.encode_to_vec(), &options()).unwrap();
        check(Signal::Logs, &decoded, &expected)?;
        check_json(Signal::Logs, &serde_json::to_vec(&request).unwrap(), &decoded)?;
    }

    #[test]
    fn traces(resource_spans in random::traces()) {
        let expected = support::traces(&resource_spans);
        let request = ExportTraceServiceRequest { resource_spans };
        let decoded = decode(Signal::Traces, &request.encode_to_vec(), &options()).unwrap();
        check(Signal::Traces, &decoded, &expected)?;
        check_json(Signal::Traces, &serde_json::to_vec(&request).unwrap(), &decoded)?;
    }

    #[test]
    fn metrics(resource_metrics in random::metrics()) {
        let expected = support::metrics(&resource_metrics);
        let request = ExportMetricsServiceRequest { resource_metrics };
        let decoded = decode(Signal::Metrics, &request.encode_to_vec(), &options()).unwrap();
        check(Signal::Metrics, &decoded, &expected)?;
        check_json(Signal::Metrics, &serde_json::to_vec(&request).unwrap(), &decoded)?;
    }
}
