//! Our server: started on an empty directory, flushed, asked what it holds.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bonghwa_benches::sets::Set;
use bonghwa_testkit::{Signal, tools};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, Program, Usage, directory_size, files, free_port};
use crate::sender::{Dialect, Replay, Target, replay};

/// As it appears in tables.
pub const NAME: &str = "Bonghwa";

const START: Duration = Duration::from_secs(60);
const FLUSH: Duration = Duration::from_secs(300);

/// A server with its default settings, but for those in the caller's environment.
pub struct Bonghwa {
    // Declared first: the process ends before its directory goes.
    process: Process,
    dir: TempDir,
    http: reqwest::Client,
    api: String,
    port: u16,
    otlp: u16,
}

impl Bonghwa {
    /// Starts a server on an empty directory and waits until it is ready.
    pub async fn start(cores: &'static str) -> Result<Bonghwa> {
        Self::start_with(cores, "").await
    }

    /// The same with a configuration, as YAML.
    pub async fn start_with(cores: &'static str, config: &str) -> Result<Bonghwa> {
        let dir = tempfile::Builder::new().prefix("bonghwa-bench-").tempdir()?;
        let (port, otlp) = (free_port()?, free_port()?);
        let file = dir.path().join("bonghwa.yaml");
        std::fs::write(&file, config)?;
        let mut args = vec!["serve".into(), "--config".into(), file.into()];
        args.extend(["--data-dir".into(), dir.path().join("data").into()]);
        for (flag, port) in [
            ("--http-listen", port),
            ("--otlp-http-listen", otlp),
            ("--grpc-listen", free_port()?),
            ("--otlp-grpc-listen", free_port()?),
        ] {
            args.extend([flag.into(), format!("127.0.0.1:{port}").into()]);
        }
        let log = dir.path().join("server.log");
        let mut process = Process::start(Program { name: NAME, file: tools::bonghwa()?, args, cores, log })?;
        let http = reqwest::Client::builder().timeout(FLUSH).no_proxy().build()?;
        let api = format!("http://127.0.0.1:{port}");
        process.ready(&http, &format!("{api}/ready"), START).await?;
        Ok(Bonghwa { process, dir, http, api, port, otlp })
    }

    pub fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Memory of the server that has nothing to do.
    pub async fn settled_memory(&self) -> Result<u64> {
        self.process.settled_memory(START).await
    }

    /// Sends a set over HTTP; every request is acked.
    pub async fn send(&self, set: &Set, dialect: Dialect) -> Result<Replay> {
        let path = match dialect {
            Dialect::Otlp(signal) => signal.path(),
            Dialect::RemoteWrite => "/api/v1/write",
        };
        replay(&Target { port: self.otlp, path, dialect }, set).await
    }

    /// Sends metrics by remote write; every request is acked.
    pub async fn send_remote_write(&self, set: &Set) -> Result<Replay> {
        let target = Target { port: self.port, path: "/api/v1/write", dialect: Dialect::RemoteWrite };
        replay(&target, set).await
    }

    /// The client of its API.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The address of a path of its API.
    pub fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.api)
    }

    /// Writes everything in memory to blocks.
    pub async fn flush(&self) -> Result<()> {
        let answer = self.http.post(format!("{}/admin/flush", self.api)).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "POST /admin/flush answers {status}: {}", answer.text().await?);
        Ok(())
    }

    /// Compacts what there is to compact, level by level.
    pub async fn compact(&self) -> Result<()> {
        for _ in 0..3 {
            let answer = self.http.post(format!("{}/admin/compact", self.api)).send().await?;
            let status = answer.status();
            ensure!(status.is_success(), "POST /admin/compact answers {status}: {}", answer.text().await?);
        }
        Ok(())
    }

    /// Rows that SQL counts, of those that were sent.
    pub async fn count(&self, signal: Signal) -> Result<u64> {
        let query = format!("SELECT count(*) AS n FROM {} WHERE {}", signal.table(), signal.sent());
        let query = json!({ "query": query });
        let answer = self.http.post(format!("{}/api/v1/sql", self.api)).json(&query).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        ensure!(status.is_success(), "POST /api/v1/sql answers {status}: {text}");
        let rows: Value = serde_json::from_str(&text)?;
        rows[0]["n"].as_u64().with_context(|| format!("no count: {text}"))
    }

    /// Fails unless SQL counts every item of the set: an ack that loses data is worth nothing.
    pub async fn check(&self, set: &Set) -> Result<()> {
        let (sent, counted) = (set.items(), self.count(set.signal).await?);
        ensure!(sent == counted, "{sent} {} were acked, SQL counts {counted}", set.signal.table());
        Ok(())
    }

    /// Bytes in the object store.
    pub fn object_bytes(&self) -> Result<u64> {
        directory_size(&self.objects())
    }

    /// Bytes of the blocks in the catalog: what a compaction replaced lies in the store until nobody can read it.
    pub async fn live_bytes(&self) -> Result<u64> {
        let text = self.http.get(format!("{}/metrics", self.api)).send().await?.error_for_status()?.text().await?;
        let total = |name: &str| -> Result<f64> {
            let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            Ok(values.map(|(_, value)| value.parse::<f64>()).sum::<Result<f64, _>>()?)
        };
        let bytes = total("bonghwa_ingester_flushed_bytes_total")? + total("bonghwa_compactor_added_bytes_total")?
            - total("bonghwa_compactor_removed_bytes_total")?;
        Ok(bytes as u64)
    }

    /// The Parquet files.
    pub fn blocks(&self) -> Result<Vec<PathBuf>> {
        let mut blocks = files(&self.objects())?;
        blocks.retain(|f| f.extension().is_some_and(|e| e == "parquet"));
        Ok(blocks)
    }

    fn objects(&self) -> PathBuf {
        self.dir.path().join("data/objects")
    }

    pub async fn stop(self) -> Result<()> {
        self.process.stop().await
    }
}

/// `bonghwa --version`, without the name.
pub fn version() -> Result<String> {
    let output = std::process::Command::new(tools::bonghwa()?).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().nth(1).unwrap_or("?").to_owned())
}
