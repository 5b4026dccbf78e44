//! The querier's HTTP APIs: SQL, Prometheus' API, and traces by their id. It reads what the request
//! asks, lets `query` answer, and writes the answer in the format that the caller
//! accepts. No storage and no planning here.

mod accept;
mod cells;
mod error;
mod formats;
mod otlp_json;
mod partial;
mod prometheus;
mod request;
mod sql;
mod traces;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bonghwa_cluster::ClusterView;
use bonghwa_protocol::{IngesterClient, MetaClient};
use bonghwa_query::Engine;

/// What the routes stand on.
#[derive(Clone)]
pub struct Querier {
    /// Answers.
    pub engine: Arc<Engine>,
    /// Takes deletes.
    pub meta: Arc<dyn MetaClient>,
    /// All ingesters: what is deleted is flushed first.
    pub ingesters: Arc<dyn IngesterClient>,
    /// The copy of the catalog that the engine plans on.
    pub view: Arc<ClusterView>,
    /// Answers from a copy older than this say that they are partial.
    pub stale_after: Duration,
}

impl Querier {
    /// The age of the catalog's copy, if that is too old now.
    fn stale(&self) -> Option<Duration> {
        Some(self.view.age()).filter(|age| *age > self.stale_after)
    }
}

/// All routes of a querier.
pub fn router(querier: Querier) -> Router {
    let mut router =
        Router::new().route("/api/v1/sql", get(sql::get).post(sql::post)).route("/api/echo", get(|| async { "echo" }));
    for prefix in ["", "/prometheus"] {
        router = prometheus::routes(router, prefix);
    }
    for prefix in ["", "/tempo"] {
        router = router
            .route(&format!("{prefix}/api/traces/{{id}}"), get(traces::v1))
            .route(&format!("{prefix}/api/v2/traces/{{id}}"), get(traces::v2));
    }
    router = router.route("/tempo/api/echo", get(|| async { "echo" }));
    router.with_state(querier)
}
