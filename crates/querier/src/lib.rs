//! The querier's HTTP APIs: SQL, and traces by their id. It reads what the request
//! asks, lets `query` answer, and writes the answer in the format that the caller
//! accepts. No storage and no planning here.

mod accept;
mod cells;
mod error;
mod formats;
mod otlp_json;
mod partial;
mod request;
mod sql;
mod traces;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use bonghwa_query::Engine;

/// All routes of a querier over one engine.
pub fn router(engine: Arc<Engine>) -> Router {
    let mut router =
        Router::new().route("/api/v1/sql", get(sql::get).post(sql::post)).route("/api/echo", get(|| async { "echo" }));
    for prefix in ["", "/tempo"] {
        router = router
            .route(&format!("{prefix}/api/traces/{{id}}"), get(traces::v1))
            .route(&format!("{prefix}/api/v2/traces/{{id}}"), get(traces::v2));
    }
    router = router.route("/tempo/api/echo", get(|| async { "echo" }));
    router.with_state(engine)
}
