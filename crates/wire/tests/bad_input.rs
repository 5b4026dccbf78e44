//! What a hostile or broken sender gets: the right status, and a sentence that names the field.
#![allow(clippy::unwrap_used)]

mod support;

use bonghwa_model::Signal;
use bonghwa_model::batch::Batch;
use bonghwa_model::prometheus_names::Strategy;
use bonghwa_wire::{DecodeOptions, Reason, WireError, decode, decode_json};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value as V};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use support::{NOW, options};

fn any(value: V) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.into(), value: any(V::StringValue(value.into())), ..Default::default() }
}

fn log(body: &str) -> LogRecord {
    LogRecord { time_unix_nano: NOW, body: any(V::StringValue(body.into())), ..Default::default() }
}

fn logs(log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..Default::default() }] }.encode_to_vec()
}

fn logs_of(service: &str, log_records: Vec<LogRecord>) -> Vec<u8> {
    let resource = Some(Resource { attributes: vec![text("service.name", service)], ..Default::default() });
    let scope_logs = vec![ScopeLogs { log_records, ..Default::default() }];
    let resource_logs = vec![ResourceLogs { resource, scope_logs, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn spans(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
        .encode_to_vec()
}

fn metrics(metrics: Vec<Metric>) -> Vec<u8> {
    let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
    ExportMetricsServiceRequest { resource_metrics: vec![ResourceMetrics { scope_metrics, ..Default::default() }] }
        .encode_to_vec()
}

fn gauge(name: &str, points: Vec<NumberDataPoint>) -> Metric {
    Metric { name: name.into(), data: Some(Data::Gauge(Gauge { data_points: points })), ..Default::default() }
}

fn point(value: f64) -> NumberDataPoint {
    NumberDataPoint {
        time_unix_nano: NOW,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..Default::default()
    }
}

fn span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        start_time_unix_nano: NOW,
        end_time_unix_nano: NOW,
        ..Default::default()
    }
}

fn nested(depth: usize) -> Option<AnyValue> {
    (0..depth)
        .fold(any(V::IntValue(1)), |inner, _| any(V::ArrayValue(ArrayValue { values: inner.into_iter().collect() })))
}

/// The second of three records is bad: it alone is lost, with this reason and sentence.
#[track_caller]
fn loses_the_second(signal: Signal, bytes: &[u8], reason: Reason, sentence: &str) {
    let decoded = decode(signal, bytes, &options()).unwrap();
    assert_eq!(decoded.rejected, 1, "{}", decoded.message());
    assert_eq!(decoded.batch.rows(), 2);
    assert_eq!(decoded.reasons[0].reason, reason);
    assert!(decoded.message().contains(sentence), "{}", decoded.message());
    // What is left is whole.
    let again = bonghwa_model::codec::decode(&bonghwa_model::codec::encode(&decoded.batch)).unwrap();
    assert_eq!(again, decoded.batch);
}

#[test]
fn log_records() {
    let at = "resource_logs[0].scope_logs[0].log_records[1]";
    let attribute = |pair| LogRecord { attributes: vec![text("a", "1"), pair], ..log("x") };
    let many = (0..10_000).map(|i| text(&format!("k{i}"), "v")).collect();
    let cases = [
        (
            LogRecord { time_unix_nano: i64::MAX as u64, ..log("x") },
            Reason::TooFarInFuture,
            format!("{at}.time_unix_nano is 9223372036854775807, "),
        ),
        (
            LogRecord { time_unix_nano: u64::MAX, ..log("x") },
            Reason::InvalidTimestamp,
            format!("{at}.time_unix_nano is 18446744073709551615, beyond"),
        ),
        (LogRecord { time_unix_nano: 1, ..log("x") }, Reason::TooOld, format!("{at}.time_unix_nano is 1, ")),
        (
            LogRecord { observed_time_unix_nano: u64::MAX, ..log("x") },
            Reason::InvalidTimestamp,
            format!("{at}.observed_time_unix_nano is"),
        ),
        (
            LogRecord { attributes: many, ..log("x") },
            Reason::TooManyAttributes,
            format!("{at}.attributes has more than 1024 entries"),
        ),
        (LogRecord { body: nested(100), ..log("x") }, Reason::TooDeep, format!("{at}.body[0][0]")),
        (
            attribute(KeyValue { key: "deep".into(), value: nested(33), ..Default::default() }),
            Reason::TooDeep,
            format!("{at}.attributes[\"deep\"][0]"),
        ),
        (log(&"x".repeat(300_000)), Reason::LineTooLong, format!("{at}.body has 300000 bytes: at most 262144")),
        (attribute(text(&"k".repeat(2000), "v")), Reason::KeyTooLong, format!("{at}.attributes[\"kkk")),
    ];
    for (bad, reason, sentence) in cases {
        loses_the_second(Signal::Logs, &logs(vec![log("first"), bad, log("third")]), reason, &sentence);
    }
}

/// By `logs.proto`, a record with an invalid id belongs to no trace; it is kept.
#[test]
fn log_records_lose_invalid_ids_and_nothing_else() {
    let records = vec![
        LogRecord { trace_id: vec![7; 15], span_id: vec![8; 8], ..log("1") },
        LogRecord { trace_id: vec![7; 16], span_id: vec![8; 9], ..log("2") },
    ];
    let decoded = decode(Signal::Logs, &logs(records), &options()).unwrap();
    assert_eq!((decoded.batch.rows(), decoded.rejected, decoded.dropped_ids), (2, 0, 2));
    assert!(decoded.message().contains("2 values of trace_id or span_id"), "{}", decoded.message());
    let Batch::Logs(batch) = decoded.batch else { panic!("not logs") };
    assert_eq!((batch.trace_id[0], batch.span_id[0]), ([0; 16], [8; 8]));
    assert_eq!((batch.trace_id[1], batch.span_id[1]), ([7; 16], [0; 8]));
}

/// In JSON too, an id that is no hex is a matter of its record.
#[test]
fn json_ids_that_are_no_hex() {
    let log = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"no hex","body":{"stringValue":"x"}}]}]}]}"#;
    let decoded = decode_json(Signal::Logs, log.as_bytes(), &options()).unwrap();
    assert_eq!((decoded.batch.rows(), decoded.dropped_ids), (1, 1));
    let span = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"sixteen letters!","spanId":"0102030405060708",
        "startTimeUnixNano":"1795000000000000000","endTimeUnixNano":"1795000000000000000"}]}]}]}"#;
    let decoded = decode_json(Signal::Traces, span.as_bytes(), &options()).unwrap();
    assert_eq!((decoded.batch.rows(), decoded.rejected), (0, 1));
    assert!(decoded.message().contains("spans[0].trace_id"), "{}", decoded.message());
}

