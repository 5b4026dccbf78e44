//! Partitions whose leaders cannot be reached, or go away on the way.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bonghwa_model::{Signal, TenantId};
use tokio::time::Instant;

use super::cluster::{Away, Cluster};
use super::{data, error, rows};
use crate::{EngineOptions, QueryError};

/// A hundred records in a block and ten in a tail of one partition, five in the tail of another.
async fn filled() -> Cluster {
    let options = EngineOptions { target_partitions: 2, ..Default::default() };
    let cluster = Cluster::of_partitions(2, options).await;
    cluster.append_to("logs-0001", data::numbered("a", 0, 100));
    cluster.flush(Signal::Logs, true).await.unwrap();
    cluster.append_to("logs-0001", data::numbered("a", 100, 10));
    cluster.append_to("logs-0002", data::numbered("b", 110, 5));
    cluster
}

async fn missing(cluster: &Cluster, query: &str) -> Vec<String> {
    cluster.engine.sql(&TenantId::default_tenant(), query).await.unwrap().missing
}

const COUNTS: [&str; 2] = ["SELECT count(*) FROM logs", "SELECT count(attributes['n']) FROM logs"];

#[tokio::test]
async fn a_tail_whose_leader_is_away_is_left_out_and_named() {
    let cluster = filled().await;
    for query in COUNTS {
        assert_eq!(rows(&cluster, query).await, ["115"]);
        assert!(missing(&cluster, query).await.is_empty());
    }
    cluster.lose("logs-0001", Away::Unreachable);
    for query in COUNTS {
        assert_eq!(rows(&cluster, query).await, ["105"], "{query}");
        assert_eq!(missing(&cluster, query).await, ["logs-0001"]);
    }
    let plan = rows(&cluster, "EXPLAIN SELECT body FROM logs").await.join("\n");
    assert!(plan.contains("tails=1/1 (missing: logs-0001)"), "{plan}");
    for query in ["SELECT 1", "SELECT count(*) FROM metrics", "SHOW TABLES"] {
        assert!(missing(&cluster, query).await.is_empty(), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_leader_is_waited_for_no_longer_than_it_takes_to_elect_one() {
    let cluster = filled().await;
    cluster.lose("logs-0001", Away::Silent);
    cluster.lose("logs-0002", Away::Silent);
    let start = Instant::now();
    assert_eq!(rows(&cluster, COUNTS[1]).await, ["100"]);
    assert!((Duration::from_secs(7)..=Duration::from_secs(9)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(missing(&cluster, COUNTS[1]).await, ["logs-0001", "logs-0002"]);
}

#[tokio::test]
async fn a_trace_is_never_said_to_be_absent_while_a_leader_is_away() {
    let cluster = filled().await;
    let tenant = TenantId::default_tenant();
    cluster.append_to("traces-0001", data::span("a", [7; 16], 1, &[]));
    cluster.append_to("traces-0002", data::span("b", [7; 16], 2, &[]));
    assert_eq!(cluster.engine.trace(&tenant, [7; 16], None).await.unwrap().trace.unwrap().resource_spans.len(), 2);
    cluster.lose("traces-0002", Away::Unreachable);
    let partial = cluster.engine.trace(&tenant, [7; 16], None).await.unwrap();
    assert_eq!(partial.missing, ["traces-0002"]);
    assert_eq!(partial.trace.unwrap().resource_spans.len(), 1);
    let error = cluster.engine.trace(&tenant, [8; 16], None).await.unwrap_err();
    assert!(matches!(error, QueryError::Unavailable(_)), "{error:?}");
    assert!(error.to_string().contains("traces-0002"), "{error}");
}

#[tokio::test]
async fn a_tail_that_breaks_is_read_again_once_if_nothing_was_delivered() {
    let cluster = filled().await;
    for (breaks, whole) in [(1, true), (1000, false)] {
        cluster.fakes.tails_to_break.store(breaks, Ordering::SeqCst);
        if whole {
            assert_eq!(rows(&cluster, COUNTS[1]).await, ["115"]);
        } else {
            let error = error(&cluster, COUNTS[1]).await;
            assert!(matches!(error, QueryError::Unavailable(_)), "{error:?}");
        }
    }
    // Rows were delivered: they would come twice.
    cluster.fakes.tails_to_break.store(1, Ordering::SeqCst);
    let error = error(&cluster, "SELECT body FROM logs").await;
    assert!(matches!(error, QueryError::Unavailable(_)), "{error:?}");
}
