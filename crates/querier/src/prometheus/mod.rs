//! Prometheus' HTTP API, at the root and under `/prometheus`.

mod answers;
mod cardinality;
mod delete;
mod exemplars;
mod federate;
mod labels;
mod metadata;
mod params;
mod query;
mod remote_read;
mod status;
mod syntax;

use axum::Router;
use axum::routing::{get, post};

use crate::Querier;

/// The routes under a prefix.
pub(crate) fn routes(router: Router<Querier>, prefix: &str) -> Router<Querier> {
    let path = |path: &str| format!("{prefix}/api/v1/{path}");
    router
        .route(&path("query"), get(query::instant).post(query::instant))
        .route(&path("query_range"), get(query::range).post(query::range))
        .route(&path("labels"), get(labels::names).post(labels::names))
        .route(&path("label/{name}/values"), get(labels::values))
        .route(&path("series"), get(labels::series).post(labels::series))
        .route(&path("metadata"), get(metadata::metadata))
        .route(&path("format_query"), get(syntax::format).post(syntax::format))
        .route(&path("parse_query"), get(syntax::parse).post(syntax::parse))
        .route(&path("query_exemplars"), get(exemplars::exemplars).post(exemplars::exemplars))
        .route(&path("read"), post(remote_read::read))
        .route(&format!("{prefix}/federate"), get(federate::federate))
        .route(&path("cardinality/label_names"), get(cardinality::label_names).post(cardinality::label_names))
        .route(&path("cardinality/label_values"), get(cardinality::label_values).post(cardinality::label_values))
        .route(&path("cardinality/active_series"), get(cardinality::active_series).post(cardinality::active_series))
        .route(&path("admin/tsdb/delete_series"), post(delete::delete).put(delete::delete))
        .route(&path("status/tsdb"), get(cardinality::tsdb))
        .route(&path("status/buildinfo"), get(status::build))
}
