//! What a decoder accepts.

use std::sync::Arc;

use bonghwa_model::prometheus_names::Strategy;

/// The labels by which several Prometheus servers that scrape the same tell themselves apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaLabels {
    /// Names what they scrape: the same on all of them.
    pub cluster: String,
    /// Names the server.
    pub replica: String,
}

impl Default for ReplicaLabels {
    fn default() -> Self {
        ReplicaLabels { cluster: "cluster".to_owned(), replica: "__replica__".to_owned() }
    }
}

/// How many attributes there may be of one thing, and how long they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttributeLimits {
    /// Attributes of one record, resource or scope. More, and it is rejected. Default 1,024.
    pub count: usize,
    /// Bytes of a key. Longer, and the record is rejected. Default 1,024.
    pub key_bytes: usize,
    /// Bytes of a value. Longer text or bytes are cut and counted in [`crate::Decoded::cut_values`]; longer
    /// arrays and maps, and any longer value of a metric point, reject the record. Default 64 KiB: stack traces
    /// pass.
    pub value_bytes: usize,
    /// The settings of these three, for errors; empty where there is none.
    pub settings: [&'static str; 3],
}

impl Default for AttributeLimits {
    fn default() -> Self {
        let settings = ["distributor.max_attributes", "", ""];
        AttributeLimits { count: 1024, key_bytes: 1024, value_bytes: 64 << 10, settings }
    }
}

/// Limits of one request. The caller fills in the clock and a tenant's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Arrival, Unix nanoseconds.
    pub now_ns: i64,
    /// How far ahead of arrival a timestamp may be, nanoseconds. Default 10 minutes.
    pub max_future_ns: i64,
    /// How old a record may be, nanoseconds; usually the tenant's retention. Default: any age.
    pub max_age_ns: Option<i64>,
    /// Attributes of records, resources and scopes.
    pub attributes: AttributeLimits,
    /// Attributes of metric points, and labels of remote write: they are a series' identity.
    pub labels: AttributeLimits,
    /// Bytes of a log body. Longer, and the record is rejected. Default 256 KiB.
    pub max_line_bytes: usize,
    /// Levels of nesting in a value; a scalar has none. Default 32.
    pub max_depth: usize,
    /// Buckets or quantiles of one distribution. Default 16,384.
    pub max_buckets: usize,
    /// Distinct attribute keys in one request. A record that brings more is rejected. Default 32,768.
    pub max_keys: usize,
    /// Records in one request. More, and the request is refused. Default 1,000,000.
    pub max_records: usize,
    /// Attributes of all records of one request together, where records share them on the wire (remote
    /// write). More, and the request is refused. Default 16,777,216.
    pub max_entries: usize,
    /// Distinct resources, and distinct scopes, in one request. More, and the request is refused.
    /// Default 100,000.
    pub max_senders: usize,
    /// Bytes of text that one request unpacks to. More, and the request is refused. Default 256 MiB.
    pub max_text_bytes: usize,
    /// How metrics are named in queries: one of which nothing would be left is rejected.
    pub names: Strategy,
    /// Remote write: series that have both labels are of a replica, and lose that one's. Default: none are.
    pub replicas: Option<Arc<ReplicaLabels>>,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        DecodeOptions {
            now_ns: 0,
            max_future_ns: 600_000_000_000,
            max_age_ns: None,
            attributes: AttributeLimits::default(),
            labels: AttributeLimits::default(),
            max_line_bytes: 256 << 10,
            max_depth: 32,
            max_buckets: 16_384,
            max_keys: 32_768,
            max_records: 1_000_000,
            max_entries: 1 << 24,
            max_senders: 100_000,
            max_text_bytes: 256 << 20,
            names: Strategy::default(),
            replicas: None,
        }
    }
}
