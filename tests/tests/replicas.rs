//! Several Prometheus servers that scrape the same: the samples of one are taken, by every distributor alike,
//! until it is silent.

use std::time::Duration;

use anyhow::{Result, ensure};
use bonghwa_testkit::{Server, wait};
use bonghwa_tests::On;
use bonghwa_tests::prometheus::messages::{sample, series};
use bonghwa_tests::prometheus::{instant, now, write};
use serde_json::json;

const DEADLINE: Duration = Duration::from_secs(60);
const ACCEPTS: (&str, &str) = ("BONGHWA_LIMITS__UNNAMED__ACCEPT_HA_SAMPLES", "true");

/// A server, and a distributor beside it.
struct Cluster {
    rest: Server,
    other: Server,
}

impl Cluster {
    async fn start(failover: &str) -> Result<Self> {
        let store = On::S3.store().await?;
        let failover = ("BONGHWA_DISTRIBUTOR__HA_FAILOVER", failover);
        let rest = Server::start_with(store.clone(), &[ACCEPTS, failover, ("BONGHWA_NODE_NAME", "rest")]).await?;
        let join = rest.grpc();
        let env = [
            ACCEPTS,
            failover,
            ("BONGHWA_TARGET", "distributor"),
            ("BONGHWA_NODE_NAME", "other"),
            ("BONGHWA_JOIN", join.as_str()),
        ];
        let other = Server::start_with(store, &env).await?;
        Ok(Cluster { rest, other })
    }
}

/// Sends a sample of a replica of a cluster.
async fn send(server: &Server, cluster: &str, replica: &str, value: f64) -> Result<(u16, String)> {
    let labels = [("__name__", "up"), ("__replica__", replica), ("cluster", cluster), ("job", "x")];
    write(server, None, vec![series(&labels, vec![sample(value, now())])]).await
}

/// Who sent the latest sample of a cluster, by its value.
async fn latest(server: &Server, cluster: &str) -> Result<serde_json::Value> {
    let found = instant(server, &format!("up{{cluster=\"{cluster}\"}}")).await?;
    ensure!(found.len() == 1, "{found:?}");
    let expected = json!({ "__name__": "up", "cluster": cluster, "job": "x" });
    ensure!(found[0]["metric"] == expected, "{found:?}");
    Ok(found[0]["value"][1].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_is_taken_by_all_distributors() -> Result<()> {
    let Cluster { mut rest, mut other } = Cluster::start("1h").await?;
    for _ in 0..3 {
        let (status, said) = send(&rest, "eu", "a", 1.0).await?;
        ensure!(status == 204, "{status} {said}");
        for server in [&rest, &other] {
            let (status, said) = send(server, "eu", "b", 2.0).await?;
            ensure!(status == 202 && said.contains("\"a\" is elected"), "{status} {said}");
        }
        let (status, said) = send(&other, "eu", "a", 1.0).await?;
        ensure!(status == 204, "{status} {said}");
        // Another cluster has another replica.
        let (status, said) = send(&other, "us", "b", 2.0).await?;
        ensure!(status == 204, "{status} {said}");
    }
    ensure!(latest(&rest, "eu").await? == "1", "the sample of another replica was taken");
    ensure!(latest(&rest, "us").await? == "2", "the sample of the other cluster was not taken");

    // Who is elected outlives a restart.
    rest.stop().await?;
    rest.restart().await?;
    let (status, said) = send(&rest, "eu", "b", 2.0).await?;
    ensure!(status == 202, "{status} {said}");

    // Whoever does not name both, or is a tenant that does not ask for it, keeps all labels.
    let alone = [("__name__", "alone"), ("__replica__", "b")];
    let (status, said) = write(&rest, None, vec![series(&alone, vec![sample(1.0, now())])]).await?;
    ensure!(status == 204, "{status} {said}");
    let found = instant(&rest, "alone").await?;
    ensure!(found[0]["metric"]["__replica__"] == "b", "{found:?}");
    let labels = [("__name__", "up"), ("__replica__", "b"), ("cluster", "eu")];
    let (status, said) = write(&rest, Some("shop"), vec![series(&labels, vec![sample(1.0, now())])]).await?;
    ensure!(status == 204, "{status} {said}");

    // One request is of one replica.
    let of =
        |replica| series(&[("__name__", "m"), ("__replica__", replica), ("cluster", "eu")], vec![sample(1.0, now())]);
    let (status, said) = write(&rest, None, vec![of("a"), of("b")]).await?;
    ensure!(status == 400 && said.contains("name the replica \"b\" of \"eu\""), "{status} {said}");
    other.stop().await?;
    rest.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_from_a_silent_one() -> Result<()> {
    let Cluster { mut rest, mut other } = Cluster::start("2s").await?;
    let (status, said) = send(&rest, "eu", "a", 1.0).await?;
    ensure!(status == 204, "{status} {said}");
    let started = std::time::Instant::now();
    wait::until("the other replica is elected", DEADLINE, || async {
        match send(&other, "eu", "b", 2.0).await {
            Ok((204, _)) => Ok(()),
            Ok((status, said)) => Err(format!("{status} {said}")),
            Err(error) => Err(error.to_string()),
        }
    })
    .await?;
    ensure!(started.elapsed() > Duration::from_secs(1), "it was elected after {:?}", started.elapsed());
    // The first comes back, and is not taken: by either distributor.
    wait::until("the first is passed over", DEADLINE, || async {
        let answers = (send(&rest, "eu", "a", 1.0).await, send(&other, "eu", "b", 2.0).await);
        match answers {
            (Ok((202, _)), Ok((204, _))) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await?;
    ensure!(latest(&rest, "eu").await? == "2", "the sample of the silent replica was taken");
    other.stop().await?;
    rest.stop().await
}
