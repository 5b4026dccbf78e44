//! Columns, attributes, tables, by all their names.

use bonghwa_model::{Signal, Value};

use super::cluster::Cluster;
use super::data::{self, Log};
use super::{error, rows, table};
use crate::QueryError;

async fn filled(flushed: bool) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.append(data::numbered("a", 0, 6));
    cluster.append(data::span("a", 1u128.to_be_bytes(), 1, &[("n", Value::Int(0)), ("only.span", Value::Bool(true))]));
    if flushed {
        cluster.flush(Signal::Logs, true).await;
        cluster.flush(Signal::Traces, true).await;
    }
    cluster
}

#[tokio::test]
async fn attributes_by_all_their_spellings() {
    for flushed in [false, true] {
        let cluster = filled(flushed).await;
        for (query, header, expected) in [
            ("SELECT attributes['n'] FROM logs ORDER BY time LIMIT 2", "attributes['n']", &["0", "1"][..]),
            ("SELECT \"user.name\" FROM logs ORDER BY time LIMIT 2", "user.name", &["user-0", "user-1"]),
            ("SELECT resource['service.name'] FROM logs LIMIT 1", "resource['service.name']", &["a"]),
            ("SELECT \"service.name\" FROM logs LIMIT 1", "service.name", &["a"]),
            ("SELECT l.attributes['n'] AS x FROM logs AS l ORDER BY l.\"n\" DESC LIMIT 1", "x", &["5"]),
            ("SELECT logs.attributes['n'] + 1 AS x FROM logs ORDER BY x LIMIT 1", "x", &["1"]),
            ("SELECT attributes['never_seen'] FROM logs LIMIT 1", "attributes['never_seen']", &["NULL"]),
            (
                "SELECT attributes['even'], count(*) AS n FROM logs GROUP BY attributes['even'] ORDER BY attributes['even']",
                "attributes['even'] | n",
                &["false | 3", "true | 3"],
            ),
            (
                "SELECT \"user.name\" AS \"who\", count(*) FROM logs GROUP BY \"who\" ORDER BY \"who\" LIMIT 1",
                "who | count(*)",
                &["user-0 | 2"],
            ),
            (
                "SELECT count(*) FROM logs WHERE attributes['n'] IN (1, 2) AND NOT attributes['even']",
                "count(*)",
                &["1"],
            ),
            ("SELECT x FROM (SELECT attributes['n'] AS x FROM logs) t ORDER BY x LIMIT 1", "x", &["0"]),
            (
                "SELECT attributes['n'] FROM (SELECT attributes FROM logs) t ORDER BY 1 LIMIT 1",
                "attributes['n']",
                &["0"],
            ),
            (
                "WITH t AS (SELECT attributes['n'] AS x, * FROM logs) SELECT x, body_type FROM t ORDER BY x LIMIT 1",
                "x | body_type",
                &["0 | string"],
            ),
            (
                "SELECT l.attributes['n'], s.attributes['only.span'] FROM logs l JOIN spans s ON l.trace_id = s.trace_id AND l.attributes['n'] = s.attributes['n']",
                "attributes['n'] | attributes['only.span']",
                &["0 | true"],
            ),
            (
                "SELECT count(*) FROM logs l WHERE EXISTS (SELECT 1 FROM traces t WHERE t.\"n\" = l.\"n\")",
                "count(*)",
                &["1"],
            ),
            (
                "SELECT count(*) FROM logs UNION ALL SELECT count(*) FROM spans WHERE \"only.span\" ORDER BY 1",
                "count(*)",
                &["1", "6"],
            ),
            (
                "SELECT json_value(resource, 'host.cpus') FROM logs LIMIT 1",
                "json_value(logs.resource,Utf8(\"host.cpus\"))",
                &["4"],
            ),
            ("SELECT count(*) FROM logs WHERE has_token(body, 'req3')", "count(*)", &["1"]),
        ] {
            let (found, rows) = table(&cluster, query).await.unwrap_or_else(|e| panic!("{query}: {e}"));
            assert_eq!(rows, expected, "{query}");
            assert_eq!(found, header, "{query}");
        }
    }
}

