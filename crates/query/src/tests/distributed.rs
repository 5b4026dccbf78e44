//! Two queriers that share queries over loopback gRPC, on the same blocks and tails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_protocol::{RemoteOptions, v1};
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;

use super::cluster::Cluster;
use super::{data, error, rows, table_of};
use crate::{Engine, EngineOptions, Peers, QueryError, WorkerDoor};

/// Queriers of one cluster. The first, which is `cluster.engine`, is asked.
pub(super) struct Queriers {
    pub(super) cluster: Cluster,
    /// The same cluster's answers by one querier.
    pub(super) alone: Arc<Engine>,
    pub(super) servers: Vec<Server>,
    pub(super) second: Arc<Engine>,
}

fn options() -> EngineOptions {
    EngineOptions { target_partitions: 2, memory_bytes: 64 << 20, ..Default::default() }
}

/// A door on loopback. What it begins ends with it at once, connections included.
pub(super) struct Server(Option<Runtime>);

impl Server {
    /// And where it is.
    async fn start(door: &Arc<WorkerDoor>) -> (String, Self) {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let routes = door.add_to(tonic::service::Routes::default());
        let listening = runtime.spawn(async move { TcpListener::bind("127.0.0.1:0").await.unwrap() });
        let listener = listening.await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = bonghwa_protocol::server().add_routes(routes);
        runtime.spawn(async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await });
        (address, Server(Some(runtime)))
    }

    /// As a process that is killed.
    pub(super) fn kill(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn querier(id: u64, address: &str) -> v1::Node {
    v1::Node {
        id,
        name: format!("querier-{id}"),
        address: address.to_owned(),
        roles: vec!["querier".into()],
        state: v1::NodeState::Active.into(),
        ..Default::default()
    }
}

impl Queriers {
    async fn start(options: EngineOptions) -> Self {
        Self::sharing(options, true, 1).await
    }

    async fn sharing(options: EngineOptions, share: bool, bytes: usize) -> Self {
        Self::with([options.clone(), options], |peers| Peers { share, bytes, ..peers }).await
    }

    /// With these options, and so set to share; by itself nothing is shared.
    pub(super) async fn with(options: [EngineOptions; 2], set: impl Fn(Peers) -> Peers) -> Self {
        let mut cluster = Cluster::of_partitions(4, options[0].clone()).await;
        let alone = cluster.engine.clone();
        let mut engines = Vec::new();
        let mut servers = Vec::new();
        let mut nodes = Vec::new();
        for ((id, reader), options) in [(1, "first"), (2, "second")].into_iter().zip(options) {
            let door = WorkerDoor::new();
            let (address, server) = Server::start(&door).await;
            nodes.push(querier(id, &address));
            servers.push(server);
            let (remote, door_of) = (RemoteOptions::default(), door.clone());
            let peers = Peers { address, remote, door: door_of, share: true, bytes: usize::MAX, samples: u64::MAX };
            let engine = cluster.fakes.engine(reader, &cluster.view, options);
            let engine = Arc::new(engine.with_peers(set(peers)));
            door.open(&engine);
            engines.push(engine);
        }
        cluster.change(v1::Change { nodes, ..Default::default() }).await;
        let second = engines.pop().unwrap();
        cluster.engine = engines.pop().unwrap();
        Queriers { cluster, alone, servers, second }
    }

    /// Four blocks and four tails of logs, spans and metrics.
    async fn filled() -> Self {
        let queriers = Self::start(options()).await;
        queriers.fill().await;
        queriers
    }

    async fn fill(&self) {
        let cluster = &self.cluster;
        for at in 0..4 {
            cluster.append(data::numbered(if at % 2 == 0 { "a" } else { "b" }, at * 100, 100));
            cluster.append(data::span("a", [at as u8; 16], at as u64 + 1, &[]));
            cluster.append(data::gauge("a", "queue", &[at, 2 * at, -at]));
            for signal in Signal::ALL {
                cluster.flush(signal, true).await.unwrap();
            }
        }
        for at in 1..=4 {
            cluster.append_to(&format!("logs-{at:04}"), data::numbered("c", 300 + at * 100, 50));
            cluster.append_to(&format!("traces-{at:04}"), data::span("c", [at as u8; 16], at as u64 + 100, &[]));
        }
    }

    /// The same cluster, asked at a querier that has no others.
    fn alone(&self) -> Cluster {
        Cluster { fakes: self.cluster.fakes.clone(), engine: self.alone.clone(), view: self.cluster.view.clone() }
    }

    async fn explained(&self, query: &str) -> String {
        rows(&self.cluster, &format!("EXPLAIN {query}")).await.join("\n")
    }
}

const SUM: &str = "SELECT sum(attributes['n']) FROM logs";

const QUERIES: [&str; 14] = [
    "SELECT count(*) FROM logs",
    "SELECT count(attributes['n']), sum(attributes['n']), avg(attributes['share']) FROM logs",
    "SELECT service_name, count(*), max(time), min(body) FROM logs GROUP BY 1 ORDER BY 1",
    "SELECT \"user.name\", count(DISTINCT attributes['n']) FROM logs GROUP BY 1 ORDER BY 1",
    "SELECT attributes['n'] FROM logs ORDER BY time DESC LIMIT 7",
    "SELECT time, body, trace_id FROM logs WHERE has_token(body, 'took') AND attributes['even'] ORDER BY time LIMIT 20",
    "SELECT body FROM logs WHERE trace_id = '00000000000000000000000000000005'",
    "SELECT a.service_name, count(*) FROM logs a JOIN logs b ON a.trace_id = b.trace_id GROUP BY 1 ORDER BY 1",
    "SELECT l.body, s.name FROM logs l JOIN spans s ON l.service_name = s.service_name AND l.time > s.start_time \
     ORDER BY l.time, s.name LIMIT 9",
    "SELECT service_name, name, value FROM metrics ORDER BY time, value, name",
    "SELECT count(*) FROM (SELECT service_name FROM logs UNION ALL SELECT service_name FROM spans)",
    "WITH t AS (SELECT attributes['n'] % 10 AS d, count(*) AS c FROM logs GROUP BY 1) SELECT d, c FROM t ORDER BY d",
    "SELECT n, row_number() OVER (PARTITION BY s ORDER BY n) FROM (SELECT attributes['n'] AS n, service_name AS s FROM logs) \
     ORDER BY n LIMIT 5",
    "SELECT json_value(attributes, 'n') FROM (SELECT attributes, time FROM logs) ORDER BY time LIMIT 3",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_queriers_answer_as_one() {
    let queriers = Queriers::filled().await;
    let mut shared = 0;
    for query in QUERIES {
        let together = rows(&queriers.cluster, query).await;
        assert_eq!(together, rows(&queriers.alone(), query).await, "{query}");
        assert!(!together.is_empty(), "{query}");
        // What operators did finds its place, whatever was added to the plan.
        let analyzed = rows(&queriers.cluster, &format!("EXPLAIN ANALYZE {query}")).await;
        assert!(!analyzed.is_empty(), "{query}");
        shared += usize::from(queriers.explained(query).await.contains("DistributedExec"));
    }
    assert!(shared >= 10, "only {shared} of {} were shared", QUERIES.len());
    let readers = queriers.cluster.fakes.readers.lock().unwrap().clone();
    assert!(readers.contains("first") && readers.contains("second"), "{readers:?}");
    let tenant = TenantId::default_tenant();
    let (together, alone) = (
        queriers.cluster.engine.trace(&tenant, [1; 16], None).await.unwrap().trace,
        queriers.alone.trace(&tenant, [1; 16], None).await.unwrap().trace,
    );
    assert_eq!(together, alone);
    assert!(together.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plans_show_who_reads_what() {
    let queriers = Queriers::filled().await;
    let plan = queriers.explained("SELECT service_name, count(*) FROM logs GROUP BY 1").await;
    for part in ["DistributedExec", "Stage 1", "tasks=2", "t0: BlockScanExec: table=logs, share=(blocks=", "t1: "] {
        assert!(plan.contains(part), "{part}: {plan}");
    }
    let query = "EXPLAIN ANALYZE SELECT service_name, count(*) FROM logs GROUP BY 1";
    let analyzed = rows(&queriers.cluster, query).await.join("\n");
    assert!(analyzed.contains("DistributedExec") && analyzed.contains("output_rows"), "{analyzed}");
    assert!(!queriers.explained("SELECT 1").await.contains("DistributedExec"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_little_or_not_to_be_shared_stays_here() {
    for (share, bytes) in [(true, 64 << 20), (false, 1)] {
        let queriers = Queriers::sharing(options(), share, bytes).await;
        queriers.fill().await;
        for query in QUERIES {
            assert!(!queriers.explained(query).await.contains("DistributedExec"), "{query}");
        }
        assert_eq!(rows(&queriers.cluster, SUM).await, rows(&queriers.alone(), SUM).await);
        let readers = queriers.cluster.fakes.readers.lock().unwrap().clone();
        assert!(!readers.contains("second"), "{readers:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_querier_that_is_down_is_done_without() {
    let mut queriers = Queriers::filled().await;
    queriers.servers[1].kill();
    assert!(queriers.explained(QUERIES[2]).await.contains("DistributedExec"));
    assert_eq!(rows(&queriers.cluster, QUERIES[2]).await, rows(&queriers.alone(), QUERIES[2]).await);
    // The next query does not try it again.
    assert!(!queriers.explained(QUERIES[2]).await.contains("DistributedExec"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_querier_that_dies_while_it_works_spoils_no_answer() {
    let mut queriers = Queriers::filled().await;
    let expected = rows(&queriers.alone(), SUM).await;
    let fakes = queriers.cluster.fakes.clone();
    fakes.endless.store(true, Ordering::SeqCst);
    let engine = queriers.cluster.engine.clone();
    let asked = tokio::spawn(async move {
        let answer = engine.sql(&TenantId::default_tenant(), SUM).await?;
        let batches: Vec<_> = answer.stream.collect().await;
        Ok::<_, QueryError>(batches.into_iter().map(|batch| batch.unwrap().num_rows()).sum::<usize>())
    });
    wait_for_tails(&queriers.cluster, 4).await;
    assert!(fakes.readers.lock().unwrap().contains("second"));
    // No row came yet: it begins again.
    fakes.endless.store(false, Ordering::SeqCst);
    queriers.servers[1].kill();
    assert_eq!(asked.await.unwrap().unwrap(), 1);
    assert_eq!(rows(&queriers.cluster, SUM).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_begun_does_not_end_as_if_it_were_whole() {
    let mut queriers = Queriers::filled().await;
    queriers.cluster.fakes.endless.store(true, Ordering::SeqCst);
    let mut answer = queriers.cluster.engine.sql(&TenantId::default_tenant(), "SELECT body FROM logs").await.unwrap();
    assert!(answer.stream.next().await.unwrap().is_ok());
    wait_for_tails(&queriers.cluster, 4).await;
    queriers.servers[1].kill();
    let end = loop {
        match answer.stream.next().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break Some(QueryError::of_stream(&error)),
            None => break None,
        }
    };
    assert!(matches!(end, Some(QueryError::Unavailable(_))), "{end:?}");
    drop(answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_see_the_same_tenants_and_the_same_deletes() {
    let queriers = Queriers::start(options()).await;
    let cluster = &queriers.cluster;
    for at in 0..4 {
        for name in ["a", "b", "c"] {
            let tenant = TenantId::new(name).unwrap();
            cluster.append_as(&tenant, data::numbered(if at % 2 == 0 { "x" } else { "y" }, at * 100, 100));
            cluster.append_as(&tenant, data::numbered(name, at * 100, 10));
        }
        if at < 3 {
            cluster.flush(Signal::Logs, true).await.unwrap();
        }
    }
    cluster
        .delete(v1::Delete {
            id: 1,
            tenant: "a".into(),
            signal: v1::Signal::from(Signal::Logs).into(),
            selector: Some(v1::Selector { service: "x".into(), ..Default::default() }),
            min_time: i64::MIN,
            max_time: i64::MAX,
            created_at: 0,
        })
        .await;
    for (tenants, count) in [("a", 240), ("b", 440), ("a|b", 680), ("nobody", 0)] {
        let tenants = TenantSet::parse(tenants).unwrap();
        for query in [
            "SELECT count(body) FROM logs",
            "SELECT service_name, count(*), sum(attributes['n']) FROM logs GROUP BY 1 ORDER BY 1",
            "SELECT time, body FROM logs ORDER BY time DESC, body LIMIT 30",
        ] {
            let (_, together) = table_of(cluster, &tenants, query).await.unwrap();
            let (_, alone) = table_of(&queriers.alone(), &tenants, query).await.unwrap();
            assert_eq!(together, alone, "{tenants}: {query}");
        }
        let (_, counted) = table_of(cluster, &tenants, "SELECT count(body) FROM logs").await.unwrap();
        assert_eq!(counted, [count.to_string()], "{tenants}");
        let explain = "EXPLAIN SELECT count(body) FROM logs";
        let plan = table_of(cluster, &tenants, explain).await.unwrap().1.join("\n");
        assert_eq!(plan.contains("DistributedExec"), count > 0, "{tenants}: {plan}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_keep_their_kind() {
    let queriers = Queriers::filled().await;
    let failed = error(&queriers.cluster, "SELECT sum(CAST(body AS BIGINT)) FROM logs").await;
    assert!(matches!(failed, QueryError::Execution(_)), "{failed:?}");
    // One breaks: the second attempt reads it.
    queriers.cluster.fakes.tails_to_break.store(1, Ordering::SeqCst);
    assert_eq!(rows(&queriers.cluster, "SELECT count(attributes['n']) FROM logs").await, ["600"]);
    // Both attempts break: what is left to say is that a leader was away.
    queriers.cluster.fakes.tails_to_break.store(1000, Ordering::SeqCst);
    let failed = error(&queriers.cluster, SUM).await;
    assert!(matches!(failed, QueryError::Unavailable(_)), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_on_workers() {
    let options = EngineOptions { memory_bytes: 4 << 20, ..options() };
    let queriers = Queriers::start(options).await;
    for at in 1..=4 {
        queriers.cluster.append_to(&format!("logs-{at:04}"), data::numbered("a", at * 2000, 2000));
    }
    let query = "SELECT a.body || b.body AS x, count(*) FROM logs a, logs b GROUP BY 1";
    let failed = error(&queriers.cluster, query).await;
    assert!(matches!(failed, QueryError::Memory { .. }), "{failed:?}");
}

/// Waits until so many tails are being read.
pub(super) async fn wait_for_tails(cluster: &Cluster, count: usize) {
    let mut open = cluster.fakes.open.subscribe();
    let waited = tokio::time::timeout(Duration::from_secs(10), open.wait_for(|open| *open == count)).await.is_ok();
    assert!(waited, "{} tails are being read, not {count}", *cluster.fakes.open.borrow());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_stop_when_the_client_leaves() {
    let queriers = Queriers::filled().await;
    let cluster = &queriers.cluster;
    cluster.fakes.endless.store(true, Ordering::SeqCst);
    let tenant = TenantId::default_tenant();
    // Rows came, and more are awaited.
    let mut answer = cluster.engine.sql(&tenant, "SELECT body FROM logs").await.unwrap();
    assert!(answer.stream.next().await.unwrap().is_ok());
    wait_for_tails(cluster, 4).await;
    drop(answer);
    wait_for_tails(cluster, 0).await;
    // None came yet: all workers are at it when the client gives up.
    let engine = cluster.engine.clone();
    let asked = tokio::spawn(async move { engine.sql(&TenantId::default_tenant(), SUM).await.map(|_| ()) });
    wait_for_tails(cluster, 4).await;
    asked.abort();
    wait_for_tails(cluster, 0).await;
    let readers = cluster.fakes.readers.lock().unwrap().clone();
    assert!(readers.contains("second"), "{readers:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_stop_when_the_time_is_up() {
    let options = EngineOptions { timeout: Duration::from_secs(2), ..options() };
    let queriers = Queriers::start(options).await;
    let cluster = &queriers.cluster;
    for at in 1..=4 {
        cluster.append_to(&format!("logs-{at:04}"), data::numbered("a", at * 2000, 2000));
    }
    // Joins that yield to nobody, on both queriers.
    let query = "SELECT count(*) FROM logs a, logs b, logs c WHERE a.body || b.body || c.body = 'x'";
    let failed = error(cluster, query).await;
    assert!(matches!(failed, QueryError::Timeout(_)), "{failed:?}");
    cluster.fakes.endless.store(true, Ordering::SeqCst);
    let failed = error(cluster, SUM).await;
    assert!(matches!(failed, QueryError::Timeout(_)), "{failed:?}");
    wait_for_tails(cluster, 0).await;
}
