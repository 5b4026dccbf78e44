//! `bench storage`: bytes per item after a flush, where they are, and memory: idle and at
//! its peak.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bonghwa_benches::sets::{Dialects, Set};
use bonghwa_testkit::{Signal, tools};
use serde::{Deserialize, Serialize};

use crate::Options;
use crate::bonghwa::{self, Bonghwa};
use crate::budgets::{self, Budget};
use crate::peers::clickhouse::{self, Schema};
use crate::peers::metrics::{Kind, MetricStore};
use crate::process::{self, SERVER};
use crate::report::{self, Align, Spread, Table, mb};
use crate::sender::Dialect;

/// One system's bytes of one set.
#[derive(Serialize)]
struct Stored {
    signal: &'static str,
    system: String,
    items: u64,
    bytes: u64,
    bytes_per_item: f64,
    /// What was done before the size was taken.
    state: &'static str,
    /// Bytes per item of each column and index.
    parts: BTreeMap<String, f64>,
    budget: Option<Budget>,
}

/// One system's memory, MB.
#[derive(Serialize)]
struct Memory {
    system: String,
    idle: Option<f64>,
    /// At most while the set of a signal was taken in and flushed.
    peaks: BTreeMap<&'static str, Spread>,
}

#[derive(Default, Serialize)]
struct Bench {
    stored: Vec<Stored>,
    memory: Vec<Memory>,
    missing: Vec<String>,
}

/// Measures everything that the options want, prints the tables and writes the JSON.
pub async fn run(options: &Options) -> Result<()> {
    process::pin_sender()?;
    println!("{}; Bonghwa's settings: {}", report::machine(), report::settings());
    let runs = options.runs(1);
    let mut bench = Bench::default();
    let name = format!("{} {}", bonghwa::NAME, bonghwa::version()?);
    let idle = {
        let server = Bonghwa::start(SERVER).await?;
        let idle = server.settled_memory().await?;
        server.stop().await?;
        mb(idle)
    };
    bench.memory.push(Memory { system: name, idle: Some(idle), peaks: BTreeMap::new() });
    if options.wants(Signal::Logs) {
        bench.records(&options.logs(), runs, !options.no_peers).await?;
    }
    if options.wants(Signal::Traces) {
        bench.records(&options.spans(), runs, !options.no_peers).await?;
    }
    if options.wants(Signal::Metrics) {
        bench.metrics(&options.metrics(), runs, !options.no_peers).await?;
    }
    bench.print();
    report::write(options, "storage", &bench)
}

impl Bench {
    async fn records(&mut self, set: &Set, runs: usize, peers: bool) -> Result<()> {
        self.ours(set, runs).await?;
        if peers && let Err(error) = self.clickhouse(set).await {
            self.missing.push(format!("{} ({}): {error:#}", clickhouse::NAME, set.signal.table()));
        }
        Ok(())
    }

    async fn metrics(&mut self, sets: &Dialects, runs: usize, peers: bool) -> Result<()> {
        self.ours(&sets.otlp, runs).await?;
        for kind in Kind::ALL.into_iter().filter(|_| peers) {
            if let Err(error) = self.metric_store(kind, &sets.remote_write).await {
                self.missing.push(format!("{}: {error:#}", kind.name()));
            }
        }
        Ok(())
    }

    /// The size is that of the last run; the peaks are of all.
    async fn ours(&mut self, set: &Set, runs: usize) -> Result<()> {
        let mut peaks = vec![];
        for n in 1..=runs {
            let server = Bonghwa::start(SERVER).await?;
            server.send(set, Dialect::Otlp(set.signal)).await?;
            server.flush().await?;
            peaks.push(mb(server.usage()?.peak));
            server.check(set).await?;
            if n == runs {
                let mut stored =
                    Stored::new(set, bonghwa::NAME.into(), server.object_bytes()?, "flushed, not compacted");
                stored.parts = parts(&server, set.items())?;
                stored.budget = Some(budgets::storage(set.signal));
                self.stored.push(stored);
            }
            server.stop().await?;
        }
        if let Some(memory) = self.memory.first_mut() {
            memory.peaks.insert(set.signal.table(), Spread::of(peaks));
        }
        Ok(())
    }

    async fn metric_store(&mut self, kind: Kind, set: &Set) -> Result<()> {
        let system = format!("{} {}", kind.name(), kind.version()?);
        let server = MetricStore::start(kind, SERVER).await?;
        let idle = mb(server.settled_memory().await?);
        server.send(set).await?;
        server.flush().await?;
        let peak = mb(server.usage()?.peak);
        server.check(std::slice::from_ref(set)).await?;
        let state = match kind {
            Kind::Prometheus => "snapshot: the head as a block",
            Kind::VictoriaMetrics => "flushed, parts merged",
        };
        self.stored.push(Stored::new(set, system.clone(), server.compacted_bytes().await?, state));
        self.memory.push(Memory { system, idle: Some(idle), peaks: [("metrics", Spread::of([peak]))].into() });
        server.stop().await
    }

    async fn clickhouse(&mut self, set: &Set) -> Result<()> {
        let input = clickhouse::Input::write(set)?;
        for schema in Schema::ALL {
            let inserted = input.insert(schema, true, SERVER).await?;
            let system = format!("{}, {} schema {}", clickhouse::NAME, schema.name(), inserted.version);
            let mut stored = Stored::new(set, system.clone(), inserted.bytes, "one part after OPTIMIZE FINAL");
            stored.parts.insert("skip indexes".into(), inserted.index_bytes as f64 / set.items() as f64);
            self.stored.push(stored);
            self.peak(system, set.signal, mb(inserted.peak));
        }
        Ok(())
    }