#[tokio::test]
async fn a_star_shows_the_base_columns() {
    let cluster = filled(true).await;
    let base = table(&cluster, "SELECT * FROM logs LIMIT 1").await.unwrap().0;
    assert!(base.starts_with("time | observed_time | service_name | severity_number"), "{base}");
    for query in [
        "SELECT * FROM logs WHERE attributes['n'] = 1",
        "SELECT l.* FROM logs l WHERE \"n\" = 1",
        "SELECT * FROM (SELECT * FROM logs WHERE attributes['n'] = 1) t",
        "WITH t AS (SELECT * FROM logs WHERE attributes['n'] = 1) SELECT * FROM t",
        "SELECT * FROM logs WHERE attributes['n'] = 1 UNION ALL SELECT * FROM logs WHERE false",
    ] {
        let (header, rows) = table(&cluster, query).await.unwrap_or_else(|e| panic!("{query}: {e}"));
        assert_eq!((header.as_str(), rows.len()), (base.as_str(), 1), "{query}");
    }
    let joined = "SELECT * FROM logs l JOIN logs m ON l.attributes['n'] = m.attributes['n']";
    let (header, rows) = table(&cluster, joined).await.unwrap();
    assert_eq!((header, rows.len()), (format!("{base} | {base}"), 6));
}

