//! Writes valid requests at random where `BONGHWA_FUZZ_SEEDS` says, for the fuzzers to start from.
#![allow(clippy::unwrap_used)]

#[path = "support/prometheus.rs"]
mod prometheus;
mod support;

use std::path::Path;

use bonghwa_model::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use prost::Message;

fn write(dir: &Path, target: &str, number: usize, bytes: &[u8]) {
    std::fs::create_dir_all(dir.join(target)).unwrap();
    std::fs::write(dir.join(target).join(number.to_string()), bytes).unwrap();
}

fn write_all(dir: &Path, signal: Signal, number: usize, protobuf: &[u8], json: &[u8]) {
    write(dir, signal.as_str(), number, protobuf);
    write(dir, "json", number * 3 + signal as usize, &[&[signal as u8], json].concat());
    let packed = zstd::encode_all(protobuf, 1).unwrap();
    write(dir, "decompress", number * 3 + signal as usize, &[&[2], &packed[..]].concat());
}

/// A request of remote write in both versions.
fn write_prometheus(dir: &Path, number: usize) {
    use prometheus::{Exemplar, Histogram, Metadata, Series, Span, WriteRequest, labels, sample, to_v2};
    let time = support::NOW as i64 / 1_000_000;
    let name = format!("m{}", number % 7);
    let exemplars = [Exemplar { labels: labels(&[("trace_id", "1234")]), value: 1.0, timestamp: time }];
    let histogram = Histogram {
        count_int: Some(3),
        schema: number as i32 % 9,
        positive_spans: vec![Span { offset: 1, length: 1 }, Span { offset: number as i32 % 5, length: 1 }],
        positive_deltas: vec![1, 1],
        timestamp: time,
        ..Default::default()
    };
    let request = WriteRequest {
        timeseries: (0..number % 5)
            .map(|n| Series {
                labels: labels(&[("__name__", &name), ("instance", "i"), ("job", "a/b"), ("n", &n.to_string())]),
                samples: vec![sample(n as f64, time - n as i64)],
                exemplars: exemplars[..n % 2].to_vec(),
                histograms: if n == 3 { vec![histogram.clone()] } else { vec![] },
            })
            .collect(),
        metadata: vec![Metadata { metric_type: 1, metric_family_name: name, help: "h".into(), unit: "u".into() }],
    };
    write(dir, "remote_write", number * 2, &[&[0], &request.encode_to_vec()[..]].concat());
    write(dir, "remote_write", number * 2 + 1, &[&[1], &to_v2(&request).encode_to_vec()[..]].concat());
}

#[test]
fn seeds() {
    let Some(dir) = std::env::var_os("BONGHWA_FUZZ_SEEDS") else { return };
    let dir = Path::new(&dir);
    let mut runner = TestRunner::deterministic();
    for i in 0..200 {
        write_prometheus(dir, i);
        let resource_logs = support::random::logs().new_tree(&mut runner).unwrap().current();
        let request = ExportLogsServiceRequest { resource_logs };
        write_all(dir, Signal::Logs, i, &request.encode_to_vec(), &serde_json::to_vec(&request).unwrap());
        let resource_metrics = support::random::metrics().new_tree(&mut runner).unwrap().current();
        let request = ExportMetricsServiceRequest { resource_metrics };
        write_all(dir, Signal::Metrics, i, &request.encode_to_vec(), &serde_json::to_vec(&request).unwrap());
        let resource_spans = support::random::traces().new_tree(&mut runner).unwrap().current();
        let request = ExportTraceServiceRequest { resource_spans };
        write_all(dir, Signal::Traces, i, &request.encode_to_vec(), &serde_json::to_vec(&request).unwrap());
    }
}
