//! The routes over an engine without data.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use bonghwa_cluster::{Catalog, ClusterDirectory, ClusterView, Directory, connect_ingester, seam};
use bonghwa_protocol::{IngesterClient, MetaClient, RemoteOptions, RpcError, RpcErrorKind, v1};
use bonghwa_query::{Engine, EngineOptions};
use futures::stream::BoxStream;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tower::ServiceExt;

const STALE_AFTER: Duration = Duration::from_secs(3);

struct Nobody;

impl Directory for Nobody {
    fn ingester(&self, node: u64) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Err(RpcError::not_found(format!("there is no node {node}")))
    }

    fn leader_of(&self, partition: &str) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Err(RpcError::not_found(format!("there is no partition {partition}")))
    }
}

/// The catalog has partitions, and none of their leaders can be reached.
struct Away;

impl Directory for Away {
    fn ingester(&self, node: u64) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Err(RpcError::new(RpcErrorKind::Unreachable, format!("node {node} is away")))
    }

    fn leader_of(&self, partition: &str) -> Result<Arc<dyn IngesterClient>, RpcError> {
        Err(RpcError::new(RpcErrorKind::Unreachable, format!("the leader of {partition} is away")))
    }
}

async fn send(request: Request<Body>) -> Response<Body> {
    send_to(Catalog::default(), Arc::new(Nobody), request).await
}

async fn send_to(catalog: Catalog, directory: Arc<dyn Directory>, request: Request<Body>) -> Response<Body> {
    send_with(ClusterView::fixed(catalog), directory, request).await
}

async fn send_with(view: Arc<ClusterView>, directory: Arc<dyn Directory>, request: Request<Body>) -> Response<Body> {
    let options = EngineOptions { timeout: Duration::from_millis(800), target_partitions: 2, ..Default::default() };
    let engine = Arc::new(Engine::new(view.clone(), directory, Arc::new(InMemory::new()), options));
    let meta = Arc::new(Silent);
    let connect = connect_ingester(RemoteOptions::default());
    let ingesters = ClusterDirectory::new(view.clone(), None, connect).leaders();
    crate::router(crate::Querier { engine, meta, ingesters, view, stale_after: STALE_AFTER })
        .oneshot(request)
        .await
        .unwrap()
}

async fn sql(query: &str, accept: &str) -> (StatusCode, String, Vec<u8>) {
    let body = json!({ "query": query }).to_string();
    let request = Request::post("/api/v1/sql").header("content-type", "application/json").header("accept", accept);
    read(send(request.body(body.into()).unwrap()).await).await
}

async fn read(response: Response<Body>) -> (StatusCode, String, Vec<u8>) {
    let content_type = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    (status, content_type.unwrap_or_default(), body)
}

const ROWS: &str = "SELECT * FROM (VALUES (1, 'a,\"b', 1.5), (NULL, '', CAST('NaN' AS DOUBLE))) AS t(n, s, f)";

#[tokio::test]
async fn formats() {
    for (accept, content_type, expected) in [
        (
            "*/*",
            "application/json",
            "[\n{\"n\":1,\"s\":\"a,\\\"b\",\"f\":1.5},\n{\"n\":null,\"s\":\"\",\"f\":\"NaN\"}\n]\n",
        ),
        (
            "application/x-ndjson",
            "application/x-ndjson",
            "{\"n\":1,\"s\":\"a,\\\"b\",\"f\":1.5}\n{\"n\":null,\"s\":\"\",\"f\":\"NaN\"}\n",
        ),
        ("text/csv", "text/csv; charset=utf-8; header=present", "n,s,f\r\n1,\"a,\"\"b\",1.5\r\n,\"\",NaN\r\n"),
    ] {
        let (status, found, body) = sql(ROWS, accept).await;
        assert_eq!((status, found.as_str()), (StatusCode::OK, content_type), "{accept}");
        assert_eq!(String::from_utf8(body).unwrap(), expected, "{accept}");
    }
    let (_, content_type, body) = sql(ROWS, "application/vnd.apache.arrow.stream").await;
    assert_eq!(content_type, "application/vnd.apache.arrow.stream");
    let reader = arrow::ipc::reader::StreamReader::try_new(body.as_slice(), None).unwrap();
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 2);
}

