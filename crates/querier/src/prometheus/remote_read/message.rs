//! Remote read's messages, of Prometheus' `remote.proto` and `types.proto`.

use prost::Message;

use crate::error::ApiError;

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) queries: Vec<Query>,
    /// Numbers of [`ResponseType`], the preferred one first.
    #[prost(int32, repeated, tag = "2")]
    pub(super) accepted_response_types: Vec<i32>,
}

/// One selector.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Query {
    /// Unix milliseconds, inclusive.
    #[prost(int64, tag = "1")]
    pub(super) start_timestamp_ms: i64,
    /// Unix milliseconds, inclusive.
    #[prost(int64, tag = "2")]
    pub(super) end_timestamp_ms: i64,
    #[prost(message, repeated, tag = "3")]
    pub(super) matchers: Vec<LabelMatcher>,
}

/// A condition on a label.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LabelMatcher {
    /// 0 `=`, 1 `!=`, 2 `=~`, 3 `!~`.
    #[prost(int32, tag = "1")]
    pub(super) kind: i32,
    #[prost(string, tag = "2")]
    pub(super) name: String,
    #[prost(string, tag = "3")]
    pub(super) value: String,
}

/// Forms of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseType {
    /// One message with all samples.
    Samples = 0,
    /// A stream of messages with chunks.
    StreamedXorChunks = 1,
}

impl ReadRequest {
    /// The form that is preferred, of those that there are.
    pub(super) fn response_type(&self) -> Result<ResponseType, ApiError> {
        let known = [ResponseType::Samples, ResponseType::StreamedXorChunks];
        match &self.accepted_response_types[..] {
            // Senders that are older than the field.
            [] => Ok(ResponseType::Samples),
            accepted => {
                let found = accepted.iter().find_map(|number| known.into_iter().find(|kind| *kind as i32 == *number));
                found.ok_or_else(|| {
                    ApiError::bad(format!(
                        "accepted_response_types is {accepted:?}: it must have SAMPLES (0) or STREAMED_XOR_CHUNKS (1)"
                    ))
                })
            }
        }
    }

    /// Whether an answer may have this form.
    pub(super) fn accepts(&self, kind: ResponseType) -> bool {
        self.accepted_response_types.contains(&(kind as i32))
    }
}

/// A label.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// A series of an answer that holds samples.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    pub(super) histograms: Vec<Histogram>,
}

/// A float.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Sample {
    #[prost(double, tag = "1")]
    pub(super) value: f64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub(super) timestamp: i64,
}

/// A native histogram: of integers, or of floats where a field of those is set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub(super) count_int: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub(super) count_float: Option<f64>,
    #[prost(double, tag = "3")]
    pub(super) sum: f64,
    #[prost(sint32, tag = "4")]
    pub(super) schema: i32,
    #[prost(double, tag = "5")]
    pub(super) zero_threshold: f64,
    #[prost(uint64, optional, tag = "6")]
    pub(super) zero_count_int: Option<u64>,
    #[prost(double, optional, tag = "7")]
    pub(super) zero_count_float: Option<f64>,
    #[prost(message, repeated, tag = "8")]
    pub(super) negative_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "9")]
    pub(super) negative_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "10")]
    pub(super) negative_counts: Vec<f64>,
    #[prost(message, repeated, tag = "11")]
    pub(super) positive_spans: Vec<Span>,
    #[prost(sint64, repeated, tag = "12")]
    pub(super) positive_deltas: Vec<i64>,
    #[prost(double, repeated, tag = "13")]
    pub(super) positive_counts: Vec<f64>,
    /// 0 unknown, 1 yes, 2 no, 3 gauge.
    #[prost(int32, tag = "14")]
    pub(super) reset_hint: i32,
    /// Unix milliseconds.
    #[prost(int64, tag = "15")]
    pub(super) timestamp: i64,
    #[prost(double, repeated, tag = "16")]
    pub(super) custom_values: Vec<f64>,
}

/// A run of buckets.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Span {
    /// Gap to the span before, or the first index.
    #[prost(sint32, tag = "1")]
    pub(super) offset: i32,
    #[prost(uint32, tag = "2")]
    pub(super) length: u32,
}

/// A message of a streamed answer.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedReadResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) chunked_series: Vec<ChunkedSeries>,
    #[prost(int64, tag = "2")]
    pub(super) query_index: i64,
}

/// Chunks of a series.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChunkedSeries {
    #[prost(message, repeated, tag = "1")]
    pub(super) labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    pub(super) chunks: Vec<Chunk>,
}

/// Encoded samples.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Chunk {
    /// Unix milliseconds.
    #[prost(int64, tag = "1")]
    pub(super) min_time_ms: i64,
    /// Unix milliseconds.
    #[prost(int64, tag = "2")]
    pub(super) max_time_ms: i64,
    /// [`Chunk::XOR`].
    #[prost(int32, tag = "3")]
    pub(super) encoding: i32,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) data: Vec<u8>,
}

impl Chunk {
    /// Floats.
    pub(super) const XOR: i32 = 1;
}

/// A series' labels as messages, sorted by name.
pub(super) fn labels(labels: &bonghwa_promql::Labels) -> Vec<Label> {
    labels.iter().map(|(name, value)| Label { name: name.to_owned(), value: value.to_owned() }).collect()
}
