//! The command about tenants: what they may send, while the cluster runs.

use bonghwa_model::TenantId;
use bonghwa_protocol::v1;

use crate::reject::{Done, Verdict, invalid};
use crate::state::State;

/// Every node keeps all of them, and a snapshot has them in one piece.
const MOST: usize = 100_000;

impl State {
    pub(crate) fn set_tenant_limits(&mut self, command: &v1::SetTenantLimits) -> Verdict {
        let Some(limits) = &command.limits else {
            return Err(invalid("limits are missing: name a tenant and its rates"));
        };
        let tenant = &limits.tenant;
        let id = TenantId::new(tenant).map_err(|e| invalid(format!("limits.tenant is {tenant:?}: {e}")))?;
        if let Some(rates) = &limits.rates {
            check(tenant, rates)?;
        }
        let known = self.catalog.tenant_limits(&id).copied();
        if known == limits.rates {
            return Ok(Done::default());
        }
        if known.is_none() && self.catalog.all_tenant_limits().len() >= MOST {
            return Err(invalid(format!(
                "limits.tenant is {tenant:?}, and {MOST} tenants have rates of their own already: delete some, or \
                 set `limits.named` in the configuration"
            )));
        }
        let change = v1::Change { tenant_limits: vec![limits.clone()], ..Default::default() };
        Ok(Done { change: Some(change), outcome: None })
    }
}

fn check(tenant: &str, rates: &v1::TenantRates) -> Result<(), v1::Rejection> {
    for (field, value) in [
        ("logs_rate", rates.logs_rate),
        ("logs_burst", rates.logs_burst),
        ("metrics_rate", rates.metrics_rate),
        ("metrics_burst", rates.metrics_burst),
        ("traces_rate", rates.traces_rate),
        ("traces_burst", rates.traces_burst),
    ] {
        if !value.is_finite() || value < 0.0 {
            return Err(invalid(format!(
                "{field} is {value} for tenant {tenant}: it must be 0, which is no limit, or more"
            )));
        }
    }
    Ok(())
}
