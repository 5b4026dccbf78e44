//! Being a member of the cluster: registering with meta, saying that the node lives, leaving.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bonghwa_cluster::{ClusterView, seam};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{MetaClient, RemoteOptions, RpcError, v1};

use crate::identity::Identity;
use crate::peer::identify;

/// How long a start looks for meta before it says that it still does.
const PATIENCE: Duration = Duration::from_secs(10);

/// How old a node's copy of the catalog may be before answers say so, where it asks meta this often.
pub fn stale_after(heartbeat: Duration) -> Duration {
    heartbeat * 3
}

/// What a node tells the cluster of itself.
#[derive(Clone)]
pub struct Member {
    /// Name and incarnation.
    pub identity: Identity,
    /// HOST:PORT of its gRPC.
    pub address: String,
    /// Its failure domain.
    pub zone: String,
    /// Its roles' names.
    pub roles: Vec<String>,
}

impl Member {
    /// What the node answers to whoever asks who it is.
    pub fn introduction(&self) -> v1::Identity {
        v1::Identity {
            id: self.identity.id,
            name: self.identity.name.clone(),
            zone: self.zone.clone(),
            roles: self.roles.clone(),
            incarnation: self.identity.incarnation,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Registers, as long as it takes to find a leader of meta. Refused where another process has
    /// this identity.
    pub async fn register(&self, meta: &dyn MetaClient, view: &ClusterView, options: &RemoteOptions) -> Result<()> {
        self.refuse_running_twin(view, options).await?;
        let mut previous = self.identity.previous.clone();
        if previous.is_empty() {
            previous.push(0);
        }
        let mut refused = String::new();
        for previous in previous {
            let outcome = self.try_register(meta, previous).await?;
            match outcome.outcome {
                Some(Outcome::Node(node)) if node.id == self.identity.id => {
                    view.wait_for_version(outcome.version, PATIENCE).await?;
                    return Ok(());
                }
                // The first refusal is of the incarnation on the disk: it says more than those after it.
                Some(Outcome::Rejection(rejection)) if refused.is_empty() => refused = rejection.message,
                Some(Outcome::Rejection(_)) => {}
                other => bail!("meta gave node {:?} another identity: {other:?}", self.identity.name),
            }
        }
        bail!("meta refused this node: {refused}");
    }

    async fn try_register(&self, meta: &dyn MetaClient, previous_incarnation: u64) -> Result<v1::CommandResult> {
        let node = v1::Node {
            id: self.identity.id,
            name: self.identity.name.clone(),
            address: self.address.clone(),
            zone: self.zone.clone(),
            roles: self.roles.clone(),
            state: v1::NodeState::Active.into(),
            incarnation: self.identity.incarnation,
            // Meta knows.
            drain: false,
        };
        let register = Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation });
        let command = v1::Command { kind: Some(register) };
        loop {
            match meta.execute(command.clone()).await {
                Ok(result) => return Ok(result),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "meta does not answer; this node waits to be registered");
                }
                Err(error) => return Err(error).context("registering with meta"),
            }
        }
    }

    /// A copy of a running node's disk knows its newest incarnation: only the node itself tells.
    async fn refuse_running_twin(&self, view: &ClusterView, options: &RemoteOptions) -> Result<()> {
        let catalog = view.current();
        let Some(known) = catalog.node(self.identity.id).filter(|n| n.address != self.address) else { return Ok(()) };
        match identify(&known.address, options).await {
            Ok(twin) if twin.id == self.identity.id => bail!(
                "node {:?} is running at {}: this data directory is a copy of its, or the name is taken; use \
                 another --node-name with an empty data directory",
                self.identity.name,
                known.address
            ),
            _ => Ok(()),
        }
    }

    /// Says that the node lives, until the task ends. Ends by itself, with the reason, where another
    /// process has taken the identity.
    pub async fn live(
        &self,
        meta: Arc<dyn MetaClient>,
        view: Arc<ClusterView>,
        options: RemoteOptions,
        every: Duration,
    ) -> anyhow::Error {
        let mut stale = false;
        loop {
            let asked = seam::now();
            match meta.heartbeat(self.identity.id, self.identity.incarnation).await {
                Ok(v1::HeartbeatResponse { known: true, version }) => view.expect(version, asked),
                // Given up while it was silent, or its place is taken.
                Ok(v1::HeartbeatResponse { known: false, .. }) => {
                    let again = Member {
                        identity: Identity { previous: vec![self.identity.incarnation], ..self.identity.clone() },
                        ..self.clone()
                    };
                    if let Err(error) = again.register(&*meta, &view, &options).await {
                        return error;
                    }
                }
                Err(error) => tracing::debug!(%error, "a heartbeat was not heard"),
            }
            let age = view.age();
            if stale != (age > stale_after(every)) {
                stale = !stale;
                match stale {
                    true => tracing::warn!(?age, "cut off from meta: this node's copy of the catalog may be old"),
                    false => tracing::info!("this node's copy of the catalog is as new as meta's again"),
                }
            }
            seam::sleep(every).await;
        }
    }
}

/// Asks meta to take a node off the rings, until it starts again; then waits until it keeps no partition.
pub async fn drain(meta: &dyn MetaClient, view: &ClusterView, node: u64, patience: Duration) -> Result<(), RpcError> {
    let drain = v1::SetNodeState { node, state: v1::NodeState::Draining.into(), from: 0 };
    let result = meta.execute(v1::Command { kind: Some(Kind::SetNodeState(drain)) }).await?;
    if let Some(Outcome::Rejection(rejection)) = result.outcome {
        return Err(RpcError::invalid(rejection.message));
    }
    let drained = |catalog: &bonghwa_cluster::Catalog| {
        catalog.version() >= result.version && catalog.all_partitions().all(|p| !p.replicas.contains(&node))
    };
    match view.wait_for(patience, drained).await {
        Ok(_) => Ok(()),
        Err(error) => Err(RpcError::timeout(error.to_string())),
    }
}

/// Asks the other meta nodes who they are, until all have answered: their names make the log's
/// members, and must be known to each before the first vote.
pub async fn identify_peers(addresses: &[String], options: &RemoteOptions) -> Vec<(u64, String)> {
    let ask = |address: String| async move {
        let mut tries = 0u32;
        loop {
            match identify(&address, options).await {
                Ok(identity) => return (identity.id, address),
                Err(error) => {
                    tries += 1;
                    if tries.is_multiple_of(20) {
                        tracing::warn!(address, %error, "waiting for a meta node to say who it is");
                    }
                    seam::sleep(Duration::from_millis(250)).await;
                }
            }
        }
    };
    futures::future::join_all(addresses.iter().cloned().map(ask)).await
}
