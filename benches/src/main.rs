//! `bench`: what Bonghwa takes in per CPU-second, how many bytes it keeps, how much memory it
//! needs; each beside peers that were measured in the same run. `cargo xtask bench` builds
//! everything and starts it; `benches/README.md` has the protocol and results.

// A benchmark reads the real clock and waits for real processes.
#![allow(clippy::disallowed_methods)]

mod bonghwa;
mod budgets;
mod compaction;
mod ingest;
mod metrics;
mod peers;
mod process;
mod queries;
mod report;
mod sender;
mod setup;
mod storage;

use std::path::PathBuf;

use anyhow::{Result, bail};
use bonghwa_benches::sets::{self, Dialects, Set};
use bonghwa_testkit::Signal;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "bench", about = "Measures Bonghwa beside its peers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs the peers that are missing and says what it installs
    Setup,
    /// Items and MB per CPU-second, acked and flushed
    Ingest(Options),
    /// Bytes per item after a flush, idle memory, peak memory
    Storage(Options),
    /// Bytes, files and query times before and after a compaction, and its own cost
    Compaction(Options),
    /// Metrics of 20,000, 200,000 and a million series with churn: samples per CPU-second, bytes per sample, memory
    /// per series; then what `queries` measures
    Metrics(Options),
    /// Time of PromQL's usual shapes over 20,000 series
    Queries(Options),
}

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// A twentieth of the items and one run: to try the benchmark, not to quote it
    #[arg(long)]
    quick: bool,
    /// Runs of each server after a warm-up; the median counts [default: 5, storage: 1]
    #[arg(long)]
    runs: Option<usize>,
    /// Only this signal; may be repeated [default: all]
    #[arg(long = "signal", value_name = "logs|spans|metrics", value_parser = signal)]
    signals: Vec<Signal>,
    /// Only queries whose names contain this text
    #[arg(long, default_value = "")]
    query: String,
    /// Queries read what is not flushed yet
    #[arg(long)]
    tail: bool,
    /// Only Bonghwa
    #[arg(long)]
    no_peers: bool,
    /// Where the machine-readable results go [default: bench-ingest.json or bench-storage.json in cargo's target directory]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Options {
    fn runs(&self, usual: usize) -> usize {
        self.runs.unwrap_or(if self.quick { 1 } else { usual }).max(1)
    }

    fn wants(&self, signal: Signal) -> bool {
        self.signals.is_empty() || self.signals.contains(&signal)
    }

    /// A million records or spans; four million points.
    fn requests(&self) -> usize {
        if self.quick { 50 } else { 1_000 }
    }

    fn logs(&self) -> Set {
        sets::logs(self.requests())
    }

    fn spans(&self) -> Set {
        sets::spans(self.requests())
    }

    fn metrics(&self) -> Dialects {
        sets::metrics(self.requests() / 5)
    }
}

fn signal(text: &str) -> Result<Signal, String> {
    let found = Signal::ALL.into_iter().find(|s| s.table() == text);
    found.ok_or_else(|| format!("{text:?} is no signal: write logs, spans or metrics"))
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // One thread: the sender stays on the core that it is pinned to.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Dropping the work kills the servers that it started.
        tokio::select! {
            done = run(&cli.command) => done,
            signal = ended() => signal.and_then(|()| bail!("interrupted")),
        }
    })
}

async fn run(command: &Command) -> Result<()> {
    match command {
        Command::Setup => setup::everything().await,
        Command::Ingest(options) => ingest::run(options).await,
        Command::Storage(options) => storage::run(options).await,
        Command::Compaction(options) => compaction::run(options).await,
        Command::Metrics(options) => metrics::run(options).await,
        Command::Queries(options) => queries::run(options).await,
    }
}

async fn ended() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        done = tokio::signal::ctrl_c() => Ok(done?),
    }
}
