//! The peers: found on PATH or in the cache, else installed into the cache. Debian's
//! packages are unpacked there instead of installed: an installed one would start a service.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use bonghwa_testkit::tools;

const CHDB: &str = "chdb-core==26.9.0";

/// A server that Debian packages; package and program have the same name.
pub fn debian(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(file) = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|f| f.is_file()) {
        return Ok(file);
    }
    let dir = cache()?.join(name);
    let program = dir.join("usr/bin").join(name);
    if !program.exists() {
        unpack(name, &dir).with_context(|| format!("{name} is neither on PATH nor could it be had from Debian"))?;
    }
    Ok(program)
}

/// Its version, as Debian has it: VictoriaMetrics as built there does not know its own.
pub fn debian_version(name: &str) -> Result<String> {
    let program = debian(name)?;
    if let Ok(version) = std::fs::read_to_string(version_file(&cache()?.join(name)))
        && program.starts_with(cache()?)
    {
        return Ok(version);
    }
    let query = Command::new("dpkg-query").args(["--show", "--showformat=${Version}", name]).output()?;
    let version = String::from_utf8(query.stdout)?;
    // A program on PATH that is no package's.
    Ok(if version.is_empty() { program.display().to_string() } else { version })
}

/// Python with ClickHouse in it.
pub fn clickhouse() -> Result<PathBuf> {
    let venv = tools::cache()?.join("bench-venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join("installed"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == CHDB) {
        return Ok(python);
    }
    eprintln!("installing {CHDB} (ClickHouse as a Python library, 800 MB) from PyPI into {}", venv.display());
    quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    quietly(Command::new(venv.join("bin/pip")).args(["install", "--disable-pip-version-check", CHDB]))?;
    std::fs::write(stamp, CHDB)?;
    Ok(python)
}

/// Installs what is missing; says what is there and what cannot be had.
pub async fn everything() -> Result<()> {
    let peers = [
        ("prometheus", debian("prometheus")),
        ("victoria-metrics", debian("victoria-metrics")),
        ("ClickHouse (chdb)", clickhouse()),
    ];
    let mut missing = vec![];
    for (name, found) in peers {
        match found {
            Ok(file) => println!("{name}: {}", file.display()),
            Err(error) => missing.push(format!("{name}: {error:#}")),
        }
    }
    ensure!(missing.is_empty(), "missing peers:\n{}", missing.join("\n"));
    Ok(())
}

fn cache() -> Result<PathBuf> {
    Ok(tools::cache()?.join("bench"))
}

fn unpack(package: &str, dir: &Path) -> Result<()> {
    eprintln!("unpacking Debian's {package} into {}", dir.display());
    let download = tempfile::Builder::new().prefix("bonghwa-bench-").tempdir()?;
    let get = || quietly(Command::new("apt-get").args(["download", package]).current_dir(download.path()));
    if get().is_err() {
        // The lists of packages may be old or not there at all.
        quietly(Command::new("apt-get").arg("update"))?;
        get()?;
    }
    let deb = std::fs::read_dir(download.path())?.next().context("apt-get left no file")??.path();
    std::fs::create_dir_all(dir)?;
    let version = Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Version").output()?;
    std::fs::write(version_file(dir), String::from_utf8(version.stdout)?.trim())?;
    quietly(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(dir))
}

fn version_file(dir: &Path) -> PathBuf {
    dir.join("version")
}

/// Shows the output only if the command fails.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
