//! Remote write from the same process: what a scraper of it writes.

use std::time::Duration;

use bonghwa_model::{Signal, TenantId};
use bonghwa_wire::compress::Encoding;
use bonghwa_wire::remote_write::Version;
use bytes::Bytes;

use crate::http::describe;
use crate::metrics;
use crate::receive::{Message, Outcome, Receiver, Request};

/// What became of a message that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples that were not stored, and are not to be given again.
    pub lost: u64,
    /// Why.
    pub message: String,
    /// Whether that are all of them, because another replica is the elected one.
    pub passed_over: bool,
}

impl From<Outcome> for Taken {
    fn from(outcome: Outcome) -> Self {
        match outcome.passed_over {
            None => Taken { lost: outcome.rejected, message: outcome.message, passed_over: false },
            Some(message) => {
                let lost = outcome.written.samples + outcome.written.histograms;
                Taken { lost, message, passed_over: true }
            }
        }
    }
}

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
    /// Takes an uncompressed `io.prometheus.write.v2.Request`. When this returns `Ok`, all but the lost samples, which
    /// are counted and explained, are durable and readable. The key names the message: another one under a key that
    /// was given before is not stored.
    pub async fn write(&self, tenant: &TenantId, message: Bytes, key: Bytes) -> Result<Taken, WriteError> {
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
        received.map(Taken::from).map_err(|(status, after, message)| WriteError {
            retry: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
            after,
            message,
        })
    }
}

#[cfg(test)]
mod tests {
    use bonghwa_wire::remote_write::Written;

    use super::*;

    #[test]
    fn what_another_replica_sends_counts_as_lost() {
        let written = Written { samples: 3, histograms: 1, ..Default::default() };
        let outcome = Outcome { written, rejected: 2, message: "too old".into(), ..Default::default() };
        assert_eq!(Taken::from(outcome), Taken { lost: 2, message: "too old".into(), passed_over: false });
        let outcome = Outcome { written, passed_over: Some("b is elected".into()), ..Default::default() };
        assert_eq!(Taken::from(outcome), Taken { lost: 4, message: "b is elected".into(), passed_over: true });
    }
}
