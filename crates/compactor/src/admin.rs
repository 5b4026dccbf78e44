//! The operator's door: compact now, and deletes.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bonghwa_cluster::{create_delete, seam};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{IngesterClient, v1};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::lease::{Commands, unless_rejected};
use crate::{Compactor, CompactorError};

/// `POST /admin/compact`, and `/admin/deletes`: `POST` makes one, `GET` lists those that
/// are not carried out yet, `DELETE /admin/deletes/ID` takes one back. Who may call them
/// is for whoever mounts the router to say.
pub fn router(compactor: Arc<Compactor>, ingesters: Arc<dyn IngesterClient>) -> Router {
    Router::new()
        .route("/admin/compact", post(compact))
        .route(
            "/admin/deletes",
            get(list).post(move |compactor, headers, body| create(compactor, ingesters, headers, body)),
        )
        .route("/admin/deletes/{id}", delete(remove))
        .with_state(compactor)
}

async fn compact(State(compactor): State<Arc<Compactor>>) -> Response {
    Json(compactor.run_once(seam::unix_nanos()).await).into_response()
}

/// A delete, as a caller writes it and as the list shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteText {
    /// Given by meta.
    #[serde(default)]
    id: u64,
    /// Left out: that of `X-Scope-OrgID`.
    #[serde(default)]
    tenant: String,
    /// `logs`, `metrics` or `traces`.
    signal: String,
    #[serde(default)]
    service: String,
    /// Key and value; sought in the record, then in its resource.
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    min_severity: u32,
    #[serde(default)]
    max_severity: u32,
    #[serde(default)]
    body_contains: String,
    /// How many series are meant, where Prometheus' API named them. Only shown.
    #[serde(skip_deserializing, skip_serializing_if = "is_zero")]
    series: usize,
    /// Unix nanoseconds, inclusive; left out: from the first row on.
    #[serde(default)]
    start: Option<i64>,
    /// Unix nanoseconds, inclusive; left out: up to now.
    #[serde(default)]
    end: Option<i64>,
    /// Unix nanoseconds.
    #[serde(default)]
    created_at: i64,
}

impl From<&v1::Delete> for DeleteText {
    fn from(delete: &v1::Delete) -> Self {
        let mut selector = delete.selector.clone().unwrap_or_default();
        if !selector.series.is_empty() {
            // Their guard is no condition.
            selector.attributes.clear();
        }
        DeleteText {
            id: delete.id,
            tenant: delete.tenant.clone(),
            signal: delete.model_signal().map(|s| s.to_string()).unwrap_or_default(),
            service: selector.service,
            attributes: selector.attributes.into_iter().map(|a| (a.key, a.value)).collect(),
            min_severity: selector.min_severity,
            max_severity: selector.max_severity,
            body_contains: selector.body_contains,
            series: selector.series.len(),
            start: Some(delete.min_time),
            end: Some(delete.max_time),
            created_at: delete.created_at,
        }
    }
}

impl DeleteText {
    fn into_delete(self, headers: &HeaderMap, now: i64) -> Result<v1::Delete, ApiError> {
        let signal = Signal::ALL
            .into_iter()
            .find(|signal| signal.as_str() == self.signal)
            .ok_or_else(|| bad(format!("signal is {:?}: name logs, metrics or traces", self.signal)))?;
        let attributes = self.attributes.into_iter();
        let attributes = attributes.map(|(key, value)| v1::AttributeMatch { key, value, ..Default::default() });
        let selector = v1::Selector {
            service: self.service,
            attributes: attributes.collect(),
            min_severity: self.min_severity,
            max_severity: self.max_severity,
            body_contains: self.body_contains,
            series: Vec::new(),
        };
        Ok(v1::Delete {
            id: 0,
            tenant: if self.tenant.is_empty() { tenant_of(headers)? } else { self.tenant },
            signal: v1::Signal::from(signal).into(),
            selector: Some(selector),
            min_time: self.start.unwrap_or(i64::MIN),
            max_time: self.end.unwrap_or(now),
            created_at: now,
        })
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

fn tenant_of(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(value) = headers.get("x-scope-orgid") else { return Ok(TenantId::default_tenant().as_str().to_owned()) };
    let name = value.to_str().map_err(|_| bad("X-Scope-OrgID is not ASCII: a tenant name is"))?;
    TenantId::new(name).map(|tenant| tenant.as_str().to_owned()).map_err(|error| bad(error.to_string()))
}

async fn list(State(compactor): State<Arc<Compactor>>) -> Response {
    let catalog = compactor.commands().view.current();
    Json(catalog.deletes().map(|delete| DeleteText::from(&**delete)).collect::<Vec<_>>()).into_response()
}

async fn create(
    State(compactor): State<Arc<Compactor>>,
    ingesters: Arc<dyn IngesterClient>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let text: DeleteText = serde_json::from_slice(&body).map_err(|error| {
        bad(format!("the body is no delete such as {{\"signal\": \"logs\", \"service\": \"a\"}}: {error}"))
    })?;
    let delete = text.into_delete(&headers, seam::unix_nanos())?;
    let commands = compactor.commands();
    let made = create_delete(&commands.view, &*ingesters, &*commands.meta, delete).await;
    let result = followed(commands, made.map(unless_rejected).map_err(CompactorError::from)).await?;
    match result.outcome {
        Some(Outcome::Delete(delete)) => Ok((StatusCode::CREATED, Json(DeleteText::from(&delete))).into_response()),
        _ => {
            Err(ApiError { status: StatusCode::BAD_GATEWAY, message: "meta did not name the delete: list them".into() })
        }
    }
}

async fn remove(State(compactor): State<Arc<Compactor>>, Path(id): Path<u64>) -> Result<Response, ApiError> {
    run(compactor.commands(), Kind::RemoveDelete(v1::RemoveDelete { id })).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Runs a command and waits until this node sees what it did.
async fn run(commands: &Commands, kind: Kind) -> Result<v1::CommandResult, ApiError> {
    followed(commands, commands.run(kind).await).await
}

/// Waits until this node sees what a command did.
async fn followed(
    commands: &Commands,
    ran: Result<Result<v1::CommandResult, v1::Rejection>, CompactorError>,
) -> Result<v1::CommandResult, ApiError> {
    let unavailable =
        |error: CompactorError| ApiError { status: StatusCode::SERVICE_UNAVAILABLE, message: error.to_string() };
    match ran.map_err(unavailable)? {
        Ok(result) => {
            commands.follow(result.version).await.map_err(unavailable)?;
            Ok(result)
        }
        Err(rejection) => {
            let status = match rejection.reason() {
                v1::RejectionReason::NotFound => StatusCode::NOT_FOUND,
                v1::RejectionReason::Conflict => StatusCode::CONFLICT,
                _ => StatusCode::BAD_REQUEST,
            };
            Err(ApiError { status, message: rejection.message })
        }
    }
}

struct ApiError {
    status: StatusCode,
    message: String,
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::BAD_REQUEST, message: message.into() }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(serde_json::json!({ "error": self.message }))).into_response()
    }
}
