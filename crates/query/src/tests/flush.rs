//! A record is found exactly once, wherever it lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bonghwa_model::{Signal, TenantId};

use super::cluster::Cluster;
use super::{data, rows};
use crate::QueryError;

const QUERIES: [&str; 6] = [
    "SELECT count(*) FROM logs",
    "SELECT service_name, count(*), sum(attributes['n']), min(time), max(time) FROM logs GROUP BY 1 ORDER BY 1",
    "SELECT * FROM logs ORDER BY time, service_name LIMIT 7",
    "SELECT body, \"user.name\", attributes['share'], resource['host.cpus'] FROM logs WHERE attributes['even'] ORDER BY 1 LIMIT 5",
    "SELECT count(*) FROM logs WHERE body LIKE '%took 3 ms%'",
    "SELECT trace_id FROM logs WHERE trace_id = '00000000000000000000000000000005'",
];

#[tokio::test]
async fn answers_are_equal_before_and_after_a_flush() {
    let cluster = Cluster::start().await;
    cluster.append(data::numbered("a", 0, 100));
    cluster.append(data::numbered("b", 50, 100));
    cluster.append_as(&TenantId::new("other").unwrap(), data::numbered("a", 0, 1000));
    let mut before = Vec::new();
    for query in QUERIES {
        before.push(rows(&cluster, query).await);
    }
    assert_eq!(before[0], ["200"]);
    cluster.flush(Signal::Logs, true).await.unwrap();
    for (query, before) in QUERIES.iter().zip(&before) {
        assert_eq!(rows(&cluster, query).await, *before, "{query}");
    }
    cluster.append(data::numbered("a", 100, 50));
    assert_eq!(rows(&cluster, QUERIES[0]).await, ["250"]);
    assert_eq!(rows(&cluster, "SELECT count(*) FROM logs WHERE attributes['n'] >= 0").await, ["250"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_equal_all_through_flushes() {
    let cluster = Arc::new(Cluster::start().await);
    let stop = Arc::new(AtomicBool::new(false));
    for at in 0..40 {
        cluster.append(data::numbered("a", at * 10, 10));
    }
    let flushing = {
        let (cluster, stop) = (cluster.clone(), stop.clone());
        tokio::spawn(async move {
            let mut at = 40;
            while !stop.load(Ordering::SeqCst) {
                cluster.append_as(&TenantId::new("other").unwrap(), data::numbered("x", at * 10, 1));
                cluster.flush(Signal::Logs, true).await;
                at += 1;
                tokio::task::yield_now().await;
            }
        })
    };
    for _ in 0..60 {
        // The log lets go of its rows at once, without the grace that ingesters give: a
        // query may have to begin again more often than it does.
        match super::table(&cluster, "SELECT count(*), count(DISTINCT attributes['n']) FROM logs").await {
            Ok((_, rows)) => assert_eq!(rows, ["400 | 400"]),
            Err(error) => assert!(matches!(error, QueryError::Moved(_)), "{error}"),
        }
    }
    stop.store(true, Ordering::SeqCst);
    flushing.await.unwrap();
    assert_eq!(rows(&cluster, "SELECT count(*), count(DISTINCT attributes['n']) FROM logs").await, ["400 | 400"]);
}

#[tokio::test]
async fn spans_and_metrics_too() {
    let cluster = Cluster::start().await;
    cluster.append(data::gauge("a", "queue", &[1, -2, 30]));
    cluster.append(data::span("a", [1; 16], 1, &[]));
    let queries = [
        "SELECT time, name, type, unit, value, service_name, \"pod\", attributes FROM metrics ORDER BY time",
        "SELECT * FROM metrics ORDER BY time",
        "SELECT * FROM spans",
        "SELECT name, duration_ns, kind, status_code FROM traces",
        "SELECT count(*) FROM metrics",
        "SELECT count(*) FROM metrics WHERE value > 0",
    ];
    let mut before = Vec::new();
    for query in queries {
        before.push(rows(&cluster, query).await);
    }
    assert_eq!(before[3], ["span 1 | 1500 | server | error"]);
    assert_eq!(before[4], ["3"]);
    assert_eq!(before[5], ["2"]);
    for signal in [Signal::Metrics, Signal::Traces] {
        cluster.flush(signal, true).await.unwrap();
    }
    for (query, before) in queries.iter().zip(&before) {
        assert_eq!(rows(&cluster, query).await, *before, "{query}");
    }
}
