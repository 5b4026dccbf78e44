//! `bench compaction`: what a compaction makes of the blocks of many flushes, what it costs,
//! and what queries gain. All in this process, over a directory.

mod cluster;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bonghwa_benches::sets::Set;
use bonghwa_compactor::CompactorOptions;
use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::logs::{LogBatch, LogRow};
use bonghwa_model::{Kind, Signal, TenantId, Value};
use bonghwa_query::Engine;
use bonghwa_testkit::seed;
use bonghwa_wire::DecodeOptions;
use futures::TryStreamExt;
use rand::Rng as _;
use serde::Serialize;

use crate::Options;
use crate::process;
use crate::report::{self, Align, Spread, Table};
use cluster::{Cluster, tenant};

const TENANTS: usize = 200;
const RECORDS_PER_HOUR: i64 = 60;
const HOUR: i64 = 3_600_000_000_000;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000_000_000;
/// Requests that one flush of the sets holds.
const REQUESTS_PER_FLUSH: usize = 50;
const QUERY_RUNS: usize = 7;

/// One set before and after.
#[derive(Serialize)]
struct Outcome {
    set: String,
    items: u64,
    files: [usize; 2],
    row_groups: [usize; 2],
    bytes_per_item: [f64; 2],
    items_per_cpu_second: f64,
    seconds: f64,
    memory_budget: u64,
    counted_peak: u64,
    resident_before: u64,
    resident_peak: u64,
    queries: Vec<QueryTimes>,
}

#[derive(Serialize)]
struct QueryTimes {
    query: String,
    milliseconds: [Spread; 2],
}

pub async fn run(options: &Options) -> Result<()> {
    let mut outcomes = Vec::new();
    let ours = |signal| options.wants(signal);
    if ours(bonghwa_testkit::Signal::Logs) {
        outcomes.push(week(if options.quick { 1 } else { 7 }).await?);
        outcomes.push(of_set("logs", Signal::Logs, options.logs()).await?);
    }
    if ours(bonghwa_testkit::Signal::Traces) {
        outcomes.push(of_set("spans", Signal::Traces, options.spans()).await?);
    }
    if ours(bonghwa_testkit::Signal::Metrics) {
        outcomes.push(of_set("metrics", Signal::Metrics, options.metrics().otlp).await?);
    }
    show(&outcomes);
    report::write(options, "compaction", &outcomes)
}

/// Small blocks of many tenants.
async fn week(days: i64) -> Result<Outcome> {
    let mut cluster = Cluster::start(Signal::Logs).await?;
    let mut rng = seed::rng(bonghwa_benches::sets::SEED, 5);
    for hour in 0..days * 24 {
        let mut batches = Vec::with_capacity(TENANTS);
        for number in 0..TENANTS {
            batches.push((tenant(&format!("tenant-{number:03}"))?, Arc::new(records(&mut rng, number, hour))));
        }
        cluster.flush(&batches).await?;
    }
    let day = "time >= TIMESTAMP '2026-01-01T06:00:00Z' AND time < TIMESTAMP '2026-01-01T12:00:00Z'";
    let queries = [
        "SELECT service_name, count(*) FROM logs GROUP BY 1".to_owned(),
        format!("SELECT count(*) FROM logs WHERE {day}"),
        "SELECT body FROM logs WHERE body LIKE '%order 7123 in%'".to_owned(),
    ];
    let set = format!("{TENANTS} tenants, {days} days of logs");
    measure(set, &cluster, &tenant("tenant-017")?, &queries.map(Question::Sql)).await
}

