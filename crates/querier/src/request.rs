//! What a request says: for whom, and what.

use bonghwa_model::{TenantId, TenantSet};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::error::ApiError;

/// The header that names a tenant, or several: `a|b`.
const TENANT: &str = "x-scope-orgid";

/// The tenants that a request reads; the default one where the header is not sent.
pub(crate) fn tenants(headers: &HeaderMap) -> Result<TenantSet, ApiError> {
    let Some(value) = headers.get(TENANT) else {
        return Ok((&TenantId::default_tenant()).into());
    };
    let names = value.to_str().map_err(|_| ApiError::bad("X-Scope-OrgID is not ASCII: a tenant name is"))?;
    TenantSet::parse(names).map_err(|error| ApiError::bad(error.to_string()))
}

/// A query, as a JSON body, a form or URL parameters carry it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SqlRequest {
    /// SQL text.
    pub(crate) query: String,
}

/// Reads the body of a query. `curl -d` calls JSON a form: JSON it is where it starts like it.
pub(crate) fn sql_body(headers: &HeaderMap, body: &Bytes) -> Result<SqlRequest, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap_or("?"));
    let media = content_type.map(|v| v.split(';').next().unwrap_or(v).trim().to_ascii_lowercase());
    let is_object = body.trim_ascii_start().first() == Some(&b'{');
    match media.as_deref() {
        None | Some("application/json" | "") => json(body),
        Some("application/x-www-form-urlencoded") if is_object => json(body),
        Some("application/x-www-form-urlencoded") => form(body),
        Some(other) => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bad_data",
            format!("Content-Type is {other:?}: send application/json with {{\"query\": \"SELECT ...\"}}"),
        )),
    }
}

fn json(body: &Bytes) -> Result<SqlRequest, ApiError> {
    serde_json::from_slice(body)
        .map_err(|error| ApiError::bad(format!("the body is not {{\"query\": \"SELECT ...\"}}: {error}")))
}

/// Reads URL parameters, or a body that is a form.
pub(crate) fn form(text: &[u8]) -> Result<SqlRequest, ApiError> {
    serde_urlencoded::from_bytes(text)
        .map_err(|error| ApiError::bad(format!("send the SQL as the parameter `query`, and no other: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bodies() {
        for (content_type, body, expected) in [
            (None, r#"{"query":"SELECT 1"}"#, Ok("SELECT 1")),
            (Some("application/json; charset=utf-8"), r#"{"query":"SELECT 1"}"#, Ok("SELECT 1")),
            (Some("application/x-www-form-urlencoded"), r#"{"query":"SELECT 1"}"#, Ok("SELECT 1")),
            (Some("application/x-www-form-urlencoded"), "query=SELECT+1%2B1", Ok("SELECT 1+1")),
            // As `curl -d` sends it: nothing is encoded.
            (
                Some("application/x-www-form-urlencoded"),
                "query=SELECT '#' AS \"a\" -- x\nWHERE 1 < 2",
                Ok("SELECT '#' AS \"a\" -- x\nWHERE 1 < 2"),
            ),
            (Some("application/x-www-form-urlencoded"), "sql=SELECT+1", Err(StatusCode::BAD_REQUEST)),
            (Some("application/json"), r#"{"sql":"SELECT 1"}"#, Err(StatusCode::BAD_REQUEST)),
            (Some("application/json"), "{", Err(StatusCode::BAD_REQUEST)),
            (Some("application/json"), "", Err(StatusCode::BAD_REQUEST)),
            (Some("text/plain"), "SELECT 1", Err(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(content_type) = content_type {
                headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            }
            let read = sql_body(&headers, &Bytes::from_static(body.as_bytes()));
            let read = read.as_ref().map(|r| r.query.as_str()).map_err(ApiError::status);
            assert_eq!(read, expected, "{body}");
        }
    }

    #[test]
    fn long_forms() {
        let query = format!("SELECT {}", "1,".repeat(100_000));
        assert_eq!(form(format!("query={query}").as_bytes()).unwrap().query, query);
    }

    #[test]
    fn tenants_of_the_header() {
        let read = |header: Option<&str>| {
            let headers = header.map(|value| (http::HeaderName::from_static(TENANT), value.parse().unwrap()));
            tenants(&headers.into_iter().collect()).map(|set| set.to_string()).map_err(|e| e.status())
        };
        for (header, expected) in [
            (None, Ok("default")),
            (Some("team-a"), Ok("team-a")),
            (Some("b|a"), Ok("a|b")),
            (Some("a/b"), Err(StatusCode::BAD_REQUEST)),
            (Some("a|"), Err(StatusCode::BAD_REQUEST)),
        ] {
            assert_eq!(read(header), expected.map(str::to_owned), "{header:?}");
        }
    }
}
