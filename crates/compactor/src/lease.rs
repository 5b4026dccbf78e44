//! Leases in meta: who does a job.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::{Catalog, ClusterView};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{MetaClient, v1};

use crate::CompactorError;

/// How long the copy of the catalog may take to follow meta.
const FOLLOW: Duration = Duration::from_secs(30);

/// What the compactor says to meta.
#[derive(Clone)]
pub(crate) struct Commands {
    pub meta: Arc<dyn MetaClient>,
    pub view: Arc<ClusterView>,
    /// This node's id.
    pub node: u64,
}

/// What a command led to, or why meta refused it.
pub(crate) fn unless_rejected(mut result: v1::CommandResult) -> Result<v1::CommandResult, v1::Rejection> {
    match result.outcome.take() {
        Some(Outcome::Rejection(rejection)) => Err(rejection),
        outcome => Ok(v1::CommandResult { outcome, ..result }),
    }
}

impl Commands {
    /// Runs a command. None in the answer where it was refused.
    pub async fn run(&self, kind: Kind) -> Result<Result<v1::CommandResult, v1::Rejection>, CompactorError> {
        Ok(unless_rejected(self.meta.execute(v1::Command { kind: Some(kind) }).await?))
    }

    /// Takes a lease. The catalog returned is not older than the moment at which it was
    /// taken; none if another node holds it.
    pub async fn acquire(&self, name: &str) -> Result<Option<Arc<Catalog>>, CompactorError> {
        let acquire = v1::AcquireLease { name: name.to_owned(), holder: self.node };
        match self.run(Kind::AcquireLease(acquire)).await? {
            Ok(result) => Ok(Some(self.view.wait_for_version(result.version, FOLLOW).await?)),
            Err(rejection) if rejection.reason() == v1::RejectionReason::Conflict => Ok(None),
            Err(rejection) => Err(CompactorError::Refused { command: "AcquireLease", message: rejection.message }),
        }
    }

    /// Gives a lease up. One that stays by a failure is this node's to take again.
    pub async fn release(&self, name: &str) {
        let release = v1::ReleaseLease { name: name.to_owned(), holder: self.node };
        if let Err(error) = self.run(Kind::ReleaseLease(release)).await {
            tracing::warn!(lease = name, %error, "a lease was not released");
        }
    }

    /// Waits until the copy of the catalog has what a command did.
    pub async fn follow(&self, version: u64) -> Result<Arc<Catalog>, CompactorError> {
        Ok(self.view.wait_for_version(version, FOLLOW).await?)
    }
}
