//! `query` and `query_range`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bonghwa_cluster::seam;
use bonghwa_promql::{Params as Evaluated, Query};
use bonghwa_query::Caching;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Request};

use super::answers::{self, Shape, Told};
use super::params::{Params, invalid, now};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// Points of a series in one answer, as many as Prometheus gives.
const MOST_POINTS: i64 = 11_000;

/// Values at one time.
pub(crate) async fn instant(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let time = params.time("time")?.unwrap_or_else(now);
    answer(&querier, &params, Evaluated::instant(time)).await
}

/// Values at the steps of a range.
pub(crate) async fn range(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let (start, end) = (params.required_time("start")?, params.required_time("end")?);
    if end < start {
        return Err(invalid("end", "end timestamp must not be before start time".to_owned()));
    }
    let step = params.duration("step")?.ok_or_else(|| invalid("step", "it is missing: send a duration".to_owned()))?;
    if step <= 0 {
        let message = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(invalid("step", message.to_owned()));
    }
    if (end - start) / step > MOST_POINTS {
        return Err(ApiError::bad(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    answer(&querier, &params, Evaluated::range(start, end, step)).await
}

async fn answer(querier: &Querier, params: &Params, mut evaluated: Evaluated) -> Result<Response, ApiError> {
    let tenants = request::tenants(&params.headers)?;
    let begun = seam::now();
    let query = Query::parse(params.query()?).map_err(|error| invalid("query", error.to_string()))?;
    let preparing = seam::now() - begun;
    // As in Prometheus: without a length it is the usual one.
    if let Some(lookback) = params.duration("lookback_delta")?.filter(|lookback| *lookback > 0) {
        evaluated.lookback_ms = lookback;
    }
    evaluated.count_steps = params.get("stats").is_some();
    let steps = (evaluated.start_ms, evaluated.end_ms, evaluated.step_ms);
    let mut shape = Shape { time: evaluated.start_ms, limit: params.limit()?, stats: None };
    let stale = querier.stale();
    let answer =
        querier.engine.promql(&tenants, Arc::new(query), evaluated, params.timeout()?, caching(&params.headers)).await;
    let answer = answer.map_err(ApiError::prometheus)?;
    let (queued, evaluating) = answer.took;
    if let Some(wanted) = params.get("stats") {
        let steps = Some(steps).filter(|_| wanted == "all");
        shape.stats = Some(Told { steps, preparing, queued, evaluating });
    }
    let partial = Partial { missing: answer.missing, stale: stale.max(querier.stale()) };
    answers::query(answer.answer, shape, &partial).await
}

/// `Cache-Control: no-store` asks for an evaluation from the samples.
fn caching(headers: &HeaderMap) -> Caching {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let no_store = values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case("no-store"));
    if no_store { Caching::Off } else { Caching::Allowed }
}
