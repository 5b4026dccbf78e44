//! Messages at random: mostly valid, with every field used and a few defects.

use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as V,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::NOW;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-z.]{0,12}", 1 => "\\PC{0,40}", 1 => Just("é\"\\\n".to_owned()), 1 => "[x]{120,140}"]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![6 => "(service.name|http.method|a|b|c|user.id)", 1 => text()]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("JSON has no NaN", |v| v.is_finite()).prop_map(|v| v + 0.0),
        Just(0.0),
        Just(1.5)
    ]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        4 => text().prop_map(V::StringValue),
        1 => any::<i64>().prop_map(V::IntValue),
        1 => float().prop_map(V::DoubleValue),
        1 => any::<bool>().prop_map(V::BoolValue),
        1 => vec(any::<u8>(), 0..20).prop_map(V::BytesValue),
    ]
    .prop_map(|v| AnyValue { value: Some(v) });
    leaf.prop_recursive(3, 12, 4, |inner| {
        let pair = (key(), of(inner.clone())).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        prop_oneof![
            vec(inner, 0..4).prop_map(|values| V::ArrayValue(ArrayValue { values })),
            vec(pair, 0..4).prop_map(|values| V::KvlistValue(KeyValueList { values })),
        ]
        .prop_map(|v| AnyValue { value: Some(v) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = (key(), of(any_value())).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
    vec(pair, 0..6)
}

fn time() -> impl Strategy<Value = u64> {
    prop_oneof![8 => NOW - 1_000_000_000..NOW, 1 => Just(0), 1 => Just(NOW + 700_000_000_000), 1 => any::<u64>()]
}

fn id(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![12 => vec(any::<u8>(), len), 2 => Just(Vec::new()), 1 => Just(vec![0; len]), 1 => vec(any::<u8>(), len - 1)]
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    of((attributes(), any::<u32>()).prop_map(|(attributes, dropped_attributes_count)| Resource {
        attributes,
        dropped_attributes_count,
        ..Default::default()
    }))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    of((text(), text(), attributes(), 0..9u32).prop_map(|(name, version, attributes, dropped_attributes_count)| {
        InstrumentationScope { name, version, attributes, dropped_attributes_count }
    }))
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let ids = (id(16), id(8));
    (time(), time(), -1..30i32, text(), of(any_value()), attributes(), any::<(u16, u32)>(), ids, text()).prop_map(
        |(
            time_unix_nano,
            observed_time_unix_nano,
            severity_number,
            severity_text,
            body,
            attributes,
            n,
            ids,
            event_name,
        )| {
            LogRecord {
                time_unix_nano,
                observed_time_unix_nano,
                severity_number,
                severity_text,
                body,
                attributes,
                dropped_attributes_count: n.0.into(),
                flags: n.1,
                trace_id: ids.0,
                span_id: ids.1,
                event_name,
            }
        },
    )
}

pub fn logs() -> impl Strategy<Value = Vec<ResourceLogs>> {
    let scope_logs = (scope(), vec(log_record(), 0..4), text())
        .prop_map(|(scope, log_records, schema_url)| ScopeLogs { scope, log_records, schema_url });
    let resource_logs = (resource(), vec(scope_logs, 0..3), text())
        .prop_map(|(resource, scope_logs, schema_url)| ResourceLogs { resource, scope_logs, schema_url });
    vec(resource_logs, 0..3)
}

fn event() -> impl Strategy<Value = span::Event> {
    (time(), text(), attributes(), 0..9u32).prop_map(|(time_unix_nano, name, attributes, dropped_attributes_count)| {
        span::Event { time_unix_nano, name, attributes, dropped_attributes_count }
    })
}

fn link() -> impl Strategy<Value = span::Link> {
    (id(16), id(8), text(), attributes(), 0..9u32, any::<u32>()).prop_map(
        |(trace_id, span_id, trace_state, attributes, dropped_attributes_count, flags)| span::Link {
            trace_id,
            span_id,
            trace_state,
            attributes,
            dropped_attributes_count,
            flags,
        },
    )
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), id(8));
    let status = of((text(), -1..4i32).prop_map(|(message, code)| Status { message, code }));
    let lists = (attributes(), vec(event(), 0..3), vec(link(), 0..3));
    (ids, text(), text(), -1..8i32, (time(), time()), lists, any::<[u32; 4]>(), status).prop_map(
        |(ids, trace_state, name, kind, times, lists, n, status)| Span {
            trace_id: ids.0,
            span_id: ids.1,
            parent_span_id: ids.2,
            trace_state,
            name,
            kind,
            start_time_unix_nano: times.0,
            end_time_unix_nano: times.1,
            attributes: lists.0,
            events: lists.1,
            links: lists.2,
            flags: n[0],
            dropped_attributes_count: n[1],
            dropped_events_count: n[2],
            dropped_links_count: n[3],
            status,
        },
    )
}

pub fn traces() -> impl Strategy<Value = Vec<ResourceSpans>> {
    let scope_spans = (scope(), vec(span(), 0..4), text()).prop_map(|(scope, spans, schema_url)| ScopeSpans {
        scope,
        spans,
        schema_url,
    });
    let resource_spans = (resource(), vec(scope_spans, 0..3), text())
        .prop_map(|(resource, scope_spans, schema_url)| ResourceSpans { resource, scope_spans, schema_url });
    vec(resource_spans, 0..3)
}

fn exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let value =
        of(prop_oneof![any::<i64>().prop_map(exemplar::Value::AsInt), float().prop_map(exemplar::Value::AsDouble)]);
    let one = (attributes(), time(), id(8), id(16), value).prop_map(
        |(filtered_attributes, time_unix_nano, span_id, trace_id, value)| Exemplar {
            filtered_attributes,
            time_unix_nano,
            span_id,
            trace_id,
            value,
        },
    );
    prop_oneof![3 => Just(Vec::new()), 1 => vec(one, 0..3)]
}

