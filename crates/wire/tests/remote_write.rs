//! Remote write, both versions: what was sent stands in the batch by the mapping that `model::prometheus`
//! documents; what breaks a rule is named, its siblings are kept.
#![allow(clippy::unwrap_used)]

#[path = "support/prometheus.rs"]
mod prometheus;
mod support;

use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::{MetricBatch, MetricType, PointKind};
use bonghwa_model::prometheus::{METADATA_SCOPE, SCOPE, STALE_NAN, VERSION};
use bonghwa_model::{Value, codec};
use bonghwa_wire::remote_write::{Received, Version, Written, decode, metadata_batch};
use bonghwa_wire::{DecodeOptions, Reason};
use proptest::prelude::*;
use prost::Message;

use prometheus::{
    Exemplar, Histogram, Label, Metadata, MetadataV2, RequestV2, Sample, Series, SeriesV2, Span, WriteRequest, labels,
    sample, series, to_v2,
};
use support::{NOW, options};

/// The tests' arrival in milliseconds.
const MS: i64 = (NOW / 1_000_000) as i64;
const NS: i64 = MS * 1_000_000;

/// A row in words: series, time, start, value, exemplars.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    name: String,
    metric_type: MetricType,
    kind: PointKind,
    attributes: Vec<(String, String)>,
    resource: Vec<(String, String)>,
    service: String,
    time: i64,
    start: i64,
    value: u64,
    count: u64,
    sum: u64,
    buckets: String,
    exemplars: String,
    series: [u64; 2],
}

fn rows(batch: &Batch) -> Vec<Row> {
    let Batch::Metrics(b) = batch else { unreachable!() };
    // What is stored is what was decoded.
    let stored = codec::encode(batch);
    assert_eq!(codec::encode(&codec::decode(&stored).unwrap()), stored);
    let text = |value: &Value| if let Value::Str(v) = value { v.clone() } else { unreachable!("{value:?}") };
    let mut rows = Vec::new();
    for (group, range) in b.common.group_ranges() {
        let resource = &b.common.resources[group.resource as usize];
        let scope = &b.common.scopes[group.scope as usize];
        assert_eq!((scope.name.as_str(), scope.version.as_str()), (SCOPE, VERSION));
        for row in range {
            let metric = &b.metrics[b.metric[row] as usize];
            assert_eq!((metric.monotonic, metric.temporality, metric.unit.as_str()), (false, 0, ""));
            assert_eq!(b.flags[row], 0);
            rows.push(Row {
                name: metric.name.clone(),
                metric_type: metric.metric_type,
                kind: PointKind::from_u8(b.point_kind[row]).unwrap(),
                attributes: attributes(b, row),
                resource: resource.attributes.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
                service: resource.service_name.clone(),
                time: b.time[row],
                start: b.start_time[row],
                value: b.value[row],
                count: b.count[row],
                sum: b.sum[row].to_bits(),
                buckets: b.common.arena.str(b.buckets[row]).to_owned(),
                exemplars: b.common.arena.str(b.exemplars[row]).to_owned(),
                series: b.series[row],
            });
        }
    }
    assert_eq!(rows.len(), batch.rows());
    rows
}

