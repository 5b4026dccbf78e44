//! One export request, whatever protocol it came by: admitted, decoded, split, appended.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam::Instant;
use bonghwa_cluster::{Catalog, ClusterView, Directory, seam};
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId, TenantLabels};
use bonghwa_protocol::v1::TenantRates;
use bonghwa_protocol::{BatchId, EncodedBatch, MetaClient, RpcError, RpcErrorKind};
use bonghwa_ring::ShardWidthOptions;
use bonghwa_wire::compress::{Encoding, decompress};
use bonghwa_wire::remote_write::{self, Received, Version, Written};
use bonghwa_wire::{DecodeOptions, Decoded, Format, WireError, heartbeat, span_metrics};
use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::Semaphore;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::active::ActiveSeries;
use crate::body::{BodyError, Inflight};
use crate::counting::Counting;
use crate::limits::{self, Limited, Limits};
use crate::metadata::Described;
use crate::replicas::{self, ReplicaOptions, Replicas};
use crate::route::{Part, Router};
use crate::service_graph::{ServiceGraph, ServiceGraphOptions};
use crate::{CountingOptions, TenantLimits, metrics};

/// Configuration of the distributor.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of a request body as sent.
    pub max_body_bytes: usize,
    /// Bytes of a request body after decompression.
    pub max_decompressed_bytes: usize,
    /// Bytes of all request bodies that are in memory at once.
    pub max_inflight_bytes: usize,
    /// How long a body may take to arrive, and a tenth of it each of its parts.
    pub body_timeout: Duration,
    /// How long an append may take, tries after a failover included.
    pub append_timeout: Duration,
    /// What tenants may send, and how many partitions take it.
    pub limits: TenantLimits,
    /// When a service spreads over more partitions.
    pub widths: ShardWidthOptions,
    /// What a record may look like.
    pub decode: DecodeOptions,
    /// How old a record may be.
    pub max_age: MaxAge,
    /// How one of several Prometheus servers that scrape the same is told and elected.
    pub replicas: ReplicaOptions,
    /// Instances that push metrics by OTLP get heartbeats, `up`, where the newest point is not older than this. None:
    /// there are none.
    pub heartbeats: Option<Duration>,
    /// How spans are counted. None: they are not.
    pub span_metrics: Option<CountingOptions>,
    /// How requests between services are. None: they are not.
    pub service_graph: Option<ServiceGraphOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_body_bytes: 16 << 20,
            max_decompressed_bytes: 64 << 20,
            max_inflight_bytes: 256 << 20,
            body_timeout: Duration::from_secs(100),
            append_timeout: Duration::from_secs(10),
            limits: TenantLimits::default(),
            widths: ShardWidthOptions::default(),
            decode: DecodeOptions::default(),
            max_age: MaxAge::default(),
            replicas: ReplicaOptions::default(),
            heartbeats: Some(Duration::from_secs(3600)),
            span_metrics: None,
            service_graph: None,
        }
    }
}

/// How old a record of a tenant and signal may be when it comes, nanoseconds: compaction would drop it, as it is past
/// its retention. None: any age.
#[derive(Clone)]
pub struct MaxAge(Arc<AgeOf>);

type AgeOf = dyn Fn(&TenantId, Signal) -> Option<i64> + Send + Sync;

impl MaxAge {
    /// By this function.
    pub fn new(of: impl Fn(&TenantId, Signal) -> Option<i64> + Send + Sync + 'static) -> Self {
        MaxAge(Arc::new(of))
    }
}

impl Default for MaxAge {
    fn default() -> Self {
        MaxAge::new(|_, _| None)
    }
}

impl fmt::Debug for MaxAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MaxAge")
    }
}

/// A request on its way in.
pub(crate) struct Request {
    pub signal: Signal,
    pub tenant: TenantId,
    pub message: Message,
    pub encoding: Encoding,
    pub body: axum::body::Body,
    pub content_length: Option<u64>,
    /// gRPC frames the message inside the body.
    pub framed: bool,
    /// What the caller names the request by, so that it is stored once however often it is sent.
    /// Without one, the same bytes are the same request.
    pub key: Option<Bytes>,
}

