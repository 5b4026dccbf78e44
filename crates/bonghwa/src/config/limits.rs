//! The section of tenants' limits.

use std::collections::BTreeMap;

use bonghwa_distributor::{Rate, SignalLimits, TenantLimits};
use bonghwa_model::TenantId;
use bonghwa_protocol::v1;
use serde::{Deserialize, Serialize};

/// What tenants may send, and how many partitions take it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Callers without `X-Scope-OrgID`. Unlimited unless set: backpressure protects the node.
    pub unnamed: TenantRates,
    /// Tenants that have no override.
    pub named: NamedRates,
    /// By tenant name.
    pub overrides: BTreeMap<String, TenantRates>,
}

/// Limits of one tenant; a rate of 0 is no limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantRates {
    /// Decompressed bytes of logs per second.
    pub logs_rate: f64,
    /// Bytes of logs at once.
    pub logs_burst: f64,
    /// Samples per second.
    pub metrics_rate: f64,
    /// Samples at once.
    pub metrics_burst: f64,
    /// Decompressed bytes of traces per second.
    pub traces_rate: f64,
    /// Bytes of traces at once.
    pub traces_burst: f64,
    /// Partitions of each signal that its data may go to, so that a flood of this tenant reaches few
    /// others. 0: all.
    pub shuffle_shard: u32,
    /// Whether remote write comes from several Prometheus servers that scrape the same: one is elected for
    /// each cluster, the others are answered with 202 and what they send is not taken. See
    /// `distributor.ha_cluster_label`.
    pub accept_ha_samples: bool,
}

/// The limits of tenants without an override.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamedRates(pub TenantRates);

impl Default for NamedRates {
    fn default() -> Self {
        let SignalLimits { logs, metrics, traces, shuffle_shard, accept_ha_samples } = SignalLimits::named_tenant();
        let of = |rate: Option<Rate>| rate.map_or((0.0, 0.0), |r| (r.per_second, r.burst));
        let ((logs_rate, logs_burst), (metrics_rate, metrics_burst), (traces_rate, traces_burst)) =
            (of(logs), of(metrics), of(traces));
        NamedRates(TenantRates {
            logs_rate,
            logs_burst,
            metrics_rate,
            metrics_burst,
            traces_rate,
            traces_burst,
            shuffle_shard: shuffle_shard as u32,
            accept_ha_samples,
        })
    }
}

impl From<&v1::TenantRates> for TenantRates {
    fn from(rates: &v1::TenantRates) -> Self {
        let v1::TenantRates {
            logs_rate,
            logs_burst,
            metrics_rate,
            metrics_burst,
            traces_rate,
            traces_burst,
            shuffle_shard,
            accept_ha_samples,
        } = *rates;
        TenantRates {
            logs_rate,
            logs_burst,
            metrics_rate,
            metrics_burst,
            traces_rate,
            traces_burst,
            shuffle_shard,
            accept_ha_samples,
        }
    }
}

impl From<TenantRates> for v1::TenantRates {
    fn from(rates: TenantRates) -> Self {
        let TenantRates {
            logs_rate,
            logs_burst,
            metrics_rate,
            metrics_burst,
            traces_rate,
            traces_burst,
            shuffle_shard,
            accept_ha_samples,
        } = rates;
        v1::TenantRates {
            logs_rate,
            logs_burst,
            metrics_rate,
            metrics_burst,
            traces_rate,
            traces_burst,
            shuffle_shard,
            accept_ha_samples,
        }
    }
}

impl TenantRates {
    fn limits(&self) -> SignalLimits {
        SignalLimits {
            logs: Rate::new(self.logs_rate, self.logs_burst),
            metrics: Rate::new(self.metrics_rate, self.metrics_burst),
            traces: Rate::new(self.traces_rate, self.traces_burst),
            shuffle_shard: self.shuffle_shard as usize,
            accept_ha_samples: self.accept_ha_samples,
        }
    }
}

impl Limits {
    /// As the distributor takes them.
    pub fn options(&self) -> TenantLimits {
        TenantLimits {
            unnamed: self.unnamed.limits(),
            named: self.named.0.limits(),
            overrides: self.overrides.iter().map(|(name, rates)| (name.clone(), rates.limits())).collect(),
        }
    }

    /// The limits of a tenant, and the key that they stand under.
    pub fn of(&self, tenant: &TenantId) -> (&'static str, TenantRates) {
        match self.overrides.get(tenant.as_str()) {
            Some(rates) => ("limits.overrides", rates.clone()),
            None if *tenant == TenantId::default_tenant() => ("limits.unnamed", self.unnamed.clone()),
            None => ("limits.named", self.named.0.clone()),
        }
    }
}
