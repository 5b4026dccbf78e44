//! Telemetry sent, and what SQL must answer about it.

use anyhow::{Context, Result, ensure};
use bonghwa_testkit::generate::{ROUTES, SERVICES, metric_name};
use bonghwa_testkit::send::Outcome;
use bonghwa_testkit::sql::Sql;
use bonghwa_testkit::{Generator, Record, Server, Signal};
use serde_json::{Value, json};

const BATCHES: usize = 10;
const BATCH: usize = 300;

/// What was sent, of all three signals.
pub struct Data {
    generator: Generator,
    records: [Vec<Record>; 3],
}

/// A query and its answer.
pub struct Question {
    query: String,
    answer: Vec<Value>,
}

impl Data {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        // An hour ago: a flush has no reason to wait for more of it.
        let base_time = Generator::now() - 3_600_000_000_000;
        Data { generator: Generator::new(seed, 0, base_time), records: Default::default() }
    }

    /// Sends more of each signal; all of it must be acked.
    pub async fn send(&mut self, server: &Server) -> Result<()> {
        let sender = server.sender();
        for (signal, records) in Signal::ALL.into_iter().zip(&mut self.records) {
            for _ in 0..BATCHES {
                let batch = self.generator.batch(signal, BATCH);
                match sender.send(&batch).await {
                    Outcome::Acked => records.extend(batch.records),
                    other => anyhow::bail!("{signal:?}: {other:?}"),
                }
            }
        }
        Ok(())
    }

    /// Questions about all that was sent.
    pub fn questions(&self) -> Vec<Question> {
        let [logs, metrics, spans] = &self.records;
        let mut questions = vec![];
        for (signal, records) in [(Signal::Logs, logs), (Signal::Traces, spans), (Signal::Metrics, metrics)] {
            questions.extend(about_all(signal, records));
        }
        for (table, records) in [("logs", logs), ("spans", spans)] {
            questions.extend(about_attributes(table, records));
        }
        questions.extend(about_logs(logs));
        questions.extend(about_spans(spans));
        questions.extend(about_metrics(metrics));
        questions
    }
}

fn question(query: impl Into<String>, answer: Value) -> Question {
    let answer = match answer {
        Value::Array(rows) => rows,
        row => vec![row],
    };
    Question { query: query.into(), answer }
}

fn about_all(signal: Signal, records: &[Record]) -> Vec<Question> {
    let (table, sent) = (signal.table(), signal.sent());
    let services: Vec<Value> = sorted(&SERVICES)
        .into_iter()
        .map(|(i, name)| json!({ "service_name": name, "n": count(records, |r| r.service == i) }))
        .collect();
    let routes: Vec<Value> = sorted(&ROUTES)
        .into_iter()
        .map(|(i, name)| json!({ "route": name, "n": count(records, |r| r.route == i) }))
        .collect();
    vec![
        question(format!("SELECT count(*) AS n FROM {table} WHERE {sent}"), json!({ "n": records.len() })),
        question(
            format!("SELECT service_name, count(*) AS n FROM {table} WHERE {sent} GROUP BY 1 ORDER BY 1"),
            Value::Array(services),
        ),
        question(
            format!(
                "SELECT attributes['http.route'] AS route, count(*) AS n FROM {table} WHERE {sent} GROUP BY 1 ORDER BY 1"
            ),
            Value::Array(routes),
        ),
        question(
            format!("SELECT count(*) AS n FROM {table} WHERE service_name = 'payment' AND \"http.route\" = '/cart'"),
            json!({ "n": count(records, |r| SERVICES[r.service] == "payment" && ROUTES[r.route] == "/cart") }),
        ),
        question(
            format!("SELECT count(*) AS n FROM {table} WHERE resource['k8s.pod.name'] = 'checkout-7d9f' AND {sent}"),
            json!({ "n": count(records, |r| SERVICES[r.service] == "checkout") }),
        ),
    ]
}

