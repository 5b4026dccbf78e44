//! Scraping: what a real Prometheus scrapes from a real node_exporter, the same series with the same labels; ends of
//! series; discovery by files and over HTTP; every format, with exemplars and native histograms; and scrapers that
//! share their targets.
//!
//! Kubernetes' discovery is tried in the crate itself, against a server that answers in the shape of its API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::prometheus::Prometheus;
use bonghwa_testkit::{Exporter, Node, Pages, Server, Store, tools, wait};
use bonghwa_tests::nodes::Nodes;
use serde_json::{Value, json};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(60);
const TEXT: &str = "text/plain; version=0.0.4";

/// A file of jobs, and a server that scrapes them.
struct Scraping {
    server: Server,
    config: PathBuf,
    dir: TempDir,
}

impl Scraping {
    /// `configure` gets a directory for files beside the configuration.
    async fn start(configure: impl FnOnce(&std::path::Path) -> String) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-scrape-").tempdir()?;
        let config = dir.path().join("scrape.yml");
        std::fs::write(&config, configure(dir.path()))?;
        let path = config.to_string_lossy().into_owned();
        let server = Server::start_with(Store::Local, &[("BONGHWA_SCRAPE__CONFIG", &path)]).await?;
        Ok(Scraping { server, config, dir })
    }

    async fn query(&self, query: &str) -> Result<Vec<Value>> {
        ask(self.server.http(), &self.server.url("/api/v1/query"), query).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.server.http().get(self.server.url(path)).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} answers {status}: {text}");
        Ok(serde_json::from_str::<Value>(&text)?["data"].clone())
    }

    /// Waits until a query has this many results.
    async fn results(&self, query: &str, count: usize) -> Result<Vec<Value>> {
        let what = format!("{query} has {count} results");
        wait::until(&what, DEADLINE, || async {
            let found = self.query(query).await.map_err(|error| error.to_string())?;
            if found.len() == count { Ok(found) } else { Err(json!(found).to_string()) }
        })
        .await
    }
}

/// The result of an instant query.
async fn ask(http: &reqwest::Client, url: &str, query: &str) -> Result<Vec<Value>> {
    let answer = http.post(url).form(&[("query", query)]).send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{query} answers {status}: {text}");
    let answer: Value = serde_json::from_str(&text)?;
    Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
}

/// Series of a result: labels, bounds and quantiles in one form. Prometheus has the form `1.0` since its version 3.
fn series(result: &[Value]) -> BTreeSet<String> {
    let shown = |sample: &Value| {
        let mut labels: BTreeMap<String, Value> =
            sample["metric"].as_object().into_iter().flatten().map(|(n, v)| (n.clone(), v.clone())).collect();
        for name in ["le", "quantile"] {
            let number = labels.get(name).and_then(Value::as_str).and_then(|value| value.parse::<f64>().ok());
            if let Some(number) = number {
                labels.insert(name.into(), json!(number.to_string()));
            }
        }
        json!(labels).to_string()
    };
    result.iter().map(shown).collect()
}

fn value(result: &[Value]) -> Option<f64> {
    result.first()?["value"][1].as_str()?.parse().ok()
}

