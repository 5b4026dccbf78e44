//! `query_exemplars`: the exemplars of all series that a query's selectors select.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bonghwa_promql::number::format_sample;
use bonghwa_promql::{Matcher, Query};
use bonghwa_query::{Exemplar, SeriesQuery};
use http::Request;
use serde_json::{Value, json};

use super::answers;
use super::params::{Params, invalid};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// Exemplars by series.
pub(crate) async fn exemplars(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let tenants = request::tenants(&params.headers)?;
    let query = Query::parse(params.query()?).map_err(|error| invalid("query", error.to_string()))?;
    let range = params.range()?;
    // Of each selector, whatever its time.
    let matchers: Vec<Vec<Matcher>> = query.selectors().into_iter().map(|one| one.matchers.clone()).collect();
    if matchers.is_empty() {
        return Ok(answers::success(json!([]), Vec::new(), &Partial::default()));
    }
    let stale = querier.stale();
    let found = querier.engine.exemplars(&tenants, SeriesQuery { matchers, range }).await;
    let found = found.map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    let of_series = found.answer.iter().map(|of_series| {
        let exemplars: Vec<Value> = of_series.exemplars.iter().map(one).collect();
        json!({ "seriesLabels": of_series.series.to_json(), "exemplars": exemplars })
    });
    Ok(answers::success(of_series.collect(), Vec::new(), &partial))
}

fn one(exemplar: &Exemplar) -> Value {
    let Exemplar { labels, value, time_ms } = exemplar;
    json!({ "labels": labels.to_json(), "value": format_sample(*value), "timestamp": *time_ms as f64 / 1e3 })
}
