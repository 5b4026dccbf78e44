//! A dashboard's query that is asked again is evaluated where there is something new, and nowhere else; whatever
//! comes late or is deleted shows at once.

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, Server};
use bonghwa_tests::{On, on_every_store};
use serde_json::{Value, json};

/// Seconds from sample to sample, and from step to step.
const EVERY: i64 = 60;
const SAMPLES: i64 = 5 * 60;
const QUERY: &str = "sum by (instance) (rate(requests_total[5m]))";

/// Samples of a counter of an instance, one a minute.
async fn send(server: &Server, instance: &str, start: i64, numbers: std::ops::Range<i64>) -> Result<()> {
    let points: Vec<Value> = numbers
        .map(|n| json!({ "timeUnixNano": ((start + n * EVERY) * 1_000_000_000).to_string(), "asInt": (60 * n).to_string() }))
        .collect();
    let request = json!({ "resourceMetrics": [{
        "resource": { "attributes": [
            { "key": "service.name", "value": { "stringValue": "shop" } },
            { "key": "service.instance.id", "value": { "stringValue": instance } },
        ] },
        "scopeMetrics": [{ "metrics": [{ "name": "requests", "sum": {
            "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points,
        } }] }],
    }] });
    let answer = server.http().post(server.url("/v1/metrics")).json(&request).send().await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    Ok(())
}

/// The result of the query, and how many samples it cost.
async fn ask(server: &Server, (start, end): (i64, i64), no_store: bool) -> Result<(Value, u64)> {
    let parameters = [
        ("query", QUERY.to_owned()),
        ("start", start.to_string()),
        ("end", end.to_string()),
        ("step", EVERY.to_string()),
        ("stats", "all".to_owned()),
    ];
    let mut request = server.http().get(server.url("/api/v1/query_range")).query(&parameters);
    if no_store {
        request = request.header("cache-control", "no-store");
    }
    let answer = request.send().await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    ensure!(status == 200, "{body}");
    let samples = body["data"]["stats"]["samples"]["totalQueryableSamples"].as_u64().context("no stats")?;
    Ok((body["data"]["result"].clone(), samples))
}

/// The result, which must be that of an evaluation from the samples.
async fn checked(server: &Server, range: (i64, i64)) -> Result<(Value, u64)> {
    let (fresh, _) = ask(server, range, true).await?;
    let found = ask(server, range, false).await?;
    ensure!(found.0 == fresh, "{} instead of {fresh}", found.0);
    Ok(found)
}

async fn metric(server: &Server, name: &str) -> Result<u64> {
    let page = server.http().get(server.url("/metrics")).send().await?.text().await?;
    let line = page.lines().find(|line| line.starts_with(&format!("{name} ")));
    let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(value.with_context(|| format!("no {name}"))? as u64)
}

async fn past_steps_are_kept_until_something_changes(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let now = (Generator::now() / 1_000_000_000) as i64;
    let start = (now - 6 * 3600) / EVERY * EVERY;
    let end = start + (SAMPLES - 1) * EVERY;
    for instance in ["a", "b"] {
        send(&server, instance, start, 0..SAMPLES - 10).await?;
    }
    server.flush().await?;
    for instance in ["a", "b"] {
        send(&server, instance, start, SAMPLES - 10..SAMPLES).await?;
    }
    let (first, all) = checked(&server, (start, end)).await?;
    ensure!(first.as_array().is_some_and(|series| series.len() == 2), "{first}");
    ensure!(metric(&server, "bonghwa_results_cache_hits_total").await? == 0, "nothing was kept before");
    ensure!(metric(&server, "bonghwa_results_cache_bytes").await? > 0, "nothing is kept");
    // The window has moved on by two minutes.
    let (_, few) = checked(&server, (start + 2 * EVERY, end + 2 * EVERY)).await?;
    ensure!(few * 4 < all, "{few} of {all} samples were read again");
    let hits = metric(&server, "bonghwa_results_cache_hits_total").await?;
    ensure!(hits as i64 > SAMPLES - 30, "{hits} steps were kept");
    // Samples of two hours ago come only now: from the log, and from a block.
    send(&server, "c", start, 100..120).await?;
    let (late, _) = checked(&server, (start, end)).await?;
    ensure!(late.as_array().is_some_and(|series| series.len() == 3), "{late}");
    server.flush().await?;
    let (flushed, _) = checked(&server, (start, end)).await?;
    ensure!(flushed == late, "{flushed}");
    let (_, few) = checked(&server, (start, end)).await?;
    ensure!(few == 0, "all of it lies in blocks: {few} samples were read again");
    // And they go again.
    let delete = server.url("/api/v1/admin/tsdb/delete_series");
    let of = [("match[]", r#"requests_total{instance="c"}"#)];
    let deleted = server.http().post(delete).query(&of).send().await?;
    ensure!(deleted.status().is_success(), "{}", deleted.text().await?);
    let (gone, _) = checked(&server, (start, end)).await?;
    ensure!(gone == first, "{gone}");
    server.stop().await
}
on_every_store!(past_steps_are_kept_until_something_changes);
