//! What operators look at: health, metrics, configuration, the ring; and `/admin`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use bonghwa_cluster::{Catalog, seam};
use bonghwa_model::Signal;
use bonghwa_protocol::v1::NodeState;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{RpcError, RpcErrorKind, v1};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use crate::config::Config;
use crate::node::Node;

/// What `/ring` and `bonghwa ring` show of a node.
pub const NODE_COLUMNS: &[&str] = &["name", "state", "zone", "roles", "address"];
/// And of a partition.
pub const PARTITION_COLUMNS: &[&str] =
    &["partition", "state", "replicas", "leader", "watermark", "position", "head_bytes", "log_bytes"];

/// How long the ring waits for what ingesters say of themselves.
const STATUS: Duration = Duration::from_secs(2);

/// The routes; all of them answer only once the node is ready.
pub fn router(node: Arc<Node>, config: &Config) -> Router {
    let yaml = config.to_yaml();
    Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/health", get(|| async { "ok\n" }))
        // By these names Prometheus is asked.
        .route("/-/ready", get(|| async { "ready\n" }))
        .route("/-/healthy", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/config", get(move || async move { ([(header::CONTENT_TYPE, "text/yaml")], yaml) }))
        .route("/version", get(|| async { axum::Json(json!({ "version": env!("CARGO_PKG_VERSION") })) }))
        .route("/ring", get(ring))
        .route("/admin/flush", post(flush))
        .route("/admin/nodes/{name}/drain", post(drain).delete(undrain))
        .with_state(node)
}

/// Flushes every ingester of the cluster.
async fn flush(State(node): State<Arc<Node>>) -> Response {
    match node.ingesters.flush().await {
        Ok(blocks) => axum::Json(json!({ "status": "success", "blocks": blocks })).into_response(),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error.kind.as_str(), &error.to_string()),
    }
}

/// An error as the pages answer it.
pub fn failure(status: StatusCode, kind: &str, error: &str) -> Response {
    (status, axum::Json(json!({ "status": "error", "errorType": kind, "error": error }))).into_response()
}

/// How a node is drained.
#[derive(serde::Deserialize)]
struct Drain {
    /// Whether the node may come back by starting again once it keeps nothing.
    #[serde(default)]
    until_restart: bool,
}

/// Takes a node off the rings. Answers at once: `/ring` shows how far it is.
async fn drain(State(node): State<Arc<Node>>, Path(name): Path<String>, Query(drain): Query<Drain>) -> Response {
    let catalog = node.view.current();
    let Some(target) = catalog.node_named(&name) else { return no_node(&name) };
    if let Some(message) = cannot_leave(&catalog, target) {
        return failure(StatusCode::CONFLICT, "conflict", &message);
    }
    let kind = match drain.until_restart {
        true => Kind::SetNodeState(v1::SetNodeState {
            node: target.id,
            state: NodeState::Draining.into(),
            from: NodeState::Unspecified.into(),
        }),
        false => Kind::SetNodeDrain(v1::SetNodeDrain { node: target.id, drain: true }),
    };
    set_state(&node, &name, kind).await
}

/// Takes a node back onto the rings.
async fn undrain(State(node): State<Arc<Node>>, Path(name): Path<String>) -> Response {
    let catalog = node.view.current();
    let Some(target) = catalog.node_named(&name) else { return no_node(&name) };
    set_state(&node, &name, Kind::SetNodeDrain(v1::SetNodeDrain { node: target.id, drain: false })).await
}

fn no_node(name: &str) -> Response {
    let message = format!("node is {name:?}, which is not in the cluster: see /ring");
    failure(StatusCode::NOT_FOUND, "not_found", &message)
}

/// Has meta change a node; the answer says its new state.
async fn set_state(node: &Node, name: &str, kind: Kind) -> Response {
    let result = node.meta.execute(v1::Command { kind: Some(kind) }).await;
    match result.map(|result| result.outcome) {
        Ok(Some(Outcome::Rejection(rejection))) => failure(StatusCode::CONFLICT, "conflict", &rejection.message),
        Ok(Some(Outcome::Node(changed))) => {
            let state = node_state(changed.effective_state());
            axum::Json(json!({ "status": "success", "node": name, "state": state })).into_response()
        }
        Ok(_) => failure(StatusCode::INTERNAL_SERVER_ERROR, "internal", "meta's answer names no node"),
        Err(RpcError { kind: RpcErrorKind::Invalid, message }) => failure(StatusCode::BAD_REQUEST, "invalid", &message),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error.kind.as_str(), &error.to_string()),
    }
}

