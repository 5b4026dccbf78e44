//! One node that takes and keeps telemetry, and queriers that share what they are asked, on one object store.

use anyhow::{Context, Result};
use bonghwa_testkit::{Server, Store};

use crate::On;

/// The cluster. Its processes end when it is dropped.
pub struct Queriers {
    /// Everything but a querier.
    pub rest: Server,
    /// Two queriers.
    pub queriers: [Server; 2],
    store: Store,
}

impl Queriers {
    /// Starts it; the queriers with this in their environment.
    pub async fn start(env: &[(&str, &str)]) -> Result<Self> {
        let store = On::S3.store().await?;
        let rest = Server::start_with(
            store.clone(),
            &[
                ("BONGHWA_TARGET", "meta,ingester,distributor"),
                ("BONGHWA_NODE_NAME", "rest"),
                ("BONGHWA_REPLICATION_FACTOR", "1"),
            ],
        )
        .await?;
        let queriers = [querier(&store, &rest, "one", env).await?, querier(&store, &rest, "two", env).await?];
        Ok(Queriers { rest, queriers, store })
    }

    /// One more querier.
    pub async fn querier(&self, name: &str, env: &[(&str, &str)]) -> Result<Server> {
        querier(&self.store, &self.rest, name, env).await
    }
}

async fn querier(store: &Store, rest: &Server, name: &str, env: &[(&str, &str)]) -> Result<Server> {
    let join = rest.grpc();
    let mut all = vec![("BONGHWA_TARGET", "querier"), ("BONGHWA_NODE_NAME", name), ("BONGHWA_JOIN", join.as_str())];
    all.extend_from_slice(env);
    Server::start_with(store.clone(), &all).await
}

/// The value of a metric, named as its line is, with its labels.
pub async fn metric(server: &Server, name: &str) -> Result<u64> {
    let text = server.http().get(server.url("/metrics")).send().await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("/metrics has no {name}"))?.parse()?)
}
