//! What a tenant's series may be: samples of others are rejected with the reason, and the rest is kept.

use anyhow::{Result, ensure};
use bonghwa_testkit::{Server, Store};
use bonghwa_tests::prometheus::messages::{Series, sample, series};
use bonghwa_tests::prometheus::{now, write};
use serde_json::Value;

/// Some series with a label `n`, each with a sample.
fn numbered(numbers: std::ops::Range<u32>) -> Vec<Series> {
    let one = |n: u32| series(&[("__name__", "m"), ("job", "x"), ("n", &n.to_string())], vec![sample(1.0, now())]);
    numbers.map(one).collect()
}

/// How many series of a name a tenant has.
async fn count(server: &Server, tenant: &str, name: &str) -> Result<String> {
    let request = server.http().get(server.url("/api/v1/query")).query(&[("query", format!("count({name})"))]);
    let answer: Value = request.header("x-scope-orgid", tenant).send().await?.json().await?;
    Ok(answer["data"]["result"][0]["value"][1].as_str().unwrap_or("0").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn new_series_beyond_the_limit_are_rejected_and_known_ones_go_on() -> Result<()> {
    let limits = [("BONGHWA_LIMITS__NAMED__METRICS_ACTIVE_SERIES", "100")];
    let mut server = Server::start_with(Store::Local, &limits).await?;
    let (status, said) = write(&server, Some("shop"), numbered(0..120)).await?;
    let told = ["20 of 120 data points", "tenant shop has 100 active series", "limits.metrics_active_series"];
    ensure!(status == 400 && told.iter().all(|word| said.contains(word)), "{status} {said}");
    ensure!(count(&server, "shop", "m").await? == "100");
    let (status, said) = write(&server, Some("shop"), numbered(0..100)).await?;
    ensure!(status == 204, "series that are known go on: {status} {said}");
    for tenant in [Some("bank"), None] {
        let sent = if tenant.is_some() { 0..100 } else { 0..300 };
        let (status, said) = write(&server, tenant, numbered(sent)).await?;
        ensure!(status == 204, "{tenant:?} has its own limit, or none: {status} {said}");
    }
    let metrics = server.http().get(server.url("/metrics")).send().await?.text().await?;
    let counted =
        r#"bonghwa_distributor_discarded_items_total{reason="too_many_series",signal="metrics",tenant="shop"} 20"#;
    ensure!(metrics.contains(counted), "{metrics}");

    // An operator lets it have more.
    let raised = server.http().put(server.url("/admin/limits/shop")).body(r#"{"metrics_active_series": 110}"#);
    ensure!(raised.send().await?.status() == 200);
    let (status, said) = write(&server, Some("shop"), numbered(100..120)).await?;
    ensure!(status == 400 && said.contains("10 of 20 data points"), "{status} {said}");
    ensure!(count(&server, "shop", "m").await? == "110");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_of_a_tenant_are_few_and_short() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let names: Vec<String> = (0..40).map(|n| format!("label_{n}")).collect();
    let with = |count: usize| {
        let labels: Vec<(&str, &str)> =
            [("__name__", "m")].into_iter().chain(names[..count].iter().map(|name| (name.as_str(), "x"))).collect();
        series(&labels, vec![sample(1.0, now())])
    };
    let (long_name, long_value) = ("n".repeat(1025), "v".repeat(2049));
    let bad = [
        (with(30), "limits.metrics_labels raised"),
        (
            series(&[("__name__", "m"), (&long_name, "x")], vec![sample(1.0, now())]),
            "at most 1024 are allowed; shorten it",
        ),
        (
            series(&[("__name__", "m"), ("x", &long_value)], vec![sample(1.0, now())]),
            "limits.metrics_label_value_bytes",
        ),
    ];
    for (bad, setting) in bad {
        let (status, said) = write(&server, Some("shop"), vec![bad.clone(), with(29)]).await?;
        ensure!(status == 400 && said.contains(setting) && said.contains("1 of 2 data points"), "{status} {said}");
        ensure!(count(&server, "shop", "m").await? == "1", "the valid rest is kept");
        // That of names is one for all.
        let (status, said) = write(&server, None, vec![bad]).await?;
        ensure!(status == if setting.contains("1024") { 400 } else { 204 }, "without a tenant: {status} {said}");
    }
    server.stop().await
}