#[tokio::test]
async fn no_rows() {
    for (accept, expected) in
        [("application/json", "[]\n"), ("application/x-ndjson", ""), ("text/csv", "time,body\r\n")]
    {
        let (status, _, body) = sql("SELECT time, body FROM logs", accept).await;
        assert_eq!((status, String::from_utf8(body).unwrap().as_str()), (StatusCode::OK, expected), "{accept}");
    }
    let (_, _, body) = sql("SELECT body FROM logs", "application/vnd.apache.arrow.stream").await;
    let mut reader = arrow::ipc::reader::StreamReader::try_new(body.as_slice(), None).unwrap();
    assert_eq!(reader.schema().field(0).name(), "body");
    assert!(reader.next().is_none());
}

#[tokio::test]
async fn errors_have_a_status_and_a_sentence() {
    let endless = "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t";
    for (query, accept, status, kind) in [
        ("SELECT nothing FROM logs", "*/*", StatusCode::BAD_REQUEST, "bad_data"),
        ("SELEC 1", "*/*", StatusCode::BAD_REQUEST, "bad_data"),
        ("DROP TABLE logs", "*/*", StatusCode::BAD_REQUEST, "refused"),
        ("SELECT 1; SELECT 2", "*/*", StatusCode::BAD_REQUEST, "refused"),
        (
            "SELECT CAST(s AS BIGINT) FROM (VALUES ('x'), ('y')) AS t(s) WHERE random() >= 0",
            "*/*",
            StatusCode::UNPROCESSABLE_ENTITY,
            "execution",
        ),
        (endless, "*/*", StatusCode::UNPROCESSABLE_ENTITY, "timeout"),
        ("SELECT 1", "image/png", StatusCode::NOT_ACCEPTABLE, "bad_data"),
    ] {
        let (found, _, body) = sql(query, accept).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (found, body["status"].as_str(), body["errorType"].as_str()),
            (status, Some("error"), Some(kind)),
            "{query}: {body}"
        );
        assert!(body["error"].as_str().is_some_and(|text| text.len() > 10), "{query}: {body}");
    }
}

