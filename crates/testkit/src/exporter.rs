//! Processes that show metrics to whoever scrapes them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::server::{CommandLine, Process};
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(30);
/// Collectors whose series are the same from one scrape to the next.
const COLLECTORS: [&str; 6] = ["cpu", "loadavg", "meminfo", "stat", "time", "uname"];

/// One that runs; killed when dropped.
pub struct Exporter {
    // Declared first: the process ends before its directory goes.
    process: Process,
    _dir: TempDir,
    address: String,
    command: CommandLine,
}

impl Exporter {
    /// Starts a node_exporter.
    pub async fn start() -> Result<Self> {
        let collectors = COLLECTORS.iter().map(|name| format!("--collector.{name}").into());
        let program = tools::node_exporter()?;
        Self::run(program, |port| {
            let own = [format!("--web.listen-address=127.0.0.1:{port}"), "--collector.disable-defaults".into()];
            own.into_iter().map(Into::into).chain(collectors).collect()
        })
        .await
    }

    /// Starts a service with the OpenTelemetry SDK (`tests/python/shop.py`) that pushes the same metrics by OTLP over
    /// HTTP to this URL, once a second, as the service `pushed` and this instance of it.
    pub async fn shop(otlp: &str, instance: &str) -> Result<Self> {
        let script = tools::tests_dir().join("python/shop.py");
        Self::run(tools::python()?, |port| {
            let port = port.to_string();
            let own = ["--otlp", otlp, "--listen", &port, "--instance", instance];
            std::iter::once(script.into()).chain(own.into_iter().map(Into::into)).collect()
        })
        .await
    }

    /// Runs a program with arguments for a port, and waits until it answers there.
    async fn run(program: PathBuf, args: impl FnOnce(u16) -> Vec<OsString>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-exporter-").tempdir()?;
        let port = ports::free()?;
        let process = Process { child: None, log: dir.path().join("exporter.log") };
        // Python would leave its byte code in the source tree.
        let env = vec![("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned())];
        let command = CommandLine { program, args: args(port), env };
        let mut exporter = Exporter { process, _dir: dir, address: format!("127.0.0.1:{port}"), command };
        exporter.restart().await?;
        Ok(exporter)
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.spawn(&self.command)?;
        let http = reqwest::Client::builder().no_proxy().timeout(START).build()?;
        let url = format!("http://{}/metrics", self.address);
        wait::until("the exporter answers", START, || {
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
