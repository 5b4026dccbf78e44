//! The tools that `cargo xtask setup` installs, and the binary under test.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::server::CommandLine;

/// Where set-up puts its tools: `BONGHWA_CACHE`, or `~/.cache/bonghwa/tools`.
pub fn cache() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("BONGHWA_CACHE") {
        return Ok(PathBuf::from(dir));
    }
    let home = std::env::var_os("HOME").context("neither BONGHWA_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/bonghwa/tools"))
}

/// Python with the OpenTelemetry SDK, DuckDB, pyarrow and Kubernetes' schemas.
pub fn python() -> Result<PathBuf> {
    installed("venv/bin/python")
}

/// The OpenTelemetry Collector.
pub fn collector() -> Result<PathBuf> {
    installed("otelcol/otelcol")
}

/// Helm.
pub fn helm() -> Result<PathBuf> {
    installed("helm/helm")
}

/// Prometheus.
pub fn prometheus() -> Result<PathBuf> {
    installed("prometheus/usr/bin/prometheus")
}

/// node_exporter.
pub fn node_exporter() -> Result<PathBuf> {
    installed("node_exporter/usr/bin/prometheus-node-exporter")
}

fn installed(path: &str) -> Result<PathBuf> {
    let file = cache()?.join(path);
    if !file.exists() {
        bail!("{} is not installed: run `cargo xtask setup`", file.display());
    }
    Ok(file)
}

/// The server's binary: `BONGHWA_BIN`, or the one that was built beside this test.
pub fn bonghwa() -> Result<PathBuf> {
    if let Some(file) = std::env::var_os("BONGHWA_BIN") {
        return Ok(PathBuf::from(file));
    }
    built("bonghwa")
}

/// The S3 server as a process: the example `s3` that was built beside this test.
pub fn s3() -> Result<PathBuf> {
    built("examples/s3")
}

fn built(path: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.ancestors().nth(2).context("the test runs outside of a target directory")?;
    let file = profile.join(path);
    if !file.exists() {
        bail!(
            "{} is not built: run `cargo xtask test`, or build the workspace's binaries and examples first",
            file.display()
        );
    }
    Ok(file)
}

/// Runs a command of the binary that needs no server: what it printed.
pub async fn run(args: &[&OsStr]) -> Result<String> {
    let args = args.iter().map(|a| (*a).to_owned()).collect();
    CommandLine { program: bonghwa()?, args, env: vec![] }.run().await
}

/// The directory of the end-to-end tests in the source tree.
pub fn tests_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests")
}
