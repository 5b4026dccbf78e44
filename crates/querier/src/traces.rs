//! Tempo's `/api/traces/{id}` and `/api/v2/traces/{id}`.
//!
//! JSON is OTLP's, ids in hex; v1 answers `{"resourceSpans":[...]}`. As protobuf, v1
//! is `tempopb.Trace` and v2 `tempopb.TraceByIDResponse`, whose field 1 is one. A trace of
//! which spans may be missing says so: v2 by its status, both by a header.

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use opentelemetry_proto::tonic::trace::v1::TracesData;
use prost::Message;
use serde_json::json;

use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, accept, otlp_json, request};

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/protobuf";

/// A trace.
pub(crate) async fn v1(
    State(querier): State<Querier>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = format(&headers)?;
    let (trace, partial) = find(&querier, &headers, &id, query.as_deref()).await?;
    let body = match format {
        // `tempopb.Trace` has the resource spans in field 1, as `TracesData` does.
        PROTOBUF => protobuf(trace.encode_to_vec()),
        _ => json_body(otlp_json::traces(&trace).to_string()),
    };
    Ok((partial.header(), body).into_response())
}

/// A trace, and whether that is all of it.
pub(crate) async fn v2(
    State(querier): State<Querier>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let format = format(&headers)?;
    let (trace, partial) = find(&querier, &headers, &id, query.as_deref()).await?;
    let message = partial.message();
    let body = match format {
        PROTOBUF => {
            let status = if partial.is_whole() { COMPLETE } else { PARTIAL };
            protobuf(TraceByIdResponse { trace: Some(trace), status, message }.encode_to_vec())
        }
        _ => {
            let status = if partial.is_whole() { "COMPLETE" } else { "PARTIAL" };
            let body = json!({ "trace": otlp_json::traces(&trace), "status": status, "message": message });
            json_body(body.to_string())
        }
    };
    Ok((partial.header(), body).into_response())
}

/// `tempopb.TraceByIDResponse`, without its metrics.
#[derive(Clone, PartialEq, Message)]
struct TraceByIdResponse {
    #[prost(message, optional, tag = "1")]
    trace: Option<TracesData>,
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(string, tag = "4")]
    message: String,
}

/// `tempopb.PartialStatus`.
const COMPLETE: i32 = 0;
const PARTIAL: i32 = 1;

fn format(headers: &HeaderMap) -> Result<&'static str, ApiError> {
    accept::choose(headers, &[JSON, PROTOBUF]).ok_or_else(|| {
        let message = format!("Accept names no format that traces come in: name {JSON} or {PROTOBUF}");
        ApiError::new(StatusCode::NOT_ACCEPTABLE, "bad_data", message)
    })
}

fn protobuf(body: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, PROTOBUF)], body).into_response()
}

fn json_body(body: String) -> Response {
    ([(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// A trace, and what may have more of it.
async fn find(
    querier: &Querier,
    headers: &HeaderMap,
    id: &str,
    query: Option<&str>,
) -> Result<(TracesData, Partial), ApiError> {
    let tenants = request::tenants(headers)?;
    let trace_id = trace_id(id)?;
    let time = time_range(query.unwrap_or_default())?;
    let stale = querier.stale();
    let answer = querier.engine.trace(&tenants, trace_id, time).await?;
    let partial = Partial { missing: answer.missing, stale: stale.max(querier.stale()) };
    match answer.trace {
        Some(trace) => Ok((trace, partial)),
        None if partial.is_whole() => {
            Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", format!("there is no trace with the id {id}")))
        }
        None => {
            let message = format!("no span of the trace was found, but {}: try again", partial.message());
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message))
        }
    }
}

/// 1 to 32 hex digits; shorter ids are filled up with zeros on the left, as Tempo does.
fn trace_id(text: &str) -> Result<[u8; 16], ApiError> {
    let digits = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
    number
        .map(u128::to_be_bytes)
        .ok_or_else(|| ApiError::bad(format!("the trace id is {text:?}: it has 1 to 32 hexadecimal digits")))
}

/// `start` and `end`, Unix seconds, as nanoseconds; only where both are sent.
fn time_range(query: &str) -> Result<Option<(i64, i64)>, ApiError> {
    let parameter = |name: &str| -> Result<Option<i64>, ApiError> {
        let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
        let Some((_, text)) = values.rfind(|(key, _)| *key == name) else { return Ok(None) };
        let seconds: i64 =
            text.parse().map_err(|_| ApiError::bad(format!("{name} is {text:?}: it is a Unix time in seconds")))?;
        Ok(Some(seconds.saturating_mul(1_000_000_000)))
    };
    Ok(parameter("start")?.zip(parameter("end")?).filter(|(start, end)| start <= end && *end > 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids() {
        let mut one = [0; 16];
        one[15] = 0x1a;
        assert_eq!(trace_id("1a").unwrap(), one);
        assert_eq!(trace_id("1A").unwrap(), one);
        assert_eq!(trace_id(&"f".repeat(32)).unwrap(), [255; 16]);
        for bad in ["", "xyz", "+1", "1a ", &"f".repeat(33)] {
            assert_eq!(trace_id(bad).unwrap_err().status(), StatusCode::BAD_REQUEST, "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time_range("").unwrap(), None);
        assert_eq!(time_range("start=1").unwrap(), None);
        assert_eq!(time_range("start=0&end=0").unwrap(), None);
        assert_eq!(time_range("start=1&end=2").unwrap(), Some((1_000_000_000, 2_000_000_000)));
        assert!(time_range("start=yesterday&end=2").is_err());
    }
}
