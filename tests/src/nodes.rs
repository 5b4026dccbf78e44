//! A small cluster of separate processes: one of each role, every partition on the one ingester.

use anyhow::{Result, ensure};
use bonghwa_testkit::send::Outcome;
use bonghwa_testkit::{Generator, Node, Signal};
use serde_json::Value;
use tempfile::TempDir;

/// The cluster. Its processes end when it is dropped.
pub struct Nodes {
    /// The catalog.
    pub meta: Node,
    /// Heads and flushes.
    pub ingester: Node,
    /// Takes OTLP.
    pub distributor: Node,
    /// Answers.
    pub querier: Node,
    common: Vec<String>,
    _objects: TempDir,
}

impl Nodes {
    /// Starts all of them with these flags and waits until they are ready.
    pub async fn start(flags: &[String]) -> Result<Self> {
        let objects = tempfile::Builder::new().prefix("bonghwa-objects-").tempdir()?;
        let store = format!("file://{}", objects.path().display());
        let mut common = ["--replication-factor", "1", "--object-store", &store].map(str::to_owned).to_vec();
        common.extend_from_slice(flags);
        let meta = Node::start("meta", "meta", &common)?;
        common.extend(["--join".into(), meta.grpc()]);
        let start = |role: &str| Node::start(role, role, &common);
        let (ingester, distributor, querier) = (start("ingester")?, start("distributor")?, start("querier")?);
        let mut nodes = Nodes { meta, ingester, distributor, querier, common, _objects: objects };
        for node in [&mut nodes.meta, &mut nodes.ingester, &mut nodes.distributor, &mut nodes.querier] {
            node.ready().await?;
        }
        Ok(nodes)
    }

    /// The flags of a node that is to join, without those that [`Nodes::start`] was given.
    pub fn joining(&self, flags: &[String]) -> Vec<String> {
        let own = ["--replication-factor", "--object-store", "--join"];
        let pairs = self.common.chunks(2).filter(|pair| own.contains(&pair[0].as_str())).flatten();
        pairs.chain(flags).cloned().collect()
    }

    /// Sends a batch of each signal, all of which must be acked.
    pub async fn write(&self, generator: &mut Generator, count: usize) -> Result<()> {
        let sender = self.distributor.sender();
        for signal in Signal::ALL {
            let outcome = sender.send(&generator.batch(signal, count)).await;
            ensure!(matches!(outcome, Outcome::Acked), "{signal:?}: {outcome:?}");
        }
        Ok(())
    }

    /// How many records of each signal are found.
    pub async fn found(&self) -> Result<[i64; 3]> {
        let sql = self.querier.sql();
        let mut found = [0; 3];
        for (signal, count) in [Signal::Logs, Signal::Metrics, Signal::Traces].into_iter().zip(&mut found) {
            let query = format!("SELECT count(*) FROM {} WHERE {}", signal.table(), signal.sent());
            *count = sql.integer(&query).await?;
        }
        Ok(found)
    }

    /// Writes everything that is in memory to blocks.
    pub async fn flush(&self) -> Result<()> {
        let answer = self.querier.http().post(self.querier.url("/admin/flush")).send().await?;
        ensure!(answer.status().is_success(), "POST /admin/flush: {}", answer.text().await?);
        Ok(())
    }

    /// The names of the nodes that the cluster knows.
    pub async fn members(&self) -> Result<Vec<String>> {
        let ring: Value = self.querier.http().get(self.querier.url("/ring")).send().await?.json().await?;
        let nodes = ring["nodes"].as_array().into_iter().flatten();
        let mut names: Vec<String> = nodes.filter_map(|node| node["name"].as_str()).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Ends all of them, those first that need the others.
    pub async fn stop(mut self) -> Result<()> {
        for node in [&mut self.querier, &mut self.distributor, &mut self.ingester, &mut self.meta] {
            node.stop().await?;
        }
        Ok(())
    }
}
