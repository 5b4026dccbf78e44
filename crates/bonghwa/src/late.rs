//! Roles that other nodes may call before this one has opened them: meta needs the wires that the
//! other roles are served on. Until then calls are told to come again.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bonghwa_model::TenantId;
use bonghwa_protocol::{EncodedBatch, GraphClient, IngesterClient, MetaClient, RpcError, v1};
use futures::stream::BoxStream;

/// A role that opens later, or never on this node.
pub struct Late<T: ?Sized>(OnceLock<Arc<T>>);

impl<T: ?Sized> Late<T> {
    /// Not open yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Late(OnceLock::new()))
    }

    /// Opens it, once.
    pub fn open(&self, role: Arc<T>) {
        // Each role is opened in one place.
        let _ = self.0.set(role);
    }

    fn get(&self) -> Result<&Arc<T>, RpcError> {
        self.0.get().ok_or_else(|| {
            // Unreachable: nothing was done, and another node may be asked.
            RpcError::new(
                bonghwa_protocol::RpcErrorKind::Unreachable,
                "this node is starting, or does not run this role",
            )
        })
    }
}

#[async_trait]
impl MetaClient for Late<dyn MetaClient> {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        self.get()?.execute(command).await
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        self.get()?.heartbeat(node, incarnation).await
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        self.get()?.watch(from_version).await
    }
}

#[async_trait]
impl IngesterClient for Late<dyn IngesterClient> {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        self.get()?.append(partition, tenant, batch).await
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        self.get()?.describe_tail(request).await
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<arrow_array::RecordBatch, RpcError>>, RpcError> {
        self.get()?.tail(request).await
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        self.get()?.flush().await
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        self.get()?.status().await
    }
}

#[async_trait]
impl GraphClient for Late<dyn GraphClient> {
    async fn pair(&self, request: v1::PairRequest) -> Result<(), RpcError> {
        self.get()?.pair(request).await
    }
}
