//! One of several Prometheus servers that scrape the same: the elected replica's samples are taken, those of
//! the others are not, until it is silent for too long.
//!
//! Who is elected stands in the catalog, of which every distributor has a copy: so all of them agree, and a
//! write asks meta only where there is something to change. The elected replica is noted as seen about
//! three times within the time after which another takes over, by whichever distributor it sends to.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::{ClusterView, seam};
use bonghwa_model::TenantId;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{MetaClient, RpcError, RpcErrorKind, v1};
use bonghwa_wire::ReplicaLabels;
use bonghwa_wire::remote_write::Replica;
use parking_lot::Mutex;

/// How often the elected replica is noted as seen, as a part of the time after which another takes over.
const NOTES: u32 = 3;

/// How replicas are told, and when one takes over.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The labels that name them.
    pub labels: Arc<ReplicaLabels>,
    /// After this silence of the elected replica another is elected.
    pub failover_after: Duration,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        ReplicaOptions { labels: Arc::default(), failover_after: Duration::from_secs(30) }
    }
}

impl ReplicaOptions {
    /// With labels of these names.
    pub fn new(cluster: &str, replica: &str, failover_after: Duration) -> Self {
        let labels = ReplicaLabels { cluster: cluster.to_owned(), replica: replica.to_owned() };
        ReplicaOptions { labels: Arc::new(labels), failover_after }
    }
}

/// The sentence for a replica whose samples are not taken.
pub(crate) fn passed_over(replica: &Replica, elected: &str) -> String {
    let Replica { cluster, name } = replica;
    format!("the samples of replica {name:?} of {cluster:?} are not taken: {elected:?} is elected, and sends")
}

/// What to do with a replica's request, by the copy of the catalog.
#[derive(Debug, PartialEq)]
enum Known<'a> {
    /// This one is elected, and was not silent.
    Elected(&'a str),
    /// This one is elected, and it is time to note that it was seen.
    Note(&'a str),
    /// Meta decides.
    Open,
}

/// The elections of one distributor.
pub(crate) struct Replicas {
    failover_after: Duration,
    meta: Arc<dyn MetaClient>,
    view: Arc<ClusterView>,
    /// Clusters whose replica is being noted as seen.
    noting: Mutex<HashSet<(TenantId, String)>>,
}

impl Replicas {
    pub(crate) fn new(failover_after: Duration, meta: Arc<dyn MetaClient>, view: Arc<ClusterView>) -> Self {
        Replicas { failover_after, meta, view, noting: Mutex::default() }
    }

    /// The name of the replica whose samples are taken, now that this one sends.
    pub(crate) async fn elected(&self, tenant: &TenantId, replica: &Replica) -> Result<String, RpcError> {
        let catalog = self.view.current();
        let now = seam::unix_nanos();
        let known = catalog.elected_replica(tenant, &replica.cluster);
        match decide(known, &replica.name, now, self.failover_after) {
            Known::Elected(name) => Ok(name.to_owned()),
            Known::Note(name) => {
                let name = name.to_owned();
                let key = (tenant.clone(), replica.cluster.clone());
                // One note at a time: the others need not wait for it.
                if !self.noting.lock().insert(key.clone()) {
                    return Ok(name);
                }
                let noted = Noting { of: &self.noting, key };
                let answer = self.elect(tenant, replica, now).await;
                drop(noted);
                // While meta is away nobody else can be elected either.
                Ok(answer.unwrap_or(name))
            }
            Known::Open => self.elect(tenant, replica, now).await,
        }
    }

    /// Has meta elect the replica, unless another one is. Gives the one that is; this node's copy of the catalog
    /// follows later, and until then samples ask again.
    async fn elect(&self, tenant: &TenantId, replica: &Replica, now: i64) -> Result<String, RpcError> {
        let command = v1::ElectReplica {
            tenant: tenant.to_string(),
            cluster: replica.cluster.clone(),
            replica: replica.name.clone(),
            now,
            failover_after: self.failover_after.as_nanos() as i64,
        };
        let result = self.meta.execute(v1::Command { kind: Some(Kind::ElectReplica(command)) }).await?;
        match result.outcome {
            Some(Outcome::ElectedReplica(elected)) => Ok(elected.replica),
            Some(Outcome::Rejection(rejection)) => Err(RpcError::new(RpcErrorKind::Invalid, rejection.message)),
            _ => Err(RpcError::unavailable("meta's answer names no replica")),
        }
    }
}

fn decide<'a>(known: Option<&'a v1::ElectedReplica>, sender: &str, now: i64, failover_after: Duration) -> Known<'a> {
    let Some(known) = known else { return Known::Open };
    let silent = now.saturating_sub(known.seen_at).max(0) as u128;
    match known.replica == sender {
        true if silent >= (failover_after / NOTES).as_nanos() => Known::Note(&known.replica),
        false if silent >= failover_after.as_nanos() => Known::Open,
        _ => Known::Elected(&known.replica),
    }
}

/// Ends a note, also where its request was given up.
struct Noting<'a> {
    of: &'a Mutex<HashSet<(TenantId, String)>>,
    key: (TenantId, String),
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.of.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_asked_only_where_something_changes() {
        let known = v1::ElectedReplica { replica: "a".into(), seen_at: 1_000_000_000, ..Default::default() };
        let second = 1_000_000_000;
        for (sender, now, expected) in [
            ("a", second, Known::Elected("a")),
            ("a", 10 * second, Known::Elected("a")),
            ("a", 11 * second, Known::Note("a")),
            ("a", 99 * second, Known::Note("a")),
            ("b", 11 * second, Known::Elected("a")),
            ("b", 30 * second, Known::Elected("a")),
            ("b", 31 * second, Known::Open),
            // Clocks differ.
            ("b", 0, Known::Elected("a")),
        ] {
            assert_eq!(decide(Some(&known), sender, now, Duration::from_secs(30)), expected, "{sender} {now}");
        }
        assert_eq!(decide(None, "a", 0, Duration::from_secs(30)), Known::Open);
    }
}
