//! The partitions that this node keeps: opened when the catalog names the node as a replica,
//! dropped with their logs when the catalog has removed them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bonghwa_cluster::{Backoff, seam};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;
use bonghwa_protocol::{MetaClient, v1};
use bonghwa_replog::{GroupOptions, Host};
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::IngesterError;
use crate::flush::{Flusher, flush_loop};
use crate::head::Head;
use crate::life;
use crate::partition::{Partition, Shared};

/// How often partitions that could not be opened or dropped are tried again.
const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Hosting {
    node_id: u64,
    host: Arc<Host>,
    meta: Arc<dyn MetaClient>,
    flusher: Arc<Flusher>,
    shared: Shared,
    open: RwLock<BTreeMap<String, Arc<Partition>>>,
    failure: watch::Sender<Option<Arc<IngesterError>>>,
}

impl Hosting {
    pub(crate) fn new(
        node_id: u64,
        host: Arc<Host>,
        meta: Arc<dyn MetaClient>,
        flusher: Arc<Flusher>,
        shared: Shared,
    ) -> Self {
        let failure = watch::Sender::new(None);
        Hosting { node_id, host, meta, flusher, shared, open: RwLock::default(), failure }
    }

    pub(crate) fn partition(&self, name: &str) -> Option<Arc<Partition>> {
        self.open.read().get(name).cloned()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.open.read().values().cloned().collect()
    }

    pub(crate) fn flusher(&self) -> &Arc<Flusher> {
        &self.flusher
    }

    /// Whether no other node keeps the partition.
    pub(crate) fn is_alone(&self, name: &str) -> bool {
        self.shared.view.current().partition(name).is_none_or(|p| p.replicas.len() == 1)
    }

    /// Resolves when a log has failed for good.
    pub(crate) async fn failed(&self) -> IngesterError {
        let mut failure = self.failure.subscribe();
        // The sender lives in `self`.
        match failure.wait_for(Option::is_some).await.map(|failed| failed.clone()) {
            Ok(Some(error)) => IngesterError::Failed(error),
            _ => std::future::pending().await,
        }
    }

    /// Opens what the catalog names; those that this node keeps alone are replayed when this returns.
    pub(crate) async fn open_all(self: &Arc<Self>) -> Result<(), IngesterError> {
        for partition in self.missing() {
            let opened = self.open(&partition).await?;
            if partition.replicas.len() > 1 {
                continue;
            }
            let log_error = |source| IngesterError::Log { partition: partition.name.clone(), source };
            opened.group.wait_replayed().await.map_err(log_error)?;
            let mut loaded = opened.loaded.subscribe();
            // The sender lives in `opened`.
            let _ = loaded.wait_for(|loaded| *loaded).await;
            if let Some(message) = opened.head.newer() {
                return Err(IngesterError::Newer { partition: partition.name.clone(), message });
            }
        }
        Ok(())
    }

    /// Closes all logs; leadership is handed over.
    pub(crate) async fn close(&self) {
        let open = std::mem::take(&mut *self.open.write());
        let closing = open.values().map(|partition| async {
            if let Err(error) = partition.group.shutdown().await {
                tracing::warn!(partition = partition.name, %error, "closing the log");
            }
        });
        futures::future::join_all(closing).await;
    }

    /// The partitions of this node that are not open.
    fn missing(&self) -> Vec<Arc<v1::Partition>> {
        let catalog = self.shared.view.current();
        let open = self.open.read();
        let mine = catalog.all_partitions().filter(|p| p.replicas.contains(&self.node_id));
        mine.filter(|p| !open.contains_key(&p.name)).cloned().collect()
    }

