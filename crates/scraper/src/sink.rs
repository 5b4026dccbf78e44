//! Where scrapes are written.

use std::time::Duration;

use async_trait::async_trait;
use bonghwa_model::TenantId;
use bytes::Bytes;

/// Takes messages of remote write.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Takes an uncompressed `io.prometheus.write.v2.Request`. When this returns `Ok`, all but what was rejected is
    /// durable and readable. A key names one message: whatever is given under a key that was given before is taken for
    /// the same message, and stored once.
    async fn write(&self, tenant: &TenantId, message: Bytes, key: Bytes) -> Result<Rejected, SinkError>;
}

/// What of a message was not stored, and is not to be given again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// How many samples.
    pub count: u64,
    /// Why.
    pub message: String,
    /// Whether that is the whole message, because another replica's samples are taken.
    pub passed_over: bool,
}

/// Why a message was not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// Whether it may be taken when it is given again.
    pub retry: bool,
    /// How long to wait until then.
    pub after: Option<Duration>,
    /// What went wrong.
    pub message: String,
}
