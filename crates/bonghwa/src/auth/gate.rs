//! The gate in front of a listener's routes: who asks, whether they may, and for which tenants.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bonghwa_model::TenantSet;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prometheus::{IntCounterVec, register_int_counter_vec};
use serde_json::json;

use super::callers::Callers;
use super::routes::{self, Needs};
use super::watch::Watched;
use crate::config;

/// Names the tenants of a request. Behind the gate it says what the gate decided.
const TENANT: &str = "x-scope-orgid";

static REFUSED: LazyLock<Option<IntCounterVec>> = LazyLock::new(|| {
    let help = "Requests refused before they reached a handler, by reason";
    register_int_counter_vec!("bonghwa_auth_refused_total", help, &["reason"]).ok()
});

/// How a listener answers.
#[derive(Clone, Copy)]
pub enum Speaks {
    /// With a status and, but for OTLP, JSON.
    Http,
    /// With `grpc-status`.
    Grpc,
}

/// Lets requests through that may pass; all, where authentication is off.
pub struct Gate {
    callers: Option<Watched>,
}

/// Why a request is not let through.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
    message: String,
}

impl Refusal {
    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Refusal { status, reason, message: message.into() }
    }
}

impl Gate {
    /// The gate that the configuration asks for; its file of callers must be good.
    pub fn open(options: &config::Auth) -> Result<Arc<Self>> {
        let callers = match options.enabled {
            true => Some(Watched::open(&options.file).context("auth.file")?),
            false => None,
        };
        Ok(Arc::new(Gate { callers }))
    }

    /// These routes behind the gate.
    pub fn guard(self: &Arc<Self>, router: Router, speaks: Speaks) -> Router {
        let gate = self.clone();
        router.layer(middleware::from_fn(move |request: Request, next: Next| {
            let gate = gate.clone();
            async move { gate.pass(speaks, request, next).await }
        }))
    }

    async fn pass(&self, speaks: Speaks, mut request: Request, next: Next) -> Response {
        let Some(needs) = routes::needs(request.uri().path()) else { return speaks.not_served(&request) };
        let Some(callers) = &self.callers else { return next.run(request).await };
        let decided = decide(&callers.current(), needs, &request);
        match decided {
            Ok(tenants) => {
                let headers = request.headers_mut();
                headers.remove(TENANT);
                // Nobody behind the gate needs it, and so nobody can log it.
                headers.remove(header::AUTHORIZATION);
                if let Some(tenants) = tenants {
                    headers.insert(TENANT, tenants);
                }
                next.run(request).await
            }
            Err(refusal) => {
                if let Some(refused) = &*REFUSED {
                    refused.with_label_values(&[refusal.reason]).inc();
                }
                tracing::debug!(path = request.uri().path(), reason = refusal.reason, "{}", refusal.message);
                speaks.refuse(needs, request.headers(), refusal)
            }
        }
    }
}

/// Whether the request may pass; the tenants that it is for, as the header that says so.
fn decide(callers: &Callers, needs: Needs, request: &Request) -> Result<Option<HeaderValue>, Refusal> {
    if needs == Needs::Nothing {
        return Ok(None);
    }
    let headers = request.headers();
    let mut presented = headers.get_all(header::AUTHORIZATION).iter();
    let caller = match (presented.next(), presented.next()) {
        (Some(only), None) => callers.find(only.as_bytes()),
        _ => None,
    };
    let Some(caller) = caller else {
        let message = "Authorization has no valid credentials: send `Bearer TOKEN`, or Basic with user name and \
                       password, of a caller in auth.file";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "credentials", message));
    };
    let name = &caller.name;
    if let Some(right) = caller.lacks(needs) {
        let message = format!(
            "caller {name} lacks the right {right} that {} needs: have it added to auth.file",
            request.uri().path()
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, "right", message));
    }
    if !matches!(needs, Needs::Read | Needs::Write) {
        return Ok(None);
    }
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, "header", message);
    let mut named = headers.get_all(TENANT).iter();
    let tenants = match (named.next(), named.next()) {
        (Some(only), None) => {
            TenantSet::parse(&String::from_utf8_lossy(only.as_bytes())).map_err(|error| bad(error.to_string()))?
        }
        (Some(_), Some(_)) => {
            return Err(bad("X-Scope-OrgID is there twice: send it once, several tenants as a|b".to_owned()));
        }
        (None, _) => match caller.only_tenant() {
            Some(only) => only.into(),
            None => {
                return Err(bad(format!(
                    "X-Scope-OrgID is missing: caller {name} may use several tenants, name one of: {}",
                    caller.tenants_in_words()
                )));
            }
        },
    };
    if let Some(stranger) = caller.stranger(&tenants) {
        let message = format!(
            "X-Scope-OrgID names tenant {stranger}, which caller {name} may not use: name one of: {}",
            caller.tenants_in_words()
        );
        return Err(Refusal::new(StatusCode::FORBIDDEN, "tenant", message));
    }
    if needs == Needs::Write {
        tenants.only().map_err(|error| bad(error.to_string()))?;
    }
    HeaderValue::from_str(&tenants.to_string()).map(Some).map_err(|error| bad(error.to_string()))
}