fn records(rng: &mut rand::rngs::StdRng, number: usize, hour: i64) -> Batch {
    let mut batch = LogBatch::default();
    for pod in 0..3 {
        let service = format!("service-{}", (number + pod) % 8);
        let text = |value: &str| Value::Str(value.to_owned());
        let attributes = vec![
            ("service.name".to_owned(), text(&service)),
            ("k8s.pod.name".to_owned(), text(&format!("{service}-{number:03}-{pod}"))),
        ];
        batch.common.resources.push(Resource { service_name: service, attributes, ..Default::default() });
    }
    batch.common.scopes.push(Scope { name: "logger".into(), ..Default::default() });
    for record in 0..RECORDS_PER_HOUR {
        let route = batch.common.keys.id("http.route");
        let value = batch.common.arena.push(["/cart", "/order", "/login"][rng.random_range(0..3)].as_bytes());
        batch.attributes.push(route, Kind::Str, value.0);
        let body = format!("placed order {} in {} ms", rng.random_range(0..10_000), rng.random_range(1..900));
        let body = batch.common.arena.push(body.as_bytes());
        let time = START + hour * HOUR + record * HOUR / RECORDS_PER_HOUR + rng.random_range(0..1_000_000_000);
        batch.push_row(LogRow { time, severity_number: 9, body_kind: Kind::Str, body, ..Default::default() });
        let resource = (record * 3 / RECORDS_PER_HOUR) as u32;
        batch.common.close_group(resource, 0, record as u32 + 1);
    }
    Batch::Logs(batch)
}

/// One of the sets that the other benchmarks send, in flushes of fifty requests.
async fn of_set(name: &str, signal: Signal, set: Set) -> Result<Outcome> {
    let mut cluster = Cluster::start(signal).await?;
    let tenant = TenantId::default_tenant();
    let mut first_trace = None;
    let options = DecodeOptions { now_ns: START + 24 * HOUR, ..Default::default() };
    for requests in set.requests.chunks(REQUESTS_PER_FLUSH) {
        let mut batches = Vec::with_capacity(requests.len());
        for request in requests {
            let decoded = bonghwa_wire::decode(signal, request, &options)?;
            ensure!(decoded.rejected == 0, "{} items of the set were rejected", decoded.rejected);
            let batch = decoded.batch;
            if let Batch::Traces(spans) = &batch {
                first_trace.get_or_insert(spans.trace_id[0]);
            }
            batches.push((tenant.clone(), Arc::new(batch)));
        }
        cluster.flush(&batches).await?;
    }
    let sql = |query: &str| Question::Sql(query.to_owned());
    let questions = match signal {
        Signal::Logs => vec![
            sql("SELECT service_name, severity_text, count(*) FROM logs GROUP BY 1, 2"),
            sql("SELECT body FROM logs WHERE body LIKE '%order 471123 %'"),
        ],
        Signal::Traces => vec![
            Question::Trace(first_trace.context("the set has no spans")?),
            sql("SELECT service_name, count(*), avg(duration_ns) FROM spans GROUP BY 1"),
        ],
        Signal::Metrics => vec![
            sql("SELECT service_name, avg(value) FROM metrics WHERE name = 'http.connections' GROUP BY 1"),
            sql("SELECT name, count(*) FROM metrics GROUP BY 1"),
        ],
    };
    measure(format!("{name}, one tenant"), &cluster, &tenant, &questions).await
}

enum Question {
    Sql(String),
    Trace([u8; 16]),
}

async fn measure(set: String, cluster: &Cluster, tenant: &TenantId, questions: &[Question]) -> Result<Outcome> {
    let (files, bytes) = cluster.stored().await?;
    let (items, row_groups) = cluster.counted();
    let before = ask(cluster, tenant, questions).await?;
    let options = CompactorOptions::default();
    let compactor = cluster.compactor(options.clone())?;
    // Longer ago than every window and the grace of what is replaced.
    let now = START + 40 * 24 * HOUR;
    forget_peak()?;
    let (resident_before, _) = process::memory(&read("status")?)?;
    let (cpu, started) = (process::cpu(&read("stat")?)?, Instant::now());
    let report = compactor.run_once(now).await;
    let (cpu, seconds) = (process::cpu(&read("stat")?)? - cpu, started.elapsed().as_secs_f64());
    let (_, resident_peak) = process::memory(&read("status")?)?;
    ensure!(report.errors.is_empty(), "{:?}", report.errors);
    compactor.run_once(now + 24 * HOUR).await;
    let (files_after, bytes_after) = cluster.stored().await?;
    let (items_after, row_groups_after) = cluster.counted();
    ensure!(items_after == items, "{items} items before, {items_after} after");
    let after = ask(cluster, tenant, questions).await?;
    let mut queries = Vec::new();
    for ((question, (answer, before)), (answer_after, after)) in questions.iter().zip(before).zip(after) {
        ensure!(answer == answer_after, "{}: {answer} rows before, {answer_after} after", question.text());
        queries.push(QueryTimes { query: question.text(), milliseconds: [before, after] });
    }
    Ok(Outcome {
        set,
        items,
        files: [files, files_after],
        row_groups: [row_groups, row_groups_after],
        bytes_per_item: [bytes as f64 / items as f64, bytes_after as f64 / items as f64],
        items_per_cpu_second: items as f64 / cpu.as_secs_f64().max(0.01),
        seconds,
        memory_budget: options.memory_bytes as u64,
        counted_peak: report.peak_bytes,
        resident_before,
        resident_peak,
        queries,
    })
}

