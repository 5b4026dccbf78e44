//! `bonghwa`: one binary, all roles.

mod auth;
mod cli;
mod commands;
mod compression;
mod config;
mod identity;
mod late;
mod limits;
mod membership;
mod node;
mod pages;
mod peer;
mod prometheus;
mod roles;
mod scraping;
mod selfotel;
mod serve;
mod storage;
mod units;

use std::process::ExitCode;

use clap::Parser;

/// Long-running servers on glibc's allocator keep what a burst took; jemalloc gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bonghwa: {error:#}");
            ExitCode::FAILURE
        }
    }
}