/// What a body holds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Message {
    /// An export request of the signal.
    Otlp(Format),
    /// Prometheus' metrics.
    RemoteWrite(Version),
}

impl Message {
    /// Decodes a request; only remote write has metadata, and counts what it wrote.
    fn decode(self, signal: Signal, bytes: &[u8], options: &DecodeOptions) -> Result<Received, WireError> {
        match self {
            Message::Otlp(format) => {
                let decoded = bonghwa_wire::decode_as(format, signal, bytes, options)?;
                Ok(Received { decoded, written: Written::default(), metadata: Vec::new(), replica: None })
            }
            Message::RemoteWrite(version) => remote_write::decode(version, bytes, options),
        }
    }
}

/// What was accepted, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub rejected: u64,
    pub message: String,
    /// What remote write took.
    pub written: Written,
    /// Nothing was stored, because another replica of the sender is the elected one: a sentence.
    pub passed_over: Option<String>,
}

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{}", .0.message)]
    Limited(Limited),
    #[error(
        "the body is empty: send a message of remote write compressed with snappy, or see whether a proxy drops bodies"
    )]
    Empty,
    #[error("{0}")]
    Frame(String),
    #[error("no partition takes {0} now: the ring has no active one")]
    NoPartition(Signal),
    #[error(transparent)]
    Append(RpcError),
    #[error("whether the samples of this replica are to be taken cannot be decided now ({0}): send them again")]
    Election(RpcError),
}

/// Receives for one node.
pub struct Receiver {
    pub(crate) options: Options,
    pub(crate) inflight: Inflight,
    /// Large bodies are unpacked a few at a time: what they unpack to is known only afterwards.
    large: Semaphore,
    pub(crate) labels: TenantLabels,
    limits: Limits,
    active: ActiveSeries,
    replicas: Replicas,
    pub(crate) described: Described,
    pub(crate) span_metrics: Option<Counting<span_metrics::Counts>>,
    pub(crate) service_graph: Option<ServiceGraph>,
    router: Router,
    pub(crate) view: Arc<ClusterView>,
    directory: Arc<dyn Directory>,
}