#[test]
fn nesting_within_the_limit_is_kept() {
    let decoded = decode(Signal::Logs, &logs(vec![LogRecord { body: nested(32), ..log("") }]), &options()).unwrap();
    assert_eq!(decoded.rejected, 0, "{}", decoded.message());
}

#[test]
fn spans_table() {
    let at = "resource_spans[0].scope_spans[0].spans[1]";
    let cases = [
        (
            Span { trace_id: vec![], ..span() },
            Reason::InvalidId,
            format!("{at}.trace_id is missing or all zero: 16 bytes"),
        ),
        (Span { trace_id: vec![0; 16], ..span() }, Reason::InvalidId, format!("{at}.trace_id is missing or all zero")),
        (Span { span_id: vec![1; 16], ..span() }, Reason::InvalidId, format!("{at}.span_id has 16 bytes")),
        (
            Span { parent_span_id: vec![1; 3], ..span() },
            Reason::InvalidId,
            format!("{at}.parent_span_id has 3 bytes (010101)"),
        ),
        (
            Span { start_time_unix_nano: 0, ..span() },
            Reason::InvalidTimestamp,
            format!("{at}.start_time_unix_nano is 0 or missing"),
        ),
        (
            Span { end_time_unix_nano: i64::MAX as u64, ..span() },
            Reason::TooFarInFuture,
            format!("{at}.end_time_unix_nano is"),
        ),
    ];
    for (bad, reason, sentence) in cases {
        loses_the_second(Signal::Traces, &spans(vec![span(), bad, span()]), reason, &sentence);
    }
}

