//! Prometheus' HTTP API, at the root and under `/prometheus`.

mod answers;
mod labels;
mod metadata;
mod params;
mod query;
mod status;
mod syntax;

use axum::Router;
use axum::routing::get;

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
        .route(&path("status/buildinfo"), get(status::build))
}
