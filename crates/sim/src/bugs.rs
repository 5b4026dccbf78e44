//! Faults planted into the product, to see that the oracles find them. Each stands between the
//! simulation and a role; the roles' own code knows nothing of it.

use std::str::FromStr;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_model::TenantId;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{EncodedBatch, IngesterClient, MetaClient, RpcError, v1};
use bonghwa_seam as seam;
use futures::stream::BoxStream;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::objects::SimStore;

/// Which fault is planted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// The product as it is.
    #[default]
    None,
    /// An ingester acks a batch when it has it in memory, and appends it afterwards.
    AckBeforeQuorum,
    /// A flush is committed a second time, under another name and for the next positions.
    FlushTwice,
    /// A flush is committed although its object is not in the store.
    CommitWithoutObject,
    /// A disk says that it has synced, and has not.
    LyingDisk,
}

impl Bug {
    /// All faults.
    pub const ALL: [(&'static str, Bug); 4] = [
        ("ack-before-quorum", Bug::AckBeforeQuorum),
        ("flush-twice", Bug::FlushTwice),
        ("commit-without-object", Bug::CommitWithoutObject),
        ("lying-disk", Bug::LyingDisk),
    ];

    /// Its name on the command line; empty for none.
    pub fn name(self) -> &'static str {
        Bug::ALL.iter().find(|(_, bug)| *bug == self).map_or("", |(name, _)| name)
    }

    pub(crate) fn in_ingester(self, ingester: Arc<dyn IngesterClient>) -> Arc<dyn IngesterClient> {
        match self {
            Bug::AckBeforeQuorum => Arc::new(Hasty(ingester)),
            _ => ingester,
        }
    }

    pub(crate) fn in_meta_client(self, meta: Arc<dyn MetaClient>, objects: &Arc<SimStore>) -> Arc<dyn MetaClient> {
        match self {
            Bug::FlushTwice | Bug::CommitWithoutObject => {
                Arc::new(Forgetful { meta, objects: objects.clone(), bug: self })
            }
            _ => meta,
        }
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Bug::ALL.iter().find(|(known, _)| *known == name);
        let names = || Bug::ALL.map(|(known, _)| known).join(", ");
        known.map(|(_, bug)| *bug).ok_or_else(|| format!("bug is {name:?}, which is none: choose of {}", names()))
    }
}

/// Acks before it appends.
struct Hasty(Arc<dyn IngesterClient>);

#[async_trait]
impl IngesterClient for Hasty {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        let (ingester, partition, tenant) = (self.0.clone(), partition.to_owned(), tenant.clone());
        seam::spawn(async move { ingester.append(&partition, &tenant, batch).await }).detach();
        Ok(1)
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        self.0.describe_tail(request).await
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        self.0.tail(request).await
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        self.0.flush().await
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        self.0.status().await
    }
}

/// Does not remember that it committed, or forgets to upload.
struct Forgetful {
    meta: Arc<dyn MetaClient>,
    objects: Arc<SimStore>,
    bug: Bug,
}

impl Forgetful {
    /// Commits the blocks of a flush again, as those of the position after it.
    async fn commit_again(&self, mut commit: v1::CommitFlush) -> Result<(), RpcError> {
        for block in &mut commit.blocks {
            let copy = format!("{}-again.parquet", block.path.trim_end_matches(".parquet"));
            let (from, to) = (Path::from(block.path.as_str()), Path::from(copy.as_str()));
            self.objects.objects().copy(&from, &to).await.map_err(|e| RpcError::internal(e.to_string()))?;
            block.path = copy;
            (block.from, block.to) = (commit.to, commit.to + 1);
        }
        (commit.from, commit.to) = (commit.to, commit.to + 1);
        self.meta.execute(v1::Command { kind: Some(Kind::CommitFlush(commit)) }).await.map(drop)
    }
}

#[async_trait]
impl MetaClient for Forgetful {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        let result = self.meta.execute(command.clone()).await?;
        if let Some(Kind::CommitFlush(commit)) = command.kind
            && !matches!(result.outcome, Some(Outcome::Rejection(_)))
            && seam::random().is_multiple_of(8)
        {
            if self.bug == Bug::FlushTwice {
                self.commit_again(commit).await?;
            } else if let Some(block) = commit.blocks.first() {
                let deleted = self.objects.objects().delete(&Path::from(block.path.as_str())).await;
                deleted.map_err(|e| RpcError::internal(e.to_string()))?;
            }
        }
        Ok(result)
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        self.meta.heartbeat(node, incarnation).await
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        self.meta.watch(from_version).await
    }
}
