//! Remote write: requests of both versions come back from SQL with every field, from the tail and from
//! blocks; and a real Prometheus sends what it scrapes.

#[path = "../../crates/wire/tests/support/prometheus.rs"]
mod messages;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::prometheus::Prometheus;
use bonghwa_testkit::{Generator, Server, wait};
use bonghwa_tests::{On, on_every_store};
use messages::{
    Exemplar, Histogram, Metadata, MetadataV2, Sample, Series, Span, WriteRequest, labels, sample, series, to_v2,
};
use prost::Message as _;
use serde_json::{Value, json};

const PATHS: [&str; 4] = ["/api/v1/write", "/api/v1/push", "/prometheus/api/v1/write", "/prometheus/api/v1/push"];
const V1: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];
const V2: &[(&str, &str)] = &[
    ("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "2.0.0"),
];
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
const DEADLINE: Duration = Duration::from_secs(60);

/// Headers and body of a request; status of its answer, and a word that it says.
type Case = (Vec<(&'static str, &'static str)>, Vec<u8>, u16, &'static str);

/// An answer: status, what of it version 2 asks for, Retry-After, and the body.
#[derive(Debug)]
struct Answer {
    status: u16,
    written: Option<[u64; 3]>,
    retry_after: Option<String>,
    said: String,
}

async fn post(server: &Server, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Answer> {
    let mut request = server.http().post(server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body).send().await?;
    let header = |name: &str| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let written = ["samples", "histograms", "exemplars"]
        .map(|what| header(&format!("x-prometheus-remote-write-{what}-written")).and_then(|n| n.parse().ok()));
    Ok(Answer {
        status: answer.status().as_u16(),
        written: if let [Some(a), Some(b), Some(c)] = written { Some([a, b, c]) } else { None },
        retry_after: header("retry-after"),
        said: answer.text().await?,
    })
}

fn snappy(message: Vec<u8>) -> Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(&message)?)
}

/// Now, in milliseconds.
fn now() -> i64 {
    (Generator::now() / 1_000_000) as i64
}

/// All that a request can hold, of a job of this name; the times are an hour ago, so that nothing waits.
fn request(job: &str) -> (WriteRequest, i64) {
    let time = now() - 3_600_000;
    let of = |name: &str| labels(&[("__name__", name), ("instance", "10.0.0.1:80"), ("job", job), ("zone", "a")]);
    let exponential = Histogram {
        count_int: Some(6),
        sum: 12.5,
        schema: 3,
        zero_threshold: 0.001,
        zero_count_int: Some(1),
        positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 2, length: 1 }],
        positive_deltas: vec![2, 1],
        reset_hint: 1,
        timestamp: time,
        ..Default::default()
    };
    let float = Histogram {
        count_float: Some(4.75),
        sum: -2.0,
        zero_count_float: Some(0.25),
        negative_spans: vec![Span { offset: 3, length: 1 }],
        negative_counts: vec![4.5],
        reset_hint: 3,
        timestamp: time + 1,
        ..Default::default()
    };
    let custom = Histogram {
        count_int: Some(5),
        sum: 3.0,
        schema: -53,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_deltas: vec![2, 1],
        custom_values: vec![0.5],
        timestamp: time + 2,
        ..Default::default()
    };
    let stale = Histogram { sum: f64::from_bits(STALE_NAN), timestamp: time + 3, ..Default::default() };
    let exemplar = Exemplar {
        labels: labels(&[("trace_id", "0123456789abcdef0123456789abcdef"), ("user", "u")]),
        value: 0.5,
        timestamp: time + 5,
    };
    let timeseries = vec![
        Series { labels: of("requests_total"), exemplars: vec![exemplar.clone()], ..Default::default() },
        Series {
            labels: of("requests_total"),
            samples: vec![sample(41.5, time), sample(42.0, time + 10)],
            ..Default::default()
        },
        Series { labels: of("ended"), samples: vec![sample(f64::from_bits(STALE_NAN), time)], ..Default::default() },
        Series { labels: of("alone"), exemplars: vec![exemplar], ..Default::default() },
        Series { labels: of("latency"), histograms: vec![exponential, float, custom, stale], ..Default::default() },
    ];
    (WriteRequest { timeseries, metadata: vec![] }, time)
}

/// A column of JSON: as text or as it is.
fn parsed(value: &Value) -> Value {
    value.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| value.clone())
}

