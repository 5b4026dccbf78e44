//! A Go toolchain for the OpenTelemetry Collector: the machine's own, or one fetched
//! from the Go proxy, which serves toolchains as modules.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::{quietly, say};
use crate::setup::{CURL, PYTHON, cache, debian, runs};

const VERSION: &str = "1.25.0";

/// The archive's SHA-256, as the Go project publishes it for its toolchain modules.
const ARCHIVES: [(&str, &str, &str); 2] = [
    ("x86_64", "amd64", "891083c63e4d7a5020bdaa1911a9c5a1a966b993d9d3c1137d1727be04435e02"),
    ("aarch64", "arm64", "5b6d398c5062f2094ea8efd8487bd93f4b5a2876cbab4d635e747da9567b7705"),
];

/// A `PATH` in which `go` is found.
pub fn path() -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if runs("go", &["version"]) {
        return Ok(path);
    }
    let mut found = OsString::from(install()?.join("bin"));
    found.push(":");
    found.push(path);
    Ok(found)
}

/// Where the toolchain is, fetched if it is not there yet.
fn install() -> Result<PathBuf> {
    let machine = std::env::consts::ARCH;
    let Some((_, arch, sha256)) = ARCHIVES.into_iter().find(|(name, ..)| *name == machine) else {
        bail!("the tests build an OpenTelemetry Collector with Go: install Go {VERSION} or newer");
    };
    let module = format!("v0.0.1-go{VERSION}.linux-{arch}");
    let dir = cache()?.join("go");
    let root = dir.join(format!("golang.org/toolchain@{module}"));
    if root.join("installed").exists() {
        return Ok(root);
    }
    say(&format!("missing: go (builds the OpenTelemetry Collector); fetching Go {VERSION} into {}", dir.display()));
    debian(&[CURL])?;
    debian(&PYTHON)?;
    std::fs::create_dir_all(&dir)?;
    let proxies = std::env::var("GOPROXY").unwrap_or_default();
    let proxy = proxies.split([',', '|']).find(|p| p.starts_with("http")).unwrap_or("https://proxy.golang.org");
    let url = format!("{proxy}/golang.org/toolchain/@v/{module}.zip");
    let archive = dir.join("go.zip");
    let mut fetch = Command::new("curl");
    quietly("fetching Go", fetch.args(["-sSfL", &url, "-o"]).arg(&archive))?;
    let sums = dir.join("go.sha256");
    std::fs::write(&sums, format!("{sha256}  {}\n", archive.display()))?;
    quietly("checking Go's archive", Command::new("sha256sum").arg("-c").arg(&sums))
        .with_context(|| format!("{url} is not what the Go project publishes"))?;
    let mut unpack = Command::new("python3");
    quietly("unpacking Go", unpack.args(["-m", "zipfile", "-e"]).arg(&archive).arg(&dir))?;
    // Module archives have no execute permissions.
    quietly("permitting Go", Command::new("chmod").arg("-R").arg("+x").args(["bin", "pkg/tool"]).current_dir(&root))?;
    std::fs::remove_file(archive)?;
    std::fs::write(root.join("installed"), "")?;
    Ok(root)
}
