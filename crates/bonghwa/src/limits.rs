//! `/admin/limits`: what tenants may send, changed while the cluster runs. Meta keeps it, and every
//! distributor reads it from its copy of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bonghwa_model::TenantId;
use bonghwa_protocol::v1::TenantRates;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{RpcError, RpcErrorKind, v1};
use http::StatusCode;
use serde_json::json;

use crate::config::Limits;
use crate::node::Node;
use crate::pages::failure;

/// How long an answer waits until this node heeds what it tells of.
const OWN_COPY: Duration = Duration::from_secs(2);

#[derive(Clone)]
struct Context {
    node: Arc<Node>,
    configured: Arc<Limits>,
}

/// The routes.
pub fn router(node: Arc<Node>, configured: Limits) -> Router {
    Router::new()
        .route("/admin/limits", get(all))
        .route("/admin/limits/{tenant}", get(one).put(set).delete(end))
        .with_state(Context { node, configured: Arc::new(configured) })
}

/// The tenants whose limits were set at run time.
async fn all(State(Context { node, .. }): State<Context>) -> Response {
    let catalog = node.view.current();
    let given = catalog.all_tenant_limits().map(|(tenant, rates)| (tenant.as_str(), rates));
    axum::Json(json!({ "overrides": given.collect::<BTreeMap<&str, &TenantRates>>() })).into_response()
}

/// The limits that hold for a tenant, and where they come from.
async fn one(State(Context { node, configured }): State<Context>, Path(tenant): Path<String>) -> Response {
    let tenant = match TenantId::new(&tenant) {
        Ok(tenant) => tenant,
        Err(error) => return bad(format!("tenant is {tenant:?}: {error}")),
    };
    let catalog = node.view.current();
    let (source, limits) = match catalog.tenant_limits(&tenant) {
        Some(rates) => ("run time", *rates),
        None => configured.of(&tenant),
    };
    axum::Json(json!({ "tenant": tenant.as_str(), "source": source, "limits": limits })).into_response()
}

/// Sets all limits of a tenant; those that the body leaves out are none.
async fn set(
    State(Context { node, .. }): State<Context>,
    Path(tenant): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return failure(rejection.status(), "invalid", &rejection.body_text()),
    };
    let rates: TenantRates = match serde_json::from_slice(&body) {
        Ok(rates) => rates,
        Err(error) => {
            return bad(format!("the body is not the JSON of rates, such as {{\"logs_rate\": 4e6}}: {error}"));
        }
    };
    let answer = json!({ "status": "success", "tenant": tenant, "limits": rates });
    execute(&node, tenant, Some(rates), answer).await
}

/// Lets the configuration's limits hold again.
async fn end(State(Context { node, .. }): State<Context>, Path(tenant): Path<String>) -> Response {
    let answer = json!({ "status": "success", "tenant": tenant });
    execute(&node, tenant, None, answer).await
}

async fn execute(node: &Node, tenant: String, rates: Option<TenantRates>, answer: serde_json::Value) -> Response {
    let limits = Some(v1::TenantLimits { tenant, rates });
    let command = v1::Command { kind: Some(Kind::SetTenantLimits(v1::SetTenantLimits { limits })) };
    match node.meta.execute(command).await {
        Ok(v1::CommandResult { outcome: Some(Outcome::Rejection(rejection)), .. }) => bad(rejection.message),
        Ok(v1::CommandResult { version, .. }) => {
            // Without it in time, this node follows as the others do.
            let _ = node.view.wait_for_version(version, OWN_COPY).await;
            axum::Json(answer).into_response()
        }
        Err(RpcError { kind: RpcErrorKind::Invalid, message }) => bad(message),
        Err(error) => failure(StatusCode::SERVICE_UNAVAILABLE, error.kind.as_str(), &error.to_string()),
    }
}

fn bad(message: String) -> Response {
    failure(StatusCode::BAD_REQUEST, "invalid", &message)
}