/// A partition needs as many ingesters as it has replicas.
fn cannot_leave(catalog: &Catalog, leaving: &v1::Node) -> Option<String> {
    let keeps = catalog.all_partitions().filter(|p| p.replicas.contains(&leaving.id));
    let replicas = keeps.map(|p| p.replicas.len()).max()?;
    let stay = catalog
        .nodes()
        .filter(|n| n.id != leaving.id && n.has_role("ingester") && n.effective_state() == NodeState::Active);
    let left = stay.count();
    (left < replicas).then(|| {
        format!(
            "node {} keeps partitions of {replicas} replicas, and only {left} other ingesters are active: start \
             another one first",
            leaving.name
        )
    })
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    match crate::selfotel::text(&node) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The ring as JSON where asked for, else as a page.
async fn ring(State(node): State<Arc<Node>>, headers: HeaderMap) -> Response {
    let catalog = node.view.current();
    let partitions = partitions(&node, &catalog).await;
    let nodes: Vec<Value> = catalog
        .nodes()
        .map(|n| {
            let state = node_state(n.effective_state());
            json!({ "id": n.id, "name": n.name, "state": state, "address": n.address, "zone": n.zone, "roles": n.roles })
        })
        .collect();
    let blocks = catalog.block_count();
    if headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).is_some_and(|a| a.contains("text/html")) {
        return Html(page(catalog.version(), blocks, &nodes, &partitions)).into_response();
    }
    axum::Json(json!({ "version": catalog.version(), "blocks": blocks, "nodes": nodes, "partitions": partitions }))
        .into_response()
}

/// The catalog's partitions, with what their leaders say of them.
async fn partitions(node: &Node, catalog: &Catalog) -> Vec<Value> {
    let said = seam::timeout(STATUS, node.ingesters.status()).await;
    let said = said.ok().and_then(Result::ok).unwrap_or_default();
    let leaders: BTreeMap<&str, &v1::PartitionStatus> =
        said.iter().filter(|s| s.leads).map(|s| (s.partition.as_str(), s)).collect();
    let name = |id: u64| catalog.node(id).map_or_else(|| format!("{id:x}"), |n| n.name.clone());
    let row = |partition: &Arc<v1::Partition>| {
        let leader = leaders.get(partition.name.as_str());
        json!({
            "partition": partition.name,
            "state": partition_state(partition.state()),
            "replicas": partition.replicas.iter().map(|id| name(*id)).collect::<Vec<_>>(),
            "leader": leader.map(|s| name(s.leader)),
            "watermark": partition.watermark,
            "position": leader.map(|s| s.position),
            "head_bytes": leader.map(|s| s.head_bytes),
            "log_bytes": leader.map(|s| s.log_bytes),
        })
    };
    Signal::ALL.into_iter().flat_map(|signal| catalog.partitions(signal)).map(row).collect()
}

fn partition_state(state: v1::PartitionState) -> &'static str {
    match state {
        v1::PartitionState::Creating => "creating",
        v1::PartitionState::Active => "active",
        v1::PartitionState::Sealed => "sealed",
        v1::PartitionState::Unspecified => "unknown",
    }
}

fn node_state(state: NodeState) -> &'static str {
    match state {
        NodeState::Active | NodeState::Unspecified => "active",
        NodeState::Unreachable => "unreachable",
        NodeState::Draining => "draining",
        NodeState::Lost => "lost",
    }
}

fn page(version: u64, blocks: usize, nodes: &[Value], partitions: &[Value]) -> String {
    format!(
        "<!doctype html><meta charset=utf-8><title>Bonghwa ring</title>\
         <style>body{{font:15px/1.5 system-ui;margin:2rem;color:#222}}table{{border-collapse:collapse;margin:1rem 0 2rem}}\
         th,td{{padding:.35rem .9rem;border-bottom:1px solid #ddd;text-align:left}}td{{font-variant-numeric:tabular-nums}}</style>\
         <h1>Ring</h1><p>Catalog version {version}, {blocks} blocks.</p><h2>Nodes</h2>{}<h2>Partitions</h2>{}",
        table(nodes, NODE_COLUMNS),
        table(partitions, PARTITION_COLUMNS),
    )
}

fn table(rows: &[Value], columns: &[&str]) -> String {
    let cell = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            items.iter().map(|i| i.as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>().join(", ")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let escape = |text: String| text.replace('&', "&amp;").replace('<', "&lt;");
    let head: String = columns.iter().map(|c| format!("<th>{}</th>", c.replace('_', " "))).collect();
    let body: String = rows
        .iter()
        .map(|row| {
            let cells: String = columns.iter().map(|c| format!("<td>{}</td>", escape(cell(&row[*c])))).collect();
            format!("<tr>{cells}</tr>")
        })
        .collect();
    format!("<table><tr>{head}</tr>{body}</table>")
}
