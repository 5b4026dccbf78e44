//! Series of PromQL: the same from tails and blocks, deleted samples left out, and labels read once.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_model::batch::{Batch, Scope};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, MetricType, PointKind};
use bonghwa_model::{Signal, TenantId, TenantSet, prometheus};
use bonghwa_promql::{MatchOp, Matcher, Params, Query, Value};
use bonghwa_protocol::v1;

use super::cluster::Cluster;
use super::counting::Counting;
use super::data::{SECOND, START, resource};
use crate::{Caching, Engine, EngineOptions, SeriesQuery};

pub(super) const PODS: usize = 50;
const MILLISECOND: i64 = SECOND / 1000;

/// A metric, and what its sample number `n` is.
struct Kind {
    name: &'static str,
    metric_type: MetricType,
    temporality: u8,
    sample: fn(&mut MetricBatch, i64) -> MetricRow,
}

fn number(point_kind: PointKind, value: u64) -> MetricRow {
    MetricRow { point_kind, value, ..Default::default() }
}

fn distribution(batch: &mut MetricBatch, n: i64, buckets: &str) -> MetricRow {
    let buckets = batch.common.arena.push(buckets.as_bytes());
    let (count, sum) = (4 * n as u64, n as f64 / 2.0);
    MetricRow { point_kind: PointKind::Distribution, count, sum, buckets, ..Default::default() }
}