#[test]
fn points() {
    let at = "resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points[1]";
    let long = "v".repeat(70_000);
    let cases = [
        (
            NumberDataPoint { time_unix_nano: 0, ..point(1.0) },
            Reason::InvalidTimestamp,
            format!("{at}.time_unix_nano is 0"),
        ),
        (NumberDataPoint { value: None, ..point(1.0) }, Reason::MissingValue, format!("{at}.as_double is missing")),
        (
            NumberDataPoint { attributes: vec![text("a", &long)], ..point(1.0) },
            Reason::ValueTooLong,
            format!("{at}.attributes[\"a\"] has 70000 bytes"),
        ),
        (
            NumberDataPoint { attributes: vec![text("", "x")], ..point(1.0) },
            Reason::InvalidLabel,
            format!("{at}.attributes[\"\"] is an attribute without a key"),
        ),
    ];
    for (bad, reason, sentence) in cases {
        let bytes = metrics(vec![gauge("g", vec![point(1.0), bad, point(2.0)])]);
        loses_the_second(Signal::Metrics, &bytes, reason, &sentence);
    }
    let unnamed =
        metrics(vec![gauge("a", vec![point(1.0)]), gauge("", vec![point(2.0)]), gauge("b", vec![point(3.0)])]);
    loses_the_second(
        Signal::Metrics,
        &unnamed,
        Reason::MissingName,
        "scope_metrics[0].metrics[1].name is missing: name the metric",
    );
    // It would be a series without a name; but where names are shown as they are.
    let nameless = metrics(["a", "温度", "b"].map(|name| gauge(name, vec![point(1.0)])).into());
    loses_the_second(Signal::Metrics, &nameless, Reason::InvalidName, "metrics[1].name is \"温度\", of which PromQL");
    let as_they_are = DecodeOptions { names: Strategy::NoTranslation, ..options() };
    assert_eq!(decode(Signal::Metrics, &nameless, &as_they_are).unwrap().batch.rows(), 3);
}

#[test]
fn what_does_not_say_since_when_it_counts() {
    let sum = |aggregation_temporality| {
        let data_points = vec![point(1.0)];
        let data = Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true });
        Metric { name: "s".into(), data: Some(data), ..Default::default() }
    };
    let sentence = "metrics[1].sum.aggregation_temporality is unspecified: send delta (1) or cumulative (2)";
    for unspecified in [0, 3] {
        let bytes = metrics(vec![sum(1), sum(unspecified), sum(2)]);
        loses_the_second(Signal::Metrics, &bytes, Reason::InvalidTemporality, sentence);
    }
}

#[test]
fn exponential_histograms_that_no_query_could_show() {
    let point = |scale, zero_threshold| ExponentialHistogramDataPoint {
        time_unix_nano: NOW,
        scale,
        zero_threshold,
        ..Default::default()
    };
    for (bad, sentence) in [
        (point(-5, 0.0), "exponential_histogram.data_points[1].scale is -5, coarser than -4: send a larger scale"),
        (point(0, f64::NAN), "data_points[1].zero_threshold is NaN: send a number that is not negative"),
        (point(0, f64::INFINITY), "zero_threshold is inf"),
    ] {
        let data_points = vec![point(-4, 0.0), bad, point(20, 1.0)];
        let data = Some(Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: 2 }));
        let bytes = metrics(vec![Metric { name: "h".into(), data, ..Default::default() }]);
        loses_the_second(Signal::Metrics, &bytes, Reason::InvalidDistribution, sentence);
    }
}

