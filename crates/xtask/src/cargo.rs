//! The cargo commands. All of them share one target directory and one profile, so that
//! the dependencies are built once.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{progress, setup};

/// The repository's root.
pub fn root() -> PathBuf {
    // Set at run time by `cargo run`; a binary that was moved runs where it was built.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let manifest = PathBuf::from(manifest);
    manifest.ancestors().nth(2).map(Path::to_path_buf).unwrap_or(manifest)
}

/// `CARGO_TARGET_DIR`, or `~/.cache/bonghwa/target`.
pub fn target_dir() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => Ok(root().join(dir)),
        None => Ok(setup::home()?.join(".cache/bonghwa/target")),
    }
}

/// Where the release build leaves the server.
pub fn server() -> Result<PathBuf> {
    Ok(target_dir()?.join("release/bonghwa"))
}

fn cargo(task: &str) -> Result<Command> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.arg(task).current_dir(root());
    command.env("CARGO_TARGET_DIR", target_dir()?);
    command.env("BONGHWA_CACHE", setup::cache()?);
    // What cargo told xtask about xtask is not true of its child.
    for (name, _) in std::env::vars_os() {
        let stale = name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"));
        if stale {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Builds the server.
pub fn build_server() -> Result<()> {
    // The whole workspace decides the features of the dependencies; a build of one package
    // would choose others, and compile them again.
    progress::show(cargo("build")?.args(["--release", "--workspace", "--bins"]))
}

/// Builds and runs the tests.
pub fn test(args: &[String]) -> Result<()> {
    // The end-to-end tests start the server's binary, which `cargo test` alone may not build.
    progress::show(cargo("build")?.args(["--release", "--workspace", "--bins", "--tests", "--examples"]))?;
    let mut test = cargo("test")?;
    test.arg("--release");
    if !args.iter().any(|a| a == "-p" || a == "--package") {
        test.arg("--workspace");
    }
    progress::show(test.args(args))?;
    progress::say("all tests passed");
    Ok(())
}

/// Checks the format.
pub fn format() -> Result<()> {
    progress::show(cargo("fmt")?.args(["--all", "--check"]))
}

/// Denies warnings.
pub fn clippy() -> Result<()> {
    let args = ["--release", "--workspace", "--all-targets", "--", "-D", "warnings"];
    progress::show(cargo("clippy")?.args(args))
}

/// Builds the API documentation and denies warnings.
pub fn docs() -> Result<()> {
    let mut doc = cargo("doc")?;
    // Private items are documented too, so a link to one leads somewhere.
    doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    progress::show(doc.args(["--release", "--workspace", "--no-deps", "--document-private-items"]))
}

/// Runs the benchmarks' binary.
pub fn bench(args: &[String]) -> Result<()> {
    build_server()?;
    // That built it too; `cargo run --package` would choose other features and compile DataFusion again.
    let mut run = Command::new(target_dir()?.join("release/bench"));
    run.args(args).current_dir(root()).env("BONGHWA_CACHE", setup::cache()?).env("BONGHWA_BIN", server()?);
    progress::show(&mut run).context("the benchmark failed")
}

/// Runs the simulation's binary.
pub fn sim(args: &[String]) -> Result<()> {
    build_server()?;
    let mut run = Command::new(target_dir()?.join("release/sim"));
    progress::show(run.args(args).current_dir(root())).context("a simulation found a violation")
}