fn number() -> impl Strategy<Value = NumberDataPoint> {
    let value = of(prop_oneof![
        any::<i64>().prop_map(number_data_point::Value::AsInt),
        float().prop_map(number_data_point::Value::AsDouble)
    ]);
    (attributes(), time(), time(), exemplars(), 0..3u32, value).prop_map(
        |(attributes, start_time_unix_nano, time_unix_nano, exemplars, flags, value)| NumberDataPoint {
            attributes,
            start_time_unix_nano,
            time_unix_nano,
            exemplars,
            flags,
            value,
        },
    )
}

fn histogram() -> impl Strategy<Value = HistogramDataPoint> {
    let buckets = prop_oneof![
        Just((Vec::new(), Vec::new())),
        Just((vec![1, 2, 3], vec![0.5, 10.0])),
        Just((vec![7], vec![])),
        Just((vec![1, 2], vec![1.0, 2.0])),
        (vec(any::<u64>(), 3), vec(float(), 2)),
    ];
    let numbers = (any::<u64>(), of(float()), of(float()), of(float()), 0..2u32);
    (attributes(), (time(), time()), numbers, buckets, exemplars()).prop_map(
        |(attributes, times, (count, sum, min, max, flags), buckets, exemplars)| HistogramDataPoint {
            attributes,
            start_time_unix_nano: times.0,
            time_unix_nano: times.1,
            count,
            sum,
            bucket_counts: buckets.0,
            explicit_bounds: buckets.1,
            exemplars,
            flags,
            min,
            max,
        },
    )
}

fn exponential() -> impl Strategy<Value = ExponentialHistogramDataPoint> {
    let side = || {
        of((any::<i32>(), vec(any::<u64>(), 0..5))
            .prop_map(|(offset, bucket_counts)| Buckets { offset, bucket_counts }))
    };
    let scale = prop_oneof![8 => -4..21i32, 1 => any::<i32>()];
    let threshold = prop_oneof![8 => float().prop_map(f64::abs), 1 => float()];
    let numbers = ((any::<u64>(), any::<u64>(), scale), of(float()), of(float()), of(float()), 0..2u32, threshold);
    (attributes(), (time(), time()), numbers, side(), side(), exemplars()).prop_map(
        |(attributes, times, (n, sum, min, max, flags, zero_threshold), positive, negative, exemplars)| {
            ExponentialHistogramDataPoint {
                attributes,
                start_time_unix_nano: times.0,
                time_unix_nano: times.1,
                count: n.0,
                zero_count: n.1,
                scale: n.2,
                sum,
                min,
                max,
                flags,
                zero_threshold,
                positive,
                negative,
                exemplars,
            }
        },
    )
}

fn summary() -> impl Strategy<Value = SummaryDataPoint> {
    let quantiles = vec((float(), float()).prop_map(|(quantile, value)| ValueAtQuantile { quantile, value }), 0..4);
    (attributes(), (time(), time()), any::<u64>(), float(), quantiles, 0..2u32).prop_map(
        |(attributes, times, count, sum, quantile_values, flags)| SummaryDataPoint {
            attributes,
            start_time_unix_nano: times.0,
            time_unix_nano: times.1,
            count,
            sum,
            quantile_values,
            flags,
        },
    )
}

fn temporality() -> impl Strategy<Value = i32> {
    prop_oneof![8 => 1..3i32, 1 => -1..4i32]
}

fn metric() -> impl Strategy<Value = Metric> {
    let data = prop_oneof![
        vec(number(), 0..4).prop_map(|data_points| Data::Gauge(Gauge { data_points })),
        (vec(number(), 0..4), temporality(), any::<bool>()).prop_map(
            |(data_points, aggregation_temporality, is_monotonic)| {
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
            }
        ),
        (vec(histogram(), 0..4), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::Histogram(Histogram { data_points, aggregation_temporality })
        }),
        (vec(exponential(), 0..4), temporality()).prop_map(|(data_points, aggregation_temporality)| {
            Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }),
        vec(summary(), 0..4).prop_map(|data_points| Data::Summary(Summary { data_points })),
    ];
    let metadata = prop_oneof![3 => Just(Vec::new()), 1 => attributes()];
    (text(), text(), text(), metadata, of(data)).prop_map(|(name, description, unit, metadata, data)| Metric {
        name,
        description,
        unit,
        metadata,
        data,
    })
}

pub fn metrics() -> impl Strategy<Value = Vec<ResourceMetrics>> {
    let scope_metrics = (scope(), vec(metric(), 0..4), text()).prop_map(|(scope, metrics, schema_url)| ScopeMetrics {
        scope,
        metrics,
        schema_url,
    });
    let resource_metrics = (resource(), vec(scope_metrics, 0..3), text())
        .prop_map(|(resource, scope_metrics, schema_url)| ResourceMetrics { resource, scope_metrics, schema_url });
    vec(resource_metrics, 0..3)
}
