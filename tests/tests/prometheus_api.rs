//! The rest of Prometheus' API: exemplars, federation, cardinality, status, deletes of series, and the
//! limits of queries.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::prometheus::Prometheus;
use bonghwa_testkit::{Server, Store, wait};
use bonghwa_tests::prometheus::messages::{Exemplar, Histogram, Series, labels, sample, series};
use bonghwa_tests::prometheus::{ask, instant, now, store, write};
use bonghwa_tests::{On, on_every_store};
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(60);
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
const TRACE: &str = "0123456789abcdef0123456789abcdef";
const SPAN: &str = "0123456789abcdef";

/// A histogram and a counter with exemplars, as OTLP; times in Unix milliseconds.
fn otlp_with_exemplars(time: i64) -> Value {
    let nanos = |millis: i64| (millis * 1_000_000).to_string();
    let exemplar = |value: f64, before: i64, route: &str| {
        json!({
            "timeUnixNano": nanos(time - before), "asDouble": value, "traceId": TRACE, "spanId": SPAN,
            "filteredAttributes": [{ "key": "http.route", "value": { "stringValue": route } }],
        })
    };
    let resource = json!([{ "key": "service.name", "value": { "stringValue": "shop" } }]);
    let metrics = json!([
        { "name": "http.duration", "unit": "s", "histogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": nanos(time), "count": "3", "sum": 6.0, "explicitBounds": [0.1, 1.0],
            "bucketCounts": ["1", "1", "1"], "exemplars": [exemplar(0.5, 1_000, "/cart"), exemplar(5.0, 2_000, "/pay")],
        }] } },
        { "name": "http.requests", "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [{
            "timeUnixNano": nanos(time), "asInt": "7", "exemplars": [exemplar(1.0, 3_000, "/cart")],
        }] } },
    ]);
    json!({ "resourceMetrics": [{ "resource": { "attributes": resource }, "scopeMetrics": [{ "metrics": metrics }] }] })
}

fn written_with_exemplars(time: i64) -> Series {
    let exemplar = |value: f64, before: i64, pairs: &[(&str, &str)]| Exemplar {
        labels: labels(pairs),
        value,
        timestamp: time - before,
    };
    Series {
        labels: labels(&[("__name__", "written_total"), ("job", "w")]),
        samples: vec![sample(1.0, time)],
        exemplars: vec![
            exemplar(0.25, 500, &[("trace_id", TRACE), ("user.name", "u")]),
            exemplar(0.75, 250, &[("traceID", "other")]),
        ],
        ..Default::default()
    }
}

async fn exemplars_of(server: &Server, query: &str, start: i64, end: i64) -> Result<Value> {
    let (start, end) = ((start as f64 / 1e3).to_string(), (end as f64 / 1e3).to_string());
    let parameters = [("query", query), ("start", &start), ("end", &end)];
    let (status, answer) = ask(server, "/api/v1/query_exemplars", &parameters).await?;
    ensure!(status == 200 && answer["status"] == "success", "{query}: {status} {answer}");
    Ok(answer["data"].clone())
}

async fn check_exemplars(server: &Server, time: i64) -> Result<()> {
    let seconds = |before: i64| (time - before) as f64 / 1e3;
    let of_trace = |value: &str, before: i64, route: &str| {
        json!({
            "labels": { "trace_id": TRACE, "span_id": SPAN, "http_route": route },
            "value": value, "timestamp": seconds(before),
        })
    };
    let bucket = |bound: &str| json!({ "__name__": "http_duration_seconds_bucket", "job": "shop", "le": bound });
    let in_buckets = json!([
        { "seriesLabels": bucket("+Inf"), "exemplars": [of_trace("5", 2_000, "/pay")] },
        { "seriesLabels": bucket("1"), "exemplars": [of_trace("0.5", 1_000, "/cart")] },
    ]);
    let counter = json!([{
        "seriesLabels": { "__name__": "http_requests_total", "job": "shop" },
        "exemplars": [of_trace("1", 3_000, "/cart")],
    }]);
    let written = json!([{
        "seriesLabels": { "__name__": "written_total", "job": "w" },
        "exemplars": [
            { "labels": { "trace_id": TRACE, "user.name": "u" }, "value": "0.25", "timestamp": seconds(500) },
            { "labels": { "traceID": "other" }, "value": "0.75", "timestamp": seconds(250) },
        ],
    }]);
    let quantile = "histogram_quantile(0.9, sum by (le) (rate(http_duration_seconds_bucket[5m])))";
    for (query, range, expected) in [
        (quantile, (time - 60_000, time), in_buckets),
        ("http_duration_seconds_bucket{le=\"1\"}", (time - 500, time), json!([])),
        ("sum(http_requests_total) / 2", (time - 3_000, time - 3_000), counter),
        ("written_total{job=~\"w|x\"}", (time - 60_000, time + 60_000), written),
        ("nothing + 1", (time - 60_000, time), json!([])),
        ("1 + 1", (time - 60_000, time), json!([])),
    ] {
        let found = exemplars_of(server, query, range.0, range.1).await?;
        ensure!(found == expected, "{query}:\n{found:#}\ninstead of\n{expected:#}");
    }
    Ok(())
}

