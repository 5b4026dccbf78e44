//! Who scrapes what: targets fall into shards, and a lease in meta gives each shard to one node.
//!
//! Nodes that scrape are known to each other by the catalog, and agree without a word on who shall have which shard.
//! A shard changes hands when its holder gives it up, or when meta counts the holder as unreachable: then its leases
//! are free.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bonghwa_cluster::{Catalog, ClusterView, rendezvous, seam};
use bonghwa_protocol::v1::RejectionReason;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{MetaClient, v1};
use futures::future::join_all;
use tokio::sync::watch;

use crate::metrics;

/// How many shards there are.
pub(crate) const SHARDS: u64 = 32;
/// How often nodes look.
const LOOK: Duration = Duration::from_secs(1);
/// How often leases are taken again where others could have them.
const RENEW: Duration = Duration::from_secs(10);
/// The role of nodes that scrape.
pub(crate) const ROLE: &str = "scraper";

/// The shards of this node, a bit each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned(u32);

/// The shards whose leases meta may count as this node's, a bit each. After a restart these may be any.
#[derive(Debug)]
pub(crate) struct Owing(AtomicU32);

impl Default for Owing {
    fn default() -> Self {
        Owing(AtomicU32::new(u32::MAX))
    }
}

impl Owing {
    fn set(&self, shard: u64, owing: bool) {
        match owing {
            true => self.0.fetch_or(1 << shard, Ordering::Relaxed),
            false => self.0.fetch_and(!(1 << shard), Ordering::Relaxed),
        };
    }

    fn shards(&self) -> impl Iterator<Item = u64> + use<> {
        let now = Owned(self.0.load(Ordering::Relaxed));
        (0..SHARDS).filter(move |shard| now.holds(*shard))
    }
}

impl Owned {
    /// Whether a target of this key is in one of them.
    pub fn has(&self, key: u64) -> bool {
        self.holds(key % SHARDS)
    }

    fn holds(&self, shard: u64) -> bool {
        self.0 >> shard & 1 == 1
    }

    fn set(&mut self, shard: u64, held: bool) {
        self.0 = self.0 & !(1 << shard) | u32::from(held) << shard;
    }
}

/// Takes and gives up shards.
pub(crate) struct Shards {
    pub node: u64,
    pub meta: Arc<dyn MetaClient>,
    pub view: Arc<ClusterView>,
    /// After this time without word from meta others may have this node's shards.
    pub patience: Duration,
    pub owned: watch::Sender<Owned>,
    pub owing: Owing,
}

/// The nodes that scrape now.
pub(crate) fn scrapers(catalog: &Catalog) -> impl Iterator<Item = &Arc<v1::Node>> {
    catalog.active_nodes(ROLE)
}

impl Shards {
    /// Works until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut versions = self.view.versions();
        let mut renewed = seam::now();
        loop {
            let renew = renewed.elapsed() >= RENEW;
            if renew {
                renewed = seam::now();
            }
            self.look(renew).await;
            // A node that comes or goes is seen at once; meta's silence is seen by looking.
            let _ = seam::timeout(LOOK, versions.changed()).await;
        }
    }

    async fn look(&self, renew: bool) {
        let catalog = self.view.current();
        let nodes: Vec<u64> = scrapers(&catalog).map(|node| node.id).collect();
        let alone = nodes == [self.node];
        if self.view.age() > self.patience {
            // Who is alone has nobody who would take over.
            if !alone && self.owned.send_if_modified(|owned| std::mem::take(owned) != Owned::default()) {
                tracing::warn!(patience = ?self.patience, "meta is silent: scraping stops, another node may take it over");
                metrics::SHARDS.set(0);
            }
            return;
        }
        let held = self.owned.borrow().clone();
        let mine = |shard: &u64| rendezvous(&nodes, *shard) == Some(self.node);
        // Scraping stops before the lease is given up.
        let lost: Vec<u64> = (0..SHARDS).filter(|shard| held.holds(*shard) && !mine(shard)).collect();
        self.change(&lost, false);
        join_all(self.owing.shards().filter(|shard| !mine(shard)).map(|shard| self.release(shard))).await;
        let tries = (0..SHARDS).filter(mine).filter(|shard| !held.holds(*shard) || (renew && !alone));
        let tried = join_all(tries.map(async |shard| (shard, self.acquire(shard).await))).await;
        let (won, refused): (Vec<_>, Vec<_>) =
            tried.into_iter().filter_map(|(shard, got)| Some((shard, got?))).partition(|(_, got)| *got);
        self.change(&won.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), true);
        self.change(&refused.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), false);
    }

    fn change(&self, shards: &[u64], held: bool) {
        let changed = self.owned.send_if_modified(|owned| {
            let before = owned.clone();
            shards.iter().for_each(|shard| owned.set(*shard, held));
            *owned != before
        });
        if changed {
            let count = self.owned.borrow().0.count_ones();
            metrics::SHARDS.set(i64::from(count));
            tracing::info!(shards = count, of = SHARDS, "this node's share of the targets changed");
        }
    }

    /// Gives all of them up: another node takes them at once.
    pub async fn give_up(&self) {
        self.owned.send_replace(Owned::default());
        join_all(self.owing.shards().map(|shard| self.release(shard))).await;
    }

    /// Whether the lease is this node's; none where meta does not answer.
    async fn acquire(&self, shard: u64) -> Option<bool> {
        // Also where no answer comes: the lease may have been given.
        self.owing.set(shard, true);
        let acquire = v1::AcquireLease { name: lease(shard), holder: self.node };
        match self.meta.execute(v1::Command { kind: Some(Kind::AcquireLease(acquire)) }).await {
            Ok(result) => Some(match result.outcome {
                Some(Outcome::Rejection(rejection)) => {
                    if rejection.reason() != RejectionReason::Conflict {
                        tracing::warn!(shard, error = rejection.message, "a lease was refused");
                    }
                    false
                }
                _ => true,
            }),
            Err(error) => {
                tracing::warn!(shard, %error, "a lease was not taken");
                None
            }
        }
    }

    /// Gives a lease up; meta does nothing where another node has it, or none.
    async fn release(&self, shard: u64) {
        let release = v1::ReleaseLease { name: lease(shard), holder: self.node };
        match self.meta.execute(v1::Command { kind: Some(Kind::ReleaseLease(release)) }).await {
            Ok(_) => self.owing.set(shard, false),
            Err(error) => tracing::warn!(shard, %error, "a lease was not given up: it will be tried again"),
        }
    }
}

