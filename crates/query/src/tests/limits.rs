//! Queries that would not end, would take all memory, or nobody waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bonghwa_model::TenantId;
use bonghwa_promql::{Params, Query};
use futures::StreamExt;

use super::cluster::Cluster;
use super::{data, error, rows};
use crate::{Caching, EngineOptions, QueryError};

async fn limited(timeout: u64, memory_bytes: usize) -> Cluster {
    let timeout = Duration::from_millis(timeout);
    let options = EngineOptions { timeout, memory_bytes, concurrent: 2, target_partitions: 2, ..Default::default() };
    let cluster = Cluster::with(options).await;
    cluster.append(data::numbered("a", 0, 2000));
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_queries_end() {
    let cluster = limited(500, 256 << 20).await;
    for query in [
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM logs a, logs b, logs c, logs d WHERE a.body || b.body || c.body || d.body = 'x'",
        "SELECT sum(a.value * b.value) FROM generate_series(1, 10000000) a, generate_series(1, 10000000) b",
        "SELECT max(value) FROM generate_series(1, 1000000000000)",
    ] {
        let start = Instant::now();
        let error = error(&cluster, query).await;
        assert!(matches!(error, QueryError::Timeout(_)), "{query}: {error:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{query}: {:?}", start.elapsed());
    }
    // Both turns are free again, so all work has ended.
    assert_eq!(rows(&cluster, "SELECT count(*) FROM logs").await, ["2000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded() {
    let cluster = limited(20_000, 8 << 20).await;
    for query in [
        "SELECT a.body, b.body FROM logs a, logs b ORDER BY a.body || b.body",
        "SELECT array_agg(a.body || b.body) FROM logs a, logs b",
        "SELECT a.body || b.body AS x, count(*) FROM logs a, logs b GROUP BY 1",
    ] {
        let error = error(&cluster, query).await;
        assert!(matches!(error, QueryError::Memory { .. }), "{query}: {error:?}");
        assert!(error.to_string().contains("8 MiB"), "{error}");
    }
    for query in [
        "SELECT length(repeat('x', 2000000000))",
        "SELECT lpad('x', 2000000000)",
        "SELECT array_length(array_repeat(1, 2000000000))",
        "SELECT array_length(range(0, 10000000000))",
        "SELECT repeat(body, 100000) FROM logs",
    ] {
        let error = error(&cluster, query).await;
        assert!(matches!(error, QueryError::Invalid(_) | QueryError::Execution(_)), "{query}: {error:?}");
    }
    assert_eq!(rows(&cluster, "SELECT repeat('ab', 2), lpad('7', 3, '0')").await, ["abab | 007"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn functions_cannot_exhaust_memory() {
    let cluster = limited(20_000, 64 << 20).await;
    let many = |call: &str, count: usize| vec![call; count].join(", ");
    let long = "x".repeat(10_000);
    for query in [
        format!("SELECT {}", many("length(repeat('x', 33000000))", 900)),
        format!("SELECT {} FROM logs", many("repeat(body, 500)", 400)),
        "SELECT array_length(array_repeat(array_repeat(1, 64), 33000000))".to_owned(),
        "SELECT array_length(array_repeat(1, 33000000))".to_owned(),
        format!("SELECT length(replace(repeat('x', 10000), 'x', '{long}'))"),
        format!("SELECT length(replace(repeat('x', 100000), '', '{long}'))"),
        format!("SELECT length(regexp_replace(repeat('x', 100000), 'x', '{long}', 'g'))"),
        format!("SELECT length(array_to_string(array_repeat(1, 1000000), '{long}'))"),
        format!(
            "WITH a AS (SELECT repeat(body, 10) AS s FROM logs), b AS (SELECT concat({s}) AS s FROM a), \
             c AS (SELECT concat({s}) AS s FROM b), d AS (SELECT concat({s}) AS s FROM c) \
             SELECT max(length(s)) FROM d",
            s = many("s", 20)
        ),
        format!("SELECT length(concat_ws({}))", many("repeat('x', 3000000)", 200)),
    ] {
        let error = error(&cluster, &query).await;
        let limited = matches!(error, QueryError::Invalid(_) | QueryError::Execution(_) | QueryError::Memory { .. });
        assert!(limited, "{}: {error:?}", &query[..60]);
    }
    for (query, expected) in [
        ("SELECT replace('a-b', '-', '--'), concat_ws(',', 'a', NULL, 'b'), concat('a', 1)", "a--b | a,b | a1"),
        ("SELECT array_to_string(array_repeat(7, 3), '+'), regexp_replace('aXbX', 'X', '-', 'g')", "7+7+7 | a-b-"),
        ("SELECT max(length(repeat(body, 10))) > 0, max(upper(lpad(body, 1))) FROM logs", "true | R"),
        ("SELECT count(DISTINCT replace(body, ' ', '  ')), min(concat(body, NULL)) > '' FROM logs", "2000 | true"),
    ] {
        assert_eq!(rows(&cluster, query).await, [expected], "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_answer_ends_its_query() {
    let cluster = limited(20_000, 256 << 20).await;
    let tenant = TenantId::default_tenant();
    for _ in 0..5 {
        // More queries than turns: each must have given its turn back.
        let query = "SELECT a.body FROM logs a, logs b, logs c";
        let mut answer = cluster.engine.sql(&tenant, query).await.unwrap();
        assert!(answer.stream.next().await.unwrap().is_ok());
    }
    let held = [
        cluster.engine.sql(&tenant, "SELECT a.body FROM logs a, logs b").await.unwrap(),
        cluster.engine.sql(&tenant, "SELECT a.body FROM logs a, logs b").await.unwrap(),
    ];
    let waiting = tokio::time::timeout(Duration::from_millis(300), cluster.engine.sql(&tenant, "SELECT 1")).await;
    assert!(waiting.is_err());
    drop(held);
    assert_eq!(rows(&cluster, "SELECT 1").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deep_queries_do_not_overflow_the_stack() {
    let cluster = limited(20_000, 256 << 20).await;
    let chain = |one: &str, by: &str, count: usize| vec![one; count].join(by);
    for query in [
        format!("SELECT {}", chain("1", "+", 950)),
        format!("SELECT count(*) FROM logs WHERE {}", chain("body = 'x'", " OR ", 600)),
        chain("SELECT 1", " UNION ALL ", 450),
        format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500)),
        format!("SELECT {}1", "- ".repeat(900)),
        format!("SELECT {}1", "NOT ".repeat(900)),
        format!("SELECT {}1{}", "abs(".repeat(600), ")".repeat(600)),
    ] {
        // An answer or an error: the process stays up.
        let _ = super::table(&cluster, &query).await;
    }
}

/// On one thread: whoever does the work there does not see that the time is up.
#[tokio::test]
async fn evaluation_without_series_ends() {
    let cluster = limited(500, 256 << 20).await;
    let ask = |query: &str, step: i64| {
        let query = Arc::new(Query::parse(query).unwrap());
        let params = Params::range(0, 10_000 * step, step);
        cluster.engine.promql(&TenantId::default_tenant(), query, params, Duration::MAX, Caching::Allowed)
    };
    const ENDLESS: &str = "quantile_over_time(0.5, vector(time())[7d:1s])";
    for query in [ENDLESS, "quantile_over_time(0.5, (nothing or vector(time()))[7d:1s])"] {
        let start = Instant::now();
        let error = ask(query, 1000).await.unwrap_err();
        assert!(matches!(error, QueryError::Timeout(_)), "{query}: {error:?}");
        assert!(start.elapsed() < Duration::from_secs(3), "{query}: {:?}", start.elapsed());
    }
    // Who leaves ends it, too: the runtime waits for its threads at the end of this test.
    assert!(tokio::time::timeout(Duration::from_millis(50), ask(ENDLESS, 1000)).await.is_err());
    assert!(ask("1 + 1", 1).await.is_ok());
}

#[tokio::test]
async fn failures_on_data_are_execution_errors() {
    let cluster = limited(5_000, 64 << 20).await;
    let error = error(&cluster, "SELECT CAST(body AS BIGINT) FROM logs").await;
    assert!(matches!(error, QueryError::Execution(_)), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_together_have_a_limit() {
    let (memory_bytes, total_memory_bytes) = (48 << 20, 56 << 20);
    let options = EngineOptions { memory_bytes, total_memory_bytes, target_partitions: 1, ..Default::default() };
    let cluster = Cluster::with(options).await;
    cluster.append(data::numbered("a", 0, 2000));
    let tenant = TenantId::default_tenant();
    // Sorted rows stay in memory until they are read.
    let sorted = "SELECT a.body || b.body AS x FROM logs a, (SELECT body FROM logs LIMIT 120) b ORDER BY x";
    let mut first = cluster.engine.sql(&tenant, sorted).await.unwrap();
    assert!(first.stream.next().await.unwrap().is_ok());
    let crowded = |error: QueryError| {
        assert!(matches!(error, QueryError::Crowded(_)), "{error:?}");
        assert!(error.retryable() && error.to_string().contains("query.total_memory_bytes"), "{error}");
    };
    crowded(error(&cluster, sorted).await);
    let points = Arc::new(Query::parse("max_over_time(vector(1)[45m:1ms])").unwrap());
    let ask = || cluster.engine.promql(&tenant, points.clone(), Params::instant(0), Duration::MAX, Caching::Off);
    crowded(ask().await.unwrap_err());
    // Small ones go on.
    assert_eq!(rows(&cluster, "SELECT count(*) FROM logs").await, ["2000"]);
    while first.stream.next().await.is_some() {}
    drop(first);
    assert!(ask().await.is_ok());
    let mut second = cluster.engine.sql(&tenant, sorted).await.unwrap();
    assert!(second.stream.next().await.unwrap().is_ok());
}
