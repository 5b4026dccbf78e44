//! Instances that push and fell silent are down, whether their heartbeats lie in blocks or in tails.

use bonghwa_model::batch::{Batch, Resource};
use bonghwa_model::heartbeat::{self, SOURCE, SOURCE_LABEL};
use bonghwa_model::metrics::{MetricBatch, MetricRow, PointKind};
use bonghwa_model::{Kind, Signal, Value};
use bonghwa_promql::Params;

use super::cluster::{Away, Cluster};
use super::data::{SECOND, START};
use super::series::{ask, millis};
use crate::{Caching, EngineOptions, SeriesLimits};

/// Heartbeats of an instance at these seconds.
pub(super) fn beats(instance: &str, seconds: &[i64]) -> Batch {
    let mut batch = MetricBatch::default();
    let attributes = [("service.name", "shop"), ("service.instance.id", instance), ("zone", "a")];
    let attributes = attributes.map(|(key, value)| (key.to_owned(), Value::Str(value.to_owned())));
    batch.common.resources.push(Resource {
        service_name: "shop".into(),
        attributes: attributes.into(),
        ..Default::default()
    });
    batch.common.scopes.push(heartbeat::scope());
    batch.metrics.push(heartbeat::metric());
    let key = batch.common.keys.id(SOURCE_LABEL);
    let value = batch.common.arena.push(SOURCE.as_bytes());
    let series = [1, instance.bytes().map(u64::from).sum()];
    for second in seconds {
        batch.attributes.push(key, Kind::Str, value.0);
        let time = START + second * SECOND;
        batch.push_row(MetricRow { series, time, point_kind: PointKind::Int, value: 1, ..Default::default() });
    }
    batch.common.close_group(0, 0, seconds.len() as u32);
    Batch::Metrics(batch)
}

/// One that sends every minute for three hours, and one that does for an hour.
async fn filled() -> Cluster {
    let cluster = Cluster::of_partitions(2, EngineOptions { target_partitions: 2, ..Default::default() }).await;
    let minutes = |range: std::ops::Range<i64>| range.map(|minute| minute * 60).collect::<Vec<_>>();
    cluster.append(beats("lives", &minutes(0..90)));
    cluster.append(beats("ends", &minutes(0..61)));
    cluster.append(beats("lives", &minutes(90..180)));
    cluster
}

/// Instances and their values, in order.
async fn shown(cluster: &Cluster, query: &str, second: i64) -> String {
    let found = ask(&cluster.engine, query, Params::instant(millis(second))).await;
    let one = |line: &String| {
        let instance = line.split("instance=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("-");
        let value = if line.ends_with("Float(0.0)") { 0 } else { 1 };
        assert!(value == 0 || line.ends_with("Float(1.0)"), "{line}");
        format!("{instance} {value}")
    };
    found.iter().map(one).collect::<Vec<_>>().join(", ")
}

async fn check(cluster: &Cluster, place: &str) {
    let all = ask(&cluster.engine, "up", Params::instant(millis(60))).await;
    assert!(
        all[0].starts_with(r#"{__name__="up", bonghwa_source="otlp", instance="ends", job="shop"} "#),
        "{place}: {all:?}"
    );
    for (query, second, expected) in [
        ("up", 3600, "ends 1, lives 1"),
        ("up", 3779, "ends 1, lives 1"),
        ("up", 3780, "ends 0, lives 1"),
        // Half an hour later, and just before it is forgotten.
        ("up", 5430, "ends 0, lives 1"),
        ("up{instance=\"ends\"}", 7199, "ends 0"),
        ("up", 7200, "lives 1"),
        ("up == 0", 7000, "ends 0"),
        ("{__name__=~\"up|other\"}", 7000, "ends 0, lives 1"),
        ("up{bonghwa_source=\"\"}", 7000, ""),
        // Who does not ask by name sees who fell silent in the time that is read.
        ("{job=\"shop\"}", 3779, "ends 1, lives 1"),
        ("{job=\"shop\"}", 7000, "lives 1"),
        ("max by (job) (up) == 0", 7000, ""),
        ("max by (job) (up{instance=\"ends\"}) == 0", 7000, "- 0"),
        ("up offset 1h", 7380, "ends 0, lives 1"),
        ("min_over_time(up[10m])", 4000, "ends 0, lives 1"),
        ("count_over_time(up{instance=\"ends\"}[2m]) / 2", 5000, "ends 1"),
        ("target_info", 3600, ""),
    ] {
        assert_eq!(shown(cluster, query, second).await, expected, "{place}: {query} at {second}");
    }
}

#[tokio::test]
async fn who_fell_silent_is_down() {
    let cluster = filled().await;
    check(&cluster, "tail").await;
    cluster.flush(Signal::Metrics, true).await;
    check(&cluster, "block").await;
    cluster.append(beats("ends", &[7800, 7860]));
    assert_eq!(shown(&cluster, "up", 7100).await, "ends 0, lives 1");
    assert_eq!(shown(&cluster, "up", 7800).await, "ends 1, lives 1", "it is back");
    assert_eq!(shown(&cluster, "up", 8160).await, "ends 0, lives 1");
}

/// A heartbeat may be where nobody can look now.
#[tokio::test]
async fn nobody_is_down_while_a_leader_is_away() {
    let cluster = filled().await;
    assert_eq!(shown(&cluster, "up", 7000).await, "ends 0, lives 1");
    cluster.lose("metrics-0002", Away::Unreachable);
    assert_eq!(shown(&cluster, "up", 7000).await, "lives 1");
}

#[tokio::test]
async fn zeros_count_as_samples() {
    let limits =
        |samples| EngineOptions { series: SeriesLimits { samples, ..Default::default() }, ..Default::default() };
    for (samples, fits) in [(1_000, true), (50, false)] {
        let cluster = Cluster::with(limits(samples)).await;
        cluster.append(beats("ends", &[0]));
        let query = std::sync::Arc::new(bonghwa_promql::Query::parse("up").unwrap());
        let params = Params::range(millis(0), millis(3600), 60_000);
        let tenant = bonghwa_model::TenantId::default_tenant();
        let answer =
            cluster.engine.promql(&tenant, query, params, std::time::Duration::from_secs(30), Caching::Allowed).await;
        assert_eq!(answer.is_ok(), fits, "{samples}: {:?}", answer.err());
    }
}