impl Speaks {
    fn not_served(self, request: &Request) -> Response {
        let path = request.uri().path();
        match self {
            Speaks::Http => {
                let message = format!("{} {path} is not served here\n", request.method());
                (StatusCode::NOT_FOUND, message).into_response()
            }
            Speaks::Grpc => {
                let message = bonghwa_distributor::grpc::not_served(path);
                bonghwa_distributor::grpc::refuse(StatusCode::NOT_FOUND, &message)
            }
        }
    }

    fn refuse(self, needs: Needs, headers: &HeaderMap, refusal: Refusal) -> Response {
        let Refusal { status, message, .. } = refusal;
        let mut response = match (self, needs) {
            (Speaks::Grpc, _) => return bonghwa_distributor::grpc::refuse(status, &message),
            (Speaks::Http, Needs::Write) => bonghwa_distributor::http::refuse(headers, status, &message),
            (Speaks::Http, _) => {
                let kind = match status {
                    StatusCode::UNAUTHORIZED => "unauthorized",
                    StatusCode::FORBIDDEN => "forbidden",
                    _ => "bad_data",
                };
                let body = json!({ "status": "error", "errorType": kind, "error": message });
                (status, axum::Json(body)).into_response()
            }
        };
        if status == StatusCode::UNAUTHORIZED {
            for scheme in ["Bearer realm=\"bonghwa\"", "Basic realm=\"bonghwa\", charset=\"UTF-8\""] {
                response.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::body::Body;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    use super::*;

    const CALLERS: &str = "callers:
  - { name: reader, token: reader, tenants: [a], rights: [read] }
  - { name: writer, token: writer, tenants: [a], rights: [write] }
  - { name: both, token: both, tenants: [a, b], rights: [read, write] }
  - { name: admin, token: admin, rights: [admin] }
  - { name: star, token: star, tenants: '*', rights: [read] }
";

    async fn gate(enabled: bool) -> Arc<Gate> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), CALLERS).unwrap();
        Gate::open(&config::Auth { enabled, file: file.path().to_owned() }).unwrap()
    }

    /// Routes that answer with the tenants that reach them.
    fn echo() -> Router {
        let echo = |headers: HeaderMap| async move {
            let tenants = headers.get_all(TENANT).iter().map(|t| t.to_str().unwrap().to_owned());
            let hidden = headers.get(header::AUTHORIZATION).is_none();
            format!("{}{}", tenants.collect::<Vec<_>>().join("+"), if hidden { "" } else { " and Authorization" })
        };
        Router::new()
            .route("/ready", get(echo))
            .route("/api/v1/sql", get(echo))
            .route("/v1/logs", post(echo))
            .route("/metrics", get(echo))
            .route("/admin/flush", post(echo))
            .route("/undecided", get(echo))
    }

