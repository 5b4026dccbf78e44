//! Small implementations of the traits, and a loopback server before them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use async_trait::async_trait;
use bonghwa_model::TenantId;
use bonghwa_protocol::{
    EncodedBatch, IngesterClient, IngesterServer, MetaClient, MetaServer, RemoteIngester, RemoteMeta, RemoteOptions,
    RpcError, RpcErrorKind, server, v1,
};
use futures::stream::BoxStream;
use futures::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;

/// One entry of a log: its tenant and its bytes.
type Entry = (String, EncodedBatch);

/// Logs in memory. "logs-0001" can be written, the others fail each in its way.
#[derive(Default)]
pub struct MemoryIngester {
    log: Mutex<Vec<Entry>>,
    /// Positions up to here are gone.
    trimmed: u64,
}

impl MemoryIngester {
    pub fn trimmed(trimmed: u64) -> Self {
        MemoryIngester { log: Mutex::default(), trimmed }
    }

    fn check(&self, partition: &str) -> Result<(), RpcError> {
        let kind = match partition {
            "logs-0001" => return Ok(()),
            "logs-0002" => RpcErrorKind::Overloaded { retry_after: Some(Duration::from_millis(250)) },
            "logs-0003" => RpcErrorKind::NotLeader { leader: Some("10.0.0.2:7801".into()) },
            "logs-0004" => RpcErrorKind::NotLeader { leader: None },
            "logs-0005" => RpcErrorKind::Internal,
            _ => RpcErrorKind::NotFound,
        };
        Err(RpcError::new(kind, format!("partition is {partition:?} (봉화): name another")))
    }

    fn rows(&self, tenant: &str, watermark: u64, through: u64) -> Vec<i64> {
        let log = self.log.lock();
        let entries = (1..).zip(log.iter()).filter(|(p, (t, _))| t == tenant && *p > watermark && *p <= through);
        entries.map(|(position, _)| position as i64).collect()
    }
}

#[async_trait]
impl IngesterClient for MemoryIngester {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        self.check(partition)?;
        let mut log = self.log.lock();
        log.push((tenant.as_str().to_owned(), batch));
        Ok(log.len() as u64)
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        self.check(&request.partition)?;
        if request.watermark < self.trimmed {
            let message = format!("watermark is {}, the log starts at {}", request.watermark, self.trimmed);
            return Err(RpcError::new(RpcErrorKind::StaleWatermark, message));
        }
        let through = self.log.lock().len() as u64;
        let items = self.rows(&request.tenant, request.watermark, through).len() as u64;
        let rows = (items > 0).then(|| v1::TenantRows { tenant: request.tenant, items, ..Default::default() });
        Ok(v1::DescribeTailResponse { through, rows })
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        self.check(&request.partition)?;
        let batches: Vec<Result<RecordBatch, RpcError>> = self
            .rows(&request.tenant, request.watermark, request.through)
            .into_iter()
            .map(|row| {
                Ok(RecordBatch::try_from_iter([("row", Arc::new(Int64Array::from(vec![row])) as ArrayRef)]).unwrap())
            })
            .collect();
        // A service of this name breaks the stream after its rows.
        let broken = request.services == ["broken"];
        let end = broken.then(|| Err(RpcError::new(RpcErrorKind::StaleWatermark, "flushed meanwhile")));
        Ok(stream::iter(batches).chain(stream::iter(end)).boxed())
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        Ok(vec!["logs/a.parquet".into(), "logs/b.parquet".into()])
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        Ok(vec![v1::PartitionStatus { partition: "logs-0001".into(), leads: true, ..Default::default() }])
    }
}

/// A meta whose every command makes one node's version.
pub struct MemoryMeta {
    nodes: Mutex<BTreeMap<u64, v1::Node>>,
    version: watch::Sender<u64>,
}

impl Default for MemoryMeta {
    fn default() -> Self {
        MemoryMeta { nodes: Mutex::default(), version: watch::Sender::new(0) }
    }
}

#[async_trait]
impl MetaClient for MemoryMeta {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        use v1::command_result::Outcome;
        let Some(v1::command::Kind::RegisterNode(v1::RegisterNode { node: Some(mut node), .. })) = command.kind else {
            let rejection = v1::Rejection { reason: 2, message: "from is 3".into(), watermark: 7 };
            return Ok(v1::CommandResult {
                version: *self.version.borrow(),
                outcome: Some(Outcome::Rejection(rejection)),
            });
        };
        if node.name == "wrong" {
            return Err(RpcError::new(RpcErrorKind::NotLeader { leader: Some("meta-1:7801".into()) }, "not here"));
        }
        let version = *self.version.borrow() + 1;
        node.id = version;
        self.nodes.lock().insert(version, node.clone());
        self.version.send_replace(version);
        Ok(v1::CommandResult { version, outcome: Some(Outcome::Node(node)) })
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        let known = self.nodes.lock().get(&node).is_some_and(|n| n.incarnation == incarnation);
        Ok(v1::HeartbeatResponse { known, version: *self.version.borrow() })
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        if from_version > 1_000 {
            return Err(RpcError::unavailable("behind"));
        }
        let nodes: Vec<v1::Node> = self.nodes.lock().values().cloned().collect();
        let change = |node: v1::Node| v1::Event {
            version: node.id,
            kind: Some(v1::event::Kind::Change(v1::Change { nodes: vec![node], ..Default::default() })),
        };
        let known: Vec<v1::Event> = nodes.into_iter().filter(|n| n.id > from_version).map(change).collect();
        Ok(stream::iter(known).map(Ok).chain(stream::pending()).boxed())
    }
}

/// Serves on a free port of loopback until the test's runtime ends.
pub async fn serve(ingester: Arc<dyn IngesterClient>, meta: Arc<dyn MetaClient>) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server().add_service(IngesterServer::service(ingester)).add_service(MetaServer::service(meta));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// An ingester behind gRPC.
pub async fn remote_ingester(ingester: MemoryIngester) -> RemoteIngester {
    let address = serve(Arc::new(ingester), Arc::new(MemoryMeta::default())).await;
    RemoteIngester::connect(&address.to_string(), RemoteOptions::default()).unwrap()
}

/// A meta behind gRPC.
pub async fn remote_meta() -> RemoteMeta {
    let address = serve(Arc::new(MemoryIngester::default()), Arc::new(MemoryMeta::default())).await;
    RemoteMeta::connect(&address.to_string(), RemoteOptions::default()).unwrap()
}
