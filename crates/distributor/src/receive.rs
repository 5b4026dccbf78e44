//! One export request, whatever protocol it came by: admitted, decoded, split, appended.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::{ClusterView, Directory, seam};
use bonghwa_model::batch::Batch;
use bonghwa_model::{Signal, TenantId, codec};
use bonghwa_protocol::{EncodedBatch, RpcError};
use bonghwa_ring::ShardWidthOptions;
use bonghwa_wire::Format;
use bonghwa_wire::compress::{Encoding, decompress};
use bonghwa_wire::{DecodeOptions, Decoded, WireError};
use futures::future::join_all;
use tokio::sync::Semaphore;

use crate::body::{BodyError, Inflight};
use crate::limits::{Limited, Limits};
use crate::metrics::TenantLabels;
use crate::route::Router;
use crate::{TenantLimits, metrics};

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
    /// Rates per tenant.
    pub limits: TenantLimits,
    /// When a service spreads over more partitions.
    pub widths: ShardWidthOptions,
    /// What a record may look like.
    pub decode: DecodeOptions,
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
        }
    }
}

/// A request on its way in.
pub(crate) struct Request {
    pub signal: Signal,
    pub tenant: TenantId,
    pub format: Format,
    pub encoding: Encoding,
    pub body: axum::body::Body,
    pub content_length: Option<u64>,
    /// gRPC frames the message inside the body.
    pub framed: bool,
}

/// What was accepted, and what was not.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub rejected: u64,
    pub message: String,
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
    #[error("{0}")]
    Frame(String),
    #[error("no partition takes {0} now: the ring has no active one")]
    NoPartition(Signal),
    #[error(transparent)]
    Append(RpcError),
}

/// Receives for one node.
pub struct Receiver {
    pub(crate) options: Options,
    pub(crate) inflight: Inflight,
    /// Large bodies are unpacked a few at a time: what they unpack to is known only afterwards.
    large: Semaphore,
    labels: TenantLabels,
    limits: Limits,
    router: Router,
    view: Arc<ClusterView>,
    directory: Arc<dyn Directory>,
}

impl Receiver {
    /// A receiver that finds partitions in `view` and their leaders in `directory`.
    pub fn new(options: Options, view: Arc<ClusterView>, directory: Arc<dyn Directory>) -> Arc<Self> {
        Arc::new(Receiver {
            inflight: Inflight::new(options.max_inflight_bytes),
            large: Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)),
            labels: TenantLabels::default(),
            limits: Limits::new(options.limits.clone()),
            router: Router::new(options.widths, seam::now()),
            options,
            view,
            directory,
        })
    }

    /// Takes a request. When this returns `Ok`, all but the rejected records are durable and readable.
    pub(crate) async fn receive(&self, request: Request) -> Result<Outcome, ReceiveError> {
        let (signal, tenant) = (request.signal, request.tenant);
        let mut held = self.inflight.hold();
        let limit = self.options.max_body_bytes;
        let body = crate::body::read(request.body, request.content_length, limit, self.options.body_timeout, &mut held)
            .await?;
        let (message, compressed) = if request.framed { crate::grpc::unframe(&body)? } else { (&body[..], true) };
        let encoding = if compressed { request.encoding } else { Encoding::Identity };
        // Large bodies would keep other requests of this worker waiting; a compressed one may become so.
        let large = message.len() > if encoding == Encoding::Identity { 256 << 10 } else { 32 << 10 };
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
            let options = DecodeOptions { now_ns: seam::unix_nanos(), ..self.options.decode.clone() };
            let decoded = bonghwa_wire::decode_as(request.format, signal, &message, &options)?;
            if Limits::counts_items(signal) {
                self.admit(&tenant, signal, decoded.batch.rows())?;
            }
            Ok(decoded)
        };
        let decoded = if large {
            // The semaphore is never closed.
            let _turn = self.large.acquire().await;
            seam::in_place(decode)?
        } else {
            decode()?
        };
        self.accept(&tenant, decoded).await
    }

    fn admit(&self, tenant: &TenantId, signal: Signal, cost: usize) -> Result<(), ReceiveError> {
        self.limits.admit(tenant, signal, cost as f64, seam::now()).map_err(ReceiveError::Limited)
    }

    async fn accept(&self, tenant: &TenantId, decoded: Decoded) -> Result<Outcome, ReceiveError> {
        let signal = decoded.batch.signal();
        for rejection in &decoded.reasons {
            let reason = rejection.reason.as_str();
            metrics::DISCARDED
                .with_label_values(&[&self.labels.of(tenant), signal.as_str(), reason])
                .inc_by(rejection.count);
        }
        let outcome = Outcome { rejected: decoded.rejected, message: decoded.message() };
        let rows = decoded.batch.rows() as u64;
        if rows > 0 {
            self.append(tenant, decoded.batch).await?;
            metrics::RECEIVED_ITEMS.with_label_values(&[&self.labels.of(tenant), signal.as_str()]).inc_by(rows);
        }
        Ok(outcome)
    }

    async fn append(&self, tenant: &TenantId, batch: Batch) -> Result<(), ReceiveError> {
        let signal = batch.signal();
        let parts = self.router.split(&self.view.current(), tenant, batch, seam::now());
        let parts = parts.ok_or(ReceiveError::NoPartition(signal))?;
        let appends = parts.into_iter().map(|(partition, batch)| async move {
            let bytes = codec::encode(&batch).into();
            let encoded = EncodedBatch { bytes, decoded: Some(Arc::new(batch)) };
            self.append_part(tenant, &partition, encoded).await
        });
        // All are waited for: a part that is cut off may be stored, and sent again.
        let results = join_all(appends).await;
        results.into_iter().try_for_each(|part| part.map(drop)).map_err(ReceiveError::Append)
    }

    /// Sends to the partition's leader. The directory's client follows a leader that moved and
    /// repeats only what had no effect: anything else might write twice.
    async fn append_part(&self, tenant: &TenantId, partition: &str, batch: EncodedBatch) -> Result<u64, RpcError> {
        let leader = self.directory.leader_of(partition)?;
        let append = leader.append(partition, tenant, batch);
        match seam::timeout(self.options.append_timeout, append).await {
            Ok(result) => result,
            Err(_) => {
                let waited = self.options.append_timeout;
                Err(RpcError::timeout(format!("partition {partition} did not ack within {waited:?}; it may still")))
            }
        }
    }
}
