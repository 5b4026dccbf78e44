//! Which series there are: `labels`, `label/{name}/values`, `series`.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bonghwa_promql::Labels;
use bonghwa_query::SeriesQuery;
use http::Request;
use serde_json::Value;

use super::answers;
use super::params::{Params, invalid, unescape};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// Names of labels.
pub(crate) async fn names(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let (series, partial) = find(&querier, &params, false).await?;
    let names: BTreeSet<&str> = series.iter().flat_map(Labels::iter).map(|(name, _)| name).collect();
    answer(names.into_iter().map(Value::from).collect(), &params, &partial)
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
    let (series, partial) = find(&querier, &params, false).await?;
    let values: BTreeSet<&str> = series.iter().map(|labels| labels.get(&name)).filter(|v| !v.is_empty()).collect();
    answer(values.into_iter().map(Value::from).collect(), &params, &partial)
}

/// The labels of series.
pub(crate) async fn series(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let (series, partial) = find(&querier, &params, true).await?;
    answer(series.iter().map(Labels::to_json).collect(), &params, &partial)
}

async fn find(querier: &Querier, params: &Params, selected: bool) -> Result<(Vec<Labels>, Partial), ApiError> {
    let tenants = request::tenants(&params.headers)?;
    let mut matchers = params.matchers()?;
    if matchers.is_empty() {
        if selected {
            return Err(invalid("match[]", "no match[] parameter provided".to_owned()));
        }
        matchers.push(Vec::new());
    }
    let stale = querier.stale();
    let found = querier.engine.series(&tenants, SeriesQuery { matchers, range: params.range()? }).await;
    let found = found.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    Ok((found.answer, partial))
}

fn answer(mut all: Vec<Value>, params: &Params, partial: &Partial) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let cut = limit > 0 && all.len() > limit;
    if cut {
        all.truncate(limit);
    }
    let warnings = if cut { vec!["results truncated due to limit".to_owned()] } else { Vec::new() };
    Ok(answers::success(Value::Array(all), warnings, partial))
}
