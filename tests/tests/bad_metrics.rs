//! Bad and strange metrics and queries: each gets a clear answer, and what is good comes back as it was sent.

use anyhow::{Result, ensure};
use bonghwa_tests::On;
use bonghwa_tests::prometheus::messages::{Histogram, Label, Sample, Series, Span, sample, series};
use bonghwa_tests::prometheus::{ask, instant, now, store, write};
use bonghwa_tests::remote_read::{query, samples};
use serde_json::Value;

const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// PromQL that is none: the query, where it is wrong (line and column), and a word of why.
const WRONG: [(&str, &str, &str); 16] = [
    ("", "1:1", ""),
    ("sum(", "1:5", ""),
    ("up{", "1:4", ""),
    ("up{job}", "1:7", ""),
    ("up{job=x}", "1:8", ""),
    ("up{job=\"x\"", "1:11", ""),
    ("up[5x]", "1:4", ""),
    ("up[0s]", "1:4", "duration"),
    ("rate(up)", "1:6", "range vector"),
    ("sum(up[5m])", "1:5", ""),
    ("nosuch(up)", "1:1", "nosuch"),
    ("up and 1", "1:1", "set operator"),
    ("1 == 1", "1:3", "BOOL"),
    ("up\n  +\n  sum(", "3:7", ""),
    ("{job=~\".*\"}", "1:1", "non-empty"),
    ("\"open", "1:1", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_error_points_at_the_place() -> Result<()> {
    let mut server = On::Local.server().await?;
    let mut wrong = vec![];
    for (query, place, word) in WRONG {
        let (status, answer) = ask(&server, "/api/v1/query", &[("query", query)]).await?;
        let said = answer["error"].as_str().unwrap_or_default();
        if status != 400 || answer["errorType"] != "bad_data" || !said.contains(place) || !said.contains(word) {
            wrong.push(format!("{query:?} should be wrong at {place} ({word}): {status} {said}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Deep and long ones.
    let deep = format!("{}1{}", "(".repeat(20_000), ")".repeat(20_000));
    let long = format!("vector(1){}", " + vector(1)".repeat(20_000));
    for query in [&deep, &long] {
        let request = server.http().post(server.url("/api/v1/query")).form(&[("query", query)]);
        let answer = request.send().await?;
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await?);
        ensure!(matches!(status, 200 | 400 | 422), "{}...: {status} {body}", &query[..20]);
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn times_at_the_edge_get_an_answer() -> Result<()> {
    let mut server = On::Local.server().await?;
    let widest = "9223372036854";
    for (path, parameters, status) in [
        ("query", vec![("query", "up"), ("time", "-1")], 200),
        ("query", vec![("query", "up"), ("time", widest)], 400),
        ("query", vec![("query", "up"), ("time", "9223372036.854")], 200),
        ("query", vec![("query", "up"), ("time", "1e400")], 400),
        ("query", vec![("query", "up"), ("time", "NaN")], 400),
        ("query", vec![("query", "up offset 290000y")], 400),
        ("query", vec![("query", "up[100y]")], 200),
        ("query", vec![("query", "up @ 9223372036")], 200),
        ("query", vec![("query", "up @ 9e99")], 400),
        ("query", vec![("query", "up"), ("timeout", "-1s")], 400),
        ("query", vec![("query", "up"), ("lookback_delta", "0")], 200),
        ("query", vec![("query", "up"), ("limit", "-1")], 400),
        ("query_range", vec![("query", "up"), ("start", "0"), ("end", widest), ("step", "1e12")], 400),
        ("query_range", vec![("query", "up"), ("start", "0"), ("end", "11000"), ("step", "1")], 200),
        ("query_range", vec![("query", "up"), ("start", "0"), ("end", "11001"), ("step", "1")], 400),
        ("query_range", vec![("query", "up"), ("start", "0"), ("end", "1"), ("step", "1e-4")], 400),
        ("query_range", vec![("query", "up"), ("start", "0"), ("end", "1"), ("step", "-1")], 400),
        ("series", vec![("match[]", "up"), ("start", "-9223372036"), ("end", "9223372036")], 200),
        ("labels", vec![("start", "2"), ("end", "1")], 400),
        // All time, as Prometheus' clients write it.
        ("labels", vec![("start", "-292273086-05-16T16:47:06Z"), ("end", "292277025-08-18T07:12:54.999999999Z")], 200),
        ("label/%00/values", vec![], 200),
    ] {
        let (found, answer) = ask(&server, &format!("/api/v1/{path}"), &parameters).await?;
        let said = answer["error"].as_str().unwrap_or_default();
        ensure!(found == status, "{path} {parameters:?}: {found} instead of {status}: {answer}");
        ensure!(status == 200 || said.len() > 10, "{path} {parameters:?}: {answer}");
    }
    server.stop().await
}

/// What a server may take for questions that would like to have more, beside what it has at rest.
const MEMORY: u64 = 400 << 20;

/// Wraps a query so many times.
fn nested(innermost: &str, times: usize, wrap: impl Fn(&str) -> String) -> String {
    (0..times).fold(innermost.to_owned(), |inner, _| wrap(&inner))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_take_all_memory_is_refused() -> Result<()> {
    let mut server = On::Local.server().await?;
    let before = server.memory()?.now;
    let xx = "label_replace(vector(1), \"a\", \"xx\", \"\", \"\")";
    // Twice as long with each call.
    let replaced = nested(xx, 40, |inner| format!("label_replace({inner}, \"a\", \"$1$1\", \"a\", \"(.*)\")"));
    let joined = nested(xx, 40, |inner| format!("label_join({inner}, \"a\", \"\", \"a\", \"a\")"));
    let template = "$1".repeat(100_000);
    let multiplied = nested(xx, 4, |inner| format!("label_replace({inner}, \"a\", \"{template}\", \"a\", \"(.*)\")"));
    let names: Vec<String> = (0..200_000).map(|n| format!("name{n}")).collect();
    let alternatives = format!("{{__name__=~\"{}\"}}", names.join("|"));
    for (query, status, word) in [
        (replaced.as_str(), 422, "label_replace() would make the label \"a\" longer than"),
        (joined.as_str(), 422, "label_join() would make the label \"a\" longer than"),
        (multiplied.as_str(), 422, "label_replace() would make the label \"a\" longer than"),
        ("max_over_time(vector(1)[100y:1ms])", 422, "query.memory_bytes"),
        ("vector(1)[1d:1ms]", 422, "query.memory_bytes"),
        ("{__name__=~\"(x{1000}){1000}\"}", 400, "1:2"),
        (alternatives.as_str(), 400, "1:2: parse error: a regular expression of "),
        ("up{a=~\"((((\"}", 400, "1:4"),
    ] {
        let request = server.http().post(server.url("/api/v1/query")).form(&[("query", query)]);
        let answer = request.send().await?;
        let (found, said) = (answer.status().as_u16(), answer.text().await?);
        let shown = query.chars().take(80).collect::<String>();
        ensure!(found == status && serde_json::from_str::<Value>(&said).is_ok(), "{shown}...: {found} {said:.300}");
        let said = serde_json::from_str::<Value>(&said)?["error"].as_str().unwrap_or_default().to_owned();
        ensure!(said.contains(word), "{shown}...: {said:.300}");
    }
    // Eleven thousand windows of a day's seconds each.
    let steps = [("query", "max_over_time(vector(1)[1d:1s])"), ("start", "0"), ("end", "10999"), ("step", "1")];
    let (status, answer) = ask(&server, "/api/v1/query_range", &steps).await?;
    ensure!(status == 200, "{answer}");
    let grown = server.memory()?.peak.saturating_sub(before);
    ensure!(grown < MEMORY, "the server took {} MiB", grown >> 20);
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_are_no_text_are_refused() -> Result<()> {
    let mut server = On::Local.server().await?;
    for (body, place) in
        [("query=%FF%FE", "1:1"), ("query=up%00", "1:3"), ("query=up%7Ba%3D%22%ED%A0%80%22%7D%7D", "1:")]
    {
        let request = server.http().post(server.url("/api/v1/query"));
        let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await?;
        let (status, said) = (answer.status().as_u16(), answer.json::<Value>().await?);
        let told = said["error"].as_str().unwrap_or_default();
        ensure!(status == 400 && said["errorType"] == "bad_data" && told.contains(place), "{body}: {status} {said}");
    }
    server.stop().await
}

/// Names and values of labels that are valid UTF-8 and surprise.
const STRANGE: [(&str, &str); 14] = [
    ("größe", "ä"),
    ("日本", "語"),
    ("😀", "👩\u{200d}👩\u{200d}👧"),
    ("with space", "  "),
    ("quote\"d", "\"\\\n\t"),
    ("back\\slash", "\\"),
    ("new\nline", "\r\n"),
    ("\u{200b}zero width", "\u{feff}"),
    ("e\u{301}", "\u{e9}"),
    ("\u{202e}right", "\u{202e}"),
    ("nul\0", "\0"),
    ("{braces}", "{}"),
    ("1digit", "0"),
    ("__reserved__", "x"),
];

#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind_come_back() -> Result<()> {
    let mut server = On::Local.server().await?;
    let time = now() - 1_000;
    for (n, (name, value)) in STRANGE.into_iter().enumerate() {
        store(
            &server,
            vec![series(&[("__name__", name), (name, value), ("n", &n.to_string())], vec![sample(n as f64, time)])],
        )
        .await?;
    }
    for place in ["tail", "block"] {
        for (n, (name, value)) in STRANGE.into_iter().enumerate() {
            let quote = |text: &str| {
                let escape = |c: char| match c {
                    '"' => "\\\"".to_owned(),
                    '\\' => "\\\\".to_owned(),
                    '\n' => "\\n".to_owned(),
                    '\r' => "\\r".to_owned(),
                    '\t' => "\\t".to_owned(),
                    c => c.to_string(),
                };
                format!("\"{}\"", text.chars().map(escape).collect::<String>())
            };
            let query = format!("{{{},{}={}}}", quote(name), quote(name), quote(value));
            let found = instant(&server, &query).await?;
            ensure!(found.len() == 1, "{place}: {query}: {found:?}");
            let metric = &found[0]["metric"];
            ensure!(
                metric["__name__"] == name && metric[name] == value && metric["n"].as_str() == Some(&n.to_string()),
                "{place}: {found:?}"
            );
            // By hand: crates for addresses drop line ends.
            let segment: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let url = server.url(&format!("/api/v1/label/{segment}/values"));
            let answer: Value = server.http().get(url).send().await?.json().await?;
            ensure!(answer["data"] == serde_json::json!([value]), "{place}: values of {name:?}: {answer}");
        }
        server.flush().await?;
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_that_break_rules_are_named() -> Result<()> {
    let mut server = On::Local.server().await?;
    let time = now() - 1_000;
    let of = |pairs: &[(&str, &str)]| series(pairs, vec![sample(1.0, time)]);
    let unnamed = Series {
        labels: vec![
            Label { name: String::new(), value: "x".into() },
            Label { name: "__name__".into(), value: "m".into() },
        ],
        samples: vec![sample(1.0, time)],
        ..Default::default()
    };
    let long = "x".repeat(2_000);
    for (series, status, word) in [
        (of(&[("zone", "a"), ("__name__", "unsorted"), ("app", "b")]), 204, ""),
        (of(&[("__name__", "empty"), ("gone", ""), ("kept", "1")]), 204, ""),
        (of(&[("__name__", "m"), ("a", "1"), ("a", "2")]), 400, "have \"a\" twice"),
        (of(&[("__name__", "m"), ("a", "1"), ("a", "1")]), 400, "have \"a\" twice"),
        (of(&[("__name__", "m"), ("__name__", "n")]), 400, "have \"__name__\" twice"),
        (of(&[("a", "1")]), 400, "no __name__"),
        (of(&[("__name__", ""), ("a", "1")]), 400, "no __name__"),
        (of(&[]), 400, "no __name__"),
        (unnamed, 400, "without a name"),
        (of(&[("__name__", "up"), ("job", "x"), ("bonghwa_source", "otlp")]), 400, "kept for the heartbeats"),
        (of(&[("__name__", "up"), ("job", "x"), ("bonghwa_source", "")]), 204, ""),
        (of(&[("__name__", "other"), ("bonghwa_source", "otlp")]), 204, ""),
        (of(&[("__name__", "m"), (&long, "1")]), 400, "bytes"),
        (series(&[("__name__", "none")], vec![]), 204, ""),
    ] {
        let shown = format!("{:?}", series.labels).chars().take(120).collect::<String>();
        let (found, said) = write(&server, None, vec![series]).await?;
        ensure!(found == status && said.contains(word), "{shown}: {found} {said}");
    }
    let found = instant(&server, "unsorted{app=\"b\",zone=\"a\"}").await?;
    ensure!(found.len() == 1, "{found:?}");
    let found = instant(&server, "empty{gone=\"\"}").await?;
    ensure!(found[0]["metric"] == serde_json::json!({ "__name__": "empty", "kept": "1" }), "{found:?}");
    for rejected in ["m", "up{bonghwa_source!=\"\"}"] {
        ensure!(instant(&server, rejected).await?.is_empty(), "{rejected}: a series that was rejected is there");
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn values_and_times_at_the_edge_come_back() -> Result<()> {
    let mut server = On::Local.server().await?;
    let start = now() - 100_000;
    // Without -0.0: protobuf leaves out what equals 0.
    let values: [u64; 11] = [
        0,
        f64::MIN_POSITIVE.to_bits(),
        1, // The least above 0.
        f64::MAX.to_bits(),
        f64::MIN.to_bits(),
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        0x7ff8_0000_0000_0001, // The NaN that Prometheus writes.
        0x7ff4_dead_beef_0001, // Others carry other bits.
        0xfff8_0000_0000_0000,
        STALE_NAN,
    ];
    let sent: Vec<Sample> =
        values.iter().enumerate().map(|(n, bits)| sample(f64::from_bits(*bits), start + n as i64 * 1_000)).collect();
    store(&server, vec![series(&[("__name__", "edge")], sent)]).await?;
    // Two at one time: the last that was sent.
    store(&server, vec![series(&[("__name__", "twice")], vec![sample(1.0, start), sample(2.0, start)])]).await?;
    for (time, status, word) in [
        (i64::MAX, 400, "timestamp"),
        (i64::MIN, 400, "timestamp"),
        (now() + 3_600_000, 400, "timestamp"),
        (1, 204, ""),
    ] {
        let (found, said) =
            write(&server, None, vec![series(&[("__name__", "when")], vec![sample(1.0, time)])]).await?;
        ensure!(found == status && said.contains(word), "{time}: {found} {said}");
    }
    for place in ["tail", "block"] {
        let read = vec![query(0, now(), &[(0, "__name__", "edge")])];
        let found = samples(server.http(), &server.url("/api/v1/read"), read).await?;
        let bits: Vec<u64> = found.results[0].timeseries[0].samples.iter().map(|s| s.value.to_bits()).collect();
        ensure!(bits == values, "{place}: {bits:x?}\ninstead of\n{values:x?}");
        // The series ended with its marker.
        ensure!(instant(&server, "edge").await?.is_empty(), "{place}: it has not ended");
        let found = instant(&server, "twice @ end()[5m:1s]").await?;
        let last = found.first().and_then(|one| one["values"].as_array()?.last().cloned());
        ensure!(last.is_some_and(|pair| pair[1] == "2"), "{place}: {found:?}");
        server.flush().await?;
    }
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn histograms_at_the_edge_come_back() -> Result<()> {
    let mut server = On::Local.server().await?;
    let time = now() - 10_000;
    let of = |name: &str, histograms: Vec<Histogram>| Series { histograms, ..series(&[("__name__", name)], vec![]) };
    let most = Histogram {
        count_int: Some(u64::MAX),
        sum: f64::MAX,
        zero_count_int: Some(u64::MAX),
        zero_threshold: f64::MIN_POSITIVE,
        timestamp: time,
        ..Default::default()
    };
    // The outermost buckets of the finest and of the coarsest resolution.
    let outermost = |schema: i32, offset: i32| Histogram {
        count_float: Some(1.0),
        zero_count_float: Some(0.0),
        sum: f64::INFINITY,
        schema,
        positive_spans: vec![Span { offset, length: 1 }],
        positive_counts: vec![1.0],
        timestamp: time,
        ..Default::default()
    };
    let stale = Histogram { sum: f64::from_bits(STALE_NAN), timestamp: time + 1_000, ..Default::default() };
    let sent = [
        of("most", vec![most.clone()]),
        of("finest", vec![outermost(8, 1024 << 8)]),
        of("coarsest", vec![outermost(-4, -67)]),
        of("ended", vec![most, stale]),
    ];
    store(&server, sent.into()).await?;
    for place in ["tail", "block"] {
        for (query, expected) in [
            ("histogram_count(most)", "18446744073709552000"),
            ("histogram_sum(most)", "1.7976931348623157e+308"),
            ("histogram_count(finest)", "1"),
            ("histogram_quantile(1, finest)", "+Inf"),
            ("histogram_sum(coarsest)", "+Inf"),
            ("histogram_quantile(0, coarsest)", "0"),
            ("most * 2", ""),
        ] {
            let found = instant(&server, query).await?;
            ensure!(found.len() == 1, "{place}: {query}: {found:?}");
            let value = found[0]["value"][1].as_str().unwrap_or_default();
            ensure!(value.starts_with(expected), "{place}: {query}: {value} instead of {expected}");
        }
        ensure!(instant(&server, "ended").await?.is_empty(), "{place}: it has not ended");
        server.flush().await?;
    }
    server.stop().await
}

/// Whatever is acked can be asked for: what no query could show is refused, and what came with it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_no_query_could_show_is_refused() -> Result<()> {
    let mut server = On::Local.server().await?;
    let time = now() - 10_000;
    let good = Histogram {
        count_float: Some(1.0),
        zero_count_float: Some(0.0),
        schema: -4,
        positive_spans: vec![Span { offset: 0, length: 1 }],
        positive_counts: vec![1.0],
        timestamp: time,
        ..Default::default()
    };
    for (n, (bad, word)) in [
        (Histogram { schema: -5, ..good.clone() }, "schema is -5"),
        (Histogram { count_float: Some(f64::INFINITY), ..good.clone() }, "count_float is inf"),
        (Histogram { zero_threshold: f64::NAN, ..good.clone() }, "zero_threshold is NaN"),
    ]
    .into_iter()
    .enumerate()
    {
        let [kept, lost] = ["kept", "lost"].map(|name| format!("{name}_{n}"));
        let of = |name: &str, histogram: &Histogram| Series {
            histograms: vec![histogram.clone()],
            ..series(&[("__name__", name)], vec![])
        };
        let (status, said) = write(&server, None, vec![of(&kept, &good), of(&lost, &bad)]).await?;
        ensure!(status == 400 && said.contains(word), "{word}: {status} {said}");
        ensure!(instant(&server, &format!("histogram_count({kept})")).await?.len() == 1, "{word}: {kept} is not there");
        let (_, listed) = ask(&server, "/api/v1/series", &[("match[]", &lost)]).await?;
        ensure!(listed["data"] == serde_json::json!([]), "{word}: {listed}");
    }

    let nanos = (time * 1_000_000).to_string();
    let point = serde_json::json!({ "timeUnixNano": nanos, "asInt": "1" });
    let keyless = serde_json::json!({
        "timeUnixNano": nanos, "asInt": "1", "attributes": [{ "key": "", "value": { "stringValue": "x" } }],
    });
    let exponential = |scale: i32| {
        serde_json::json!({ "aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": nanos, "count": "1", "scale": scale, "zeroCount": "1",
        }] })
    };
    let metrics = serde_json::json!([
        { "name": "fine", "exponentialHistogram": exponential(-4) },
        { "name": "coarse", "exponentialHistogram": exponential(-5) },
        { "name": "unspecified", "sum": { "isMonotonic": true, "dataPoints": [point] } },
        { "name": "温度", "gauge": { "dataPoints": [point] } },
        { "name": "pair", "gauge": { "dataPoints": [keyless, point] } },
    ]);
    let request = serde_json::json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": metrics }] }] });
    let answer = server.http().post(server.url("/v1/metrics")).json(&request).send().await?;
    ensure!(answer.status() == 200, "{}", answer.status());
    let partial = answer.json::<Value>().await?["partialSuccess"].clone();
    ensure!(partial["rejectedDataPoints"] == "4", "{partial}");
    let said = partial["errorMessage"].as_str().unwrap_or_default();
    for word in ["scale is -5", "aggregation_temporality is unspecified", "name is \"温度\"", "without a key"] {
        ensure!(said.contains(word), "{word}: {said}");
    }
    for kept in ["fine", "pair"] {
        ensure!(instant(&server, &format!("{{__name__=~\"{kept}.*\"}}")).await?.len() == 1, "{kept} is not there");
    }
    let (_, names) = ask(&server, "/api/v1/label/__name__/values", &[]).await?;
    for lost in ["", "coarse", "unspecified_total"] {
        ensure!(names["data"].as_array().is_some_and(|names| names.iter().all(|name| name != lost)), "{names}");
    }
    server.stop().await
}
