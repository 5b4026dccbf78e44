//! The role: the jobs of the configuration, which is read again when it changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::{ClusterView, seam};
use bonghwa_model::TenantId;
use bonghwa_protocol::MetaClient;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::{ConfigError, ScrapeConfig};
use crate::memory::Memory;
use crate::metrics;
use crate::pool::Pool;
use crate::runner::Shared;
use crate::shards::{Owing, Owned, Shards};
use crate::sink::Sink;

/// How often the files of the configuration are looked at. Their content tells more surely than their times whether
/// they changed, also where they are links that move, as in a mounted config map.
const LOOK: Duration = Duration::from_secs(2);

/// Configuration of the scraper.
#[derive(Clone, Debug)]
pub struct ScraperOptions {
    /// The file, in Prometheus' format.
    pub config: PathBuf,
    /// Whose the series are.
    pub tenant: TenantId,
    /// Bytes of a body, uncompressed, of jobs without a `body_size_limit`.
    pub max_body_bytes: usize,
    /// Bytes of all bodies and messages that are in memory at once.
    pub max_inflight_bytes: usize,
    /// After so long without word from meta this node stops: another may have taken over.
    pub patience: Duration,
}

/// The scraper of one node.
pub struct Scraper {
    pub(crate) node: u64,
    pub(crate) view: Arc<ClusterView>,
    /// Whose the series are.
    pub(crate) tenant: TenantId,
    pub(crate) jobs: Arc<Jobs>,
    shards: Arc<Shards>,
    tasks: Mutex<Vec<seam::Task>>,
}

/// The jobs, by name.
pub(crate) struct Jobs {
    pools: Mutex<BTreeMap<String, Pool>>,
    shared: Arc<Shared>,
    owned: watch::Receiver<Owned>,
}

impl Scraper {
    /// Starts scraping as the node with this id, which must be registered with the role `scraper`. The configuration
    /// must be good now; later versions that are not are reported, and passed over. It reads files, and blocks for it.
    pub fn start(
        options: ScraperOptions,
        node: u64,
        meta: Arc<dyn MetaClient>,
        view: Arc<ClusterView>,
        sink: Arc<dyn Sink>,
    ) -> Result<Arc<Self>, ConfigError> {
        let config = ScrapeConfig::load(&options.config)?;
        tell_unused(&options, &config);
        let (owned, receiver) = watch::channel(Owned::default());
        let (view_of_shards, patience) = (view.clone(), options.patience);
        let shards = Shards { node, meta, view: view_of_shards, patience, owned, owing: Owing::default() };
        let shards = Arc::new(shards);
        let shared = Arc::new(Shared {
            sink,
            tenant: options.tenant.clone(),
            memory: Memory::new(options.max_inflight_bytes),
            most_bytes: options.max_body_bytes as u64,
        });
        let tenant = options.tenant.clone();
        let jobs = Arc::new(Jobs { pools: Mutex::default(), shared, owned: receiver });
        jobs.set(&config);
        let tasks = vec![seam::spawn(shards.clone().run()), seam::spawn(follow(options, config, jobs.clone()))];
        Ok(Arc::new(Scraper { node, view, tenant, jobs, shards, tasks: Mutex::new(tasks) }))
    }

    /// Stops, and lets another node take over at once.
    pub async fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.stop().await;
        }
        self.jobs.pools.lock().clear();
        self.shards.give_up().await;
    }
}

impl Jobs {
    /// Goes over to a configuration.
    fn set(&self, config: &ScrapeConfig) {
        let mut pools = self.pools.lock();
        for job in &config.jobs {
            match pools.get(&job.name) {
                Some(pool) => pool.reload(job.clone()),
                None => {
                    let pool = Pool::start(job.clone(), self.shared.clone(), self.owned.clone());
                    pools.insert(job.name.clone(), pool);
                }
            }
        }
        for (_, pool) in pools.iter().filter(|(name, _)| config.jobs.iter().all(|job| job.name != **name)) {
            pool.retire();
        }
    }

    /// Forgets jobs of which nothing is left.
    fn sweep(&self) {
        self.pools.lock().retain(|_, pool| !pool.is_over());
    }

    /// Looks at each job that is in the configuration, in the order of their names.
    pub fn each(&self, look: impl FnMut(&Pool)) {
        self.pools.lock().values().filter(|pool| !pool.is_retired()).for_each(look);
    }
}

/// Follows the configuration's files.
async fn follow(options: ScraperOptions, mut current: ScrapeConfig, jobs: Arc<Jobs>) {
    // What was complained of last: one broken version is told once.
    let mut complaint = String::new();
    loop {
        seam::sleep(LOOK).await;
        jobs.sweep();
        let path = options.config.clone();
        let Some(read) = seam::blocking(move || ScrapeConfig::load(&path)).await else { return };
        match read {
            Ok(config) => {
                complaint.clear();
                metrics::BROKEN.set(0);
                if !config.same_as(&current) {
                    tell_unused(&options, &config);
                    jobs.set(&config);
                    metrics::RELOADS.with_label_values(&["ok"]).inc();
                    tracing::info!(file = %options.config.display(), jobs = config.jobs.len(), "scrape.config is read");
                    current = config;
                }
            }
            Err(error) => {
                let said = error.to_string();
                if said != complaint {
                    metrics::BROKEN.set(1);
                    metrics::RELOADS.with_label_values(&["error"]).inc();
                    tracing::error!(%error, "scrape.config: the jobs stay as they were before it changed");
                    complaint = said;
                }
            }
        }
    }
}

fn tell_unused(options: &ScraperOptions, config: &ScrapeConfig) {
    if !config.unused.is_empty() {
        let (file, sections) = (options.config.display(), config.unused.join(", "));
        tracing::info!(%file, sections, "these sections of the scrape configuration are not used here");
    }
}

#[cfg(test)]
#[path = "scraper_tests.rs"]
mod tests;
