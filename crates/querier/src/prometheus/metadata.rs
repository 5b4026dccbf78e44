//! `metadata`: types, units and help texts.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::Request;
use serde_json::{Value, json};

use super::answers;
use super::params::{Params, invalid};
use crate::error::ApiError;
use crate::partial::Partial;
use crate::{Querier, request};

/// What metrics say of themselves.
pub(crate) async fn metadata(State(querier): State<Querier>, request: Request<Body>) -> Result<Response, ApiError> {
    let params = Params::read(request).await?;
    let tenants = request::tenants(&params.headers)?;
    let number = |name: &str| -> Result<usize, ApiError> {
        let read = |text: &str| text.parse().map_err(|_| invalid(name, format!("{text:?} is no number")));
        Ok(params.get(name).map(read).transpose()?.filter(|n| *n > 0).unwrap_or(usize::MAX))
    };
    let (limit, per_metric) = (number("limit")?, number("limit_per_metric")?);
    let stale = querier.stale();
    let found = querier
        .engine
        .metadata(&tenants, params.get("metric").map(str::to_owned))
        .await
        .map_err(ApiError::prometheus)?;
    let partial = Partial { missing: found.missing, stale: stale.max(querier.stale()) };
    let shown: BTreeMap<&String, Vec<Value>> = found
        .answer
        .iter()
        .take(limit)
        .map(|(name, all)| {
            let one = |m: &bonghwa_query::Metadata| json!({ "type": m.metric_type, "help": m.help, "unit": m.unit });
            (name, all.iter().take(per_metric).map(one).collect())
        })
        .collect();
    Ok(answers::success(json!(shown), Vec::new(), &partial))
}
