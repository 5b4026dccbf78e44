//! `bonghwa check`: what can be checked without a server.

mod exposition;
mod lint;

use std::io::Read;

use anyhow::{Context, Result, bail};
use clap::Subcommand;

/// What to check.
#[derive(Subcommand)]
pub enum CheckCommand {
    /// Read metrics as text from standard input, as a target shows them, and say which names, types and
    /// helps break Prometheus' conventions. The exit code is 3 where some do.
    Metrics,
}

/// Exit code for metrics that can be read and break conventions, as `promtool` has it.
const UNCONVENTIONAL: u8 = 3;

/// Checks, and gives the exit code.
pub fn run(command: &CheckCommand) -> Result<u8> {
    let CheckCommand::Metrics = command;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input is no text")?;
    let metrics = match exposition::parse(&text) {
        Ok(metrics) => metrics,
        Err(error) => bail!("line {}: {}", error.line, error.message),
    };
    let problems = lint::lint(&metrics);
    for problem in &problems {
        println!("{} {}", problem.metric, problem.text);
    }
    eprintln!("{} metrics, {} problems", metrics.len(), problems.len());
    Ok(if problems.is_empty() { 0 } else { UNCONVENTIONAL })
}