/// Every kind of metric, in the order of names.
const METRICS: [Kind; 6] = [
    Kind {
        name: "changes",
        metric_type: MetricType::Sum,
        temporality: 1,
        sample: |_, n| number(PointKind::Double, (n as f64 + 0.1).to_bits()),
    },
    Kind {
        name: "duration",
        metric_type: MetricType::Histogram,
        temporality: 2,
        sample: |batch, n| distribution(batch, n, &format!(r#"{{"bounds":[0.1,1],"counts":[{n},{},{n}]}}"#, 2 * n)),
    },
    Kind {
        name: "queue",
        metric_type: MetricType::Gauge,
        temporality: 0,
        // Now and then a sample that ends the series.
        sample: |_, n| match n % 7 {
            6 => MetricRow { flags: 1, ..number(PointKind::None, 0) },
            _ => number(PointKind::Int, n as u64),
        },
    },
    Kind {
        name: "requests",
        metric_type: MetricType::Sum,
        temporality: 2,
        sample: |_, n| number(PointKind::Int, 30 * n as u64),
    },
    Kind {
        name: "rpc",
        metric_type: MetricType::ExponentialHistogram,
        temporality: 2,
        sample: |batch, n| {
            let positive = format!(r#"{{"offset":0,"counts":[{n},{}]}}"#, 2 * n);
            distribution(batch, n, &format!(r#"{{"scale":0,"zero_count":{n},"positive":{positive}}}"#))
        },
    },
    Kind {
        name: "summary",
        metric_type: MetricType::Summary,
        temporality: 0,
        sample: |batch, n| distribution(batch, n, r#"{"quantiles":[{"quantile":0.5,"value":0.25}]}"#),
    },
];

/// Samples of these numbers of all series, so many seconds apart; half of the pods came by Prometheus' remote write.
pub(super) fn samples(numbers: std::ops::Range<i64>, seconds: i64) -> [Batch; 2] {
    [false, true].map(|verbatim| {
        let mut batch = MetricBatch::default();
        batch.common.resources.push(resource(if verbatim { "prometheus" } else { "shop" }));
        batch.common.scopes.push(if verbatim { prometheus::scope() } else { Scope::default() });
        for kind in &METRICS {
            let (name, metric_type, temporality) = (kind.name.to_owned(), kind.metric_type, kind.temporality);
            let monotonic = name == "requests";
            batch.metrics.push(Metric { name, metric_type, temporality, monotonic, ..Default::default() });
        }
        for pod in (0..PODS).filter(|pod| (pod % 2 == 1) == verbatim) {
            // Prometheus has no summaries.
            let kinds = METRICS.iter().enumerate().filter(|(_, kind)| !verbatim || kind.name != "summary");
            for ((metric, kind), n) in kinds.flat_map(|kind| numbers.clone().map(move |n| (kind, n))) {
                let key = batch.common.keys.id("pod");
                let text = batch.common.arena.push(format!("pod-{pod}").as_bytes());
                batch.attributes.push(key, bonghwa_model::Kind::Str, text.0);
                let row = (kind.sample)(&mut batch, n);
                let series = [metric as u64 + 1, pod as u64];
                batch.push_row(MetricRow { metric: metric as u32, series, time: START + n * seconds * SECOND, ..row });
            }
        }
        let rows = batch.rows() as u32;
        batch.common.close_group(0, 0, rows);
        Batch::Metrics(batch)
    })
}

pub(super) fn append(cluster: &Cluster, numbers: std::ops::Range<i64>) {
    append_as(cluster, &TenantId::default_tenant(), numbers);
}

pub(super) fn append_as(cluster: &Cluster, tenant: &TenantId, numbers: std::ops::Range<i64>) {
    for batch in samples(numbers, 1) {
        cluster.append_as(tenant, batch);
    }
}

/// The series of an answer, a line each.
pub(super) async fn ask(engine: &Arc<Engine>, query: &str, params: Params) -> Vec<String> {
    ask_as(engine, &(&TenantId::default_tenant()).into(), query, params).await
}

pub(super) async fn ask_as(engine: &Arc<Engine>, tenants: &TenantSet, query: &str, params: Params) -> Vec<String> {
    let parsed = Arc::new(Query::parse(query).unwrap());
    let asked = engine.promql(tenants, parsed, params, Duration::from_secs(30), Caching::Allowed).await;
    match asked.unwrap_or_else(|error| panic!("{query}: {error}")).answer.value {
        Value::Vector(samples) => samples.iter().map(|s| format!("{} {:?}", s.labels, s.point)).collect(),
        Value::Matrix(series) => {
            series.iter().map(|s| format!("{} {:?} {:?}", s.labels, s.floats, s.histograms)).collect()
        }
        other => panic!("{query}: {other:?}"),
    }
}

pub(super) fn millis(n: i64) -> i64 {
    (START + n * SECOND) / MILLISECOND
}

/// All samples of all series up to this one, but for `target_info`, which has one now and then.
async fn all(engine: &Arc<Engine>, n: i64) -> Vec<String> {
    ask(engine, r#"{__name__=~".+",__name__!="target_info"}[1h]"#, Params::instant(millis(n))).await
}

pub(super) async fn labels(engine: &Arc<Engine>, matchers: Vec<Matcher>) -> Vec<String> {
    let query = SeriesQuery { matchers: vec![matchers], range: (0, i64::MAX / 1_000_000) };
    let series = engine.series(&TenantId::default_tenant(), query).await.unwrap().answer;
    series.iter().map(ToString::to_string).collect()
}

fn options(series_cache_bytes: usize) -> EngineOptions {
    EngineOptions { target_partitions: 2, series_cache_bytes, ..Default::default() }
}

#[tokio::test]
async fn blocks_and_tails_give_the_same() {
    let cluster = Cluster::with(options(64 << 20)).await;
    // One that keeps next to nothing, and one for all tasks.
    let forgetful = Arc::new(cluster.fakes.engine("forgetful", &cluster.view, options(1000)));
    let alone = EngineOptions { target_partitions: 1, ..options(64 << 20) };
    let alone = Arc::new(cluster.fakes.engine("alone", &cluster.view, alone));
    let one =
        async |engine: &Arc<Engine>| ask(engine, r#"requests_total{pod="pod-2"}"#, Params::instant(millis(40))).await;
    let info = async |engine: &Arc<Engine>| ask(engine, "target_info", Params::instant(millis(40))).await;
    let parts = async |engine: &Arc<Engine>| {
        let query = r#"sum by (le) (duration_bucket{pod=~"pod-.*[02468]",le!="1"})"#;
        ask(engine, query, Params::range(millis(10), millis(40), 10_000)).await
    };
    append(&cluster, 1..21);
    append(&cluster, 21..41);
    let expected = (all(&cluster.engine, 40).await, labels(&cluster.engine, Vec::new()).await);
    // Of a histogram 3 buckets, count and sum; of a summary a quantile, count and sum; of Prometheus' one each.
    let series = PODS / 2 * (4 + 5 + 3) + PODS / 2 * 5;
    assert_eq!((expected.0.len(), expected.1.len()), (series, series + 1));
    let summed = parts(&cluster.engine).await;
    assert_eq!(summed.len(), 2, "{summed:?}");
    for step in ["one block", "a block and a tail", "two blocks"] {
        match step {
            "a block and a tail" => append(&cluster, 41..42),
            _ => drop(cluster.flush(Signal::Metrics, true).await.unwrap()),
        }
        for engine in [&cluster.engine, &forgetful, &alone] {
            for _ in 0..2 {
                assert_eq!((all(engine, 40).await, labels(engine, Vec::new()).await), expected, "{step}");
                let found = r#"{__name__="requests_total", job="shop", pod="pod-2"} Float(1200.0)"#;
                assert_eq!(one(engine).await, [found], "{step}");
                let found = r#"{__name__="target_info", host_cpus="4", job="shop"} Float(1.0)"#;
                assert_eq!(info(engine).await, [found], "{step}");
                assert_eq!(parts(engine).await, summed, "{step}");
                let matcher = Matcher::new("le", MatchOp::Regex, "0.*").unwrap();
                assert_eq!(labels(engine, vec![matcher]).await.len(), PODS / 2, "{step}");
            }
        }
    }
}

#[tokio::test]
async fn deleted_samples_are_left_out_of_each() {
    let cluster = Cluster::with(options(64 << 20)).await;
    append(&cluster, 1..11);
    cluster.flush(Signal::Metrics, true).await.unwrap();
    append(&cluster, 11..21);
    cluster.flush(Signal::Metrics, true).await.unwrap();
    append(&cluster, 21..31);
    let counts = async |query| ask(&cluster.engine, query, Params::instant(millis(30))).await;
    let of = |count: i64| vec![format!("{{}} Float({count}.0)")];
    const ALL: &str = r#"sum(count_over_time(requests_total[1h]))"#;
    const ONE: &str = r#"sum(count_over_time(requests_total{pod="pod-4"}[1h]))"#;
    assert_eq!((counts(ALL).await, counts(ONE).await), (of(25 * 30), of(30)));
    let attributes = vec![v1::AttributeMatch { key: "pod".into(), value: "pod-4".into(), ..Default::default() }];
    let delete = |min: i64, max: i64| v1::Delete {
        id: 1,
        tenant: "default".into(),
        signal: v1::Signal::from(Signal::Metrics).into(),
        selector: Some(v1::Selector { attributes: attributes.clone(), ..Default::default() }),
        min_time: START + min * SECOND,
        max_time: START + max * SECOND,
        created_at: 0,
    };
    // In the first block; in both, but not in the tail, which came later.
    for (min, max) in [(2, 4), (5, 25), (25, 100)] {
        cluster.delete(delete(min, max)).await;
        let gone = (max.min(20) - min + 1).max(0);
        for _ in 0..2 {
            assert_eq!((counts(ALL).await, counts(ONE).await), (of(25 * 30 - gone), of(30 - gone)), "{min}..={max}");
        }
        cluster.end_delete(1).await;
        assert_eq!((counts(ALL).await, counts(ONE).await), (of(25 * 30), of(30)));
    }
}

#[tokio::test]
async fn labels_are_read_once() {
    let cluster = Cluster::with(options(64 << 20)).await;
    append(&cluster, 1..21);
    cluster.flush(Signal::Metrics, true).await.unwrap();
    let store = Counting::new(cluster.fakes.store());
    let alone = EngineOptions { target_partitions: 1, ..options(64 << 20) };
    let engine = Arc::new(cluster.fakes.engine_over(store.clone(), "counting", &cluster.view, alone));
    let queue = || vec![Matcher::equal("__name__", "queue")];
    let first = labels(&engine, queue()).await;
    assert_eq!(first.len(), PODS);
    assert!(store.ranges() > 0);
    assert_eq!(labels(&engine, queue()).await, first);
    assert_eq!(store.ranges(), 0, "neither footer nor labels are read again");
    // All columns of samples lie close together, so that they are fetched at once.
    for query in [r#"queue{pod="pod-3"}"#, "queue"] {
        ask(&engine, query, Params::instant(millis(20))).await;
        assert_eq!(store.ranges(), 1, "{query}");
    }
    // Another block of the same series: its ids tell that they are known.
    append(&cluster, 21..31);
    cluster.flush(Signal::Metrics, true).await.unwrap();
    labels(&engine, queue()).await;
    let (known, options) = (store.ranges(), EngineOptions { target_partitions: 1, ..options(64 << 20) });
    let other = Arc::new(cluster.fakes.engine_over(store.clone(), "other", &cluster.view, options));
    labels(&other, queue()).await;
    let unknown = store.ranges();
    assert!(unknown > 2 * known, "{known} ranges of a block whose series are known, {unknown} of two others");
}
