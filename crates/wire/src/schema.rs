//! OTLP's messages as tables: field numbers and types (opentelemetry-proto 1.x); those of remote write
//! are in `remote_write::schema`.
//!
//! The walkers match on the tags, errors take the names, and the JSON converter
//! runs on the whole table.

/// A message type.
pub(crate) struct Message {
    /// All fields that Bonghwa knows.
    pub fields: &'static [Field],
}

/// A field of a message.
pub(crate) struct Field {
    /// Field number.
    pub number: u32,
    /// Name in the .proto file.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Whether it is a list.
    pub repeated: bool,
}

/// A field's type.
pub(crate) enum Kind {
    Bool,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    /// The names of the enum's numbers, from 0.
    Enum(&'static [&'static str]),
    Fixed32,
    Fixed64,
    Sfixed64,
    Double,
    String,
    Bytes,
    /// Bytes that JSON shows in hex.
    Id,
    Message(&'static Message),
}

impl Kind {
    /// The wire type of one value.
    pub const fn wire(&self) -> u32 {
        match self {
            Kind::Bool | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Sint32 | Kind::Enum(_) => 0,
            Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => 1,
            Kind::String | Kind::Bytes | Kind::Id | Kind::Message(_) => 2,
            Kind::Fixed32 => 5,
        }
    }
}

impl Message {
    /// The field with this number.
    pub fn field(&self, number: u32) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.number == number)
    }

    /// The field that a JSON key names: in lowerCamelCase, as OTLP asks, or as the .proto file spells it.
    pub fn field_by_key(&self, key: &str) -> Option<&'static Field> {
        self.fields.iter().find(|f| f.name == key || is_camel_case_of(key, f.name))
    }
}