/// The same jobs for both: relabelling of targets and of series, a label that the target has too, limits.
fn jobs(exporter: &str) -> String {
    format!(
        "
global: {{ scrape_interval: 1s }}
scrape_configs:
- job_name: node
  params: {{ 'collect[]': [cpu, loadavg, meminfo, stat, time, uname] }}
  sample_limit: 5000
  static_configs:
  - targets: ['{exporter}']
    labels: {{ env: test, machine: from-target, __meta_rack: r1 }}
  relabel_configs:
  - {{ source_labels: [__address__], regex: '([^:]+):(.*)', target_label: port, replacement: '$2' }}
  - {{ regex: '__meta_(.*)', action: labelmap, replacement: 'from_$1' }}
  - {{ source_labels: [__address__], modulus: 16, target_label: bucket, action: hashmod }}
  metric_relabel_configs:
  - {{ source_labels: [__name__], regex: 'node_memory_(Active|Inactive).*', action: drop }}
  - {{ source_labels: [mode], regex: 'i(.*)', target_label: kind, replacement: 'I$1' }}
  - {{ source_labels: [nodename], target_label: loud, action: uppercase }}
- job_name: dropped
  static_configs: [{{ targets: ['{exporter}', 'other:1'] }}]
  relabel_configs: [{{ source_labels: [__address__], regex: 'other.*|127.*', action: drop }}]
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_series_as_a_real_prometheus() -> Result<()> {
    let mut exporter = Exporter::start().await?;
    let prometheus = Prometheus::start(|_| jobs(exporter.address()), "extra-scrape-metrics").await?;
    let mut scraping = Scraping::start(|_| jobs(exporter.address())).await?;
    let all = "{job=\"node\"}";
    // Prometheus' option adds three series; here the configuration may ask for them.
    let theirs = "{job=\"node\", __name__!~\"scrape_(timeout_seconds|sample_limit|body_size_bytes)\"}";
    let what = "both have the same series";
    wait::until(what, DEADLINE, || async {
        let (here, there) = tokio::join!(scraping.query(all), prometheus.query(theirs));
        let (here, there) = (here.map_err(|e| e.to_string())?, there.map_err(|e| e.to_string())?);
        let (here, there) = (series(&here), series(&there));
        if here.len() > 100 && here == there {
            return Ok(());
        }
        let (more, fewer): (Vec<_>, Vec<_>) = (here.difference(&there).collect(), there.difference(&here).collect());
        Err(format!("{} and {}; only here: {more:?}; only there: {fewer:?}", here.len(), there.len()))
    })
    .await?;
    for query in [
        "up{job=\"node\"}",
        "scrape_samples_scraped",
        "scrape_samples_post_metric_relabeling",
        "node_uname_info",
        "node_memory_MemTotal_bytes",
        "node_boot_time_seconds",
    ] {
        let (here, there) = (scraping.results(query, 1).await?, prometheus.query(query).await?);
        ensure!(value(&here) == value(&there), "{query}: {here:?} and {there:?}");
    }
    same_targets(&scraping, &prometheus).await?;
    same_metadata(&scraping, &prometheus).await?;

    exporter.kill()?;
    // Long before the five minutes for which a sample is looked back at.
    for (query, expected) in
        [("up{job=\"node\"}", Some(0.0)), ("node_load1", None), ("go_goroutines{job=\"node\"}", None)]
    {
        wait::until(&format!("{query} is {expected:?} at both"), DEADLINE, || async {
            let (here, there) = tokio::join!(scraping.query(query), prometheus.query(query));
            let (here, there) = (here.map_err(|e| e.to_string())?, there.map_err(|e| e.to_string())?);
            let both = (value(&here), value(&there));
            if both == (expected, expected) { Ok(()) } else { Err(format!("{both:?}")) }
        })
        .await?;
    }
    let targets = scraping.get("/api/v1/targets?state=active&scrapePool=node").await?;
    let target = &targets["activeTargets"][0];
    ensure!(
        target["health"] == "down" && target["lastError"].as_str().is_some_and(|e| e.contains("refused")),
        "{target}"
    );
    exporter.restart().await?;
    scraping.results("up{job=\"node\"} == 1", 1).await?;
    scraping.results("node_load1", 1).await?;
    scraping.server.stop().await
}

/// The targets, without what differs from one scrape to the next and by the host's name.
async fn same_targets(scraping: &Scraping, prometheus: &Prometheus) -> Result<()> {
    let (mut here, mut there) =
        (scraping.get("/prometheus/api/v1/targets").await?, prometheus.get("/api/v1/targets").await?);
    for answer in [&mut here, &mut there] {
        for target in answer["activeTargets"].as_array_mut().context("activeTargets")? {
            let target = target.as_object_mut().context("a target")?;
            for varying in ["lastScrape", "lastScrapeDuration", "globalUrl"] {
                ensure!(target.remove(varying).is_some(), "{varying} is missing: {target:?}");
            }
        }
        let dropped = answer["droppedTargets"].as_array_mut().context("droppedTargets")?;
        for target in dropped.iter_mut() {
            // Prometheus names it since 2.51.
            target.as_object_mut().context("a target")?.remove("scrapePool");
        }
        dropped.sort_by_key(Value::to_string);
    }
    // Prometheus counts them since 2.48.
    let counts = here.as_object_mut().context("an object")?.remove("droppedTargetCounts");
    ensure!(counts == Some(json!({ "dropped": 2, "node": 0 })), "{counts:?}");
    there.as_object_mut().context("an object")?.remove("droppedTargetCounts");
    ensure!(here == there, "here {here:#}\nthere {there:#}");
    Ok(())
}

/// Type, help and unit of each metric of the target.
async fn same_metadata(scraping: &Scraping, prometheus: &Prometheus) -> Result<()> {
    let path = "/api/v1/targets/metadata?match_target=%7Bjob%3D%22node%22%7D";
    let (here, there) = (scraping.get(path).await?, prometheus.get(path).await?);
    let entries = |answer: &Value| -> BTreeSet<String> {
        answer.as_array().into_iter().flatten().map(Value::to_string).collect()
    };
    let (here, there) = (entries(&here), entries(&there));
    ensure!(here.len() > 50 && here == there, "here {here:#?}\nthere {there:#?}");
    let metadata = scraping.get("/api/v1/metadata?metric=node_load1").await?;
    ensure!(metadata["node_load1"][0]["type"] == "gauge", "{metadata}");
    Ok(())
}

/// Targets come and go with files, answers and the configuration; series of those that are gone end.
#[tokio::test(flavor = "multi_thread")]
async fn files_answers_and_a_new_configuration() -> Result<()> {
    let pages = Pages::start().await?;
    let body = "# TYPE value gauge\nvalue 1\n";
    for path in ["/file", "/http", "/later"] {
        pages.set(path, TEXT, body);
    }
    let group =
        |path: &str| json!([{ "targets": [pages.address()], "labels": { "__metrics_path__": path, "from": path } }]);
    pages.set("/sd", "application/json", group("/http").to_string());
    let url = pages.url("/sd");
    let config = |more: &str| {
        format!(
            "
global: {{ scrape_interval: 1s, external_labels: {{ cluster: c1 }} }}
scrape_configs:
- job_name: found
  file_sd_configs: [{{ files: ['targets-*.yml', 'targets-*.json'] }}]
  http_sd_configs: [{{ url: '{url}', refresh_interval: 1s }}]
{more}"
        )
    };
    let mut scraping = Scraping::start(|dir| {
        // YAML has JSON in it.
        let _ = std::fs::write(dir.join("targets-a.yml"), group("/file").to_string());
        config("")
    })
    .await?;
    let found = scraping.results("value{job=\"found\", cluster=\"c1\"}", 2).await?;
    let from: BTreeSet<&str> = found.iter().filter_map(|sample| sample["metric"]["from"].as_str()).collect();
    ensure!(from == BTreeSet::from(["/file", "/http"]), "{from:?}");
    let asked = pages.asked();
    let scrape = asked.iter().find(|asked| asked.target == "/file").context("no scrape")?;
    let header = |name: &str| scrape.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ensure!(header("x-prometheus-scrape-timeout-seconds") == "1", "{scrape:?}");
    ensure!(header("accept").starts_with("application/openmetrics-text;version=1.0.0"), "{scrape:?}");
    ensure!(header("accept-encoding") == "gzip", "{scrape:?}");

    // One more by a file, and the others go.
    std::fs::write(scraping.dir.path().join("targets-b.json"), group("/later").to_string())?;
    scraping.results("value{from=\"/later\"}", 1).await?;
    std::fs::remove_file(scraping.dir.path().join("targets-a.yml"))?;
    pages.set("/sd", "application/json", "[]");
    scraping.results("value{from=~\"/file|/http\"}", 0).await?;
    scraping.results("up{from=~\"/file|/http\"}", 0).await?;
    scraping.results("value{from=\"/later\"}", 1).await?;
    // A broken file and a broken answer leave everything as it is.
    std::fs::write(scraping.dir.path().join("targets-b.json"), "[{")?;
    pages.set("/sd", "text/html", "<html>");

    let another = format!(
        "- job_name: another\n  metrics_path: /later\n  static_configs: [{{ targets: ['{}'] }}]\n",
        pages.address()
    );
    std::fs::write(&scraping.config, config(&another))?;
    scraping.results("value{job=\"another\"}", 1).await?;
    scraping.results("value{from=\"/later\"}", 1).await?;
    // A broken one is passed over, and said.
    std::fs::write(&scraping.config, "scrape_configs: [{job_nam: x}]")?;
    wait::until("the broken configuration is counted", DEADLINE, || async {
        let metrics =
            scraping.server.http().get(scraping.server.url("/metrics")).send().await.map_err(|e| e.to_string())?;
        let text = metrics.text().await.map_err(|e| e.to_string())?;
        if text.contains("bonghwa_scraper_config_broken 1") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await?;
    scraping.results("value{job=\"another\"}", 1).await?;
    std::fs::write(&scraping.config, config(""))?;
    scraping.results("value{job=\"another\"}", 0).await?;
    scraping.results("up{job=\"another\"}", 0).await?;
    scraping.server.stop().await
}

/// What only OpenMetrics and protobuf have: exemplars, creation times, native histograms; and what is wrong with a
/// target is said.
#[tokio::test(flavor = "multi_thread")]
async fn formats_and_failures() -> Result<()> {
    let pages = Pages::start().await?;
    let open = "# TYPE hits counter\n# HELP hits Visits.\n\
                hits_total{path=\"/\"} 7 # {trace_id=\"0123456789abcdef0123456789abcdef\"} 0.5\n\
                hits_created{path=\"/\"} 1700000000.5\n# EOF\n";
    pages.set("/open", "application/openmetrics-text; version=1.0.0; charset=utf-8", open);
    let proto = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    pages.set("/proto", proto, native_histogram());
    pages.set("/utf8", "text/plain; version=1.0.0", "{\"my.metric\",\"a.b\"=\"c\"} 3\n");
    pages.set("/broken", TEXT, "fine 1\nbroken{ 2\n");
    pages.set("/html", "text/html", "<html>");
    pages.set("/large", TEXT, "a 1\n".repeat(1000));
    let mut scraping = Scraping::start(|_| {
        let job = |path: &str, more: &str| {
            let address = pages.address();
            format!(
                "- job_name: {path}\n  metrics_path: /{path}\n  static_configs: [{{ targets: ['{address}'] }}]\n{more}"
            )
        };
        [
            "global: { scrape_interval: 1s }\nscrape_configs:\n".to_owned(),
            job("open", ""),
            job("proto", "  scrape_native_histograms: true\n  extra_scrape_metrics: true\n"),
            job("utf8", ""),
            job("broken", ""),
            job("html", ""),
            job("large", "  body_size_limit: 100B\n"),
        ]
        .concat()
    })
    .await?;
    scraping.results("hits_total{path=\"/\"} == 7", 1).await?;
    let rows = scraping
        .server
        .sql()
        .rows("SELECT CAST(start_time AS BIGINT) AS start, exemplars FROM metrics WHERE name = 'hits_total' ORDER BY time LIMIT 1")
        .await?;
    let row = json!(rows).to_string();
    ensure!(row.contains("1700000000500000000") && row.contains("0123456789abcdef0123456789abcdef"), "{row}");
    let metadata = scraping.get("/api/v1/metadata").await?;
    ensure!(metadata.to_string().contains("\"help\":\"Visits.\""), "{metadata}");

    let count = scraping.results("histogram_count(latency{job=\"proto\"})", 1).await?;
    ensure!(value(&count) == Some(4.0), "{count:?}");
    scraping.results("latency_bucket", 0).await?;
    ensure!(value(&scraping.results("scrape_timeout_seconds{job=\"proto\"}", 1).await?) == Some(1.0));
    scraping.results("{\"my.metric\", \"a.b\"=\"c\"} == 3", 1).await?;
    let accepted = pages.asked().into_iter().find(|asked| asked.target == "/proto").context("no scrape")?;
    ensure!(accepted.headers["accept"].to_str()?.starts_with("application/vnd.google.protobuf"), "{accepted:?}");

    scraping.results("up == 0", 3).await?;
    let targets = scraping.get("/api/v1/targets?state=active").await?;
    for (pool, said) in [
        ("broken", "line 2: ' ' where a label's name or } is expected"),
        ("html", "its Content-Type, \"text/html\", is none of the formats of metrics"),
        ("large", "body size limit exceeded"),
    ] {
        let target = targets["activeTargets"].as_array().into_iter().flatten().find(|t| t["scrapePool"] == pool);
        let error = target.context(pool)?["lastError"].as_str().unwrap_or_default();
        ensure!(error.contains(said) || (pool == "broken" && error.starts_with("line 2: ")), "{pool}: {error}");
    }
    // Of a scrape that failed nothing is stored.
    scraping.results("fine", 0).await?;
    let pools = scraping.get("/api/v1/scrape_pools").await?;
    ensure!(pools["scrapePools"].as_array().map(Vec::len) == Some(6), "{pools}");
    scraping.server.stop().await
}

/// A histogram `latency` with four observations, in protobuf.
fn native_histogram() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let double = |number: u8, value: f64| [&[number << 3 | 1][..], &value.to_le_bytes()].concat();
    let classic = field(3, &[vec![1 << 3, 4], double(2, 1.0)].concat());
    // Four observations in one bucket of schema 0.
    let histogram = [
        vec![1 << 3, 4],
        double(2, 3.0),
        classic,
        vec![5 << 3, 0],
        double(6, 0.001),
        field(12, &[2 << 3, 1]),
        field(13, &[8]),
    ]
    .concat();
    let metric = field(7, &histogram);
    let family = [field(1, b"latency"), vec![3 << 3, 4], field(4, &metric)].concat();
    [vec![family.len() as u8], family].concat()
}

/// Two scrapers share the targets; when one is killed the other takes over its share.
#[tokio::test(flavor = "multi_thread")]
async fn scrapers_share_their_targets() -> Result<()> {
    const TARGETS: usize = 24;
    let pages = Pages::start().await?;
    let dir = tempfile::Builder::new().prefix("bonghwa-scrape-").tempdir()?;
    let config = dir.path().join("scrape.yml");
    let mut text = "global: { scrape_interval: 1s }\nscrape_configs:\n- job_name: many\n  static_configs:\n".to_owned();
    for n in 0..TARGETS {
        pages.set(&format!("/{n}"), TEXT, format!("value {n}\n"));
        text +=
            &format!("  - {{ targets: ['{}'], labels: {{ __metrics_path__: /{n}, n: '{n}' }} }}\n", pages.address());
    }
    std::fs::write(&config, text)?;
    let nodes = Nodes::start(&[]).await?;
    let flags = nodes.joining(&["--scrape-config".into(), config.to_string_lossy().into_owned()]);
    let mut first = Node::start("scraper-1", "scraper", &flags)?;
    let mut second = Node::start("scraper-2", "scraper", &flags)?;
    first.ready().await?;
    second.ready().await?;
    let shares = async |nodes: &[&Node]| -> Result<Vec<BTreeSet<String>>, String> {
        let mut shares = Vec::new();
        for node in nodes {
            let answer = node.http().get(node.url("/api/v1/targets")).send().await.map_err(|e| e.to_string())?;
            let answer: Value = answer.json().await.map_err(|e| e.to_string())?;
            let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
            let up = targets.iter().filter(|target| target["health"] == "up");
            shares.push(up.filter_map(|target| target["labels"]["n"].as_str()).map(str::to_owned).collect());
        }
        Ok(shares)
    };
    wait::until("each target is scraped by one of two", DEADLINE, || async {
        let shares = shares(&[&first, &second]).await?;
        let (a, b) = (&shares[0], &shares[1]);
        let disjoint = a.is_disjoint(b) && !a.is_empty() && !b.is_empty();
        if disjoint && a.len() + b.len() == TARGETS { Ok(()) } else { Err(format!("{a:?} {b:?}")) }
    })
    .await?;
    let http = nodes.querier.http();
    let url = nodes.querier.url("/api/v1/query");
    let count = async |query: &str| ask(http, &url, query).await.map(|found| value(&found));
    wait::until("all series are there", DEADLINE, || async {
        match count("count(value)").await {
            Ok(Some(found)) if found == TARGETS as f64 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    let answer: Value = first.http().get(first.url("/api/v1/targets")).send().await?.json().await?;
    ensure!(answer["warnings"].to_string().contains("scraper-2"), "{}", answer["warnings"]);
    let elsewhere = http.get(nodes.querier.url("/api/v1/targets")).send().await?;
    ensure!(elsewhere.status().as_u16() == 404);
    let said = elsewhere.text().await?;
    ensure!(said.contains("scraper-1") && said.contains("scraper-2"), "{said}");

    second.kill9()?;
    wait::until("the other takes over", DEADLINE, || async {
        let shares = shares(&[&first]).await?;
        if shares[0].len() == TARGETS { Ok(()) } else { Err(format!("{} of {TARGETS}", shares[0].len())) }
    })
    .await?;
    // A handover ends no series.
    ensure!(count("count(value)").await? == Some(TARGETS as f64));
    ensure!(count("count(up == 1)").await? == Some(TARGETS as f64));
    first.stop().await?;
    nodes.stop().await
}

/// `config check` reads the jobs too.
#[tokio::test]
async fn the_check_of_the_configuration_names_file_job_and_key() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let config = dir.path().join("scrape.yml");
    let check = async |text: &str| {
        std::fs::write(&config, text)?;
        tools::run(&["config".as_ref(), "check".as_ref(), "--scrape-config".as_ref(), config.as_os_str()]).await
    };
    let good =
        check("rule_files: [a.yml]\nscrape_configs: [{job_name: node, static_configs: [{targets: ['a:1']}]}]").await?;
    ensure!(good.contains("the configuration is good"), "{good}");
    for (job, said) in [
        ("honor_labels: yes, relabel_configs: [{source_labels: [x], regex: '/users/{id}/.*', target_label: y}]", ""),
        ("static_configs: [{targets: ['http://a:1']}]", "\"http://a:1\" is no address: write HOST:PORT"),
    ] {
        let answer = check(&format!("scrape_configs: [{{job_name: node, {job}}}]")).await;
        let error = answer.err().map(|error| format!("{error:#}"));
        ensure!(
            error.as_deref().map_or(said.is_empty(), |error| !said.is_empty() && error.contains(said)),
            "{error:?}"
        );
    }
    let broken = check("scrape_configs: [{job_name: node, metric_path: /x}]").await;
    let said = format!("{:#}", broken.err().context("it is good")?);
    ensure!(
        said.contains("scrape.yml: job \"node\": unknown key `metric_path`: did you mean `metrics_path`?"),
        "{said}"
    );
    Ok(())
}
