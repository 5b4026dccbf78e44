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
async fn in_blocks_and_tails_alike() {
    let cluster = Cluster::start().await;
    cluster.append(data::numbered("a", 0, 100));
    cluster.append(data::numbered("b", 0, 100));
    cluster.append_as(&TenantId::new("other").unwrap(), data::numbered("a", 0, 10));
    cluster.flush(Signal::Logs, true).await.unwrap();
    cluster.append(data::numbered("a", 100, 50));
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
    for flushed in [false, true] {
        if flushed {
            cluster.flush(Signal::Traces, true).await.unwrap();
            cluster.flush(Signal::Metrics, true).await.unwrap();
        }
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
}
