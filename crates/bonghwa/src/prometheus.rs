//! What Prometheus' API tells and does of the server itself: `status/{config,flags,runtimeinfo}` and
//! `admin/tsdb/{clean_tombstones,snapshot}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bonghwa_cluster::seam;
use http::StatusCode;
use serde_json::{Value, json};

use crate::config::Config;
use crate::identity::host_name;
use crate::node::Node;
use crate::pages::failure;

/// The routes, at the root and under `/prometheus`.
pub fn router(node: Arc<Node>, config: &Config) -> Router {
    let yaml = config.to_yaml();
    let flags = flags(&yaml);
    let retention = flags.get("retention.default.metrics").cloned().unwrap_or_default();
    let (shown, flags) = (success(json!({ "yaml": yaml })), success(json!(flags)));
    let started = rfc3339(seam::unix_nanos());
    let info = move || runtime(&started, &retention);
    let mut router = Router::new();
    for prefix in ["", "/prometheus"] {
        let path = |path: &str| format!("{prefix}/api/v1/{path}");
        let (shown, flags, info) = (shown.clone(), flags.clone(), info.clone());
        router = router
            .route(&path("status/config"), get(|| async { Json(shown) }))
            .route(&path("status/flags"), get(|| async { Json(flags) }))
            .route(&path("status/runtimeinfo"), get(|| async move { Json(success(info())) }))
            .route(&path("admin/tsdb/clean_tombstones"), post(clean).put(clean))
            .route(&path("admin/tsdb/snapshot"), post(snapshot).put(snapshot));
    }
    router.with_state(node)
}

fn success(data: Value) -> Value {
    json!({ "status": "success", "data": data })
}

/// The configuration as flags: every key, its sections before it, with its value. Secrets are as hidden as
/// in the YAML that this reads.
fn flags(yaml: &str) -> BTreeMap<String, String> {
    fn add(flags: &mut BTreeMap<String, String>, path: &str, value: &Value) {
        match value {
            Value::Object(section) => {
                for (key, value) in section {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    add(flags, &path, value);
                }
            }
            Value::String(text) => drop(flags.insert(path.to_owned(), text.clone())),
            Value::Null => drop(flags.insert(path.to_owned(), String::new())),
            other => drop(flags.insert(path.to_owned(), other.to_string())),
        }
    }
    let mut flags = BTreeMap::new();
    let value: Value = serde_yaml_ng::from_str(yaml).unwrap_or_default();
    add(&mut flags, "", &value);
    flags
}

/// Of what Prometheus tells of its process, what there is of this one.
fn runtime(started: &str, retention: &str) -> Value {
    let metrics = tokio::runtime::Handle::current().metrics();
    let directory = std::env::current_dir().map(|path| path.display().to_string()).unwrap_or_default();
    json!({
        "startTime": started,
        "CWD": directory,
        "hostname": host_name(),
        "serverTime": rfc3339(seam::unix_nanos()),
        // The configuration is read once, at the start.
        "reloadConfigSuccess": true,
        "lastConfigTime": started,
        "goroutineCount": metrics.num_alive_tasks(),
        "GOMAXPROCS": metrics.num_workers(),
        "storageRetention": retention,
    })
}

fn rfc3339(nanos: i64) -> String {
    bonghwa_promql::number::format_time(nanos / 1_000_000)
}

/// Compacts now: that takes out what deletes have named.
async fn clean(State(node): State<Arc<Node>>) -> Response {
    let Some(compactor) = &node.compactor else {
        let message = "deleted samples are taken out of blocks by compaction, and no compactor runs on this node: \
                       send this, or POST /admin/compact, to a node with the target compactor";
        return failure(StatusCode::NOT_IMPLEMENTED, "unavailable", message);
    };
    compactor.run_once(seam::unix_nanos()).await;
    StatusCode::NO_CONTENT.into_response()
}

async fn snapshot() -> Response {
    let message = "there is nothing to snapshot: blocks never change, and lie in the object store. POST /admin/flush \
                   writes what is in memory to blocks; then copy the object store";
    failure(StatusCode::NOT_IMPLEMENTED, "unavailable", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_keys_with_their_sections() {
        let mut config = Config::default();
        config.s3.secret_access_key = "hush".into();
        let flags = flags(&config.to_yaml());
        assert_eq!(flags["query.timeout"], "1m");
        assert_eq!(flags["s3.secret_access_key"], "<hidden>");
        assert_eq!(flags["target"], "all");
    }
}