async fn exemplars_come_with_their_series(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let time = now() - 100_000;
    let request = server.http().post(server.url("/v1/metrics")).json(&otlp_with_exemplars(time));
    ensure!(request.send().await?.status() == 200, "OTLP was not taken");
    store(&server, vec![written_with_exemplars(time)]).await?;
    check_exemplars(&server, time).await?;
    server.flush().await?;
    check_exemplars(&server, time).await?;
    for (parameters, word) in [(vec![("query", "sum(")], "parse error"), (vec![], "query")] {
        let (status, answer) = ask(&server, "/api/v1/query_exemplars", &parameters).await?;
        let said = answer["error"].as_str().unwrap_or_default();
        ensure!(status == 400 && said.contains(word), "{parameters:?}: {status} {answer}");
    }
    server.stop().await
}
on_every_store!(exemplars_come_with_their_series);

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_federates() -> Result<()> {
    let mut server = On::Local.server().await?;
    let time = now() - 1_000;
    let native =
        Histogram { count_int: Some(1), zero_count_int: Some(1), sum: 1.0, timestamp: time, ..Default::default() };
    store(
        &server,
        vec![
            series(
                &[("__name__", "b_total"), ("job", "x"), ("path", "a\"\\\n")],
                vec![sample(1.0, time - 10), sample(2.5, time)],
            ),
            series(&[("__name__", "a"), ("job", "x"), ("instance", "i")], vec![sample(f64::NEG_INFINITY, time)]),
            series(
                &[("__name__", "ended"), ("job", "x")],
                vec![sample(1.0, time - 10), sample(f64::from_bits(STALE_NAN), time)],
            ),
            series(&[("__name__", "old"), ("job", "x")], vec![sample(1.0, time - 400_000)]),
            series(&[("__name__", "other"), ("job", "y")], vec![sample(1.0, time)]),
            Series {
                labels: labels(&[("__name__", "native"), ("job", "x")]),
                histograms: vec![native],
                ..Default::default()
            },
        ],
    )
    .await?;
    let parameters = [("match[]", "{job=\"x\"}"), ("match[]", "a")];
    let answer = server.http().get(server.url("/prometheus/federate")).query(&parameters).send().await?;
    let media = answer.headers()["content-type"].to_str()?.to_owned();
    ensure!(answer.status() == 200 && media.starts_with("text/plain; version=0.0.4"), "{} {media}", answer.status());
    let text = answer.text().await?;
    let expected = format!(
        "# TYPE a untyped\na{{instance=\"i\",job=\"x\"}} -Inf {time}\n\
         # TYPE b_total untyped\nb_total{{job=\"x\",path=\"a\\\"\\\\\\n\",instance=\"\"}} 2.5 {time}\n"
    );
    ensure!(text == expected, "{text}\ninstead of\n{expected}");
    let (status, answer) = ask(&server, "/federate", &[]).await?;
    ensure!(status == 400 && answer["error"].as_str().is_some_and(|e| e.contains("match[]")), "{answer}");

    let target = server.url("").trim_start_matches("http://").to_owned();
    let configure = |_: &str| {
        format!(
            "global: {{ scrape_interval: 1s }}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {{ 'match[]': ['{{job=\"x\"}}'] }}
    static_configs: [{{ targets: ['{target}'] }}]
"
        )
    };
    let prometheus = Prometheus::start(configure, "native-histograms").await?;
    wait::until("it has scraped", DEADLINE, || async {
        let found = prometheus.query("b_total").await.map_err(|e| e.to_string())?;
        let metric = json!({ "__name__": "b_total", "job": "x", "path": "a\"\\\n" });
        match &found[..] {
            [one] if one["metric"] == metric && one["value"][1] == "2.5" => Ok(()),
            _ => Err(format!("{found:?}")),
        }
    })
    .await
    .with_context(|| prometheus.log_tail())?;
    let up = prometheus.query("up{job=\"federate\"}").await?;
    ensure!(up.first().is_some_and(|one| one["value"][1] == "1"), "{up:?}");
    drop(prometheus);
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn cardinality_is_counted() -> Result<()> {
    let mut server = On::Local.server().await?;
    let time = now() - 60_000;
    let one =
        |name: &str, pod: &str| series(&[("__name__", name), ("job", "x"), ("pod", pod)], vec![sample(1.0, time)]);
    store(&server, vec![one("a", "1"), one("a", "2"), one("a", "3"), one("b", "1")]).await?;
    let cardinality = "/api/v1/cardinality";
    let (_, names) = ask(&server, &format!("{cardinality}/label_names"), &[("limit", "2")]).await?;
    let expected = json!({
        "label_values_count_total": 6, "label_names_count": 3,
        "cardinality": [{ "label_name": "pod", "label_values_count": 3 }, { "label_name": "__name__", "label_values_count": 2 }],
    });
    ensure!(names == expected, "{names}");
    let parameters = [("label_names[]", "pod"), ("label_names[]", "none"), ("limit", "1")];
    let (_, values) = ask(&server, &format!("/prometheus{cardinality}/label_values"), &parameters).await?;
    let expected = json!({ "series_count_total": 4, "labels": [
        { "label_name": "pod", "label_values_count": 3, "series_count": 4,
          "cardinality": [{ "label_value": "1", "series_count": 2 }] },
        { "label_name": "none", "label_values_count": 0, "series_count": 0, "cardinality": [] },
    ] });
    ensure!(values == expected, "{values}");
    let (_, active) = ask(&server, &format!("{cardinality}/active_series"), &[("selector", "{pod=\"1\"}")]).await?;
    let series = |name: &str| json!({ "__name__": name, "job": "x", "pod": "1" });
    ensure!(active == json!({ "data": [series("a"), series("b")] }), "{active}");
    for (path, parameters, word) in [
        ("label_names", &[("limit", "501")][..], "limit"),
        ("label_names", &[("selector", "{")], "selector"),
        ("label_values", &[], "label_names[]"),
        ("active_series", &[], "selector"),
    ] {
        let (status, answer) = ask(&server, &format!("{cardinality}/{path}"), parameters).await?;
        ensure!(status == 400 && answer["error"].as_str().is_some_and(|e| e.contains(word)), "{path}: {answer}");
    }

    let (_, tsdb) = ask(&server, "/api/v1/status/tsdb", &[("limit", "1")]).await?;
    let list = |name: &str, value: u64| json!([{ "name": name, "value": value }]);
    let data = &tsdb["data"];
    ensure!(data["headStats"]["numSeries"] == 4 && data["headStats"]["numLabelPairs"] == 6, "{tsdb}");
    for (key, expected) in [
        ("seriesCountByMetricName", list("a", 3)),
        ("labelValueCountByLabelName", list("pod", 3)),
        ("memoryInBytesByLabelName", list("__name__", 4)),
        ("seriesCountByLabelValuePair", list("job=x", 4)),
    ] {
        ensure!(data[key] == expected, "{key}: {tsdb}");
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_of_itself() -> Result<()> {
    let secret = ("BONGHWA_S3__SECRET_ACCESS_KEY", "hush-hush");
    let mut server =
        Server::start_with(On::Local.store().await?, &[secret, ("BONGHWA_QUERY__MAX_SERIES", "1234")]).await?;
    let (_, config) = ask(&server, "/api/v1/status/config", &[]).await?;
    let yaml = config["data"]["yaml"].as_str().unwrap_or_default();
    ensure!(yaml.contains("max_series: 1234") && yaml.contains("<hidden>") && !yaml.contains("hush"), "{yaml}");
    let (_, flags) = ask(&server, "/api/v1/status/flags", &[]).await?;
    let flags = &flags["data"];
    let shown = [&flags["query.max_series"], &flags["query.timeout"], &flags["s3.secret_access_key"]];
    ensure!(shown == [&json!("1234"), &json!("1m"), &json!("<hidden>")], "{flags}");
    let (_, info) = ask(&server, "/prometheus/api/v1/status/runtimeinfo", &[]).await?;
    let started = info["data"]["startTime"].as_str().unwrap_or_default();
    ensure!(started.starts_with("20") && started.ends_with('Z') && info["data"]["CWD"].is_string(), "{info}");
    let (_, build) = ask(&server, "/api/v1/status/buildinfo", &[]).await?;
    // Grafana takes it for Prometheus: rules are edited only where it says `Grafana Mimir`.
    ensure!(build["data"]["application"] == "Bonghwa" && build["data"]["version"] == "3.0.0", "{build}");
    let answer = server.http().post(server.url("/api/v1/admin/tsdb/snapshot")).send().await?;
    let (status, said) = (answer.status().as_u16(), answer.text().await?);
    ensure!(status == 501 && said.contains("/admin/flush"), "{status} {said}");
    server.stop().await
}

async fn delete(server: &Server, parameters: &[(&str, &str)]) -> Result<(u16, String)> {
    let request = server.http().post(server.url("/api/v1/admin/tsdb/delete_series")).query(parameters);
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.text().await?))
}

/// Times of a series' samples as they are found, in milliseconds.
async fn times_of(server: &Server, selector: &str) -> Result<Vec<i64>> {
    let result = instant(server, &format!("{selector}[1h]")).await?;
    let pairs = result.iter().flat_map(|one| one["values"].as_array().into_iter().flatten());
    Ok(pairs.map(|pair| (pair[0].as_f64().unwrap_or_default() * 1e3).round() as i64).collect())
}

async fn series_are_deleted_from_a_range_of_time(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let end = now() - 200_000;
    let times: Vec<i64> = (0..10).map(|n| end - (9 - n) * 10_000).collect();
    let of = |name: &str, pod: &str| {
        series(&[("__name__", name), ("job", "x"), ("pod", pod)], times.iter().map(|time| sample(1.0, *time)).collect())
    };
    store(&server, vec![of("a", "1"), of("a", "2"), of("b", "1")]).await?;
    let request = server.http().post(server.url("/v1/metrics")).json(&otlp_with_exemplars(end));
    ensure!(request.send().await?.status() == 200, "OTLP was not taken");
    server.flush().await?;
    // Some lies in a block and some in the tail.
    let late: Vec<_> = times.iter().map(|time| sample(2.0, time + 5_000)).collect();
    store(&server, vec![series(&[("__name__", "a"), ("job", "x"), ("pod", "1")], late)]).await?;

    let seconds = |time: i64| (time as f64 / 1e3).to_string();
    let (from, to) = (seconds(times[3]), seconds(times[6]));
    let range = [("start", from.as_str()), ("end", to.as_str())];
    let (status, said) = delete(&server, &[&[("match[]", "a{pod=\"1\"}")], &range[..]].concat()).await?;
    ensure!(status == 204, "{status} {said}");
    let (status, said) = delete(&server, &[("match[]", "b"), ("match[]", "http_requests_total")]).await?;
    ensure!(status == 204, "{status} {said}");
    let mut left: Vec<i64> = times.iter().flat_map(|time| [*time, time + 5_000]).collect();
    left.retain(|time| !(times[3]..=times[6]).contains(time));
    let deletes: Value = server.http().get(server.url("/admin/deletes")).send().await?.json().await?;
    ensure!(
        deletes[0]["series"] == 1 && deletes[1]["series"] == 2 && deletes[0]["attributes"] == json!({}),
        "{deletes}"
    );
    ensure!(times_of(&server, "b").await?.is_empty());
    // What is written again is seen, whether the deletes are carried out yet or not.
    let again: Vec<_> = times[..4].iter().map(|time| sample(3.0, *time)).collect();
    store(&server, vec![series(&[("__name__", "b"), ("job", "x"), ("pod", "1")], again)]).await?;
    for place in ["at once", "after compaction"] {
        ensure!(times_of(&server, "a{pod=\"1\"}").await? == left, "{place}");
        ensure!(times_of(&server, "a{pod=\"2\"}").await? == times, "{place}");
        ensure!(times_of(&server, "b").await? == times[..4], "{place}");
        ensure!(times_of(&server, "http_requests_total").await?.is_empty(), "{place}");
        ensure!(times_of(&server, "http_duration_seconds_count").await? == [end], "{place}");
        if place == "at once" {
            server.flush().await?;
            let answer = server.http().post(server.url("/api/v1/admin/tsdb/clean_tombstones")).send().await?;
            ensure!(answer.status() == 204, "{}", answer.text().await?);
        }
    }
    let deletes: Value = server.http().get(server.url("/admin/deletes")).send().await?.json().await?;
    ensure!(deletes == json!([]), "{deletes}");

    for (parameters, status, word) in [
        (vec![], 400, "match[]"),
        (vec![("match[]", "{a=\"\"}")], 400, "non-empty"),
        (vec![("match[]", "nothing")], 204, ""),
        (vec![("match[]", "a"), ("start", "2"), ("end", "1")], 400, "end"),
        (vec![("match[]", "a"), ("start", "9000000000")], 400, "future"),
        (vec![("match[]", "http_duration_seconds_bucket{le=\"1\"}")], 422, "stored as one"),
        (vec![("match[]", "{__name__=~\"http_duration_seconds.*\"}")], 204, ""),
    ] {
        let (found, said) = delete(&server, &parameters).await?;
        ensure!(found == status && said.contains(word), "{parameters:?}: {found} {said}");
    }
    ensure!(times_of(&server, "http_duration_seconds_count").await?.is_empty(), "the histogram is still there");
    server.stop().await
}
on_every_store!(series_are_deleted_from_a_range_of_time);

/// Of several tenants only those lose series whose name a matcher selects.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_leaves_tenants_alone_that_are_not_selected() -> Result<()> {
    let mut server = Server::start(Store::Local).await?;
    let of_tenants = |request: reqwest::RequestBuilder| request.header("x-scope-orgid", "a|b|c");
    for tenant in ["a", "b", "c"] {
        let one = series(&[("__name__", "mine"), ("job", "x")], vec![sample(1.0, now() - 1000)]);
        let (status, said) = write(&server, Some(tenant), vec![one]).await?;
        ensure!(status == 204, "{status} {said}");
    }
    for (selector, left) in [
        (r#"mine{__tenant_id__="nobody"}"#, &["a", "b", "c"][..]),
        (r#"mine{__tenant_id__!~"a|c"}"#, &["a", "c"]),
        (r#"mine{__tenant_id__="c"}"#, &["a"]),
        ("mine", &[]),
    ] {
        let request =
            server.http().post(server.url("/api/v1/admin/tsdb/delete_series")).query(&[("match[]", selector)]);
        let answer = of_tenants(request).send().await?;
        ensure!(answer.status() == 204, "{selector}: {}", answer.text().await?);
        let request =
            server.http().get(server.url("/api/v1/query")).query(&[("query", "sort_by_label(mine, '__tenant_id__')")]);
        let found: Value = of_tenants(request).send().await?.json().await?;
        let found = found["data"]["result"].as_array().cloned().unwrap_or_default();
        let tenants: Vec<&str> = found.iter().filter_map(|one| one["metric"]["__tenant_id__"].as_str()).collect();
        ensure!(tenants == left, "{selector}: {tenants:?}");
    }
    server.stop().await
}

/// What a query is refused with.
async fn refused(server: &Server, path: &str, parameters: &[(&str, &str)]) -> Result<String> {
    let (status, answer) = ask(server, path, parameters).await?;
    ensure!(status == 422 && answer["errorType"] == "execution", "{parameters:?}: {status} {answer}");
    Ok(answer["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_by_name() -> Result<()> {
    let settings = [
        ("BONGHWA_QUERY__MAX_SERIES", "100"),
        ("BONGHWA_QUERY__MAX_SAMPLES", "2000"),
        ("BONGHWA_QUERY__MEMORY_BYTES", "1MiB"),
    ];
    let mut server = Server::start_with(On::Local.store().await?, &settings).await?;
    let end = now() - 1_000;
    let many = |name: &str, count: i64, samples: i64| -> Vec<Series> {
        let samples = |n: i64| (0..samples).map(|at| sample(n as f64, end - at * 1_000)).collect::<Vec<_>>();
        (0..count).map(|n| series(&[("__name__", name), ("n", &n.to_string())], samples(n))).collect()
    };
    store(&server, many("wide", 101, 1)).await?;
    store(&server, many("narrow", 100, 1)).await?;
    store(&server, many("long", 3, 1_000)).await?;
    for place in ["tail", "block"] {
        ensure!(instant(&server, "sum(narrow)").await?.len() == 1, "{place}");
        for (query, words) in [
            ("sum(wide)", ["too many series", "one query may have 100", "query.max_series"]),
            ("sum_over_time(long[2h])", ["too many samples", "one query may have 2000", "query.max_samples"]),
            (
                "max_over_time(vector(1)[1d:100ms])",
                ["too many points", "one query may have 65536", "query.memory_bytes"],
            ),
        ] {
            let said = refused(&server, "/api/v1/query", &[("query", query)]).await?;
            ensure!(words.iter().all(|word| said.contains(word)), "{place}: {query}: {said}");
        }
        let said = refused(&server, "/api/v1/series", &[("match[]", "{__name__=~\".+\"}")]).await?;
        ensure!(said.contains("query.max_series"), "{place}: {said}");
        server.flush().await?;
    }
    server.stop().await
}

async fn running(server: &Server) -> Result<i64> {
    let text = server.http().get(server.url("/metrics")).send().await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("bonghwa_queries_running "));
    Ok(line.unwrap_or("0").trim().parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_ends_the_query() -> Result<()> {
    let mut server = On::Local.server().await?;
    // Hours of computing without a sample.
    let query = "quantile_over_time(0.5, vector(time())[7d:1s])";
    let range = [("query", query), ("start", "0"), ("end", "10000"), ("step", "1")];
    let started = std::time::Instant::now();
    let timed = [&range[..], &[("timeout", "500ms")]].concat();
    let (status, answer) = ask(&server, "/api/v1/query_range", &timed).await?;
    ensure!(status == 503 && answer["errorType"] == "timeout", "{status} {answer}");
    ensure!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());

    let idle = async || match running(&server).await {
        Ok(0) => Ok(()),
        Ok(count) => Err(format!("{count} queries run")),
        Err(error) => Err(error.to_string()),
    };
    let asking = {
        let request = server.http().get(server.url("/api/v1/query_range")).query(&range);
        tokio::spawn(request.send())
    };
    wait::until("the query runs", DEADLINE, || async {
        match running(&server).await {
            Ok(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    asking.abort();
    wait::until("the query has ended", Duration::from_secs(10), idle).await?;
    // Its threads, too: the server stops at once.
    server.stop().await
}

/// Three series of 300 samples, one a second up to `end`.
async fn store_three(server: &Server, end: i64) -> Result<()> {
    let samples = |n: i64| (0..300).map(|at| sample((n * at) as f64, end - at * 1_000)).collect::<Vec<_>>();
    store(server, (0..3).map(|n| series(&[("__name__", "three"), ("n", &n.to_string())], samples(n))).collect()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_are_counted_as_prometheus_counts_them() -> Result<()> {
    let mut server = On::Local.server().await?;
    let end = now() / 1_000 * 1_000 - 10_000;
    store_three(&server, end).await?;
    let seconds = |time: i64| (time as f64 / 1e3).to_string();
    let (start, end_text) = (seconds(end - 20_000), seconds(end));
    for (query, of_a_step) in [("three", 3), ("sum(three)", 3), ("sum(rate(three[30s]))", 90), ("1", 0)] {
        let at = [("query", query), ("time", &end_text), ("stats", "all")];
        let (_, answer) = ask(&server, "/api/v1/query", &at).await?;
        let samples = &answer["data"]["stats"]["samples"];
        ensure!(samples["totalQueryableSamples"] == of_a_step, "{query}: {answer}");
        let range = [("query", query), ("start", &start), ("end", &end_text), ("step", "10")];
        // The second time all steps but the newest may be kept, and take no sample again.
        for caching in ["no-store", "max-age=0"] {
            let request = server.http().get(server.url("/api/v1/query_range")).header("cache-control", caching);
            let answer: Value = request.query(&range).query(&[("stats", "all")]).send().await?.json().await?;
            let stats = &answer["data"]["stats"];
            let steps = stats["samples"]["totalQueryableSamplesPerStep"].as_array().context("no steps")?;
            let times: Vec<_> = steps.iter().map(|step| step[0].as_f64().map(|time| (time * 1e3) as i64)).collect();
            ensure!(times == [20_000, 10_000, 0].map(|before| Some(end - before)), "{query}: {stats}");
            let taken: Vec<_> = steps.iter().filter_map(|step| step[1].as_i64()).collect();
            ensure!(stats["samples"]["totalQueryableSamples"] == taken.iter().sum::<i64>(), "{query}: {stats}");
            ensure!(caching != "no-store" || taken == [of_a_step; 3], "{query}: {stats}");
            for time in ["evalTotalTime", "queryPreparationTime", "innerEvalTime", "execQueueTime", "execTotalTime"] {
                ensure!(
                    stats["timings"][time].as_f64().is_some_and(|took| (0.0..60.0).contains(&took)),
                    "{time}: {stats}"
                );
            }
        }
        let (_, few) = ask(&server, "/api/v1/query_range", &[&range[..], &[("stats", "1")]].concat()).await?;
        ensure!(few["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"].is_null(), "{query}: {few}");
        let (_, none) = ask(&server, "/api/v1/query_range", &range).await?;
        ensure!(none["data"]["stats"].is_null(), "{query}: {none}");
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_are_compressed_for_who_accepts_it() -> Result<()> {
    let mut server = On::Local.server().await?;
    let end = now() - 1_000;
    store_three(&server, end).await?;
    let get = async |path: &str, accepts: &str| -> Result<(Option<String>, Vec<u8>)> {
        let time = (end as f64 / 1e3).to_string();
        let request = server.http().get(server.url(path)).query(&[("query", "three[5m]"), ("time", &time)]);
        let answer = request.header("accept-encoding", accepts).send().await?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        let coding = answer.headers().get("content-encoding").map(|coding| coding.to_str().map(str::to_owned));
        Ok((coding.transpose()?, answer.bytes().await?.to_vec()))
    };
    let (coding, whole) = get("/api/v1/query", "identity").await?;
    ensure!(coding.is_none() && whole.len() > 10_000, "{coding:?}, {} bytes", whole.len());
    let (coding, packed) = get("/api/v1/query", "gzip").await?;
    ensure!(coding.as_deref() == Some("gzip") && packed.len() * 2 < whole.len(), "{coding:?}: {} bytes", packed.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked)?;
    ensure!(unpacked == whole, "{}", String::from_utf8_lossy(&unpacked));
    let (coding, packed) = get("/api/v1/query", "gzip, deflate, br, zstd").await?;
    ensure!(coding.as_deref() == Some("zstd") && zstd::decode_all(&packed[..])? == whole, "{coding:?}");
    // The server's own metrics too; small answers stay as they are.
    ensure!(get("/metrics", "gzip").await?.0.as_deref() == Some("gzip"), "metrics are not compressed");
    ensure!(get("/api/v1/status/buildinfo", "gzip").await?.0.is_none(), "a small answer is compressed");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_scraped_lists_are_empty() -> Result<()> {
    let mut server = On::Local.server().await?;
    for (path, data) in [
        ("targets", json!({ "activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {} })),
        ("targets/metadata", json!([])),
        ("scrape_pools", json!({ "scrapePools": [] })),
    ] {
        let (status, answer) = ask(&server, &format!("/api/v1/{path}"), &[]).await?;
        ensure!(status == 200 && answer == json!({ "status": "success", "data": data }), "{path}: {status} {answer}");
    }
    server.stop().await
}
