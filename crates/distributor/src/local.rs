//! Remote write from the same process: what a scraper of it writes.

use std::time::Duration;

use bonghwa_model::{Signal, TenantId};
use bonghwa_wire::compress::Encoding;
use bonghwa_wire::remote_write::Version;
use bytes::Bytes;

use crate::http::describe;
use crate::metrics;
use crate::receive::{Message, Receiver, Request};

/// Why a message was not taken.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct WriteError {
    /// Whether it may be taken when it is given again.
    pub retry: bool,
    /// How long to wait until then.
    pub after: Option<Duration>,
    /// What went wrong.
    pub message: String,
}

impl Receiver {
    /// Takes an uncompressed `io.prometheus.write.v2.Request`. When this returns `Ok`, all but the rejected samples,
    /// which are counted and explained, are durable and readable. A message under a key that was given before is
    /// stored once.
    pub async fn write(&self, tenant: &TenantId, message: Bytes, key: Bytes) -> Result<(u64, String), WriteError> {
        let request = Request {
            signal: Signal::Metrics,
            tenant: tenant.clone(),
            message: Message::RemoteWrite(Version::V2),
            encoding: Encoding::Identity,
            content_length: Some(message.len() as u64),
            body: message.into(),
            framed: false,
            key: Some(key),
        };
        let received = self.receive(request).await.map_err(|error| describe(&error));
        let status = received.as_ref().map_or_else(|(status, ..)| *status, |_| http::StatusCode::OK);
        metrics::REQUESTS.with_label_values(&[Signal::Metrics.as_str(), "scrape", status.as_str()]).inc();
        received.map(|outcome| (outcome.rejected, outcome.message)).map_err(|(status, after, message)| WriteError {
            retry: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
            after,
            message,
        })
    }
}
