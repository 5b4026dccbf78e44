//! Tenants beside each other: none sees another's telemetry, whatever it tries, or slows another's
//! queries; several are read together by whoever may; limits change while the server runs, and a shuffle
//! shard bounds where a tenant's data goes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::{Generator, Server, Signal, Store, grpc, seed, wait};
use bonghwa_tests::callers::{ADMIN, ALL, Guarded, READER_A, READER_AB, WRITER_A, with_headers};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const TRACE_OF_A: &str = "0000000000000000000000000000000a";
const TRACE_OF_B: &str = "0000000000000000000000000000000b";
/// Both tenants have spans of it.
const SHARED_TRACE: &str = "000000000000000000000000000000ab";

async fn two_tenants() -> Result<Guarded> {
    let guarded = Guarded::start().await?;
    for (tenant, trace) in [("a", TRACE_OF_A), ("b", TRACE_OF_B)] {
        guarded.write(tenant, trace).await?;
        guarded.write(tenant, SHARED_TRACE).await?;
    }
    Ok(guarded)
}

/// What a reader of a may try to get at b's records. Any status will do, b's text in an answer will not.
const TRICKS: &[&str] = &[
    "SELECT * FROM logs",
    "SELECT * FROM logs UNION ALL SELECT * FROM bonghwa.public.logs",
    "SELECT * FROM spans JOIN traces ON true",
    "WITH logs AS (SELECT * FROM public.logs) SELECT * FROM logs",
    "SELECT * FROM b.logs",
    "SELECT * FROM b.public.logs",
    "SELECT * FROM \"b\".\"logs\"",
    "SELECT * FROM logs WHERE tenant = 'b'",
    "SELECT * FROM logs WHERE resource['tenant'] = 'b' OR true",
    "SELECT * FROM logs WHERE service_name LIKE 'of-%' OR 1 = 1",
    "SELECT count(*) AS n, max(body) AS body FROM logs WHERE attributes['key-of-b'] IS NOT NULL",
    "SELECT \"key-of-b\" FROM logs",
    "SELECT \"key-of-\" FROM logs",
    "SELECT * FROM spans WHERE trace_id = '0000000000000000000000000000000b'",
    "SELECT * FROM spans WHERE trace_id = '000000000000000000000000000000ab'",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM information_schema.columns",
    "SELECT * FROM information_schema.df_settings",
    "SELECT * FROM information_schema.views",
    "SHOW TABLES",
    "SHOW ALL",
    "EXPLAIN VERBOSE SELECT * FROM logs",
    "EXPLAIN ANALYZE SELECT * FROM logs",
    "DESCRIBE logs",
    "SELECT * FROM 'logs/l0'",
    "SELECT * FROM read_parquet('logs/l0/*.parquet')",
    "CREATE EXTERNAL TABLE x STORED AS PARQUET LOCATION '/'",
    "COPY logs TO '/dev/stdout'",
    "SET x_scope_orgid = 'b'",
    "SET datafusion.catalog.default_schema = 'b'",
    "SELECT 1; SELECT * FROM logs",
    "SELECT * FROM logs -- x-scope-orgid: b",
    "SELECT current_setting('tenant')",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_query_shows_another_tenants_records() -> Result<()> {
    let mut guarded = two_tenants().await?;
    for place in ["in the tail", "in blocks"] {
        let own = guarded.rows(&READER_A, None, "SELECT body FROM logs").await?;
        ensure!(own == [json!({ "body": "of-a" }), json!({ "body": "of-a" })], "{place}: the reader of a sees {own:?}");
        for query in TRICKS {
            for accept in ["application/json", "text/csv"] {
                let request = guarded.request(&READER_A, None, Method::POST, "/api/v1/sql").header("accept", accept);
                let answer = request.json(&json!({ "query": query })).send().await?;
                let (status, text) = (answer.status(), answer.text().await?);
                // The query itself may come back in an answer.
                let text = text.replace(query, "").replace("key-of-b'", "").replace("key-of-b\\\"", "");
                let text = text.replace("\"key-of-b\"", "").replace("key-of-b\"", "");
                ensure!(!text.contains("of-b"), "{place}: {query}: {status} {text}");
            }
        }
        for (id, status, spans) in [(TRACE_OF_A, 200, 1), (TRACE_OF_B, 404, 0), (SHARED_TRACE, 200, 1)] {
            for prefix in ["/api", "/api/v2", "/tempo/api", "/tempo/api/v2"] {
                let path = format!("{prefix}/traces/{id}");
                let answer = guarded.request(&READER_A, None, Method::GET, &path).send().await?;
                let (found, text) = (answer.status(), answer.text().await?);
                ensure!(found == status, "{place}: {path} answers {found}, not {status}: {text}");
                ensure!(text.matches("spanId").count() == spans, "{place}: {path}: {text}");
                ensure!(!text.contains("of-b"), "{place}: {path}: {text}");
            }
        }
        guarded.flush().await?;
    }
    guarded.server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_goes_around_the_file() -> Result<()> {
    let mut guarded = two_tenants().await?;
    let (reader, admin) = (READER_A.authorization.unwrap_or(""), ADMIN.authorization.unwrap_or(""));
    let all = ALL.authorization.unwrap_or("");
    for (headers, status) in [
        (&[("authorization", reader), ("x-scope-orgid", "b")][..], 403),
        (&[("authorization", reader), ("x-scope-orgid", "a|b")], 403),
        (&[("authorization", reader), ("x-scope-orgid", "b|a")], 403),
        (&[("authorization", reader), ("x-scope-orgid", "*")], 403),
        (&[("authorization", reader), ("x-scope-orgid", "A")], 403),
        (&[("authorization", reader), ("x-scope-orgid", "a"), ("x-scope-orgid", "b")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "b"), ("x-scope-orgid", "a")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "a"), ("x-scope-orgid", "a")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "a,b")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "a b")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "a|")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "a%7Cb")], 400),
        (&[("authorization", reader), ("x-scope-orgid", "../b")], 400),
        (&[("authorization", reader), ("authorization", all), ("x-scope-orgid", "b")], 401),
        (&[("authorization", all), ("authorization", reader), ("x-scope-orgid", "b")], 401),
        (&[("proxy-authorization", all), ("x-scope-orgid", "b")], 401),
        (&[("cookie", all), ("x-scope-orgid", "b")], 401),
        (&[("authorization", "Bearer"), ("x-scope-orgid", "b")], 401),
        (&[("authorization", "Bearer hush-reader-of-a x"), ("x-scope-orgid", "a")], 401),
        (&[("authorization", admin), ("x-scope-orgid", "b")], 403),
        // Others' names for a tenant say nothing here.
        (&[("authorization", reader), ("x-tenant", "b"), ("x-forwarded-user", "all")], 200),
    ] {
        let request = guarded.server.http().post(guarded.server.url("/api/v1/sql"));
        let request = with_headers(request, headers).json(&json!({ "query": "SELECT body FROM logs" }));
        let answer = request.send().await?;
        let (found, text) = (answer.status(), answer.text().await?);
        ensure!(found == status && !text.contains("of-b"), "{headers:?}: {found}, not {status}: {text}");
    }

    // A writer of a stores nothing for b, by any protocol.
    let basic = WRITER_A.authorization.unwrap_or("");
    let call = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let body = Generator::new(seed::draw("smuggled"), 0, Generator::now()).batch(Signal::Logs, 10).body;
    for tenants in [&["b"][..], &["a", "b"], &["b", "a"], &["a|b"]] {
        let headers: Vec<(&str, &str)> =
            [("authorization", basic)].into_iter().chain(tenants.iter().map(|t| ("x-scope-orgid", *t))).collect();
        let request = guarded.server.http().post(format!("{}/v1/logs", guarded.server.otlp_http()));
        let request = with_headers(request, &headers).header("content-type", "application/x-protobuf");
        let status = request.body(body.clone()).send().await?.status();
        ensure!(matches!(status.as_u16(), 400 | 403), "{tenants:?}: {status}");
        let outcome = grpc::call(&guarded.server.otlp_grpc(), call, &headers, &body).await?;
        ensure!(matches!(outcome.status, 3 | 7), "{tenants:?}: {outcome:?}");
    }
    let count = guarded.rows(&ALL, Some("a|b"), "SELECT count(*) AS n FROM logs").await?;
    ensure!(count == [json!({ "n": 4 })], "something was smuggled in: {count:?}");
    guarded.server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn several_tenants_are_read_together() -> Result<()> {
    let mut guarded = two_tenants().await?;
    for place in ["in the tail", "in blocks"] {
        for (tenants, expected) in
            [("a", vec!["of-a"; 2]), ("b", vec!["of-b"; 2]), ("a|b", vec!["of-a", "of-a", "of-b", "of-b"])]
        {
            let rows = guarded.rows(&READER_AB, Some(tenants), "SELECT body FROM logs ORDER BY body").await?;
            let bodies: Vec<&str> = rows.iter().filter_map(|row| row["body"].as_str()).collect();
            ensure!(bodies == expected, "{place}: {tenants}: {bodies:?}");
            let path = format!("/api/v2/traces/{SHARED_TRACE}");
            let trace = guarded.request(&READER_AB, Some(tenants), Method::GET, &path).send().await?.text().await?;
            let spans = trace.matches("spanId").count();
            ensure!(spans == expected.len() / 2, "{place}: {tenants}: {spans} spans: {trace}");
        }
        let by_service = "SELECT service_name, count(*) AS n FROM spans GROUP BY 1 ORDER BY 1";
        let rows = guarded.rows(&READER_AB, Some("b|a"), by_service).await?;
        let expected = [json!({ "service_name": "of-a", "n": 2 }), json!({ "service_name": "of-b", "n": 2 })];
        ensure!(rows == expected, "{place}: {rows:?}");
        guarded.flush().await?;
    }
    guarded.server.stop().await?;

    // Without authentication whoever asks may name them.
    let mut server = Server::start(Store::Local).await?;
    let ask = |tenants: &str| {
        let request = server.http().post(server.url("/api/v1/sql")).header("x-scope-orgid", tenants);
        request.json(&json!({ "query": "SELECT count(*) AS n FROM logs" })).send()
    };
    ensure!(ask("a|b").await?.json::<Value>().await? == json!([{ "n": 0 }]));
    ensure!(ask("a|").await?.status() == 400);
    let write =
        server.http().post(server.url("/v1/logs")).header("x-scope-orgid", "a|b").json(&json!({})).send().await?;
    let (status, text) = (write.status(), write.text().await?);
    ensure!(status == 400 && text.contains("goes to one tenant"), "{status} {text}");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_change_while_the_server_runs() -> Result<()> {
    let configured = [("BONGHWA_LIMITS__NAMED__LOGS_RATE", "1e9"), ("BONGHWA_LIMITS__NAMED__LOGS_BURST", "1e9")];
    let mut server = Server::start_with(Store::Local, &configured).await?;
    let batch = Generator::new(seed::draw("limits at run time"), 0, Generator::now()).batch(Signal::Logs, 100);
    let send = async |server: &Server, tenant: &str| -> Result<StatusCode> {
        let request = server.http().post(format!("{}/v1/logs", server.otlp_http())).body(batch.body.clone());
        let request = request.header("content-type", "application/x-protobuf").header("x-scope-orgid", tenant);
        Ok(request.send().await?.status())
    };
    let admin = async |server: &Server, method: Method, path: &str, body: &str| -> Result<(u16, Value)> {
        let request = server.http().request(method, server.url(path)).body(body.to_owned());
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), answer.json().await?))
    };
    let shop = "/admin/limits/shop";
    let (_, before) = admin(&server, Method::GET, shop, "").await?;
    ensure!(before["source"] == "limits.named" && before["limits"]["logs_rate"] == 1e9, "{before}");
    ensure!(send(&server, "shop").await? == 200 && send(&server, "shop").await? == 200);

    let low = r#"{"logs_rate": 10, "logs_burst": 10}"#;
    let (status, set) = admin(&server, Method::PUT, shop, low).await?;
    ensure!(status == 200 && set["limits"]["logs_burst"] == 10.0, "{status} {set}");
    // The bucket is cut to the new burst, and one request may overdraw it.
    let answers = [send(&server, "shop").await?, send(&server, "shop").await?];
    ensure!(answers == [200, 429], "with 10 bytes per second: {answers:?}");
    ensure!(send(&server, "other").await? == 200 && send(&server, "other").await? == 200, "others are limited too");
    let (_, now) = admin(&server, Method::GET, shop, "").await?;
    ensure!(now["source"] == "run time" && now["limits"]["logs_rate"] == 10.0, "{now}");
    let (_, all) = admin(&server, Method::GET, "/admin/limits", "").await?;
    ensure!(all["overrides"]["shop"]["logs_rate"] == 10.0 && all["overrides"]["other"].is_null(), "{all}");

    server.stop().await?;
    server.restart().await?;
    let answers = [send(&server, "shop").await?, send(&server, "shop").await?];
    ensure!(answers == [200, 429], "after a restart: {answers:?}");

    for (path, body, word) in [
        (shop, r#"{"log_rate": 10}"#, "log_rate"),
        (shop, r#"{"logs_rate": "ten"}"#, "invalid type"),
        (shop, r#"{"logs_rate": -1}"#, "logs_rate is -1 for tenant shop"),
        (shop, "", "the body is not the JSON of rates"),
        ("/admin/limits/a%7Cb", "{}", "limits.tenant is \"a|b\""),
    ] {
        let (status, answer) = admin(&server, Method::PUT, path, body).await?;
        let sentence = answer["error"].as_str().unwrap_or_default();
        ensure!(status == 400 && sentence.contains(word), "{path} {body}: {status} {answer}");
    }
    let (status, _) = admin(&server, Method::DELETE, shop, "").await?;
    ensure!(status == 200 && admin(&server, Method::DELETE, shop, "").await?.0 == 200, "{status}");
    ensure!(
        send(&server, "shop").await? == 200 && send(&server, "shop").await? == 200,
        "the configuration holds again"
    );
    server.stop().await
}

/// Waits until all partitions take writes, so that the rings change no more.
async fn all_active(server: &Server, partitions: usize) -> Result<()> {
    wait::until("all partitions are active", Duration::from_secs(60), || async {
        let ring = server.http().get(server.url("/ring")).send().await.map_err(|e| e.to_string())?;
        let ring: Value = ring.json().await.map_err(|e| e.to_string())?;
        let active = |p: &&Value| p["state"] == "active" && p["leader"].is_string();
        let count = ring["partitions"].as_array().into_iter().flatten().filter(active).count();
        if count == partitions { Ok(()) } else { Err(format!("{count} are")) }
    })
    .await
}

/// The partitions whose heads hold something, by signal.
async fn filled(server: &Server) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let ring: Value = server.http().get(server.url("/ring")).send().await?.json().await?;
    let mut filled: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for partition in ring["partitions"].as_array().context("partitions")? {
        let name = partition["partition"].as_str().context("a name")?;
        let (signal, _) = name.split_once('-').context("a signal")?;
        if partition["head_bytes"].as_u64().with_context(|| format!("{name} has no leader"))? > 0 {
            filled.entry(signal.to_owned()).or_default().insert(name.to_owned());
        }
    }
    Ok(filled)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shuffle_shard_bounds_where_a_tenant_goes() -> Result<()> {
    const PARTITIONS: usize = 8;
    let partitions = PARTITIONS.to_string();
    let configured = [
        ("BONGHWA_INGESTER__PARTITIONS_PER_SIGNAL", partitions.as_str()),
        ("BONGHWA_LIMITS__NAMED__SHUFFLE_SHARD", "1"),
        ("BONGHWA_LIMITS__NAMED__METRICS_RATE", "0"),
    ];
    let mut server = Server::start_with(Store::Local, &configured).await?;
    all_active(&server, 3 * PARTITIONS).await?;
    let mut generator = Generator::new(seed::draw("shuffle shard"), 0, Generator::now());
    let mut send = async |server: &Server, tenant: &str| -> Result<()> {
        for signal in Signal::ALL {
            let batch = generator.batch(signal, 500);
            let request = server.http().post(format!("{}{}", server.otlp_http(), signal.path())).body(batch.body);
            let request = request.header("content-type", "application/x-protobuf").header("x-scope-orgid", tenant);
            let answer = request.send().await?;
            let (status, text) = (answer.status(), answer.text().await?);
            ensure!(status == 200, "{tenant}: {signal:?}: {status} {text}");
        }
        Ok(())
    };
    let sizes =
        |filled: &BTreeMap<String, BTreeSet<String>>| -> Vec<usize> { filled.values().map(BTreeSet::len).collect() };
    ensure!(filled(&server).await?.is_empty(), "there is something before anything was sent");
    for _ in 0..3 {
        send(&server, "shop").await?;
    }
    let narrow = filled(&server).await?;
    ensure!(sizes(&narrow) == [1, 1, 1], "with a shard of 1: {narrow:?}");

    // A wider shard has the narrower one's partition, and no restart is needed.
    let set = server.http().put(server.url("/admin/limits/shop")).json(&json!({ "shuffle_shard": 2 })).send().await?;
    ensure!(set.status() == 200, "{}", set.text().await?);
    let shown: Value = server.http().get(server.url("/admin/limits/shop")).send().await?.json().await?;
    ensure!(shown["source"] == "run time" && shown["limits"]["shuffle_shard"] == 2, "{shown}");
    for _ in 0..3 {
        send(&server, "shop").await?;
    }
    let wider = filled(&server).await?;
    ensure!(sizes(&wider).iter().all(|n| (1..=2).contains(n)) && sizes(&wider).contains(&2), "with 2: {wider:?}");
    ensure!(narrow.iter().all(|(signal, own)| own.is_subset(&wider[signal])), "{narrow:?} became {wider:?}");

    // One without a shard uses more.
    send(&server, "default").await?;
    let all = filled(&server).await?;
    ensure!(sizes(&all).iter().all(|n| *n > 2), "without a shard: {all:?}");
    let rows = server.http().post(server.url("/api/v1/sql")).header("x-scope-orgid", "shop");
    let rows: Value = rows.json(&json!({ "query": "SELECT count(*) AS n FROM logs" })).send().await?.json().await?;
    ensure!(rows == json!([{ "n": 6 * 500 }]), "what lies in the old shard and in the new is found: {rows}");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_floods_queries_keeps_no_other_waiting() -> Result<()> {
    /// What runs at once by default.
    const TURNS: usize = 16;
    const FLOOD: usize = 3 * TURNS;
    const QUERY: &str = "SELECT a.body FROM logs a, logs b, generate_series(1, 100) c";
    let mut server = Server::start_with(Store::Local, &[("BONGHWA_QUERY__TIMEOUT", "10m")]).await?;
    let batch = Generator::new(seed::draw("flood"), 0, Generator::now()).batch(Signal::Logs, 500);
    for tenant in ["noisy", "quiet"] {
        let request = server.http().post(server.url("/v1/logs")).header("x-scope-orgid", tenant);
        let request = request.header("content-type", "application/x-protobuf").body(batch.body.clone());
        ensure!(request.send().await?.status() == 200);
    }
    let ask = |tenant: &str, query: &str| {
        let request = server.http().post(server.url("/api/v1/sql")).header("x-scope-orgid", tenant);
        request.json(&json!({ "query": query })).send()
    };
    // Nobody reads these answers on, so that their queries neither end nor take a processor.
    let begun = Arc::new(AtomicUsize::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let (answer, begun) = (ask("noisy", QUERY), begun.clone());
        flood.spawn(async move {
            let answer = answer.await;
            begun.fetch_add(1, Ordering::SeqCst);
            answer
        });
    }
    let waiting = format!("bonghwa_queries_waiting{{tenant=\"noisy\"}} {}", FLOOD - TURNS);
    let full = || floods(&server, &begun, TURNS, &waiting);
    wait::until("the flood has all turns", Duration::from_secs(60), full).await?;
    for _ in 0..10 {
        let rows: Value = ask("quiet", "SELECT count(*) AS n FROM logs").await?.json().await?;
        ensure!(rows == json!([{ "n": 500 }]), "{rows}");
    }
    let count = begun.load(Ordering::SeqCst);
    ensure!(count == TURNS, "{count} queries of the flood have begun: it did not fill its turns while others asked");
    flood.abort_all();
    while flood.join_next().await.is_some() {}
    let rows: Value = ask("noisy", "SELECT count(*) AS n FROM logs").await?.json().await?;
    ensure!(rows == json!([{ "n": 500 }]), "after its flood, the tenant itself is answered {rows}");
    server.stop().await.context("stopping")
}

/// Whether so many queries of the flood have begun, and the metrics show how many wait.
async fn floods(server: &Server, begun: &AtomicUsize, turns: usize, waiting: &str) -> Result<(), String> {
    let metrics = server.http().get(server.url("/metrics")).send().await.map_err(|e| e.to_string())?;
    let metrics = metrics.text().await.map_err(|e| e.to_string())?;
    let shown: Vec<&str> = metrics.lines().filter(|line| line.starts_with("bonghwa_queries")).collect();
    let count = begun.load(Ordering::SeqCst);
    if count == turns && shown.contains(&waiting) { Ok(()) } else { Err(format!("{count} begun; {shown:?}")) }
}
