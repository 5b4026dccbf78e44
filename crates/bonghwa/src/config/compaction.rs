//! The sections of the compactor: when blocks are put together, and how long rows are kept.

use std::collections::BTreeMap;
use std::time::Duration;

use bonghwa_compactor::{CompactorOptions, Retention, SignalRetention, StreamRetention};
use bonghwa_protocol::v1;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Time};

/// The compactor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Compaction {
    /// Time between two runs.
    pub interval: Time,
    /// Windows of time that blocks of level 1, 2 and so on do not cross; each a multiple of the one before.
    pub windows: Vec<Time>,
    /// A window is compacted when this much time has passed since its end: late records.
    pub settle: Time,
    /// Memory that one job may hold.
    pub memory_bytes: Size,
    /// Jobs that run at once on this node.
    pub concurrency: usize,
    /// Objects that were replaced are deleted after this time: longer than any query takes.
    pub grace: Time,
    /// Objects that the catalog does not list are deleted when they are this old.
    pub orphan_age: Time,
}

/// How long rows are kept. A time of 0 keeps them for ever.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Keep {
    /// Of tenants without an entry of their own.
    pub default: KeepSignals,
    /// By tenant name; a signal that is left out is kept as by default.
    pub tenants: BTreeMap<String, KeepTenant>,
    /// Log records that are kept for another time than the rest of their tenant's. Where several
    /// match a record, the longest counts.
    pub streams: Vec<KeepStream>,
}

/// Times by signal; 0: for ever.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct KeepSignals {
    /// Log records.
    pub logs: Time,
    /// Samples.
    pub metrics: Time,
    /// Spans.
    pub traces: Time,
}

/// Times of one tenant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeepTenant {
    /// Log records.
    pub logs: Option<Time>,
    /// Samples.
    pub metrics: Option<Time>,
    /// Spans.
    pub traces: Option<Time>,
}

/// Which log records, and how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeepStream {
    /// Whose; left out: of all tenants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Of this service; left out: of all.
    #[serde(default)]
    pub service: String,
    /// With these attributes of the record or its resource.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
    /// With at least this severity number; 0: any.
    #[serde(default)]
    pub min_severity: u32,
    /// With at most this severity number, 8 being DEBUG; 0: any.
    #[serde(default)]
    pub max_severity: u32,
    /// How long.
    pub keep: Time,
}

impl Default for Compaction {
    fn default() -> Self {
        let options = CompactorOptions::default();
        Compaction {
            interval: Time(options.interval),
            windows: options.windows.into_iter().map(Time).collect(),
            settle: Time(options.settle),
            memory_bytes: Size(options.memory_bytes),
            concurrency: options.concurrency,
            grace: Time(options.grace),
            orphan_age: Time(options.orphan_age),
        }
    }
}

impl Default for KeepSignals {
    fn default() -> Self {
        let forever = Time(Duration::ZERO);
        KeepSignals { logs: forever, metrics: forever, traces: forever }
    }
}

impl Compaction {
    /// The role's options.
    pub fn options(&self, keep: &Keep) -> CompactorOptions {
        CompactorOptions {
            interval: self.interval.0,
            windows: self.windows.iter().map(|window| window.0).collect(),
            settle: self.settle.0,
            memory_bytes: self.memory_bytes.0,
            concurrency: self.concurrency,
            grace: self.grace.0,
            orphan_age: self.orphan_age.0,
            retention: keep.retention(),
            ..CompactorOptions::default()
        }
    }
}

impl Keep {
    /// How long rows are kept.
    pub fn retention(&self) -> Retention {
        let some = |time: Time| (!time.0.is_zero()).then_some(time.0);
        let KeepSignals { logs, metrics, traces } = self.default;
        let default = SignalRetention { logs: some(logs), metrics: some(metrics), traces: some(traces) };
        let tenant = |keep: &KeepTenant| SignalRetention {
            // "For ever" in a tenant's own entry is longer than any default.
            logs: keep.logs.map(or_ever),
            metrics: keep.metrics.map(or_ever),
            traces: keep.traces.map(or_ever),
        };
        let tenants = self.tenants.iter().map(|(name, keep)| (name.clone(), tenant(keep))).collect();
        Retention { default, tenants, streams: self.streams.iter().map(KeepStream::rule).collect() }
    }
}

fn or_ever(time: Time) -> Duration {
    if time.0.is_zero() { Duration::MAX } else { time.0 }
}

impl KeepStream {
    fn rule(&self) -> StreamRetention {
        let attributes = self.attributes.iter().map(|(key, value)| v1::AttributeMatch {
            scope: v1::AttributeScope::Unspecified.into(),
            key: key.clone(),
            value: value.clone(),
        });
        let selector = v1::Selector {
            service: self.service.clone(),
            attributes: attributes.collect(),
            min_severity: self.min_severity,
            max_severity: self.max_severity,
            ..Default::default()
        };
        StreamRetention { tenant: self.tenant.clone(), selector, keep: or_ever(self.keep) }
    }
}