fn attributes(b: &MetricBatch, row: usize) -> Vec<(String, String)> {
    let names = b.common.keys.names();
    let pair = |(key, value)| match value {
        bonghwa_model::attributes::ValueRef::Str(text) => (names[key as usize].clone(), text.to_owned()),
        other => unreachable!("{other:?}"),
    };
    b.attributes.row(row, &b.common.arena).map(pair).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn both(request: &WriteRequest) -> [Received; 2] {
    let v1 = decode(Version::V1, &request.encode_to_vec(), &options()).unwrap();
    let v2 = decode(Version::V2, &to_v2(request).encode_to_vec(), &options()).unwrap();
    [v1, v2]
}

/// The rows of a request that is valid, in both versions.
#[track_caller]
fn taken(timeseries: Vec<Series>) -> Vec<Row> {
    let [v1, v2] = both(&WriteRequest { timeseries, metadata: vec![] });
    assert_eq!((v1.decoded.message(), v2.decoded.message()), (String::new(), String::new()));
    assert_eq!(v1.written, v2.written);
    assert_eq!(rows(&v1.decoded.batch), rows(&v2.decoded.batch));
    rows(&v1.decoded.batch)
}

const UP: &[(&str, &str)] = &[("__name__", "up"), ("instance", "10.0.0.1:9100"), ("job", "infra/node"), ("zone", "a")];

#[test]
fn a_sample_is_a_double_of_a_gauge() {
    let values = [1.5, f64::NAN, f64::from_bits(STALE_NAN), f64::NEG_INFINITY, 0.0];
    let samples = values.iter().zip(0..).map(|(v, i)| sample(*v, MS + i)).collect();
    let rows = taken(vec![series(UP, samples)]);
    for ((row, value), i) in rows.iter().zip(values).zip(0..) {
        let expected = Row {
            name: "up".into(),
            metric_type: MetricType::Gauge,
            kind: PointKind::Double,
            attributes: pairs(&[("instance", "10.0.0.1:9100"), ("job", "infra/node"), ("zone", "a")]),
            resource: pairs(&[
                ("service.namespace", "infra"),
                ("service.name", "node"),
                ("service.instance.id", "10.0.0.1:9100"),
            ]),
            service: "node".into(),
            time: NS + i * 1_000_000,
            start: 0,
            value: value.to_bits(),
            count: 0,
            sum: 0,
            buckets: String::new(),
            exemplars: String::new(),
            series: rows[0].series,
        };
        assert_eq!(*row, expected);
    }
    assert_eq!(rows.len(), values.len());
}

/// A stored contract: whoever changes this number splits every series that is stored.
#[test]
fn the_identity_of_a_series_is_stored() {
    let identity = taken(vec![series(UP, vec![sample(1.0, MS)])])[0].series;
    assert_eq!(identity, IDENTITY_OF_UP);
}
const IDENTITY_OF_UP: [u64; 2] = [10621474774987245039, 6879583428092086374];

#[test]
fn series_are_told_apart_by_labels_alone() {
    let one = |labels: &[(&str, &str)]| taken(vec![series(labels, vec![sample(1.0, MS)])]).remove(0);
    let first = one(&[("__name__", "a"), ("b", "1"), ("c", "2")]);
    for (labels, same) in [
        (&[("c", "2"), ("__name__", "a"), ("b", "1")][..], true),
        (&[("__name__", "a"), ("b", "1"), ("c", "2"), ("d", "")], true),
        (&[("__name__", "a"), ("b", "2"), ("c", "1")], false),
        (&[("__name__", "a"), ("b", "1"), ("c", "2"), ("d", "1")], false),
        (&[("__name__", "b"), ("b", "1"), ("c", "2")], false),
        (&[("__name__", "a"), ("b", "1"), ("c", "2"), ("job", "x")], false),
    ] {
        let other = one(labels);
        assert_eq!(other.series == first.series, same, "{labels:?}");
        if same {
            assert_eq!(other, first, "{labels:?}");
        }
    }
    assert_eq!(first.service, "unknown_service");
    assert!(first.resource.is_empty());
}

#[test]
fn names_may_be_any_utf8() {
    let row =
        taken(vec![series(&[("__name__", "온도.celsius"), ("k8s.pod/名", "é")], vec![sample(1.0, MS)])]).remove(0);
    assert_eq!((row.name.as_str(), row.attributes), ("온도.celsius", pairs(&[("k8s.pod/名", "é")])));
}

#[test]
fn groups_follow_the_services_and_labels_are_stored_once() {
    let of = |job: &str, n: i64| {
        series(
            &[("__name__", "up"), ("instance", "a-rather-long-instance:80"), ("job", job)],
            vec![sample(1.0, MS + n)],
        )
    };
    let request =
        WriteRequest { timeseries: (0..200).map(|n| of(["a", "b"][n as usize % 2], n)).collect(), metadata: vec![] };
    for received in both(&request) {
        let Batch::Metrics(b) = &received.decoded.batch else { unreachable!() };
        assert_eq!((b.rows(), b.common.resources.len(), b.metrics.len()), (200, 2, 1));
        assert_eq!(b.common.groups.len(), 200);
        assert!(b.common.arena.len() < 40, "{}", b.common.arena.len());
        assert_eq!(received.written, Written { samples: 200, histograms: 0, exemplars: 0 });
    }
}

/// The second of three series is bad: it alone is lost, with this reason and sentence.
#[track_caller]
fn loses_the_second(bad: &Series, reason: Reason, sentence: &str) {
    let good = || series(UP, vec![sample(1.0, MS)]);
    for received in both(&WriteRequest { timeseries: vec![good(), bad.clone(), good()], metadata: vec![] }) {
        let message = received.decoded.message();
        assert_eq!((received.decoded.rejected, received.decoded.batch.rows()), (1, 2), "{message}");
        assert_eq!(received.decoded.reasons[0].reason, reason, "{message}");
        assert!(message.contains(sentence), "{message} has no {sentence}");
        assert!(message.contains("timeseries[1]"), "{message}");
        rows(&received.decoded.batch);
    }
}

#[test]
fn bad_labels_and_times() {
    let at = |labels: &[(&str, &str)]| series(labels, vec![sample(1.0, MS)]);
    let time = |timestamp| series(&[("__name__", "x"), ("a", "1")], vec![sample(1.0, timestamp)]);
    let (long, longer) = ("k".repeat(1025), "v".repeat((64 << 10) + 1));
    let many: Vec<String> = (0..1025).map(|i| format!("k{i:04}")).collect();
    let many: Vec<(&str, &str)> =
        [("__name__", "x")].into_iter().chain(many.iter().map(|k| (k.as_str(), "v"))).collect();
    let cases = [
        (at(&[("a", "1")]), Reason::MissingName, "{a=\"1\"}.labels have no __name__"),
        (at(&[("__name__", ""), ("a", "1")]), Reason::MissingName, "labels have no __name__"),
        (at(&[]), Reason::MissingName, "labels have no __name__"),
        (at(&[("__name__", "x"), ("__name__", "y")]), Reason::DuplicateLabel, "labels have \"__name__\" twice"),
        (at(&[("__name__", "x"), ("a", "1"), ("a", "2")]), Reason::DuplicateLabel, "labels have \"a\" twice"),
        (
            at(&[("a", "1"), ("__name__", "x"), ("b", "1"), ("a", "1")]),
            Reason::DuplicateLabel,
            "x{a=\"1\", b=\"1\", a=\"1\"}.labels have \"a\" twice",
        ),
        (at(&[("__name__", "x"), ("", "1")]), Reason::InvalidLabel, " has a label without a name"),
        (at(&[("__name__", "x"), (&long, "1")]), Reason::KeyTooLong, "has a key of 1025 bytes"),
        (at(&[("__name__", "x"), ("a", &longer)]), Reason::ValueTooLong, "[\"a\"] has 65537 bytes"),
        (
            at(&[("__name__", "up"), ("bonghwa_source", "otlp")]),
            Reason::InvalidLabel,
            "up{bonghwa_source=\"otlp\"}.labels have \"bonghwa_source\", which on the metric \"up\" is kept",
        ),
        (at(&many), Reason::TooManyAttributes, " has more than 1024 entries"),
        (time(0), Reason::InvalidTimestamp, "x{a=\"1\"}.samples[0].timestamp is 0 or missing"),
        (time(-1), Reason::InvalidTimestamp, "samples[0].timestamp is -1, before 1970"),
        (time(i64::MIN), Reason::InvalidTimestamp, "timestamp is -9223372036854775808, before 1970"),
        (time(i64::MAX), Reason::InvalidTimestamp, "timestamp is 9223372036854775807, beyond the year 2262"),
        (time(9_223_372_036_854), Reason::TooFarInFuture, "ahead of this server's clock where 600 s are allowed"),
        (time(MS + 600_001), Reason::TooFarInFuture, "600 s ahead"),
        (time(MS - 86_400_001), Reason::TooOld, "86400 s ago, which is older than the tenant keeps"),
        (time(1), Reason::TooOld, "timestamp is 1, "),
    ];
    for (bad, reason, sentence) in &cases {
        loses_the_second(bad, *reason, sentence);
    }
    taken(vec![time(MS + 600_000), time(MS - 86_400_000)]);
}

#[test]
fn one_bad_sample_costs_only_itself() {
    let samples = vec![sample(1.0, MS), sample(2.0, -5), sample(3.0, MS - 10)];
    for received in both(&WriteRequest { timeseries: vec![series(UP, samples)], metadata: vec![] }) {
        let values: Vec<f64> = rows(&received.decoded.batch).iter().map(|r| f64::from_bits(r.value)).collect();
        assert_eq!(values, [1.0, 3.0], "out of order is fine");
        assert_eq!(received.written.samples, 2);
        assert!(received.decoded.message().starts_with("1 of 3 data points were rejected. timeseries[0] up{"));
    }
}

#[test]
fn text_that_is_none() {
    let request = |labels: Vec<Label>| WriteRequest {
        timeseries: vec![
            Series { labels, samples: vec![sample(1.0, MS)], ..Default::default() },
            series(UP, vec![sample(1.0, MS)]),
        ],
        metadata: vec![],
    };
    for (label, sentence) in [
        (("@@@@", "v"), ".labels[\"\u{fffd}(@@\"] is not UTF-8 from its byte 0 on (c3284040)"),
        (("a", "x@@@@"), "[\"a\"] is not UTF-8 from its byte 1 on (c3284040)"),
    ] {
        let request = request(labels(&[("__name__", "x"), label]));
        let broken = |mut bytes: Vec<u8>| {
            let at = bytes.windows(4).position(|w| w == b"@@@@").unwrap();
            bytes[at..at + 2].copy_from_slice(&[0xc3, 0x28]);
            bytes
        };
        let v1 = decode(Version::V1, &broken(request.encode_to_vec()), &options()).unwrap();
        let v2 = decode(Version::V2, &broken(to_v2(&request).encode_to_vec()), &options()).unwrap();
        for received in [v1, v2] {
            let message = received.decoded.message();
            assert_eq!((received.decoded.rejected, received.decoded.batch.rows()), (1, 1), "{message}");
            assert_eq!(received.decoded.reasons[0].reason, Reason::InvalidUtf8);
            assert!(message.replace(".labels_refs[", ".labels[").contains(sentence), "{message} has no {sentence}");
        }
    }
}

#[test]
fn symbols_that_are_missing() {
    let request = |labels_refs: Vec<u32>| RequestV2 {
        symbols: ["", "__name__", "x"].map(str::to_owned).to_vec(),
        timeseries: vec![
            SeriesV2 { labels_refs, samples: vec![sample(1.0, MS)], ..Default::default() },
            SeriesV2 { labels_refs: vec![1, 2], samples: vec![sample(1.0, MS)], ..Default::default() },
        ],
    };
    for (refs, sentence) in [
        (vec![1, 3], "timeseries[0].labels_refs has 3 where there are 3 symbols"),
        (vec![1, 2, u32::MAX, 1], "timeseries[0] x.labels_refs has 4294967295"),
        (vec![1], "labels_refs has 1 entries: names and values come in pairs"),
        (vec![1, 2, 0, 1], "labels_refs has a label without a name"),
    ] {
        let received = decode(Version::V2, &request(refs).encode_to_vec(), &options()).unwrap();
        let message = received.decoded.message();
        assert_eq!((received.decoded.rejected, received.decoded.batch.rows()), (1, 1), "{message}");
        assert_eq!(received.decoded.reasons[0].reason, Reason::InvalidLabel);
        assert!(message.contains(sentence), "{message} has no {sentence}");
    }
}

#[test]
fn start_times() {
    let mut v2 = to_v2(&WriteRequest {
        timeseries: vec![series(UP, vec![Sample { start_timestamp: MS - 5, ..sample(1.0, MS) }, sample(2.0, MS)])],
        metadata: vec![],
    });
    v2.timeseries[0].created_timestamp = MS - 9;
    let received = decode(Version::V2, &v2.encode_to_vec(), &options()).unwrap();
    let starts: Vec<i64> = rows(&received.decoded.batch).iter().map(|r| r.start).collect();
    assert_eq!(starts, [NS - 5_000_000, NS - 9_000_000]);
    // What cannot be a start time is none, and the sample stays: before 1970, beyond 2262.
    for impossible in [-9, i64::MAX] {
        v2.timeseries[0].created_timestamp = impossible;
        let received = decode(Version::V2, &v2.encode_to_vec(), &options()).unwrap();
        let starts: Vec<i64> = rows(&received.decoded.batch).iter().map(|r| r.start).collect();
        assert_eq!((starts, received.decoded.rejected), (vec![NS - 5_000_000, 0], 0));
    }
}

fn histogram(change: impl Fn(&mut Histogram)) -> Series {
    let mut histogram = Histogram {
        count_int: Some(17),
        sum: 12.5,
        schema: 2,
        zero_threshold: 0.001,
        zero_count_int: Some(3),
        positive_spans: vec![Span { offset: -1, length: 2 }, Span { offset: 3, length: 1 }],
        positive_deltas: vec![2, 1, -2],
        negative_spans: vec![Span { offset: 4, length: 1 }],
        negative_deltas: vec![8],
        reset_hint: 2,
        timestamp: MS,
        start_timestamp: MS - 7,
        ..Default::default()
    };
    change(&mut histogram);
    let labels = labels(&[("__name__", "latency"), ("job", "shop")]);
    Series { labels, histograms: vec![histogram], ..Default::default() }
}

fn floats(h: &mut Histogram) {
    (h.count_int, h.zero_count_int) = (None, None);
    (h.count_float, h.zero_count_float) = (Some(8.25), Some(0.5));
    (h.positive_deltas, h.negative_deltas) = (vec![], vec![]);
    (h.positive_counts, h.negative_counts) = (vec![0.25, 1.0, 2.5], vec![4.0]);
    h.reset_hint = 3;
}

fn custom(h: &mut Histogram) {
    *h = Histogram {
        count_int: Some(5),
        sum: 2.0,
        schema: -53,
        positive_spans: vec![Span { offset: 1, length: 1 }, Span { offset: 1, length: 1 }],
        positive_deltas: vec![2, 1],
        custom_values: vec![0.5, 1.0, 2.5],
        timestamp: MS,
        ..Default::default()
    };
}

#[test]
fn native_histograms() {
    use MetricType::{ExponentialHistogram, Histogram as Explicit};
    let stale = f64::from_bits(STALE_NAN);
    let exponential = r#"{"scale":2,"zero_count":3,"zero_threshold":0.001,"positive":{"offset":-2,"counts":[2,3,0,0,0,1]},"negative":{"offset":3,"counts":[8]},"reset_hint":"no"}"#;
    let float = r#"{"scale":2,"zero_count":0.5,"zero_threshold":0.001,"positive":{"offset":-2,"counts":[0.25,1.0,0.0,0.0,0.0,2.5]},"negative":{"offset":3,"counts":[4.0]},"reset_hint":"gauge","float_count":8.25}"#;
    let empty = r#"{"scale":0,"zero_count":0,"zero_threshold":0.0,"positive":{"offset":0,"counts":[]},"negative":{"offset":0,"counts":[]}}"#;
    let bounds = r#"{"bounds":[0.5,1.0,2.5],"counts":[0,2,0,3]}"#;
    let cases: [(Series, MetricType, u64, f64, &str); 5] = [
        (histogram(|_| ()), ExponentialHistogram, 17, 12.5, exponential),
        (histogram(floats), ExponentialHistogram, 8, 12.5, float),
        (
            histogram(|h| *h = Histogram { sum: stale, timestamp: MS, ..Default::default() }),
            ExponentialHistogram,
            0,
            stale,
            empty,
        ),
        (histogram(custom), Explicit, 5, 2.0, bounds),
        // Observations that are not a number are in no bucket.
        (histogram(|h| (h.count_int, h.sum) = (Some(20), f64::NAN)), ExponentialHistogram, 20, f64::NAN, exponential),
    ];
    for (series, metric_type, count, sum, buckets) in cases {
        let row = taken(vec![series]).remove(0);
        assert_eq!(
            (row.metric_type, row.kind, row.count, row.sum),
            (metric_type, PointKind::Distribution, count, sum.to_bits())
        );
        assert_eq!(row.buckets, buckets);
        assert_eq!((row.name.as_str(), row.service.as_str(), row.time), ("latency", "shop", NS));
        serde_json::from_str::<serde_json::Value>(&row.buckets).unwrap();
    }
    assert_eq!(taken(vec![histogram(|_| ())])[0].start, NS - 7_000_000);
}

#[test]
fn bad_histograms() {
    let cases: [(Series, &str); 20] = [
        // What no query could show.
        (histogram(|h| h.schema = -5), "histograms[0].schema is -5: send one of -4 to 52, or -53"),
        (histogram(|h| h.zero_threshold = f64::NAN), "histograms[0].zero_threshold is NaN: send a number"),
        (histogram(|h| h.zero_threshold = -1.0), "zero_threshold is -1"),
        (
            histogram(|h| {
                floats(h);
                h.count_float = Some(f64::INFINITY)
            }),
            "count_float is inf: a count is a number that is not negative, and has an end",
        ),
        (
            histogram(|h| {
                floats(h);
                h.negative_counts[0] = f64::INFINITY
            }),
            "negative.counts[0] is inf",
        ),
        (histogram(|h| h.schema = 53), "histograms[0].schema is 53"),
        (histogram(|h| h.schema = -10), "schema is -10"),
        (histogram(|h| h.positive_deltas = vec![2, 1]), "positive.spans have 3 buckets where 2 counts are sent"),
        (histogram(|h| h.positive_deltas = vec![2, -3, 1]), "positive.deltas[1] makes a count of -1"),
        (histogram(|h| h.count_int = Some(18)), "count_int is 18 where the buckets have 17"),
        (histogram(|h| h.count_int = Some(16)), "count_int is 16"),
        (histogram(|h| h.positive_spans[1].offset = -1), "positive.spans[1].offset is -1"),
        (
            histogram(|h| h.positive_spans[1].offset = i32::MAX),
            "has more than 16384 buckets, gaps between them included",
        ),
        (histogram(|h| h.negative_spans[0].length = u32::MAX), "negative.spans have 4294967295 buckets where 1 "),
        (
            histogram(|h| {
                floats(h);
                h.positive_counts[1] = f64::NAN
            }),
            "positive.counts[1] is NaN: a count is a number",
        ),
        (
            histogram(|h| {
                floats(h);
                h.count_float = Some(-1.0)
            }),
            "count_float is -1: a count is a number that is not negative",
        ),
        (
            histogram(|h| {
                floats(h);
                h.zero_count_float = None;
                h.zero_count_int = Some(1)
            }),
            "zero_count_int is 1: a histogram's counts are all",
        ),
        (
            histogram(|h| {
                custom(h);
                h.custom_values[1] = 0.5
            }),
            "custom_values[1] is 0.5, not above",
        ),
        (
            histogram(|h| {
                custom(h);
                h.custom_values[2] = f64::INFINITY
            }),
            "custom_values[2] is inf",
        ),
        (
            histogram(|h| {
                custom(h);
                h.custom_values.truncate(2)
            }),
            "positive_spans has buckets outside of the 3",
        ),
    ];
    for (bad, sentence) in &cases {
        loses_the_second(bad, Reason::InvalidDistribution, sentence);
    }
    loses_the_second(&histogram(|h| h.timestamp = -4), Reason::InvalidTimestamp, "histograms[0].timestamp is -4");
}

fn exemplar(timestamp: i64, pairs: &[(&str, &str)]) -> Exemplar {
    Exemplar { labels: labels(pairs), value: 0.25, timestamp }
}

#[test]
fn exemplars_find_their_samples() {
    const TRACE: &str = "0123456789abcdef0123456789abcdef";
    let json = |time: i64, rest: &str| format!(r#"{{"time_unix_nano":{},"value":0.25,{rest}}}"#, NS + time * 1_000_000);
    let plain = r#""trace_id":"","span_id":"","attributes":{"id":"7"}"#;
    let alone = |exemplars| Series { labels: labels(UP), exemplars, ..Default::default() };
    let at = |offset: i64| exemplar(MS + offset, &[("id", "7")]);

    // Apart from the samples and before them, as Prometheus sends them.
    let rows = taken(vec![
        alone(vec![at(-50), at(5), at(15)]),
        series(UP, vec![sample(1.0, MS), sample(2.0, MS + 10)]),
        alone(vec![at(10)]),
    ]);
    let list = |times: &[i64]| format!("[{}]", times.iter().map(|t| json(*t, plain)).collect::<Vec<_>>().join(","));
    assert_eq!(rows.iter().map(|r| r.exemplars.clone()).collect::<Vec<_>>(), [list(&[-50, 5]), list(&[15, 10])]);

    // Without a sample, of a series that another request has.
    let rows = taken(vec![alone(vec![at(3), at(1)]), series(&[("__name__", "other")], vec![sample(1.0, MS)])]);
    assert_eq!((rows[1].kind, rows[1].metric_type, rows[1].time), (PointKind::None, MetricType::Gauge, NS + 1_000_000));
    assert_eq!(
        (rows[1].exemplars.clone(), rows[1].series),
        (list(&[3, 1]), taken(vec![series(UP, vec![sample(1.0, MS)])])[0].series)
    );
    assert_eq!(rows[1].attributes, pairs(&UP[1..]));

    // Of native histograms, and ids; without a time it has its sample's.
    let mut with = histogram(|_| ());
    with.exemplars = vec![exemplar(0, &[("trace_id", TRACE), ("span_id", "00000000000000ff"), ("user", "a\"b")])];
    let row = taken(vec![with]).remove(0);
    let ids = format!(r#""trace_id":"{TRACE}","span_id":"00000000000000ff","attributes":{{"user":"a\"b"}}"#);
    assert_eq!(row.exemplars, format!("[{}]", json(0, &ids)));

    // Ids of another form stay what they are.
    for id in ["ABCDEF0123456789abcdef0123456789", "1234", &"0".repeat(32), ""] {
        let mut with = series(UP, vec![sample(1.0, MS)]);
        with.exemplars = vec![exemplar(MS, &[("trace_id", id)])];
        let rest = format!(r#""trace_id":"","span_id":"","attributes":{{"trace_id":"{id}"}}"#);
        assert_eq!(taken(vec![with])[0].exemplars, format!("[{}]", json(0, &rest)));
    }
}

#[test]
fn bad_exemplars_cost_only_themselves() {
    let long = "v".repeat(70_000);
    for (bad, reason, sentence) in [
        (exemplar(-1, &[]), Reason::InvalidTimestamp, "exemplars[0].timestamp is -1"),
        (exemplar(i64::MAX, &[]), Reason::InvalidTimestamp, "beyond the year 2262"),
        (exemplar(MS, &[("a", "1"), ("a", "2")]), Reason::DuplicateLabel, "exemplars[0].labels has \"a\" twice"),
        (exemplar(MS, &[("a", &long)]), Reason::ValueTooLong, "exemplars[0].labels has 70001 bytes"),
    ] {
        let mut with = series(UP, vec![sample(1.0, MS)]);
        with.exemplars = vec![bad, exemplar(MS, &[])];
        for received in both(&WriteRequest { timeseries: vec![with], metadata: vec![] }) {
            assert_eq!(received.written, Written { samples: 1, histograms: 0, exemplars: 1 });
            assert_eq!((received.decoded.rejected, received.decoded.reasons[0].reason), (1, reason));
            assert!(received.decoded.message().contains(sentence), "{}", received.decoded.message());
        }
    }
}

#[test]
fn metadata_of_version_1() {
    let family = |name: &str, metric_type| Metadata {
        metric_type,
        metric_family_name: name.into(),
        help: format!("about {name}"),
        unit: "seconds".into(),
    };
    let all: Vec<Metadata> =
        (0..8).map(|t| family(&format!("m{t}"), t)).chain([family("m9", 99), family("", 1)]).collect();
    let request = WriteRequest { timeseries: vec![], metadata: [all.clone(), all].concat() };
    let received = decode(Version::V1, &request.encode_to_vec(), &options()).unwrap();
    assert_eq!((received.metadata.len(), received.decoded.rejected), (9, 2), "each once");
    assert!(received.decoded.message().contains("metadata[9].metric_family_name is missing"));
    let Batch::Metrics(b) = metadata_batch(&received.metadata, NS) else { unreachable!() };
    assert_eq!(b.common.scopes[0].name, METADATA_SCOPE);
    assert_eq!(b.common.resources[0].service_name, "prometheus.metadata");
    assert!(b.time.iter().all(|t| *t == NS) && b.point_kind.iter().all(|k| *k == PointKind::None as u8));
    assert!(b.flags.iter().all(|f| *f == 0) && b.attributes.keys.is_empty());
    let shown: Vec<_> =
        b.metrics.iter().map(|m| (m.name.as_str(), m.metric_type, m.monotonic, m.metadata.as_str())).collect();
    assert_eq!(shown[1], ("m1", MetricType::Sum, true, r#"{"prometheus.type":"counter"}"#));
    assert_eq!(shown[4], ("m4", MetricType::Histogram, false, r#"{"prometheus.type":"gaugehistogram"}"#));
    assert_eq!(shown[8], ("m9", MetricType::Gauge, false, r#"{"prometheus.type":"unknown"}"#));
    assert_eq!((b.metrics[2].description.as_str(), b.metrics[2].unit.as_str()), ("about m2", "seconds"));
    let batch = Batch::Metrics(b);
    assert_eq!(codec::decode(&codec::encode(&batch)).unwrap(), batch);
}

#[test]
fn metadata_of_version_2() {
    let mut request = to_v2(&WriteRequest {
        timeseries: ["a_bucket", "a_count", "a_sum", "b_total", "c"]
            .map(|name| series(&[("__name__", name)], vec![sample(1.0, MS)]))
            .to_vec(),
        metadata: vec![],
    });
    request.symbols.extend(["help".to_owned(), "unit".to_owned()]);
    let (help_ref, unit_ref) = (request.symbols.len() as u32 - 2, request.symbols.len() as u32 - 1);
    for (series, metric_type) in request.timeseries.iter_mut().zip([3, 3, 3, 1, 0]) {
        series.metadata =
            Some(MetadataV2 { metric_type, help_ref, unit_ref: if metric_type == 0 { 0 } else { unit_ref } });
    }
    let received = decode(Version::V2, &request.encode_to_vec(), &options()).unwrap();
    let found: Vec<_> = received
        .metadata
        .iter()
        .map(|m| (m.family.as_str(), m.metric_type, m.help.as_str(), m.unit.as_str()))
        .collect();
    assert_eq!(found, [("a", 3, "help", "unit"), ("b_total", 1, "help", "unit"), ("c", 0, "help", "")]);
    assert_eq!((received.decoded.rejected, received.written.samples), (0, 5));
    request.timeseries[4].metadata = Some(MetadataV2 { metric_type: 1, help_ref: 99, unit_ref: 0 });
    let received = decode(Version::V2, &request.encode_to_vec(), &options()).unwrap();
    assert_eq!((received.decoded.rejected, received.written.samples), (1, 5), "the sample is kept");
    assert!(
        received.decoded.message().contains("timeseries[4].metadata.help_ref has 99"),
        "{}",
        received.decoded.message()
    );
}

#[test]
fn requests_that_make_no_sense() {
    let request = WriteRequest { timeseries: vec![series(UP, vec![sample(1.0, MS)])], metadata: vec![] };
    for (version, good) in [(Version::V1, request.encode_to_vec()), (Version::V2, to_v2(&request).encode_to_vec())] {
        for (bytes, sentence) in [
            (&good[..good.len() - 1], "timeseries is cut short"),
            (&[0xff; 40][..], "number of more than 64 bits"),
            (&[0x0b][..], "group"),
        ] {
            let error = decode(version, bytes, &options()).unwrap_err();
            assert_eq!(error.status(), 400);
            assert!(error.to_string().contains(sentence), "{version:?}: {error}");
        }
        assert_eq!(decode(version, b"", &options()).unwrap().decoded.batch.rows(), 0);
    }
    // A message of the other version is an empty one: its fields have other numbers.
    assert_eq!(decode(Version::V2, &request.encode_to_vec(), &options()).unwrap().decoded.batch.rows(), 0);
}

#[test]
fn a_small_request_does_not_become_a_large_one() {
    let many: Vec<String> = (0..100).map(|i| format!("k{i:04}")).collect();
    let many: Vec<(&str, &str)> =
        [("__name__", "x")].into_iter().chain(many.iter().map(|k| (k.as_str(), "v"))).collect();
    let samples: Vec<Sample> = (0..1000).map(|i| sample(0.0, MS - i)).collect();
    let wide = WriteRequest { timeseries: vec![series(&many, samples)], metadata: vec![] };
    let exemplars = (0..1000).map(|i| exemplar(MS + i % 7, &[("a", &"v".repeat(1000))])).collect();
    let texts = WriteRequest {
        timeseries: vec![Series { labels: labels(UP), exemplars, ..Default::default() }],
        metadata: vec![],
    };
    let spread = WriteRequest {
        timeseries: (0..100).map(|_| histogram(|h| h.positive_spans[1].offset = 16_000)).collect(),
        metadata: vec![],
    };
    for (request, options, sentence) in [
        (&wide, DecodeOptions { max_entries: 50_000, ..options() }, "or more labels is over the limit of 50000"),
        (&wide, DecodeOptions { max_records: 999, ..options() }, "a request with over 999 samples"),
        (&texts, DecodeOptions { max_text_bytes: 500_000, ..options() }, "bytes of text is over the limit of 500000"),
        (&spread, DecodeOptions { max_text_bytes: 500_000, ..options() }, "bytes of text is over the limit of 500000"),
    ] {
        for (version, bytes) in [(Version::V1, request.encode_to_vec()), (Version::V2, to_v2(request).encode_to_vec())]
        {
            let error = decode(version, &bytes, &options).unwrap_err();
            assert_eq!(error.status(), 413);
            assert!(error.to_string().contains(sentence), "{version:?}: {error}");
        }
    }
}

fn random_series() -> impl Strategy<Value = Series> {
    let label = (prop_oneof!["[a-e]", "__name__", "job", "instance"], "[xyz]{0,2}");
    let labels = prop::collection::vec(label.prop_map(|(name, value)| Label { name, value }), 0..6);
    let samples = prop::collection::vec((any::<f64>(), -20..20i64), 0..4);
    (labels, samples).prop_map(|(labels, samples)| {
        // Protobuf writers leave out a value that equals 0, -0 among them.
        let samples = samples.into_iter().map(|(v, t)| sample(v + 0.0, MS + t)).collect();
        Series { labels, samples, ..Default::default() }
    })
}

/// The same by a slow, plain reading.
fn expected(s: &Series) -> Option<(String, Vec<(String, String)>)> {
    let mut pairs: Vec<_> =
        s.labels.iter().filter(|l| !l.value.is_empty()).map(|l| (l.name.clone(), l.value.clone())).collect();
    pairs.sort();
    let unique = pairs.windows(2).all(|w| w[0].0 != w[1].0);
    let at = pairs.iter().position(|(name, _)| name == "__name__")?;
    let (_, name) = pairs.remove(at);
    unique.then_some((name, pairs))
}

proptest! {
    #[test]
    fn both_versions_read_what_prost_wrote(timeseries in prop::collection::vec(random_series(), 0..12)) {
        let request = WriteRequest { timeseries, metadata: vec![] };
        let mut wanted = Vec::new();
        let mut lost = 0;
        for s in &request.timeseries {
            match expected(s) {
                Some((name, pairs)) => wanted.extend(s.samples.iter().map(|p| {
                    (name.clone(), pairs.clone(), p.timestamp * 1_000_000, p.value.to_bits())
                })),
                None => lost += s.samples.len() as u64,
            }
        }
        let [v1, v2] = both(&request);
        prop_assert_eq!(rows(&v1.decoded.batch), rows(&v2.decoded.batch));
        for received in [v1, v2] {
            let found: Vec<_> = rows(&received.decoded.batch).into_iter().map(|r| (r.name, r.attributes, r.time, r.value)).collect();
            prop_assert_eq!(&found, &wanted);
            prop_assert_eq!(received.decoded.rejected, lost);
            prop_assert_eq!(received.written.samples, wanted.len() as u64);
        }
    }
}

/// A request with everything in it, some bytes of which are replaced or missing.
fn damaged(version: Version) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    (prop::collection::vec(random_series(), 1..4), changes, any::<prop::sample::Index>()).prop_map(
        move |(mut timeseries, changes, end)| {
            timeseries.extend([histogram(|_| ()), histogram(floats), histogram(custom)]);
            timeseries[0].exemplars = vec![exemplar(MS, &[("trace_id", "1234")]), exemplar(MS, &[])];
            let metadata = vec![Metadata { metric_type: 1, metric_family_name: "a".into(), ..Default::default() }];
            let request = WriteRequest { timeseries, metadata };
            let mut bytes = match version {
                Version::V1 => request.encode_to_vec(),
                Version::V2 => to_v2(&request).encode_to_vec(),
            };
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if changes.len() > 4 {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_requests_give_an_answer(v1 in damaged(Version::V1), v2 in damaged(Version::V2)) {
        for (version, bytes) in [(Version::V1, v1), (Version::V2, v2)] {
            let limits = DecodeOptions { max_text_bytes: 1 << 20, max_buckets: 64, max_records: 1000, ..options() };
            let received = match decode(version, &bytes, &limits) {
                Ok(received) => received,
                Err(error) => {
                    prop_assert!(matches!(error.status(), 400 | 413), "{}", error);
                    continue;
                }
            };
            let Batch::Metrics(b) = &received.decoded.batch else { unreachable!() };
            prop_assert_eq!(received.decoded.rejected, received.decoded.reasons.iter().map(|r| r.count).sum::<u64>());
            prop_assert_eq!(received.decoded.message().is_empty(), received.decoded.rejected == 0);
            prop_assert!(received.written.samples + received.written.histograms <= b.rows() as u64);
            prop_assert_eq!(b.common.groups.last().map_or(0, |g| g.end as usize), b.rows());
            prop_assert!(std::str::from_utf8(b.common.arena.as_bytes()).is_ok());
            for text in b.buckets.iter().chain(b.exemplars.iter()).filter(|r| !r.is_empty()) {
                let json = serde_json::from_slice::<serde_json::Value>(b.common.arena.bytes(*text));
                prop_assert!(json.is_ok(), "{:?}", json);
            }
            let stored = codec::encode(&received.decoded.batch);
            prop_assert_eq!(codec::encode(&codec::decode(&stored).unwrap()), stored);
        }
    }
}