fn about_attributes(table: &str, records: &[Record]) -> Vec<Question> {
    let total: i64 = records.iter().map(|r| r.amount).sum();
    let most = records.iter().map(|r| r.amount).max();
    let one = &records[records.len() / 2];
    vec![
        question(
            format!("SELECT sum(attributes['amount']) AS total, max(\"amount\") AS most FROM {table}"),
            json!({ "total": total, "most": most }),
        ),
        question(
            format!("SELECT count(*) AS n FROM {table} WHERE \"amount\" BETWEEN 1000 AND 1999 AND NOT \"failed\""),
            json!({ "n": count(records, |r| (1000..2000).contains(&r.amount) && !r.error) }),
        ),
        question(
            format!("SELECT \"amount\", \"failed\" FROM {table} WHERE attributes['record.id'] = 'r{}'", one.id),
            json!({ "amount": one.amount, "failed": one.error }),
        ),
        question(format!("SELECT count(DISTINCT \"record.id\") AS n FROM {table}"), json!({ "n": records.len() })),
    ]
}

fn about_logs(records: &[Record]) -> Vec<Question> {
    let one = &records[records.len() / 3];
    let mut latest: Vec<u64> = records.iter().filter(|r| r.error).map(|r| r.id).collect();
    latest.sort_unstable_by(|a, b| b.cmp(a));
    let latest: Vec<Value> = latest.iter().take(10).map(|id| json!({ "id": format!("r{id}") })).collect();
    vec![
        question(
            "SELECT count(*) AS n FROM logs WHERE severity_number >= 17",
            json!({ "n": count(records, |r| r.error) }),
        ),
        question(
            format!("SELECT severity_text, \"record.id\" AS id FROM logs WHERE body LIKE 'request {} for %'", one.id),
            json!({ "severity_text": if one.error { "ERROR" } else { "INFO" }, "id": format!("r{}", one.id) }),
        ),
        question(
            "SELECT \"record.id\" AS id FROM logs WHERE severity_text = 'ERROR' ORDER BY time DESC LIMIT 10",
            Value::Array(latest),
        ),
    ]
}

fn about_spans(records: &[Record]) -> Vec<Question> {
    let total: i64 = records.iter().map(|r| r.amount * 1_000).sum();
    vec![
        question("SELECT sum(duration_ns) AS total FROM spans", json!({ "total": total })),
        question(
            "SELECT count(*) AS n FROM spans WHERE status_code = 'error' AND kind = 'server'",
            json!({ "n": count(records, |r| r.error) }),
        ),
        question(
            "SELECT count(*) AS n FROM spans WHERE duration_ns > 5000000",
            json!({ "n": count(records, |r| r.amount > 5_000) }),
        ),
    ]
}

fn about_metrics(records: &[Record]) -> Vec<Question> {
    let mut names: Vec<&str> = (0..5).map(|id| metric_name(&Record { id, ..records[0].clone() })).collect();
    names.sort_unstable();
    let by_name: Vec<Value> = names
        .iter()
        .map(|name| {
            let of_name = || records.iter().filter(|r| metric_name(r) == *name);
            let total: f64 = of_name().map(|r| r.id as f64).sum();
            json!({ "name": name, "n": of_name().count(), "total": total })
        })
        .collect();
    vec![
        question(
            "SELECT name, count(*) AS n, sum(coalesce(value, sum)) AS total FROM metrics \
             WHERE name <> 'up' GROUP BY 1 ORDER BY 1",
            Value::Array(by_name),
        ),
        question(
            "SELECT count(*) AS n FROM metrics WHERE type = 'histogram'",
            json!({ "n": count(records, |r| metric_name(r) == "latency") }),
        ),
    ]
}

fn count(records: &[Record], which: impl Fn(&Record) -> bool) -> usize {
    records.iter().filter(|r| which(r)).count()
}

/// Names with their index, in SQL's order.
fn sorted(names: &[&'static str]) -> Vec<(usize, &'static str)> {
    let mut names: Vec<_> = names.iter().copied().enumerate().collect();
    names.sort_unstable_by_key(|(_, name)| *name);
    names
}

/// Asks all of them and compares the answers.
pub async fn ask(sql: &Sql, questions: &[Question], when: &str) -> Result<()> {
    for question in questions {
        let rows = sql.rows(&question.query).await.with_context(|| when.to_owned())?;
        ensure!(
            rows == question.answer,
            "{when}: {}\n answers {}\n instead of {}",
            question.query,
            Value::Array(rows),
            Value::Array(question.answer.clone())
        );
    }
    Ok(())
}