#[test]
fn the_label_of_heartbeats_is_kept() {
    let of = |key: &str| NumberDataPoint { attributes: vec![text("a", "1"), text(key, "otlp")], ..point(1.0) };
    for key in ["bonghwa_source", "bonghwa.source"] {
        for name in ["up", "up."] {
            let bytes = metrics(vec![gauge(name, vec![point(1.0), of(key), point(2.0)])]);
            let sentence =
                "gauge.data_points[1].attributes have \"bonghwa_source\", which on the metric \"up\" is kept";
            loses_the_second(Signal::Metrics, &bytes, Reason::InvalidLabel, sentence);
        }
        let bytes = metrics(vec![gauge("upper", vec![of(key)]), gauge("up", vec![of("source")])]);
        assert_eq!(decode(Signal::Metrics, &bytes, &options()).unwrap().batch.rows(), 2);
    }
}

#[test]
fn histograms_that_contradict_themselves() {
    let histogram = |bucket_counts: &[u64], explicit_bounds: &[f64]| HistogramDataPoint {
        time_unix_nano: NOW,
        bucket_counts: bucket_counts.into(),
        explicit_bounds: explicit_bounds.into(),
        ..Default::default()
    };
    for (bad, sentence) in [
        (
            histogram(&[1, 2], &[1.0, 2.0]),
            "histogram.data_points[1].bucket_counts has 2 entries where explicit_bounds has 2",
        ),
        (histogram(&[], &[1.0]), "bucket_counts has 0 entries where explicit_bounds has 1"),
        (histogram(&[1, 2, 3], &[2.0, 1.0]), "histogram.data_points[1].explicit_bounds[1] is 1, not above"),
        (histogram(&[1, 2, 3], &[2.0, f64::NAN]), "explicit_bounds[1] is NaN"),
    ] {
        let data_points = vec![histogram(&[1, 2], &[1.0]), bad, histogram(&[], &[])];
        let data = Some(Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }));
        let bytes = metrics(vec![Metric { name: "h".into(), data, ..Default::default() }]);
        loses_the_second(Signal::Metrics, &bytes, Reason::InvalidDistribution, sentence);
    }
}

#[test]
fn not_a_number_and_infinities_are_values() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
    let bytes = metrics(vec![gauge("g", values.iter().map(|v| point(*v)).collect())]);
    let decoded = decode(Signal::Metrics, &bytes, &options()).unwrap();
    let Batch::Metrics(batch) = decoded.batch else { panic!("metrics expected") };
    assert_eq!(batch.value, values.map(f64::to_bits));
}

/// Replaces the text in the bytes, which prost could not be made to write.
fn with_bytes(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    bytes[at..at + to.len()].copy_from_slice(to);
    bytes
}

#[test]
fn invalid_utf8_loses_only_its_record() {
    let at = "resource_logs[0].scope_logs[0].log_records[1]";
    let attributes = vec![text("a", "é"), text("b", "QQQQ")];
    let bytes = logs(vec![log("first"), LogRecord { attributes, ..log("é") }, log("third")]);
    for (bad, sentence) in [
        (&b"\xffQQQ"[..], "is not UTF-8 from its byte 0 on (ff515151)"),
        (b"QQQ\xc3", "is not UTF-8 from its byte 3 on (c3)"),
        (b"\xa9QQQ", "is not UTF-8 from its byte 0 on (a9515151)"),
    ] {
        let sentence = format!("{at}.attributes[\"b\"] {sentence}");
        let bytes = with_bytes(bytes.clone(), b"QQQQ", bad);
        loses_the_second(Signal::Logs, &bytes, Reason::InvalidUtf8, &sentence);
    }
    // Halves of one character in two texts are two invalid texts, also where bytes stand between.
    let half = |body: &str| LogRecord { severity_text: "QQQ".into(), ..log(body) };
    let split = with_bytes(logs(vec![log("1"), half("PPP"), log("3")]), b"QQQ", b"QQ\xc3");
    let split = with_bytes(split, b"PPP", b"\xa9PP");
    loses_the_second(Signal::Logs, &split, Reason::InvalidUtf8, "is not UTF-8");
    let blob = KeyValue { key: "blob".into(), value: any(V::BytesValue(vec![0xa9, 1])), ..Default::default() };
    let record = LogRecord { attributes: vec![text("a", "QQQ"), blob], ..log("x") };
    let split = with_bytes(logs(vec![log("1"), record, log("3")]), b"QQQ", b"QQ\xc3");
    loses_the_second(Signal::Logs, &split, Reason::InvalidUtf8, "attributes[\"a\"] is not UTF-8");
}

