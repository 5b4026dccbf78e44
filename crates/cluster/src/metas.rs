//! Several meta nodes as one: finds the leader for commands and any that lives for watches.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::{MetaClient, RemoteMeta, RemoteOptions, RpcError, RpcErrorKind, v1};
use futures::stream::BoxStream;

use crate::{Backoff, seam};

/// The meta nodes of a cluster. Commands go to the leader; one that may have been
/// done is sent again only if doing it twice changes nothing.
pub struct MetaRouter {
    nodes: Vec<(String, Arc<dyn MetaClient>)>,
    /// Index of the node that answered last.
    preferred: AtomicUsize,
    patience: Duration,
}

impl MetaRouter {
    /// Over clients of meta nodes and their HOST:PORT; one may be the local node.
    pub fn new(nodes: Vec<(String, Arc<dyn MetaClient>)>) -> Self {
        MetaRouter { nodes, preferred: AtomicUsize::new(0), patience: Duration::from_secs(10) }
    }

    /// Over gRPC to these HOST:PORT. Needs a Tokio runtime.
    pub fn connect(addresses: &[String], options: RemoteOptions) -> Result<Self, RpcError> {
        let connect = |address: &String| -> Result<(String, Arc<dyn MetaClient>), RpcError> {
            Ok((address.clone(), Arc::new(RemoteMeta::connect(address, options)?)))
        };
        Ok(Self::new(addresses.iter().map(connect).collect::<Result<_, _>>()?))
    }

    /// How long a command looks for a leader before it fails; 10 s unless set.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The nodes, the preferred one first.
    fn order(&self) -> Vec<usize> {
        let preferred = self.preferred.load(Ordering::Relaxed);
        let count = self.nodes.len();
        (0..count).map(|i| (preferred + i) % count).collect()
    }
}

fn no_nodes() -> RpcError {
    RpcError::unavailable("no meta node is known: name at least one with --join")
}

/// Whether doing the command twice does what doing it once does.
fn is_repeatable(command: &v1::Command) -> bool {
    match &command.kind {
        Some(Kind::RegisterNode(_) | Kind::SealPartition(_) | Kind::RemovePartition(_) | Kind::CommitFlush(_)) => true,
        Some(Kind::CreatePartition(_) | Kind::RestoreCatalog(_)) | None => false,
    }
}

#[async_trait]
impl MetaClient for MetaRouter {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        let deadline = seam::now() + self.patience;
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
        let repeatable = is_repeatable(&command);
        let mut last = no_nodes();
        loop {
            let mut queue = self.order();
            queue.reverse();
            let mut left = 2 * self.nodes.len();
            while let Some(at) = queue.pop().filter(|_| left > 0) {
                left -= 1;
                match self.nodes[at].1.execute(command.clone()).await {
                    Ok(result) => {
                        self.preferred.store(at, Ordering::Relaxed);
                        return Ok(result);
                    }
                    Err(error) if error.is_retryable() && (repeatable || error.had_no_effect()) => {
                        if let RpcErrorKind::NotLeader { leader: Some(address) } = &error.kind
                            && let Some(leader) = self.nodes.iter().position(|(known, _)| known == address)
                            && leader != at
                        {
                            queue.retain(|other| *other != leader);
                            queue.push(leader);
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
        }
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        let mut last = no_nodes();
        for at in self.order() {
            match self.nodes[at].1.watch(from_version).await {
                Ok(events) => return Ok(events),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