/// Each question's answer, as a number of rows, and its time; the first run warms up.
async fn ask(cluster: &Cluster, tenant: &TenantId, questions: &[Question]) -> Result<Vec<(usize, Spread)>> {
    let engine = cluster.engine();
    let mut answers = Vec::new();
    for question in questions {
        let rows = question.ask(&engine, tenant).await?;
        let mut times = Vec::new();
        for _ in 0..QUERY_RUNS {
            let started = Instant::now();
            question.ask(&engine, tenant).await?;
            times.push(started.elapsed());
        }
        answers.push((rows, Spread::of(times.iter().map(Duration::as_secs_f64).map(|s| s * 1e3))));
    }
    Ok(answers)
}

impl Question {
    async fn ask(&self, engine: &Arc<Engine>, tenant: &TenantId) -> Result<usize> {
        match self {
            Question::Sql(query) => {
                let answer = engine.sql(tenant, query).await?;
                let batches: Vec<_> = answer.stream.try_collect().await?;
                Ok(batches.iter().map(|batch| batch.num_rows()).sum())
            }
            Question::Trace(id) => {
                let trace = engine.trace(tenant, *id, None).await?.context("the trace is not found")?;
                let scopes = trace.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
                Ok(scopes.map(|scope| scope.spans.len()).sum())
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Question::Sql(query) => query.clone(),
            Question::Trace(_) => "a trace by its id".into(),
        }
    }
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(format!("/proc/self/{file}")).with_context(|| format!("reading /proc/self/{file}"))
}

/// The peak of resident memory counts from here.
fn forget_peak() -> Result<()> {
    std::fs::write("/proc/self/clear_refs", "5").context("the kernel keeps the old peak of resident memory")
}

fn show(outcomes: &[Outcome]) {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("", Align::Left),
        right("items"),
        right("files"),
        right("row groups"),
        right("bytes/item"),
        right("items/CPU-s"),
        right("s"),
        right("budget"),
        right("counted"),
        right("resident"),
    ]);
    for o in outcomes {
        let both = |pair: [String; 2]| pair.join(" -> ");
        table.row([
            o.set.clone(),
            report::rate(o.items as f64),
            both(o.files.map(|n| n.to_string())),
            both(o.row_groups.map(|n| n.to_string())),
            both(o.bytes_per_item.map(|n| format!("{n:.1}"))),
            report::rate(o.items_per_cpu_second),
            format!("{:.1}", o.seconds),
            format!("{:.0} MB", report::mb(o.memory_budget)),
            format!("{:.0} MB", report::mb(o.counted_peak)),
            format!("{:.0} -> {:.0} MB", report::mb(o.resident_before), report::mb(o.resident_peak)),
        ]);
    }
    println!("{}", table.render());
    let mut table = Table::new(&[("query", Align::Left), right("ms before"), right("ms after")]);
    for times in outcomes.iter().flat_map(|o| &o.queries) {
        let [before, after] = &times.milliseconds;
        let show = |spread: &Spread| format!("{:.1} {}", spread.median, spread.width());
        table.row([times.query.clone(), show(before), show(after)]);
    }
    println!("{}", table.render());
}
