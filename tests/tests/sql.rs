//! SQL over HTTP only reads, says what is wrong with a query, and ends what never would.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bonghwa_testkit::send::Outcome;
use bonghwa_testkit::{Generator, Server, Signal, Store};
use serde_json::{Value, json};

const ROWS: usize = 500;

async fn server(env: &[(&str, &str)]) -> Result<Server> {
    let server = Server::start_with(Store::Local, env).await?;
    let mut generator = Generator::new(7, 0, Generator::now() - 3_600_000_000_000);
    for signal in Signal::ALL {
        match server.sender().send(&generator.batch(signal, ROWS)).await {
            Outcome::Acked => {}
            other => bail!("{signal:?}: {other:?}"),
        }
    }
    Ok(server)
}

/// Queries that are refused: status, a word of the sentence that says why.
const REFUSED: [(&str, u16, &str); 38] = [
    // Writes.
    ("INSERT INTO logs (body) VALUES ('x')", 400, "INSERT"),
    ("INSERT INTO logs SELECT * FROM logs", 400, "INSERT"),
    ("UPDATE logs SET body = 'x'", 400, "UPDATE"),
    ("DELETE FROM spans", 400, "DELETE"),
    ("DROP TABLE metrics", 400, "DROP"),
    ("DROP VIEW IF EXISTS logs", 400, "DROP"),
    ("TRUNCATE TABLE logs", 400, "TRUNCATE"),
    ("ALTER TABLE logs ADD COLUMN x INT", 400, "ALTER"),
    ("CREATE TABLE t AS SELECT 1", 400, "CREATE"),
    ("CREATE VIEW v AS SELECT * FROM logs", 400, "CREATE"),
    ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", 400, "CREATE"),
    ("CREATE FUNCTION f(x INT) RETURNS INT RETURN x", 400, "CREATE"),
    ("COPY logs TO '/tmp/out.parquet'", 400, "COPY"),
    ("COPY (SELECT 1) TO 'out.csv' STORED AS CSV", 400, "COPY"),
    ("SET datafusion.execution.batch_size = 1", 400, "SET"),
    ("RESET datafusion.execution.batch_size", 400, "RESET"),
    ("PREPARE p AS SELECT 1", 400, "PREPARE"),
    ("MERGE INTO logs USING spans ON true WHEN MATCHED THEN DELETE", 400, "MERGE"),
    ("EXPLAIN INSERT INTO logs SELECT * FROM logs", 400, "INSERT"),
    ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", 400, "CREATE"),
    ("WITH x AS (SELECT 1) INSERT INTO logs SELECT * FROM x", 400, "INSERT"),
    ("SELECT 1; DROP TABLE logs", 400, "one at a time"),
    ("BEGIN", 400, ""),
    ("SELECT * INTO t FROM logs", 400, "INTO"),
    // Other people's files.
    ("SELECT * FROM '/etc/passwd'", 400, "/etc/passwd"),
    ("SELECT * FROM read_csv('/etc/passwd')", 400, "read_csv"),
    ("SELECT * FROM read_parquet('x.parquet')", 400, "read_parquet"),
    // Mistakes.
    ("", 400, "empty"),
    ("  -- nothing", 400, "empty"),
    ("SELEKT 1", 400, "SELEKT"),
    ("SELECT * FROM logs WHERE", 400, ""),
    ("SELECT * FROM lgos", 400, "lgos"),
    ("SELECT no_such_function(1)", 400, "no_such_function"),
    ("SELECT severity_numbr FROM logs", 400, "severity_numbr"),
    ("SELECT name FROM spans GROUP BY kind", 400, "name"),
    ("SELECT 'x", 400, ""),
    ("SELECT cast('x' AS INT)", 400, "x"),
    ("SELECT * FROM logs ORDER BY 99", 400, "99"),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_reads() -> Result<()> {
    let mut server = server(&[]).await?;
    let mut failures = vec![];
    for (query, status, word) in REFUSED {
        let answer = server.sql().ask(query, "application/json").await?;
        let text = answer.text();
        if answer.status != status || !text.contains(word) || text.trim().is_empty() {
            failures.push(format!("{query}\n  answers {}: {text}\n  instead of {status} with {word:?}", answer.status));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    for table in ["logs", "spans", "metrics"] {
        let count = server.sql().integer(&format!("SELECT count(*) FROM {table}")).await?;
        ensure!(count == ROWS as i64, "{table}: {count}");
    }
    server.check_alive()?;
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn reads() -> Result<()> {
    let mut server = server(&[]).await?;
    for query in [
        "SELECT 1 + 1 AS two",
        "WITH slow AS (SELECT * FROM spans ORDER BY duration_ns DESC LIMIT 5) SELECT name, duration_ns FROM slow",
        "SELECT l.body, s.name FROM logs l LEFT JOIN spans s ON l.trace_id = s.trace_id LIMIT 1",
        "EXPLAIN SELECT count(*) FROM logs WHERE service_name = 'payment'",
        "EXPLAIN ANALYZE SELECT count(*) FROM logs",
        "SHOW TABLES",
        "SHOW COLUMNS FROM spans",
        "DESCRIBE logs",
        "SELECT service_name, date_trunc('minute', time) AS m, count(*) FROM logs GROUP BY ALL",
        "SELECT service_name, approx_percentile_cont(duration_ns, 0.99) FROM spans GROUP BY 1",
        "SELECT row_number() OVER (PARTITION BY service_name ORDER BY time) FROM logs LIMIT 3",
    ] {
        let rows = server.sql().rows(query).await?;
        ensure!(!rows.is_empty(), "no rows: {query}");
    }
    let none = server.sql().rows("SELECT * FROM logs WHERE service_name = 'nobody'").await?;
    ensure!(none.is_empty(), "{none:?}");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_holds_the_same_rows() -> Result<()> {
    let mut server = server(&[]).await?;
    let query = "SELECT time, body, severity_number, attributes FROM logs ORDER BY time LIMIT 50";
    let rows = server.sql().rows(query).await?;
    ensure!(rows.len() == 50 && rows[0]["attributes"]["record.id"] == "r0", "{:?}", rows[0]);

    let lines = server.sql().ask(query, "application/x-ndjson").await?;
    ensure!(lines.content_type == "application/x-ndjson", "{}", lines.content_type);
    let parsed = lines.text().lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    ensure!(parsed == rows, "NDJSON differs from JSON");

    let csv = server.sql().ask(query, "text/csv").await?;
    ensure!(csv.content_type.starts_with("text/csv"), "{}", csv.content_type);
    let text = csv.text();
    ensure!(text.lines().count() == 51 && text.starts_with("time,body,severity_number,attributes"), "{text}");

    // No preference: JSON.
    let any = server.sql().ask(query, "*/*").await?;
    ensure!(any.content_type == "application/json", "{}", any.content_type);
    let other = server.sql().ask(query, "image/png").await?;
    ensure!(other.status == 406 && other.text().contains("text/csv"), "{}: {}", other.status, other.text());
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_told_what_is_wrong() -> Result<()> {
    let mut server = server(&[]).await?;
    for (body, word) in [
        ("", ""),
        ("SELECT 1", ""),
        ("{}", "query"),
        (r#"{"query": 5}"#, "query"),
        (r#"{"sql": "SELECT 1"}"#, "query"),
        (r#"{"query": "SELECT 1""#, ""),
    ] {
        let request = server.http().post(server.url("/api/v1/sql")).header("content-type", "application/json");
        let answer = request.body(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status == 400 && text.contains(word) && !text.is_empty(), "{body}: {status}: {text}");
    }
    let put = server.http().put(server.url("/api/v1/sql")).body("{}").send().await?;
    ensure!(put.status() == 405, "PUT: {}", put.status());
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn monstrous_queries_do_not_harm_the_server() -> Result<()> {
    let mut server = server(&[]).await?;
    let deep = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
    let wide = format!("SELECT {} FROM logs", vec!["body"; 20_000].join(", "));
    let ors = format!("SELECT count(*) FROM logs WHERE {}", vec!["severity_number = 1"; 20_000].join(" OR "));
    let unions = vec!["SELECT 1"; 5_000].join(" UNION ALL ");
    for query in [deep, wide, ors, unions] {
        let answer = server.sql().ask(&query, "application/json").await?;
        let start: String = query.chars().take(60).collect();
        let fine = answer.status.is_success() || [400, 413, 422].contains(&answer.status.as_u16());
        ensure!(fine, "{start}...: {}: {}", answer.status, answer.text());
        server.check_alive().context(start)?;
    }
    // It is refused before it is read: who still writes may find the connection closed instead.
    let long = format!("SELECT '{}'", "x".repeat(50_000_000));
    if let Ok(answer) = server.sql().ask(&long, "application/json").await {
        ensure!(answer.status == 413, "{}: {}", answer.status, answer.text());
    }
    let rows = server.sql().rows("SELECT count(*) AS n FROM logs").await?;
    ensure!(rows == [json!({ "n": ROWS })], "{rows:?}");
    server.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_and_greedy_queries_end() -> Result<()> {
    let mut server = server(&[("BONGHWA_QUERY__TIMEOUT", "2s"), ("BONGHWA_QUERY__MEMORY_BYTES", "64MiB")]).await?;
    let endless = [
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM logs a, logs b, logs c, logs d WHERE a.body || b.body < c.body || d.body",
    ];
    for query in endless {
        let began = Instant::now();
        let answer = server.sql().ask(query, "application/json").await?;
        let took = began.elapsed();
        let text = answer.text();
        ensure!(answer.status == 422, "{query}: {}: {text}", answer.status);
        ensure!(took < Duration::from_secs(20), "{query} was stopped only after {took:?}");
    }
    let greedy = "SELECT a.body || b.body AS x FROM logs a, logs b, spans c ORDER BY x DESC";
    let answer = server.sql().ask(greedy, "application/json").await?;
    ensure!(answer.status == 422, "{greedy}: {}: {}", answer.status, answer.text());
    let peak = server.memory()?.peak;
    ensure!(peak < 1 << 30, "the server took {} MiB", peak >> 20);
    // And it answers on.
    let rows = server.sql().rows("SELECT count(*) AS n FROM logs").await?;
    ensure!(rows == [json!({ "n": ROWS })], "{rows:?}");
    server.stop().await
}
