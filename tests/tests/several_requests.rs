//! Series whose samples come in several requests, as they do: what is asked of them gets the same answers before a flush,
//! across one and after it.

use std::time::Duration;

use anyhow::{Result, ensure};
use bonghwa_testkit::Server;
use bonghwa_tests::prometheus::messages::{Exemplar, Histogram, Sample, Series, labels, sample};
use bonghwa_tests::prometheus::{ask, now, store};
use bonghwa_tests::{On, on_every_store};
use serde_json::{Value, json};

const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
/// Times of samples, in milliseconds.
const STEP: i64 = 15_000;

/// Series of remote write, by instance.
fn written(instances: &[(&str, Vec<Sample>)]) -> Vec<Series> {
    let series = |(instance, samples): &(&str, Vec<Sample>)| Series {
        labels: labels(&[("__name__", "jobs_total"), ("instance", instance), ("job", "w")]),
        samples: samples.clone(),
        ..Default::default()
    };
    instances.iter().map(series).collect()
}

/// A counter by OTLP, with a description that is not always the same.
fn otlp(time: i64, value: i64, description: &str) -> Value {
    let nanos = |millis: i64| (millis * 1_000_000).to_string();
    let resource = json!([{ "key": "service.name", "value": { "stringValue": "shop" } }]);
    let metrics = json!([
        { "name": "http.requests", "description": description, "sum": { "aggregationTemporality": 2, "isMonotonic": true,
            "dataPoints": [{ "timeUnixNano": nanos(time), "startTimeUnixNano": nanos(1), "asInt": value.to_string() }],
        } },
        { "name": "http.duration", "unit": "s", "histogram": { "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": nanos(time), "startTimeUnixNano": nanos(1), "count": (2 * value).to_string(), "sum": 1.5,
            "explicitBounds": [0.1, 1.0], "bucketCounts": [value.to_string(), value.to_string(), "0"],
        }] } },
    ]);
    json!({ "resourceMetrics": [{ "resource": { "attributes": resource }, "scopeMetrics": [{ "metrics": metrics }] }] })
}

async fn send_otlp(server: &Server, request: Value) -> Result<()> {
    let answer = server.http().post(server.url("/v1/metrics")).json(&request).send().await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    Ok(())
}

/// Samples of both ways in, request by request.
async fn first_half(server: &Server, start: i64) -> Result<()> {
    let at = |n: i64, value: i64| sample(value as f64, start + n * STEP);
    for n in 0..10 {
        let two = ("two", vec![at(n, 2 * n)]);
        let series = match n {
            // A sample that comes later, in company.
            3 => written(&[two]),
            7 => written(&[("one", vec![at(3, 3), at(7, 7)]), two]),
            _ => written(&[("one", vec![at(n, n)]), two]),
        };
        store(server, series).await?;
        send_otlp(server, otlp(start + n * STEP, 10 * n, if n < 5 { "Requests." } else { "All requests." })).await?;
    }
    Ok(())
}

/// More of them, and what is more than a number.
async fn second_half(server: &Server, start: i64) -> Result<()> {
    let exemplar = Exemplar { labels: labels(&[("trace_id", "abc")]), value: 0.5, timestamp: start + 10 * STEP };
    let with_exemplar =
        Series { exemplars: vec![exemplar], ..written(&[("one", vec![sample(10.0, start + 10 * STEP)])]).remove(0) };
    store(server, vec![with_exemplar]).await?;
    // The same again, under another name: it has company.
    store(server, written(&[("one", vec![sample(10.0, start + 10 * STEP)]), ("three", vec![sample(1.0, start)])]))
        .await?;
    let native = Histogram {
        count_int: Some(1),
        zero_count_int: Some(1),
        sum: 1.0,
        timestamp: start + 11 * STEP,
        ..Default::default()
    };
    let labels = labels(&[("__name__", "native"), ("instance", "one"), ("job", "w")]);
    store(server, vec![Series { labels, histograms: vec![native], ..Default::default() }]).await?;
    store(server, written(&[("two", vec![sample(f64::from_bits(STALE_NAN), start + 11 * STEP)])])).await?;
    for n in 11..14 {
        store(server, written(&[("one", vec![sample(n as f64, start + n * STEP)])])).await?;
        send_otlp(server, otlp(start + n * STEP, 10 * n, "Requests.")).await?;
    }
    Ok(())
}

