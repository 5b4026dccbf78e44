//! `format_query` and `parse_query`: for editors.

use axum::body::Body;
use axum::response::Response;
use bonghwa_promql::Query;
use http::Request;
use serde_json::Value;

use super::answers;
use super::params::{Params, invalid};
use crate::error::ApiError;
use crate::partial::Partial;

/// The query over several lines where it is long.
pub(crate) async fn format(request: Request<Body>) -> Result<Response, ApiError> {
    tell(request, |query| Value::from(query.format())).await
}

/// The query's tree.
pub(crate) async fn parse(request: Request<Body>) -> Result<Response, ApiError> {
    tell(request, Query::to_json).await
}

async fn tell(request: Request<Body>, tell: impl Fn(&Query) -> Value) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let query = Query::parse(params.query()?).map_err(|error| invalid("query", error.to_string()))?;
    Ok(answers::success(tell(&query), Vec::new(), &Partial::default()))
}
