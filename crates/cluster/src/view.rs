//! The copy of the catalog that one process keeps, fed by meta's watch stream.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bonghwa_protocol::MetaClient;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::seam::Instant;
use crate::{Backoff, Catalog, ClusterError, Follower, seam};

/// The process's copy of the catalog. Follows meta until dropped; while meta is
/// away it stays at the version it has.
pub struct ClusterView {
    shared: Arc<Shared>,
    task: Mutex<Option<seam::Task>>,
}

struct Shared {
    catalog: ArcSwap<Catalog>,
    /// Wakes those who wait. Sent after `catalog` is stored, so that whoever sees
    /// a version here finds it, or a later one, there.
    version: watch::Sender<u64>,
    /// How this copy stands to meta's leader; none where it follows nobody.
    standing: Option<Mutex<Standing>>,
    /// Ends a watch that stays behind.
    overdue: Notify,
}

/// What meta's leader says, against what is here.
struct Standing {
    /// When the leader was asked last whose answer this copy has reached.
    confirmed: Instant,
    behind: Option<Behind>,
}

/// An answer of the leader that this copy has not reached.
struct Behind {
    version: u64,
    asked: Instant,
    /// Since when it counts towards [`OVERDUE`].
    since: Instant,
}

impl Standing {
    fn reach(&mut self, version: u64) {
        if let Some(reached) = self.behind.take_if(|behind| version >= behind.version) {
            self.confirmed = self.confirmed.max(reached.asked);
        }
    }
}

/// How long a copy may stay behind what meta's leader says before another meta node is watched.
const OVERDUE: Duration = Duration::from_secs(2);

impl ClusterView {
    /// Starts following meta, from an empty catalog.
    pub fn follow(meta: Arc<dyn MetaClient>) -> Arc<Self> {
        let standing = Standing { confirmed: seam::now(), behind: None };
        let shared = Shared::new(Catalog::default(), Some(standing));
        let task = seam::spawn(follow(meta, shared.clone()));
        Arc::new(ClusterView { shared, task: Mutex::new(Some(task)) })
    }

    /// A view of a catalog that does not change.
    pub fn fixed(catalog: Catalog) -> Arc<Self> {
        Arc::new(ClusterView { shared: Shared::new(catalog, None), task: Mutex::new(None) })
    }

    /// Stops following, and waits until the client of meta is let go. The catalog stays.
    pub async fn stop(&self) {
        let task = self.task.lock().take();
        if let Some(task) = task {
            task.stop().await;
        }
    }

    /// Tells the copy which version meta's leader had when it was asked. A watch that stays behind it
    /// is begun again, elsewhere: its meta node may be cut off from the others.
    pub fn expect(&self, version: u64, asked: Instant) {
        let Some(standing) = &self.shared.standing else { return };
        let mut standing = standing.lock();
        let current = self.current().version();
        standing.reach(current);
        if current >= version {
            *standing = Standing { confirmed: standing.confirmed.max(asked), behind: None };
            return;
        }
        let behind = standing.behind.get_or_insert_with(|| Behind { version, asked, since: seam::now() });
        if behind.since.elapsed() >= OVERDUE {
            behind.since = seam::now();
            self.shared.overdue.notify_one();
        }
    }

    /// How long ago this copy was last known to have all that meta's leader had, by
    /// [`expect`](Self::expect): what changed since may not be in it. Zero for a fixed one.
    pub fn age(&self) -> Duration {
        let Some(standing) = &self.shared.standing else { return Duration::ZERO };
        let mut standing = standing.lock();
        standing.reach(self.current().version());
        standing.confirmed.elapsed()
    }

    /// The newest catalog here. Take it once and use it throughout: the next call
    /// may give another version.
    pub fn current(&self) -> Arc<Catalog> {
        self.shared.catalog.load_full()
    }

    /// Versions as they come; one may be left out when the next follows at once.
    pub fn versions(&self) -> watch::Receiver<u64> {
        self.shared.version.subscribe()
    }

    /// Waits until the catalog has this version or a later one.
    pub async fn wait_for_version(&self, version: u64, timeout: Duration) -> Result<Arc<Catalog>, ClusterError> {
        self.wait_for(timeout, |catalog| catalog.version() >= version).await
    }

    /// Waits until the catalog satisfies the predicate; the catalog that does.
    pub async fn wait_for(
        &self,
        timeout: Duration,
        mut predicate: impl FnMut(&Catalog) -> bool,
    ) -> Result<Arc<Catalog>, ClusterError> {
        let mut versions = self.versions();
        let found = seam::timeout(timeout, async {
            loop {
                versions.borrow_and_update();
                let catalog = self.current();
                if predicate(&catalog) {
                    return catalog;
                }
                if versions.changed().await.is_err() {
                    // The sender lives in `shared`, which `self` holds.
                    std::future::pending::<()>().await;
                }
            }
        })
        .await;
        found.map_err(|_| ClusterError::Timeout { version: self.current().version(), after: timeout })
    }
}

impl Shared {
    fn new(catalog: Catalog, standing: Option<Standing>) -> Arc<Self> {
        let version = watch::Sender::new(catalog.version());
        let (standing, overdue) = (standing.map(Mutex::new), Notify::new());
        Arc::new(Shared { catalog: ArcSwap::from_pointee(catalog), version, standing, overdue })
    }

    fn publish(&self, catalog: Arc<Catalog>) {
        let version = catalog.version();
        self.catalog.store(catalog);
        self.version.send_replace(version);
    }
}

async fn follow(meta: Arc<dyn MetaClient>, shared: Arc<Shared>) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    let mut resume = true;
    loop {
        let current = shared.catalog.load_full();
        let from = if resume { current.version() } else { 0 };
        resume = true;
        match meta.watch(from).await {
            Ok(mut events) => {
                let mut follower = Follower::new(current);
                loop {
                    let event = tokio::select! {
                        event = events.next() => event,
                        () = shared.overdue.notified() => {
                            tracing::warn!("the watch on meta stays behind its leader, and is begun again");
                            None
                        }
                    };
                    let Some(event) = event else { break };
                    let event = match event {
                        Ok(event) => event,
                        Err(error) => {
                            tracing::warn!(kind = error.kind.as_str(), %error, "the watch on meta broke");
                            break;
                        }
                    };
                    match follower.take(&event) {
                        Ok(Some(catalog)) => {
                            shared.publish(catalog.clone());
                            backoff.reset();
                        }
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(%error, "taking a new snapshot from meta");
                            resume = false;
                            break;
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(kind = error.kind.as_str(), %error, "meta cannot be watched"),
        }
        backoff.wait().await;
    }
}