async fn answers(server: &Server, start: i64) -> Result<Vec<Value>> {
    let seconds = |time: i64| (time as f64 / 1e3).to_string();
    let (first, last) = (seconds(start), seconds(start + 14 * STEP));
    let mut answers = Vec::new();
    for query in [
        "jobs_total",
        "sort(count_over_time(jobs_total[5m]))",
        "sum by (instance) (rate(jobs_total[1m]))",
        "http_requests_total",
        "histogram_quantile(0.9, rate(http_duration_seconds_bucket[1m]))",
        "histogram_count(native)",
    ] {
        let parameters = [("query", query), ("start", &first), ("end", &last), ("step", "15")];
        let (status, answer) = ask(server, "/api/v1/query_range", &parameters).await?;
        ensure!(status == 200, "{query}: {answer}");
        answers.push(answer["data"]["result"].clone());
    }
    let parameters = [("query", "jobs_total"), ("start", &first), ("end", &last)];
    answers.push(ask(server, "/api/v1/query_exemplars", &parameters).await?.1["data"].clone());
    // A sample that was sent twice is there twice. Heartbeats have the times of their requests.
    let samples = "SELECT name, type, attributes['instance'] AS instance, time, start_time, value, count, buckets FROM metrics \
                   WHERE service_name IN ('w', 'shop') AND name <> 'up' ORDER BY name, instance, time, value, count";
    answers.push(server.sql().rows(samples).await?.into());
    let descriptions =
        "SELECT description, count(*) AS n FROM metrics WHERE name = 'http.requests' GROUP BY 1 ORDER BY 1";
    answers.push(server.sql().rows(descriptions).await?.into());
    Ok(answers)
}

/// The values of one series in an answer.
fn values(answer: &Value, instance: &str) -> Vec<String> {
    let series = answer.as_array().into_iter().flatten().filter(|series| series["metric"]["instance"] == instance);
    let values = series.flat_map(|series| series["values"].as_array().cloned().unwrap_or_default());
    values.map(|value| value[1].as_str().unwrap_or_default().to_owned()).collect()
}

async fn answers_do_not_depend_on_flushes(on: On) -> Result<()> {
    // Nothing is flushed but where it is asked for.
    let mut server = Server::start_with(on.store().await?, &[("BONGHWA_INGESTER__FLUSH_AGE", "1h")]).await?;
    let mut flushed = Server::start_with(on.store().await?, &[("BONGHWA_INGESTER__FLUSH_AGE", "1h")]).await?;
    let start = (now() - Duration::from_secs(1800).as_millis() as i64) / 60_000 * 60_000;
    first_half(&server, start).await?;
    second_half(&server, start).await?;
    let expected = answers(&server, start).await?;
    let one: Vec<String> = (0..14).map(|n| n.to_string()).chain(["13".to_owned()]).collect();
    ensure!(values(&expected[0], "one") == one, "{:#}", expected[0]);
    let two: Vec<String> = (0..11).map(|n| (2 * n.min(9)).to_string()).collect();
    ensure!(values(&expected[0], "two") == two, "it ended: {:#}", expected[0]);
    ensure!(expected[6][0]["exemplars"][0]["value"] == "0.5", "{:#}", expected[6]);
    ensure!(
        expected[8] == json!([{ "description": "All requests.", "n": 5 }, { "description": "Requests.", "n": 8 }]),
        "{}",
        expected[8]
    );

    first_half(&flushed, start).await?;
    flushed.flush().await?;
    second_half(&flushed, start).await?;
    let across = answers(&flushed, start).await?;
    server.flush().await?;
    let after = answers(&server, start).await?;
    for ((expected, across), after) in expected.iter().zip(&across).zip(&after) {
        ensure!(across == expected, "across a flush:\n{across:#}\ninstead of\n{expected:#}");
        ensure!(after == expected, "after a flush:\n{after:#}\ninstead of\n{expected:#}");
    }
    // A restart reads the log again, or what is left of it.
    flushed.kill9()?;
    flushed.restart().await?;
    ensure!(answers(&flushed, start).await? == expected, "after a restart");
    flushed.stop().await?;
    server.stop().await
}
on_every_store!(answers_do_not_depend_on_flushes);
