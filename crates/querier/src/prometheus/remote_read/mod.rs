//! Remote read, `POST /api/v1/read`: series as they are, for a Prometheus that evaluates by itself.
//!
//! [`message`] is what it says, [`samples`] the answer that holds samples, [`frames`] the one that streams
//! chunks, which [`xor`] encodes.

mod frames;
mod message;
mod samples;
mod xor;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bonghwa_promql::{MatchOp, Matcher};
use bonghwa_query::{SeriesQuery, SeriesSamples};
use bonghwa_wire::compress::{Encoding, decompress};
use futures::stream;
use http::{HeaderMap, Request, StatusCode, header};
use prost::Message;

use self::frames::Frames;
use self::message::{Query, ReadRequest, ResponseType};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// The largest request, as sent and unpacked: it holds matchers.
const MOST_BYTES: usize = 4 << 20;
/// Queries of one request: each looks at the catalog's blocks.
const MOST_QUERIES: usize = 64;

/// Answers the queries of a request. Errors are plain text, as senders log them.
pub(crate) async fn read(State(querier): State<Querier>, request: Request<Body>) -> Response {
    answer(&querier, request).await.unwrap_or_else(ApiError::into_text)
}

async fn answer(querier: &Querier, request: Request<Body>) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let tenants = request::tenants(&parts.headers)?;
    let request = decode(&parts.headers, body).await?;
    let mut response_type = request.response_type()?;
    if request.queries.len() > MOST_QUERIES {
        let count = request.queries.len();
        return Err(ApiError::bad(format!("queries has {count} entries, and may have {MOST_QUERIES}: send several")));
    }
    let queries = request.queries.iter().enumerate();
    let queries =
        queries.map(|(at, query)| selected(query).map_err(|error| ApiError::bad(format!("queries[{at}]{error}"))));
    let stale = querier.stale();
    let found = querier.engine.samples(&tenants, queries.collect::<Result<_, _>>()?).await;
    let found = found.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    let native = |series: &SeriesSamples| !series.histograms.is_empty();
    if response_type == ResponseType::StreamedXorChunks && found.answer.iter().flatten().any(native) {
        // Native histograms are sent as samples.
        if !request.accepts(ResponseType::Samples) {
            let message = "some of these series are native histograms, which are only sent as samples: accept the \
                           response type SAMPLES beside STREAMED_XOR_CHUNKS";
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", message));
        }
        response_type = ResponseType::Samples;
    }
    Ok(match response_type {
        ResponseType::Samples => {
            let headers = [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")];
            let body = samples::encode(found.answer).map_err(|error| {
                let message = format!("the answer does not fit into one message ({error}): narrow the time range");
                ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", message)
            })?;
            (partial.header(), headers, body).into_response()
        }
        ResponseType::StreamedXorChunks => {
            let media = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            let frames = Frames::new(found.answer).map(Ok::<_, std::convert::Infallible>);
            (partial.header(), [(header::CONTENT_TYPE, media)], Body::from_stream(stream::iter(frames))).into_response()
        }
    })
}

async fn decode(headers: &HeaderMap, body: Body) -> Result<ReadRequest, ApiError> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let unsupported = |message: String| ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bad_data", message);
    let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
    if !["", "application/x-protobuf"].iter().any(|known| media.eq_ignore_ascii_case(known)) {
        return Err(unsupported(format!("Content-Type is {media:?}: send application/x-protobuf")));
    }
    let encoding = text(header::CONTENT_ENCODING).trim();
    if !["", "snappy"].contains(&encoding) {
        return Err(unsupported(format!("Content-Encoding is {encoding:?}: remote read is compressed with snappy")));
    }
    let body = to_bytes(body, MOST_BYTES).await.map_err(|error| {
        let message = format!("the body cannot be read, or has more than {} MiB: {error}", MOST_BYTES >> 20);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "bad_data", message)
    })?;
    let message = decompress(Encoding::Snappy, &body, MOST_BYTES).map_err(|error| ApiError::bad(error.to_string()))?;
    ReadRequest::decode(&*message)
        .map_err(|error| ApiError::bad(format!("the body is no prometheus.ReadRequest: {error}")))
}

/// The series and the time that a query asks for; else where it is wrong, and why.
fn selected(query: &Query) -> Result<SeriesQuery, String> {
    let (start, end) = (query.start_timestamp_ms, query.end_timestamp_ms);
    if end < start {
        return Err(format!(".end_timestamp_ms {end} is before start_timestamp_ms {start}: order them"));
    }
    let matcher = |(at, matcher): (usize, &message::LabelMatcher)| {
        let op = match matcher.kind {
            0 => MatchOp::Equal,
            1 => MatchOp::NotEqual,
            2 => MatchOp::Regex,
            3 => MatchOp::NotRegex,
            other => return Err(format!(".matchers[{at}].type is {other}: it is one of 0 to 3")),
        };
        let (name, value) = (matcher.name.clone(), matcher.value.clone());
        Matcher::new(name, op, value).map_err(|error| format!(".matchers[{at}].value {:?}: {error}", matcher.value))
    };
    let matchers: Vec<Matcher> = query.matchers.iter().enumerate().map(matcher).collect::<Result<_, _>>()?;
    Ok(SeriesQuery { matchers: vec![matchers], range: (start, end) })
}
