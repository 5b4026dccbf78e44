//! Everything that a run has: the nodes and their disks, the network, the object store, and what
//! is known of the records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bonghwa_ingester::IngesterOptions;
use bonghwa_replog::MemoryDisk;
use bonghwa_seam::{self as seam, Process};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::bugs::Bug;
use crate::dice;
use crate::ledger::Ledger;
use crate::member::Incarnations;
use crate::network::Network;
use crate::objects::SimStore;
use crate::roles::{self, Machine, Role, Servers, Surroundings};
use crate::trace::Trace;

/// How long after its end a process is started again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(2000));
/// How long a process may take to end when it is told to.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// A run's world.
pub struct World {
    /// What happened.
    pub trace: Arc<Trace>,
    /// The wires.
    pub network: Arc<Network>,
    /// The blocks.
    pub objects: Arc<SimStore>,
    /// The records.
    pub ledger: Ledger,
    /// The fault that is planted.
    pub bug: Bug,
    around: Surroundings,
    nodes: Mutex<BTreeMap<String, Node>>,
    violations: Mutex<Vec<String>>,
    stale_reads: AtomicUsize,
    exits: mpsc::UnboundedSender<Exit>,
}

/// How the roles of a world are set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The names of the meta nodes.
    pub metas: Vec<String>,
    /// When heads are flushed.
    pub ingester: IngesterOptions,
    /// When a silent node is given up.
    pub lost_after: Duration,
    /// Whether blocks are compacted.
    pub compacts: bool,
}

/// One machine.
struct Node {
    machine: Machine,
    process: Option<Arc<Process>>,
    /// Counts starts.
    life: u64,
    /// Not started again when it ends.
    held: bool,
    clock_error: i64,
}

/// A process that ended by itself.
struct Exit {
    name: String,
    life: u64,
    reason: String,
}

impl World {
    /// A world without nodes, and the task that starts processes again when they end.
    pub fn new(settings: Settings, bug: Bug, print: bool) -> Arc<Self> {
        let trace = Arc::new(Trace::new(print));
        let network = Network::new(trace.clone());
        let objects = SimStore::new(trace.clone());
        let Settings { metas, ingester, lost_after, compacts } = settings;
        let around = Surroundings {
            network: network.clone(),
            objects: objects.clone(),
            metas,
            ingester,
            lost_after,
            compacts,
            bug,
        };
        let (exits, ended) = mpsc::unbounded_channel();
        let world = Arc::new(World {
            trace,
            network,
            objects,
            ledger: Ledger::default(),
            bug,
            around,
            nodes: Mutex::default(),
            violations: Mutex::default(),
            stale_reads: AtomicUsize::new(0),
            exits,
        });
        seam::spawn(supervise(world.clone(), ended)).detach();
        world
    }

    /// Adds a machine with an empty disk and starts it.
    pub fn add(&self, name: &str, role: Role, zone: &str) {
        let disk = MemoryDisk::new();
        disk.set_sync_time(Duration::from_millis(1), Duration::from_millis(6));
        disk.set_lying(self.bug == Bug::LyingDisk && role == Role::Ingester);
        let (name, zone) = (name.to_owned(), zone.to_owned());
        let machine = Machine { role, name: name.clone(), zone, disk, incarnations: Incarnations::default() };
        let node = Node { machine, process: None, life: 0, held: false, clock_error: 0 };
        self.nodes.lock().insert(name.clone(), node);
        self.start(&name);
    }

    /// The names of the nodes of a role.
    pub fn names(&self, role: Role) -> Vec<String> {
        self.nodes.lock().iter().filter(|(_, node)| node.machine.role == role).map(|(name, _)| name.clone()).collect()
    }

    /// The names of all nodes.
    pub fn all_names(&self) -> Vec<String> {
        self.nodes.lock().keys().cloned().collect()
    }

    /// The names of the nodes of a zone.
    pub fn in_zone(&self, zone: &str) -> Vec<String> {
        self.nodes.lock().iter().filter(|(_, node)| node.machine.zone == zone).map(|(name, _)| name.clone()).collect()
    }

    /// A node's disk.
    pub fn disk(&self, name: &str) -> Option<Arc<MemoryDisk>> {
        self.nodes.lock().get(name).map(|node| node.machine.disk.clone())
    }