    /// The peak of a system that starts anew for each signal.
    fn peak(&mut self, system: String, signal: Signal, peak: f64) {
        let peak = (signal.table(), Spread::of([peak]));
        match self.memory.iter_mut().find(|m| m.system == system) {
            Some(memory) => memory.peaks.extend([peak]),
            None => self.memory.push(Memory { system, idle: None, peaks: [peak].into() }),
        }
    }

    fn print(&self) {
        println!("\nStorage: bytes per item, indexes included\n\n{}", self.sizes().render());
        for stored in self.stored.iter().filter(|s| s.budget.is_some() && !s.parts.is_empty()) {
            println!("{}, bytes per item by column:\n\n{}", stored.signal, columns(&stored.parts).render());
        }
        println!("Memory, MB; ClickHouse's is that of a Python process with it\n\n{}", self.memories().render());
        for missing in &self.missing {
            println!("not measured: {missing}");
        }
    }

    fn sizes(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new(&[
            ("signal", Left),
            ("system", Left),
            ("bytes/item", Right),
            ("ours/it", Right),
            ("skip indexes", Right),
            ("budget", Right),
            ("floor", Right),
            ("state", Left),
        ]);
        for stored in &self.stored {
            let ours = self.stored.iter().find(|s| s.signal == stored.signal && s.budget.is_some());
            let ratio = match ours {
                Some(ours) if stored.budget.is_none() => format!("{:.2}", ours.bytes_per_item / stored.bytes_per_item),
                _ => String::new(),
            };
            let [budget, floor] = stored
                .budget
                .map_or_else(Default::default, |b| report::against(&b, stored.bytes_per_item, |v| v.to_string()));
            let index = stored.parts.get("skip indexes").filter(|_| stored.budget.is_none());
            table.row([
                stored.signal.to_owned(),
                stored.system.clone(),
                format!("{:.2}", stored.bytes_per_item),
                ratio,
                index.map_or_else(String::new, |b| format!("{b:.2}")),
                budget,
                floor,
                stored.state.to_owned(),
            ]);
        }
        table
    }

    fn memories(&self) -> Table {
        use Align::{Left, Right};
        let mut table = Table::new(&[
            ("system", Left),
            ("idle", Right),
            ("peak, logs", Right),
            ("peak, spans", Right),
            ("peak, metrics", Right),
            ("budget, idle", Right),
            ("floor, idle", Right),
        ]);
        for (nth, memory) in self.memory.iter().enumerate() {
            let peak =
                |signal| memory.peaks.get(signal).map_or_else(String::new, |p: &Spread| format!("{:.0}", p.median));
            // The first is ours.
            let [budget, floor] = memory.idle.filter(|_| nth == 0).map_or_else(Default::default, |idle| {
                report::against(&budgets::idle_memory(), idle, |v| v.to_string())
            });
            table.row([
                memory.system.clone(),
                memory.idle.map_or_else(String::new, |m| format!("{m:.0}")),
                peak("logs"),
                peak("spans"),
                peak("metrics"),
                budget,
                floor,
            ]);
        }
        table
    }
}

impl Stored {
    fn new(set: &Set, system: String, bytes: u64, state: &'static str) -> Stored {
        Stored {
            signal: set.signal.table(),
            system,
            items: set.items(),
            bytes,
            bytes_per_item: bytes as f64 / set.items() as f64,
            state,
            parts: BTreeMap::new(),
            budget: None,
        }
    }
}

/// The largest first; what rounds to nothing in one line.
fn columns(parts: &BTreeMap<String, f64>) -> Table {
    const SHOWN: f64 = 0.01;
    let mut table = Table::new(&[("column", Align::Left), ("bytes", Align::Right)]);
    let (mut shown, small): (Vec<_>, Vec<_>) = parts.iter().partition(|(_, bytes)| **bytes >= SHOWN);
    shown.sort_by(|a, b| b.1.total_cmp(a.1));
    for (column, bytes) in shown {
        table.row([column.clone(), format!("{bytes:.2}")]);
    }
    let rest: f64 = small.iter().map(|(_, bytes)| **bytes).sum();
    table.row([format!("the other {}", small.len()), format!("{rest:.2}")]);
    table
}

/// The sizes in what `bonghwa block inspect` prints.
#[derive(Deserialize)]
struct Inspection {
    columns: Vec<Column>,
    index_bytes: BTreeMap<String, u64>,
    footer_bytes: u64,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    compressed_bytes: u64,
}

/// Bytes per item of every column and index, over all blocks.
fn parts(server: &Bonghwa, items: u64) -> Result<BTreeMap<String, f64>> {
    let mut parts: BTreeMap<String, f64> = BTreeMap::new();
    for block in server.blocks()? {
        let output = Command::new(tools::bonghwa()?).args(["block", "inspect"]).arg(&block).output()?;
        ensure!(output.status.success(), "block inspect: {}", String::from_utf8_lossy(&output.stderr));
        let block: Inspection = serde_json::from_slice(&output.stdout).context("what block inspect prints")?;
        let columns = block.columns.into_iter().map(|c| (c.name, c.compressed_bytes));
        let indexes = block.index_bytes.into_iter().map(|(kind, bytes)| (format!("index of {kind}"), bytes));
        for (part, bytes) in columns.chain(indexes).chain([("footer and page index".into(), block.footer_bytes)]) {
            *parts.entry(part).or_default() += bytes as f64 / items as f64;
        }
    }
    Ok(parts)
}
