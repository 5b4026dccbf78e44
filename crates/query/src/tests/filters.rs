//! Filters of labels: they spare reading labels of blocks, and leave out nothing that is wanted.

use std::sync::Arc;

use bonghwa_model::batch::{Batch, Scope};
use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow, PointKind};
use bonghwa_model::{Kind, Signal, Value};
use bonghwa_promql::{MatchOp, Matcher, Params};

use super::cluster::Cluster;
use super::counting::Counting;
use super::data::{START, push_attributes, resource};
use super::rows;
use super::series::{ask, labels, millis};
use crate::{Engine, EngineOptions};

/// More than so few that their labels are read as fast as filters.
const SERIES: i64 = 20_000;

/// A sample each of series with attributes of all kinds, of two services.
fn many() -> Batch {
    let mut batch = MetricBatch::default();
    batch.common.scopes.push(Scope::default());
    batch.metrics.push(Metric { name: "many".into(), ..Default::default() });
    for (number, service) in ["shop", "web"].into_iter().enumerate() {
        let mut resource = resource(service);
        resource.attributes.push(("service.instance.id".into(), Value::Str(format!("{service}:1"))));
        batch.common.resources.push(resource);
        for n in (0..SERIES).filter(|n| n % 2 == number as i64) {
            let attributes = [
                ("pod", Value::Str(format!("pod-{n}"))),
                ("number", Value::Int(7 * n - 3)),
                ("share", Value::Double(n as f64 / 8.0 - 1.0)),
                ("huge", Value::Double(n as f64 * 1e17 + 0.5)),
                ("tiny", Value::Double(n as f64 * 1.5e-9)),
                ("even", Value::Bool(n % 4 == 0)),
                ("list", Value::Array(vec![Value::Int(n), Value::Str(format!("of {n}"))])),
                ("odd", Value::Str(format!("Größe \"{n}\"\n\t-"))),
            ];
            let mixed = if n % 3 == 0 { Value::Int(n) } else { Value::Str(format!("n{n}")) };
            push_attributes!(batch, &attributes);
            push_attributes!(batch, &[("mixed", mixed)]);
            let (time, value) = (START, (n as f64).to_bits());
            batch.push_row(MetricRow {
                time,
                value,
                series: [n as u64, 1],
                point_kind: PointKind::Double,
                ..Default::default()
            });
        }
        batch.common.close_group(number as u32, 0, batch.rows() as u32);
    }
    Batch::Metrics(batch)
}

#[tokio::test]
async fn filters_leave_out_nothing() {
    let queries = [
        r#"many{pod="pod-12345"}"#,
        r#"many{pod=~".*-12345"}"#,
        r#"many{pod=~"pod-77|pod-19998|none"}"#,
        r#"many{pod=~"pod-1999.+"}"#,
        r#"{pod=~".*1234.*",even="false"}"#,
        r#"many{number="-3"}"#,
        r#"many{number="139990"}"#,
        r#"many{share="-0.875"}"#,
        r#"many{share="11"}"#,
        r#"many{share="1"}"#,
        r#"many{share="1.0"}"#,
        r#"many{huge="1400000000000000000"}"#,
        r#"many{huge="1.9e+21"}"#,
        r#"many{huge=~"1[.]8e[+].*"}"#,
        r#"many{tiny="0.0000015"}"#,
        r#"many{tiny=~"0[.]00000.*"}"#,
        r#"many{tiny="1.5e-7"}"#,
        r#"count(many{even="true"})"#,
        r#"many{list="[5,\"of 5\"]"}"#,
        r#"many{odd="Größe \"77\"\n\t-"}"#,
        r#"many{mixed="9999"}"#,
        r#"many{mixed="n10000"}"#,
        r#"count(many{job="web"})"#,
        r#"many{job="web",pod="pod-5"}"#,
        r#"count(many{instance=~"shop.*"})"#,
        r#"target_info{instance="shop:1"}"#,
        r#"target_info{host_cpus="4",job=~"w.b"}"#,
        r#"many{pod="pod-5",absent=""}"#,
        r#"many{absent="pod-5"}"#,
        r#"many{pod="5"}"#,
    ];
    let tables = [
        "SELECT value FROM metrics WHERE attributes['pod'] = 'pod-12345'",
        "SELECT value FROM metrics WHERE attributes['odd'] = 'Größe \"77\"\n\t-'",
        "SELECT value FROM metrics WHERE attributes['number'] = 139990",
        "SELECT value FROM metrics WHERE attributes['mixed'] = 'n10000'",
        "SELECT value FROM metrics WHERE attributes['mixed'] = '9999'",
        "SELECT count(value) FROM metrics WHERE service_name = 'web'",
    ];
    let cluster = Cluster::with(EngineOptions::default()).await;
    cluster.append(many());
    let answers = async |engine: &Arc<Engine>| {
        let mut answers = Vec::new();
        for query in queries {
            answers.push((query, ask(engine, query, Params::instant(millis(1))).await));
        }
        answers
    };
    let expected = answers(&cluster.engine).await;
    let none: Vec<&str> = expected.iter().filter(|(_, answer)| answer.is_empty()).map(|(query, _)| *query).collect();
    assert_eq!(none, [r#"many{share="1.0"}"#, r#"many{absent="pod-5"}"#, r#"many{pod="5"}"#]);
    let in_tables = async || {
        let mut found = Vec::new();
        for query in tables {
            found.push((query, rows(&cluster, query).await));
        }
        found
    };
    let in_tail = in_tables().await;
    cluster.flush(Signal::Metrics, true).await.unwrap();
    assert_eq!(in_tables().await, in_tail);
    let forgetful = EngineOptions { series_cache_bytes: 1000, ..Default::default() };
    let forgetful = Arc::new(cluster.fakes.engine("forgetful", &cluster.view, forgetful));
    for engine in [&forgetful, &cluster.engine] {
        for ((query, found), (_, expected)) in answers(engine).await.into_iter().zip(&expected) {
            assert_eq!(found, *expected, "{query}");
        }
    }
}

#[tokio::test]
async fn one_of_many_series_is_found_without_the_labels_of_others() {
    let cluster = Cluster::with(EngineOptions::default()).await;
    cluster.append(many());
    cluster.flush(Signal::Metrics, true).await.unwrap();
    let store = Counting::new(cluster.fakes.store());
    let options = EngineOptions { target_partitions: 1, series_cache_bytes: 1000, ..Default::default() };
    let engine = Arc::new(cluster.fakes.engine_over(store.clone(), "counting", &cluster.view, options));
    let read = async |op, pod| {
        let found = labels(&engine, vec![Matcher::new("pod", op, pod).unwrap()]).await;
        (found.len(), store.bytes())
    };
    read(MatchOp::Equal, "none").await;
    let (all, of_all) = read(MatchOp::Regex, "pod-.+[0-9]").await;
    let (one, of_one) = read(MatchOp::Equal, "pod-12345").await;
    let (none, of_none) = read(MatchOp::Equal, "pod-x").await;
    assert_eq!((all, one, none), (SERIES as usize - 10, 1, 0));
    assert!(of_one * 8 < of_all && of_none * 8 < of_all, "{of_one}, {of_none} and {of_all} bytes");
}