    /// Starts a node's process, unless it runs.
    pub fn start(&self, name: &str) {
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.get_mut(name).filter(|node| node.process.is_none()) else { return };
        let process = Process::new();
        process.set_clock_error(node.clock_error);
        node.process = Some(process.clone());
        node.life += 1;
        node.held = false;
        let servers = Arc::new(Servers::default());
        self.network.attach(name, process.clone(), servers.clone());
        let (around, exits) = (self.around.clone(), self.exits.clone());
        let (machine, life) = (node.machine.clone(), node.life);
        let name = name.to_owned();
        self.trace.line(format!("{name} starts"));
        drop(process.start(async move {
            let reason = match roles::open(machine, &around, &servers).await {
                Ok(()) => servers.failed().await.to_string(),
                Err(error) => format!("{error:#}"),
            };
            // Fails only when the run is over.
            let _ = exits.send(Exit { name, life, reason });
        }));
    }

    /// Ends a node's process where it is; what its disk had not synced may be lost. With `hold` it
    /// stays down until it is started.
    pub fn crash(&self, name: &str, hold: bool) {
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.get_mut(name) else { return };
        node.held = hold;
        let Some(process) = node.process.take() else { return };
        process.kill();
        self.network.detach(name);
        let unsynced = node.machine.disk.unsynced_writes();
        let kept = dice::below(unsynced as u64 + 1) as usize;
        node.machine.disk.crash(kept);
        self.trace.line(format!("{name} crashes, {kept} of {unsynced} unsynced writes survive"));
    }

    /// Ends a node's process as SIGTERM does; it stays down until it is started.
    pub async fn stop(&self, name: &str) {
        let running = {
            let mut nodes = self.nodes.lock();
            let Some(node) = nodes.get_mut(name) else { return };
            node.held = true;
            node.process.clone()
        };
        let (Some(process), Some(servers)) = (running, self.network.servers(name)) else { return };
        self.trace.line(format!("{name} is told to stop"));
        let closing = process.start(async move { servers.close().await });
        if seam::timeout(STOP_PATIENCE, closing).await.is_err() {
            self.trace.line(format!("{name} does not stop in time and is killed"));
        }
        self.crash(name, true);
    }

    /// A machine is gone for good, disk and all.
    pub fn lose(&self, name: &str) {
        self.crash(name, true);
        self.nodes.lock().remove(name);
        self.trace.line(format!("{name} is lost for good"));
    }

    /// Sets by how many nanoseconds a node's wall clock is wrong.
    pub fn set_clock_error(&self, name: &str, nanos: i64) {
        let mut nodes = self.nodes.lock();
        let Some(node) = nodes.get_mut(name) else { return };
        node.clock_error = nanos;
        if let Some(process) = &node.process {
            process.set_clock_error(nanos);
        }
    }

    /// Something is not as it must be.
    pub fn violation(&self, what: String) {
        self.trace.line(format!("VIOLATION: {what}"));
        self.violations.lock().push(what);
    }

    /// A query did not see records for a reason that is known.
    pub fn stale_read(&self, what: String) {
        self.trace.line(format!("stale read: {what}"));
        self.stale_reads.fetch_add(1, Ordering::Relaxed);
    }

    /// How many queries were such.
    pub fn stale_reads(&self) -> usize {
        self.stale_reads.load(Ordering::Relaxed)
    }

    /// What was found to be wrong so far.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }
}

/// Starts processes again that ended by themselves, as an orchestrator does.
async fn supervise(world: Arc<World>, mut ended: mpsc::UnboundedReceiver<Exit>) {
    while let Some(Exit { name, life, reason }) = ended.recv().await {
        let held = match world.nodes.lock().get(&name) {
            Some(node) if node.life == life && node.process.is_some() => node.held,
            _ => continue,
        };
        world.trace.line(format!("{name} ends: {reason}"));
        world.crash(&name, held);
        if !held {
            let world = world.clone();
            seam::spawn(async move {
                seam::sleep(dice::between(RESTART_PAUSE.0, RESTART_PAUSE.1)).await;
                let held = world.nodes.lock().get(&name).is_none_or(|node| node.held);
                if !held {
                    world.start(&name);
                }
            })
            .detach();
        }
    }
}
