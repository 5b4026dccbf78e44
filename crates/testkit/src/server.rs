//! A `bonghwa serve` process on a directory of its own, that can be killed and started again.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::s3::S3;
use crate::sql::Sql;
use crate::{Sender, ports, tools, wait};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// Where a server keeps its blocks.
#[derive(Clone)]
pub enum Store {
    /// A directory below the server's data directory: the default.
    Local,
    /// The testkit's S3 server.
    S3(Arc<S3>),
}

impl Store {
    /// The directory in which the objects lie as files.
    pub fn objects(&self, server: &Server) -> PathBuf {
        match self {
            Store::Local => server.data_dir().join("objects"),
            Store::S3(s3) => s3.objects(),
        }
    }
}

#[derive(Clone, Copy)]
struct Ports {
    http: u16,
    grpc: u16,
    otlp_grpc: u16,
    otlp_http: u16,
}

/// A server. Dropped, it is killed; dropped without [`Server::stop`], it shows the end of
/// its log, since then the test has failed.
pub struct Server {
    // Declared first: the process ends before its directory goes.
    process: Process,
    dir: TempDir,
    store: Store,
    env: Vec<(String, String)>,
    ports: Ports,
    http: reqwest::Client,
    stopped: bool,
}

impl Server {
    /// Starts a server with defaults and waits until it is ready.
    pub async fn start(store: Store) -> Result<Self> {
        Self::start_with(store, &[]).await
    }

