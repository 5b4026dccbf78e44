//! `/api/v1/sql`: a query in, rows out as they come.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use bonghwa_query::QueryError;
use futures::{StreamExt, stream};
use http::{HeaderMap, StatusCode, Uri, header};

use crate::error::ApiError;
use crate::formats::{self, Format};
use crate::partial::Partial;
use crate::{Querier, accept, request};

/// Answers the query of a URL.
pub(crate) async fn get(State(querier): State<Querier>, headers: HeaderMap, uri: Uri) -> Result<Response, ApiError> {
    let request = request::form(uri.query().unwrap_or_default().as_bytes())?;
    answer(&querier, &headers, &request.query).await
}

/// Answers the query of a body.
pub(crate) async fn post(
    State(querier): State<Querier>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let body = body.map_err(|rejection| ApiError::new(rejection.status(), "bad_data", rejection.body_text()))?;
    let request = request::sql_body(&headers, &body)?;
    answer(&querier, &headers, &request.query).await
}

async fn answer(querier: &Querier, headers: &HeaderMap, query: &str) -> Result<Response, ApiError> {
    let tenants = request::tenants(headers)?;
    let offered = Format::ALL.map(Format::media_type);
    let chosen = accept::choose(headers, &offered);
    let Some(format) = chosen.and_then(|media| Format::ALL.into_iter().find(|f| f.media_type() == media)) else {
        let message = format!("Accept names no format that SQL answers in: name one of {}", offered.join(", "));
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "bad_data", message));
    };
    let stale = querier.stale();
    let mut answer = querier.engine.sql(&tenants, query).await?;
    // It may have waited for its turn: the catalog was taken at some time between the two looks.
    let partial = Partial { missing: std::mem::take(&mut answer.missing), stale: stale.max(querier.stale()) };
    let mut encoder = formats::Encoder::new(format, &answer.schema).map_err(QueryError::Internal)?;
    // Until something was sent, an error can still be a status.
    let first = match answer.stream.next().await {
        Some(Ok(batch)) => Some(encoder.rows(&batch).map_err(QueryError::Internal)?),
        Some(Err(error)) => return Err(QueryError::of_stream(&error).into()),
        None => None,
    };
    let content_type = (header::CONTENT_TYPE, format.content_type());
    let partial = partial.header();
    let Some(first) = first else {
        let whole = encoder.end().map_err(QueryError::Internal)?;
        return Ok((partial, [content_type], whole).into_response());
    };
    let rest = stream::unfold(Some((answer.stream, encoder)), |state| async move {
        let (mut rows, mut encoder) = state?;
        let sent = match rows.next().await {
            Some(Ok(batch)) => encoder.rows(&batch).map_err(QueryError::Internal),
            Some(Err(error)) => Err(QueryError::of_stream(&error)),
            None => return Some((encoder.end().map_err(QueryError::Internal), None)),
        };
        match sent {
            Ok(bytes) => Some((Ok(bytes), Some((rows, encoder)))),
            Err(error) => {
                // The body ends without its end: that is how the caller learns of it.
                tracing::warn!(%error, "a query failed while its rows were being sent");
                Some((Err(error), None))
            }
        }
    });
    let body = stream::iter([Ok(first)]).chain(rest);
    Ok((partial, [content_type], Body::from_stream(body)).into_response())
}
