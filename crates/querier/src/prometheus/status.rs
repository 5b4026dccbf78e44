//! What callers find out about the server by.

use axum::response::Response;
use serde_json::json;

use super::answers;
use crate::partial::Partial;

/// The build. Grafana takes a server that does not call itself Mimir's for Prometheus.
pub(crate) async fn build() -> Response {
    let build = json!({
        // The version of Prometheus whose API and language this is.
        "version": "3.0.0",
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "Bonghwa",
        "features": {},
    });
    answers::success(build, Vec::new(), &Partial::default())
}
