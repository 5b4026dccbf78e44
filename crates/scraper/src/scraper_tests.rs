//! The role on a server of pages and a sink that remembers, in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bonghwa_cluster::Catalog;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{RpcError, v1};
use bytes::Bytes;
use futures::stream::BoxStream;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::*;
use crate::ingest::read_back::read;
use crate::sink::{Rejected, SinkError};

const NODE: u64 = 7;
const DEADLINE: Duration = Duration::from_secs(30);

/// Pages by path; without one it is 404.
type Pages = Arc<Mutex<BTreeMap<String, String>>>;

async fn page(State(pages): State<Pages>, uri: Uri) -> Response {
    match pages.lock().get(uri.path()) {
        Some(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Remembers what it is given, once by its key; refuses the next ones that it is told to.
#[derive(Default)]
struct Memo {
    lines: Mutex<Vec<String>>,
    keys: Mutex<BTreeSet<Bytes>>,
    /// Whether another replica is elected, and what it was given meanwhile.
    pass: AtomicBool,
    passed: Mutex<Vec<String>>,
    /// Keys and sizes of all that was given, refused or not.
    given: Mutex<Vec<(Bytes, usize)>>,
    refuse: Mutex<Vec<SinkError>>,
    changed: Notify,
}

#[async_trait]
impl Sink for Memo {
    async fn write(&self, tenant: &TenantId, message: Bytes, key: Bytes) -> Result<Rejected, SinkError> {
        assert_eq!(tenant.as_str(), "shop");
        self.given.lock().push((key.clone(), message.len()));
        if let Some(error) = self.refuse.lock().pop() {
            return Err(error);
        }
        let passed_over = self.pass.load(Ordering::Relaxed);
        if passed_over {
            self.passed.lock().extend(read(&message));
        } else if self.keys.lock().insert(key) {
            self.lines.lock().extend(read(&message));
        }
        self.changed.notify_one();
        Ok(Rejected { passed_over, ..Default::default() })
    }
}

impl Memo {
    /// Waits for a line with all of these parts.
    async fn wait(&self, parts: &[&str]) -> String {
        self.wait_in(&self.lines, parts).await
    }

    async fn wait_in(&self, lines: &Mutex<Vec<String>>, parts: &[&str]) -> String {
        let find =
            |lines: &Vec<String>| lines.iter().find(|line| parts.iter().all(|part| line.contains(part))).cloned();
        let wait = async {
            loop {
                if let Some(line) = find(&lines.lock()) {
                    return line;
                }
                self.changed.notified().await;
            }
        };
        let found = seam::timeout(DEADLINE, wait).await;
        found.unwrap_or_else(|_| panic!("no {parts:?} in {:#?}", lines.lock()))
    }

    fn forget(&self) {
        self.lines.lock().clear();
        self.given.lock().clear();
    }
}

/// Gives leases, but for those of some shards.
#[derive(Default)]
struct Leases {
    refused: BTreeSet<String>,
    held: Mutex<BTreeSet<String>>,
}

#[async_trait]
impl MetaClient for Leases {
    async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
        let outcome = match command.kind {
            Some(Kind::AcquireLease(lease)) if self.refused.contains(&lease.name) => {
                Some(Outcome::Rejection(v1::Rejection {
                    reason: v1::RejectionReason::Conflict.into(),
                    ..Default::default()
                }))
            }
            Some(Kind::AcquireLease(lease)) => {
                assert_eq!(lease.holder, NODE);
                self.held.lock().insert(lease.name);
                None
            }
            Some(Kind::ReleaseLease(lease)) => {
                self.held.lock().remove(&lease.name);
                None
            }
            other => panic!("{other:?}"),
        };
        Ok(v1::CommandResult { outcome, ..Default::default() })
    }

    async fn heartbeat(&self, _: u64, _: u64) -> Result<v1::HeartbeatResponse, RpcError> {
        Err(RpcError::internal("not here"))
    }

    async fn watch(&self, _: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
        Err(RpcError::internal("not here"))
    }
}

struct World {
    dir: TempDir,
    address: String,
    pages: Pages,
    sink: Arc<Memo>,
    leases: Arc<Leases>,
    scraper: Arc<Scraper>,
}

const JOBS: &str = "- {job_name: j, file_sd_configs: [{files: [t.json]}]}";

/// A scraper of a job `j` whose targets are in a file.
async fn world(targets: &[&str], refused: BTreeSet<String>) -> World {
    world_at("200ms", targets, refused).await
}

/// With this interval.
async fn world_at(interval: &str, targets: &[&str], refused: BTreeSet<String>) -> World {
    let pages = Pages::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Router::new().fallback(page).with_state(pages.clone());
    seam::spawn(async move { axum::serve(listener, router).await.unwrap() }).detach();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("scrape.yml");
    write_config(&config, interval, JOBS);
    write_targets(dir.path(), &address, targets);
    let node = v1::Node { id: NODE, name: "n".into(), roles: vec!["scraper".into()], ..Default::default() };
    let catalog = Catalog::from_snapshot(&v1::Snapshot { nodes: vec![node], ..Default::default() });
    let (sink, leases) = (Arc::<Memo>::default(), Arc::new(Leases { refused, ..Default::default() }));
    let options = ScraperOptions {
        config,
        tenant: TenantId::new("shop").unwrap(),
        max_body_bytes: 1 << 20,
        max_inflight_bytes: 1 << 20,
        patience: Duration::from_secs(5),
    };
    let scraper = Scraper::start(options, NODE, leases.clone(), ClusterView::fixed(catalog), sink.clone()).unwrap();
    World { dir, address, pages, sink, leases, scraper }
}

fn write_config(file: &Path, interval: &str, jobs: &str) {
    std::fs::write(file, format!("global: {{scrape_interval: {interval}}}\nscrape_configs:\n{jobs}")).unwrap();
}

fn write_targets(dir: &Path, address: &str, paths: &[&str]) {
    let group =
        |path: &&str| serde_json::json!({ "targets": [address], "labels": { "__metrics_path__": path, "path": path } });
    let groups: Vec<_> = paths.iter().map(group).collect();
    std::fs::write(dir.join("t.json"), serde_json::json!(groups).to_string()).unwrap();
}

/// The time at the end of a line.
fn time(line: &str) -> i64 {
    line.split(' ').find_map(|part| part.split_once('@')).and_then(|(_, time)| time.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_up_down_up_and_gone() {
    let world = world(&["/a"], BTreeSet::new()).await;
    let sink = &world.sink;
    world.pages.lock().insert("/a".into(), "# TYPE value gauge\nvalue 1\n".into());
    let up = sink.wait(&["__name__=up,", "path=/a 1@"]).await;
    assert!(up.contains(&format!("instance={},job=j", world.address)), "{up}");
    let first = sink.wait(&["__name__=value,", " 1@", " [2 ]"]).await;
    assert_eq!(
        time(&first),
        time(&sink.wait(&["__name__=scrape_samples_scraped,", " 1@"]).await),
        "one scrape, one time"
    );
    world.pages.lock().clear();
    let stale = sink.wait(&["__name__=value,", " stale@"]).await;
    let down = sink.wait(&["__name__=up,", " 0@"]).await;
    assert!(time(&down) >= time(&stale));
    sink.forget();
    world.pages.lock().insert("/a".into(), "value 2\n".into());
    sink.wait(&["__name__=value,", " 2@"]).await;
    write_targets(world.dir.path(), &world.address, &[]);
    let gone = sink.wait(&["__name__=up,", " stale@"]).await;
    let value = sink.wait(&["__name__=value,", " stale@"]).await;
    assert_eq!(time(&gone), time(&value));
    let last = sink
        .lines
        .lock()
        .iter()
        .filter(|line| line.contains("__name__=value") && !line.contains("stale"))
        .map(|l| time(l))
        .max();
    assert_eq!(last.unwrap() + 200, time(&value), "where the next scrape would have been");
    world.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_repeated_under_its_key_if_that_may_help() {
    let world = world_at("3s", &["/a"], BTreeSet::new()).await;
    let sink = &world.sink;
    world.pages.lock().insert("/a".into(), "value 1\n".into());
    let refusal = |retry| SinkError { retry, after: None, message: "no".into() };
    sink.refuse.lock().extend([refusal(true), refusal(true)]);
    sink.wait(&["__name__=value,", " 1@"]).await;
    let given = sink.given.lock().clone();
    assert_eq!(given.len(), 3);
    assert!(given[0] == given[1] && given[1] == given[2], "{given:?}");
    // Not worth a repetition: the samples are gone, and the next scrape is stored.
    sink.forget();
    sink.refuse.lock().push(refusal(false));
    sink.wait(&["__name__=value,", " 1@"]).await;
    let given = sink.given.lock().clone();
    assert!(given.len() == 2 && given[0].0 != given[1].0, "{given:?}");
    world.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_leased_shards_are_scraped_and_a_stop_gives_them_back() {
    let paths: Vec<String> = (0..40).map(|n| format!("/{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let refused: BTreeSet<String> = (0..16).map(|shard| format!("scrape/{shard:02}")).collect();
    let world = world(&paths, refused).await;
    for path in &paths {
        world.pages.lock().insert((*path).into(), "value 1\n".into());
    }
    let all = async {
        loop {
            let (mut here, mut elsewhere, mut up) = (0, 0, 0);
            world.scraper.jobs.each(|pool| {
                let targets = pool.targets();
                assert!(targets.iter().all(|shown| shown.target.key % crate::shards::SHARDS >= 16));
                up = targets.iter().filter(|shown| shown.state.status.lock().health.as_str() == "up").count();
                (here, elsewhere) = (targets.len(), pool.seen().elsewhere);
            });
            if here > 0 && here + elsewhere == 40 && up == here {
                return (here, elsewhere);
            }
            world.sink.changed.notified().await;
        }
    };
    let (here, elsewhere) = seam::timeout(DEADLINE, all).await.unwrap();
    assert!(here > 5 && elsewhere > 5, "{here} and {elsewhere}");
    assert_eq!(world.leases.held.lock().len(), 16);
    world.scraper.stop().await;
    assert!(world.leases.held.lock().is_empty());
    // Another node goes on with these series: nothing of them ends.
    assert!(!world.sink.lines.lock().iter().any(|line| line.contains("stale")));
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_are_told_to_readers_of_their_tenant() {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;
    let world = world(&["/a"], BTreeSet::new()).await;
    world.sink.wait(&["__name__=up,", " 0@"]).await;
    for (tenant, expected, told) in
        [("shop", 200, true), ("bank|shop", 200, true), ("bank", 200, false), ("a/b", 400, false)]
    {
        let request = axum::http::Request::get("/api/v1/targets").header("x-scope-orgid", tenant).body(Body::empty());
        let answer = crate::api::router(world.scraper.clone()).oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), expected, "{tenant}");
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
        if told {
            let target = &answer["data"]["activeTargets"][0];
            assert_eq!(target["health"], "down", "{answer}");
            assert_eq!(target["lastError"], "server returned HTTP status 404 Not Found");
        } else {
            assert!(!answer.to_string().contains(&world.address), "{answer}");
            let targets = answer["data"]["activeTargets"].as_array().map(Vec::len);
            assert_eq!(targets, (expected == 200).then_some(0), "{answer}");
        }
    }
    let unnamed = axum::http::Request::get("/api/v1/targets").body(Body::empty()).unwrap();
    let answer = crate::api::router(world.scraper.clone()).oneshot(unnamed).await.unwrap();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert!(
        answer["warnings"][0].as_str().unwrap().contains("for the tenant"),
        "the default tenant is another: {answer}"
    );
    world.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_follows_its_configuration_and_discovery() {
    let world = world_at("1d", &["/a"], BTreeSet::new()).await;
    let address = &world.address;
    world.pages.lock().insert("/a".into(), "value 1\n".into());
    let shown = async |done: &dyn Fn(&crate::target::Target) -> bool| {
        let wait = async {
            loop {
                let mut found = false;
                world.scraper.jobs.each(|pool| found |= pool.targets().iter().any(|shown| done(&shown.target)));
                if found {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        seam::timeout(DEADLINE, wait).await.unwrap();
    };
    shown(&|target| target.interval == Duration::from_secs(86_400)).await;
    let labels = serde_json::json!({ "__metrics_path__": "/a", "path": "/a", "__meta_owner": "me" });
    let groups = serde_json::json!([{ "targets": [address], "labels": labels }]);
    std::fs::write(world.dir.path().join("t.json"), groups.to_string()).unwrap();
    shown(&|target| target.discovered.get("__meta_owner") == "me").await;
    write_config(&world.dir.path().join("scrape.yml"), "200ms", JOBS);
    let first = time(&world.sink.wait(&["__name__=value,", " 1@"]).await);
    world.sink.forget();
    let next = time(&world.sink.wait(&["__name__=value,", " 1@"]).await);
    assert!((next - first) % 200 == 0 && next > first, "{first} and {next}");
    world.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_may_share_a_target() {
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt as _;
    let world = world(&[], BTreeSet::new()).await;
    world.pages.lock().insert("/a".into(), "# TYPE value gauge\nvalue 1\n".into());
    let job = |name: &str| {
        let target = format!("{{targets: ['{}'], labels: {{job: both, __metrics_path__: /a}}}}", world.address);
        let rule = format!("{{target_label: by, replacement: {name}}}");
        format!("- {{job_name: {name}, static_configs: [{target}], metric_relabel_configs: [{rule}]}}\n")
    };
    write_config(&world.dir.path().join("scrape.yml"), "200ms", &(job("k") + &job("l")));
    for name in ["by=k", "by=l"] {
        world.sink.wait(&["__name__=value,", name, " 1@"]).await;
    }
    // Both at the same times.
    let line = world.sink.wait(&["__name__=value,", "by=k", " 1@"]).await;
    world.sink.wait(&["__name__=value,", "by=l", &format!("@{}", time(&line))]).await;
    let request = axum::http::Request::get("/api/v1/targets/metadata?metric=value").header("x-scope-orgid", "shop");
    let answer = crate::api::router(world.scraper.clone()).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let types: Vec<_> = answer["data"].as_array().unwrap().iter().map(|entry| &entry["type"]).collect();
    assert_eq!(types, ["gauge", "gauge"], "{answer}");
    world.scraper.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_was_passed_over_is_given_again() {
    let world = world(&["/a"], BTreeSet::new()).await;
    let sink = &world.sink;
    sink.pass.store(true, Ordering::Relaxed);
    world.pages.lock().insert("/a".into(), "# TYPE value gauge\nvalue 1\n".into());
    sink.wait_in(&sink.passed, &["__name__=value,", " [2 ]"]).await;
    sink.pass.store(false, Ordering::Relaxed);
    sink.wait(&["__name__=value,", " 1@", " [2 ]"]).await;
    world.scraper.stop().await;
}
