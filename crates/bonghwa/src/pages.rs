//! What operators look at: health, metrics, configuration, the ring; and `/admin`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use bonghwa_model::Signal;
use bonghwa_protocol::{IngesterClient, v1};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::config::Config;
use crate::node::Node;

/// What `/ring` and `bonghwa ring` show of a node.
pub const NODE_COLUMNS: &[&str] = &["name", "address", "zone", "roles"];
/// And of a partition.
pub const PARTITION_COLUMNS: &[&str] =
    &["partition", "state", "replicas", "leads", "watermark", "position", "head_bytes"];

/// The routes; all of them answer only once the node is ready.
pub fn router(node: Arc<Node>, config: &Config) -> Router {
    let yaml = config.to_yaml();
    Router::new()
        .route("/ready", get(|| async { "ready\n" }))
        .route("/health", get(|| async { "ok\n" }))
        .route("/metrics", get(metrics))
        .route("/config", get(move || async move { ([(header::CONTENT_TYPE, "text/yaml")], yaml) }))
        .route("/version", get(|| async { axum::Json(json!({ "version": env!("CARGO_PKG_VERSION") })) }))
        .route("/ring", get(ring))
        .route("/admin/flush", post(flush))
        .with_state(node)
}

async fn flush(State(node): State<Arc<Node>>) -> Response {
    match node.ingester.flush().await {
        Ok(blocks) => axum::Json(json!({ "status": "success", "blocks": blocks })).into_response(),
        Err(error) => {
            let body = json!({ "status": "error", "errorType": error.kind.as_str(), "error": error.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
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
    let status = node.ingester.status();
    let partitions: Vec<serde_json::Value> = Signal::ALL
        .into_iter()
        .flat_map(|signal| catalog.partitions(signal))
        .map(|partition| {
            let here = status.iter().find(|s| s.partition == partition.name);
            let state = match partition.state() {
                v1::PartitionState::Active => "active",
                v1::PartitionState::Sealed => "sealed",
                v1::PartitionState::Unspecified => "unknown",
            };
            json!({
                "partition": partition.name,
                "state": state,
                "replicas": partition.replicas.iter().map(|id| catalog.node(*id).map(|n| n.name.clone())).collect::<Vec<_>>(),
                "leads": here.is_some_and(|s| s.leads),
                "watermark": partition.watermark,
                "position": here.map(|s| s.position),
                "head_bytes": here.map(|s| s.head_bytes),
            })
        })
        .collect();
    let nodes: Vec<serde_json::Value> = catalog
        .nodes()
        .map(|n| json!({ "id": n.id, "name": n.name, "address": n.address, "zone": n.zone, "roles": n.roles }))
        .collect();
    let blocks = catalog.block_count();
    if headers.get(header::ACCEPT).and_then(|a| a.to_str().ok()).is_some_and(|a| a.contains("text/html")) {
        return Html(page(catalog.version(), blocks, &nodes, &partitions)).into_response();
    }
    axum::Json(json!({ "version": catalog.version(), "blocks": blocks, "nodes": nodes, "partitions": partitions }))
        .into_response()
}

fn page(version: u64, blocks: usize, nodes: &[serde_json::Value], partitions: &[serde_json::Value]) -> String {
    format!(
        "<!doctype html><meta charset=utf-8><title>Bonghwa ring</title>\
         <style>body{{font:15px/1.5 system-ui;margin:2rem;color:#222}}table{{border-collapse:collapse;margin:1rem 0 2rem}}\
         th,td{{padding:.35rem .9rem;border-bottom:1px solid #ddd;text-align:left}}td{{font-variant-numeric:tabular-nums}}</style>\
         <h1>Ring</h1><p>Catalog version {version}, {blocks} blocks.</p><h2>Nodes</h2>{}<h2>Partitions</h2>{}",
        table(nodes, NODE_COLUMNS),
        table(partitions, PARTITION_COLUMNS),
    )
}

fn table(rows: &[serde_json::Value], columns: &[&str]) -> String {
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(items) => {
            items.iter().map(|i| i.as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>().join(", ")
        }
        serde_json::Value::Null => String::new(),
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
