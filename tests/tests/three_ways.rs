//! One service, three ways in: its metrics are scraped, scraped by a real Prometheus that writes them on, and pushed
//! by the OpenTelemetry SDK. The same queries give the same answers, whichever way they came.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use bonghwa_testkit::prometheus::Prometheus;
use bonghwa_testkit::{Exporter, Server, Store, wait};
use serde_json::Value;

const DEADLINE: Duration = Duration::from_secs(60);
const WAYS: [&str; 3] = ["scraped", "written", "pushed"];
/// Of the service; `JOB` stands for the way. By labels that all have: who is scraped shows its scope, and of what was
/// pushed that becomes labels only where the configuration asks for it.
const SHOP: [&str; 14] = [
    "sum by (code, http_route) (shop_requests_total{job='JOB'})",
    "count by (__name__) ({job='JOB', __name__=~'shop_.+'})",
    "sum by (lane) (shop_queue{job='JOB'})",
    "sum by (room) (shop_temperature_celsius{job='JOB'})",
    "sum by (le, code) (shop_duration_seconds_bucket{job='JOB'})",
    "histogram_quantile(0.9, sum by (le, http_route) (shop_duration_seconds_bucket{job='JOB', code='200'}))",
    "histogram_quantile(0.5, sum by (le) (shop_duration_seconds_bucket{job='JOB'}))",
    "sum by (http_route) (shop_duration_seconds_sum{job='JOB'}) / sum by (http_route) (shop_duration_seconds_count{job='JOB'})",
    "topk(2, sum by (http_route, code) (shop_requests_total{job='JOB', http_route!~'.*/0'}))",
    "max_over_time(sum(shop_requests_total{job='JOB'})[10s:1s])",
    "sum by (code, http_route) (rate(shop_requests_total{job='JOB'}[10s]))",
    "count(shop_requests_total{job='JOB'} * on (job, instance) group_left () target_info)",
    "label_replace(sum by (http_route) (shop_requests_total{job='JOB'}), 'order', '$1', 'http_route', '/orders/(.*)')",
    "absent(shop_requests_total{job='JOB', code='404'})",
];
/// Of the machine, which no SDK pushes.
const NODE: [&str; 4] = [
    "count by (__name__) ({job='JOB', __name__=~'node_.+'})",
    "count by (mode) (node_cpu_seconds_total{job='JOB'})",
    "sum without (job, instance) (node_memory_MemTotal_bytes{job='JOB'})",
    "sum without (job, instance) (node_uname_info{job='JOB'})",
];

fn configuration(job: &str, shop: &str, node: &str) -> String {
    format!(
        "
global: {{ scrape_interval: 1s, scrape_timeout: 900ms }}
scrape_configs:
- {{ job_name: {job}, static_configs: [{{ targets: ['{shop}'] }}] }}
- {{ job_name: {job}-node, static_configs: [{{ targets: ['{node}'] }}] }}
"
    )
}

/// Values by labels. The way is no part of them, nor where it was scraped; bounds are numbers: Prometheus has the
/// form `1.0` since its version 3.
async fn ask(server: &Server, query: &str, job: &str) -> Result<BTreeMap<String, f64>> {
    let query = query.replace("JOB", job);
    let asked = server.http().post(server.url("/api/v1/query")).form(&[("query", &query)]).send().await?;
    let (status, text) = (asked.status(), asked.text().await?);
    ensure!(status.is_success(), "{query} answers {status}: {text}");
    let answer: Value = serde_json::from_str(&text)?;
    let mut values = BTreeMap::new();
    for one in answer["data"]["result"].as_array().into_iter().flatten() {
        let mut labels = one["metric"].as_object().cloned().unwrap_or_default();
        labels.retain(|name, _| !["job", "instance"].contains(&name.as_str()));
        let bound = labels.get("le").and_then(Value::as_str).and_then(|le| le.parse::<f64>().ok());
        labels.extend(bound.map(|bound| ("le".to_owned(), bound.to_string().into())));
        let value = one["value"][1].as_str().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN);
        values.insert(Value::from(labels).to_string(), value);
    }
    Ok(values)
}

/// Waits until a query gives the same through all ways, and something.
async fn same(server: &Server, query: &str, jobs: &[String]) -> Result<()> {
    wait::until(&format!("{query} is the same for {jobs:?}"), DEADLINE, || async {
        let mut answers = Vec::new();
        for job in jobs {
            answers.push(ask(server, query, job).await.map_err(|error| error.to_string())?);
        }
        let first = &answers[0];
        match !first.is_empty() && answers.iter().all(|answer| answer == first) {
            true => Ok(()),
            false => Err(format!("{answers:#?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_queries_give_the_same_answers_through_all_ways() -> Result<()> {
    let node = Exporter::start().await?;
    let dir = tempfile::Builder::new().prefix("bonghwa-ways-").tempdir()?;
    let config = dir.path().join("scrape.yml");
    std::fs::write(&config, "scrape_configs: []\n")?;
    let path = config.to_string_lossy().into_owned();
    let server = Server::start_with(Store::Local, &[("BONGHWA_SCRAPE__CONFIG", &path)]).await?;
    let shop = Exporter::shop(&server.otlp_http(), "one").await?;
    // Read again where it changes.
    std::fs::write(&config, configuration("scraped", shop.address(), node.address()))?;
    let write = server.url("/api/v1/write");
    let prometheus = Prometheus::start(
        |_| {
            let scraped = configuration("written", shop.address(), node.address());
            format!("{scraped}remote_write: [{{ url: '{write}', queue_config: {{ batch_send_deadline: 200ms }} }}]\n")
        },
        "extra-scrape-metrics",
    )
    .await?;
    for query in SHOP {
        same(&server, query, &WAYS.map(str::to_owned)).await.map_err(|e| e.context(prometheus.log_tail()))?;
    }
    for query in NODE {
        same(&server, query, &["scraped-node".into(), "written-node".into()]).await?;
    }
    Ok(())
}
