//! Programs of Debian that the tests run, unpacked beside the other tools. They are not installed, since that would
//! start services.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::{quietly, say};
use crate::setup::{cache, runs};

/// A package that is unpacked.
struct Unpacked {
    /// What it is called.
    title: &'static str,
    /// The package, and the program that it has in `usr/bin`.
    package: &'static str,
    /// The directory among the tools.
    dir: &'static str,
    /// What it is for, told to the person whose machine gets it.
    reason: &'static str,
}

const UNPACKED: [Unpacked; 2] = [
    Unpacked {
        title: "Prometheus",
        package: "prometheus",
        dir: "prometheus",
        reason: "the tests have it send to a server, and compare what it scrapes",
    },
    Unpacked {
        title: "node_exporter",
        package: "prometheus-node-exporter",
        dir: "node_exporter",
        reason: "the tests scrape it",
    },
];

/// Unpacks those that are missing.
pub fn unpack() -> Result<()> {
    UNPACKED.iter().try_for_each(Unpacked::install)
}

impl Unpacked {
    fn install(&self) -> Result<()> {
        let dir = cache()?.join(self.dir);
        let program = dir.join("usr/bin").join(self.package);
        if program.exists() {
            return Ok(());
        }
        if !runs("apt-get", &["--version"]) || !runs("dpkg-deb", &["--version"]) {
            bail!("put {} where the tests look, and start again: {}", self.title, program.display());
        }
        say(&format!("unpacking {} into {}: {}", self.title, dir.display(), self.reason));
        let download = cache()?.join("download");
        for dir in [&dir, &download] {
            if dir.exists() {
                std::fs::remove_dir_all(dir)?;
            }
            std::fs::create_dir_all(dir)?;
        }
        let get = || {
            let mut get = Command::new("apt-get");
            get.args(["download", self.package]).current_dir(&download);
            quietly(&format!("downloading Debian's package of {}", self.title), &mut get)
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
}