#[test]
fn a_bad_resource_loses_its_records() {
    let resource = |service: &str| {
        Some(opentelemetry_proto::tonic::resource::v1::Resource {
            attributes: vec![text("service.name", service)],
            ..Default::default()
        })
    };
    let scope_logs = vec![ScopeLogs { log_records: vec![log("1"), log("2")], ..Default::default() }];
    let request = |service: &str| ResourceLogs {
        resource: resource(service),
        scope_logs: scope_logs.clone(),
        ..Default::default()
    };
    let bytes = ExportLogsServiceRequest { resource_logs: vec![request("good"), request("QQQ"), request("good")] };
    let bytes = with_bytes(bytes.encode_to_vec(), b"QQQ", b"Q\xffQ");
    let decoded = decode(Signal::Logs, &bytes, &options()).unwrap();
    assert_eq!((decoded.rejected, decoded.batch.rows()), (2, 4));
    assert_eq!(
        decoded.message(),
        "2 of 6 log records were rejected. resource_logs[1].resource.attributes[\"service.name\"] is not UTF-8 \
         from its byte 1 on (ff51): send valid text, or a bytes_value (and 1 more like it)."
    );
    assert_eq!(decoded.batch.common().resources.len(), 1);
    assert_eq!(decoded.batch.common().groups.len(), 1);
}

#[test]
fn long_values_are_cut_at_a_character_and_counted() {
    let long = format!("x{}", "é".repeat(40_000));
    let bytes = logs(vec![LogRecord { attributes: vec![text("a", &long)], ..log("x") }]);
    let decoded = decode(Signal::Logs, &bytes, &options()).unwrap();
    assert_eq!((decoded.rejected, decoded.cut_values), (0, 1));
    let row = &support::rows::of(&decoded.batch)[0];
    assert_eq!(row.attributes[0].2.len(), 2 + 65_535);
    assert_eq!(decoded.message(), "1 attribute values were cut to the length that is allowed.");
}

#[test]
fn times_fall_back() {
    let decoded = |time_unix_nano, observed_time_unix_nano| {
        let bytes = logs(vec![LogRecord { time_unix_nano, observed_time_unix_nano, ..log("x") }]);
        decode(Signal::Logs, &bytes, &options()).unwrap().batch.times()[0] as u64
    };
    assert_eq!(decoded(NOW - 5, NOW - 3), NOW - 5);
    assert_eq!(decoded(0, NOW - 3), NOW - 3);
    assert_eq!(decoded(0, 0), NOW);
}

#[test]
fn malformed_requests_name_field_and_offset() {
    let good = logs(vec![log("a body")]);
    let cases: [(&[u8], &str, usize); 8] = [
        (&good[..good.len() - 1], "resource_logs is cut short: ", 2),
        (&[0x0a], "resource_logs is cut short inside a number", 1),
        (&[0x0a, 2, 0x12, 9], "resource_logs[0].scope_logs is cut short: 9 bytes announced, 0 left", 4),
        (&[0x08, 1], "resource_logs has wire type 0 (varint), expected is 2 (length-delimited)", 1),
        (&[0x0b, 0x0c], "resource_logs has wire type 3 (group)", 1),
        (&[0x0a, 6, 0x12, 4, 0x12, 2, 0x4b, 0], "log_records[0].trace_id has wire type 3 (group)", 7),
        (&[0x00], "the request has a field with the invalid tag 0x0", 1),
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], "more than 64 bits", 1),
    ];
    for (bytes, sentence, offset) in cases {
        let error = decode(Signal::Logs, bytes, &options()).unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
        assert!(error.to_string().contains(&format!("(byte {offset} of the request)")), "{error}");
        assert_eq!(error.status(), 400);
        assert_eq!(error.grpc_code() as u8, 3);
    }
}

