//! Remote write's messages as tables: `prometheus.WriteRequest` (1.0) and
//! `io.prometheus.write.v2.Request` (2.0, its release candidates' `created_timestamp` included).

use crate::schema::{Field, Kind, Message, messages};

messages! {
    write_request {
        timeseries = 1 Message(&super::series_v1::MESSAGE), repeated;
        metadata = 3 Message(&super::metadata_v1::MESSAGE), repeated;
    }
    series_v1 {
        labels = 1 Message(&super::label::MESSAGE), repeated;
        samples = 2 Message(&super::sample::MESSAGE), repeated;
        exemplars = 3 Message(&super::exemplar_v1::MESSAGE), repeated;
        histograms = 4 Message(&super::histogram::MESSAGE), repeated;
    }
    label {
        name = 1 String;
        value = 2 String;
    }
    exemplar_v1 {
        labels = 1 Message(&super::label::MESSAGE), repeated;
        value = 2 Double;
        timestamp = 3 Int64;
    }
    metadata_v1 {
        metric_type = 1 Uint32;
        metric_family_name = 2 String;
        help = 4 String;
        unit = 5 String;
    }

    request_v2 {
        symbols = 4 String, repeated;
        timeseries = 5 Message(&super::series_v2::MESSAGE), repeated;
    }
    series_v2 {
        labels_refs = 1 Uint32, repeated;
        samples = 2 Message(&super::sample::MESSAGE), repeated;
        histograms = 3 Message(&super::histogram::MESSAGE), repeated;
        exemplars = 4 Message(&super::exemplar_v2::MESSAGE), repeated;
        metadata = 5 Message(&super::metadata_v2::MESSAGE);
        created_timestamp = 6 Int64;
    }
    exemplar_v2 {
        labels_refs = 1 Uint32, repeated;
        value = 2 Double;
        timestamp = 3 Int64;
    }
    metadata_v2 {
        metric_type = 1 Uint32;
        help_ref = 3 Uint32;
        unit_ref = 4 Uint32;
    }

    sample {
        value = 1 Double;
        timestamp = 2 Int64;
        start_timestamp = 3 Int64;
    }
    histogram {
        count_int = 1 Uint64;
        count_float = 2 Double;
        sum = 3 Double;
        schema = 4 Sint32;
        zero_threshold = 5 Double;
        zero_count_int = 6 Uint64;
        zero_count_float = 7 Double;
        negative_spans = 8 Message(&super::span::MESSAGE), repeated;
        negative_deltas = 9 Int64, repeated;
        negative_counts = 10 Double, repeated;
        positive_spans = 11 Message(&super::span::MESSAGE), repeated;
        positive_deltas = 12 Int64, repeated;
        positive_counts = 13 Double, repeated;
        reset_hint = 14 Uint32;
        timestamp = 15 Int64;
        custom_values = 16 Double, repeated;
        start_timestamp = 17 Int64;
    }
    span {
        offset = 1 Sint32;
        length = 2 Uint32;
    }
}
