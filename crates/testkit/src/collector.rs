//! The OpenTelemetry Collector as a process: OTLP in over both protocols, OTLP out to a server.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::server::{CommandLine, Process};
use crate::{Server, ports, tools, wait};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(30);

/// How the collector sends to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// OTLP/gRPC, gzip.
    Grpc,
    /// OTLP/HTTP, protobuf, zstd.
    Http,
    /// OTLP/HTTP, JSON, gzip.
    HttpJson,
}

/// A running collector; killed when dropped.
pub struct Collector {
    // Declared first: the process ends before its directory goes.
    process: Process,
    _dir: TempDir,
    grpc: u16,
    http: u16,
}

impl Collector {
    /// Starts a collector that sends onward to `server`, and waits until it listens.
    pub async fn start(server: &Server, onward: Onward) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-collector-").tempdir()?;
        let (grpc, http) = (ports::free()?, ports::free()?);
        let config: PathBuf = dir.path().join("config.yaml");
        std::fs::write(&config, configuration(server, onward, grpc, http))?;
        let mut process = Process { child: None, log: dir.path().join("collector.log") };
        process.spawn(&CommandLine {
            program: tools::collector()?,
            args: vec!["--config".into(), format!("file:{}", config.display()).into()],
            env: vec![],
        })?;
        let mut collector = Collector { process, _dir: dir, grpc, http };
        collector.listening().await.with_context(|| collector.process.log_tail())?;
        Ok(collector)
    }

    async fn listening(&mut self) -> Result<()> {
        for port in [self.grpc, self.http] {
            let process = &mut self.process;
            wait::until("the collector listens", START, || {
                let alive = process.check_alive();
                async move {
                    if let Err(exit) = alive {
                        return Ok(Err(exit));
                    }
                    let connection = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
                    connection.map(|_| Ok(())).map_err(|e| e.to_string())
                }
            })
            .await??;
        }
        Ok(())
    }

    /// `HOST:PORT` of its OTLP/gRPC receiver.
    pub fn otlp_grpc(&self) -> String {
        format!("127.0.0.1:{}", self.grpc)
    }

    /// The URL of its OTLP/HTTP receiver, without a path.
    pub fn otlp_http(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// Ends it; it delivers first what it holds.
    pub async fn stop(mut self) -> Result<()> {
        let status = self.process.terminate(STOP).await?;
        ensure!(status.success(), "the collector ended with {status}\n{}", self.process.log_tail());
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Nothing more can be done about an error here.
        let _ = self.process.kill();
    }
}

fn configuration(server: &Server, onward: Onward, grpc: u16, http: u16) -> String {
    let exporter = match onward {
        Onward::Grpc => format!(
            "  otlp_grpc:\n    endpoint: {}\n    compression: gzip\n    tls: {{ insecure: true }}\n",
            server.otlp_grpc()
        ),
        Onward::Http => format!("  otlp_http:\n    endpoint: {}\n    compression: zstd\n", server.otlp_http()),
        Onward::HttpJson => {
            format!("  otlp_http:\n    endpoint: {}\n    compression: gzip\n    encoding: json\n", server.otlp_http())
        }
    };
    let name = if onward == Onward::Grpc { "otlp_grpc" } else { "otlp_http" };
    let pipeline = format!("{{ receivers: [otlp], processors: [batch], exporters: [{name}] }}");
    format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 127.0.0.1:{grpc} }}
      http: {{ endpoint: 127.0.0.1:{http} }}
processors:
  batch: {{ timeout: 100ms }}
exporters:
{exporter}service:
  telemetry:
    metrics: {{ level: none }}
  pipelines:
    logs: {pipeline}
    metrics: {pipeline}
    traces: {pipeline}
"
    )
}
