//! Prometheus' remote write, 1.0 and 2.0: `POST /api/v1/write`, and Mimir's `/api/v1/push`.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bonghwa_model::Signal;
use bonghwa_wire::WireError;
use bonghwa_wire::compress::Encoding;
use bonghwa_wire::remote_write::{Version, Written};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::http::{describe, request_key, tenant};
use crate::metrics;
use crate::receive::{Message, Outcome, ReceiveError, Receiver, Request};

/// The header by which a sender names the version of the protocol.
const VERSION: &str = "x-prometheus-remote-write-version";

/// The routes, with and without Mimir's prefix.
pub(crate) fn router(receiver: Arc<Receiver>) -> Router {
    let mut router = Router::new();
    for prefix in ["", "/prometheus"] {
        for path in ["write", "push"] {
            router = router.route(&format!("{prefix}/api/v1/{path}"), post(handle));
        }
    }
    router.with_state(receiver)
}

async fn handle(State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body) -> Response {
    let response = write(&receiver, &headers, body).await;
    let status = response.status();
    metrics::REQUESTS.with_label_values(&[Signal::Metrics.as_str(), "remote_write", status.as_str()]).inc();
    response
}

/// Whether these are the headers of a remote write sender.
pub(crate) fn is_sender(headers: &HeaderMap) -> bool {
    headers.contains_key(VERSION)
}

async fn write(receiver: &Receiver, headers: &HeaderMap, body: Body) -> Response {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wire = |error: WireError| describe(&ReceiveError::Wire(error));
    // The message decides, not the version's header: it is what has to be decoded.
    let version = Version::parse(text(header::CONTENT_TYPE));
    let answer = async {
        let tenant = tenant(headers).map_err(|e| (StatusCode::BAD_REQUEST, None, e.to_string()))?;
        let version = version.as_ref().map_err(|e| wire(e.clone()))?;
        let encoding = match text(header::CONTENT_ENCODING).trim() {
            // What both versions of the protocol ask for.
            "" => Encoding::Snappy,
            name => Encoding::parse(name).map_err(wire)?,
        };
        let request = Request {
            signal: Signal::Metrics,
            tenant,
            message: Message::RemoteWrite(*version),
            encoding,
            body,
            content_length: text(header::CONTENT_LENGTH).parse().ok(),
            framed: false,
            key: request_key(headers),
        };
        receiver.receive(request).await.map_err(|e| describe(&e))
    };
    let (mut response, written) = match answer.await {
        Ok(outcome) => (success(&outcome), outcome.written),
        Err((status, retry_after, message)) => (failure(status, retry_after, &message), Written::default()),
    };
    if version == Ok(Version::V2) {
        let counts = [
            ("x-prometheus-remote-write-samples-written", written.samples),
            ("x-prometheus-remote-write-histograms-written", written.histograms),
            ("x-prometheus-remote-write-exemplars-written", written.exemplars),
        ];
        for (name, count) in counts {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(count));
        }
    }
    response
}

/// 204; 202 where another replica's samples are taken; or 400 where something was rejected: the rest is stored, and must not be sent again.
fn success(outcome: &Outcome) -> Response {
    if let Some(why) = &outcome.passed_over {
        return (StatusCode::ACCEPTED, format!("{why}\n")).into_response();
    }
    if outcome.rejected == 0 {
        return StatusCode::NO_CONTENT.into_response();
    }
    failure(StatusCode::BAD_REQUEST, None, &outcome.message)
}

/// A refusal; senders log the first line.
pub(crate) fn failure(status: StatusCode, retry_after: Option<Duration>, message: &str) -> Response {
    let mut response = (status, format!("{message}\n")).into_response();
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}
