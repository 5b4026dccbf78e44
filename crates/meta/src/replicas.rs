//! Which of several Prometheus servers that scrape the same is taken: one per tenant and cluster, until it
//! falls silent.

use bonghwa_model::TenantId;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command_result::Outcome;

use crate::reject::{Done, Verdict, invalid};
use crate::state::State;

/// Clusters of one tenant: their names come from labels.
const MOST_OF_TENANT: usize = 100;
/// Clusters of all tenants; every node keeps them.
const MOST: usize = 10_000;
/// A cluster of which no replica was seen for so long makes room for another, in nanoseconds.
const FORGOTTEN_AFTER: i64 = 3_600_000_000_000;
/// Bytes of a cluster's or a replica's name.
const MOST_BYTES: usize = 1_024;

impl State {
    pub(crate) fn elect_replica(&mut self, command: &v1::ElectReplica) -> Verdict {
        let v1::ElectReplica { tenant, cluster, replica, now, failover_after } = command;
        let id = TenantId::new(tenant).map_err(|e| invalid(format!("tenant is {tenant:?}: {e}")))?;
        for (field, name) in [("cluster", cluster), ("replica", replica)] {
            if name.is_empty() || name.len() > MOST_BYTES {
                return Err(invalid(format!("{field} has {} bytes: it needs 1 to {MOST_BYTES}", name.len())));
            }
        }
        let elected = |elected_at| v1::ElectedReplica {
            tenant: tenant.clone(),
            cluster: cluster.clone(),
            replica: replica.clone(),
            seen_at: *now,
            elected_at,
        };
        let known = self.catalog.elected_replica(&id, cluster);
        let next = match known {
            Some(known) if known.replica == *replica && known.seen_at >= *now => None,
            Some(known) if known.replica == *replica => Some(elected(known.elected_at)),
            Some(known) if now.saturating_sub(known.seen_at) < *failover_after => None,
            Some(_) | None => Some(elected(*now)),
        };
        let Some(next) = next else {
            return Ok(Done { change: None, outcome: known.cloned().map(Outcome::ElectedReplica) });
        };
        let mut changes = vec![next.clone()];
        if known.is_none() {
            changes.extend(self.room_for_cluster(tenant, *now)?);
        }
        let change = v1::Change { elected_replicas: changes, ..Default::default() };
        Ok(Done { change: Some(change), outcome: Some(Outcome::ElectedReplica(next)) })
    }

    /// Whom to forget so that one more cluster of the tenant has room, if anybody.
    fn room_for_cluster(&self, tenant: &str, now: i64) -> Result<Option<v1::ElectedReplica>, v1::Rejection> {
        let of_tenant = || self.catalog.elected_replicas().filter(|elected| elected.tenant == tenant);
        let all = self.catalog.elected_replicas().len();
        let full = match of_tenant().count() {
            count if count >= MOST_OF_TENANT => of_tenant().min_by_key(|elected| elected.seen_at),
            _ if all >= MOST => self.catalog.elected_replicas().min_by_key(|elected| elected.seen_at),
            _ => return Ok(None),
        };
        match full.filter(|oldest| now.saturating_sub(oldest.seen_at) >= FORGOTTEN_AFTER) {
            Some(oldest) => Ok(Some(v1::ElectedReplica { replica: String::new(), ..oldest.clone() })),
            None => Err(invalid(format!(
                "tenant {tenant} has {MOST_OF_TENANT} clusters of replicas already, or all have {MOST}: does the label \
                 that names the cluster hold something else?"
            ))),
        }
    }
}