#[tokio::test]
async fn requests() {
    let get = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
    for (request, status) in [
        (get("/api/v1/sql?query=SELECT%201"), StatusCode::OK),
        (get("/api/v1/sql"), StatusCode::BAD_REQUEST),
        (get("/api/v1/sql?query=SELECT%201&x=1"), StatusCode::BAD_REQUEST),
        (Request::post("/api/v1/sql").body("nonsense".into()).unwrap(), StatusCode::BAD_REQUEST),
        (
            Request::post("/api/v1/sql").header("content-type", "text/plain").body("SELECT 1".into()).unwrap(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
        (
            Request::post("/api/v1/sql").header("x-scope-orgid", "a/b").body(r#"{"query":"SELECT 1"}"#.into()).unwrap(),
            StatusCode::BAD_REQUEST,
        ),
        (Request::post("/api/v1/sql").body(vec![b' '; 3 << 20].into()).unwrap(), StatusCode::PAYLOAD_TOO_LARGE),
        (get("/api/traces/1a2b"), StatusCode::NOT_FOUND),
        (get("/tempo/api/v2/traces/1a2b?start=1&end=2"), StatusCode::NOT_FOUND),
        (get("/api/traces/xyz"), StatusCode::BAD_REQUEST),
        (get("/api/echo"), StatusCode::OK),
        (get("/api/v1/query?query=up&lookback_delta=0"), StatusCode::OK),
        (get("/api/v1/query?query=up&lookback_delta=-300"), StatusCode::OK),
        // Its selectors are what matters, not the steps that it would be evaluated at.
        (get("/api/v1/query_exemplars?query=max_over_time(vector(time())[40000d:1s])"), StatusCode::OK),
        (get("/api/v1/query?query=max_over_time(vector(time())[40000d:1s])"), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let what = format!("{request:?}");
        let response = send(request).await;
        assert_eq!(response.status(), status, "{what}");
    }
}

#[tokio::test]
async fn lists_are_there_without_data() {
    for (uri, expected) in [
        ("/api/v1/labels", json!({ "status": "success", "data": [] })),
        ("/api/v1/label/job/values?limit=5", json!({ "status": "success", "data": [] })),
        ("/api/v1/series?match[]=up", json!({ "status": "success", "data": [] })),
        ("/api/v1/metadata?metric=up", json!({ "status": "success", "data": {} })),
        (
            "/api/v1/cardinality/label_names",
            json!({ "label_values_count_total": 0, "label_names_count": 0, "cardinality": [] }),
        ),
        ("/api/v1/cardinality/active_series?selector=up", json!({ "data": [] })),
    ] {
        let (status, content_type, body) = read(send(Request::get(uri).body(Body::empty()).unwrap()).await).await;
        assert_eq!((status, content_type.as_str()), (StatusCode::OK, "application/json"), "{uri}");
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), expected, "{uri}");
    }
}

#[tokio::test]
async fn large_answers_are_whole() {
    let query = "/api/v1/query_range?query=vector(time())&start=0&end=10000&step=1";
    let (status, _, body) = read(send(Request::get(query).body(Body::empty()).unwrap()).await).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(body["data"]["result"][0]["values"].as_array().unwrap().len(), 10_001);
}

#[tokio::test]
async fn partial_answers_say_so() {
    let partition = |name: &str, signal: v1::Signal| v1::Partition {
        name: name.to_owned(),
        signal: signal.into(),
        state: v1::PartitionState::Active.into(),
        replicas: vec![1],
        watermark: 0,
    };
    let partitions = ["logs-0001", "logs-0002"]
        .map(|name| partition(name, v1::Signal::Logs))
        .into_iter()
        .chain([partition("traces-0001", v1::Signal::Traces)]);
    let snapshot = v1::Snapshot { version: 1, partitions: partitions.collect(), ..Default::default() };
    for (uri, status, header) in [
        ("/api/v1/sql?query=SELECT%20body%20FROM%20logs", StatusCode::OK, Some("logs-0001, logs-0002")),
        ("/api/v1/sql?query=SELECT%20count(*)%20FROM%20logs", StatusCode::OK, Some("logs-0001, logs-0002")),
        ("/api/v1/sql?query=SELECT%201", StatusCode::OK, None),
        ("/api/traces/1a2b", StatusCode::SERVICE_UNAVAILABLE, None),
        ("/api/v2/traces/1a2b", StatusCode::SERVICE_UNAVAILABLE, None),
    ] {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = send_to(Catalog::from_snapshot(&snapshot), Arc::new(Away), request).await;
        let found = response.headers().get("x-bonghwa-partial").map(|value| value.to_str().unwrap());
        assert_eq!((response.status(), found), (status, header), "{uri}");
    }
}

/// A meta that nobody hears.
struct Silent;

#[async_trait]
impl MetaClient for Silent {
    async fn execute(&self, _: v1::Command) -> Result<v1::CommandResult, RpcError> {
        Err(RpcError::unavailable("not here"))
    }

    async fn heartbeat(&self, _: u64, _: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        Err(RpcError::unavailable("not here"))
    }

    async fn watch(&self, _: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        Err(RpcError::unavailable("not here"))
    }
}

#[tokio::test(start_paused = true)]
async fn answers_from_an_old_catalog_say_so() {
    let view = ClusterView::follow(Arc::new(Silent));
    let ask = async |uri: &str| {
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let response = send_with(view.clone(), Arc::new(Nobody), request).await;
        let said = response.headers().get("x-bonghwa-partial").map(|value| value.to_str().unwrap().to_owned());
        (response.status(), said)
    };
    const SQL: &str = "/api/v1/sql?query=SELECT%20count(*)%20FROM%20logs";
    const TRACE: &str = "/api/v2/traces/1a2b";
    assert_eq!(ask(SQL).await, (StatusCode::OK, None));
    assert_eq!(ask(TRACE).await, (StatusCode::NOT_FOUND, None));
    tokio::time::advance(2 * STALE_AFTER).await;
    assert_eq!(ask(SQL).await, (StatusCode::OK, Some("catalog of 6 s ago".into())));
    assert_eq!(ask(TRACE).await.0, StatusCode::SERVICE_UNAVAILABLE, "it may be there");
    // Meta's leader is heard again, and has nothing that is not here.
    view.expect(0, seam::now());
    assert_eq!(ask(SQL).await, (StatusCode::OK, None));
}
