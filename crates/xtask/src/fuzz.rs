//! Fuzzing the decoders of `crates/wire`.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::cargo::{root, target_dir};
use crate::progress::{quietly, show};

const DIR: &str = "crates/wire/fuzz";

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub struct Args {
    /// Only this target; by default all
    #[arg(long)]
    target: Option<String>,
    /// For each target
    #[arg(long, default_value_t = 2)]
    minutes: u64,
}

/// Runs the targets one after another.
pub fn run(args: &Args) -> Result<()> {
    crate::setup::build_tools()?;
    if !succeeds(nightly(&["fuzz", "--version"]))? {
        quietly("installing cargo-fuzz", &mut nightly(&["install", "--locked", "cargo-fuzz"]))
            .context("cargo-fuzz needs a nightly toolchain: `rustup toolchain install nightly`")?;
    }
    let targets = match &args.target {
        Some(target) => vec![target.clone()],
        None => {
            let list = nightly(&["fuzz", "list", "--fuzz-dir", DIR]).output()?;
            ensure!(list.status.success(), "{}", String::from_utf8_lossy(&list.stderr));
            String::from_utf8(list.stdout)?.lines().map(str::to_owned).collect()
        }
    };
    ensure!(!targets.is_empty(), "no fuzz targets in {DIR}");
    for target in targets {
        let time = format!("-max_total_time={}", args.minutes * 60);
        let mut fuzz = nightly(&["fuzz", "run", "--fuzz-dir", DIR, &target, "--", &time, "-rss_limit_mb=4096"]);
        show(fuzz.env("CARGO_TARGET_DIR", target_dir()?.join("fuzz")))?;
    }
    Ok(())
}

fn nightly(args: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.arg("+nightly").args(args).current_dir(root());
    // `cargo xtask` runs on the pinned toolchain and hands it on.
    command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").env_remove("RUSTC");
    command
}

fn succeeds(mut command: Command) -> Result<bool> {
    Ok(command.output().context("starting cargo")?.status.success())
}
