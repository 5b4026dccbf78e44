//! One run: a cluster starts, serves under faults, heals, and is asked what it holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bonghwa_ingester::IngesterOptions;
use bonghwa_seam as seam;
use bonghwa_testkit::generate::{Generator, Signal};
use parking_lot::Mutex;
use tokio::runtime::Builder;

use crate::bugs::Bug;
use crate::invariants::{catalog_and_objects, exactly_once, logs_agree, metas_agree, serving};
use crate::roles::Role;
use crate::workload;
use crate::world::{Settings, World};
use crate::{dice, membership, nemesis};

/// When a run begins, Unix nanoseconds: the simulated nodes' clocks start here.
const EPOCH: i64 = 1_790_000_000_000_000_000;
/// How much simulated time a run may take before it is called stuck.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long nodes may take to join and leave once faults have ended.
const SETTLE: Duration = Duration::from_secs(180);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Decides all that is left to chance.
    pub seed: u64,
    /// A fault planted into the product.
    pub bug: Bug,
    /// Print what happens to standard error.
    pub print: bool,
}

/// What became of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was not as it must be.
    pub violations: Vec<String>,
    /// The hash over all events: the same for the same seed and build.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Records sent and acked.
    pub records: (usize, usize),
    /// Faults inflicted.
    pub faults: usize,
    /// Queries that did not see partitions of which their querier knew nothing yet.
    pub stale_reads: usize,
    /// Blocks in the catalog at the end.
    pub blocks: usize,
    /// Simulated time.
    pub simulated: Duration,
    /// The last events, where something was wrong.
    pub recent: Vec<String>,
}

/// Panics of this process: each is a violation, in whatever task it was.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Runs a plan on this thread. Once in a process: what it leaves behind would be the next run's
/// beginning.
pub fn run(plan: Plan) -> Result<Report> {
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        PANICS.lock().push(panic.to_string());
    }));
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let _simulation = seam::simulate(plan.seed, EPOCH);
        let kind = Kind::draw();
        let world = build(plan, kind);
        world.trace.line(format!("{kind:?}"));
        let mut report = Report::default();
        if seam::timeout(LONGEST, live(&world, kind, &mut report)).await.is_err() {
            world.violation(format!("the run did not end within {LONGEST:?} of simulated time"));
        }
        for name in world.all_names() {
            world.crash(&name, true);
        }
        (report.hash, report.events) = world.trace.hash();
        report.violations = world.violations();
        report.violations.extend(PANICS.lock().drain(..));
        report.records = world.ledger.totals();
        report.stale_reads = world.stale_reads();
        report.simulated = world.trace.elapsed();
        if !report.violations.is_empty() {
            report.recent = world.trace.recent();
        }
        Ok(report)
    })
}

/// What the seed says of the kind of run.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Ingesters join, leave and are lost.
    membership: bool,
    /// How often clients send a batch that was not acked. Once where partitions come and go: what
    /// a client sends again after its partition was replaced is a new batch to the product.
    attempts: u32,
    /// When a silent node is given up.
    lost_after: Duration,
    /// Blocks are compacted.
    compacts: bool,
}

impl Kind {
    fn draw() -> Self {
        let compacts = dice::chance(0.5);
        if dice::chance(0.4) {
            let lost_after = dice::between(Duration::from_secs(15), Duration::from_secs(25));
            return Kind { membership: true, attempts: 1, lost_after, compacts };
        }
        let attempts = 1 + dice::below(5) as u32;
        Kind { membership: false, attempts, lost_after: Duration::from_secs(600), compacts }
    }
}

fn build(plan: Plan, kind: Kind) -> Arc<World> {
    let metas: Vec<String> = (1..=3).map(|n| format!("meta-{n}")).collect();
    let ingester = IngesterOptions {
        flush_bytes: 4 << (10 + dice::below(6)),
        flush_age: dice::between(Duration::from_secs(2), Duration::from_secs(20)),
        grace: dice::between(Duration::from_secs(1), Duration::from_secs(10)),
        head_bytes: 4 << 20,
        ..IngesterOptions::default()
    };
    let Kind { lost_after, compacts, .. } = kind;
    let settings = Settings { metas: metas.clone(), ingester, lost_after, compacts };
    let world = World::new(settings, plan.bug, plan.print);
    for (at, name) in metas.iter().enumerate() {
        world.add(name, Role::Meta, &format!("zone-{}", at + 1));
    }
    for at in 1..=3 {
        world.add(&format!("ingester-{at}"), Role::Ingester, &format!("zone-{at}"));
    }
    for at in 1..=2 {
        world.add(&format!("front-{at}"), Role::Front, &format!("zone-{at}"));
    }
    world
}

async fn live(world: &Arc<World>, kind: Kind, report: &mut Report) {
    let generator = |worker: u64| Generator::new(seam::random(), worker, EPOCH as u64);
    let mut first = generator(1);
    serving::check(world, &mut first).await;
    world.trace.line("the cluster serves".to_owned());

    let (no_more_faults, no_more_load) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for (at, signal) in Signal::ALL.into_iter().enumerate() {
        let generator = generator(2 + at as u64);
        tasks.push(seam::spawn(workload::send_until(
            world.clone(),
            signal,
            generator,
            kind.attempts,
            no_more_load.clone(),
        )));
    }
    tasks.push(seam::spawn(read_until(world.clone(), no_more_load.clone())));
    let nemesis = seam::spawn(nemesis::rage(world.clone(), no_more_faults.clone()));
    let changes = seam::spawn(membership::change(world.clone(), kind.membership));
    seam::sleep(dice::between(Duration::from_secs(15), Duration::from_secs(40))).await;
    no_more_faults.store(true, Ordering::Relaxed);
    match nemesis.join().await.context("the nemesis panicked") {
        Ok(faults) => report.faults = faults,
        Err(error) => world.violation(error.to_string()),
    }
    world.network.mend_all();
    if seam::timeout(SETTLE, changes.join()).await.is_err() {
        world.violation(format!("the membership did not settle within {SETTLE:?} after the last fault"));
    }
    world.trace.line("the faults have ended".to_owned());
    seam::sleep(Duration::from_secs(5)).await;
    no_more_load.store(true, Ordering::Relaxed);
    for task in tasks {
        if task.join().await.is_none() {
            world.violation("a client panicked".to_owned());
        }
    }
    serving::check(world, &mut first).await;
    logs_agree::check(world).await;
    nemesis::flush(world).await;
    for querier in world.names(Role::Front) {
        for signal in Signal::ALL {
            if let Err(error) = exactly_once::check(world, &querier, signal, false).await {
                world.violation(format!("a query fails without a fault: {error}"));
            }
        }
    }
    if let Some(catalog) = metas_agree::check(world).await {
        report.blocks = catalog.block_count();
        catalog_and_objects::check(world, &catalog).await;
    }
}

/// Asks now and then while things go wrong; a query may fail then, but not lie.
async fn read_until(world: Arc<World>, end: Arc<AtomicBool>) {
    while !end.load(Ordering::Relaxed) {
        seam::sleep(dice::between(Duration::from_millis(500), Duration::from_secs(5))).await;
        let fronts = world.names(Role::Front);
        let (Some(querier), Some(signal)) = (dice::one_of(&fronts), dice::one_of(&Signal::ALL)) else { return };
        if let Err(error) = exactly_once::check(&world, querier, *signal, true).await {
            world.trace.line(format!("a query of {} by {querier} failed: {error}", signal.table()));
        }
    }
}
