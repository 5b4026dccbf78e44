//! Two queriers that share queries over loopback gRPC, on the same blocks and tails.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::{RemoteOptions, v1};
use futures::StreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use super::cluster::Cluster;
use super::{data, error, rows};
use crate::{Engine, EngineOptions, Peers, QueryError, WorkerDoor};

/// Queriers of one cluster. The first, which is `cluster.engine`, is asked.
struct Queriers {
    cluster: Cluster,
    /// The same cluster's answers by one querier.
    alone: Arc<Engine>,
    servers: Vec<JoinHandle<()>>,
    _second: Arc<Engine>,
}

fn options() -> EngineOptions {
    EngineOptions { target_partitions: 2, memory_bytes: 64 << 20, ..Default::default() }
}

/// Serves a door on loopback; where.
async fn serve(door: &Arc<WorkerDoor>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let routes = door.add_to(tonic::service::Routes::default());
    let router = bonghwa_protocol::server().add_routes(routes);
    let serving = async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() };
    (address, tokio::spawn(serving))
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
        let mut cluster = Cluster::of_partitions(4, options.clone()).await;
        let alone = cluster.engine.clone();
        let mut engines = Vec::new();
        let mut servers = Vec::new();
        let mut nodes = Vec::new();
        for (id, reader) in [(1, "first"), (2, "second")] {
            let door = WorkerDoor::new();
            let (address, server) = serve(&door).await;
            nodes.push(querier(id, &address));
            servers.push(server);
            let peers = Peers { address, remote: RemoteOptions::default(), door: door.clone(), share: true, bytes: 1 };
            let engine = Arc::new(cluster.fakes.engine(reader, &cluster.view, options.clone()).with_peers(peers));
            door.open(&engine);
            engines.push(engine);
        }
        cluster.change(v1::Change { nodes, ..Default::default() }).await;
        let second = engines.pop().unwrap();
        cluster.engine = engines.pop().unwrap();
        Queriers { cluster, alone, servers, _second: second }
    }

    /// Four blocks and four tails of logs, spans and metrics.
    async fn filled() -> Self {
        let queriers = Self::start(options()).await;
        let cluster = &queriers.cluster;
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
        queriers
    }

    async fn explained(&self, query: &str) -> String {
        rows(&self.cluster, &format!("EXPLAIN {query}")).await.join("\n")
    }
}

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
        let alone = Cluster {
            fakes: queriers.cluster.fakes.clone(),
            engine: queriers.alone.clone(),
            view: queriers.cluster.view.clone(),
        };
        assert_eq!(together, rows(&alone, query).await, "{query}");
        assert!(!together.is_empty(), "{query}");
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
async fn a_querier_that_is_down_is_done_without() {
    let queriers = Queriers::filled().await;
    queriers.servers[1].abort();
    for query in QUERIES {
        let alone = Cluster {
            fakes: queriers.cluster.fakes.clone(),
            engine: queriers.alone.clone(),
            view: queriers.cluster.view.clone(),
        };
        assert_eq!(rows(&queriers.cluster, query).await, rows(&alone, query).await, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_keep_their_kind() {
    let queriers = Queriers::filled().await;
    let failed = error(&queriers.cluster, "SELECT sum(CAST(body AS BIGINT)) FROM logs").await;
    assert!(matches!(failed, QueryError::Execution(_)), "{failed:?}");
    // Both attempts break: what is left to say is that a leader was away.
    queriers.cluster.fakes.tails_to_break.store(1000, Ordering::SeqCst);
    let failed = error(&queriers.cluster, "SELECT sum(attributes['n']) FROM logs").await;
    assert!(matches!(failed, QueryError::Unavailable(_)), "{failed:?}");
    // One breaks: the second attempt reads it.
    queriers.cluster.fakes.tails_to_break.store(1, Ordering::SeqCst);
    assert_eq!(rows(&queriers.cluster, "SELECT count(attributes['n']) FROM logs").await, ["600"]);
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

/// Waits until tails are read, or until none is.
async fn wait_for_tails(cluster: &Cluster, some: bool) {
    let mut open = cluster.fakes.open.subscribe();
    let waited = tokio::time::timeout(Duration::from_secs(10), open.wait_for(|open| (*open > 0) == some)).await;
    assert!(waited.is_ok(), "tails are {}read", if some { "not " } else { "still " });
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
    wait_for_tails(cluster, true).await;
    drop(answer);
    wait_for_tails(cluster, false).await;
    // None came yet: all workers are at it when the client gives up.
    let engine = cluster.engine.clone();
    let asked = tokio::spawn(async move {
        engine.sql(&TenantId::default_tenant(), "SELECT sum(attributes['n']) FROM logs").await.map(|_| ())
    });
    wait_for_tails(cluster, true).await;
    asked.abort();
    wait_for_tails(cluster, false).await;
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
    let failed = error(cluster, "SELECT sum(attributes['n']) FROM logs").await;
    assert!(matches!(failed, QueryError::Timeout(_)), "{failed:?}");
    wait_for_tails(cluster, false).await;
}
