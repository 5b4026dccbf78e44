//! The product's client traits over the simulated network, with the time limits of the product's
//! gRPC clients.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_model::TenantId;
use bonghwa_protocol::{EncodedBatch, IngesterClient, MetaClient, RpcError, RpcErrorKind, v1};
use bonghwa_replog::{Error, NodeId, RpcKind, Transport, TransportError};
use bonghwa_seam as seam;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use crate::network::{CallError, Network, host_of};
use crate::roles::Servers;

/// Until an answer is given up; the product's default.
const CALL: Duration = Duration::from_secs(10);
/// Items of a stream on their way.
const WINDOW: usize = 16;

/// From one node to another.
#[derive(Clone)]
pub struct Wire {
    /// The wires.
    pub network: Arc<Network>,
    /// The caller's name.
    pub from: String,
    /// The callee's name.
    pub to: String,
}

impl Wire {
    /// To whoever is at an address.
    pub fn new(network: &Arc<Network>, from: &str, address: &str) -> Self {
        Wire { network: network.clone(), from: from.to_owned(), to: host_of(address).to_owned() }
    }

    async fn call<T, F, Fut>(&self, serve: F) -> Result<T, RpcError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Servers>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, RpcError>> + Send + 'static,
    {
        match self.network.call(&self.from, &self.to, serve).await {
            Ok(answer) => answer,
            Err(CallError::Unreachable) => {
                Err(RpcError::new(RpcErrorKind::Unreachable, format!("{} cannot be reached", self.to)))
            }
            Err(CallError::Broken) => Err(RpcError::unavailable(format!("the connection to {} broke", self.to))),
        }
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T, RpcError>>) -> Result<T, RpcError> {
        match seam::timeout(CALL, call).await {
            Ok(result) => result,
            Err(_) => Err(RpcError::timeout(format!("{} did not answer within {CALL:?}", self.to))),
        }
    }

    /// A stream whose items come in their order, each on a way of its own.
    async fn stream<T, F, Fut>(&self, open: F) -> Result<BoxStream<'static, Result<T, RpcError>>, RpcError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Servers>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<BoxStream<'static, Result<T, RpcError>>, RpcError>> + Send + 'static,
    {
        // `None` ends it; a process that dies just stops.
        let (items, arrived) = mpsc::channel::<Option<Result<T, RpcError>>>(WINDOW);
        self.limited(self.call(|servers| async move {
            let mut stream = open(servers).await?;
            seam::spawn(async move {
                while let Some(item) = stream.next().await {
                    if items.send(Some(item)).await.is_err() {
                        return;
                    }
                }
                // The reader may be gone.
                let _ = items.send(None).await;
            })
            .detach();
            Ok(())
        }))
        .await?;
        let start = (self.clone(), Some(arrived));
        Ok(Box::pin(futures::stream::unfold(start, |(wire, arrived)| async move {
            let mut arrived = arrived?;
            let next = arrived.recv().await;
            if matches!(next, Some(None)) {
                return None;
            }
            let through = wire.network.travel(&wire.to, &wire.from).await;
            match next.flatten() {
                Some(item) if through => Some((item, (wire, Some(arrived)))),
                _ => {
                    if !through {
                        seam::sleep(CALL).await;
                    }
                    let error = RpcError::unavailable(format!("the connection to {} broke", wire.to));
                    Some((Err(error), (wire, None)))
                }
            }
        })))
    }
}

/// An ingester over the network.
pub struct RemoteIngester(pub Wire);

fn no_role(role: &str) -> RpcError {
    RpcError::new(RpcErrorKind::Unreachable, format!("{role} is not served here, or not yet"))
}

fn ingester(servers: &Servers) -> Result<Arc<dyn IngesterClient>, RpcError> {
    servers.ingester().ok_or_else(|| no_role("ingester"))
}

fn meta(servers: &Servers) -> Result<Arc<dyn MetaClient>, RpcError> {
    servers.meta().ok_or_else(|| no_role("meta"))
}

#[async_trait]
impl IngesterClient for RemoteIngester {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        let (partition, tenant) = (partition.to_owned(), tenant.clone());
        // What it decodes to does not go through a socket.
        let batch = EncodedBatch { decoded: None, ..batch };
        let call = self.0.call(|servers| async move { ingester(&servers)?.append(&partition, &tenant, batch).await });
        self.0.limited(call).await
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        self.0.limited(self.0.call(|servers| async move { ingester(&servers)?.describe_tail(request).await })).await
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        self.0.stream(|servers| async move { ingester(&servers)?.tail(request).await }).await
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        self.0.call(|servers| async move { ingester(&servers)?.flush().await }).await
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        self.0.limited(self.0.call(|servers| async move { ingester(&servers)?.status().await })).await
    }
}

/// A meta node over the network.
pub struct RemoteMeta(pub Wire);

#[async_trait]
impl MetaClient for RemoteMeta {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        self.0.limited(self.0.call(|servers| async move { meta(&servers)?.execute(command).await })).await
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        let call = self.0.call(move |servers| async move { meta(&servers)?.heartbeat(node, incarnation).await });
        self.0.limited(call).await
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        self.0.stream(move |servers| async move { meta(&servers)?.watch(from_version).await }).await
    }
}

/// The replicated log's messages over the network.
pub struct LogWire {
    /// The wires.
    pub network: Arc<Network>,
    /// The node whose messages these are.
    pub from: String,
}

#[async_trait]
impl Transport for LogWire {
    async fn call(
        &self,
        target: NodeId,
        addr: &str,
        group: &str,
        kind: RpcKind,
        body: Bytes,
    ) -> Result<Bytes, TransportError> {
        let group = group.to_owned();
        let serve = move |servers: Arc<Servers>| async move {
            match servers.host() {
                Some(host) => host.handle_rpc(&group, kind, body).await,
                None => Err(Error::UnknownGroup { group }),
            }
        };
        match self.network.call(&self.from, host_of(addr), serve).await {
            Ok(answer) => answer.map_err(|e| TransportError::Refused { target, message: e.to_string() }),
            Err(error) => Err(TransportError::Unreachable {
                target,
                addr: addr.to_owned(),
                message: format!("the simulated network: {error:?}"),
            }),
        }
    }
}
