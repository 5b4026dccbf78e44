//! Helm, which the tests of the chart render it with: built from source in one version.

use std::process::Command;

use anyhow::Result;

use crate::progress::{quietly, say};
use crate::setup::{Package, cache, debian, is, runs};

const MODULE: &str = "helm.sh/helm/v3/cmd/helm";
/// The newest that the Go of `go.rs` builds: later ones ask for Go 1.26.
const VERSION: &str = "v3.20.2";

const CURL: [Package; 1] = [Package {
    name: "curl",
    reason: "asks the Kubernetes API in the chart's scripts, which the tests run",
    present: || runs("curl", &["--version"]),
}];

/// Builds Helm where it is missing or of another version.
pub fn install() -> Result<()> {
    debian(&CURL)?;
    let dir = cache()?.join("helm");
    let stamp = dir.join("version");
    if is(&stamp, VERSION) && dir.join("helm").exists() {
        return Ok(());
    }
    let path = crate::go::path()?;
    say(&format!("building Helm {VERSION} into {}: the tests of the chart render it", dir.display()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    let mut install = Command::new("go");
    install.args(["install", &format!("{MODULE}@{VERSION}")]);
    install.env("GOBIN", &dir).env("GOFLAGS", "-buildvcs=false").env("PATH", &path);
    quietly("building Helm, a few minutes the first time", &mut install)?;
    std::fs::write(stamp, VERSION)?;
    Ok(())
}
