//! Runs simulations: one seed here, or many, each in a process of its own so that nothing of one
//! run is left for the next.

// The clock here times the runs from outside; inside, the seam is the only one.
#![allow(clippy::disallowed_methods)]

mod entropy;

use std::collections::VecDeque;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use bonghwa_sim::{Bug, Plan, run};
use clap::Parser;

/// Simulates a cluster from a seed.
#[derive(Parser)]
struct Arguments {
    /// Run this seed alone and print what happens.
    #[arg(long)]
    seed: Option<u64>,
    /// Run so many seeds, from --first on.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first of the seeds; drawn from the clock where it is not given with --minutes.
    #[arg(long)]
    first: Option<u64>,
    /// Run seeds until so many minutes have passed.
    #[arg(long)]
    minutes: Option<u64>,
    /// Runs at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Plant a fault into the product: ack-before-quorum, flush-twice, commit-without-object, lying-disk.
    #[arg(long)]
    bug: Option<Bug>,
    /// Stop at the first seed that fails.
    #[arg(long)]
    stop: bool,
    /// With --seed: only the result.
    #[arg(long)]
    quiet: bool,
}

/// How long one run may take before it is called stuck.
const LONGEST: Duration = Duration::from_secs(120);

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(&arguments),
    }
}

fn one(seed: u64, arguments: &Arguments) -> Result<ExitCode> {
    if let Ok(filter) = std::env::var("SIM_LOG") {
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_writer(std::io::stderr).init();
    }
    let started = Instant::now();
    let plan = Plan { seed, bug: arguments.bug.unwrap_or_default(), print: !arguments.quiet };
    // A thread of its own: hash keys are drawn once for each.
    let simulation = std::thread::Builder::new().name("simulation".to_owned()).stack_size(32 << 20).spawn(move || {
        entropy::begin();
        run(plan)
    });
    let report = simulation?.join().map_err(|_| anyhow!("the simulation panicked"))??;
    let result = if report.violations.is_empty() { "ok" } else { "VIOLATION" };
    println!(
        "seed {seed} {result} hash {:016x} events {} sent {} acked {} faults {} stale reads {} blocks {} simulated {:.0} s in {:.2} s",
        report.hash,
        report.events,
        report.records.0,
        report.records.1,
        report.faults,
        report.stale_reads,
        report.blocks,
        report.simulated.as_secs_f64(),
        started.elapsed().as_secs_f64(),
    );
    report.violations.iter().for_each(|violation| println!("  {violation}"));
    Ok(if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A run in a process of its own.
struct Run {
    seed: u64,
    child: std::process::Child,
    started: Instant,
}

fn many(arguments: &Arguments) -> Result<ExitCode> {
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() * 1_000_000);
    let mut next = arguments.first.unwrap_or_else(|| if arguments.minutes.is_some() { clock() } else { 1 });
    let started = Instant::now();
    let until = arguments.minutes.map(|minutes| started + Duration::from_secs(60 * minutes));
    let last = next.saturating_add(arguments.seeds);
    let (mut running, mut done, mut failed) = (VecDeque::<Run>::new(), 0u64, Vec::new());
    loop {
        let more = until.map_or(next < last, |until| Instant::now() < until);
        let more = more && (failed.is_empty() || !arguments.stop);
        if more && running.len() < arguments.jobs.max(1) {
            running.push_back(start(next, arguments)?);
            next += 1;
            continue;
        }
        let Some(run) = running.pop_front() else { break };
        let seed = run.seed;
        done += 1;
        if let Some(what) = finish(run)? {
            println!("{what}  replay with --seed {seed}");
            failed.push(seed);
        }
        if done.is_multiple_of(100) {
            println!("{done} runs, {} failed, {:.0} s", failed.len(), started.elapsed().as_secs_f64());
        }
    }
    println!("{done} runs, {} failed, {:.0} s", failed.len(), started.elapsed().as_secs_f64());
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let seeds: Vec<String> = failed.iter().map(u64::to_string).collect();
    println!("failed seeds: {}", seeds.join(" "));
    Ok(ExitCode::FAILURE)
}

fn start(seed: u64, arguments: &Arguments) -> Result<Run> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--quiet", "--seed", &seed.to_string()]).stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(bug) = arguments.bug {
        command.args(["--bug", bug.name()]);
    }
    let child = command.spawn().context("starting a run")?;
    Ok(Run { seed, child, started: Instant::now() })
}

/// Waits for a run; what was wrong, if something was.
fn finish(mut run: Run) -> Result<Option<String>> {
    loop {
        if run.child.try_wait()?.is_some() {
            break;
        }
        if run.started.elapsed() > LONGEST {
            run.child.kill()?;
            run.child.wait()?;
            return Ok(Some(format!("seed {} is stuck: no end within {LONGEST:?}\n", run.seed)));
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let output = run.child.wait_with_output()?;
    if output.status.success() {
        return Ok(None);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let tail: Vec<&str> = err.lines().rev().take(20).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Ok(Some(format!("{out}{}\n", tail.join("\n"))))
}
