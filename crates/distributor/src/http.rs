//! OTLP over HTTP: `POST /v1/{logs,metrics,traces}`, and the paths that Grafana's products use. What else is
//! written over HTTP is served beside it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bonghwa_model::{Signal, TenantError, TenantId, TenantSet};
use bonghwa_protocol::RpcErrorKind;
use bonghwa_wire::Format;
use bonghwa_wire::compress::Encoding;
use bonghwa_wire::response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::body::BodyError;
use crate::metrics;
use crate::receive::{Message, Outcome, ReceiveError, Receiver, Request};
use crate::remote_write;

/// The routes: `/v1/...`, `/otlp/v1/...`, and Mimir's `/api/v1/otlp/v1/metrics`; those of remote write.
pub fn router(receiver: Arc<Receiver>) -> Router {
    let mut router = Router::new();
    for signal in Signal::ALL {
        let handler = move |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: axum::body::Body| async move {
            export(&receiver, signal, headers, body).await
        };
        router =
            router.route(&format!("/v1/{signal}"), post(handler)).route(&format!("/otlp/v1/{signal}"), post(handler));
        if signal == Signal::Metrics {
            router = router.route("/api/v1/otlp/v1/metrics", post(handler));
        }
    }
    router.with_state(receiver.clone()).merge(remote_write::router(receiver))
}

/// The tenant that a caller names.
pub(crate) fn tenant(headers: &HeaderMap) -> Result<TenantId, TenantError> {
    match headers.get("x-scope-orgid") {
        None => Ok(TenantId::default_tenant()),
        Some(value) => TenantSet::parse(&String::from_utf8_lossy(value.as_bytes()))?.only().cloned(),
    }
}

/// The name that a caller gives the request (`Idempotency-Key`).
pub(crate) fn request_key(headers: &HeaderMap) -> Option<Bytes> {
    headers.get("idempotency-key").map(|key| Bytes::copy_from_slice(key.as_bytes()))
}

/// The answer to a request that is refused before it is received, in the format of its answers.
pub fn refuse(headers: &HeaderMap, status: StatusCode, message: &str) -> Response {
    if remote_write::is_sender(headers) {
        return remote_write::failure(status, None, message);
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    failure(Format::parse(content_type).unwrap_or(Format::Protobuf), status, None, message)
}

async fn export(receiver: &Receiver, signal: Signal, headers: HeaderMap, body: axum::body::Body) -> Response {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let format = Format::parse(text(header::CONTENT_TYPE));
    // An answer to a body of no known format is protobuf, OTLP's default.
    let answer_format = format.as_ref().copied().unwrap_or(Format::Protobuf);
    let answer = async {
        let tenant = tenant(&headers).map_err(|e| (StatusCode::BAD_REQUEST, None, e.to_string()))?;
        let format = format.map_err(|e| describe(&ReceiveError::Wire(e)))?;
        let encoding = Encoding::parse(text(header::CONTENT_ENCODING)).map_err(|e| describe(&ReceiveError::Wire(e)))?;
        let content_length = text(header::CONTENT_LENGTH).parse().ok();
        let key = request_key(&headers);
        let message = Message::Otlp(format);
        let request = Request { signal, tenant, message, encoding, body, content_length, framed: false, key };
        receiver.receive(request).await.map_err(|e| describe(&e))
    };
    let response = match answer.await {
        Ok(outcome) => success(signal, answer_format, &outcome),
        Err((status, retry_after, message)) => failure(answer_format, status, retry_after, &message),
    };
    metrics::REQUESTS.with_label_values(&[signal.as_str(), "http", response.status().as_str()]).inc();
    response
}

/// Status, Retry-After and sentence of an error, as OTLP/HTTP's section on failures has them.
pub(crate) fn describe(error: &ReceiveError) -> (StatusCode, Option<Duration>, String) {
    let again = Some(Duration::from_secs(1));
    let (status, retry_after) = match error {
        ReceiveError::Body(BodyError::TooLarge { .. }) => (StatusCode::PAYLOAD_TOO_LARGE, None),
        ReceiveError::Body(BodyError::Overloaded) => (StatusCode::SERVICE_UNAVAILABLE, again),
        ReceiveError::Body(BodyError::Slow(_)) => (StatusCode::REQUEST_TIMEOUT, None),
        ReceiveError::Body(BodyError::Broken(_)) | ReceiveError::Empty | ReceiveError::Frame(_) => {
            (StatusCode::BAD_REQUEST, None)
        }
        ReceiveError::Wire(wire) => (StatusCode::from_u16(wire.status()).unwrap_or(StatusCode::BAD_REQUEST), None),
        ReceiveError::Limited(limited) => (StatusCode::TOO_MANY_REQUESTS, Some(limited.retry_after)),
        ReceiveError::NoPartition(_) | ReceiveError::Election(_) => (StatusCode::SERVICE_UNAVAILABLE, again),
        ReceiveError::Append(rpc) => match &rpc.kind {
            RpcErrorKind::Overloaded { retry_after } => (StatusCode::SERVICE_UNAVAILABLE, retry_after.or(again)),
            RpcErrorKind::Invalid => (StatusCode::BAD_REQUEST, None),
            RpcErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None),
            _ => (StatusCode::SERVICE_UNAVAILABLE, again),
        },
    };
    (status, retry_after, error.to_string())
}

fn success(signal: Signal, format: Format, outcome: &Outcome) -> Response {
    let body = response::export(signal, format, outcome.rejected, &outcome.message);
    let mut response = Response::new(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    response
}

fn failure(format: Format, status: StatusCode, retry_after: Option<Duration>, message: &str) -> Response {
    let mut response = Response::new(response::status(format, rpc_code(status), message, retry_after).into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    if let Some(after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    response
}

/// The `google.rpc.Status` code inside the body of a failed request.
fn rpc_code(status: StatusCode) -> u8 {
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::PAYLOAD_TOO_LARGE => 8,
        StatusCode::UNAUTHORIZED => 16,
        StatusCode::FORBIDDEN => 7,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => 12,
        StatusCode::INTERNAL_SERVER_ERROR => 13,
        StatusCode::SERVICE_UNAVAILABLE => 14,
        _ => 3,
    }
}