    async fn send(gate: &Arc<Gate>, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let method = if matches!(path, "/v1/logs" | "/admin/flush") { "POST" } else { "GET" };
        let request =
            headers.iter().fold(http::Request::builder().method(method).uri(path), |r, (k, v)| r.header(*k, *v));
        let response = gate.guard(echo(), Speaks::Http).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let challenged = response.headers().get_all(header::WWW_AUTHENTICATE).iter().count();
        assert_eq!(challenged, if status == 401 { 2 } else { 0 }, "{path}");
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn requests_pass_for_the_tenants_of_their_callers() {
        let gate = gate(true).await;
        for (token, path, tenants, status, words) in [
            ("", "/ready", &["x"][..], 200, ""),
            ("", "/api/v1/sql", &[], 401, "Authorization has no valid credentials"),
            ("nobody", "/api/v1/sql", &["a"], 401, "Authorization"),
            ("reader", "/api/v1/sql", &[], 200, "a"),
            ("reader", "/api/v1/sql", &["a"], 200, "a"),
            ("reader", "/api/v1/sql", &["a|a"], 200, "a"),
            ("reader", "/api/v1/sql", &["b"], 403, "tenant b, which caller reader may not use"),
            ("reader", "/api/v1/sql", &["a|b"], 403, "tenant b"),
            ("reader", "/api/v1/sql", &["a", "b"], 400, "twice"),
            ("reader", "/api/v1/sql", &["a/b"], 400, "X-Scope-OrgID"),
            ("reader", "/api/v1/sql", &[""], 400, "X-Scope-OrgID is empty"),
            ("reader", "/v1/logs", &[], 403, "lacks the right `write` that /v1/logs needs"),
            ("reader", "/metrics", &[], 403, "`admin`, or `read` for all tenants"),
            ("reader", "/admin/flush", &[], 403, "the right `admin`"),
            ("writer", "/v1/logs", &[], 200, "a"),
            ("writer", "/v1/logs", &["b"], 403, "tenant b"),
            ("writer", "/api/v1/sql", &[], 403, "`read`"),
            ("both", "/api/v1/sql", &[], 400, "X-Scope-OrgID is missing"),
            ("both", "/api/v1/sql", &["b|a"], 200, "a|b"),
            ("both", "/api/v1/sql", &["b|c"], 403, "tenant c"),
            ("both", "/v1/logs", &["b"], 200, "b"),
            ("both", "/v1/logs", &["a|b"], 400, "goes to one tenant"),
            ("admin", "/admin/flush", &["a"], 200, ""),
            ("admin", "/metrics", &[], 200, ""),
            ("admin", "/api/v1/sql", &["a"], 403, "`read`"),
            ("star", "/api/v1/sql", &["any|thing"], 200, "any|thing"),
            ("star", "/api/v1/sql", &[], 400, "name one of: any"),
            ("star", "/metrics", &[], 200, ""),
            ("star", "/admin/flush", &[], 403, "`admin`"),
            ("admin", "/undecided", &[], 404, "not served"),
            ("", "/nowhere", &[], 404, "not served"),
        ] {
            let bearer = format!("Bearer {token}");
            let mut headers: Vec<(&str, &str)> = tenants.iter().map(|tenant| ("x-scope-orgid", *tenant)).collect();
            headers.extend((!token.is_empty()).then_some(("authorization", bearer.as_str())));
            let (found, body) = send(&gate, path, &headers).await;
            assert_eq!(found, status, "{token} {path} {tenants:?}: {body}");
            if status == 200 {
                assert_eq!(body, words, "{token} {path} {tenants:?}");
            } else {
                assert!(body.contains(words), "{token} {path} {tenants:?}: {body}");
            }
        }
        let twice = [("authorization", "Bearer reader"), ("authorization", "Bearer admin")];
        assert_eq!(send(&gate, "/api/v1/sql", &twice).await.0, 401);
    }

    #[tokio::test]
    async fn without_authentication_all_passes_that_has_a_decision() {
        let gate = gate(false).await;
        for (path, headers, status, body) in [
            ("/api/v1/sql", &[("x-scope-orgid", "b")][..], 200, "b"),
            ("/api/v1/sql", &[], 200, ""),
            ("/admin/flush", &[], 200, ""),
            ("/undecided", &[], 404, "GET /undecided is not served here\n"),
        ] {
            assert_eq!(send(&gate, path, headers).await, (status, body.to_owned()), "{path}");
        }
    }

    #[tokio::test]
    async fn grpc_is_refused_in_its_own_words() {
        let gate = gate(true).await;
        let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        for (path, headers, status) in [
            (path, &[] as &[(&str, &str)], "16"),
            (path, &[("authorization", "Bearer reader")], "7"),
            (path, &[("authorization", "Bearer both")], "3"),
            ("/grpc.health.v1.Health/Check", &[("authorization", "Bearer both")], "12"),
        ] {
            let router = Router::new().route(path, post(|| async { "" }));
            let request = headers.iter().fold(http::Request::post(path), |r, (k, v)| r.header(*k, *v));
            let request = request.body(Body::empty()).unwrap();
            let response = gate.guard(router, Speaks::Grpc).oneshot(request).await.unwrap();
            let code = response.headers()["grpc-status"].to_str().unwrap();
            assert_eq!((response.status().as_u16(), code), (200, status), "{path}");
            assert!(response.headers().contains_key("grpc-message"));
        }
    }
}
