//! How PromQL sees OpenTelemetry's metrics.

use std::time::Duration;

use bonghwa_distributor::{CountingOptions, OPERATION_SERIES};
use bonghwa_model::prometheus_names::Strategy;
use bonghwa_query::{MetricsOptions, Promoted, PushUp as Options};
use serde::{Deserialize, Serialize};

use super::service_graph::ServiceGraph;
use crate::units::Time;

/// How OpenTelemetry's metrics are shown to PromQL, as Prometheus' section `otlp` says it. What is
/// stored does not depend on it, but for `push_up.enabled`: a change holds for all that was received before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// `UnderscoreEscapingWithSuffixes`, `UnderscoreEscapingWithoutSuffixes`,
    /// `NoUTF8EscapingWithSuffixes` or `NoTranslation`.
    pub translation_strategy: String,
    /// Resource attributes that become labels of every series, besides `job` and `instance`.
    pub promote_resource_attributes: Vec<String>,
    /// Whether all of them do, but for those of `ignore_resource_attributes`: queries need no join with `target_info`,
    /// and a series ends where any of them changes.
    pub promote_all_resource_attributes: bool,
    /// Resource attributes that are not promoted with all others.
    pub ignore_resource_attributes: Vec<String>,
    /// Whether scope name and version become the labels `otel_scope_name` and `otel_scope_version`.
    pub promote_scope_metadata: bool,
    /// `up{bonghwa_source="otlp"}`: whether instances that push still do.
    pub push_up: PushUp,
    /// `traces_spanmetrics_*`, counted of the spans that come.
    pub span_metrics: SpanMetrics,
    /// `traces_service_graph_*`, counted of the spans that come.
    pub service_graph: ServiceGraph,
}

/// `up{bonghwa_source="otlp"}` of each instance that pushes metrics by OTLP and names its service: 1 when it sent some,
/// 0 once it was silent for three times as long as usual. Three minutes are taken for that where it sent once, and five
/// at most, unless one and a half times as long as usual is more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PushUp {
    /// Whether there is such a series: distributors store what arrives, queriers tell what does not.
    pub enabled: bool,
    /// A shorter silence never means that an instance is down; `1s` to `5m`.
    pub min_silence: Time,
    /// After this silence an instance is gone, and its series ends: one that was replaced is down until then. Points
    /// that are older when they come are no sign of life.
    pub forget_after: Time,
}

impl Default for PushUp {
    fn default() -> Self {
        let Options { enabled, min_silence, forget_after } = Options::default();
        PushUp { enabled, min_silence: Time(min_silence), forget_after: Time(forget_after) }
    }
}

impl PushUp {
    /// The shortest and the longest `min_silence`.
    const MIN_SILENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

    /// The key of a value that makes no sense, and why.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let [least, most] = Self::MIN_SILENCE;
        if !(least..=most).contains(&self.min_silence.0) {
            return Err(("metrics.push_up.min_silence", format!("{} is not from 1s to 5m", self.min_silence)));
        }
        if self.forget_after.0 <= self.min_silence.0 {
            let message = "it must be longer than metrics.push_up.min_silence: nobody would be down before";
            return Err(("metrics.push_up.forget_after", message.into()));
        }
        Ok(())
    }
}

/// Metrics of spans, as Tempo's generator names them: calls, durations and sizes by service, name, kind and status.
/// Distributors count what they receive.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SpanMetrics {
    /// Whether spans are counted: each operation costs 19 series.
    pub enabled: bool,
    /// Time between two samples.
    pub interval: Time,
    /// Series of a tenant and distributor: spans of further operations are not counted.
    pub max_series: usize,
    /// An operation without a span for so long ends.
    pub forget_after: Time,
}

impl Default for SpanMetrics {
    fn default() -> Self {
        SpanMetrics {
            enabled: false,
            interval: Time(Duration::from_secs(15)),
            max_series: 100_000,
            forget_after: Time(Duration::from_secs(15 * 60)),
        }
    }
}

impl SpanMetrics {
    /// The distributor's options; the node's name comes later.
    pub(super) fn options(&self) -> Option<CountingOptions> {
        self.enabled.then(|| CountingOptions {
            interval: self.interval.0,
            max_series: self.max_series,
            forget_after: self.forget_after.0,
            instance: String::new(),
        })
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let keys =
            ["metrics.span_metrics.interval", "metrics.span_metrics.forget_after", "metrics.span_metrics.max_series"];
        let of = ("operation", OPERATION_SERIES);
        check_counting(keys, (self.interval, self.forget_after, self.max_series), of)
    }
}

/// Checks the interval, the end and the series of what is counted of spans: the values of these keys. Each of it has
/// so many series.
pub(super) fn check_counting(
    [interval_key, forget_key, series_key]: [&'static str; 3],
    (interval, forget_after, max_series): (Time, Time, usize),
    (what, series): (&str, usize),
) -> Result<(), (&'static str, String)> {
    if interval.0 < Duration::from_secs(1) {
        return Err((interval_key, format!("{interval} is too short: give 1s or more")));
    }
    if forget_after.0 <= interval.0 {
        return Err((forget_key, format!("it must be longer than {interval_key}: every {what} would end at once")));
    }
    if max_series < series {
        return Err((series_key, format!("{max_series} is not enough for one {what}, which has {series}")));
    }
    Ok(())
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            translation_strategy: "UnderscoreEscapingWithSuffixes".into(),
            promote_resource_attributes: Vec::new(),
            promote_all_resource_attributes: false,
            ignore_resource_attributes: Vec::new(),
            promote_scope_metadata: false,
            push_up: PushUp::default(),
            span_metrics: SpanMetrics::default(),
            service_graph: ServiceGraph::default(),
        }
    }
}

impl Metrics {
    /// The strategy; none for a name that is not one.
    pub(super) fn strategy(&self) -> Option<Strategy> {
        Strategy::ALL.into_iter().find(|(name, _)| *name == self.translation_strategy).map(|(_, strategy)| strategy)
    }

    /// The key of a value that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.strategy().is_none() {
            let names = Strategy::ALL.map(|(name, _)| name).join(", ");
            let message = format!("{:?} is no strategy: it is one of {names}", self.translation_strategy);
            return Err(("metrics.translation_strategy", message));
        }
        if self.promote_all_resource_attributes && !self.promote_resource_attributes.is_empty() {
            let message = "metrics.promote_all_resource_attributes promotes all: leave one of both out";
            return Err(("metrics.promote_resource_attributes", message.into()));
        }
        if !self.promote_all_resource_attributes && !self.ignore_resource_attributes.is_empty() {
            let message = "nothing is ignored unless metrics.promote_all_resource_attributes is true";
            return Err(("metrics.ignore_resource_attributes", message.into()));
        }
        self.push_up.check()?;
        self.span_metrics.check()?;
        self.service_graph.check()
    }

    /// The query engine's options.
    pub(super) fn options(&self) -> MetricsOptions {
        MetricsOptions {
            strategy: self.strategy().unwrap_or_default(),
            promoted: if self.promote_all_resource_attributes {
                Promoted::AllBut(self.ignore_resource_attributes.clone())
            } else {
                Promoted::Named(self.promote_resource_attributes.clone())
            },
            promote_scope: self.promote_scope_metadata,
            push_up: Options {
                enabled: self.push_up.enabled,
                min_silence: self.push_up.min_silence.0,
                forget_after: self.push_up.forget_after.0,
            },
        }
    }
}