    async fn open(self: &Arc<Self>, partition: &v1::Partition) -> Result<Arc<Partition>, IngesterError> {
        let name = partition.name.clone();
        let Ok(signal) = partition.model_signal() else {
            let message = format!("its signal is {}, which only a newer release knows", partition.signal);
            return Err(IngesterError::Newer { partition: name, message });
        };
        let catalog = self.shared.view.current();
        let address = |id: &u64| catalog.node(*id).map(|node| node.address.clone()).unwrap_or_default();
        let members = partition.replicas.iter().map(|id| (*id, address(id))).collect();
        let options = GroupOptions { name: name.clone(), members, bootstrap: true, prompt_commits: false };
        let head = Arc::new(Head::new(name.clone(), partition.watermark, self.shared.memory.clone()));
        let group = self.host.open_group(options, head.clone()).await;
        let group = group.map_err(|source| IngesterError::Log { partition: name.clone(), source })?;
        let opened = Partition::start(name.clone(), signal, head, group, self.shared.clone());
        seam::spawn(life::live(Arc::downgrade(&opened), self.shared.clone(), self.meta.clone())).detach();
        let options = self.shared.options.clone();
        seam::spawn(flush_loop(Arc::downgrade(&opened), self.flusher.clone(), options)).detach();
        seam::spawn(watch_failure(Arc::downgrade(self), Arc::downgrade(&opened))).detach();
        self.open.write().insert(name, opened.clone());
        Ok(opened)
    }

    /// Drops what was in the catalog and is gone from it, log and all.
    async fn drop_removed(&self) {
        let catalog = self.shared.view.current();
        let removed = self.open.read().keys().filter(|name| catalog.partition(name).is_none()).cloned().collect();
        let removed: Vec<String> = removed;
        for name in removed {
            self.open.write().remove(&name);
            match self.host.drop_group(&name).await {
                Ok(()) => tracing::info!(partition = name, "dropped"),
                Err(error) => tracing::warn!(partition = name, %error, "its log stays until the next start"),
            }
        }
    }

    /// Logs on this disk of partitions that were removed while the node was away. Only meta knows
    /// that: a name that this copy of the catalog does not have may be a new one.
    async fn drop_leftovers(&self) {
        let Ok(stored) = self.host.store().group_names() else { return };
        let open: BTreeSet<String> = self.open.read().keys().cloned().collect();
        for name in stored.iter().filter(|name| !open.contains(*name)) {
            if self.shared.view.current().partition(name).is_some() {
                continue;
            }
            // Refused for a partition that meta has, and for what is no partition.
            let remove = v1::RemovePartition { partition: name.clone(), last_position: u64::MAX };
            let command = v1::Command { kind: Some(Kind::RemovePartition(remove)) };
            match self.meta.execute(command).await.map(|result| result.outcome) {
                Ok(Some(Outcome::Rejection(_))) | Err(_) => {}
                Ok(_) => match self.host.drop_group(name).await {
                    Ok(()) => tracing::info!(partition = name, "dropped, it was removed while this node was away"),
                    Err(error) => tracing::warn!(partition = name, %error, "its log stays until the next start"),
                },
            }
        }
    }
}

/// Follows the catalog until the node stops.
pub(crate) async fn keep(hosting: Weak<Hosting>) {
    let Some(mut versions) = hosting.upgrade().map(|h| h.shared.view.versions()) else { return };
    let mut backoff = Backoff::new(TICK / 10, TICK * 10);
    if let Some(here) = hosting.upgrade() {
        here.drop_leftovers().await;
    }
    loop {
        versions.borrow_and_update();
        let Some(here) = hosting.upgrade() else { return };
        here.drop_removed().await;
        let mut failed = false;
        for partition in here.missing() {
            if let Err(error) = here.open(&partition).await {
                failed = true;
                tracing::error!(partition = partition.name, %error, "a replica cannot be opened and is tried again");
            }
        }
        drop(here);
        let pause = if failed { backoff.next_delay() } else { TICK };
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            () = seam::sleep(pause) => {}
        }
    }
}

/// Tells of a partition that fails for good while it is open.
async fn watch_failure(hosting: Weak<Hosting>, partition: Weak<Partition>) {
    let Some(name) = partition.upgrade().map(|p| p.name.clone()) else { return };
    let failed = match partition.upgrade() {
        Some(partition) => partition.failure(),
        None => return,
    };
    let error = failed.await;
    // A partition that was closed or dropped on purpose has not failed.
    if let Some(hosting) = hosting.upgrade()
        && hosting.open.read().contains_key(&name)
    {
        hosting.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| Arc::new(error));
            first
        });
    }
}