    /// Starts a server with settings from the environment and waits until it is ready.
    pub async fn start_with(store: Store, env: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-test-").tempdir()?;
        let ports =
            Ports { http: ports::free()?, grpc: ports::free()?, otlp_grpc: ports::free()?, otlp_http: ports::free()? };
        let mut server = Server {
            process: Process { child: None, log: dir.path().join("server.log") },
            dir,
            store,
            env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ports,
            http: reqwest::Client::builder().timeout(Duration::from_secs(120)).no_proxy().build()?,
            stopped: false,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Starts the process again on the same directory and ports.
    pub async fn restart(&mut self) -> Result<()> {
        ensure!(self.process.child.is_none(), "the server still runs");
        self.process.spawn(&self.command(&["serve"])?)?;
        let ready = self.url("/ready");
        let http = self.http.clone();
        let process = &mut self.process;
        wait::until("the server becomes ready", START, || {
            let alive = process.check_alive();
            let request = http.get(&ready).timeout(Duration::from_secs(5)).send();
            async move {
                // An exit is final: no reason to poll on.
                if let Err(exit) = alive {
                    return Ok(Err(exit));
                }
                match request.await {
                    Ok(answer) if answer.status().is_success() => Ok(Ok(())),
                    Ok(answer) => Err(format!("/ready answers {}", answer.status())),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await?
    }

    /// Runs another command of the binary with the flags and the environment of this server:
    /// what it printed.
    pub async fn run(&self, command: &[&str]) -> Result<String> {
        self.command(command)?.run().await
    }

    fn command(&self, command: &[&str]) -> Result<CommandLine> {
        let mut args: Vec<OsString> = command.iter().map(Into::into).collect();
        args.extend(["--data-dir".into(), self.data_dir().into()]);
        for (flag, port) in [
            ("--http-listen", self.ports.http),
            ("--grpc-listen", self.ports.grpc),
            ("--otlp-grpc-listen", self.ports.otlp_grpc),
            ("--otlp-http-listen", self.ports.otlp_http),
        ] {
            args.extend([flag.into(), format!("127.0.0.1:{port}").into()]);
        }
        let mut env = self.env.clone();
        if let Store::S3(s3) = &self.store {
            args.extend(["--object-store".into(), s3.url().into(), "--s3-endpoint".into(), s3.endpoint().into()]);
            env.extend(s3.env());
        }
        Ok(CommandLine { program: tools::bonghwa()?, args, env })
    }

    /// Ends the process as a power cut would: SIGKILL, no warning.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks the process to end (SIGTERM), waits until it has, and checks that it ended well.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate(STOP).await?;
        ensure!(status.success(), "the server ended with {status}\n{}", self.log_tail());
        self.stopped = true;
        Ok(())
    }

    /// Writes everything that is in memory to blocks.
    pub async fn flush(&self) -> Result<()> {
        let answer = self.http.post(self.url("/admin/flush")).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "POST /admin/flush answers {status}: {text}");
        Ok(())
    }

    /// A URL on the API port.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.http)
    }

    /// The URL of the OTLP/HTTP port, without a path.
    pub fn otlp_http(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.otlp_http)
    }

    /// `HOST:PORT` of OTLP/gRPC.
    pub fn otlp_grpc(&self) -> String {
        format!("127.0.0.1:{}", self.ports.otlp_grpc)
    }

    /// `HOST:PORT` at which other nodes reach it.
    pub fn grpc(&self) -> String {
        format!("127.0.0.1:{}", self.ports.grpc)
    }

    /// SQL over HTTP.
    pub fn sql(&self) -> Sql {
        Sql::new(self.http.clone(), self.url("/api/v1/sql"))
    }

    /// Sends OTLP over HTTP.
    pub fn sender(&self) -> Sender {
        Sender::new(self.otlp_http())
    }

    /// An HTTP client with a timeout.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The directory in which the blocks lie as files.
    pub fn objects(&self) -> PathBuf {
        self.store.objects(self)
    }

    /// Whether the process runs.
    pub fn check_alive(&mut self) -> Result<()> {
        self.process.check_alive()
    }

    /// Resident memory now and at its peak, in bytes.
    pub fn memory(&self) -> Result<Memory> {
        let child = self.process.child.as_ref().context("the server does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find(|l| l.starts_with(name)).with_context(|| format!("no {name}"))?;
            let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
            Ok(kib * 1024)
        };
        Ok(Memory { now: field("VmRSS:")?, peak: field("VmHWM:")? })
    }

    /// The end of what the process printed.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

/// Resident memory of a server, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub now: u64,
    /// At most, since the process started.
    pub peak: u64,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing more can be done about an error here.
        let _ = self.process.kill();
        if !self.stopped {
            eprintln!("--- the server's log ends with\n{}\n---", self.log_tail());
        }
    }
}

/// A program, its arguments and its environment.
pub(crate) struct CommandLine {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(String, String)>,
}

impl CommandLine {
    /// Runs it to its end, which must be a good one: what it printed.
    pub async fn run(self) -> Result<String> {
        let mut process = Command::new(&self.program);
        process.args(&self.args).envs(self.env).stdin(Stdio::null());
        let output = tokio::task::spawn_blocking(move || process.output()).await?;
        let output = output.with_context(|| format!("starting {}", self.program.display()))?;
        let text = [output.stdout, output.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
        ensure!(output.status.success(), "{:?} ended with {}:\n{text}", self.args, output.status);
        Ok(text)
    }
}

/// A child process whose output goes to a file. Only this child is ever signalled.
pub(crate) struct Process {
    pub child: Option<Child>,
    pub log: PathBuf,
}

impl Process {
    pub fn spawn(&mut self, line: &CommandLine) -> Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&line.program);
        // The server reads its settings from there: those of the test's own run are not meant for it.
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("BONGHWA_")) {
            command.env_remove(name);
        }
        let child = command
            .args(&line.args)
            .envs(line.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", line.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        let child = self.child.as_mut().context("the process does not run")?;
        // The standard library can only send SIGKILL.
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &child.id().to_string()]).status()?;
        ensure!(sent.success(), "could not signal the process");
        let status = wait::until("the process ends after SIGTERM", within, || {
            let status = child.try_wait();
            async move {
                match status {
                    Ok(Some(status)) => Ok(status),
                    Ok(None) => Err("it still runs".into()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await
        .with_context(|| self.log_tail())?;
        self.child = None;
        Ok(status)
    }

    pub fn check_alive(&mut self) -> Result<()> {
        let child = self.child.as_mut().context("the process does not run")?;
        if let Some(status) = child.try_wait()? {
            self.child = None;
            bail!("the process ended with {status}\n{}", self.log_tail());
        }
        Ok(())
    }

    pub fn log_tail(&self) -> String {
        tail(&self.log, 6_000).unwrap_or_else(|error| format!("(no log: {error})"))
    }
}

fn tail(file: &Path, bytes: u64) -> Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
    let mut text = vec![];
    file.read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
