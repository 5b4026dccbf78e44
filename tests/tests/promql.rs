//! PromQL over HTTP, on OTLP metrics whose values are known: the same answers before, across and after
//! a flush; what is wrong with a query is said.

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, Server};
use bonghwa_tests::{On, on_every_store};
use serde_json::{Value, json};

/// Samples of each series, 15 s apart.
const SAMPLES: i64 = 41;
const STEP_S: i64 = 15;

struct Data {
    /// Unix seconds of the first sample.
    start: i64,
}

impl Data {
    fn new() -> Self {
        // On a whole minute, so that steps of subqueries are known.
        Data { start: ((Generator::now() / 1_000_000_000 - 3600) / 60 * 60) as i64 }
    }

    fn end(&self) -> i64 {
        self.start + (SAMPLES - 1) * STEP_S
    }

    /// A request with the samples of these numbers: two instances of a service.
    fn request(&self, numbers: std::ops::Range<i64>) -> Value {
        let resource = |instance: &str| {
            json!([
                { "key": "service.name", "value": { "stringValue": "shop" } },
                { "key": "service.namespace", "value": { "stringValue": "eu" } },
                { "key": "service.instance.id", "value": { "stringValue": instance } },
                { "key": "host.name", "value": { "stringValue": format!("host-{instance}") } },
            ])
        };
        let instances = [("a", 1), ("b", 2)].map(|(instance, factor)| {
            let points = |make: &dyn Fn(i64) -> Value| -> Vec<Value> {
                let nanos = |n: i64| ((self.start + n * STEP_S) * 1_000_000_000).to_string();
                let point = |n: i64| {
                    let mut point = make(n);
                    point["timeUnixNano"] = json!(nanos(n));
                    point["startTimeUnixNano"] = json!(nanos(0));
                    point
                };
                numbers.clone().map(point).collect()
            };
            let route = json!([{ "key": "http.route", "value": { "stringValue": "/cart" } }]);
            let metrics = json!([
                { "name": "http.requests", "unit": "{request}", "description": "Requests.", "sum": {
                    "aggregationTemporality": 2, "isMonotonic": true,
                    "dataPoints": points(&|n| json!({ "asInt": (n * 30 * factor).to_string(), "attributes": route })),
                } },
                { "name": "queue.length", "gauge": {
                    "dataPoints": points(&|n| json!({ "asDouble": (n % 5) as f64 + 0.5 * factor as f64 })),
                } },
                { "name": "http.duration", "unit": "s", "histogram": {
                    "aggregationTemporality": 2,
                    "dataPoints": points(&|n| json!({
                        "count": (4 * n).to_string(), "sum": 1.5 * n as f64,
                        "explicitBounds": [0.1, 1.0], "bucketCounts": [n.to_string(), (2 * n).to_string(), n.to_string()],
                    })),
                } },
                { "name": "rpc.duration", "unit": "s", "exponentialHistogram": {
                    "aggregationTemporality": 2,
                    "dataPoints": points(&|n| json!({
                        "count": (3 * n).to_string(), "sum": 5.0 * n as f64, "scale": 0, "zeroCount": "0",
                        "positive": { "offset": 0, "bucketCounts": [n.to_string(), (2 * n).to_string()] },
                        "negative": { "offset": 0, "bucketCounts": [] },
                    })),
                } },
                { "name": "gc.pause", "summary": {
                    "dataPoints": points(&|n| json!({
                        "count": n.to_string(), "sum": n as f64, "quantileValues": [{ "quantile": 0.5, "value": 0.25 }],
                    })),
                } },
            ]);
            json!({ "resource": { "attributes": resource(instance) }, "scopeMetrics": [{ "metrics": metrics }] })
        });
        json!({ "resourceMetrics": instances })
    }

    async fn send(&self, server: &Server, numbers: std::ops::Range<i64>) -> Result<()> {
        let request = server.http().post(server.url("/v1/metrics")).json(&self.request(numbers));
        let answer = request.send().await?;
        ensure!(answer.status() == 200, "{}", answer.text().await?);
        let body: Value = answer.json().await?;
        ensure!(body == json!({}) || body == json!({ "partialSuccess": {} }), "{body}");
        Ok(())
    }
}

/// Asks an API under a prefix; status and body.
async fn ask(server: &Server, path: &str, parameters: &[(&str, String)]) -> Result<(u16, Value)> {
    let answer = server.http().get(server.url(path)).query(parameters).send().await?;
    let status = answer.status().as_u16();
    Ok((status, answer.json().await.with_context(|| format!("{path} answers {status}"))?))
}

