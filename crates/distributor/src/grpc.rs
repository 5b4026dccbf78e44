//! OTLP over gRPC: the three `Export` calls.
//!
//! A unary call is one length-prefixed message in a body, so this reads it like an
//! HTTP request: the message goes to the decoder as bytes, and the limits on
//! compressed and decompressed size are the same as for HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bonghwa_model::Signal;
use bonghwa_wire::Format;
use bonghwa_wire::compress::Encoding;
use bonghwa_wire::response;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt, StreamBody};

use crate::http::{describe, request_key, tenant};
use crate::metrics;
use crate::receive::{Message, Outcome, ReceiveError, Receiver, Request};

/// Bytes before a message: a flag and its length.
const PREFIX: usize = 5;

/// The routes of the collector's three services.
pub fn router(receiver: Arc<Receiver>) -> Router {
    let mut router = Router::new();
    for (signal, service) in [
        (Signal::Logs, "logs.v1.LogsService"),
        (Signal::Metrics, "metrics.v1.MetricsService"),
        (Signal::Traces, "trace.v1.TraceService"),
    ] {
        let handler = move |State(receiver): State<Arc<Receiver>>, headers: HeaderMap, body: Body| async move {
            export(&receiver, signal, headers, body).await
        };
        router = router.route(&format!("/opentelemetry.proto.collector.{service}/Export"), post(handler));
    }
    router.fallback(unimplemented).with_state(receiver)
}

async fn unimplemented(uri: http::Uri) -> Response {
    refuse(StatusCode::NOT_FOUND, &not_served(uri.path()))
}

/// What the caller of a path that is not served here is told.
pub fn not_served(path: &str) -> String {
    format!("{path} is not served here: this port takes OTLP's Export calls for logs, metrics and traces")
}

/// The answer to a call that is refused before it is received.
pub fn refuse(status: StatusCode, message: &str) -> Response {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        _ => Code::InvalidArgument,
    };
    failure(code, None, message)
}

/// The message of a unary body, and whether it is compressed.
pub(crate) fn unframe(body: &Bytes) -> Result<(&[u8], bool), ReceiveError> {
    let error = |what: String| Err(ReceiveError::Frame(format!("the gRPC message {what}")));
    let Some((prefix, message)) = body.split_first_chunk::<PREFIX>() else {
        return error(format!("has {} bytes where its 5-byte prefix should be", body.len()));
    };
    let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if message.len() != len {
        return error(format!("has {} bytes, its prefix says {len}: Export takes exactly one message", message.len()));
    }
    match prefix[0] {
        0 => Ok((message, false)),
        1 => Ok((message, true)),
        flag => error(format!("has the compression flag {flag}: 0 or 1 is allowed")),
    }
}

/// gRPC status codes that are answered here.
#[derive(Clone, Copy)]
enum Code {
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// OTLP's mapping: what may be retried is `RESOURCE_EXHAUSTED` with RetryInfo, or `UNAVAILABLE`.
fn code(error: &ReceiveError, status: StatusCode) -> Code {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        // Without RetryInfo: a client must not send the same bytes again.
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::UNSUPPORTED_MEDIA_TYPE if matches!(error, ReceiveError::Wire(_)) => Code::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::InvalidArgument,
    }
}

async fn export(receiver: &Receiver, signal: Signal, headers: HeaderMap, body: Body) -> Response {
    let answer = async {
        let tenant = tenant(&headers).map_err(|e| (Code::InvalidArgument, None, e.to_string()))?;
        let encoding = headers.get("grpc-encoding").and_then(|v| v.to_str().ok()).unwrap_or_default();
        let encoding = Encoding::parse(encoding).map_err(|e| (Code::Unimplemented, None, e.to_string()))?;
        let (message, key) = (Message::Otlp(Format::Protobuf), request_key(&headers));
        let request = Request { signal, tenant, message, encoding, body, content_length: None, framed: true, key };
        receiver.receive(request).await.map_err(|error| {
            let (status, retry_after, message) = describe(&error);
            (code(&error, status), retry_after, message)
        })
    };
    let (status, response) = match answer.await {
        Ok(outcome) => ("0".to_owned(), success(signal, &outcome)),
        Err((code, retry_after, message)) => ((code as u8).to_string(), failure(code, retry_after, &message)),
    };
    metrics::REQUESTS.with_label_values(&[signal.as_str(), "grpc", &status]).inc();
    response
}

fn grpc_response(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,zstd"));
    response
}

fn success(signal: Signal, outcome: &Outcome) -> Response {
    let message = response::export(signal, Format::Protobuf, outcome.rejected, &outcome.message);
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(framed.freeze())),
        Ok(http_body::Frame::trailers(trailers)),
    ];
    grpc_response(Body::new(StreamBody::new(futures::stream::iter(frames)).boxed_unsync()))
}

fn failure(code: Code, retry_after: Option<Duration>, message: &str) -> Response {
    let mut response = grpc_response(Body::empty());
    let headers = response.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(code as u16));
    if let Ok(value) = HeaderValue::from_str(&percent_encode(message)) {
        headers.insert("grpc-message", value);
    }
    if retry_after.is_some() {
        let status = response::status(Format::Protobuf, code as u8, message, retry_after);
        if let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(status)) {
            headers.insert("grpc-status-details-bin", value);
        }
    }
    response
}

/// The encoding of `grpc-message`: all but printable ASCII, and `%` itself, as `%XX`.
fn percent_encode(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames() {
        let framed = |bytes: &'static [u8]| {
            unframe(&Bytes::from_static(bytes)).map(|(m, c)| (m.to_vec(), c)).map_err(|e| e.to_string())
        };
        assert_eq!(framed(&[0, 0, 0, 0, 2, 7, 8]), Ok((vec![7, 8], false)));
        assert_eq!(framed(&[1, 0, 0, 0, 0]), Ok((vec![], true)));
        assert!(framed(&[0, 0]).unwrap_err().contains("5-byte prefix"));
        assert!(framed(&[0, 0, 0, 0, 9, 1]).unwrap_err().contains("its prefix says 9"));
        assert!(framed(&[4, 0, 0, 0, 0]).unwrap_err().contains("flag 4"));
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("50% of é"), "50%25 of %C3%A9");
    }
}
