//! The targets of one job: kept in step with what is discovered, and with this node's share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::client::Client;
use crate::config::{Discovery, Job};
use crate::discovery::{Finder, Group};
use crate::labels::OwnedLabels;
use crate::metrics;
use crate::runner::{Calling, Order, Runner, Shared, State};
use crate::shards::Owned;
use crate::target::{Made, Target};

/// Changes that come one after another are taken together.
const TOGETHER: Duration = Duration::from_secs(1);

/// A job at work until it is dropped.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    _task: seam::Task,
}

struct Inner {
    shared: Arc<Shared>,
    owned: watch::Receiver<Owned>,
    changed: Arc<Notify>,
    job: Mutex<Current>,
    targets: Mutex<BTreeMap<u64, Running>>,
    seen: Mutex<Seen>,
}

/// The newest configuration.
struct Current {
    calling: Arc<Calling>,
    finders: Vec<(Discovery, Finder)>,
    /// Whether it is in no configuration any more.
    retired: bool,
}

/// A target and its task.
struct Running {
    target: Arc<Target>,
    state: Arc<State>,
    orders: watch::Sender<Order>,
    task: seam::Task,
}

/// What became of the discovered labels that are not scraped here.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Dropped by relabelling; as many as are kept.
    pub dropped: Vec<Arc<OwnedLabels>>,
    /// How many there are.
    pub dropped_count: usize,
    /// Targets of this job that other nodes scrape.
    pub elsewhere: usize,
}

/// A target for the API.
#[derive(Clone)]
pub(crate) struct Shown {
    pub target: Arc<Target>,
    pub state: Arc<State>,
}

impl Pool {
    /// Starts a job.
    pub fn start(job: Job, shared: Arc<Shared>, owned: watch::Receiver<Owned>) -> Pool {
        let changed = Arc::new(Notify::new());
        let current = Current { calling: calling(&job), finders: Vec::new(), retired: false };
        let inner = Arc::new(Inner {
            shared,
            owned,
            changed,
            job: Mutex::new(current),
            targets: Mutex::default(),
            seen: Mutex::default(),
        });
        inner.find(&job);
        let task = seam::spawn(follow(inner.clone()));
        Pool { inner, _task: task }
    }

    /// Goes on with another configuration of the same job.
    pub fn reload(&self, job: Job) {
        self.inner.find(&job);
        let mut current = self.inner.job.lock();
        current.calling = calling(&job);
        current.retired = false;
        drop(current);
        self.inner.changed.notify_one();
    }

    /// Lets all targets go: the job is no more.
    pub fn retire(&self) {
        let mut current = self.inner.job.lock();
        current.retired = true;
        current.finders.clear();
        drop(current);
        self.inner.changed.notify_one();
    }

    /// Whether it is no more, and nothing of it is left.
    pub fn is_over(&self) -> bool {
        self.is_retired() && self.inner.targets.lock().is_empty()
    }

    /// Whether it is in no configuration any more.
    pub fn is_retired(&self) -> bool {
        self.inner.job.lock().retired
    }

    /// The job as it is now.
    pub fn job(&self) -> Arc<Job> {
        self.inner.job.lock().calling.job.clone()
    }

    /// What is scraped here.
    pub fn targets(&self) -> Vec<Shown> {
        let targets = self.inner.targets.lock();
        let here = targets.values().filter(|running| !matches!(*running.orders.borrow(), Order::Leave));
        here.map(|running| Shown { target: running.target.clone(), state: running.state.clone() }).collect()
    }

    /// What is not.
    pub fn seen(&self) -> Seen {
        self.inner.seen.lock().clone()
    }
}

fn calling(job: &Job) -> Arc<Calling> {
    Arc::new(Calling { client: Client::new(job.http.clone()), job: Arc::new(job.clone()) })
}

