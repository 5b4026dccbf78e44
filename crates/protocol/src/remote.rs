//! The traits over gRPC, as the caller sees them. One client talks to one address
//! and never repeats a call: finding leaders and retrying is `cluster`'s.

use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_model::TenantId;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::v1::ingester_client::IngesterClient as IngesterStub;
use crate::v1::meta_client::MetaClient as MetaStub;
use crate::v1::service_graph_client::ServiceGraphClient as GraphStub;
use crate::{ClientTls, EncodedBatch, GraphClient, IngesterClient, MAX_MESSAGE_BYTES, MetaClient, RpcError, ipc, v1};

/// Window of one stream: what may be under way unread.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Window of a connection.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// How long a remote call may take.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// TLS towards other nodes; none: plain text.
    pub tls: Option<ClientTls>,
    /// Until a TCP connection stands.
    pub connect_timeout: Duration,
    /// Until an answer to `append`. Short, since a named batch can be sent again to
    /// whoever leads by then.
    pub append_timeout: Duration,
    /// Until an answer to `describe_tail` and the start of a tail.
    pub read_timeout: Duration,
    /// Until an answer to any other call and the start of any other stream. `flush`
    /// waits without limit: it is as slow as the object store.
    pub call_timeout: Duration,
    /// A connection without traffic is probed this often, and given up when the
    /// probe stays unanswered for as long: a dead peer shows itself within twice this.
    pub keep_alive: Duration,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        RemoteOptions {
            tls: None,
            connect_timeout: Duration::from_secs(1),
            append_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(2),
        }
    }
}

/// A channel to HOST:PORT that connects on first use and again after each loss.
/// Must be called inside a Tokio runtime.
pub fn connect(address: &str, options: &RemoteOptions) -> Result<Channel, RpcError> {
    Ok(endpoint(address, options)?.connect_lazy())
}

fn endpoint(address: &str, options: &RemoteOptions) -> Result<Endpoint, RpcError> {
    let wrong = |_| {
        RpcError::invalid(format!("address is {address:?}, which is not HOST:PORT: correct the node's --advertise"))
    };
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).map_err(wrong)?;
    if let Some(tls) = &options.tls {
        endpoint = endpoint.tls_config(tls.config()).map_err(|e| RpcError::invalid(format!("tls: {e}")))?;
    }
    Ok(endpoint
        .connect_timeout(options.connect_timeout)
        .http2_keep_alive_interval(options.keep_alive)
        .keep_alive_timeout(options.keep_alive)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW))
}

/// An ingester over gRPC.
#[derive(Clone, Debug)]
pub struct RemoteIngester {
    stub: IngesterStub<Channel>,
    options: RemoteOptions,
}

impl RemoteIngester {
    /// Over a channel made by [`connect`], or by a simulation.
    pub fn new(channel: Channel, options: RemoteOptions) -> Self {
        let stub = IngesterStub::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        RemoteIngester { stub, options }
    }

    /// The ingester at HOST:PORT.
    pub fn connect(address: &str, options: RemoteOptions) -> Result<Self, RpcError> {
        Ok(Self::new(connect(address, &options)?, options))
    }
}

/// The transport would cut the connection over a message that is too large, and
/// with it all other calls on their way.
fn check_size(what: &str, bytes: usize) -> Result<(), RpcError> {
    // What surrounds the payload: names, tags and lengths.
    const ROOM: usize = 4096;
    if bytes > MAX_MESSAGE_BYTES - ROOM {
        let most = MAX_MESSAGE_BYTES - ROOM;
        return Err(RpcError::invalid(format!("{what} has {bytes} bytes: a message takes at most {most}, split it")));
    }
    Ok(())
}

fn timed<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

#[async_trait]
impl IngesterClient for RemoteIngester {
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError> {
        check_size("batch", batch.bytes.len())?;
        let id = batch.id.map_or_else(Default::default, |id| Bytes::copy_from_slice(&id.to_bytes()));
        let request =
            v1::AppendRequest { partition: partition.into(), tenant: tenant.as_str().into(), batch: batch.bytes, id };
        let answer = self.stub.clone().append(timed(request, self.options.append_timeout)).await?;
        Ok(answer.into_inner().position)
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        let answer = self.stub.clone().describe_tail(timed(request, self.options.read_timeout)).await?;
        Ok(answer.into_inner())
    }

    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        let answer = self.stub.clone().tail(timed(request, self.options.read_timeout)).await?;
        Ok(ipc::decode(answer.into_inner().map(|chunk| chunk.map_err(RpcError::from))))
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        let answer = self.stub.clone().flush(v1::FlushRequest {}).await?;
        Ok(answer.into_inner().blocks)
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        let answer = self.stub.clone().status(timed(v1::StatusRequest {}, self.options.read_timeout)).await?;
        Ok(answer.into_inner().partitions)
    }
}

/// One meta node over gRPC.
#[derive(Clone, Debug)]
pub struct RemoteMeta {
    stub: MetaStub<Channel>,
    options: RemoteOptions,
}

impl RemoteMeta {
    /// Over a channel made by [`connect`], or by a simulation.
    pub fn new(channel: Channel, options: RemoteOptions) -> Self {
        let stub = MetaStub::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        RemoteMeta { stub, options }
    }

    /// The meta node at HOST:PORT.
    pub fn connect(address: &str, options: RemoteOptions) -> Result<Self, RpcError> {
        Ok(Self::new(connect(address, &options)?, options))
    }
}

#[async_trait]
impl MetaClient for RemoteMeta {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        check_size("command", command.encoded_len())?;
        let answer = self.stub.clone().execute(timed(command, self.options.call_timeout)).await?;
        Ok(answer.into_inner())
    }

    async fn heartbeat(&self, node: u64, incarnation: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        let request = timed(v1::HeartbeatRequest { node, incarnation }, self.options.call_timeout);
        Ok(self.stub.clone().heartbeat(request).await?.into_inner())
    }

    async fn watch(&self, from_version: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        let request = timed(v1::WatchRequest { from_version }, self.options.call_timeout);
        let answer = self.stub.clone().watch(request).await?;
        Ok(answer.into_inner().map(|event| event.map_err(RpcError::from)).boxed())
    }
}

/// A distributor that pairs spans, over gRPC.
#[derive(Clone, Debug)]
pub struct RemoteGraph {
    stub: GraphStub<Channel>,
    options: RemoteOptions,
}

impl RemoteGraph {
    /// The distributor at HOST:PORT.
    pub fn connect(address: &str, options: RemoteOptions) -> Result<Self, RpcError> {
        let stub = GraphStub::new(connect(address, &options)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(RemoteGraph { stub, options })
    }
}

#[async_trait]
impl GraphClient for RemoteGraph {
    async fn pair(&self, request: v1::PairRequest) -> Result<(), RpcError> {
        check_size("sides of requests", request.encoded_len())?;
        self.stub.clone().pair(timed(request, self.options.call_timeout)).await?;
        Ok(())
    }
}
