//! The vocabulary that all crates share: tenants, signals, attribute values, and
//! the columnar batches that telemetry travels in. No I/O, no clock, no async.

pub mod attributes;
pub mod batch;
pub mod codec;
pub mod column;
pub mod heartbeat;
pub mod json;
mod labels;
pub mod logs;
pub mod metrics;
pub mod prometheus;
pub mod prometheus_names;
pub mod refs;
pub mod spans;
mod tenant;
pub mod thin;
pub mod told;
mod value;

pub use labels::TenantLabels;
pub use tenant::{TenantError, TenantId, TenantSet};
pub use value::{Kind, Value};

/// One of the three kinds of telemetry. Each has rings, partitions and blocks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Metric data points.
    Metrics,
    /// Spans.
    Traces,
}

impl Signal {
    /// All signals, in the order of their protobuf numbers.
    pub const ALL: [Signal; 3] = [Signal::Logs, Signal::Metrics, Signal::Traces];

    /// The lower-case name used in paths, partition names and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
            Signal::Traces => "traces",
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
