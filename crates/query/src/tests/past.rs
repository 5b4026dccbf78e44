//! Values of past steps: found again as long as nothing changed, and never after something did.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::batch::{Batch, Scope};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::{Signal, TenantId};
use bonghwa_promql::{Params, Query, Value};
use bonghwa_protocol::v1;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::cluster::{Away, Cluster};
use super::data::{SECOND, START, resource};
use crate::{Caching, Engine, EngineOptions};

const MINUTE: i64 = 60 * SECOND;
const PODS: usize = 5;

fn millis(minute: i64) -> i64 {
    (START + minute * MINUTE) / 1_000_000
}

/// A sample of each pod each minute: a counter, or changes of one.
fn samples(name: &str, temporality: u8, minutes: Range<i64>) -> Batch {
    let mut batch = MetricBatch::default();
    batch.common.resources.push(resource("shop"));
    batch.common.scopes.push(Scope::default());
    let metric_type = MetricType::Sum;
    batch.metrics.push(Metric { name: name.into(), metric_type, temporality, monotonic: true, ..Default::default() });
    for pod in 0..PODS {
        for minute in minutes.clone() {
            let key = batch.common.keys.id("pod");
            let text = batch.common.arena.push(format!("pod-{pod}").as_bytes());
            batch.attributes.push(key, bonghwa_model::Kind::Str, text.0);
            batch.push_row(MetricRow {
                metric: 0,
                series: [name.len() as u64, pod as u64],
                time: START + minute * MINUTE,
                point_kind: PointKind::Int,
                value: (60 * minute * (1 + pod as i64)) as u64,
                ..Default::default()
            });
        }
    }
    let rows = batch.rows() as u32;
    batch.common.close_group(0, 0, rows);
    Batch::Metrics(batch)
}

fn options(results_cache_bytes: usize) -> EngineOptions {
    EngineOptions { target_partitions: 2, results_cache_bytes, ..Default::default() }
}

/// A cluster, and an engine over it that keeps nothing.
async fn cluster() -> (Cluster, Arc<Engine>) {
    let cluster = Cluster::with(options(8 << 20)).await;
    let fresh = Arc::new(cluster.fakes.engine("fresh", &cluster.view, options(0)));
    (cluster, fresh)
}

/// The series of an answer, a line each, and the samples that were read for it.
async fn ask(engine: &Arc<Engine>, query: &str, params: Params) -> (Vec<String>, u64) {
    ask_as(engine, &TenantId::default_tenant(), query, params, Caching::Allowed).await
}

async fn ask_as(
    engine: &Arc<Engine>,
    tenant: &TenantId,
    query: &str,
    params: Params,
    caching: Caching,
) -> (Vec<String>, u64) {
    let parsed = Arc::new(Query::parse(query).unwrap());
    let asked = engine.promql(tenant, parsed, params, Duration::from_secs(30), caching).await;
    let answer = asked.unwrap_or_else(|error| panic!("{query}: {error}")).answer;
    let Value::Matrix(series) = answer.value else { panic!("{query}: {:?}", answer.value) };
    let mut lines: Vec<String> =
        series.iter().map(|one| format!("{} {:?} {:?}", one.labels, one.floats, one.histograms)).collect();
    lines.extend(answer.annotations.warnings);
    lines.extend(answer.annotations.infos);
    (lines, answer.stats.samples)
}

fn minutes(range: Range<i64>) -> Params {
    Params::range(millis(range.start), millis(range.end), 60_000)
}

const HOUR: i64 = 60;
const RATE: &str = "sum by (pod) (rate(requests_total[5m]))";

#[tokio::test]
async fn only_new_steps_are_evaluated() {
    let (cluster, fresh) = cluster().await;
    cluster.append(samples("requests", 2, 0..6 * HOUR));
    cluster.flush(Signal::Metrics, true).await.unwrap();
    cluster.append(samples("requests", 2, 6 * HOUR..6 * HOUR + 10));
    for query in [
        RATE,
        "requests_total",
        "topk(2, requests_total)",
        "requests_total offset 30m",
        "max_over_time(rate(requests_total[5m])[30m:3m])",
        "sum(requests_total) / count(requests_total) or vector(0)",
        "absent(requests_total) or requests_total > 1000",
        "rate({__name__=\"requests_total\"}[5m]) * on (job) group_left (host_cpus) target_info",
    ] {
        // A window that moves on: by a minute, by half of one, back by an hour, far ahead.
        let day = 0..6 * HOUR + 5;
        let (first, all) = ask(&cluster.engine, query, minutes(day.clone())).await;
        assert_eq!(first, ask(&fresh, query, minutes(day.clone())).await.0, "{query}");
        for (from, to) in [(0, 365), (1, 366), (2, 369), (10, 200), (61, 369), (0, 369)] {
            let (again, few) = ask(&cluster.engine, query, minutes(from..to)).await;
            let (expected, _) = ask(&fresh, query, minutes(from..to)).await;
            assert_eq!(again, expected, "{query} from {from} to {to}");
            assert!(few * 4 < all, "{query} from {from} to {to}: {few} of {all} samples were read again");
        }
        let half = Params::range(millis(1) + 30_000, millis(366) + 30_000, 60_000);
        assert_eq!(ask(&cluster.engine, query, half.clone()).await.0, ask(&fresh, query, half).await.0, "{query}");
    }
}

