//! The role: runs, one after another, until its handle is dropped.

use std::sync::Arc;

use bonghwa_cluster::{ClusterView, seam};
use bonghwa_protocol::MetaClient;
use futures::{StreamExt, stream};
use tokio::sync::Mutex;

use crate::job::Worker;
use crate::lease::Commands;
use crate::options::nanos;
use crate::{CompactorError, CompactorOptions, Job, RunReport, Storage, deletes, garbage, metrics, plan};

/// Plans in one run: flushes become small blocks, these larger ones.
const ROUNDS: usize = 8;

/// The compactor of one node.
pub struct Compactor {
    commands: Commands,
    storage: Storage,
    options: CompactorOptions,
    /// Held by the run that goes on.
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    /// When orphans were searched for last, Unix nanoseconds.
    searched: Option<i64>,
}

impl Compactor {
    /// The compactor of the node with this id, which must be registered: its leases end
    /// with it. `view` must follow the same meta. Fails on options that contradict each other.
    pub fn new(
        node: u64,
        meta: Arc<dyn MetaClient>,
        view: Arc<ClusterView>,
        storage: Storage,
        options: CompactorOptions,
    ) -> Result<Arc<Self>, String> {
        options.check()?;
        let commands = Commands { meta, view, node };
        Ok(Arc::new(Compactor { commands, storage, options, running: Mutex::default() }))
    }

    /// Runs again and again, for as long as it is polled.
    pub async fn run(self: Arc<Self>) {
        loop {
            seam::sleep(seam::jitter(self.options.interval)).await;
            let report = self.run_once(seam::unix_nanos()).await;
            if report != RunReport::default() {
                tracing::info!(?report, "a run of the compactor");
            }
        }
    }

    /// Does all that is to be done at a time (Unix nanoseconds). Calls wait for each other.
    pub async fn run_once(&self, now: i64) -> RunReport {
        let mut running = self.running.lock().await;
        let mut report = RunReport::default();
        for _ in 0..ROUNDS {
            let jobs = plan(&self.commands.view.current(), &self.options, now);
            metrics::PLANNED.set(jobs.len() as i64);
            if jobs.is_empty() {
                break;
            }
            let done = self.round(jobs, now).await;
            let went_on = done.jobs > 0;
            report.add(done);
            if !went_on {
                break;
            }
        }
        let (commands, storage, options) = (&self.commands, &self.storage, &self.options);
        let closed = deletes::close(commands).await;
        report.deletes_closed = counted(&mut report, "closing deletes", closed);
        let collected = garbage::collect(commands, storage, options, now).await;
        report.garbage_deleted = counted(&mut report, "deleting replaced objects", collected);
        metrics::GARBAGE.inc_by(report.garbage_deleted);
        if running.searched.is_none_or(|last| now.saturating_sub(last) >= nanos(options.orphan_interval)) {
            let found = garbage::orphans(commands, storage, options, now).await;
            if found.is_ok() {
                running.searched = Some(now);
            }
            report.orphans_deleted = counted(&mut report, "searching for orphans", found);
            metrics::ORPHANS.inc_by(report.orphans_deleted);
        }
        report
    }

    async fn round(&self, jobs: Vec<Job>, now: i64) -> RunReport {
        let worker = Worker { commands: &self.commands, storage: &self.storage, options: &self.options, now };
        let running = jobs.into_iter().map(|job| {
            let worker = &worker;
            async move {
                let started = seam::now();
                let done = worker.run(&job).await;
                metrics::JOB_SECONDS.observe(started.elapsed().as_secs_f64());
                (job, done)
            }
        });
        // The futures are made before they run, so that the closure need not outlive this.
        let running: Vec<_> = running.collect();
        let mut done = stream::iter(running).buffer_unordered(self.options.concurrency.max(1));
        let mut report = RunReport::default();
        while let Some((job, result)) = done.next().await {
            let outcome = match &result {
                Ok(done) if done.skipped > 0 => "skipped",
                Ok(_) => "ok",
                Err(_) => "error",
            };
            metrics::JOBS.with_label_values(&[job.work.as_str(), outcome]).inc();
            match result {
                Ok(done) => {
                    metrics::BYTES_REMOVED.inc_by(done.bytes_removed);
                    metrics::BYTES_ADDED.inc_by(done.bytes_added);
                    metrics::ITEMS_DROPPED.inc_by(done.items_dropped);
                    report.add(done);
                }
                Err(error) => {
                    let blocks = job.blocks.len();
                    tracing::warn!(lease = job.lease, work = job.work.as_str(), blocks, %error, "a job failed");
                    report.errors.push(format!("{}: {error}", job.lease));
                }
            }
        }
        report
    }

    pub(crate) fn commands(&self) -> &Commands {
        &self.commands
    }
}

fn counted(report: &mut RunReport, what: &str, result: Result<u64, CompactorError>) -> u64 {
    result.unwrap_or_else(|error| {
        tracing::warn!(%error, "{what} failed");
        report.errors.push(format!("{what}: {error}"));
        0
    })
}
