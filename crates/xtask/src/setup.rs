//! Installs what the build, the tests and the demo need and this machine lacks.
//! What is there already is left alone; what is installed is said, with the reason.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::root;
use crate::progress::{quietly, say};

/// The Collector's own builder, in the version of `tests/collector/builder.yaml`.
const BUILDER: &str = "go.opentelemetry.io/collector/cmd/builder";

/// The user's home.
pub fn home() -> Result<PathBuf> {
    Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?))
}

/// Where the tools go: `BONGHWA_CACHE`, or `~/.cache/bonghwa/tools`.
pub fn cache() -> Result<PathBuf> {
    match std::env::var_os("BONGHWA_CACHE") {
        Some(dir) => Ok(root().join(dir)),
        None => Ok(home()?.join(".cache/bonghwa/tools")),
    }
}

/// What the build needs, and all that the tests need.
pub fn everything() -> Result<()> {
    build_tools()?;
    python()?;
    debian(&CLUSTER)?;
    crate::helm::install()?;
    crate::debian::unpack()?;
    collector()
}

/// A Debian package, and how to know that it is not needed.
pub struct Package {
    /// As apt knows it.
    pub name: &'static str,
    /// What it is for, told to the person whose machine gets it.
    pub reason: &'static str,
    /// Whether what it brings is there.
    pub present: fn() -> bool,
}

const BUILD: [Package; 4] = [
    Package { name: "g++", reason: "compiles RocksDB", present: || runs("c++", &["--version"]) },
    Package { name: "make", reason: "builds jemalloc", present: || runs("make", &["--version"]) },
    Package { name: "clang", reason: "bindgen asks it for header paths", present: || runs("clang", &["--version"]) },
    Package { name: "libclang-dev", reason: "bindgen reads RocksDB's C header with it", present: libclang },
];

/// What Python packages are installed with.
pub const PYTHON: [Package; 2] = [
    Package {
        name: "python3",
        reason: "runs the demo's shop and the tests' SDK",
        present: || runs("python3", &["--version"]),
    },
    Package {
        name: "python3-venv",
        reason: "keeps the Python packages apart from the system's",
        present: || runs("python3", &["-c", "import venv, ensurepip"]),
    },
];

/// What the tests' cluster of processes needs.
const CLUSTER: [Package; 1] = [Package {
    name: "iproute2",
    reason: "gives each node of the tests' cluster a network of its own",
    present: || runs("ip", &["-V"]),
}];

/// Compilers.
pub fn build_tools() -> Result<()> {
    debian(&BUILD)
}

/// A virtual environment with the packages of `tests/python/requirements.txt`.
pub fn python() -> Result<()> {
    let wanted = std::fs::read_to_string(root().join("tests/python/requirements.txt"))?;
    let venv = cache()?.join("venv");
    let stamp = venv.join("requirements.txt");
    if is(&stamp, &wanted) {
        return Ok(());
    }
    debian(&PYTHON)?;
    if venv.exists() {
        std::fs::remove_dir_all(&venv)?;
    }
    say(&format!("installing the OpenTelemetry SDK, DuckDB, pyarrow and Kubernetes' schemas into {}", venv.display()));
    quietly("creating the virtual environment", Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--disable-pip-version-check", "--requirement"]);
    quietly("installing Python packages", pip.arg(root().join("tests/python/requirements.txt")))?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// The OpenTelemetry Collector, built from `tests/collector/builder.yaml`.
pub fn collector() -> Result<()> {
    let wanted = std::fs::read_to_string(root().join("tests/collector/builder.yaml"))?;
    let cache = cache()?;
    let out = cache.join("otelcol");
    let stamp = out.join("built-from.yaml");
    if is(&stamp, &wanted) && out.join("otelcol").exists() {
        return Ok(());
    }
    let path = crate::go::path()?;
    let version =
        wanted.lines().find_map(|l| l.trim().strip_prefix("version: ")).context("builder.yaml: no version")?;
    say(&format!("building the OpenTelemetry Collector {version} into {}", out.display()));
    if out.exists() {
        std::fs::remove_dir_all(&out)?;
    }
    std::fs::create_dir_all(&out)?;
    let mut install = Command::new("go");
    install.args(["install", &format!("{BUILDER}@v{version}")]).env("GOBIN", cache.join("bin")).env("PATH", &path);
    quietly("building the Collector's builder", &mut install)?;
    // The manifest has no place for its output that suits every machine.
    let manifest = cache.join("builder.yaml");
    std::fs::write(&manifest, wanted.replace("dist:\n", &format!("dist:\n  output_path: {}\n", out.display())))?;
    let mut build = Command::new(cache.join("bin/builder"));
    build.arg("--config").arg(&manifest).env("GOFLAGS", "-buildvcs=false").env("PATH", &path);
    quietly("building the Collector, a few minutes the first time", &mut build)?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// Installs those that are missing.
pub fn debian(packages: &[Package]) -> Result<()> {
    let missing: Vec<&Package> = packages.iter().filter(|p| !(p.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        say(&format!("missing: {} ({})", package.name, package.reason));
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    if !runs("apt-get", &["--version"]) {
        bail!("install these and start again: {}", names.join(", "));
    }
    let root = runs("sh", &["-c", "test \"$(id -u)\" = 0"]);
    let apt = |args: &[&str]| {
        let mut command = Command::new(if root { "apt-get" } else { "sudo" });
        if !root {
            command.arg("apt-get");
        }
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    quietly("apt-get update", &mut apt(&["update"]))?;
    let what = format!("apt-get install {}", names.join(" "));
    quietly(&what, apt(&["install", "--yes", "--no-install-recommends"]).args(&names))
}

/// Whether a program is there and answers.
pub fn runs(program: &str, args: &[&str]) -> bool {
    let quiet = (Stdio::null(), Stdio::null(), Stdio::null());
    let status = Command::new(program).args(args).stdin(quiet.0).stdout(quiet.1).stderr(quiet.2).status();
    status.is_ok_and(|s| s.success())
}

/// Whether a shared libclang lies where bindgen looks.
fn libclang() -> bool {
    let has = |dir: &Path| {
        let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
        files
            .into_iter()
            .any(|f| f.file_name().to_str().is_some_and(|n| n.starts_with("libclang") && n.contains(".so")))
    };
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|d| d.path().join("lib"));
    let fixed = ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    let chosen = std::env::var_os("LIBCLANG_PATH").map(PathBuf::from);
    chosen.into_iter().chain(fixed.map(PathBuf::from)).chain(llvm).any(|dir| has(&dir))
}

/// Whether a file has this content.
pub fn is(file: &Path, content: &str) -> bool {
    std::fs::read_to_string(file).is_ok_and(|c| c == content)
}
