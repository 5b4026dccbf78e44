//! Deleted rows are not seen, wherever they lie.

use bonghwa_model::{Signal, TenantId, Value};
use bonghwa_protocol::v1;

use super::cluster::Cluster;
use super::data::{self, SECOND, START};
use super::rows;

fn delete(id: u64, signal: Signal, selector: v1::Selector) -> v1::Delete {
    v1::Delete {
        id,
        tenant: "default".into(),
        signal: v1::Signal::from(signal).into(),
        selector: Some(selector),
        min_time: i64::MIN,
        max_time: i64::MAX,
        created_at: 0,
    }
}

fn attribute(key: &str, value: &str) -> v1::Selector {
    let attributes = vec![v1::AttributeMatch { key: key.into(), value: value.into(), ..Default::default() }];
    v1::Selector { attributes, ..Default::default() }
}

#[tokio::test]
async fn those_of_each_selector() {
    let cluster = Cluster::start().await;
    cluster.append(data::numbered("a", 0, 100));
    cluster.append(data::numbered("b", 0, 100));
    cluster.append_as(&TenantId::new("other").unwrap(), data::numbered("a", 0, 10));
    cluster.flush(Signal::Logs, true).await.unwrap();
    cluster.append(data::numbered("a", 100, 50));
    cluster.flush(Signal::Logs, true).await.unwrap();
    const COUNT: &str = "SELECT count(*) FROM logs";
    assert_eq!(rows(&cluster, COUNT).await, ["250"]);
    for (selector, times, expected) in [
        (v1::Selector { service: "a".into(), ..Default::default() }, (i64::MIN, i64::MAX), "100"),
        (v1::Selector { service: "b".into(), ..Default::default() }, (i64::MIN, i64::MAX), "150"),
        (v1::Selector::default(), (START, START + 9 * SECOND), "230"),
        (v1::Selector::default(), (START + 100 * SECOND, i64::MAX), "200"),
        (attribute("even", "true"), (i64::MIN, i64::MAX), "125"),
        (attribute("user.name", "user-0"), (i64::MIN, i64::MAX), "166"),
        (attribute("service.name", "b"), (i64::MIN, i64::MAX), "150"),
        (v1::Selector { body_contains: "took 3 ms".into(), ..Default::default() }, (i64::MIN, i64::MAX), "215"),
        (v1::Selector { max_severity: 8, ..Default::default() }, (i64::MIN, i64::MAX), "250"),
        (v1::Selector { max_severity: 9, ..Default::default() }, (i64::MIN, i64::MAX), "0"),
    ] {
        let (min_time, max_time) = times;
        cluster.delete(v1::Delete { min_time, max_time, ..delete(1, Signal::Logs, selector.clone()) }).await;
        assert_eq!(rows(&cluster, COUNT).await, [expected], "{selector:?}");
        assert_eq!(rows(&cluster, "SELECT count(attributes['n']) FROM logs").await, [expected], "{selector:?}");
        let listed = rows(&cluster, "SELECT * FROM logs").await;
        assert_eq!(listed.len().to_string(), expected, "{selector:?}");
        cluster.end_delete(1).await;
        assert_eq!(rows(&cluster, COUNT).await, ["250"]);
    }
    cluster.delete(delete(2, Signal::Traces, v1::Selector::default())).await;
    cluster.delete(v1::Delete { tenant: "other".into(), ..delete(3, Signal::Logs, v1::Selector::default()) }).await;
    assert_eq!(rows(&cluster, COUNT).await, ["250"], "other signals and tenants have their own");
}

#[tokio::test]
async fn spans_and_samples_too() {
    let cluster = Cluster::start().await;
    cluster.append(data::span("a", [1; 16], 1, &[("k", Value::Str("v".into()))]));
    cluster.append(data::span("a", [1; 16], 2, &[("k", Value::Int(5))]));
    cluster.append(data::gauge("a", "queue", &[1, -2, 30]));
    cluster.flush(Signal::Traces, true).await.unwrap();
    cluster.flush(Signal::Metrics, true).await.unwrap();
    cluster.delete(delete(1, Signal::Traces, attribute("k", "5"))).await;
    assert_eq!(rows(&cluster, "SELECT name FROM spans").await, ["span 1"]);
    let trace = cluster.engine.trace(&TenantId::default_tenant(), [1; 16], None).await.unwrap().trace.unwrap();
    assert_eq!(trace.resource_spans[0].scope_spans[0].spans.len(), 1);
    let all = v1::Delete { max_time: START + SECOND, ..delete(2, Signal::Metrics, attribute("pod", "a")) };
    cluster.delete(all).await;
    assert_eq!(rows(&cluster, "SELECT value FROM metrics").await, ["30.0"]);
    cluster.end_delete(1).await;
    cluster.end_delete(2).await;
    assert_eq!(rows(&cluster, "SELECT count(*) FROM spans").await, ["2"]);
    assert_eq!(rows(&cluster, "SELECT count(*) FROM metrics").await, ["3"]);
}

/// A delete takes out what lay in blocks when it was made, and nothing that came later, whatever its time is.
#[tokio::test]
async fn what_comes_after_a_delete_is_seen() {
    let cluster = Cluster::start().await;
    const COUNT: &str = "SELECT service_name, count(*) FROM logs GROUP BY 1 ORDER BY 1";
    let of = |service: &str| v1::Selector { service: service.into(), ..Default::default() };
    cluster.append(data::numbered("a", 0, 100));
    cluster.append(data::numbered("b", 0, 100));
    cluster.flush(Signal::Logs, true).await.unwrap();
    cluster.delete(delete(1, Signal::Logs, of("a"))).await;
    assert_eq!(rows(&cluster, COUNT).await, ["b | 100"]);
    cluster.append(data::numbered("a", 0, 10));
    cluster.append(data::numbered("b", 0, 10));
    assert_eq!(rows(&cluster, COUNT).await, ["a | 10", "b | 110"]);
    cluster.flush(Signal::Logs, true).await.unwrap();
    assert_eq!(rows(&cluster, COUNT).await, ["a | 10", "b | 110"]);
    // In a block that one delete concerns and the other does not, both are open.
    cluster.delete(delete(2, Signal::Logs, of("b"))).await;
    assert_eq!(rows(&cluster, COUNT).await, ["a | 10"]);
    cluster.append(data::numbered("b", 0, 1));
    assert_eq!(rows(&cluster, COUNT).await, ["a | 10", "b | 1"]);
}
