//! Prometheus as a process: it scrapes what its configuration says, and sends it on.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::server::{CommandLine, Process};
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(60);

/// A running Prometheus; killed when dropped.
pub struct Prometheus {
    // Declared first: the process ends before its directory goes.
    process: Process,
    _dir: TempDir,
    port: u16,
    http: reqwest::Client,
}

impl Prometheus {
    /// Starts one and waits until it is ready. `configure` gets its own `HOST:PORT` and gives its
    /// configuration; `features` are those that it must be asked for.
    pub async fn start(configure: impl FnOnce(&str) -> String, features: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-prometheus-").tempdir()?;
        let port = ports::free()?;
        let address = format!("127.0.0.1:{port}");
        let config = dir.path().join("prometheus.yml");
        std::fs::write(&config, configure(&address))?;
        let mut process = Process { child: None, log: dir.path().join("prometheus.log") };
        process.spawn(&CommandLine {
            program: tools::prometheus()?,
            args: vec![
                format!("--config.file={}", config.display()).into(),
                format!("--storage.tsdb.path={}", dir.path().join("data").display()).into(),
                format!("--web.listen-address={address}").into(),
                format!("--enable-feature={features}").into(),
                // The package's files lie elsewhere than they say.
                format!("--web.console.templates={}", dir.path().display()).into(),
                format!("--web.console.libraries={}", dir.path().display()).into(),
            ],
            env: vec![],
        })?;
        let http = reqwest::Client::builder().no_proxy().timeout(START).build()?;
        let mut prometheus = Prometheus { process, _dir: dir, port, http };
        prometheus.ready().await?;
        Ok(prometheus)
    }

    async fn ready(&mut self) -> Result<()> {
        let (http, url) = (self.http.clone(), self.url("/-/ready"));
        let process = &mut self.process;
        let ready = wait::until("Prometheus is ready", START, || {
            let alive = process.check_alive();
            let asked = http.get(&url).send();
            async move {
                if let Err(exit) = alive {
                    return Ok(Err(exit));
                }
                match asked.await {
                    Ok(answer) if answer.status().is_success() => Ok(Ok(())),
                    Ok(answer) => Err(answer.status().to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        });
        ready.await?
    }

    /// The URL of a path of it.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The result of an instant query.
    pub async fn query(&self, query: &str) -> Result<Vec<serde_json::Value>> {
        let answer = self.http.post(self.url("/api/v1/query")).form(&[("query", query)]).send().await?;
        let answer: serde_json::Value = answer.error_for_status()?.json().await?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// The data of an answer to a GET of its API.
    pub async fn get(&self, path: &str) -> Result<serde_json::Value> {
        let answer: serde_json::Value = self.http.get(self.url(path)).send().await?.error_for_status()?.json().await?;
        Ok(answer["data"].clone())
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Nothing more can be done about an error here.
        let _ = self.process.kill();
    }
}
