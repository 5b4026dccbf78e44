//! A process of a cluster with some of the roles, on a directory and ports of its own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::server::{CommandLine, Process};
use crate::sql::Sql;
use crate::{Sender, ports, tools, wait};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(60);

/// A node. Dropped, it is killed; dropped without [`Node::stop`], it shows the end of its log.
pub struct Node {
    // Declared first: the process ends before its directory goes.
    process: Process,
    dir: TempDir,
    name: String,
    args: Vec<OsString>,
    http: u16,
    grpc: u16,
    otlp_http: u16,
    client: reqwest::Client,
    stopped: bool,
}

impl Node {
    /// Starts a node with these roles and flags, and does not wait for it: it may be one that never
    /// becomes ready.
    pub fn start(name: &str, target: &str, flags: &[String]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-test-").tempdir()?;
        let (http, grpc, otlp_http) = (ports::free()?, ports::free()?, ports::free()?);
        let mut args: Vec<OsString> = ["serve", "--node-name", name, "--target", target].map(Into::into).to_vec();
        args.extend(["--data-dir".into(), dir.path().join("data").into()]);
        for (flag, port) in [
            ("--http-listen", http),
            ("--grpc-listen", grpc),
            ("--otlp-grpc-listen", ports::free()?),
            ("--otlp-http-listen", otlp_http),
        ] {
            args.extend([flag.into(), format!("127.0.0.1:{port}").into()]);
        }
        args.extend(flags.iter().map(Into::into));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build()?;
        let process = Process { child: None, log: dir.path().join("node.log") };
        let mut node =
            Node { process, dir, name: name.to_owned(), args, http, grpc, otlp_http, client, stopped: false };
        node.restart()?;
        Ok(node)
    }

    /// Starts the process again on the same directory and ports.
    pub fn restart(&mut self) -> Result<()> {
        ensure!(self.process.child.is_none(), "{} still runs", self.name);
        self.process.spawn(&CommandLine { program: tools::bonghwa()?, args: self.args.clone(), env: vec![] })
    }

    /// Waits until it takes requests.
    pub async fn ready(&mut self) -> Result<()> {
        let (http, ready) = (self.client.clone(), self.url("/ready"));
        let what = format!("{} becomes ready", self.name);
        let process = &mut self.process;
        wait::until(&what, START, || {
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

    /// Waits until its log says all of these words in one line; the line.
    pub async fn says(&self, words: &[&str]) -> Result<String> {
        let what = format!("{} says {words:?}", self.name);
        wait::until(&what, START, || async {
            let log = std::fs::read_to_string(&self.process.log).map_err(|error| error.to_string())?;
            let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned).ok_or_else(|| self.process.log_tail())
        })
        .await
    }

    /// Ends the process as a power cut would.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Asks the process to end, waits until it has, and checks that it ended well.
    pub async fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate(STOP).await?;
        ensure!(status.success(), "{} ended with {status}\n{}", self.name, self.process.log_tail());
        self.stopped = true;
        Ok(())
    }

    /// A URL on the API port.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// HOST:PORT of the port between nodes.
    pub fn grpc(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    /// Sends OTLP over HTTP.
    pub fn sender(&self) -> Sender {
        Sender::new(format!("http://127.0.0.1:{}", self.otlp_http))
    }

    /// SQL over HTTP.
    pub fn sql(&self) -> Sql {
        Sql::new(self.client.clone(), self.url("/api/v1/sql"))
    }

    /// An HTTP client with a timeout.
    pub fn http(&self) -> &reqwest::Client {
        &self.client
    }

    /// The node's directory.
    pub fn directory(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing more can be done about an error here.
        let _ = self.process.kill();
        if !self.stopped {
            eprintln!("--- the log of {} ends with\n{}\n---", self.name, self.process.log_tail());
        }
    }
}