/// What SQL must show of [`request`].
fn expected(job: &str, service: &str, time: i64, start: i64) -> Vec<Value> {
    let ns = |millis: i64| (time + millis) * 1_000_000;
    let attributes = json!({ "instance": "10.0.0.1:80", "job": job, "zone": "a" });
    let resource = match job.split_once('/') {
        Some((namespace, _)) => {
            json!({ "service.namespace": namespace, "service.name": service, "service.instance.id": "10.0.0.1:80" })
        }
        None => json!({ "service.name": service, "service.instance.id": "10.0.0.1:80" }),
    };
    let exemplars = json!([{
        "time_unix_nano": ns(5), "value": 0.5, "trace_id": "0123456789abcdef0123456789abcdef", "span_id": "",
        "attributes": { "user": "u" },
    }]);
    let row = |name: &str, kind: &str, millis: i64, started: bool, rest: Value| {
        let mut row = json!({
            "name": name, "type": kind, "t": ns(millis), "start": if started { json!(start) } else { Value::Null },
            "value": null, "nan": null, "count": null, "sum": null, "buckets": null, "exemplars": [],
            "resource": resource, "attributes": attributes, "service_name": service, "unit": "", "description": "",
            "monotonic": false, "temporality": "unspecified", "flags": 0, "scope_version": "1",
        });
        for (key, value) in rest.as_object().into_iter().flatten() {
            row[key] = value.clone();
        }
        row
    };
    let side = |offset: i64, counts: Value| json!({ "offset": offset, "counts": counts });
    let exponential = json!({
        "scale": 3, "zero_count": 1, "zero_threshold": 0.001, "positive": side(-1, json!([2, 0, 0, 3])),
        "negative": side(0, json!([])), "reset_hint": "yes",
    });
    let float = json!({
        "scale": 0, "zero_count": 0.25, "zero_threshold": 0.0, "positive": side(0, json!([])),
        "negative": side(2, json!([4.5])), "reset_hint": "gauge", "float_count": 4.75,
    });
    let empty = json!({
        "scale": 0, "zero_count": 0, "zero_threshold": 0.0, "positive": side(0, json!([])), "negative": side(0, json!([])),
    });
    let histogram = "exponential_histogram";
    vec![
        row("alone", "gauge", 5, false, json!({ "exemplars": exemplars })),
        row("ended", "gauge", 0, true, json!({ "nan": true })),
        row("latency", histogram, 0, true, json!({ "count": 6, "sum": 12.5, "buckets": exponential })),
        row("latency", histogram, 1, true, json!({ "count": 4, "sum": -2.0, "buckets": float })),
        row(
            "latency",
            "histogram",
            2,
            true,
            json!({ "count": 5, "sum": 3.0, "buckets": { "bounds": [0.5], "counts": [2, 3] } }),
        ),
        row("latency", histogram, 3, true, json!({ "count": 0, "buckets": empty })),
        row("requests_total", "gauge", 0, true, json!({ "value": 41.5, "nan": false, "exemplars": exemplars })),
        row("requests_total", "gauge", 10, true, json!({ "value": 42.0, "nan": false })),
    ]
}

async fn shown(server: &Server, service: &str) -> Result<Vec<Value>> {
    let query = format!(
        "SELECT name, type, CAST(time AS BIGINT) AS t, CAST(start_time AS BIGINT) AS start,
            CASE WHEN isnan(value) THEN NULL ELSE value END AS value, isnan(value) AS nan, count,
            CASE WHEN isnan(sum) THEN NULL ELSE sum END AS sum, buckets, exemplars, resource, attributes,
            service_name, unit, description, monotonic, temporality, flags, scope_version
        FROM metrics WHERE scope_name = 'io.bonghwa.prometheus' AND service_name = '{service}' ORDER BY name, time"
    );
    let mut rows = server.sql().rows(&query).await?;
    for row in &mut rows {
        for column in ["buckets", "exemplars", "resource", "attributes"] {
            let value = parsed(&row[column]);
            row[column] = value;
        }
    }
    Ok(rows)
}

/// How often the bits of the staleness marker stand in an answer as Arrow.
async fn markers(server: &Server, column: &str) -> Result<usize> {
    let query = format!("SELECT {column} FROM metrics WHERE scope_name = 'io.bonghwa.prometheus' AND isnan({column})");
    let answer = server.sql().ask(&query, "application/vnd.apache.arrow.stream").await?;
    Ok(answer.body.windows(8).filter(|w| *w == STALE_NAN.to_le_bytes()).count())
}

