//! What is not read, and that EXPLAIN says so.

use std::sync::atomic::Ordering;

use bonghwa_model::Signal;

use super::cluster::Cluster;
use super::{data, rows};

/// Ten blocks of a hundred records each, of two services, and a tail.
async fn filled() -> Cluster {
    let cluster = Cluster::start().await;
    for at in 0..10 {
        cluster.append(data::numbered(if at % 2 == 0 { "even" } else { "odd" }, at * 100, 100));
        cluster.flush(Signal::Logs, true).await;
    }
    cluster.append(data::numbered("tail", 1000, 100));
    cluster
}

async fn explained(cluster: &Cluster, query: &str) -> String {
    let plan = rows(cluster, &format!("EXPLAIN {query}")).await.join("\n");
    let line = plan.lines().find(|line| line.contains("BlockScanExec")).map(str::trim).map(str::to_owned);
    line.unwrap_or(plan)
}

#[tokio::test]
async fn catalog_and_indexes_prune() {
    let cluster = filled().await;
    for (filter, parts, found) in [
        ("true", &["blocks=10/10", "tails=1/1"][..], "1100"),
        ("time < '2026-01-01T00:01:40Z'", &["blocks=1/10 (pruned by time: 9", "tails=0/1"], "100"),
        ("time >= '2026-01-01T00:15:00Z'", &["blocks=1/10 (pruned by time: 9", "tails=1/1"], "200"),
        ("time BETWEEN timestamp '2026-01-01 00:01:00' AND timestamp '2026-01-01 00:02:00'", &["blocks=2/10"], "61"),
        ("service_name = 'odd'", &["blocks=5/10 (pruned by time: 0, service: 5", "tails=0/1"], "500"),
        ("service_name IN ('odd', 'tail')", &["blocks=5/10", "tails=1/1"], "600"),
        ("service_name = 'odd' OR service_name = 'nobody'", &["blocks=5/10"], "500"),
        ("trace_id = '0000000000000000000000000000000a'", &["blocks=1/10"], "1"),
        ("has_token(body, 'req42')", &["blocks=1/10"], "1"),
        ("body LIKE '%id=req42'", &["blocks=1/10"], "1"),
        ("body LIKE '%req42%'", &["blocks=10/10"], "11"),
        ("attributes['n'] > 850 AND time < '2026-01-01T00:16:40Z'", &["blocks="], "149"),
        ("attributes['user.name'] = 'user-1'", &["blocks=10/10"], "367"),
        ("attributes['user.name'] = 'user-9'", &["blocks="], "0"),
    ] {
        let query = format!("SELECT count(*) FROM logs WHERE {filter}");
        assert_eq!(rows(&cluster, &query).await, [found], "{filter}");
        let plan = explained(&cluster, &query).await;
        if filter != "true" {
            parts.iter().for_each(|part| assert!(plan.contains(part), "{filter}: {plan}"));
        }
    }
}

#[tokio::test]
async fn only_needed_columns_are_read() {
    let cluster = filled().await;
    let plan = explained(&cluster, "SELECT sum(attributes['n']) FROM logs WHERE service_name = 'odd'").await;
    assert!(plan.contains("columns=[service_name, attributes['n']]"), "{plan}");
}

#[tokio::test]
async fn counting_reads_nothing() {
    let cluster = filled().await;
    assert_eq!(rows(&cluster, "SELECT count(*) FROM logs").await, ["1100"]);
    assert_eq!(cluster.fakes.tails_read.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_newest_rows_need_the_newest_blocks_only() {
    let cluster = filled().await;
    let query = "SELECT attributes['n'] FROM logs ORDER BY time DESC LIMIT 3";
    assert_eq!(rows(&cluster, query).await, ["1099", "1098", "1097"]);
    let analyzed = rows(&cluster, &format!("EXPLAIN ANALYZE {query}")).await.join("\n");
    let skipped = analyzed.split("units_skipped_late=").nth(1).and_then(|rest| rest.split([',', ']']).next());
    let skipped: usize = skipped.unwrap_or("0").trim().parse().unwrap();
    assert!(skipped >= 5, "{analyzed}");
}
