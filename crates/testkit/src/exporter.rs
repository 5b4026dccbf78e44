//! node_exporter as a process.

use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::server::{CommandLine, Process};
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(30);
/// Collectors whose series are the same from one scrape to the next.
const COLLECTORS: [&str; 6] = ["cpu", "loadavg", "meminfo", "stat", "time", "uname"];

/// A running node_exporter; killed when dropped.
pub struct Exporter {
    // Declared first: the process ends before its directory goes.
    process: Process,
    _dir: TempDir,
    address: String,
}

impl Exporter {
    /// Starts one and waits until it answers.
    pub async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-exporter-").tempdir()?;
        let address = format!("127.0.0.1:{}", ports::free()?);
        let process = Process { child: None, log: dir.path().join("exporter.log") };
        let mut exporter = Exporter { process, _dir: dir, address };
        exporter.restart().await?;
        Ok(exporter)
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) -> Result<()> {
        let mut args = vec![format!("--web.listen-address={}", self.address), "--collector.disable-defaults".into()];
        args.extend(COLLECTORS.iter().map(|name| format!("--collector.{name}")));
        let args = args.into_iter().map(Into::into).collect();
        self.process.spawn(&CommandLine { program: tools::node_exporter()?, args, env: vec![] })?;
        let http = reqwest::Client::builder().no_proxy().timeout(START).build()?;
        let url = format!("http://{}/metrics", self.address);
        wait::until("node_exporter answers", START, || {
            let asked = http.get(&url).send();
            async move {
                match asked.await {
                    Ok(answer) if answer.status().is_success() => Ok(()),
                    Ok(answer) => Err(answer.status().to_string()),
                    Err(error) => Err(error.to_string()),
                }
            }
        })
        .await
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the process.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Nothing more can be done about an error here.
        let _ = self.process.kill();
    }
}