on_every_store!(every_field_comes_back);

async fn every_field_comes_back(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let (first, time) = request("shop/cart");
    let sent = post(&server, PATHS[0], V1, snappy(first.encode_to_vec())?).await?;
    ensure!(sent.status == 204 && sent.written.is_none() && sent.said.is_empty(), "{sent:?}");

    let (second, time_2) = request("node");
    let mut second = to_v2(&second);
    for series in &mut second.timeseries {
        series.created_timestamp = time_2 - 60_000;
    }
    second.timeseries[1].metadata =
        Some(MetadataV2 { metric_type: 1, help_ref: second.symbols.len() as u32, unit_ref: 0 });
    second.symbols.push("Requests that were served".into());
    let body = snappy(second.encode_to_vec())?;
    let sent = post(&server, PATHS[1], V2, body.clone()).await?;
    ensure!(sent.status == 204 && sent.written == Some([3, 4, 2]), "{sent:?}");
    // Who lost the answer sends it again.
    let again = post(&server, PATHS[2], V2, body).await?;
    ensure!(again.status == 204 && again.written == Some([3, 4, 2]), "{again:?}");

    for place in ["tail", "block"] {
        for (job, service, time, start) in
            [("shop/cart", "cart", time, None), ("node", "node", time_2, Some((time_2 - 60_000) * 1_000_000))]
        {
            let found = shown(&server, service).await?;
            let mut wanted = expected(job, service, time, start.unwrap_or_default());
            if start.is_none() {
                wanted.iter_mut().for_each(|row| row["start"] = Value::Null);
            }
            for (found, wanted) in found.iter().zip(&wanted) {
                ensure!(found == wanted, "{place}, {service}:\n{found:#}\ninstead of\n{wanted:#}");
            }
            ensure!(found.len() == wanted.len(), "{place}, {service}: {} rows", found.len());
        }
        let (values, sums) = (markers(&server, "value").await?, markers(&server, "sum").await?);
        ensure!((values, sums) == (2, 2), "{place}: {values} stale values, {sums} stale sums");
        let metadata = "SELECT name, type, monotonic, description, metadata, service_name FROM metrics
            WHERE scope_name = 'io.bonghwa.prometheus.metadata'";
        let mut rows = server.sql().rows(metadata).await?;
        rows.iter_mut().for_each(|row| row["metadata"] = parsed(&row["metadata"]));
        let wanted = json!([{
            "name": "requests_total", "type": "sum", "monotonic": true, "description": "Requests that were served",
            "metadata": { "prometheus.type": "counter" }, "service_name": "prometheus.metadata",
        }]);
        ensure!(json!(rows) == wanted, "{place}: {rows:?}");
        server.flush().await?;
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_gets_its_answer() -> Result<()> {
    let mut server = On::Local.server().await?;
    let good = |job: &str| series(&[("__name__", "up"), ("job", job)], vec![sample(1.0, now())]);
    let only = |series: Series| WriteRequest { timeseries: vec![series], metadata: vec![] };

    // What is bad is named, the rest is kept.
    let bad = series(&[("__name__", "up"), ("job", "x"), ("job", "y")], vec![sample(1.0, now())]);
    let mixed = WriteRequest { timeseries: vec![good("mixed"), bad], metadata: vec![] };
    let sentence = "1 of 2 data points were rejected. timeseries[1] up{job=\"x\", job=\"y\"}";
    for (headers, body, written) in
        [(V1, mixed.encode_to_vec(), None), (V2, to_v2(&mixed).encode_to_vec(), Some([1, 0, 0]))]
    {
        let answer = post(&server, PATHS[0], headers, snappy(body)?).await?;
        ensure!(answer.status == 400 && answer.said.starts_with(sentence), "{answer:?}");
        ensure!(answer.written == written, "{answer:?}");
    }

    let body = || snappy(only(good("whole")).encode_to_vec());
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    gzip.write_all(&only(good("gzip")).encode_to_vec())?;
    let protobuf = ("content-type", "application/x-protobuf");
    let snap = ("content-encoding", "snappy");
    let other = ("content-type", "application/x-protobuf;proto=io.prometheus.write.v3.Request");
    let named = ("content-type", "application/x-protobuf;proto=prometheus.WriteRequest");
    let plain = only(good("plain")).encode_to_vec();
    let cases: Vec<Case> = vec![
        (vec![], snappy(only(good("bare")).encode_to_vec())?, 204, ""),
        (vec![named, snap], snappy(only(good("named")).encode_to_vec())?, 204, ""),
        (vec![protobuf, ("content-encoding", "gzip")], gzip.finish()?, 204, ""),
        (
            vec![protobuf, ("content-encoding", "zstd")],
            zstd::encode_all(&only(good("zstd")).encode_to_vec()[..], 1)?,
            204,
            "",
        ),
        (vec![protobuf, ("content-encoding", "identity")], plain.clone(), 204, ""),
        (vec![other, snap], body()?, 415, "proto=io.prometheus.write.v2.Request"),
        (vec![("content-type", "application/json"), snap], body()?, 415, "application/json"),
        (vec![protobuf, ("content-encoding", "br")], body()?, 415, "br"),
        (vec![protobuf, snap], plain.clone(), 400, "not valid snappy"),
        (vec![protobuf, snap], snappy(plain[..plain.len() - 2].to_vec())?, 400, "is cut short"),
        (vec![protobuf, snap], snappy(vec![0; 65 << 20])?, 413, "max_decompressed_bytes"),
        (vec![protobuf, snap, ("x-scope-orgid", "no/such")], body()?, 400, "X-Scope-OrgID"),
        (vec![protobuf, snap], snappy(vec![])?, 204, ""),
        (vec![protobuf, snap], vec![], 400, "the body is empty: send a message of remote write"),
    ];
    for (headers, body, status, word) in cases {
        let answer = post(&server, PATHS[3], &headers, body).await?;
        ensure!(answer.status == status && answer.said.contains(word), "{headers:?}: {answer:?} instead of {status}");
    }
    let kept = server.sql().rows("SELECT service_name, count(*) AS n FROM metrics GROUP BY 1 ORDER BY 1").await?;
    let names: Vec<_> =
        kept.iter().map(|row| (row["service_name"].as_str().unwrap_or_default(), row["n"].as_i64())).collect();
    // The two versions of the mixed request are two requests.
    let wanted =
        [("bare", 1), ("gzip", 1), ("mixed", 2), ("named", 1), ("plain", 1), ("zstd", 1)].map(|(s, n)| (s, Some(n)));
    ensure!(names == wanted, "{kept:?}");

    // A named tenant has a limit.
    let start = now() - 300_000;
    let many: Vec<Sample> = (0..200_000).map(|i| sample(i as f64, start + i)).collect();
    let limited = [V1, &[("x-scope-orgid", "shop")]].concat();
    for (part, expected) in [(0, 204), (1, 429)] {
        let labels = [("__name__", "burst"), ("part", if part == 0 { "a" } else { "b" })];
        let answer =
            post(&server, PATHS[0], &limited, snappy(only(series(&labels, many.clone())).encode_to_vec())?).await?;
        ensure!(answer.status == expected, "{part}: {answer:?}");
        ensure!(answer.retry_after.is_some() == (expected == 429), "{part}: {answer:?}");
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_kept_once() -> Result<()> {
    let mut server = On::Local.server().await?;
    let family = |help: &str| Metadata {
        metric_type: 3,
        metric_family_name: "a".into(),
        help: help.into(),
        unit: String::new(),
    };
    for (help, time) in [("first", 0), ("first", 1), ("second", 2), ("second", 3)] {
        let timeseries = vec![series(&[("__name__", "a_count")], vec![sample(1.0, now() - 1000 + time)])];
        let request = WriteRequest { timeseries, metadata: vec![family(help)] };
        let answer = post(&server, PATHS[0], V1, snappy(request.encode_to_vec())?).await?;
        ensure!(answer.status == 204, "{answer:?}");
    }
    let query = "SELECT scope_name, description, count(*) AS n FROM metrics GROUP BY 1, 2 ORDER BY 1, 2";
    let rows = server.sql().rows(query).await?;
    let row = |scope: &str, help: &str, n: i64| json!({ "scope_name": scope, "description": help, "n": n });
    let metadata = "io.bonghwa.prometheus.metadata";
    let wanted = json!([row("io.bonghwa.prometheus", "", 4), row(metadata, "first", 1), row(metadata, "second", 1)]);
    ensure!(json!(rows) == wanted, "{rows:?}");
    server.stop().await
}

fn configuration(server: &Server, own: &str) -> String {
    let bonghwa = server.url("").trim_start_matches("http://").to_owned();
    format!(
        "global:
  scrape_interval: 500ms
  scrape_timeout: 400ms
  external_labels: {{ cluster: test }}
scrape_configs:
  - job_name: bonghwa
    static_configs: [{{ targets: ['{bonghwa}'] }}]
  - job_name: infra/prometheus
    static_configs: [{{ targets: ['{own}'] }}]
remote_write:
  - url: {}
    send_exemplars: true
    send_native_histograms: true
    metadata_config: {{ send_interval: 1s }}
    queue_config: {{ batch_send_deadline: 200ms }}
",
        server.url("/api/v1/write")
    )
}

/// Where a condition does not hold, the reason.
fn hold(condition: bool, reason: impl FnOnce() -> String) -> Result<(), String> {
    if condition { Ok(()) } else { Err(reason()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_sends_what_it_scrapes() -> Result<()> {
    let mut server = On::Local.server().await?;
    let prometheus = Prometheus::start(|own| configuration(&server, own), "exemplar-storage,native-histograms").await?;

    let integer = async |query: &str| server.sql().integer(query).await.map_err(|e| e.to_string());
    for (job, service) in [("bonghwa", "bonghwa"), ("infra/prometheus", "prometheus")] {
        // It has as many series as SQL, once all were sent.
        wait::until(&format!("all series of {job} arrive"), DEADLINE, || async {
            let counted = prometheus.query(&format!("count({{job=\"{job}\"}})")).await.map_err(|e| e.to_string())?;
            let there: i64 = counted.first().and_then(|r| r["value"][1].as_str()?.parse().ok()).unwrap_or(0);
            let query = format!(
                "SELECT count(DISTINCT series_id) FROM metrics WHERE service_name = '{service}'
                    AND scope_name = 'io.bonghwa.prometheus' AND attributes['job'] = '{job}'
                    AND attributes['cluster'] = 'test'"
            );
            let here = integer(&query).await?;
            hold(there > 20 && there == here, || format!("{there} series there, {here} here"))
        })
        .await
        .with_context(|| prometheus.log_tail())?;
    }

    // Each sample that it has of a counter that moves is here, once, with its value.
    let name = "prometheus_tsdb_head_samples_appended_total";
    let there = wait::until("it has scraped itself a few times", DEADLINE, || async {
        let found = prometheus.query(&format!("{name}[1m]")).await.map_err(|e| e.to_string())?;
        let samples = found.first().and_then(|series| series["values"].as_array()).cloned().unwrap_or_default();
        hold(samples.len() > 3, || format!("{samples:?}"))?;
        let pair = |pair: &Value| {
            let seconds = pair[0].as_f64().unwrap_or_default();
            ((seconds * 1000.0).round() as i64, pair[1].as_str().unwrap_or_default().to_owned())
        };
        Ok(samples.iter().map(pair).collect::<Vec<_>>())
    })
    .await?;
    wait::until("all samples arrive", DEADLINE, || async {
        let query = format!(
            "SELECT CAST(time AS BIGINT) / 1000000 AS t, value FROM metrics WHERE name = '{name}' AND value IS NOT NULL"
        );
        let rows = server.sql().rows(&query).await.map_err(|e| e.to_string())?;
        for (time, value) in &there {
            let found =
                |row: &&Value| row["t"].as_i64() == Some(*time) && row["value"].as_f64() == value.parse::<f64>().ok();
            let count = rows.iter().filter(found).count();
            hold(count == 1, || format!("{time} {value} is here {count} times"))?;
        }
        Ok(())
    })
    .await?;

    wait::until("metadata arrives", DEADLINE, || async {
        let query = "SELECT type, description, metadata FROM metrics WHERE name = 'prometheus_build_info'
            AND scope_name = 'io.bonghwa.prometheus.metadata'";
        let rows = server.sql().rows(query).await.map_err(|e| e.to_string())?;
        hold(rows.len() == 1 && rows[0]["description"].as_str().is_some_and(|d| d.contains("version")), || {
            format!("{rows:?}")
        })
    })
    .await?;

    let failed = prometheus.query("sum(prometheus_remote_storage_samples_failed_total) + sum(prometheus_remote_storage_metadata_failed_total)").await?;
    ensure!(failed[0]["value"][1] == "0", "{failed:?}\n{}", prometheus.log_tail());
    drop(prometheus);
    server.stop().await
}
