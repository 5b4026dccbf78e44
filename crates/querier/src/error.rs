//! Errors as answers: a status, and a sentence in the JSON that Prometheus' API uses.

use axum::response::{IntoResponse, Response};
use bonghwa_query::QueryError;
use http::{HeaderValue, StatusCode, header};

/// A request that gets no answer.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    /// With this status.
    pub(crate) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        ApiError { status, kind, message: message.into() }
    }

    /// The status of its answer.
    #[cfg(test)]
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The request is wrong.
    pub(crate) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_data", message)
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let (status, kind) = match &error {
            QueryError::Invalid(_) | QueryError::NoColumn { .. } => (StatusCode::BAD_REQUEST, "bad_data"),
            QueryError::Refused(_) => (StatusCode::BAD_REQUEST, "refused"),
            QueryError::Execution(_) => (StatusCode::UNPROCESSABLE_ENTITY, "execution"),
            QueryError::Memory { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "memory"),
            // A limit like that of memory: the same query will not do better when it is tried again.
            QueryError::Timeout(_) => (StatusCode::UNPROCESSABLE_ENTITY, "timeout"),
            QueryError::Queue { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            QueryError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            QueryError::Moved(_) | QueryError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            QueryError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(%error, "a query failed");
        }
        ApiError::new(status, kind, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "status": "error", "errorType": self.kind, "error": self.message });
        let mut response = (self.status, axum::Json(body)).into_response();
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
