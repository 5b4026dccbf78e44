//! Queriers share the steps of a range query, or the series of an instant one: the answer is that of one that shares
//! nothing, whoever is asked, and whatever becomes of the other.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, Server, wait};
use bonghwa_tests::queriers::{Queriers, metric};
use serde_json::{Value, json};

/// Seconds from sample to sample, and from step to step.
const EVERY: i64 = 60;
/// Samples of a series: twelve hours.
const SAMPLES: i64 = 12 * 60;
const INSTANCES: usize = 5;
const RATE: &str = "sum by (instance) (rate(requests_total[5m]))";
const QUERIES: [&str; 7] = [
    RATE,
    "requests_total",
    "topk(2, requests_total)",
    "avg_over_time(requests_total[30m])",
    "histogram_quantile(0.9, sum by (le) (rate(duration_bucket[10m])))",
    "rate(rpc[10m])",
    "histogram_quantile(1.5, rate(rpc[10m])) or vector(1)",
];
/// Of eleven hours at the end: they are shared by series.
const INSTANTS: [&str; 5] = [
    "sum(count_over_time(requests_total[11h]))",
    "sum by (instance) (increase(requests_total[11h]))",
    "topk(2, rate(requests_total[11h]))",
    "histogram_quantile(0.9, max by (le) (rate(duration_bucket[11h])))",
    "count(rate(rpc[11h]))",
];
const ANSWERED: &str = "bonghwa_query_range_shares_total{outcome=\"answered\"}";
const FAILED: &str = "bonghwa_query_range_shares_total{outcome=\"failed\"}";
/// Series that a query may read.
const MOST_SERIES: &str = "30";

