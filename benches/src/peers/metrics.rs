//! Prometheus and VictoriaMetrics: remote write in, files out.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bonghwa_benches::sets::Set;
use tempfile::TempDir;

use super::Durability;
use crate::process::{Process, Program, Usage, directory_size, free_port};
use crate::sender::{Dialect, Replay, Target, replay};
use crate::setup;

const START: Duration = Duration::from_secs(60);
const MERGE: Duration = Duration::from_secs(120);

/// Which one.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Prometheus,
    VictoriaMetrics,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::VictoriaMetrics, Kind::Prometheus];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Prometheus => "Prometheus",
            Kind::VictoriaMetrics => "VictoriaMetrics",
        }
    }

    pub fn durability(self) -> Durability {
        let what = match self {
            Kind::Prometheus => "written to its WAL, not fsynced; no block is written in the run",
            Kind::VictoriaMetrics => "in memory, on disk within seconds, not fsynced; snapshot at the end",
        };
        Durability { fsynced: false, what }
    }

    fn package(self) -> &'static str {
        match self {
            Kind::Prometheus => "prometheus",
            Kind::VictoriaMetrics => "victoria-metrics",
        }
    }

    pub fn version(self) -> Result<String> {
        setup::debian_version(self.package())
    }

    fn args(self, dir: &Path, port: u16) -> Result<Vec<OsString>> {
        let data = dir.join("data").into_os_string();
        let with = |flag: &str, value: OsString| {
            let mut arg = OsString::from(flag);
            arg.push(value);
            arg
        };
        let listen = format!("127.0.0.1:{port}").into();
        Ok(match self {
            Kind::Prometheus => {
                let config = dir.join("prometheus.yml");
                std::fs::write(&config, "global: {}\n")?;
                vec![
                    with("--config.file=", config.into()),
                    with("--storage.tsdb.path=", data),
                    with("--web.listen-address=", listen),
                    "--storage.tsdb.retention.time=100y".into(),
                    "--web.enable-remote-write-receiver".into(),
                    "--web.enable-admin-api".into(),
                    "--log.level=warn".into(),
                ]
            }
            Kind::VictoriaMetrics => vec![
                with("-storageDataPath=", data),
                with("-httpListenAddr=", listen),
                "-retentionPeriod=100y".into(),
                "-loggerLevel=WARN".into(),
            ],
        })
    }

    /// The counter of samples taken in.
    fn counter(self) -> &'static str {
        match self {
            Kind::Prometheus => "prometheus_tsdb_head_samples_appended_total",
            Kind::VictoriaMetrics => "vm_rows_inserted_total{type=\"promremotewrite\"}",
        }
    }
}

/// A running one.
pub struct MetricStore {
    kind: Kind,
    // Declared first: the process ends before its directory goes.
    process: Process,
    dir: TempDir,
    http: reqwest::Client,
    port: u16,
}

impl MetricStore {
    pub async fn start(kind: Kind, cores: &'static str) -> Result<MetricStore> {
        let dir = tempfile::Builder::new().prefix("bonghwa-bench-").tempdir()?;
        let port = free_port()?;
        let args = kind.args(dir.path(), port)?;
        let log = dir.path().join("server.log");
        let mut process =
            Process::start(Program { name: kind.name(), file: setup::debian(kind.package())?, args, cores, log })?;
        let http = reqwest::Client::builder().timeout(MERGE).no_proxy().build()?;
        let health = match kind {
            Kind::Prometheus => "-/ready",
            Kind::VictoriaMetrics => "health",
        };
        process.ready(&http, &format!("http://127.0.0.1:{port}/{health}"), START).await?;
        Ok(MetricStore { kind, process, dir, http, port })
    }

    pub fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Memory of the server that has nothing to do.
    pub async fn settled_memory(&self) -> Result<u64> {
        self.process.settled_memory(START).await
    }

    pub async fn send(&self, set: &Set) -> Result<Replay> {
        let target = Target { port: self.port, path: "/api/v1/write", dialect: Dialect::RemoteWrite };
        replay(&target, set).await
    }

    /// Writes to disk what it can be asked to write. Prometheus writes blocks hours later.
    pub async fn flush(&self) -> Result<()> {
        if self.kind == Kind::VictoriaMetrics {
            // `internal/force_flush` leaves parts in memory; a snapshot writes them.
            self.get("snapshot/create").await?;
        }
        Ok(())
    }

    /// Fails unless it counts every sample of the sets.
    pub async fn check(&self, sets: &[Set]) -> Result<()> {
        let (counted, sent) = (self.metric(self.kind.counter()).await?, sets.iter().map(Set::items).sum::<u64>());
        ensure!(counted == sent as f64, "{sent} samples were sent, {counted} counted");
        Ok(())
    }

    /// Bytes of the data and its index in their final form.
    pub async fn compacted_bytes(&self) -> Result<u64> {
        let data = self.dir.path().join("data");
        match self.kind {
            Kind::Prometheus => {
                // A snapshot is the head written as a block.
                let url = self.url("api/v1/admin/tsdb/snapshot");
                let answer = self.http.post(url).send().await?.error_for_status()?;
                answer.bytes().await?;
                directory_size(&data.join("snapshots"))
            }
            Kind::VictoriaMetrics => {
                self.flush().await?;
                // Its hard links would be counted twice.
                self.get("snapshot/delete_all").await?;
                self.get("internal/force_merge").await?;
                self.settled_size(&[data.join("data"), data.join("indexdb")]).await
            }
        }
    }

    /// The size of directories once merges have ended and it no longer moves.
    async fn settled_size(&self, dirs: &[PathBuf]) -> Result<u64> {
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut looks = vec![];
        for _ in 0..MERGE.as_secs() {
            seconds.tick().await;
            let merges = self.metric("vm_active_force_merges").await? + self.metric("vm_active_merges").await?;
            let mut size = 0;
            for dir in dirs {
                size += directory_size(dir)?;
            }
            looks.push((size, merges == 0.0));
            if looks.last_chunk::<5>().is_some_and(|last| last.iter().all(|look| *look == (size, true))) {
                return Ok(size);
            }
        }
        bail!("{} still merges after {MERGE:?}", self.kind.name())
    }

    /// A metric of its own, summed over its labels.
    async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.get("metrics").await?;
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' ')).peekable();
        values.peek().with_context(|| format!("no metric {name}"))?;
        Ok(values.map(|(_, value)| value.parse::<f64>()).sum::<Result<f64, _>>()?)
    }

    async fn get(&self, path: &str) -> Result<String> {
        Ok(self.http.get(self.url(path)).send().await?.error_for_status()?.text().await?)
    }

    /// The client of its API.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The address of a path of its API.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub async fn stop(self) -> Result<()> {
        self.process.stop().await
    }
}