async fn follow(inner: Arc<Inner>) {
    let mut owned = inner.owned.clone();
    loop {
        let mine = owned.borrow_and_update().clone();
        inner.sync(&mine);
        tokio::select! {
            () = inner.changed.notified() => {
                // Not a moment longer is scraped what is another node's.
                let _ = seam::timeout(TOGETHER, owned.changed()).await;
            }
            changed = owned.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

impl Inner {
    /// Starts what the job finds targets by; what it shares with the configuration before goes on.
    fn find(&self, job: &Job) {
        let mut current = self.job.lock();
        let mut before = std::mem::take(&mut current.finders);
        current.finders = job
            .discoveries
            .iter()
            .map(|discovery| match before.iter().position(|(known, _)| known == discovery) {
                Some(at) => before.swap_remove(at),
                None => (discovery.clone(), Finder::start(&job.name, discovery, self.changed.clone())),
            })
            .collect();
    }

    /// Has this node scrape what it is to scrape, and nothing else.
    fn sync(&self, mine: &Owned) {
        let (calling, groups) = {
            let current = self.job.lock();
            let groups: Vec<Arc<Group>> =
                current.finders.iter().flat_map(|(_, finder)| finder.found.groups()).collect();
            (current.calling.clone(), groups)
        };
        let job = &calling.job;
        let (wanted, mut seen) = make(job, &groups);
        let limit = job.limits.targets;
        let refuse = (limit > 0 && wanted.len() as u64 > limit)
            .then(|| format!("target_limit exceeded: {} targets, and the limit is {limit}", wanted.len()));
        let order = |target| Order::Scrape { calling: calling.clone(), target, refuse: refuse.clone() };
        let all = wanted.len();
        let mut wanted: BTreeMap<u64, Arc<Target>> =
            wanted.into_iter().filter(|(key, _)| mine.has(*key)).map(|(key, target)| (key, Arc::new(target))).collect();
        seen.elsewhere = all - wanted.len();
        for (state, count) in [("active", wanted.len()), ("dropped", seen.dropped_count)] {
            metrics::TARGETS.with_label_values(&[job.name.as_str(), state]).set(count as i64);
        }
        *self.seen.lock() = seen;
        let mut targets = self.targets.lock();
        // What another node scrapes goes on there: its series do not end.
        targets.retain(|key, running| mine.has(*key) && !running.task.is_finished());
        for (key, running) in targets.iter_mut() {
            let order = match wanted.remove(key) {
                Some(target) => {
                    running.target = target.clone();
                    order(target)
                }
                None => Order::Leave,
            };
            // An order that is given again would begin a grace anew.
            running.orders.send_if_modified(|given| {
                let changed = !given.same_as(&order);
                *given = order;
                changed
            });
        }
        for (key, target) in wanted {
            targets.insert(key, self.run(target.clone(), order(target)));
        }
    }

    fn run(&self, target: Arc<Target>, order: Order) -> Running {
        let (orders, receiver) = watch::channel(order);
        let state = Arc::<State>::default();
        let runner = Runner {
            shared: self.shared.clone(),
            target: target.clone(),
            state: state.clone(),
            orders: receiver,
            ended: self.changed.clone(),
        };
        Running { target, state, orders, task: seam::spawn(runner.run()) }
    }
}

/// The targets of groups, each once.
fn make(job: &Job, groups: &[Arc<Group>]) -> (BTreeMap<u64, Target>, Seen) {
    let mut targets = BTreeMap::new();
    let mut seen = Seen::default();
    let kept = match job.limits.kept_dropped {
        0 => usize::MAX,
        limit => limit as usize,
    };
    for group in groups {
        for labels in &group.targets {
            let mut discovered = labels.clone();
            for (name, value) in group.labels.iter() {
                discovered.set_default(name.to_owned(), value.to_owned());
            }
            discovered.sort();
            let discovered = Arc::new(discovered);
            match Target::make(job, &discovered) {
                Ok(Made::Target(target)) => drop(targets.entry(target.key).or_insert(*target)),
                Ok(Made::Dropped) => {
                    seen.dropped_count += 1;
                    if seen.dropped.len() < kept {
                        seen.dropped.push(discovered);
                    }
                }
                Err(error) => {
                    let labels = discovered.to_map();
                    tracing::warn!(job = job.name, source = group.source, ?labels, error, "labels make no target");
                }
            }
        }
    }
    (targets, seen)
}