impl Receiver {
    /// A receiver that finds partitions in `view` and their leaders in `directory`.
    pub fn new(
        options: Options,
        meta: Arc<dyn MetaClient>,
        view: Arc<ClusterView>,
        directory: Arc<dyn Directory>,
    ) -> Arc<Self> {
        Arc::new(Receiver {
            inflight: Inflight::new(options.max_inflight_bytes),
            large: Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)),
            labels: TenantLabels::default(),
            limits: Limits::new(options.limits.clone()),
            active: ActiveSeries::default(),
            replicas: Replicas::new(options.replicas.failover_after, meta, view.clone()),
            described: Described::default(),
            span_metrics: options.span_metrics.clone().map(Counting::new),
            service_graph: options.service_graph.clone().map(ServiceGraph::new),
            router: Router::new(options.widths, seam::now()),
            options,
            view,
            directory,
        })
    }

    /// Takes a request. When this returns `Ok`, all but the rejected records are durable and readable.
    pub(crate) async fn receive(&self, request: Request) -> Result<Outcome, ReceiveError> {
        let (signal, tenant, key) = (request.signal, request.tenant, request.key);
        let mut held = self.inflight.hold();
        let limit = self.options.max_body_bytes;
        let body = crate::body::read(request.body, request.content_length, limit, self.options.body_timeout, &mut held)
            .await?;
        let (message, compressed) = if request.framed { crate::grpc::unframe(&body)? } else { (&body[..], true) };
        let encoding = if compressed { request.encoding } else { Encoding::Identity };
        // A message of remote write has bytes even where it has no series: compressed, it begins with its length.
        if message.is_empty() && matches!(request.message, Message::RemoteWrite(_)) {
            return Err(ReceiveError::Empty);
        }
        // Large bodies would keep other requests of this worker waiting; a compressed one may become so.
        let large = message.len() > if encoding == Encoding::Identity { 256 << 10 } else { 32 << 10 };
        let rates = self.rates(&tenant);
        let mut decode = || {
            let message = decompress(encoding, message, self.options.max_decompressed_bytes)?;
            if !held.grow(message.len()) {
                return Err(ReceiveError::Body(BodyError::Overloaded));
            }
            if !Limits::counts_items(signal) {
                self.admit(&tenant, signal, message.len())?;
            }
            metrics::RECEIVED_BYTES
                .with_label_values(&[&self.labels.of(&tenant), signal.as_str()])
                .inc_by(message.len() as u64);
            let replicas = rates.accept_ha_samples.then(|| self.options.replicas.labels.clone());
            let (now_ns, max_age_ns) = (seam::unix_nanos(), (self.options.max_age.0)(&tenant, signal));
            let labels = limits::of_labels(&rates, self.options.decode.labels);
            let options = DecodeOptions { now_ns, max_age_ns, replicas, labels, ..self.options.decode.clone() };
            let name = request_name(&tenant, signal, key.as_deref().unwrap_or(&message));
            let mut received = request.message.decode(signal, &message, &options)?;
            received.metadata.retain(|metadata| self.described.is_new(&tenant, metadata, seam::now()));
            Ok((name, received))
        };
        let (name, received) = if large {
            // The semaphore is never closed.
            let _turn = self.large.acquire().await;
            seam::in_place(decode)?
        } else {
            decode()?
        };
        let Received { mut decoded, mut written, metadata, replica } = received;
        if let Some(replica) = replica {
            let elected = self.replicas.elected(&tenant, &replica).await.map_err(|error| match error.kind {
                RpcErrorKind::Invalid => ReceiveError::Append(error),
                _ => ReceiveError::Election(error),
            })?;
            if elected != replica.name {
                let rows = decoded.batch.rows() as u64;
                metrics::DEDUPLICATED.with_label_values(&[&self.labels.of(&tenant)]).inc_by(rows);
                let passed_over = Some(replicas::passed_over(&replica, &elected));
                return Ok(Outcome { written, passed_over, ..Default::default() });
            }
        }
        if Limits::counts_items(signal) {
            self.admit(&tenant, signal, decoded.batch.rows() + metadata.len())?;
        }
        self.active.keep(&tenant, rates.metrics_active_series, &mut decoded, &mut written, seam::now());
        let heartbeats = self.options.heartbeats.filter(|_| matches!(request.message, Message::Otlp(_)));
        let outcome = self.accept(&tenant, name, decoded, heartbeats).await?;
        if !metadata.is_empty() {
            // A request of its own: whether metadata is new must not change what the samples are called. The
            // same bytes say it anew an hour later.
            let arrival = seam::unix_nanos();
            let name = xxh3_128_with_seed(&name.to_le_bytes(), Described::period(arrival));
            self.append(&tenant, name, remote_write::metadata_batch(&metadata, arrival)).await?;
            self.described.remember(&tenant, &metadata, seam::now());
        }
        Ok(Outcome { written, ..outcome })
    }

    /// The limits that hold for a tenant now.
    fn rates(&self, tenant: &TenantId) -> TenantRates {
        *self.limits.of(tenant, self.view.current().tenant_limits(tenant))
    }

    fn admit(&self, tenant: &TenantId, signal: Signal, cost: usize) -> Result<(), ReceiveError> {
        let catalog = self.view.current();
        let given = catalog.tenant_limits(tenant);
        self.limits.admit(tenant, given, signal, cost as f64, seam::now()).map_err(ReceiveError::Limited)
    }

    /// Counts and appends what was decoded, and heartbeats of who sent points that are not older than this.
    async fn accept(
        &self,
        tenant: &TenantId,
        name: u128,
        mut decoded: Decoded,
        heartbeats: Option<Duration>,
    ) -> Result<Outcome, ReceiveError> {
        let signal = decoded.batch.signal();
        for rejection in &decoded.reasons {
            let reason = rejection.reason.as_str();
            metrics::DISCARDED
                .with_label_values(&[&self.labels.of(tenant), signal.as_str(), reason])
                .inc_by(rejection.count);
        }
        let outcome = Outcome { rejected: decoded.rejected, message: decoded.message(), ..Default::default() };
        let rows = decoded.batch.rows() as u64;
        if rows > 0 {
            if let Some(max_age) = heartbeats {
                // Nobody sent them: they count for no limit, and change no part's name.
                let max_age = i64::try_from(max_age.as_nanos()).unwrap_or(i64::MAX);
                heartbeat::add(&mut decoded.batch, seam::unix_nanos(), max_age);
            }
            let uncounted = self.uncounted(&decoded.batch);
            self.append(tenant, name, decoded.batch).await?;
            self.count_spans(tenant, uncounted);
            metrics::RECEIVED_ITEMS.with_label_values(&[&self.labels.of(tenant), signal.as_str()]).inc_by(rows);
        }
        Ok(outcome)
    }

    /// Appends all parts of a batch. One whose partition was sealed on the way goes to where the
    /// newer ring has it.
    pub(crate) async fn append(&self, tenant: &TenantId, name: u128, batch: Batch) -> Result<(), ReceiveError> {
        let deadline = seam::now() + self.options.append_timeout;
        let signal = batch.signal();
        let mut left = vec![(name, batch)];
        loop {
            let catalog = self.view.current();
            let shard = self.limits.of(tenant, catalog.tenant_limits(tenant)).shuffle_shard as usize;
            let mut appends = Vec::new();
            for (name, batch) in left {
                let parts = self.router.split(&catalog, tenant, shard, batch, seam::now());
                let parts = parts.ok_or(ReceiveError::NoPartition(signal))?;
                appends.extend(parts.into_iter().map(|part| self.append_part(tenant, name, part, deadline)));
            }
            // All are waited for: a part that is cut off may be stored.
            let results = join_all(appends).await;
            left = Vec::new();
            let mut failed = None;
            for result in results {
                match result {
                    Ok(()) => {}
                    Err((name, batch, error)) if wants_newer_ring(&error) => {
                        left.push((name, batch));
                        failed = failed.or(Some((true, error)));
                    }
                    Err((_, _, error)) => failed = Some((false, error)),
                }
            }
            match failed {
                None => return Ok(()),
                Some((true, error)) => {
                    let left = deadline.saturating_duration_since(seam::now());
                    let newer = |newer: &Catalog| newer.version() > catalog.version();
                    self.view.wait_for(left, newer).await.map_err(|_| ReceiveError::Append(error))?;
                }
                Some((false, error)) => return Err(ReceiveError::Append(error)),
            }
        }
    }

    /// Sends a part to its partition's leader, under a name that follows from the request's: the
    /// directory's client repeats what has no answer, and the partition stores it once. A part that
    /// was not stored is given back.
    async fn append_part(
        &self,
        tenant: &TenantId,
        request: u128,
        part: Part,
        deadline: Instant,
    ) -> Result<(), (u128, Batch, RpcError)> {
        let name = part_name(request, &part);
        let batch = Arc::new(part.batch);
        let encoded = EncodedBatch::new(batch.clone()).named(BatchId::new(name));
        let append = async {
            let leader = self.directory.leader_of(&part.partition)?;
            leader.append(&part.partition, tenant, encoded).await
        };
        let result = match seam::timeout(deadline.saturating_duration_since(seam::now()), append).await {
            Ok(result) => result,
            Err(_) => {
                let waited = self.options.append_timeout;
                let message = format!("partition {} did not ack within {waited:?}; it may still", part.partition);
                Err(RpcError::timeout(message))
            }
        };
        result.map(drop).map_err(|error| (name, Arc::unwrap_or_clone(batch), error))
    }
}

/// Whether the partition is off the ring, or will be: the part is not in it.
fn wants_newer_ring(error: &RpcError) -> bool {
    matches!(error.kind, RpcErrorKind::Sealed | RpcErrorKind::NotFound)
}

/// The name of a request. A caller that lost the answer sends the same bytes again.
fn request_name(tenant: &TenantId, signal: Signal, key: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(tenant.as_str().as_bytes());
    hasher.update(&[0, signal as u8]);
    hasher.update(key);
    hasher.digest128()
}

/// The name of a part: what is to be stored of the request, and where. Another ring or width cuts a
/// request into other parts, which must not pass for these.
fn part_name(request: u128, part: &Part) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&request.to_le_bytes());
    hasher.update(&part.rows.to_le_bytes());
    hasher.update(part.partition.as_bytes());
    hasher.digest128()
}
