//! What an ingester does for distributors and queriers.

use std::num::NonZeroU128;
use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_model::codec::{self, CodecError};
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::{RpcError, v1};

/// A batch on its way into a log: the bytes that are stored, and in one process
/// also what they decode to, so that it is not decoded again.
#[derive(Clone, Debug)]
pub struct EncodedBatch {
    /// `model::codec`'s encoding.
    pub bytes: Bytes,
    /// What `bytes` decode to. Lost where a socket lies between.
    pub decoded: Option<Arc<Batch>>,
    /// Names the batch, so that a partition stores it once however often it is sent.
    pub id: Option<BatchId>,
}

/// The name of a batch: whoever sends the same batch again gives it the same name. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(NonZeroU128);

impl BatchId {
    /// A name from a hash of what makes the batch what it is.
    pub fn new(hash: u128) -> Self {
        BatchId(NonZeroU128::new(hash).unwrap_or(NonZeroU128::MAX))
    }

    /// The name as it is stored and sent.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_le_bytes()
    }

    /// The name of 16 bytes; `None` for any other length and for zeros, which stand for no name.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 16] = bytes.try_into().ok()?;
        NonZeroU128::new(u128::from_le_bytes(bytes)).map(BatchId)
    }
}

impl EncodedBatch {
    /// Encodes a batch and keeps it beside its bytes.
    pub fn new(batch: Arc<Batch>) -> Self {
        EncodedBatch { bytes: codec::encode(&batch).into(), decoded: Some(batch), id: None }
    }

    /// A batch as it came from a socket or a log.
    pub fn from_bytes(bytes: Bytes) -> Self {
        EncodedBatch { bytes, decoded: None, id: None }
    }

    /// The same batch under a name.
    pub fn named(self, id: BatchId) -> Self {
        EncodedBatch { id: Some(id), ..self }
    }

    /// The batch, decoded if it has to be.
    pub fn batch(&self) -> Result<Arc<Batch>, CodecError> {
        match &self.decoded {
            Some(batch) => Ok(batch.clone()),
            None => codec::decode(&self.bytes).map(Arc::new),
        }
    }
}

/// An ingester, or whatever stands for it: the local one, a gRPC client, or a
/// client that finds the leader of a partition first.
#[async_trait]
pub trait IngesterClient: Send + Sync {
    /// Appends a batch to a partition's log; the position it got. Answers once the
    /// batch is fsynced on a quorum and visible to [`tail`](Self::tail). A batch with
    /// a [name](BatchId) that the partition has is not stored again: the answer is the
    /// position it has. Without a name, repeating it after an error that perhaps
    /// [had an effect](RpcError::had_no_effect) may store it twice.
    async fn append(&self, partition: &str, tenant: &TenantId, batch: EncodedBatch) -> Result<u64, RpcError>;

    /// What a tenant has beyond a watermark, and up to which position that is so.
    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError>;

    /// The rows of a described tail; columns as the request orders them, the same
    /// schema in every batch.
    async fn tail(
        &self,
        request: v1::TailRequest,
    ) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError>;

    /// Flushes every partition led there; the paths of the objects written, which
    /// are in the catalog by then.
    async fn flush(&self) -> Result<Vec<String>, RpcError>;

    /// The partitions that are open there.
    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError>;
}
