//! The operator's door.

use std::sync::Arc;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use axum::body::Body;
use bonghwa_cluster::seam;
use bonghwa_compactor::{CompactorOptions, router};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{EncodedBatch, IngesterClient, RpcError, v1};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support;
use crate::world::World;

/// All that was written lies in blocks.
struct NoTails;

#[async_trait]
impl IngesterClient for NoTails {
    async fn append(&self, partition: &str, _: &TenantId, _: EncodedBatch) -> Result<u64, RpcError> {
        Err(RpcError::not_found(partition))
    }

    async fn describe_tail(&self, request: v1::DescribeTailRequest) -> Result<v1::DescribeTailResponse, RpcError> {
        Ok(v1::DescribeTailResponse { through: request.watermark, rows: None })
    }

    async fn tail(&self, _: v1::TailRequest) -> Result<BoxStream<'static, Result<RecordBatch, RpcError>>, RpcError> {
        Ok(stream::empty().boxed())
    }

    async fn flush(&self) -> Result<Vec<String>, RpcError> {
        Ok(Vec::new())
    }

    async fn status(&self) -> Result<Vec<v1::PartitionStatus>, RpcError> {
        Ok(Vec::new())
    }
}

async fn call(app: &axum::Router, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("x-scope-orgid", "team-a").body(body).unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn deletes_over_http() {
    let mut rng = StdRng::seed_from_u64(31);
    let mut world = World::new().await;
    for _ in 0..3 {
        let batches = support::batches(Signal::Logs, &mut rng);
        world.flush(Signal::Logs, &batches, &Default::default()).await;
    }
    let app = router(world.compactor("n1", CompactorOptions::default()), Arc::new(NoTails));
    let all = world.seen().await;

    let wanted = json!({ "signal": "logs", "service": "service-1", "end": i64::MAX });
    let (status, made) = call(&app, "POST", "/admin/deletes", wanted.clone()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!((&made["id"], &made["tenant"], &made["service"]), (&json!(1), &json!("team-a"), &json!("service-1")));
    let seen = world.seen().await;
    assert!(seen.len() < all.len(), "effective at once");
    assert_eq!(call(&app, "GET", "/admin/deletes", Value::Null).await, (StatusCode::OK, json!([made])));

    assert_eq!(call(&app, "DELETE", "/admin/deletes/1", Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.seen().await, all, "taken back");
    assert_eq!(call(&app, "GET", "/admin/deletes", Value::Null).await.1, json!([]));

    assert_eq!(call(&app, "POST", "/admin/deletes", wanted).await.1["id"], json!(2));
    let (status, report) = call(&app, "POST", "/admin/compact", Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(report["items_dropped"], json!(all.len() - seen.len()));
    assert_eq!(call(&app, "DELETE", "/admin/deletes/2", Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(world.seen().await, seen, "what is taken out stays out");
    assert!(seam::unix_nanos() > 0);

    for (body, says) in [
        (json!({ "signal": "log" }), "signal is \"log\": name logs"),
        (json!({ "signal": "traces", "body_contains": "x" }), "which traces do not have"),
        (json!({ "signal": "logs", "start": 5, "end": 4 }), "delete.min_time 5 is after"),
        (json!({ "signal": "logs", "colour": 1 }), "unknown field `colour`"),
        (json!({ "signal": "logs", "tenant": "a/b" }), "delete.tenant is \"a/b\""),
        (json!({ "signal": "logs", "min_severity": 9, "max_severity": 5 }), "is above max_severity 5"),
    ] {
        let (status, answer) = call(&app, "POST", "/admin/deletes", body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{body}: {answer}");
    }
    assert_eq!(call(&app, "DELETE", "/admin/deletes/77", Value::Null).await.0, StatusCode::NOT_FOUND);
}
