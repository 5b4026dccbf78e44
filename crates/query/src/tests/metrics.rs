//! What metrics are asked for beside values, by one tenant or several, and within which limits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_model::{Signal, TenantId, TenantSet};
use bonghwa_promql::{Matcher, Params, Point, Query, Value};

use super::cluster::Cluster;
use super::data::{self, SECOND, START};
use super::series::{PODS, append, append_as, ask, ask_as, labels, millis};
use crate::{Caching, Engine, EngineOptions, Metadata, QueryError, SeriesLimits, SeriesQuery};

fn options() -> EngineOptions {
    EngineOptions { target_partitions: 2, ..Default::default() }
}

fn of(matchers: Vec<Matcher>) -> SeriesQuery {
    SeriesQuery { matchers: vec![matchers], range: (0, i64::MAX / 1_000_000) }
}

fn tenants(names: &str) -> TenantSet {
    TenantSet::parse(names).unwrap()
}

async fn names(engine: &Arc<Engine>, tenants: &TenantSet, query: SeriesQuery) -> BTreeSet<String> {
    engine.label_names(tenants, query, usize::MAX).await.unwrap().answer
}

async fn values(engine: &Arc<Engine>, tenants: &TenantSet, query: SeriesQuery, label: &str) -> BTreeSet<String> {
    engine.label_values(tenants, query, label.to_owned(), usize::MAX).await.unwrap().answer
}

#[tokio::test]
async fn names_and_counts_are_told_of_any_number_of_series() {
    let limits = SeriesLimits { series: 10, ..Default::default() };
    let cluster = Cluster::with(EngineOptions { series: limits, ..options() }).await;
    let unlimited = Arc::new(cluster.fakes.engine("unlimited", &cluster.view, options()));
    let (engine, tenant) = (&cluster.engine, tenants("default"));
    for step in ["a tail", "a block", "a block and a tail of the same series"] {
        match step {
            "a block" => drop(cluster.flush(Signal::Metrics, true).await.unwrap()),
            _ => append(&cluster, 1..21),
        }
        let refused = engine.series(&tenant, of(vec![])).await.unwrap_err();
        assert!(matches!(refused, QueryError::Limit { key: "query.max_series", .. }), "{step}: {refused:?}");
        let all = labels(&unlimited, vec![]).await;
        let expected = ["__name__", "host_cpus", "job", "le", "pod", "quantile"].map(str::to_owned);
        assert_eq!(names(engine, &tenant, of(vec![])).await, BTreeSet::from(expected), "{step}");
        assert_eq!(values(engine, &tenant, of(vec![]), "pod").await.len(), PODS, "{step}");
        let requests = || of(vec![Matcher::equal("__name__", "requests_total")]);
        assert_eq!(values(engine, &tenant, requests(), "pod").await.len(), PODS / 2, "{step}");
        assert_eq!(values(engine, &tenant, requests(), "__name__").await.len(), 1, "{step}");
        let some = engine.label_values(&tenant, of(vec![]), "pod".to_owned(), 3).await.unwrap().answer;
        assert!(some.len() >= 3, "{step}: {some:?}");
        let counts = engine.cardinality(&tenant, of(vec![])).await.unwrap().answer;
        assert_eq!(counts.series as usize, all.len(), "{step}");
        let of_pod = all.iter().filter(|labels| labels.contains("pod=\"pod-2\"")).count();
        assert_eq!(counts.values["pod"]["pod-2"] as usize, of_pod, "{step}");
        assert_eq!(counts.values["le"]["+Inf"] as usize, PODS / 2, "{step}");
    }
}

#[tokio::test]
async fn texts_are_bounded_by_memory() {
    let cluster = Cluster::with(EngineOptions { memory_bytes: 3000, ..options() }).await;
    append(&cluster, 1..2);
    let values = cluster.engine.label_values(tenants("default"), of(vec![]), "pod".to_owned(), usize::MAX).await;
    let error = values.unwrap_err();
    assert!(matches!(error, QueryError::Limit { key: "query.memory_bytes", .. }), "{error:?}");
}

