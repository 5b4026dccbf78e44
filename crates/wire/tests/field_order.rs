//! Protobuf promises no order of fields: an encoder may write a point's exemplars before
//! its packed lists, as the Collector's does.
#![allow(clippy::unwrap_used, clippy::panic)]

use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;
use bonghwa_wire::{DecodeOptions, decode};
use opentelemetry_proto::tonic::metrics::v1::exemplar::Value;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, HistogramDataPoint};
use prost::Message;

const NOW: u64 = 1_700_000_000_000_000_000;

/// A length-delimited field of fewer than 16,384 bytes.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let low = (content.len() & 0x7F) as u8 | 0x80;
    let high = (content.len() >> 7) as u8;
    [&[number << 3 | 2, low, high], content].concat()
}

fn request(point: &[u8]) -> Vec<u8> {
    // Cumulative.
    let histogram = [field(1, point), vec![0x10, 2]].concat();
    let metric = [field(1, b"latency"), field(9, &histogram)].concat();
    field(1, &field(2, &field(2, &metric)))
}

#[test]
fn exemplars_before_packed_lists() {
    let exemplar = Exemplar { time_unix_nano: NOW, value: Some(Value::AsDouble(1.5)), ..Exemplar::default() };
    let exemplars = HistogramDataPoint { exemplars: vec![exemplar], ..HistogramDataPoint::default() };
    let lists = HistogramDataPoint {
        time_unix_nano: NOW,
        count: 3,
        explicit_bounds: vec![1.0, 2.0],
        bucket_counts: vec![1, 1, 1],
        ..HistogramDataPoint::default()
    };
    let options = DecodeOptions { now_ns: NOW as i64, ..DecodeOptions::default() };
    let (first, second) = (exemplars.encode_to_vec(), lists.encode_to_vec());
    let [usual, reversed] = [[second.clone(), first.clone()].concat(), [first, second].concat()].map(|point| {
        let decoded = decode(Signal::Metrics, &request(&point), &options).unwrap();
        assert_eq!(decoded.rejected, 0, "{}", decoded.message());
        let Batch::Metrics(batch) = decoded.batch else { panic!("not metrics") };
        let text = |reference| batch.common.arena.str(reference).to_owned();
        (text(batch.buckets[0]), text(batch.exemplars[0]))
    });
    assert_eq!(usual, reversed);
    assert!(usual.0.contains("[1.0,2.0]") && usual.1.contains("1.5"), "{usual:?}");
}
