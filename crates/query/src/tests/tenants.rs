//! One tenant's rows, several tenants' rows, and never another's; and whose turn it is.

use std::time::Duration;

use bonghwa_model::{Signal, TenantId, TenantSet, Value};
use futures::StreamExt;

use super::cluster::Cluster;
use super::data::{self, Log};
use super::table_of;
use crate::{EngineOptions, QueryError};

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn set(names: &str) -> TenantSet {
    TenantSet::parse(names).unwrap()
}

/// Log records and spans of a, b and c, half of them in blocks. The attribute `code` is a number at a
/// and text at b; c alone has `secret`.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    for half in 0..2i64 {
        for (name, attribute) in [
            ("a", ("code", Value::Int(half))),
            ("b", ("code", Value::Str(format!("E{half}")))),
            ("c", ("secret", Value::Str("x".into()))),
        ] {
            let time = data::START + half * data::SECOND;
            let log =
                Log { time, body: format!("{name}{half}"), attributes: vec![attribute.clone()], ..Default::default() };
            cluster.append_as(&tenant(name), data::logs(name, &[log]));
            cluster.append_as(&tenant(name), data::span(name, [7; 16], half as u64 + 1, &[attribute]));
        }
        if half == 0 {
            cluster.flush(Signal::Logs, true).await;
            cluster.flush(Signal::Traces, true).await;
        }
    }
    cluster
}

async fn rows(cluster: &Cluster, tenants: &str, query: &str) -> Vec<String> {
    table_of(cluster, &set(tenants), query).await.unwrap_or_else(|error| panic!("{tenants}: {query}: {error}")).1
}

#[tokio::test]
async fn a_read_covers_the_tenants_that_it_names() {
    let cluster = cluster().await;
    for (tenants, expected) in [
        ("a", vec!["a0", "a1"]),
        ("b", vec!["b0", "b1"]),
        ("b|a", vec!["a0", "a1", "b0", "b1"]),
        ("a|b|c", vec!["a0", "a1", "b0", "b1", "c0", "c1"]),
        ("a|nobody", vec!["a0", "a1"]),
        ("nobody", vec![]),
    ] {
        assert_eq!(rows(&cluster, tenants, "SELECT body FROM logs ORDER BY body").await, expected, "{tenants}");
        let count = expected.len().to_string();
        for query in [
            "SELECT count(*) FROM logs",
            "SELECT count(*) FROM spans",
            "SELECT count(*) FROM (SELECT body FROM logs UNION ALL SELECT body FROM logs WHERE false)",
            "SELECT count(DISTINCT body) FROM logs WHERE body IN (SELECT body FROM bonghwa.public.logs)",
        ] {
            assert_eq!(rows(&cluster, tenants, query).await, [count.as_str()], "{tenants}: {query}");
        }
    }
}

#[tokio::test]
async fn several_tenants_rows_are_ordered_limited_and_aggregated_as_one_table() {
    let cluster = cluster().await;
    let newest = "SELECT body FROM logs ORDER BY time DESC, body LIMIT 3";
    assert_eq!(rows(&cluster, "a|b", newest).await, ["a1", "b1", "a0"]);
    let by_service = "SELECT service_name, count(*), max(body) FROM logs GROUP BY 1 ORDER BY 1";
    assert_eq!(rows(&cluster, "a|c", by_service).await, ["a | 2 | a1", "c | 2 | c1"]);
    assert_eq!(rows(&cluster, "a|b", "SELECT count(*) FROM (SELECT 1 FROM logs LIMIT 3)").await, ["3"]);
    // An attribute of two types is text for both, as in one tenant.
    let codes = "SELECT attributes['code'] FROM logs ORDER BY body";
    assert_eq!(rows(&cluster, "a", "SELECT attributes['code'] + 1 FROM logs ORDER BY body").await, ["1", "2"]);
    assert_eq!(rows(&cluster, "a|b", codes).await, ["0", "1", "E0", "E1"]);
    let pruned = "SELECT body FROM logs WHERE service_name = 'b' AND attributes['code'] = 'E1'";
    assert_eq!(rows(&cluster, "a|b", pruned).await, ["b1"]);
}

#[tokio::test]
async fn another_tenants_attributes_are_not_known_of() {
    let cluster = cluster().await;
    let query = "SELECT \"secret\" FROM logs";
    let error = table_of(&cluster, &set("a|b"), query).await.unwrap_err();
    assert!(
        matches!(&error, QueryError::NoColumn { near, .. } if !near.iter().any(|n| n.contains("secret"))),
        "{error:?}"
    );
    let near = table_of(&cluster, &set("a|b"), "SELECT \"secre\" FROM logs").await.unwrap_err();
    assert!(!near.to_string().contains("\"secret\""), "{near}");
    assert_eq!(rows(&cluster, "b|c", "SELECT \"secret\" FROM logs ORDER BY body").await, ["NULL", "NULL", "x", "x"]);
}

#[tokio::test]
async fn a_trace_holds_the_spans_of_the_tenants_that_are_asked_for() {
    let cluster = cluster().await;
    for (tenants, expected) in [("a", 2), ("a|b", 4), ("a|b|c", 6), ("nobody", 0)] {
        let trace = cluster.engine.trace(set(tenants), [7; 16], None).await.unwrap().trace;
        let spans = trace.iter().flat_map(|t| &t.resource_spans).flat_map(|r| &r.scope_spans).map(|s| s.spans.len());
        assert_eq!(spans.sum::<usize>(), expected, "{tenants}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_tenant_keeps_no_other_waiting() {
    let options = EngineOptions { concurrent: 4, target_partitions: 2, ..Default::default() };
    let cluster = Cluster::with(options).await;
    for name in ["a", "b"] {
        cluster.append_as(&tenant(name), data::numbered(name, 0, 2000));
    }
    // Answers that are not read on keep their turns.
    let query = "SELECT a.body FROM logs a, logs b";
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut answer = cluster.engine.sql(&tenant("a"), query).await.unwrap();
        assert!(answer.stream.next().await.unwrap().is_ok());
        held.push(answer);
    }
    let fifth = cluster.engine.sql(&tenant("a"), query);
    assert!(tokio::time::timeout(Duration::from_millis(300), fifth).await.is_err(), "a has all turns that it may have");
    for _ in 0..10 {
        assert_eq!(rows(&cluster, "b", "SELECT count(*) FROM logs").await, ["2000"]);
    }
    drop(held);
    assert_eq!(rows(&cluster, "a", "SELECT count(*) FROM logs").await, ["2000"]);
}