fn lease(shard: u64) -> String {
    format!("scrape/{shard:02}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::AtomicBool;

    use async_trait::async_trait;
    use bonghwa_protocol::RpcError;
    use futures::StreamExt as _;
    use futures::stream::{self, BoxStream};
    use parking_lot::Mutex;

    use super::*;

    /// Meta with leases of one node, and of some nodes that scrape.
    #[derive(Default)]
    struct Meta {
        snapshot: v1::Snapshot,
        leases: Mutex<BTreeSet<String>>,
        silent: AtomicBool,
    }

    impl Meta {
        fn of(nodes: &[u64]) -> Arc<Meta> {
            let node = |id: &u64| v1::Node { id: *id, roles: vec![ROLE.into()], ..Default::default() };
            let snapshot = v1::Snapshot { version: 1, nodes: nodes.iter().map(node).collect(), ..Default::default() };
            Arc::new(Meta { snapshot, ..Default::default() })
        }
    }

    #[async_trait]
    impl MetaClient for Meta {
        async fn execute(&self, command: v1::Command) -> Result<v1::CommandResult, RpcError> {
            if self.silent.load(Ordering::Relaxed) {
                return Err(RpcError::unavailable("no leader"));
            }
            match command.kind {
                Some(Kind::AcquireLease(lease)) => drop(self.leases.lock().insert(lease.name)),
                Some(Kind::ReleaseLease(lease)) => drop(self.leases.lock().remove(&lease.name)),
                other => panic!("{other:?}"),
            }
            Ok(v1::CommandResult::default())
        }

        async fn heartbeat(&self, _: u64, _: u64) -> Result<v1::HeartbeatResponse, RpcError> {
            Err(RpcError::internal("not here"))
        }

        async fn watch(&self, _: u64) -> Result<BoxStream<'static, Result<v1::Event, RpcError>>, RpcError> {
            let kind = Some(v1::event::Kind::Snapshot(self.snapshot.clone()));
            let event = v1::Event { version: 1, kind };
            Ok(stream::once(async move { Ok(event) }).chain(stream::pending()).boxed())
        }
    }

    /// The shards of node 7, whose copy of the catalog is there.
    async fn shards(meta: &Arc<Meta>) -> Shards {
        let view = ClusterView::follow(meta.clone());
        view.wait_for_version(1, LOOK).await.unwrap();
        let (patience, owned) = (Duration::from_secs(5), watch::Sender::default());
        Shards { node: 7, meta: meta.clone(), view, patience, owned, owing: Owing::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn leases_are_given_back_until_meta_has_them() {
        let meta = Meta::of(&[7, 8]);
        // Of the run before, when the node was alone.
        meta.leases.lock().extend((0..SHARDS).map(lease));
        let mine: BTreeSet<String> =
            (0..SHARDS).filter(|shard| rendezvous(&[7, 8], *shard) == Some(7)).map(lease).collect();
        let shards = shards(&meta).await;
        meta.silent.store(true, Ordering::Relaxed);
        shards.look(false).await;
        assert_eq!(meta.leases.lock().len(), SHARDS as usize);
        meta.silent.store(false, Ordering::Relaxed);
        shards.look(false).await;
        assert_eq!(*meta.leases.lock(), mine);
        assert_eq!(shards.owned.borrow().0.count_ones() as usize, mine.len());
        shards.give_up().await;
        assert!(meta.leases.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn meta_may_be_silent_where_nobody_else_scrapes() {
        for (nodes, left) in [(&[7][..], SHARDS as u32), (&[7, 8], 0)] {
            let shards = shards(&Meta::of(nodes)).await;
            shards.look(false).await;
            assert!(shards.owned.borrow().0 > 0);
            tokio::time::advance(Duration::from_secs(3600)).await;
            shards.look(false).await;
            assert_eq!(shards.owned.borrow().0.count_ones(), left, "{nodes:?}");
        }
    }

    #[test]
    fn shards_go_to_few_other_nodes() {
        let owner = |nodes: &[u64], shard| rendezvous(nodes, shard).unwrap();
        let moved = (0..SHARDS).filter(|shard| owner(&[1, 2, 3], *shard) != owner(&[1, 2], *shard));
        assert!(moved.clone().all(|shard| owner(&[1, 2, 3], shard) == 3), "only to the new node");
        assert!(moved.count() > 3);
        for node in [1, 2, 3] {
            assert!((0..SHARDS).any(|shard| owner(&[1, 2, 3], shard) == node));
        }
        assert_eq!(rendezvous(&[], 0), None);
        let mut owned = Owned::default();
        owned.set(31, true);
        assert!(owned.has(31 + SHARDS) && !owned.has(30));
        owned.set(31, false);
        assert_eq!(owned, Owned::default());
    }
}