#[test]
fn unknown_fields_are_passed_over() {
    let mut bytes = logs(vec![log("x")]);
    bytes.extend_from_slice(&[
        0xf8, 0x7f, 1, 0xf9, 0x7f, 1, 2, 3, 4, 5, 6, 7, 8, 0xfa, 0x7f, 1, 0, 0xfd, 0x7f, 1, 2, 3, 4,
    ]);
    assert_eq!(decode(Signal::Logs, &bytes, &options()).unwrap().batch.rows(), 1);
}

#[test]
fn limits_of_a_request() {
    let records = logs(vec![LogRecord::default(); 11]);
    let few = DecodeOptions { max_records: 10, ..options() };
    let error = decode(Signal::Logs, &records, &few).unwrap_err();
    assert_eq!((error.status(), error.grpc_code() as u8), (413, 8));
    assert_eq!(
        error.to_string(),
        "a request with 11 or more records is over the limit of 10: send smaller batches, or raise max_records"
    );
    let little = DecodeOptions { max_text_bytes: 10, ..options() };
    let error = decode(Signal::Logs, &logs(vec![log("more than ten bytes")]), &little).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { setting: "max_text_bytes", .. }), "{error}");
    let alone = DecodeOptions { max_senders: 1, ..options() };
    let of = |service: &str| logs_of(service, vec![log("x")]);
    let error = decode(Signal::Logs, &[of("a"), of("b")].concat(), &alone).unwrap_err();
    assert!(matches!(error, WireError::TooLarge { setting: "max_senders", .. }), "{error}");
    assert_eq!(decode(Signal::Logs, &[of("a"), of("a")].concat(), &alone).unwrap().batch.rows(), 2);
    let keys = DecodeOptions { max_keys: 1, ..options() };
    let two = LogRecord { attributes: vec![text("a", "1"), text("b", "2")], ..log("x") };
    let decoded = decode(Signal::Logs, &logs(vec![log("1"), two]), &keys).unwrap();
    assert!(
        decoded.message().contains("log_records[1].attributes[\"b\"] is one key too many"),
        "{}",
        decoded.message()
    );
}

#[test]
fn the_last_of_equal_keys_holds() {
    let attributes = vec![text("a", "1"), text("b", "2"), text("a", "3")];
    let bytes =
        logs(vec![LogRecord { attributes: attributes.clone(), ..log("x") }, LogRecord { attributes, ..log("y") }]);
    for row in support::rows::of(&decode(Signal::Logs, &bytes, &options()).unwrap().batch) {
        let pairs: Vec<_> = row.attributes.iter().map(|(k, _, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("a", "\"3\""), ("b", "\"2\"")]);
    }
}

#[test]
fn series_depend_on_what_identifies_them_alone() {
    let series = |name: &str, attributes: Vec<KeyValue>| {
        let bytes = metrics(vec![gauge(name, vec![NumberDataPoint { attributes, ..point(1.0) }])]);
        let Batch::Metrics(batch) = decode(Signal::Metrics, &bytes, &options()).unwrap().batch else { panic!() };
        batch.series[0]
    };
    let (a, b) = (text("a", "1"), text("b", "2"));
    let first = series("g", vec![a.clone(), b.clone()]);
    assert_eq!(first, series("g", vec![b.clone(), a.clone()]));
    assert_ne!(first, series("h", vec![a.clone(), b.clone()]));
    assert_ne!(first, series("g", vec![a.clone()]));
    assert_ne!(first, series("g", vec![text("a", "2"), text("b", "1")]));
    // Series are stored: this number never changes.
    assert_eq!(first, [11795543207661042839, 10910386067664400262]);
}