async fn instant(server: &Server, query: &str, time: i64) -> Result<Value> {
    let (status, body) =
        ask(server, "/api/v1/query", &[("query", query.to_owned()), ("time", time.to_string())]).await?;
    ensure!(status == 200, "{query}: {body}");
    Ok(body["data"]["result"].clone())
}

/// The numbers of a vector, in order, with the label that tells them apart.
fn shown(result: &Value, label: &str) -> Vec<(String, f64)> {
    let series = result.as_array().into_iter().flatten();
    let one = |series: &Value| {
        let value = series["value"][1].as_str().and_then(|text| text.parse().ok());
        (series["metric"][label].as_str().unwrap_or_default().to_owned(), value.unwrap_or(f64::NAN))
    };
    series.map(one).collect()
}

async fn check(server: &Server, data: &Data) -> Result<()> {
    let end = data.end();
    let last = SAMPLES - 1;
    let n = last as f64;
    // A query at the time of the last sample, the label that tells series apart, and their values.
    for (query, label, expected) in [
        ("sum by (job) (rate(http_requests_total[1m]))", "job", vec![("eu/shop", 6.0)]),
        ("http_requests_total{http_route=\"/cart\"}", "instance", vec![("a", 30.0 * n), ("b", 60.0 * n)]),
        ("{\"http_requests_total\",job=\"eu/shop\",instance=~\"b|c\"}", "instance", vec![("b", 60.0 * n)]),
        ("queue_length", "instance", vec![("a", (last % 5) as f64 + 0.5), ("b", (last % 5) as f64 + 1.0)]),
        ("max_over_time(queue_length{instance=\"a\"}[10m])", "instance", vec![("a", 4.5)]),
        ("histogram_quantile(0.5, sum by (le) (http_duration_seconds_bucket))", "job", vec![("", 0.55)]),
        ("http_duration_seconds_bucket{instance=\"a\"}", "le", vec![("+Inf", 4.0 * n), ("0.1", n), ("1", 3.0 * n)]),
        ("http_duration_seconds_count{instance=\"a\"}", "instance", vec![("a", 4.0 * n)]),
        ("http_duration_seconds_sum{instance=\"a\"}", "instance", vec![("a", 1.5 * n)]),
        ("histogram_count(rpc_duration_seconds)", "instance", vec![("a", 3.0 * n), ("b", 3.0 * n)]),
        ("histogram_fraction(0, 2, sum(rpc_duration_seconds))", "job", vec![("", 1.0 / 3.0)]),
        ("gc_pause{instance=\"a\"}", "quantile", vec![("0.5", 0.25)]),
        ("gc_pause_count{instance=\"b\"}", "instance", vec![("b", n)]),
        ("target_info", "host_name", vec![("host-a", 1.0), ("host-b", 1.0)]),
        ("sum(http_requests_total offset 1m)", "job", vec![("", 90.0 * (n - 4.0))]),
        ("count({__name__=~\"http_.+\"})", "job", vec![("", 12.0)]),
        ("absent(nothing{job=\"x\"})", "job", vec![("x", 1.0)]),
    ] {
        let result = instant(server, query, end).await?;
        let values = shown(&result, label);
        let expected: Vec<(String, f64)> = expected.into_iter().map(|(l, v)| (l.to_owned(), v)).collect();
        let equal = values.len() == expected.len()
            && values.iter().zip(&expected).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 1e-9 * b.1.abs());
        ensure!(equal, "{query}: {values:?} instead of {expected:?}");
    }
    let range = [
        ("query", "sum(http_requests_total)".to_owned()),
        ("start", data.start.to_string()),
        ("end", end.to_string()),
        ("step", STEP_S.to_string()),
    ];
    let (_, body) = ask(server, "/prometheus/api/v1/query_range", &range).await?;
    let expected: Vec<Value> = (0..SAMPLES).map(|n| json!([data.start + n * STEP_S, (90 * n).to_string()])).collect();
    ensure!(body["data"]["result"] == json!([{ "metric": {}, "values": expected }]), "{body}");
    Ok(())
}

