//! `bench metrics`: what many series cost that come and go. All servers get the same bytes by remote write, on one
//! core, until everything is acked and written out.

use anyhow::Result;
use bonghwa_benches::sets::{self, Set};
use serde::Serialize;
use serde_json::json;

use crate::Options;
use crate::bonghwa::{self, Bonghwa};
use crate::peers::metrics::{Kind, MetricStore};
use crate::process::{self, SERVER, Usage};
use crate::queries;
use crate::report::{self, Align, Table, mb, rate};

/// Active series, and samples of each.
const SCALES: [(usize, usize); 3] = [(20_000, 200), (200_000, 20), (1_000_000, 8)];

/// One system with so many series.
#[derive(Serialize)]
struct Measured {
    system: String,
    /// At any time; twice as many in all.
    series: usize,
    samples: u64,
    /// CPU seconds until all was acked and written out.
    cpu: f64,
    wall: f64,
    /// Resident bytes at most, less those of an idle server.
    memory: u64,
    /// Bytes in their final form.
    stored: u64,
}

impl Measured {
    fn row(&self) -> [String; 7] {
        let (samples, series) = (self.samples as f64, self.series as f64);
        [
            rate(series),
            self.system.clone(),
            rate(samples / self.cpu),
            rate(samples / self.wall),
            format!("{:.2}", self.stored as f64 / samples),
            format!("{:.0}", mb(self.memory)),
            format!("{:.0}", self.memory as f64 / series),
        ]
    }
}

/// Measures, prints the table and writes the JSON.
pub async fn run(options: &Options) -> Result<()> {
    process::pin_sender()?;
    println!("{}; server on core 0, sender on core 1; Bonghwa's settings: {}", report::machine(), report::settings());
    let (mut measured, mut missing) = (Vec::new(), Vec::new());
    let scales = if options.quick { &SCALES[..1] } else { &SCALES };
    for (series, steps) in scales {
        let set = sets::churning(*series, if options.quick { steps / 10 } else { *steps });
        measured.push(ours(&set, *series).await?);
        for kind in Kind::ALL.into_iter().filter(|_| !options.no_peers) {
            match peer(kind, &set, *series).await {
                Ok(one) => measured.push(one),
                Err(error) => missing.push(format!("{} with {series} series: {error:#}", kind.name())),
            }
        }
    }
    print(&measured, &missing);
    let queries = queries::measure(options).await?;
    report::write(options, "metrics", &json!({ "measured": measured, "missing": missing, "queries": queries }))
}

async fn ours(set: &Set, series: usize) -> Result<Measured> {
    let server = Bonghwa::start(SERVER).await?;
    let (idle, before) = (server.settled_memory().await?, server.usage()?);
    let began = std::time::Instant::now();
    server.send_remote_write(set).await?;
    server.flush().await?;
    let (after, wall) = (server.usage()?, began.elapsed().as_secs_f64());
    server.check(set).await?;
    server.compact().await?;
    let stored = server.live_bytes().await?;
    server.stop().await?;
    let system = format!("{} {}", bonghwa::NAME, bonghwa::version()?);
    Ok(Measured::new(system, set, series, (before, after), wall, idle, stored))
}

async fn peer(kind: Kind, set: &Set, series: usize) -> Result<Measured> {
    let server = MetricStore::start(kind, SERVER).await?;
    let (idle, before) = (server.settled_memory().await?, server.usage()?);
    let began = std::time::Instant::now();
    server.send(set).await?;
    server.flush().await?;
    let (after, wall) = (server.usage()?, began.elapsed().as_secs_f64());
    server.check(std::slice::from_ref(set)).await?;
    let stored = server.compacted_bytes().await?;
    server.stop().await?;
    let system = format!("{} {}", kind.name(), kind.version()?);
    Ok(Measured::new(system, set, series, (before, after), wall, idle, stored))
}

impl Measured {
    fn new(
        system: String,
        set: &Set,
        series: usize,
        (before, after): (Usage, Usage),
        wall: f64,
        idle: u64,
        stored: u64,
    ) -> Measured {
        Measured {
            system,
            series,
            samples: set.items(),
            cpu: (after.cpu - before.cpu).as_secs_f64(),
            wall,
            memory: after.peak.saturating_sub(idle),
            stored,
        }
    }
}

fn print(measured: &[Measured], missing: &[String]) {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("series", Right),
        ("system", Left),
        ("samples/CPU-s", Right),
        ("samples/s", Right),
        ("bytes/sample", Right),
        ("memory MB", Right),
        ("bytes/series", Right),
    ]);
    measured.iter().for_each(|one| table.row(one.row()));
    println!("\nRemote write, each pod replaced once: one run, what is in memory written out at the end");
    println!("Memory: the peak less an idle server's. Bytes: compacted or merged, with indexes\n\n{}", table.render());
    missing.iter().for_each(|missing| println!("not measured: {missing}"));
}
