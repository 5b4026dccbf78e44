//! `bench queries`: how long PromQL takes over the metrics set, histograms and a month of a few series, the same
//! queries on every server.
//!
//! All get the same bytes by remote write, so that names and labels are the same. Each query runs once
//! to warm up; what is quoted is the median of the others, as a caller over HTTP sees it. The answers
//! are compared: a fast wrong one is worth nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bonghwa_benches::sets::{self, Set};
use serde::Serialize;
use serde_json::Value;

use crate::Options;
use crate::bonghwa::{self, Bonghwa};
use crate::peers::metrics::{Kind, MetricStore};
use crate::process::{self, SERVER};
use crate::report::{self, Align, Spread, Table};

/// Unix seconds of the set's first samples, and how far apart samples are.
const START: i64 = 1_767_225_600;
const STEP: i64 = 15;

/// How long a query is asked again and again, and how often at most: what disturbs the machine for a moment should not
/// fall on one of the servers.
const LEAST: Duration = Duration::from_secs(2);
const MOST_RUNS: usize = 10_000;

/// Keeps everything in heads.
const NO_FLUSH: &str = "{ ingester: { flush_bytes: 6GiB, head_bytes: 8GiB, flush_age: 1h } }";

/// When a query is asked.
#[derive(Clone, Copy, PartialEq)]
enum Over {
    /// At the end of the sets.
    Instant,
    /// Over the metrics set, at each of its steps.
    Range,
    /// Over the month before it, hour by hour.
    Month,
}

/// A query.
struct Shape {
    name: &'static str,
    query: &'static str,
    over: Over,
}