#[test]
fn json_of_the_wrong_shape() {
    let log = |record: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{}},{record}]}}]}}]}}"#);
    let at = "$.resourceLogs[0].scopeLogs[0].logRecords[1]";
    for (text, sentence) in [
        ("[]".to_owned(), "$: invalid type: sequence, expected an object".to_owned()),
        ("{".to_owned(), "$: EOF while parsing".to_owned()),
        (r#"{"resourceLogs":{}}"#.to_owned(), "$.resourceLogs: invalid type: map, expected an array".to_owned()),
        (r#"{"resourceLogs":[]} x"#.to_owned(), "$: trailing characters".to_owned()),
        (
            log(r#"{"timeUnixNano":true}"#),
            format!("{at}.timeUnixNano: invalid type: boolean `true`, expected an unsigned"),
        ),
        (log(r#"{"timeUnixNano":"-1"}"#), format!("{at}.timeUnixNano: invalid value: number -1")),
        (log(r#"{"timeUnixNano":"1.5"}"#), format!("{at}.timeUnixNano: invalid value: floating point `1.5`")),
        (log(r#"{"severityNumber":"LOUD"}"#), format!("{at}.severityNumber: invalid value")),
        (log(r#"{"body":"text"}"#), format!("{at}.body: invalid type: string \"text\", expected an object")),
        (log(r#"{"body":{"intValue":"9223372036854775808"}}"#), format!("{at}.body.intValue: invalid value: number")),
        (log(r#"{"body":{"bytesValue":"*"}}"#), format!("{at}.body.bytesValue: invalid value")),
        (
            log(r#"{"attributes":[{"key":"a","value":{"arrayValue":[]}}]}"#),
            format!("{at}.attributes[0].value.arrayValue: invalid type"),
        ),
        (log("7"), format!("{at}: invalid value: number 7, expected an object")),
    ] {
        let error = decode_json(Signal::Logs, text.as_bytes(), &options()).unwrap_err();
        assert_eq!(error.status(), 400);
        assert!(error.to_string().starts_with(&sentence), "{text}\n{error}\n{sentence}");
    }
    let not_text = decode_json(Signal::Logs, b"{\"resourceLogs\":[{\"schemaUrl\":\"\xff\"}]}", &options()).unwrap_err();
    assert_eq!(not_text.status(), 400);
}

#[test]
fn deep_json_loses_its_record() {
    let value = |depth: usize| {
        format!("{}{}{}", r#"{"arrayValue":{"values":["#.repeat(depth), r#"{"intValue":1}"#, "]}}".repeat(depth))
    };
    for (depth, rejected) in [(32, 0), (33, 1), (100, 1), (20_000, 1)] {
        let text =
            format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{}}},{{}}]}}]}}]}}"#, value(depth));
        let decoded = decode_json(Signal::Logs, text.as_bytes(), &options()).unwrap();
        assert_eq!((decoded.rejected, decoded.batch.rows()), (rejected, 2 - rejected as usize), "{depth}");
    }
}

#[test]
fn lenient_json() {
    let plain = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1795000000000000000",
        "severityNumber":9,"traceId":"5b8efff798038103d269b633813fc60c",
        "body":{"doubleValue":"NaN"},"attributes":[{"key":"b","value":{"bytesValue":"AP8="}},
        {"key":"i","value":{"intValue":"7"}},{"key":"n","value":{}}]}]}]}]}"#;
    let other = r#"{"unknown":{"deep":[1,{"x":null}]},"resource_logs":[{"resource":null,"scopeLogs":[{"scope":null,"log_records":[{"time_unix_nano":1795000000000000000,
        "severityNumber":"SEVERITY_NUMBER_INFO","traceId":"5B8EFFF798038103D269B633813FC60C","spanId":"",
        "body":{"doubleValue":"NaN"},"attributes":[{"key":"b","value":{"bytesValue":"AP8"}},
        {"key":"i","value":{"intValue":7.0}},{"key":"n","value":null}]}]}]}]}"#;
    let rows = |text: &str| support::rows::of(&decode_json(Signal::Logs, text.as_bytes(), &options()).unwrap().batch);
    let (plain, other) = (rows(plain), rows(other));
    assert_eq!(plain.len(), 1);
    assert_eq!(plain, other);
    assert!(plain[0].fields.contains(&("body", r#"{"doubleValue":"NaN"}"#.to_owned())), "{plain:?}");
}
