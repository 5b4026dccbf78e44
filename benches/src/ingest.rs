//! `bench ingest`: items and MB per CPU-second of the server, from the first request to the
//! last byte in a block, every request acked.

use anyhow::Result;
use bonghwa_benches::sets::{Dialects, Set};
use bonghwa_testkit::Signal;
use serde::Serialize;

use crate::Options;
use crate::bonghwa::{self, Bonghwa};
use crate::budgets::{self, Budget};
use crate::peers::clickhouse::{self, Schema};
use crate::peers::metrics::{Kind, MetricStore};
use crate::peers::{Durability, OURS};
use crate::process::{self, BOTH, SERVER, Usage};
use crate::report::{self, Align, Spread, Table, mb, rate};
use crate::sender::Dialect;

/// One system on one set.
#[derive(Serialize)]
struct Measured {
    signal: &'static str,
    system: String,
    version: String,
    durability: Durability,
    items: u64,
    /// Bytes of its own input.
    bytes: u64,
    /// Items per CPU-second.
    rate: Spread,
    /// MB of its own input per CPU-second.
    mb_rate: Spread,
    /// Items per second of the clock.
    wall_rate: Spread,
    /// MB.
    peak_memory: Spread,
    /// Requests that were sent again because the server asked for it.
    repeated: u64,
    /// Items per second with both cores.
    both_cores: Option<f64>,
    budget: Option<Budget>,
}

/// What a run cost.
struct Run {
    cpu: f64,
    wall: f64,
    peak: u64,
    repeated: u64,
}

impl Run {
    fn between(before: Usage, after: Usage, wall: f64, repeated: u64) -> Run {
        Run { cpu: (after.cpu - before.cpu).as_secs_f64(), wall, peak: after.peak, repeated }
    }
}

impl Measured {
    fn new(signal: Signal, system: String, durability: Durability, items: u64, bytes: u64, runs: &[Run]) -> Measured {
        let spread = |of: &dyn Fn(&Run) -> f64| Spread::of(runs.iter().map(of));
        Measured {
            signal: signal.table(),
            system,
            version: String::new(),
            durability,
            items,
            bytes,
            rate: spread(&|run| items as f64 / run.cpu),
            mb_rate: spread(&|run| mb(bytes) / run.cpu),
            wall_rate: spread(&|run| items as f64 / run.wall),
            peak_memory: spread(&|run| mb(run.peak)),
            repeated: runs.iter().map(|run| run.repeated).sum(),
            both_cores: None,
            budget: None,
        }
    }
}

/// Measures everything that the options want, prints the table and writes the JSON.
pub async fn run(options: &Options) -> Result<()> {
    process::pin_sender()?;
    let mut bench = Bench { runs: options.runs(5), measured: vec![], missing: vec![] };
    println!("{}; server on core 0, sender on core 1; Bonghwa's settings: {}", report::machine(), report::settings());
    if options.wants(Signal::Logs) {
        bench.records(&options.logs(), !options.no_peers).await?;
    }
    if options.wants(Signal::Traces) {
        bench.records(&options.spans(), !options.no_peers).await?;
    }
    if options.wants(Signal::Metrics) {
        bench.metrics(&options.metrics(), !options.no_peers).await?;
    }
    bench.print();
    report::write(options, "ingest", &serde_json::json!({ "measured": bench.measured, "missing": bench.missing }))
}

struct Bench {
    runs: usize,
    measured: Vec<Measured>,
    missing: Vec<String>,
}

impl Bench {
    async fn records(&mut self, set: &Set, peers: bool) -> Result<()> {
        self.ours(set, Dialect::Otlp(set.signal)).await?;
        if peers && let Err(error) = self.clickhouse(set).await {
            self.missing.push(format!("{} ({}): {error:#}", clickhouse::NAME, set.signal.table()));
        }
        Ok(())
    }

    async fn metrics(&mut self, sets: &Dialects, peers: bool) -> Result<()> {
        self.ours(&sets.otlp, Dialect::Otlp(Signal::Metrics)).await?;
        self.ours(&sets.remote_write, Dialect::RemoteWrite).await?;
        for kind in Kind::ALL.into_iter().filter(|_| peers) {
            if let Err(error) = self.metric_store(kind, &sets.remote_write).await {
                self.missing.push(format!("{}: {error:#}", kind.name()));
            }
        }
        Ok(())
    }

    async fn ours(&mut self, set: &Set, dialect: Dialect) -> Result<()> {
        let signal = set.signal.table();
        ours_once(&warm_up(set), dialect, SERVER).await?;
        let mut runs = vec![];
        for n in 1..=self.runs {
            let run = ours_once(set, dialect, SERVER).await?;
            say(signal, bonghwa::NAME, n, set.items(), &run);
            runs.push(run);
        }
        let both = ours_once(set, dialect, BOTH).await?;
        let mut measured = Measured::new(set.signal, bonghwa::NAME.into(), OURS, set.items(), set.bytes(), &runs);
        measured.version = bonghwa::version()?;
        measured.both_cores = Some(set.items() as f64 / both.wall);
        match dialect {
            Dialect::Otlp(signal) => measured.budget = Some(budgets::ingest(signal)),
            // Compared with OTLP in the table, whose budget is the one that counts.
            Dialect::RemoteWrite => measured.version.push_str(", remote write"),
        }
        self.measured.push(measured);
        Ok(())
    }

