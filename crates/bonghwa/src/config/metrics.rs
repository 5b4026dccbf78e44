//! How PromQL sees OpenTelemetry's metrics.

use bonghwa_model::prometheus_names::Strategy;
use bonghwa_query::MetricsOptions;
use serde::{Deserialize, Serialize};

/// How OpenTelemetry's metrics are shown to PromQL, as Prometheus' section `otlp` says it. What is
/// stored does not depend on it: a change holds for all that was received before.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Metrics {
    /// `UnderscoreEscapingWithSuffixes`, `UnderscoreEscapingWithoutSuffixes`,
    /// `NoUTF8EscapingWithSuffixes` or `NoTranslation`.
    pub translation_strategy: String,
    /// Resource attributes that become labels of every series, besides `job` and `instance`.
    pub promote_resource_attributes: Vec<String>,
    /// Whether scope name and version become the labels `otel_scope_name` and `otel_scope_version`.
    pub promote_scope_metadata: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics {
            translation_strategy: "UnderscoreEscapingWithSuffixes".into(),
            promote_resource_attributes: Vec::new(),
            promote_scope_metadata: false,
        }
    }
}

impl Metrics {
    /// The strategy; none for a name that is not one.
    pub(super) fn strategy(&self) -> Option<Strategy> {
        Strategy::ALL.into_iter().find(|(name, _)| *name == self.translation_strategy).map(|(_, strategy)| strategy)
    }

    /// The query engine's options.
    pub(super) fn options(&self) -> MetricsOptions {
        MetricsOptions {
            strategy: self.strategy().unwrap_or_default(),
            promote_resource_attributes: self.promote_resource_attributes.clone(),
            promote_scope: self.promote_scope_metadata,
        }
    }
}
