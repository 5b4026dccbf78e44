//! Prometheus, which the tests have send to a server: Debian's, unpacked beside the other tools. It is not
//! installed, since that would start a service.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::{quietly, say};
use crate::setup::{cache, runs};

/// Unpacks it where it is missing.
pub fn install() -> Result<()> {
    let dir = cache()?.join("prometheus");
    if dir.join("usr/bin/prometheus").exists() {
        return Ok(());
    }
    if !runs("apt-get", &["--version"]) || !runs("dpkg-deb", &["--version"]) {
        bail!("put Prometheus where the tests look, and start again: {}", dir.join("usr/bin/prometheus").display());
    }
    say(&format!("unpacking Prometheus into {}: the tests have it send to a server", dir.display()));
    let download = cache()?.join("download");
    for dir in [&dir, &download] {
        if dir.exists() {
            std::fs::remove_dir_all(dir)?;
        }
        std::fs::create_dir_all(dir)?;
    }
    let get = || {
        let mut get = Command::new("apt-get");
        get.args(["download", "prometheus"]).current_dir(&download);
        quietly("downloading Debian's package of Prometheus", &mut get)
    };
    if get().is_err() {
        // The lists of packages may be old or not there at all.
        quietly("apt-get update", Command::new("apt-get").arg("update"))?;
        get()?;
    }
    let package = std::fs::read_dir(&download)?.next().context("apt-get downloaded nothing")??.path();
    quietly("unpacking it", Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&dir))?;
    std::fs::remove_dir_all(&download)?;
    Ok(())
}