    async fn metric_store(&mut self, kind: Kind, set: &Set) -> Result<()> {
        let version = kind.version()?;
        metric_store_once(kind, &warm_up(set)).await?;
        let mut runs = vec![];
        for n in 1..=self.runs {
            let run = metric_store_once(kind, set).await?;
            say("metrics", kind.name(), n, set.items(), &run);
            runs.push(run);
        }
        let (name, durability) = (kind.name().to_owned(), kind.durability());
        let mut measured = Measured::new(set.signal, name, durability, set.items(), set.bytes(), &runs);
        measured.version = version;
        self.measured.push(measured);
        Ok(())
    }

    async fn clickhouse(&mut self, set: &Set) -> Result<()> {
        let signal = set.signal.table();
        let input = clickhouse::Input::write(set)?;
        for schema in Schema::ALL {
            let name = format!("{}, {} schema", clickhouse::NAME, schema.name());
            // The warm-up.
            let version = input.insert(schema, false, SERVER).await?.version;
            let mut runs = vec![];
            for n in 1..=self.runs {
                let inserted = input.insert(schema, false, SERVER).await?;
                let run = Run { cpu: inserted.cpu, wall: inserted.wall, peak: inserted.peak, repeated: 0 };
                say(signal, &name, n, set.items(), &run);
                runs.push(run);
            }
            let durability = clickhouse::DURABILITY;
            let mut measured = Measured::new(set.signal, name, durability, set.items(), input.bytes, &runs);
            measured.version = version;
            self.measured.push(measured);
        }
        Ok(())
    }

    fn print(&self) {
        use Align::{Left, Right};
        let mut table = Table::new(&[
            ("signal", Left),
            ("system", Left),
            ("items/CPU-s", Right),
            ("spread", Right),
            ("ours/it", Right),
            ("MB/CPU-s", Right),
            ("items/s", Right),
            ("both cores", Right),
            ("peak MB", Right),
            ("budget", Right),
            ("floor", Right),
            ("an ack means", Left),
        ]);
        for measured in &self.measured {
            let ours = self.measured.iter().find(|m| m.signal == measured.signal && m.budget.is_some());
            let [budget, floor] =
                measured.budget.map_or_else(Default::default, |b| report::against(&b, measured.rate.median, rate));
            let unlike = if measured.durability.fsynced { "" } else { " *" };
            let ratio = match ours {
                Some(ours) if measured.budget.is_none() => {
                    format!("{:.2}{unlike}", ours.rate.median / measured.rate.median)
                }
                _ => String::new(),
            };
            table.row([
                measured.signal.to_owned(),
                format!("{} {}", measured.system, measured.version),
                rate(measured.rate.median),
                measured.rate.width(),
                ratio,
                format!("{:.0}", measured.mb_rate.median),
                rate(measured.wall_rate.median),
                measured.both_cores.map_or_else(String::new, rate),
                format!("{:.0}", measured.peak_memory.median),
                budget,
                floor,
                measured.durability.what.to_owned(),
            ]);
        }
        println!("\nIngest: median of {} runs, each on an empty directory, the final flush included\n", self.runs);
        println!("{}", table.render());
        println!("* unlike durability: read \"an ack means\" before the ratio.");
        println!("MB are of a system's own input: OTLP protobuf, NDJSON, snappy-compressed remote write.");
        for measured in self.measured.iter().filter(|m| m.repeated > 0) {
            let Measured { signal, system, repeated, .. } = measured;
            println!("{system} asked for {repeated} requests of {signal} to be sent again: its memory was full.");
        }
        for missing in &self.missing {
            println!("not measured: {missing}");
        }
    }
}

/// The first tenth.
fn warm_up(set: &Set) -> Set {
    let requests = set.requests[..set.requests.len().div_ceil(10)].to_vec();
    Set { signal: set.signal, items_per_request: set.items_per_request, requests, lanes: set.lanes }
}

async fn ours_once(set: &Set, dialect: Dialect, cores: &'static str) -> Result<Run> {
    let server = Bonghwa::start(cores).await?;
    let before = server.usage()?;
    let began = std::time::Instant::now();
    let replay = server.send(set, dialect).await?;
    server.flush().await?;
    let run = Run::between(before, server.usage()?, began.elapsed().as_secs_f64(), replay.repeated);
    server.check(set).await?;
    server.stop().await?;
    Ok(run)
}

async fn metric_store_once(kind: Kind, set: &Set) -> Result<Run> {
    let server = MetricStore::start(kind, SERVER).await?;
    let before = server.usage()?;
    let began = std::time::Instant::now();
    let replay = server.send(set).await?;
    server.flush().await?;
    let run = Run::between(before, server.usage()?, began.elapsed().as_secs_f64(), replay.repeated);
    server.check(std::slice::from_ref(set)).await?;
    server.stop().await?;
    Ok(run)
}

fn say(signal: &str, system: &str, n: usize, items: u64, run: &Run) {
    let rate = rate(items as f64 / run.cpu);
    eprintln!("[{signal}] {system}, run {n}: {rate} items/CPU-s, {:.2} CPU-s in {:.2} s", run.cpu, run.wall);
}