/// A counter, a classic and a native histogram of some instances, a sample a minute.
async fn send(server: &Server, start: i64, numbers: std::ops::Range<i64>) -> Result<()> {
    let nanos = |n: i64| ((start + n * EVERY) * 1_000_000_000).to_string();
    let of = |instance: usize| {
        let speed = 1 + instance as i64;
        let counter =
            numbers.clone().map(|n| json!({ "timeUnixNano": nanos(n), "asInt": (n * n * speed).to_string() }));
        let classic = numbers.clone().map(|n| {
            let counts = [n, 2 * n * speed, n];
            let count: i64 = counts.iter().sum();
            json!({ "timeUnixNano": nanos(n), "count": count.to_string(), "sum": n as f64 / 3.0,
                "bucketCounts": counts.map(|count| count.to_string()), "explicitBounds": [0.1, 1.0] })
        });
        let native = numbers.clone().map(|n| {
            json!({ "timeUnixNano": nanos(n), "count": (4 * n).to_string(), "sum": n as f64 / 7.0, "scale": 0,
                "zeroCount": n.to_string(), "positive": { "offset": 0,
                "bucketCounts": [n.to_string(), (2 * n).to_string()] } })
        });
        let sum = |name: &str, points: Vec<Value>| json!({ "name": name, "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points } });
        let histogram = |name: &str, kind: &str, points: Vec<Value>| json!({ "name": name, kind: { "aggregationTemporality": 2, "dataPoints": points } });
        json!({
            "resource": { "attributes": [
                { "key": "service.name", "value": { "stringValue": "shop" } },
                { "key": "service.instance.id", "value": { "stringValue": format!("pod-{instance}") } },
            ] },
            "scopeMetrics": [{ "metrics": [
                sum("requests", counter.collect()),
                histogram("duration", "histogram", classic.collect()),
                histogram("rpc", "exponentialHistogram", native.collect()),
            ] }],
        })
    };
    let request = json!({ "resourceMetrics": (0..INSTANCES).map(of).collect::<Vec<_>>() });
    let answer = server.http().post(server.url("/v1/metrics")).json(&request).send().await?;
    ensure!(answer.status() == 200, "{}", answer.text().await?);
    Ok(())
}

/// The whole body of an answer.
async fn body(server: &Server, query: &str, (start, end): (i64, i64)) -> Result<Value> {
    let step = EVERY.to_string();
    let parameters = [("query", query), ("start", &start.to_string()), ("end", &end.to_string()), ("step", &step)];
    let answer = server.http().get(server.url("/api/v1/query_range")).query(&parameters).send().await?;
    answer.json().await.with_context(|| format!("the answer to {query} is no JSON"))
}

/// The whole body of an answer at a time.
async fn instant(server: &Server, query: &str, time: i64) -> Result<Value> {
    let parameters = [("query", query), ("time", &time.to_string())];
    let answer = server.http().get(server.url("/api/v1/query")).query(&parameters).send().await?;
    answer.json().await.with_context(|| format!("the answer to {query} is no JSON"))
}

/// What a querier answers, which must be what the other does.
async fn checked(server: &Server, alone: &Server, range: (i64, i64)) -> Result<()> {
    for query in QUERIES {
        let (found, expected) = (body(server, query, range).await?, body(alone, query, range).await?);
        let series = expected["data"]["result"].as_array().map_or(0, Vec::len);
        ensure!(expected["status"] == "success" && series > 0, "{query}: {expected}");
        ensure!(found == expected, "{query}: {found} instead of {expected}");
    }
    for query in INSTANTS {
        let (found, expected) = (instant(server, query, range.1).await?, instant(alone, query, range.1).await?);
        let series = expected["data"]["result"].as_array().map_or(0, Vec::len);
        ensure!(expected["status"] == "success" && series > 0, "{query}: {expected}");
        ensure!(found == expected, "{query}: {found} instead of {expected}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_queriers_evaluate_as_one_and_one_goes_on_alone() -> Result<()> {
    let env = [("BONGHWA_QUERY__DISTRIBUTED_SAMPLES", "1"), ("BONGHWA_QUERY__MAX_SERIES", MOST_SERIES)];
    let cluster = Queriers::start(&env).await?;
    let env = [("BONGHWA_QUERY__DISTRIBUTED", "false"), ("BONGHWA_QUERY__RESULTS_CACHE_BYTES", "0"), env[1]];
    let mut alone = cluster.querier("alone", &env).await?;
    let Queriers { mut rest, queriers: [mut one, mut two], .. } = cluster;
    let now = (Generator::now() / 1_000_000_000) as i64;
    let start = (now - SAMPLES * EVERY) / EVERY * EVERY;
    let range = (start, start + (SAMPLES - 1) * EVERY);
    for hour in 0..SAMPLES / 60 {
        send(&rest, start, hour * 60..(hour + 1) * 60).await?;
        // The last hour stays in the log.
        if hour % 2 == 0 {
            rest.flush().await?;
        }
    }
    // Each knows of the other as soon as its copy of the catalog does.
    for (querier, query) in [(&one, "sum(requests_total)"), (&two, "count(requests_total)")] {
        wait::until("a query is shared", Duration::from_secs(30), || async {
            let shared = async {
                body(querier, query, range).await?;
                metric(querier, ANSWERED).await
            };
            match shared.await.map_err(|error| error.to_string())? {
                0 => Err("no share was answered".to_owned()),
                _ => Ok(()),
            }
        })
        .await?;
        checked(querier, &alone, range).await?;
        let before = metric(querier, ANSWERED).await?;
        for query in INSTANTS {
            instant(querier, query, range.1).await?;
        }
        let shares = metric(querier, ANSWERED).await? - before;
        // Each of the other two has a slice: who shares nothing works for others all the same.
        ensure!(shares == 2 * INSTANTS.len() as u64, "{shares} shares of instant queries were answered");
    }
    for querier in [&one, &two] {
        ensure!(metric(querier, "bonghwa_query_tasks_total").await? > 0, "a querier did nothing for others");
        ensure!(metric(querier, FAILED).await? == 0, "a share failed");
    }
    ensure!(metric(&alone, ANSWERED).await? == 0 && metric(&alone, "bonghwa_queries_shared_total").await? == 0);

    // What is too much of a share is too much of the query: one error, which tells the number.
    let (found, expected) =
        (body(&one, "{__name__=~\".+\"}", range).await?, body(&alone, "{__name__=~\".+\"}", range).await?);
    ensure!(expected["errorType"] == "execution" && found["errorType"] == "execution", "{found} and {expected}");
    let message = found["error"].as_str().unwrap_or_default();
    ensure!(message.contains(&format!("may have {MOST_SERIES}")) && message.contains("query.max_series"), "{found}");

    two.kill9()?;
    let fresh = "sum by (instance) (increase(requests_total[5m]))";
    ensure!(body(&one, fresh, range).await? == body(&alone, fresh, range).await?, "another answer than of both");
    ensure!(metric(&one, FAILED).await? > 0, "no share was evaluated in another's place");
    let later = (range.0 - 7 * EVERY, range.1 - 7 * EVERY);
    checked(&one, &alone, later).await?;
    two.restart().await?;
    checked(&two, &alone, later).await?;
    for server in [&mut two, &mut one, &mut alone, &mut rest] {
        server.stop().await?;
    }
    Ok(())
}
