//! Errors as answers: a status, and a sentence in the JSON that Prometheus' API uses.

use axum::response::{IntoResponse, Response};
use bonghwa_query::QueryError;
use http::{HeaderMap, HeaderValue, StatusCode, header};

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

    /// As Prometheus' API has it: a limit that is met is an error of execution, and a time that is up
    /// answers 503.
    pub(crate) fn prometheus(error: QueryError) -> Self {
        match &error {
            QueryError::Memory { .. } | QueryError::Limit { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", error.to_string())
            }
            QueryError::Timeout(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", error.to_string()),
            _ => error.into(),
        }
    }

    /// As plain text, for callers who log the first line.
    pub(crate) fn into_text(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.message)).into_response();
        self.say_when(response.headers_mut());
        response
    }

    /// Tells callers who should come back when.
    fn say_when(&self, headers: &mut HeaderMap) {
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
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
            QueryError::Memory { .. } | QueryError::Limit { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "memory"),
            // A limit like that of memory: the same query will not do better when it is tried again.
            QueryError::Timeout(_) => (StatusCode::UNPROCESSABLE_ENTITY, "timeout"),
            QueryError::Queue { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            QueryError::Canceled => (StatusCode::SERVICE_UNAVAILABLE, "canceled"),
            QueryError::Busy(_) | QueryError::Crowded(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
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
        self.say_when(response.headers_mut());
        response
    }
}