async fn check_lists(server: &Server) -> Result<()> {
    let selected = [("match[]", "http_requests_total".to_owned())];
    let (_, names) = ask(server, "/api/v1/labels", &selected).await?;
    ensure!(names["data"] == json!(["__name__", "http_route", "instance", "job"]), "{names}");
    let (_, values) = ask(server, "/api/v1/label/instance/values", &[]).await?;
    ensure!(values["data"] == json!(["a", "b"]), "{values}");
    let (_, bounds) = ask(server, "/api/v1/label/le/values", &[]).await?;
    ensure!(bounds["data"] == json!(["+Inf", "0.1", "1"]), "{bounds}");
    let (_, names) = ask(server, "/api/v1/label/__name__/values", &[]).await?;
    let expected = json!([
        "gc_pause",
        "gc_pause_count",
        "gc_pause_sum",
        "http_duration_seconds_bucket",
        "http_duration_seconds_count",
        "http_duration_seconds_sum",
        "http_requests_total",
        "queue_length",
        "rpc_duration_seconds",
        "target_info",
        "up",
    ]);
    ensure!(names["data"] == expected, "{names}");
    let (_, series) = ask(server, "/api/v1/series", &selected).await?;
    let one = |instance: &str| json!({ "__name__": "http_requests_total", "http_route": "/cart", "instance": instance, "job": "eu/shop" });
    ensure!(series["data"] == json!([one("a"), one("b")]), "{series}");
    let (_, metadata) = ask(server, "/api/v1/metadata", &[("metric", "http_requests_total".to_owned())]).await?;
    let expected = json!({ "http_requests_total": [{ "type": "counter", "help": "Requests.", "unit": "{request}" }] });
    ensure!(metadata["data"] == expected, "{metadata}");
    let (_, cut) = ask(server, "/api/v1/label/__name__/values", &[("limit", "1".to_owned())]).await?;
    ensure!(cut["data"].as_array().is_some_and(|all| all.len() == 1) && cut["warnings"][0].is_string(), "{cut}");
    Ok(())
}

async fn answers_are_the_same_before_and_after_a_flush(on: On) -> Result<()> {
    let mut server = on.server().await?;
    let data = Data::new();
    let half = SAMPLES / 2;
    data.send(&server, 0..half).await?;
    server.flush().await?;
    data.send(&server, half..SAMPLES).await?;
    // Half of it lies in a block, half in the tail.
    check(&server, &data).await?;
    check_lists(&server).await?;
    server.flush().await?;
    check(&server, &data).await?;
    check_lists(&server).await?;
    server.stop().await
}
on_every_store!(answers_are_the_same_before_and_after_a_flush);

type Parameters = &'static [(&'static str, &'static str)];

/// Requests that get no answer: parameters, status, words of the sentence that says why.
const REFUSED: [(&str, Parameters, u16, &str); 12] = [
    ("query", &[], 400, "query"),
    ("query", &[("query", "sum(")], 400, "1:5: parse error"),
    ("query", &[("query", "up[5m] + 1")], 400, "parse error"),
    ("query", &[("query", "foo{a=~\"(\"}")], 400, "parse error"),
    ("query", &[("query", "1"), ("time", "noon")], 400, "noon"),
    ("query_range", &[("query", "1"), ("start", "0"), ("end", "1")], 400, "step"),
    ("query_range", &[("query", "1"), ("start", "1"), ("end", "0"), ("step", "1")], 400, "end"),
    ("query_range", &[("query", "1"), ("start", "0"), ("end", "1"), ("step", "0")], 400, "step"),
    ("query_range", &[("query", "1"), ("start", "0"), ("end", "11002"), ("step", "1")], 400, "11,000"),
    ("series", &[], 400, "match[]"),
    ("series", &[("match[]", "{a=\"\"}")], 400, "match[]"),
    ("labels", &[("start", "9e99")], 400, "start"),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() -> Result<()> {
    let mut server = On::Local.server().await?;
    for (path, parameters, status, word) in REFUSED {
        let parameters: Vec<(&str, String)> = parameters.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
        let (found, body) = ask(&server, &format!("/api/v1/{path}"), &parameters).await?;
        let sentence = body["error"].as_str().unwrap_or_default();
        let told = body["status"] == "error" && body["errorType"] == "bad_data" && sentence.contains(word);
        ensure!(found == status && told, "{path} {parameters:?}: {found} {body}");
    }
    // What Grafana asks to see whether the source is there.
    let (_, health) = ask(&server, "/api/v1/query", &[("query", "1+1".to_owned()), ("time", "1".to_owned())]).await?;
    ensure!(health["data"] == json!({ "resultType": "scalar", "result": [1, "2"] }), "{health}");
    let form = server.http().post(server.url("/api/v1/query")).form(&[("query", "vector(3)")]).send().await?;
    let form: Value = form.json().await?;
    ensure!(form["data"]["result"][0]["value"][1] == "3", "{form}");
    server.stop().await
}