const SHAPES: [Shape; 13] = [
    Shape { name: "sum(rate) over 20k series", query: r#"sum(rate({__name__=~".+"}[5m]))"#, over: Over::Range },
    Shape {
        name: "topk of sum by (pod) over 20k",
        query: r#"topk(5, sum by (k8s_pod_name) (rate({__name__=~".+"}[5m])))"#,
        over: Over::Range,
    },
    Shape {
        name: "sum by (operation) over 1k",
        query: "sum by (operation) (rate(http_requests[5m]))",
        over: Over::Range,
    },
    Shape { name: "1k series as they are", query: "http_requests", over: Over::Range },
    Shape {
        name: "one series",
        query: r#"http_requests{k8s_pod_name=~".*-00000",operation="get"}"#,
        over: Over::Range,
    },
    Shape {
        name: "max_over_time over 1k",
        query: "max by (operation) (max_over_time(http_utilization[5m]))",
        over: Over::Range,
    },
    Shape {
        name: "quantile_over_time over 1k",
        query: "avg(quantile_over_time(0.9, http_utilization[10m]))",
        over: Over::Range,
    },
    Shape {
        name: "ratio of two sums",
        query: "sum by (operation) (rate(http_bytes[5m])) / sum by (operation) (rate(http_requests[5m]))",
        over: Over::Range,
    },
    Shape { name: "regex over 20k", query: r#"count({k8s_pod_name=~".*[02468].*"})"#, over: Over::Instant },
    Shape { name: "instant over 1k", query: "http_requests", over: Over::Instant },
    Shape {
        name: "histogram_quantile over 1.2k",
        query: "histogram_quantile(0.99, sum by (le, operation) (rate(http_duration_seconds_bucket[5m])))",
        over: Over::Range,
    },
    Shape {
        name: "30 days: sum by (operation) of 100",
        query: "sum by (operation) (rate(month_requests[1h]))",
        over: Over::Month,
    },
    Shape {
        name: "30 days: one series",
        query: r#"month_requests{k8s_pod_name=~".*-00000",operation="get"}"#,
        over: Over::Month,
    },
];

/// One system's times of one query, milliseconds.
#[derive(Serialize)]
struct Timed {
    query: &'static str,
    times: BTreeMap<String, Spread>,
    /// CPU of the server, milliseconds a query.
    cpu: BTreeMap<String, f64>,
    /// Servers whose answers are not ours.
    differ: Vec<String>,
}

#[derive(Serialize)]
struct Bench {
    #[serde(skip)]
    shapes: Vec<&'static Shape>,
    systems: Vec<String>,
    timed: Vec<Timed>,
    missing: Vec<String>,
}

/// A server that is asked.
enum Server {
    Ours(Bonghwa),
    Peer(MetricStore),
}

/// Measures, prints the table and writes the JSON.
pub async fn run(options: &Options) -> Result<()> {
    process::pin_sender()?;
    report::write(options, "queries", &measure(options).await?)
}

/// Measures and prints the table.
pub async fn measure(options: &Options) -> Result<impl Serialize + use<>> {
    println!("{}; Bonghwa's settings: {}", report::machine(), report::settings());
    let steps = options.requests() / 5;
    // The oldest first: Prometheus takes no others.
    let sets = [sets::month(), options.metrics().remote_write, sets::histograms(steps)];
    let steps = i64::try_from(steps)?;
    let runs = options.runs(5);
    let ours = format!("{} {}", bonghwa::NAME, bonghwa::version()?);
    let shapes: Vec<&Shape> = SHAPES.iter().filter(|shape| shape.name.contains(&options.query)).collect();
    let timed = shapes.iter().map(|shape| Timed {
        query: shape.name,
        times: BTreeMap::new(),
        cpu: BTreeMap::new(),
        differ: Vec::new(),
    });
    let timed = timed.collect();
    let mut bench = Bench { shapes, systems: vec![ours.clone()], timed, missing: Vec::new() };
    let server = Bonghwa::start_with(SERVER, if options.tail { NO_FLUSH } else { "" }).await?;
    for set in &sets {
        server.send_remote_write(set).await?;
    }
    if !options.tail {
        server.flush().await?;
        server.compact().await?;
    }
    let answers = bench.ask(&ours, Server::Ours(server), steps, runs, None).await?;
    for kind in Kind::ALL.into_iter().filter(|_| !options.no_peers) {
        let asked = bench.peer(kind, &sets, steps, runs, &answers).await;
        if let Err(error) = asked {
            bench.missing.push(format!("{}: {error:#}", kind.name()));
        }
    }
    bench.print();
    Ok(bench)
}

impl Bench {
    async fn peer(&mut self, kind: Kind, sets: &[Set], steps: i64, runs: usize, ours: &[Value]) -> Result<()> {
        let name = format!("{} {}", kind.name(), kind.version()?);
        let server = MetricStore::start(kind, SERVER).await?;
        for set in sets {
            server.send(set).await?;
        }
        server.flush().await?;
        server.check(sets).await?;
        // What it does by itself afterwards should not be in the way.
        server.settled_memory().await?;
        self.systems.push(name.clone());
        self.ask(&name, Server::Peer(server), steps, runs, Some(ours)).await?;
        Ok(())
    }

    /// Asks all queries; their answers.
    async fn ask(
        &mut self,
        name: &str,
        server: Server,
        steps: i64,
        runs: usize,
        ours: Option<&[Value]>,
    ) -> Result<Vec<Value>> {
        let mut answers = Vec::new();
        for (at, shape) in self.shapes.clone().into_iter().enumerate() {
            let answer = match server.ask(shape, steps).await {
                // What a peer refuses leaves the others to be asked.
                Err(error) if ours.is_some() => {
                    self.missing.push(format!("{name}, {}: {error:#}", shape.name));
                    answers.push(Value::Null);
                    continue;
                }
                answer => answer.with_context(|| shape.query)?,
            };
            ensure!(
                ours.is_some() || answer.as_array().is_some_and(|series| !series.is_empty()),
                "{}: no series",
                shape.query
            );
            let (mut times, before) = (Vec::new(), server.cpu()?);
            let first = Instant::now();
            // A few runs of a short query say little: a core that wakes up takes as long.
            while times.len() < runs || (first.elapsed() < LEAST && times.len() < MOST_RUNS) {
                let began = Instant::now();
                server.ask(shape, steps).await?;
                times.push(began.elapsed().as_secs_f64() * 1e3);
            }
            let runs = times.len();
            let timed = &mut self.timed[at];
            timed.cpu.insert(name.to_owned(), (server.cpu()? - before) * 1e3 / runs as f64);
            timed.times.insert(name.to_owned(), Spread::of(times));
            if ours.is_some_and(|ours| !same(&ours[at], &answer)) {
                timed.differ.push(name.to_owned());
            }
            answers.push(answer);
        }
        server.stop().await?;
        Ok(answers)
    }

    fn print(&self) {
        let mut header = vec![("query", Align::Left)];
        for system in &self.systems {
            header.push((system.as_str(), Align::Right));
            header.push(("CPU", Align::Right));
        }
        let mut table = Table::new(&header);
        for timed in &self.timed {
            let mut row = vec![timed.query.to_owned()];
            for system in &self.systems {
                let differs = if timed.differ.contains(system) { " (another answer)" } else { "" };
                let time = timed
                    .times
                    .get(system)
                    .map(|t| format!("{:.1$}{differs}", t.median, if t.median < 10.0 { 2 } else { 1 }));
                row.push(time.unwrap_or_default());
                row.push(timed.cpu.get(system).map(|cpu| format!("{cpu:.0}")).unwrap_or_default());
            }
            table.row(row);
        }
        println!("\nPromQL over HTTP, and the server's CPU: milliseconds a query, median\n\n{}", table.render());
        for missing in &self.missing {
            println!("not measured: {missing}");
        }
    }
}

impl Server {
    async fn ask(&self, shape: &Shape, steps: i64) -> Result<Value> {
        let end = START + (steps - 1) * STEP;
        let times = |start: i64, end: i64, step: i64| {
            let times = [("start", start), ("end", end), ("step", step)];
            ("api/v1/query_range", times.map(|(name, time)| (name, time.to_string())).to_vec())
        };
        let (path, parameters) = match shape.over {
            Over::Instant => ("api/v1/query", vec![("time", end.to_string())]),
            Over::Range => times(START + 6 * STEP, end, STEP),
            Over::Month => times(START - sets::DAYS * 86_400, START, 3600),
        };
        let parameters = parameters.into_iter().chain([("query", shape.query.to_owned()), ("nocache", "1".to_owned())]);
        let parameters: Vec<(&str, String)> = parameters.collect();
        let (http, url) = match self {
            Server::Ours(server) => (server.http(), server.url(path)),
            Server::Peer(server) => (server.http(), server.url(path)),
        };
        // Neither keeps answers: what is measured is the evaluation.
        let answer = http.get(url).query(&parameters).header("cache-control", "no-store").send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "{path} answers {status}: {text}");
        Ok(serde_json::from_str::<Value>(&text)?["data"]["result"].take())
    }

    /// CPU seconds so far.
    fn cpu(&self) -> Result<f64> {
        let usage = match self {
            Server::Ours(server) => server.usage()?,
            Server::Peer(server) => server.usage()?,
        };
        Ok(usage.cpu.as_secs_f64())
    }

    async fn stop(self) -> Result<()> {
        match self {
            Server::Ours(server) => server.stop().await,
            Server::Peer(server) => server.stop().await,
        }
    }
}

/// Whether two answers have the same series, and as many values. VictoriaMetrics extrapolates rates
/// otherwise than Prometheus does, so values are not compared.
fn same(ours: &Value, theirs: &Value) -> bool {
    let shape = |answer: &Value| -> Vec<(String, usize)> {
        let series = answer.as_array().into_iter().flatten();
        let one = |s: &Value| (s["metric"].to_string(), s["values"].as_array().map_or(0, Vec::len));
        let mut shape: Vec<_> = series.map(one).collect();
        shape.sort();
        shape
    };
    shape(ours) == shape(theirs)
}
