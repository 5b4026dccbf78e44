//! The section of tenants' limits.

use std::collections::BTreeMap;

use bonghwa_distributor::{NAMED_TENANT, TenantLimits};
use bonghwa_model::TenantId;
use bonghwa_protocol::v1::TenantRates;
use serde::{Deserialize, Serialize};

/// What tenants may send, and how many partitions take it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Callers without `X-Scope-OrgID`. Unlimited unless set: backpressure protects the node.
    pub unnamed: TenantRates,
    /// Tenants that have no override.
    pub named: TenantRates,
    /// By tenant name.
    pub overrides: BTreeMap<String, TenantRates>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { unnamed: TenantRates::default(), named: NAMED_TENANT, overrides: BTreeMap::new() }
    }
}

impl Limits {
    /// As the distributor takes them.
    pub fn options(&self) -> TenantLimits {
        TenantLimits {
            unnamed: self.unnamed,
            named: self.named,
            overrides: self.overrides.iter().map(|(name, rates)| (name.clone(), *rates)).collect(),
        }
    }

    /// The limits of a tenant, and the key that they stand under.
    pub fn of(&self, tenant: &TenantId) -> (&'static str, TenantRates) {
        match self.overrides.get(tenant.as_str()) {
            Some(rates) => ("limits.overrides", *rates),
            None if *tenant == TenantId::default_tenant() => ("limits.unnamed", self.unnamed),
            None => ("limits.named", self.named),
        }
    }
}
