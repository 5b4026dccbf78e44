//! `admin/tsdb/delete_series`: takes series out of a range of time, by a delete in the catalog. From then on
//! queries pass over their samples, and compaction takes them out of blocks.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bonghwa_cluster::create_delete;
use bonghwa_model::{Signal, TenantId};
use bonghwa_promql::Matcher;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_query::{SeriesQuery, of_tenant};
use http::{Request, StatusCode};

use super::params::{Params, invalid, now};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// How long this node's copy of the catalog may take to have the delete.
const FOLLOW: Duration = Duration::from_secs(30);
/// Stored series that one request may delete: until compaction has taken them out, each query compares its own with them.
const MOST: usize = 20 * v1::Selector::MOST_SERIES;

/// Deletes what `match[]` selects. Done when queries that are asked here no longer see it.
pub(crate) async fn delete(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let tenants = request::tenants(&params.headers)?;
    let matchers = params.matchers()?;
    if matchers.is_empty() {
        return Err(invalid("match[]", "no match[] parameter provided".to_owned()));
    }
    let range = params.range()?;
    let created = now();
    let range = (range.0, range.1.min(created));
    if range.1 < range.0 {
        return Err(invalid("start", "it lies in the future, where nothing is to delete".to_owned()));
    }
    for tenant in tenants.iter() {
        let of_tenant = matchers.iter().filter_map(|all| of_tenant(all, tenant, tenants.iter().count()));
        let matchers: Vec<Vec<Matcher>> = of_tenant.map(|matchers| matchers.to_vec()).collect();
        if !matchers.is_empty() {
            delete_of(&querier, tenant, SeriesQuery { matchers, range }, created).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn delete_of(querier: &Querier, tenant: &TenantId, query: SeriesQuery, created: i64) -> Result<(), ApiError> {
    let range = query.range;
    let stale = querier.stale();
    let found = querier.engine.rows_of_series(tenant, query, MOST).await;
    // The turn is over: others need not wait for the catalog.
    let (found, missing) = found.map_err(ApiError::prometheus)?.into_parts();
    let partial = Partial { missing, stale: stale.max(querier.stale()) };
    if !partial.is_whole() {
        // What cannot be seen now would not be deleted.
        let message =
            format!("nothing was deleted, because not all series can be seen: {}; try again", partial.message());
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message));
    }
    let nanos = |millis: i64| millis.saturating_mul(1_000_000);
    let found: Vec<u128> = found.into_iter().collect();
    // One that fails leaves those before it: the same request goes on from there.
    for some in found.chunks(v1::Selector::MOST_SERIES) {
        let delete = v1::Delete {
            tenant: tenant.to_string(),
            signal: v1::Signal::from(Signal::Metrics).into(),
            selector: Some(v1::Selector::of_series(some.iter().copied())),
            min_time: nanos(range.0),
            max_time: nanos(range.1).saturating_add(999_999),
            created_at: nanos(created),
            ..Default::default()
        };
        create(querier, delete).await?;
    }
    Ok(())
}

async fn create(querier: &Querier, delete: v1::Delete) -> Result<(), ApiError> {
    let unavailable = |message: String| {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", format!("{message}: try again"))
    };
    let created = create_delete(&querier.view, &*querier.ingesters, &*querier.meta, delete).await;
    let result = created.map_err(|error| unavailable(error.to_string()))?;
    if let Some(Outcome::Rejection(rejection)) = result.outcome {
        let status = match rejection.reason() {
            v1::RejectionReason::Conflict => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        return Err(ApiError::new(status, "bad_data", rejection.message));
    }
    let seen = querier.view.wait_for_version(result.version, FOLLOW).await;
    seen.map(drop).map_err(|error| unavailable(format!("the delete holds, but is not seen here yet ({error})")))
}
