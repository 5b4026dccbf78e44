//! The traits over gRPC, as the callee sees them.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::TenantId;
use futures::StreamExt;
use futures::stream::BoxStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use crate::v1::ingester_server::{Ingester, IngesterServer as IngesterStub};
use crate::v1::meta_server::{Meta, MetaServer as MetaStub};
use crate::v1::service_graph_server::{ServiceGraph, ServiceGraphServer as GraphStub};
use crate::{BatchId, EncodedBatch, GraphClient, IngesterClient, MAX_MESSAGE_BYTES, MetaClient, RpcError, ipc, v1};

/// A gRPC server with the windows and probes that suit Bonghwa's calls; services
/// are added to it.
pub fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        .initial_stream_window_size(4 * 1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        // With frames of the default 16 KiB a message of the log wakes its reader dozens of times.
        .max_frame_size(Some(256 * 1024))
}

/// Serves an ingester.
pub struct IngesterServer {
    ingester: Arc<dyn IngesterClient>,
}

impl IngesterServer {
    /// The tonic service for this ingester, to be added to a [`server`].
    pub fn service(ingester: Arc<dyn IngesterClient>) -> IngesterStub<Self> {
        IngesterStub::new(IngesterServer { ingester })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl Ingester for IngesterServer {
    type TailStream = BoxStream<'static, Result<v1::TailChunk, Status>>;

    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendResponse>, Status> {
        let request = request.into_inner();
        let tenant = TenantId::new(&request.tenant).map_err(|e| RpcError::invalid(e.to_string()))?;
        let id = BatchId::from_bytes(&request.id);
        let batch = EncodedBatch { id, ..EncodedBatch::from_bytes(request.batch) };
        let position = self.ingester.append(&request.partition, &tenant, batch).await?;
        Ok(Response::new(v1::AppendResponse { position }))
    }

    async fn describe_tail(
        &self,
        request: Request<v1::DescribeTailRequest>,
    ) -> Result<Response<v1::DescribeTailResponse>, Status> {
        Ok(Response::new(self.ingester.describe_tail(request.into_inner()).await?))
    }

    async fn tail(&self, request: Request<v1::TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        let batches = self.ingester.tail(request.into_inner()).await?;
        Ok(Response::new(ipc::encode(batches).map(|chunk| chunk.map_err(Status::from)).boxed()))
    }

    async fn flush(&self, _: Request<v1::FlushRequest>) -> Result<Response<v1::FlushResponse>, Status> {
        Ok(Response::new(v1::FlushResponse { blocks: self.ingester.flush().await? }))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(v1::StatusResponse { partitions: self.ingester.status().await? }))
    }
}

/// Serves meta.
pub struct MetaServer {
    meta: Arc<dyn MetaClient>,
}

impl MetaServer {
    /// The tonic service for this meta node, to be added to a [`server`].
    pub fn service(meta: Arc<dyn MetaClient>) -> MetaStub<Self> {
        MetaStub::new(MetaServer { meta })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl Meta for MetaServer {
    type WatchStream = BoxStream<'static, Result<v1::Event, Status>>;

    async fn execute(&self, request: Request<v1::Command>) -> Result<Response<v1::CommandResult>, Status> {
        Ok(Response::new(self.meta.execute(request.into_inner()).await?))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let v1::HeartbeatRequest { node, incarnation } = request.into_inner();
        Ok(Response::new(self.meta.heartbeat(node, incarnation).await?))
    }

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let events = self.meta.watch(request.into_inner().from_version).await?;
        Ok(Response::new(events.map(|event| event.map_err(Status::from)).boxed()))
    }
}

/// Serves a distributor that pairs spans.
pub struct GraphServer {
    graph: Arc<dyn GraphClient>,
}

impl GraphServer {
    /// The tonic service for this distributor, to be added to a [`server`].
    pub fn service(graph: Arc<dyn GraphClient>) -> GraphStub<Self> {
        GraphStub::new(GraphServer { graph })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl ServiceGraph for GraphServer {
    async fn pair(&self, request: Request<v1::PairRequest>) -> Result<Response<v1::PairResponse>, Status> {
        self.graph.pair(request.into_inner()).await?;
        Ok(Response::new(v1::PairResponse {}))
    }
}