#[tokio::test]
async fn types_follow_the_values() {
    let cluster = Cluster::start().await;
    let record = |key, value| Log { time: data::START, attributes: vec![(key, value)], ..Default::default() };
    let records = [
        record("mixed", Value::Int(1)),
        record("mixed", Value::Str("one".into())),
        record("number", Value::Int(1)),
        record("number", Value::Double(0.5)),
        record("list", Value::Array(vec![Value::Int(1), Value::Str("x".into())])),
    ];
    cluster.append(data::logs("a", &records[..3]));
    cluster.flush(Signal::Logs, true).await;
    cluster.append(data::logs("a", &records[3..]));
    let types = "SELECT arrow_typeof(\"mixed\"), arrow_typeof(\"number\"), arrow_typeof(\"list\") FROM logs LIMIT 1";
    assert_eq!(rows(&cluster, types).await, ["Utf8 | Float64 | Utf8"]);
    let values = "SELECT \"mixed\" FROM logs WHERE \"mixed\" IS NOT NULL ORDER BY 1";
    assert_eq!(rows(&cluster, values).await, ["1", "one"]);
    assert_eq!(rows(&cluster, "SELECT sum(\"number\") FROM logs").await, ["1.5"]);
    assert_eq!(rows(&cluster, "SELECT \"list\" FROM logs WHERE \"list\" IS NOT NULL").await, [r#"[1,"x"]"#]);
}

#[tokio::test]
async fn what_is_no_number_is_null_where_one_is_asked_for() {
    let cluster = Cluster::start().await;
    let record = |code, ratio: &str| Log {
        time: data::START,
        attributes: vec![("code", code), ("limit", Value::Int(500)), ("ratio", Value::Str(ratio.into()))],
        ..Default::default()
    };
    cluster.append(data::logs("a", &[record(Value::Int(200), "0.5"), record(Value::Int(500), "-1")]));
    cluster.flush(Signal::Logs, true).await;
    cluster.append(data::logs("a", &[record(Value::Str("N/A".into()), "half"), record(Value::Double(500.5), "2")]));
    for (filter, expected) in [
        ("attributes['code'] >= 500", "2"),
        ("500 <= \"code\"", "2"),
        ("attributes['code'] = 500", "1"),
        ("attributes['code'] <> 500", "2"),
        ("attributes['code'] = '500'", "1"),
        ("attributes['code'] = 'N/A'", "1"),
        ("attributes['code'] BETWEEN 100 AND 500", "2"),
        ("attributes['code'] IN (200, 500, 7)", "2"),
        ("attributes['code'] IN ('200', 'N/A')", "2"),
        ("attributes['code'] IN (SELECT attributes['limit'] FROM logs)", "1"),
        ("CASE attributes['code'] WHEN 500 THEN true ELSE false END", "1"),
        ("attributes['code'] + 1 > 500", "2"),
        ("attributes['code'] * attributes['ratio'] < 0", "1"),
        ("attributes['code'] > attributes['limit']", "1"),
        ("attributes['code'] % 100 = 0 AND time >= '2026-01-01T00:00:00Z'", "2"),
    ] {
        let query = format!("SELECT count(*) FROM logs WHERE {filter}");
        assert_eq!(rows(&cluster, &query).await, [expected], "{filter}");
    }
    for (query, expected) in [
        ("WITH t AS (SELECT * FROM logs) SELECT count(*) FROM t WHERE attributes['ratio'] > 0", "2"),
        ("WITH t AS (SELECT * FROM logs) SELECT count(*) FROM t WHERE t.attributes['code'] BETWEEN 500 AND 501", "2"),
        ("SELECT count(*) FROM (SELECT attributes['code'] AS c FROM logs) t WHERE c > 200", "2"),
        ("SELECT count(*) FROM (SELECT attributes['r'] AS c FROM (SELECT * FROM logs) u) t WHERE c > 200", "0"),
        ("SELECT sum(attributes['code'] * 1) FROM logs", "1200.5"),
        ("SELECT sum(attributes['code']) FROM logs", "1200.5"),
        ("SELECT avg(l.\"ratio\") FROM logs l", "0.5"),
        ("SELECT approx_percentile_cont(attributes['code'], 1.0) FROM logs", "500.5"),
        ("SELECT approx_percentile_cont(1.0) WITHIN GROUP (ORDER BY attributes['code']) FROM logs", "500.5"),
        ("SELECT sum(attributes['never.sent']) FROM logs", "NULL"),
        ("SELECT sum(attributes['limit']) FROM logs", "2000"),
        ("SELECT max(attributes['code'] + 0) FROM logs GROUP BY service_name", "500.5"),
        ("SELECT count(*) FROM logs a JOIN logs b ON a.attributes['code'] = b.attributes['limit']", "4"),
        (
            "SELECT count(*) FROM logs a WHERE EXISTS \
             (SELECT 1 FROM logs b WHERE a.attributes['code'] = b.attributes['limit'])",
            "1",
        ),
        ("SELECT max(c) FROM (SELECT attributes['code'] c FROM logs UNION ALL SELECT body FROM logs) t", "N/A"),
    ] {
        assert_eq!(rows(&cluster, query).await, [expected], "{query}");
    }
    let unread = error(&cluster, "SELECT sum(body) FROM logs").await.to_string();
    assert!(unread.contains("sum cannot take") && unread.contains("TRY_CAST"), "{unread}");
    // Who asks for a strict cast gets one.
    let strict = error(&cluster, "SELECT CAST(attributes['code'] AS BIGINT) FROM logs").await;
    assert!(matches!(strict, QueryError::Execution(_)), "{strict:?}");
    let header = table(&cluster, "SELECT attributes['code'] + 1 FROM logs LIMIT 1").await.unwrap().0;
    assert_eq!(header, "logs.attributes['code'] + Int64(1)");
}

#[tokio::test]
async fn mistakes_are_told() {
    let cluster = filled(true).await;
    for (query, parts) in [
        ("SELECT servce_name FROM logs", &["servce_name", "service_name"][..]),
        ("SELECT \"user.nam\" FROM logs", &["user.nam", "\"user.name\"", "attributes['key']"]),
        ("SELECT * FROM log", &["log", "logs, spans"]),
        ("SELECT frobnicate(body) FROM logs", &["frobnicate"]),
        ("SELEC 1", &["Line: 1"]),
        ("SELECT 1 +", &["no SQL"]),
        ("SELECT body FROM logs GROUP BY time", &["body"]),
        ("SELECT body + 1 FROM logs", &["Utf8 + Int64"]),
    ] {
        match error(&cluster, query).await {
            QueryError::Invalid(text) => {
                parts.iter().for_each(|part| assert!(text.contains(part), "{query}: {text}"));
            }
            found @ QueryError::NoColumn { .. } => {
                let text = found.to_string();
                parts.iter().for_each(|part| assert!(text.contains(part), "{query}: {text}"));
            }
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn tables_are_shown_and_described() {
    let cluster = filled(false).await;
    let shown = rows(&cluster, "SHOW TABLES").await;
    for name in ["logs", "metrics", "spans"] {
        assert!(shown.iter().any(|row| row.contains(&format!("public | {name} |"))), "{shown:?}");
    }
    assert!(rows(&cluster, "DESCRIBE logs").await[0].starts_with("time | Timestamp"));
    assert!(rows(&cluster, "SHOW COLUMNS FROM spans").await.len() > 20);
}
