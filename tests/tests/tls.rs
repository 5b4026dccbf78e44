//! TLS between the roles of a cluster of separate processes: it works, nobody gets in without a
//! certificate of the cluster's authority, and whoever is kept out is told why.

use std::path::Path;

use anyhow::{Result, ensure};
use bonghwa_testkit::tls::{Authority, Files};
use bonghwa_testkit::{Generator, Node, grpc, seed};
use bonghwa_tests::nodes::Nodes;
use reqwest::StatusCode;
use tempfile::TempDir;

const IDENTIFY: &str = "/bonghwa.v1.Peer/Identify";

/// An authority, another one, and a cluster that believes the first.
struct Guarded {
    nodes: Nodes,
    own: Authority,
    other: Authority,
    dir: TempDir,
}

impl Guarded {
    async fn start() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("bonghwa-tls-").tempdir()?;
        let (own, other) = (Authority::new("the cluster")?, Authority::new("a stranger")?);
        let nodes = Nodes::start(&own.issue(dir.path(), &own)?.flags()).await?;
        Ok(Guarded { nodes, own, other, dir })
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Asks the node at an address who it is.
async fn identify(files: &Files, address: &str, shows: bool) -> Result<()> {
    let stream = files.connect(address, shows).await?;
    let outcome = grpc::call_over(stream, address, IDENTIFY, &[], &[]).await?;
    ensure!(outcome.status == 0, "{outcome:?}");
    Ok(())
}

/// The same, of a caller that must not be answered.
async fn refused(files: &Files, address: &str, shows: bool) -> Result<()> {
    ensure!(identify(files, address, shows).await.is_err(), "{files:?} got in at {address}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_writes_and_answers_over_tls() -> Result<()> {
    let guarded = Guarded::start().await?;
    let mut generator = Generator::new(seed::draw("tls"), 0, Generator::now());
    guarded.nodes.write(&mut generator, 100).await?;
    ensure!(guarded.nodes.found().await? == [100; 3], "in tails: {:?}", guarded.nodes.found().await?);
    guarded.nodes.flush().await?;
    guarded.nodes.write(&mut generator, 50).await?;
    ensure!(guarded.nodes.found().await? == [150; 3], "in blocks and tails: {:?}", guarded.nodes.found().await?);
    guarded.nodes.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_without_a_certificate_of_the_authority_are_refused() -> Result<()> {
    let guarded = Guarded::start().await?;
    let member = guarded.own.issue(guarded.dir(), &guarded.own)?;
    let stranger = guarded.other.issue(guarded.dir(), &guarded.own)?;
    for node in [&guarded.nodes.meta, &guarded.nodes.ingester] {
        let address = node.grpc();
        identify(&member, &address, true).await?;

        // What they are told may be lost as the connection breaks; the node's log has it.
        refused(&member, &address, false).await?;
        node.says(&["tls accept error", "peer sent no certificates"]).await?;
        refused(&stranger, &address, true).await?;
        node.says(&["tls accept error", "UnknownIssuer"]).await?;

        let plain = grpc::call(&address, IDENTIFY, &[], &[]).await;
        ensure!(plain.is_err(), "a caller without TLS is answered {plain:?}");
    }
    guarded.nodes.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_authority_cannot_join_and_says_why() -> Result<()> {
    let guarded = Guarded::start().await?;
    for (name, files, says) in [
        // It does not believe the cluster.
        ("distrusting", guarded.own.issue(guarded.dir(), &guarded.other)?, "UnknownIssuer"),
        // The cluster does not believe it.
        ("distrusted", guarded.other.issue(guarded.dir(), &guarded.own)?, "received fatal alert"),
    ] {
        let mut node = Node::start(name, "querier", &guarded.nodes.joining(&files.flags()))?;
        // Of one connection the reason may come as a broken pipe; those who wait for meta and who watch it both tell.
        let line = node.says(&["meta", says]).await?;
        ensure!(line.contains("WARN"), "{line}");
        let ready = node.http().get(node.url("/ready")).send().await?.status();
        ensure!(ready == StatusCode::SERVICE_UNAVAILABLE, "{name}: /ready answers {ready}");
        let members = guarded.nodes.members().await?;
        ensure!(members == ["distributor", "ingester", "meta", "querier"], "{name} is among {members:?}");
        node.stop().await?;
    }
    // Without TLS at all.
    let mut plain = Node::start("plain", "querier", &guarded.nodes.joining(&[]))?;
    plain.says(&["waiting for meta"]).await?;
    plain.stop().await?;
    ensure!(guarded.nodes.found().await? == [0; 3]);
    guarded.nodes.stop().await
}
