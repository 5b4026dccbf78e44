//! `cargo xtask <task>`: everything that a person or CI does with this repository.

// The seams that the product's clock and processes go through are not for its tools.
#![allow(clippy::disallowed_methods)]

mod cargo;
mod debian;
mod demo;
mod fuzz;
mod go;
mod helm;
mod progress;
mod setup;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set up, demo, test, bench, simulate, fuzz, CI")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the build and the tests need and lack, and says what
    Setup,
    /// Starts a server, feeds it a small shop's telemetry, and shows what to ask
    Demo(demo::Args),
    /// Sets up and runs all tests
    Test {
        /// Passed on to `cargo test`, e.g. `-p bonghwa-tests --test crash`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What CI checks
    Ci {
        /// Only these, in this order; by default all
        #[arg(value_enum)]
        stages: Vec<Stage>,
    },
    /// Runs a benchmark, e.g. `bench ingest` or `bench storage`
    Bench {
        /// Passed on to the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Simulates clusters under faults, e.g. `sim --minutes 10`, `sim --seeds 1000`, `sim --seed 7`
    Sim {
        /// Passed on to the simulation
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Fuzzes the decoders with cargo-fuzz and a nightly toolchain
    Fuzz(fuzz::Args),
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Stage {
    Format,
    Clippy,
    Docs,
    Test,
}

fn main() -> Result<()> {
    match Args::parse().task {
        Task::Setup => setup::everything(),
        Task::Demo(args) => demo::run(&args),
        Task::Test { args } => {
            setup::everything()?;
            cargo::test(&args)
        }
        Task::Ci { stages } => ci(&stages),
        Task::Bench { args } => {
            setup::build_tools()?;
            cargo::bench(&args)
        }
        Task::Sim { args } => {
            setup::build_tools()?;
            cargo::sim(&args)
        }
        Task::Fuzz(args) => fuzz::run(&args),
    }
}

fn ci(stages: &[Stage]) -> Result<()> {
    let all = [Stage::Format, Stage::Clippy, Stage::Docs, Stage::Test];
    for stage in if stages.is_empty() { &all[..] } else { stages } {
        match stage {
            Stage::Format => cargo::format()?,
            Stage::Clippy => {
                setup::build_tools()?;
                cargo::clippy()?;
            }
            Stage::Docs => {
                setup::build_tools()?;
                cargo::docs()?;
            }
            Stage::Test => {
                setup::everything()?;
                cargo::test(&[])?;
            }
        }
    }
    Ok(())
}
