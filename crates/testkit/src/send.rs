//! Sending OTLP over HTTP, and what became of it.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;

use crate::generate::{Batch, Signal};

/// What the server said to a batch.
#[derive(Debug)]
pub enum Outcome {
    /// All of it is durable.
    Acked,
    /// It was refused, in whole or in part.
    Refused(String),
    /// The connection failed: it may be there or not.
    Unknown(String),
}

/// An OTLP/HTTP client.
#[derive(Clone)]
pub struct Sender {
    http: reqwest::Client,
    base: String,
}

impl Sender {
    /// Sends to `base`, a URL without a path.
    pub fn new(base: String) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build();
        Sender { http: http.unwrap_or_default(), base }
    }

    /// Sends a batch once.
    pub async fn send(&self, batch: &Batch) -> Outcome {
        let request = self
            .http
            .post(format!("{}{}", self.base, batch.signal.path()))
            .header("content-type", "application/x-protobuf")
            .body(batch.body.clone());
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Outcome::Unknown(format!("{error:?}")),
        };
        let status = answer.status();
        match answer.bytes().await {
            Err(error) => Outcome::Unknown(format!("{error:?}")),
            Ok(body) if status.is_success() => match rejected(batch.signal, &body) {
                Ok((0, _)) => Outcome::Acked,
                Ok((count, message)) => Outcome::Refused(format!("{count} rejected: {message}")),
                Err(error) => Outcome::Refused(format!("an answer that is no OTLP: {error}")),
            },
            Ok(body) => Outcome::Refused(format!("{status}: {}", String::from_utf8_lossy(&body))),
        }
    }
}

/// The count and the message of an answer's `partial_success`.
pub fn rejected(signal: Signal, body: &[u8]) -> Result<(i64, String), prost::DecodeError> {
    Ok(match signal {
        Signal::Logs => ExportLogsServiceResponse::decode(body)?
            .partial_success
            .map_or_else(Default::default, |p| (p.rejected_log_records, p.error_message)),
        Signal::Metrics => ExportMetricsServiceResponse::decode(body)?
            .partial_success
            .map_or_else(Default::default, |p| (p.rejected_data_points, p.error_message)),
        Signal::Traces => ExportTraceServiceResponse::decode(body)?
            .partial_success
            .map_or_else(Default::default, |p| (p.rejected_spans, p.error_message)),
    })
}