#[tokio::test]
async fn whatever_changes_is_seen_at_once() {
    let (cluster, fresh) = cluster().await;
    cluster.append(samples("requests", 2, 0..3 * HOUR));
    cluster.flush(Signal::Metrics, true).await.unwrap();
    cluster.append(samples("requests", 2, 3 * HOUR..6 * HOUR));
    let second = cluster.flush(Signal::Metrics, true).await.unwrap();
    let range = || minutes(0..6 * HOUR);
    let mut before = ask(&cluster.engine, RATE, range()).await;
    let whole = before.1;
    let delete = v1::Delete {
        id: 1,
        tenant: "default".into(),
        signal: v1::Signal::from(Signal::Metrics).into(),
        selector: Some(v1::Selector { service: "shop".into(), ..Default::default() }),
        min_time: START + 30 * MINUTE,
        max_time: START + 40 * MINUTE,
        created_at: 0,
    };
    // What happens, whether it shows, and whether all is kept again after it.
    for (event, changes, settles) in [
        ("nothing", false, true),
        ("a late sample in the tail", true, false),
        ("it is flushed", false, true),
        ("a delete", true, true),
        ("its end", true, true),
        ("a block is merged", false, true),
        ("a block is past its retention", true, true),
    ] {
        match event {
            "a late sample in the tail" => cluster.append(samples("requests", 2, -3..-2)),
            "it is flushed" => drop(cluster.flush(Signal::Metrics, true).await.unwrap()),
            "a delete" => cluster.delete(delete.clone()).await,
            "its end" => cluster.end_delete(1).await,
            "a block is merged" => {
                let merged = v1::Block { path: "merged.parquet".into(), ..(*second).clone() };
                let (from, to) = (Path::from(second.path.as_str()), Path::from("merged.parquet"));
                cluster.fakes.store().copy(&from, &to).await.unwrap();
                let removed_blocks = vec![second.path.clone()];
                cluster.change(v1::Change { removed_blocks, blocks: vec![merged], ..Default::default() }).await;
            }
            "a block is past its retention" => {
                let removed_blocks = vec!["merged.parquet".to_owned()];
                cluster.change(v1::Change { removed_blocks, ..Default::default() }).await;
            }
            _ => {}
        }
        let expected = ask(&fresh, RATE, range()).await.0;
        let first = ask(&cluster.engine, RATE, range()).await;
        assert_eq!(first.0, expected, "{event}");
        assert_eq!(first.0 != before.0, changes, "{event}");
        let second = ask(&cluster.engine, RATE, range()).await;
        assert_eq!(second.0, expected, "{event}, again");
        assert_eq!(second.1 * 4 < whole, settles, "{event}: {} of {whole} samples", second.1);
        before = second;
    }
}

#[tokio::test]
async fn some_queries_are_never_kept() {
    let (cluster, fresh) = cluster().await;
    cluster.append(samples("requests", 2, 0..6 * HOUR));
    cluster.append(samples("changes", 1, 0..6 * HOUR));
    cluster.flush(Signal::Metrics, true).await.unwrap();
    // Changes are added up from the first that is read.
    for query in
        ["changes_total", "sum(changes_total) + sum(requests_total)", "requests_total @ end()", "sort(requests_total)"]
    {
        let (_, all) = ask(&cluster.engine, query, minutes(0..6 * HOUR)).await;
        let (again, same) = ask(&cluster.engine, query, minutes(0..6 * HOUR)).await;
        assert_eq!((again, same), (ask(&fresh, query, minutes(0..6 * HOUR)).await.0, all), "{query}");
        let (part, _) = ask(&cluster.engine, query, minutes(HOUR..5 * HOUR)).await;
        assert_eq!(part, ask(&fresh, query, minutes(HOUR..5 * HOUR)).await.0, "{query}");
    }
    // Nor what is to be evaluated anew, or is asked of another tenant.
    let (default, other) = (TenantId::default_tenant(), TenantId::new("other").unwrap());
    let engine = &cluster.engine;
    let before = engine.past.bytes();
    let (expected, all) = ask_as(engine, &default, RATE, minutes(0..6 * HOUR), Caching::Off).await;
    assert_eq!(engine.past.bytes(), before);
    assert_eq!(ask(engine, RATE, minutes(0..6 * HOUR)).await, (expected.clone(), all));
    assert!(engine.past.bytes() > before);
    assert_eq!(ask_as(engine, &default, RATE, minutes(0..6 * HOUR), Caching::Off).await, (expected.clone(), all));
    let nothing: Vec<String> = Vec::new();
    assert_eq!(ask_as(engine, &other, RATE, minutes(0..6 * HOUR), Caching::Allowed).await.0, nothing);
    // Where a tail is not in view, nobody knows whether there are late samples in it.
    cluster.lose("metrics-0001", Away::Unreachable);
    assert_eq!(ask(engine, RATE, minutes(0..6 * HOUR)).await, (expected.clone(), all));
    cluster.fakes.away.lock().unwrap().clear();
    let (again, few) = ask(engine, RATE, minutes(0..6 * HOUR)).await;
    assert_eq!(again, expected);
    assert!(few * 4 < all, "{few} of {all}");
}

