//! Several meta nodes as one: finds the leader for commands and any that lives for watches.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::{MetaClient, RemoteMeta, RemoteOptions, RpcError, RpcErrorKind, v1};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;

use crate::{Backoff, seam};

/// A meta node and its HOST:PORT.
type MetaNode = (String, Arc<dyn MetaClient>);

/// The meta nodes of a cluster. Commands go to the leader; one that may have been
/// done is sent again only if doing it twice changes nothing.
pub struct MetaRouter {
    /// The node that answered last comes first.
    nodes: Mutex<Vec<MetaNode>>,
    /// The address of the one in this process.
    local: Option<String>,
    remotes: Option<Remotes>,
    patience: Duration,
}

/// How nodes are found that are not known from the start.
struct Remotes {
    seeds: Vec<String>,
    options: RemoteOptions,
}

impl MetaRouter {
    /// Over clients of meta nodes and their HOST:PORT; one may be the local node.
    pub fn new(nodes: Vec<(String, Arc<dyn MetaClient>)>) -> Self {
        MetaRouter { nodes: Mutex::new(nodes), local: None, remotes: None, patience: Duration::from_secs(10) }
    }

    /// Over gRPC to these HOST:PORT; a name of several addresses stands for as many nodes. Names
    /// are looked up again whenever no node answers, and a leader that another node names is
    /// reached where it is said to be. Needs a Tokio runtime.
    pub fn connect(seeds: &[String], options: RemoteOptions) -> Result<Self, RpcError> {
        let router =
            MetaRouter { remotes: Some(Remotes { seeds: seeds.to_vec(), options }), ..MetaRouter::new(Vec::new()) };
        for seed in seeds {
            router.learn(seed)?;
        }
        Ok(router)
    }

    /// How long a command looks for a leader before it fails; 10 s unless set.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// With the node of this process at its address, so that no socket lies before it.
    pub fn with_local(mut self, address: &str, node: Arc<dyn MetaClient>) -> Self {
        let nodes = self.nodes.get_mut();
        nodes.retain(|(known, _)| known != address);
        nodes.insert(0, (address.to_owned(), node));
        self.local = Some(address.to_owned());
        self
    }

    /// Adds a node that is not known yet, where that can be.
    fn learn(&self, address: &str) -> Result<(), RpcError> {
        let Some(remotes) = &self.remotes else { return Ok(()) };
        let mut nodes = self.nodes.lock();
        if nodes.iter().all(|(known, _)| known != address) {
            let client = RemoteMeta::connect(address, remotes.options.clone())?;
            nodes.push((address.to_owned(), Arc::new(client)));
        }
        Ok(())
    }

    /// Looks the seeds up: nodes come and go under a name.
    async fn look_up(&self) {
        let Some(remotes) = &self.remotes else { return };
        let mut found: Vec<String> = Vec::new();
        for seed in &remotes.seeds {
            match tokio::net::lookup_host(seed.as_str()).await.map(Iterator::collect::<Vec<_>>) {
                Ok(addresses) if addresses.len() > 1 => found.extend(addresses.iter().map(ToString::to_string)),
                // One address: under its name, which a certificate may bear.
                Ok(_) | Err(_) => found.push(seed.clone()),
            }
        }
        self.nodes.lock().retain(|(known, _)| found.contains(known) || self.local.as_ref() == Some(known));
        for address in &found {
            if let Err(error) = self.learn(address) {
                tracing::warn!(address, %error, "a meta node cannot be reached");
            }
        }
    }

    fn prefer(&self, address: &str) {
        let mut nodes = self.nodes.lock();
        if let Some(at) = nodes.iter().position(|(known, _)| known == address) {
            nodes.swap(0, at);
        }
    }

    /// Calls the nodes until one answers as the leader.
    async fn route<T>(
        &self,
        repeatable: bool,
        call: impl Fn(Arc<dyn MetaClient>) -> BoxFuture<'static, Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        let deadline = seam::now() + self.patience;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        let mut last = no_nodes();
        loop {
            let mut queue = self.nodes.lock().clone();
            queue.reverse();
            let mut left = 2 * queue.len().max(1);
            while let Some((address, node)) = queue.pop().filter(|_| left > 0) {
                left -= 1;
                match call(node).await {
                    Ok(answer) => {
                        self.prefer(&address);
                        return Ok(answer);
                    }
                    Err(error) if error.is_retryable() && (repeatable || error.had_no_effect()) => {
                        if let RpcErrorKind::NotLeader { leader: Some(leader) } = &error.kind
                            && *leader != address
                            && self.learn(leader).is_ok()
                            && let Some(next) = self.nodes.lock().iter().find(|(known, _)| known == leader)
                        {
                            queue.retain(|(other, _)| other != leader);
                            queue.push(next.clone());
                        }
                        last = error;
                    }
                    Err(error) => return Err(error),
                }
            }
            let delay = backoff.next_delay();
            if seam::now() + delay >= deadline {
                return Err(last);
            }
            seam::sleep(delay).await;
            self.look_up().await;
        }
    }
}

fn no_nodes() -> RpcError {
    RpcError::unavailable("no meta node is known: name at least one with --join")
}

/// Whether doing the command twice does what doing it once does.
fn is_repeatable(command: &v1::Command) -> bool {
    match &command.kind {
        Some(
            Kind::RegisterNode(_)
            | Kind::ActivatePartition(_)
            | Kind::SealPartition(_)
            | Kind::RemovePartition(_)
            | Kind::CommitFlush(_)
            | Kind::SetNodeState(_)
            | Kind::SetNodeDrain(_)
            | Kind::RemoveNode(_)
            | Kind::AcquireLease(_)
            | Kind::ReleaseLease(_)
            | Kind::CommitCompaction(_)
            | Kind::CreateDelete(_)
            | Kind::RemoveDelete(_)
            | Kind::CollectGarbage(_)
            | Kind::SetTenantLimits(_)
            | Kind::ElectReplica(_),
        ) => true,
        Some(Kind::CreatePartition(_) | Kind::RestoreCatalog(_)) | None => false,
    }
}

#[async_trait]
impl MetaClient for MetaRouter {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        let repeatable = is_repeatable(&command);
        self.route(repeatable, |node| {
            let command = command.clone();
            Box::pin(async move { node.execute(command).await })
        })
        .await
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        self.route(true, |meta| Box::pin(async move { meta.heartbeat(node, incarnation).await })).await
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        let mut last = no_nodes();
        let nodes = self.nodes.lock().clone();
        for (_, node) in nodes {
            match node.watch(from_version).await {
                Ok(events) => return Ok(events),
                Err(error) => last = error,
            }
        }
        self.look_up().await;
        Err(last)
    }
}
