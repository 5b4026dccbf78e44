//! A node's membership, as the binary keeps it: it registers under a new incarnation, and says that
//! it lives.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use bonghwa_cluster::{ClusterView, node_id};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{MetaClient, v1};
use bonghwa_seam as seam;
use parking_lot::Mutex;

use crate::roles::{Role, address};

/// How often a node says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// The incarnations on a node's disk, the newest first; written at once and never lost.
pub type Incarnations = Arc<Mutex<Vec<u64>>>;

/// Who a process is.
#[derive(Clone)]
pub struct Member {
    name: String,
    zone: String,
    role: Role,
    incarnation: u64,
    disk: Incarnations,
}

impl Member {
    /// A process that starts on a disk.
    pub fn start(name: &str, zone: &str, role: Role, disk: Incarnations) -> Self {
        let incarnation = if role == Role::Front { 0 } else { seam::random() | 1 };
        if incarnation != 0 {
            disk.lock().insert(0, incarnation);
        }
        Member { name: name.to_owned(), zone: zone.to_owned(), role, incarnation, disk }
    }

    /// The node's id.
    pub fn id(&self) -> u64 {
        node_id(&self.name)
    }

    /// Registers, as long as it takes to find a leader of meta.
    pub async fn register(&self, meta: &dyn MetaClient, view: &ClusterView) -> Result<()> {
        let known = self.disk.lock().clone();
        let mut refused = String::new();
        let earlier = known.into_iter().filter(|incarnation| *incarnation != self.incarnation);
        for previous in earlier.chain([0]) {
            let result = self.try_register(meta, previous).await?;
            match result.outcome {
                Some(Outcome::Node(node)) if node.id == self.id() => {
                    *self.disk.lock() = vec![self.incarnation];
                    view.wait_for_version(result.version, Duration::from_secs(10)).await?;
                    return Ok(());
                }
                Some(Outcome::Rejection(rejection)) => refused = rejection.message,
                other => bail!("meta gave node {} another identity: {other:?}", self.name),
            }
        }
        bail!("meta refused this node: {refused}");
    }

    async fn try_register(&self, meta: &dyn MetaClient, previous_incarnation: u64) -> Result<v1::CommandResult> {
        let roles: &[&str] = match self.role {
            Role::Meta => &["meta"],
            Role::Ingester => &["ingester"],
            Role::Front => &["distributor", "querier"],
        };
        let node = v1::Node {
            id: self.id(),
            name: self.name.clone(),
            address: address(&self.name),
            zone: self.zone.clone(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            state: v1::NodeState::Active.into(),
            incarnation: self.incarnation,
            // Meta knows.
            drain: false,
        };
        let register = Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation });
        loop {
            match meta.execute(v1::Command { kind: Some(register.clone()) }).await {
                Ok(result) => return Ok(result),
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Says that the node lives; ends, with the reason, where another process has its identity.
    pub async fn live(self, meta: Arc<dyn MetaClient>, view: Arc<ClusterView>) -> anyhow::Error {
        loop {
            let asked = seam::now();
            match meta.heartbeat(self.id(), self.incarnation).await {
                Ok(v1::HeartbeatResponse { known: true, version }) => view.expect(version, asked),
                Ok(v1::HeartbeatResponse { known: false, .. }) => {
                    if let Err(error) = self.register(&*meta, &view).await {
                        return error;
                    }
                }
                Err(_) => {}
            }
            seam::sleep(HEARTBEAT).await;
        }
    }
}

/// Waits for a copy of the catalog that is as new as meta's leader has it.
pub async fn wait_for_catalog(meta: &dyn MetaClient, view: &ClusterView, node: u64) {
    loop {
        if let Ok(leader) = meta.heartbeat(node, 0).await
            && view.wait_for_version(leader.version, Duration::from_secs(5)).await.is_ok()
        {
            return;
        }
    }
}