#[tokio::test]
async fn bytes_are_bounded() {
    let cluster = Cluster::with(options(100_000)).await;
    cluster.append(samples("requests", 2, 0..6 * HOUR));
    cluster.flush(Signal::Metrics, true).await.unwrap();
    let mut kept = 0;
    for n in 0..40 {
        let query = format!("sum(requests_total) + {n}");
        let first = ask(&cluster.engine, &query, minutes(0..6 * HOUR)).await;
        let again = ask(&cluster.engine, &query, minutes(0..6 * HOUR)).await;
        assert_eq!(first.0, again.0);
        assert!(again.1 * 4 < first.1, "what was asked last is kept");
        kept = cluster.engine.past.bytes().max(kept);
        assert!(kept <= 100_000, "{kept}");
    }
    assert!(kept > 50_000, "{kept}");
    // Too much for all of it: that leaves others alone.
    let before = cluster.engine.past.bytes();
    let step = Params { step_ms: 1000, ..minutes(0..6 * HOUR) };
    ask(&cluster.engine, "requests_total", step.clone()).await;
    assert_eq!(cluster.engine.past.bytes(), before);
}

/// Values of delta temporality are added up from the beginning of the day, whatever range is asked for.
#[tokio::test]
async fn changes_have_come_to_the_same_whatever_is_asked() {
    let (cluster, fresh) = cluster().await;
    let day_ms = 24 * 3_600_000;
    let midnight = (millis(0) / day_ms + 1) * day_ms;
    let all = 0..26 * HOUR;
    let come_to = |time: i64| -> f64 {
        let of_day = all.clone().filter(|minute| millis(*minute) / day_ms == time / day_ms && millis(*minute) <= time);
        of_day.map(|minute| (60 * minute) as f64).sum()
    };
    let value = async |query: &str, from: i64, at: i64| -> f64 {
        let parsed = Arc::new(Query::parse(query).unwrap());
        let params = Params::range(from, at, 60_000);
        let asked =
            fresh.promql(&TenantId::default_tenant(), parsed, params, Duration::from_secs(30), Caching::Allowed);
        let Value::Matrix(series) = asked.await.unwrap().answer.value else { panic!("{query}") };
        assert_eq!(series.len(), 1, "{query}: {series:?}");
        series[0].floats.iter().find(|(time, _)| *time == at).unwrap().1
    };
    cluster.append(samples("changed", 1, 0..13 * HOUR));
    cluster.flush(Signal::Metrics, true).await.unwrap();
    cluster.append(samples("changed", 1, 13 * HOUR..26 * HOUR));
    let one = r#"changed_total{pod="pod-0"}"#;
    for at in [millis(3 * HOUR), midnight - 60_000, midnight, midnight + 60_000, millis(25 * HOUR)] {
        let at = millis((at - millis(0)) / 60_000);
        for from in [at, at - 60_000, at - 90 * 60_000, millis(0)] {
            assert_eq!(value(one, from, at).await, come_to(at), "from {from} at {at}");
        }
        if at - 3_600_000 >= midnight || at < midnight {
            let hour = come_to(at) - come_to(at - 3_600_000);
            assert_eq!(value(&format!("{one} - {one} offset 1h"), at, at).await, hour, "at {at}");
        }
        // What counts changes goes on over midnight.
        let increase = value(&format!("increase({one}[10m])"), at, at).await;
        let minute = (at - millis(0)) / 60_000;
        let changes: i64 = (minute - 8..=minute).map(|minute| 60 * minute).sum();
        let extrapolated = changes as f64 * 10.0 / 9.0;
        assert!((increase / extrapolated - 1.0).abs() < 0.2, "{increase} and {extrapolated} at {at}");
    }
}
