//! Which series there are: `labels`, `label/{name}/values`, `series`.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bonghwa_promql::Labels;
use bonghwa_query::SeriesQuery;
use http::Request;
use serde_json::json;

use super::answers;
use super::params::{Params, invalid, unescape};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// Names of labels.
pub(crate) async fn names(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let (tenants, limit) = (request::tenants(&params.headers)?, params.limit()?);
    let (query, stale) = (query(&params, false)?, querier.stale());
    let found = querier.engine.label_names(&tenants, query, most(limit)).await.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    answers::listed(found.answer.into_iter().collect(), limit, text, &partial).await
}

/// Values of a label.
pub(crate) async fn values(
    State(querier): State<Querier>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let name = unescape(&name);
    if name.is_empty() {
        return Err(ApiError::bad("the label's name is empty"));
    }
    let (tenants, limit) = (request::tenants(&params.headers)?, params.limit()?);
    let (query, stale) = (query(&params, false)?, querier.stale());
    let found = querier.engine.label_values(&tenants, query, name, most(limit)).await.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    answers::listed(found.answer.into_iter().collect(), limit, text, &partial).await
}

/// The labels of series.
pub(crate) async fn series(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let (tenants, limit) = (request::tenants(&params.headers)?, params.limit()?);
    let (query, stale) = (query(&params, true)?, querier.stale());
    let found = querier.engine.series(&tenants, query).await.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    answers::listed(found.answer, limit, |out, labels: &Labels| labels.push_json(out), &partial).await
}

/// The series that are asked for.
fn query(params: &Params, selected: bool) -> Result<SeriesQuery, ApiError> {
    let mut matchers = params.matchers()?;
    if matchers.is_empty() {
        if selected {
            return Err(invalid("match[]", "no match[] parameter provided".to_owned()));
        }
        matchers.push(Vec::new());
    }
    Ok(SeriesQuery { matchers, range: params.range()? })
}

/// How many are to be found: one more than are shown tells that there are more.
fn most(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit.saturating_add(1) }
}

fn text(out: &mut String, text: &String) {
    *out += &json!(text).to_string();
}