#[tokio::test]
async fn tenants_are_told_apart_by_a_label() {
    let cluster = Cluster::with(options()).await;
    for name in ["a", "b", "c"] {
        append_as(&cluster, &TenantId::new(name).unwrap(), 1..11);
    }
    let count = async |tenants: &TenantSet, query: &str| {
        ask_as(&cluster.engine, tenants, query, Params::instant(millis(10))).await.pop()
    };
    for (tenants, query, expected) in [
        ("a|b", "count(requests_total)", Some(50)),
        ("a|b", r#"count(requests_total{__tenant_id__="a"})"#, Some(25)),
        ("a|b", r#"count(requests_total{__tenant_id__!="a"})"#, Some(25)),
        ("a|b|c", r#"count(requests_total{__tenant_id__=~"a|c",pod="pod-2"})"#, Some(2)),
        ("a|b", r#"count(requests_total{__tenant_id__="c"})"#, None),
        ("a", r#"count(requests_total{__tenant_id__="a"})"#, None),
    ] {
        let expected = expected.map(|count| format!("{{}} Float({count}.0)"));
        assert_eq!(count(&self::tenants(tenants), query).await, expected, "{tenants}: {query}");
    }
    let both = tenants("a|b");
    assert!(names(&cluster.engine, &both, of(vec![])).await.contains("__tenant_id__"));
    let told = values(&cluster.engine, &both, of(vec![Matcher::equal("pod", "pod-2")]), "__tenant_id__").await;
    assert_eq!(told, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    let one = of(vec![Matcher::equal("__tenant_id__", "b")]);
    let counts = cluster.engine.cardinality(&both, one).await.unwrap().answer;
    assert_eq!(counts.values["__tenant_id__"].keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn memory_is_that_of_a_query_and_not_of_each_tenant() {
    // 25 series with 20 samples fit twice into 48 KB, and not three times.
    let cluster = Cluster::with(EngineOptions { memory_bytes: 48_000, ..options() }).await;
    for name in ["a", "b", "c"] {
        append_as(&cluster, &TenantId::new(name).unwrap(), 1..21);
    }
    for (names, fits) in [("a", true), ("a|b", true), ("a|b|c", false)] {
        let query = Arc::new(Query::parse("count(requests_total)").unwrap());
        let params = Params::instant(millis(20));
        let asked =
            cluster.engine.promql(tenants(names), query, params, Duration::from_secs(30), Caching::Allowed).await;
        match asked {
            Ok(_) => assert!(fits, "{names}"),
            Err(error) => {
                let of_memory = matches!(error, QueryError::Limit { key: "query.memory_bytes", .. });
                assert!(!fits && of_memory, "{names}: {error:?}");
            }
        }
    }
    // One after another, of which each is folded before the next is read, or not all at once.
    let wanted = r#"count(requests_total{pod="pod-2"}) + count(requests_total{pod="pod-4"}) + count(requests_total{pod="pod-6"})"#;
    assert_eq!(ask_as(&cluster.engine, &tenants("a"), wanted, Params::instant(millis(20))).await, ["{} Float(3.0)"]);
}

#[tokio::test]
async fn histograms_count_for_what_they_weigh() {
    // A thousand histograms of which each is worth 14 samples.
    let limits = SeriesLimits { samples: 5000, ..Default::default() };
    let cluster = Cluster::with(EngineOptions { series: limits, ..options() }).await;
    append(&cluster, 1..21);
    let samples = async |name: &str| {
        cluster.engine.samples(&TenantId::default_tenant(), vec![of(vec![Matcher::equal("__name__", name)])]).await
    };
    assert!(samples("queue").await.is_ok());
    let error = samples("rpc").await.unwrap_err();
    assert!(matches!(error, QueryError::Limit { key: "query.max_samples", .. }), "{error:?}");
}

#[tokio::test]
async fn target_info_has_a_sample_now_and_then() {
    let cluster = Cluster::with(EngineOptions { target_partitions: 1, ..Default::default() }).await;
    append(&cluster, 1..61);
    for _ in 0..2 {
        let count = ask(&cluster.engine, "count_over_time(target_info[1h])", Params::instant(millis(60))).await;
        // From the first second on, from the thirtieth, and from the sixtieth; however many series there are.
        assert_eq!(count, [r#"{host_cpus="4", job="shop"} Float(3.0)"#]);
        cluster.flush(Signal::Metrics, true).await;
    }
}

#[tokio::test]
async fn metadata_is_what_was_said_lately() {
    let cluster = Cluster::with(options()).await;
    cluster.append(data::gauge("shop", "ancient", &[1, 2]));
    cluster.flush(Signal::Metrics, true).await.unwrap();
    let now = (seam::unix_nanos() - START) / SECOND;
    append(&cluster, now - 3..now);
    cluster.flush(Signal::Metrics, true).await.unwrap();
    append(&cluster, now - 3..now);
    let told = async |metric: Option<&str>| {
        let told = cluster.engine.metadata(&TenantId::default_tenant(), metric.map(str::to_owned)).await;
        let told = told.unwrap().answer.into_iter();
        let types = |(name, all): (String, BTreeSet<Metadata>)| {
            all.into_iter().map(move |one| format!("{name} {}", one.metric_type))
        };
        told.flat_map(types).collect::<Vec<String>>()
    };
    let all = told(None).await;
    assert_eq!(
        all,
        [
            "changes gauge",
            "duration histogram",
            "queue gauge",
            "requests_total counter",
            "rpc histogram",
            "summary summary"
        ]
    );
    let one = told(Some("requests_total")).await;
    assert_eq!(one, ["requests_total counter"]);
}

#[tokio::test]
async fn what_is_made_of_resources_is_not_deleted_alone() {
    let cluster = Cluster::with(options()).await;
    append(&cluster, 1..3);
    let rows = async |name: &str| {
        let query = of(vec![Matcher::equal("__name__", name)]);
        cluster.engine.rows_of_series(&TenantId::default_tenant(), query, 1000).await.map(|found| found.answer.len())
    };
    assert_eq!(rows("queue").await.unwrap(), PODS);
    assert_eq!(rows("nothing").await.unwrap(), 0);
    let error = rows("target_info").await.unwrap_err();
    assert!(matches!(error, QueryError::Execution(_)) && error.to_string().contains("resources"), "{error:?}");
}

#[tokio::test]
async fn a_turn_lasts_until_the_answer_was_used() {
    let cluster = Cluster::with(EngineOptions { concurrent: 1, ..options() }).await;
    let tenant = TenantId::default_tenant();
    let ask = || cluster.engine.series(&tenant, of(vec![]));
    let first = ask().await.unwrap();
    let mut second = ask();
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut second).await.is_err());
    drop(first);
    assert!(second.await.is_ok());
}

/// The points of an answer: by series and time.
async fn points(
    engine: &Arc<Engine>,
    query: &str,
    params: Params,
) -> Result<BTreeMap<(String, i64), String>, QueryError> {
    let (query, time) = (Arc::new(Query::parse(query).unwrap()), params.start_ms);
    let timeout = Duration::from_secs(30);
    let answer = engine.promql(tenants("default"), query, params, timeout, Caching::Off).await?.answer;
    Ok(match answer.value {
        Value::Vector(samples) => {
            samples.into_iter().map(|one| ((one.labels.to_string(), time), format!("{:?}", one.point))).collect()
        }
        Value::Matrix(series) => {
            let of_series = series.into_iter().flat_map(|one| {
                let floats = one.floats.into_iter().map(|(time, value)| (time, Point::Float(value)));
                let histograms = one.histograms.into_iter().map(|(time, value)| (time, Point::Histogram(value)));
                let labels = one.labels.to_string();
                floats.chain(histograms).map(move |(time, point)| ((labels.clone(), time), format!("{point:?}")))
            });
            of_series.collect()
        }
        other => panic!("{other:?}"),
    })
}

#[tokio::test]
async fn samples_that_no_step_looks_at_are_no_load() {
    let limits = SeriesLimits { samples: 2500, ..Default::default() };
    let cluster = Cluster::with(EngineOptions { series: limits, ..options() }).await;
    let unlimited = Arc::new(cluster.fakes.engine("unlimited", &cluster.view, options()));
    append(&cluster, 1..301);
    let back = |params: Params| Params { lookback_ms: 5000, ..params };
    for place in ["a tail", "a block", "both"] {
        match place {
            "a block" => drop(cluster.flush(Signal::Metrics, true).await.unwrap()),
            "both" => append(&cluster, 301..601),
            _ => {}
        }
        let range = |step: i64| back(Params::range(millis(10), millis(590), step * 1000));
        let requests = "rate(requests_total[5s])";
        assert!(points(&cluster.engine, requests, range(60)).await.is_ok(), "{place}");
        let error = points(&cluster.engine, requests, range(5)).await.unwrap_err();
        assert!(matches!(error, QueryError::Limit { key: "query.max_samples", .. }), "{place}: {error:?}");
        for query in [
            "requests_total",
            requests,
            "queue",
            "max_over_time(queue[5s] offset 3s)",
            "count_over_time(changes[20s])",
            "increase(duration_bucket{le=\"1\"}[5s])",
            "histogram_quantile(0.9, rate(rpc[5s]))",
            "rpc",
            "summary_sum",
            "max_over_time(rate(requests_total[5s])[10s:1s])",
            "present_over_time(target_info[31s])",
        ] {
            let at_once = points(&unlimited, query, range(60)).await.unwrap();
            let mut by_step = BTreeMap::new();
            for step in 0..10 {
                let instant = back(Params::instant(millis(10 + 60 * step)));
                by_step.extend(points(&unlimited, query, instant).await.unwrap());
            }
            assert!(!at_once.is_empty(), "{place}: {query}");
            assert_eq!(at_once, by_step, "{place}: {query}");
        }
    }
}