fn is_camel_case_of(key: &str, name: &str) -> bool {
    let mut key = key.bytes();
    let mut upper = false;
    for b in name.bytes() {
        if b == b'_' {
            upper = true;
            continue;
        }
        let expected = if upper { b.to_ascii_uppercase() } else { b };
        upper = false;
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

/// Defines a module per message: its table, and a constant per field that holds the
/// tag, named as in the .proto file.
macro_rules! messages {
    ($($message:ident { $($name:ident = $number:literal $kind:expr $(, $repeated:ident)?;)* })*) => {
        $(
            #[allow(non_upper_case_globals, unused_imports, dead_code)]
            pub(crate) mod $message {
                use super::Kind::*;
                use super::{Field, Message};
                $(pub(crate) const $name: u32 = ($number << 3) | $kind.wire();)*
                pub(crate) static MESSAGE: super::Message = super::Message {
                    fields: &[$(Field {
                        number: $number,
                        name: stringify!($name),
                        kind: $kind,
                        repeated: false $(|| stringify!($repeated).len() > 0)?,
                    },)*],
                };
            }
        )*
    };
}
pub(crate) use messages;

messages! {
    any_value {
        string_value = 1 String;
        bool_value = 2 Bool;
        int_value = 3 Int64;
        double_value = 4 Double;
        array_value = 5 Message(&super::array_value::MESSAGE);
        kvlist_value = 6 Message(&super::kvlist::MESSAGE);
        bytes_value = 7 Bytes;
    }
    array_value {
        values = 1 Message(&super::any_value::MESSAGE), repeated;
    }
    kvlist {
        values = 1 Message(&super::key_value::MESSAGE), repeated;
    }
    key_value {
        key = 1 String;
        value = 2 Message(&super::any_value::MESSAGE);
    }
    resource {
        attributes = 1 Message(&super::key_value::MESSAGE), repeated;
        dropped_attributes_count = 2 Uint32;
    }
    scope {
        name = 1 String;
        version = 2 String;
        attributes = 3 Message(&super::key_value::MESSAGE), repeated;
        dropped_attributes_count = 4 Uint32;
    }

    logs_request {
        resource_logs = 1 Message(&super::resource_logs::MESSAGE), repeated;
    }
    resource_logs {
        resource = 1 Message(&super::resource::MESSAGE);
        scope_logs = 2 Message(&super::scope_logs::MESSAGE), repeated;
        schema_url = 3 String;
    }
    scope_logs {
        scope = 1 Message(&super::scope::MESSAGE);
        log_records = 2 Message(&super::log_record::MESSAGE), repeated;
        schema_url = 3 String;
    }
    log_record {
        time_unix_nano = 1 Fixed64;
        severity_number = 2 Enum(super::SEVERITY_NUMBERS);
        severity_text = 3 String;
        body = 5 Message(&super::any_value::MESSAGE);
        attributes = 6 Message(&super::key_value::MESSAGE), repeated;
        dropped_attributes_count = 7 Uint32;
        flags = 8 Fixed32;
        trace_id = 9 Id;
        span_id = 10 Id;
        observed_time_unix_nano = 11 Fixed64;
        event_name = 12 String;
    }

    traces_request {
        resource_spans = 1 Message(&super::resource_spans::MESSAGE), repeated;
    }
    resource_spans {
        resource = 1 Message(&super::resource::MESSAGE);
        scope_spans = 2 Message(&super::scope_spans::MESSAGE), repeated;
        schema_url = 3 String;
    }
    scope_spans {
        scope = 1 Message(&super::scope::MESSAGE);
        spans = 2 Message(&super::span::MESSAGE), repeated;
        schema_url = 3 String;
    }
    span {
        trace_id = 1 Id;
        span_id = 2 Id;
        trace_state = 3 String;
        parent_span_id = 4 Id;
        name = 5 String;
        kind = 6 Enum(super::SPAN_KINDS);
        start_time_unix_nano = 7 Fixed64;
        end_time_unix_nano = 8 Fixed64;
        attributes = 9 Message(&super::key_value::MESSAGE), repeated;
        dropped_attributes_count = 10 Uint32;
        events = 11 Message(&super::event::MESSAGE), repeated;
        dropped_events_count = 12 Uint32;
        links = 13 Message(&super::link::MESSAGE), repeated;
        dropped_links_count = 14 Uint32;
        status = 15 Message(&super::status::MESSAGE);
        flags = 16 Fixed32;
    }
    event {
        time_unix_nano = 1 Fixed64;
        name = 2 String;
        attributes = 3 Message(&super::key_value::MESSAGE), repeated;
        dropped_attributes_count = 4 Uint32;
    }
    link {
        trace_id = 1 Id;
        span_id = 2 Id;
        trace_state = 3 String;
        attributes = 4 Message(&super::key_value::MESSAGE), repeated;
        dropped_attributes_count = 5 Uint32;
        flags = 6 Fixed32;
    }
    status {
        message = 2 String;
        code = 3 Enum(super::STATUS_CODES);
    }

    metrics_request {
        resource_metrics = 1 Message(&super::resource_metrics::MESSAGE), repeated;
    }
    resource_metrics {
        resource = 1 Message(&super::resource::MESSAGE);
        scope_metrics = 2 Message(&super::scope_metrics::MESSAGE), repeated;
        schema_url = 3 String;
    }
    scope_metrics {
        scope = 1 Message(&super::scope::MESSAGE);
        metrics = 2 Message(&super::metric::MESSAGE), repeated;
        schema_url = 3 String;
    }
    metric {
        name = 1 String;
        description = 2 String;
        unit = 3 String;
        gauge = 5 Message(&super::gauge::MESSAGE);
        sum = 7 Message(&super::sum::MESSAGE);
        histogram = 9 Message(&super::histogram::MESSAGE);
        exponential_histogram = 10 Message(&super::exponential_histogram::MESSAGE);
        summary = 11 Message(&super::summary::MESSAGE);
        metadata = 12 Message(&super::key_value::MESSAGE), repeated;
    }
    gauge {
        data_points = 1 Message(&super::number_point::MESSAGE), repeated;
    }
    sum {
        data_points = 1 Message(&super::number_point::MESSAGE), repeated;
        aggregation_temporality = 2 Enum(super::TEMPORALITIES);
        is_monotonic = 3 Bool;
    }
    histogram {
        data_points = 1 Message(&super::histogram_point::MESSAGE), repeated;
        aggregation_temporality = 2 Enum(super::TEMPORALITIES);
    }
    exponential_histogram {
        data_points = 1 Message(&super::exponential_point::MESSAGE), repeated;
        aggregation_temporality = 2 Enum(super::TEMPORALITIES);
    }
    summary {
        data_points = 1 Message(&super::summary_point::MESSAGE), repeated;
    }
    number_point {
        start_time_unix_nano = 2 Fixed64;
        time_unix_nano = 3 Fixed64;
        as_double = 4 Double;
        exemplars = 5 Message(&super::exemplar::MESSAGE), repeated;
        as_int = 6 Sfixed64;
        attributes = 7 Message(&super::key_value::MESSAGE), repeated;
        flags = 8 Uint32;
    }
    histogram_point {
        start_time_unix_nano = 2 Fixed64;
        time_unix_nano = 3 Fixed64;
        count = 4 Fixed64;
        sum = 5 Double;
        bucket_counts = 6 Fixed64, repeated;
        explicit_bounds = 7 Double, repeated;
        exemplars = 8 Message(&super::exemplar::MESSAGE), repeated;
        attributes = 9 Message(&super::key_value::MESSAGE), repeated;
        flags = 10 Uint32;
        min = 11 Double;
        max = 12 Double;
    }
    exponential_point {
        attributes = 1 Message(&super::key_value::MESSAGE), repeated;
        start_time_unix_nano = 2 Fixed64;
        time_unix_nano = 3 Fixed64;
        count = 4 Fixed64;
        sum = 5 Double;
        scale = 6 Sint32;
        zero_count = 7 Fixed64;
        positive = 8 Message(&super::buckets::MESSAGE);
        negative = 9 Message(&super::buckets::MESSAGE);
        flags = 10 Uint32;
        exemplars = 11 Message(&super::exemplar::MESSAGE), repeated;
        min = 12 Double;
        max = 13 Double;
        zero_threshold = 14 Double;
    }
    buckets {
        offset = 1 Sint32;
        bucket_counts = 2 Uint64, repeated;
    }
    summary_point {
        start_time_unix_nano = 2 Fixed64;
        time_unix_nano = 3 Fixed64;
        count = 4 Fixed64;
        sum = 5 Double;
        quantile_values = 6 Message(&super::quantile::MESSAGE), repeated;
        attributes = 7 Message(&super::key_value::MESSAGE), repeated;
        flags = 8 Uint32;
    }
    quantile {
        quantile = 1 Double;
        value = 2 Double;
    }
    exemplar {
        time_unix_nano = 2 Fixed64;
        as_double = 3 Double;
        span_id = 4 Id;
        trace_id = 5 Id;
        as_int = 6 Sfixed64;
        filtered_attributes = 7 Message(&super::key_value::MESSAGE), repeated;
    }
}

/// The tag of a packed list: the field's number with a length-delimited wire type.
pub(crate) const fn packed(tag: u32) -> u32 {
    (tag & !7) | 2
}

/// OTLP's span kinds by number.
pub(crate) const SPAN_KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// OTLP's status codes by number.
pub(crate) const STATUS_CODES: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

const TEMPORALITIES: &[&str] =
    &["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];

const SEVERITY_NUMBERS: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
