//! Turns of queries: so many run at once, and tenants take them in turn, so that none
//! can keep another's from running.
//!
//! A turn that is given back goes to the tenant that runs the fewest, and among those
//! to the one that had its last turn the longest ago. While others wait, therefore, no
//! tenant is given more than its share. Queries that run already are not stopped for
//! it, and may all be one tenant's: for tenants of whom none runs a few more turns are
//! kept, so that they need not wait until one of those ends.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, LazyLock};

use bonghwa_model::{TenantId, TenantLabels};
use parking_lot::Mutex;
use prometheus::{IntGauge, IntGaugeVec, opts};
use tokio::sync::oneshot;

use crate::QueryError;

/// Queries of one tenant that may wait; more are refused at once.
const MOST_WAITING: usize = 800;
/// Of how many turns one is kept on top for tenants of whom no query runs.
const KEPT_OF: usize = 4;

static WAITING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let opts = opts!("bonghwa_queries_waiting", "Queries that wait for a turn, by tenant");
    match IntGaugeVec::new(opts, &["tenant"]) {
        Ok(metric) => {
            // A second registration of the same name can only come from this file.
            let _ = prometheus::register(Box::new(metric.clone()));
            metric
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    }
});

static RUNNING: LazyLock<IntGauge> =
    LazyLock::new(|| match IntGauge::with_opts(opts!("bonghwa_queries_running", "Queries that run now")) {
        Ok(gauge) => {
            let _ = prometheus::register(Box::new(gauge.clone()));
            gauge
        }
        Err(error) => unreachable!("metric names are constants of this file: {error}"),
    });

/// The turns of one engine.
pub(crate) struct Turns {
    /// Queries that run at once.
    most: usize,
    /// And beyond those, only the first of a tenant.
    kept: usize,
    labels: TenantLabels,
    line: Mutex<Line>,
}

#[derive(Default)]
struct Line {
    running: usize,
    /// Those of whom a query runs or waits.
    tenants: HashMap<TenantId, Tenant>,
    /// Counts turns as they are given, and queries as they come.
    count: u64,
}

struct Tenant {
    running: usize,
    /// When it had its last turn, or came.
    last: u64,
    waiting: VecDeque<Waiter>,
}

struct Waiter {
    number: u64,
    turn: oneshot::Sender<Turn>,
}

/// A query's turn; given back when dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    tenant: TenantId,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// A turn, and who waits for it.
type Given = (oneshot::Sender<Turn>, Turn);

impl Turns {
    /// So many at once, one at least.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        let most = most.max(1);
        Arc::new(Turns { most, kept: most.div_ceil(KEPT_OF), labels: TenantLabels::default(), line: Mutex::default() })
    }

    /// Queries that run at once, whoever's they are.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Waits for a turn. Fails at once where too many of the tenant's queries wait already.
    pub(crate) async fn take(self: &Arc<Self>, tenant: &TenantId) -> Result<Turn, QueryError> {
        let (sender, turn) = oneshot::channel();
        let number = self.line_up(tenant, sender)?;
        let _place = Place { turns: self, tenant, number };
        // The sender stays in the line until it is used.
        turn.await.map_err(|_| QueryError::Internal("a query lost its place in the line".into()))
    }

    fn line_up(self: &Arc<Self>, tenant: &TenantId, turn: oneshot::Sender<Turn>) -> Result<u64, QueryError> {
        let mut line = self.line.lock();
        line.count += 1;
        let number = line.count;
        let of_tenant = line.tenants.entry(tenant.clone()).or_insert_with(|| Tenant {
            running: 0,
            last: number,
            waiting: VecDeque::new(),
        });
        if of_tenant.waiting.len() >= MOST_WAITING {
            return Err(QueryError::Queue { tenant: tenant.to_string(), waiting: MOST_WAITING });
        }
        of_tenant.waiting.push_back(Waiter { number, turn });
        self.count_waiting(tenant, 1);
        let given = self.give(&mut line);
        drop(line);
        send(given);
        Ok(number)
    }

    /// Gives the turns that are free to those who are next.
    fn give(self: &Arc<Self>, line: &mut Line) -> Vec<Given> {
        let mut given = Vec::new();
        loop {
            let waiting = line.tenants.iter_mut().filter(|(_, tenant)| !tenant.waiting.is_empty());
            let Some((id, tenant)) = waiting.min_by_key(|(_, tenant)| (tenant.running, tenant.last)) else { break };
            let most = if tenant.running == 0 { self.most + self.kept } else { self.most };
            if line.running >= most {
                break;
            }
            let Some(waiter) = tenant.waiting.pop_front() else { break };
            line.running += 1;
            line.count += 1;
            tenant.running += 1;
            tenant.last = line.count;
            self.count_waiting(id, -1);
            RUNNING.inc();
            given.push((waiter.turn, Turn { turns: self.clone(), tenant: id.clone() }));
        }
        given
    }

    fn count_waiting(&self, tenant: &TenantId, by: i64) {
        WAITING.with_label_values(&[&self.labels.of(tenant)]).add(by);
    }
}

/// Outside of the lock: a turn that nobody takes any more is given back, which locks.
fn send(given: Vec<Given>) {
    for (sender, turn) in given {
        let _ = sender.send(turn);
    }
}

impl Line {
    fn forget_if_idle(&mut self, id: &TenantId) {
        if self.tenants.get(id).is_some_and(|tenant| tenant.running == 0 && tenant.waiting.is_empty()) {
            self.tenants.remove(id);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.turns.line.lock();
        line.running -= 1;
        RUNNING.dec();
        if let Some(tenant) = line.tenants.get_mut(&self.tenant) {
            tenant.running -= 1;
        }
        line.forget_if_idle(&self.tenant);
        let given = self.turns.give(&mut line);
        drop(line);
        send(given);
    }
}

/// A place in the line; left when dropped.
struct Place<'a> {
    turns: &'a Turns,
    tenant: &'a TenantId,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut line = self.turns.line.lock();
        let Some(tenant) = line.tenants.get_mut(self.tenant) else { return };
        // Numbers rise along the queue.
        let Ok(at) = tenant.waiting.binary_search_by_key(&self.number, |waiter| waiter.number) else { return };
        tenant.waiting.remove(at);
        self.turns.count_waiting(self.tenant, -1);
        line.forget_if_idle(self.tenant);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use bonghwa_cluster::seam;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    type Waits = BoxFuture<'static, Result<Turn, QueryError>>;

    /// Queries of these tenants, lined up in this order.
    fn line_up(turns: &Arc<Turns>, tenants: &str) -> Vec<(char, Waits)> {
        let take = |name: char| {
            let (turns, tenant) = (turns.clone(), tenant(&name.to_string()));
            let mut waits = async move { turns.take(&tenant).await }.boxed();
            // Polled once, it is in the line; a turn that it has already is kept for it.
            match waits.as_mut().now_or_never() {
                Some(turn) => (name, futures::future::ready(turn).boxed()),
                None => (name, waits),
            }
        };
        tenants.chars().map(take).collect()
    }

    /// Takes out those that have a turn now.
    fn begun(waits: &mut Vec<(char, Waits)>) -> (String, Vec<Turn>) {
        let mut names = String::new();
        let mut turns = Vec::new();
        waits.retain_mut(|(name, wait)| match wait.as_mut().now_or_never() {
            Some(turn) => {
                names.push(*name);
                turns.push(turn.unwrap());
                false
            }
            None => true,
        });
        (names, turns)
    }

    #[tokio::test]
    async fn a_lone_tenant_has_all_turns_in_the_order_of_arrival() {
        let turns = Turns::new(4);
        let mut waits = line_up(&turns, "aaaaaa");
        let (names, mut running) = begun(&mut waits);
        assert_eq!(names, "aaaa", "and not those that are kept for others");
        running.pop();
        assert_eq!(begun(&mut waits).0, "a");
    }

    #[tokio::test]
    async fn the_first_query_of_a_tenant_does_not_wait_for_anothers() {
        let turns = Turns::new(8);
        let mut waits = line_up(&turns, &"a".repeat(50));
        let (_, running) = begun(&mut waits);
        assert_eq!(running.len(), 8);
        let mut others = line_up(&turns, "bbcd");
        let (names, kept) = begun(&mut others);
        assert_eq!(names, "bc", "a query of each, as far as the two that are kept go");
        assert_eq!(begun(&mut others).0, "", "a second of b is for a turn that all may have");
        drop(kept);
        assert_eq!(begun(&mut others).0, "bd", "none of them ran any more");
        drop(running);
        assert_eq!(begun(&mut waits).0, "aaaaaaaa");
    }

    #[tokio::test]
    async fn turns_go_to_those_who_run_the_fewest_and_else_go_round() {
        let turns = Turns::new(3);
        let mut waits = line_up(&turns, "aaa");
        let (_, running) = begun(&mut waits);
        let mut waits = line_up(&turns, "aaabbbccc");
        let (first, kept) = begun(&mut waits);
        assert_eq!(first, "b", "the one that is kept");
        let mut order = first;
        let mut running: VecDeque<Turn> = running.into_iter().chain(kept).collect();
        for _ in 0..12 {
            // The oldest ends.
            running.pop_front();
            let (names, begun) = begun(&mut waits);
            order.push_str(&names);
            running.extend(begun);
        }
        assert_eq!(order, "bcabcabca", "a waits until others have as few, then they go round");
    }

    #[tokio::test]
    async fn whoever_leaves_the_line_takes_no_turn() {
        let turns = Turns::new(1);
        let mut waits = line_up(&turns, "a");
        let (_, running) = begun(&mut waits);
        let mut waits = line_up(&turns, "aab");
        let (names, kept) = begun(&mut waits);
        assert_eq!(names, "b");
        drop(waits.remove(0));
        drop((running, kept));
        assert_eq!(begun(&mut waits).0, "a");
        assert!(waits.is_empty() && turns.line.lock().tenants.is_empty(), "nothing is left behind");
        assert_eq!(turns.line.lock().running, 0);
    }

    #[tokio::test]
    async fn a_line_has_an_end() {
        let turns = Turns::new(1);
        let mut waits = line_up(&turns, "a");
        let _running = begun(&mut waits);
        let waits = line_up(&turns, &"a".repeat(MOST_WAITING));
        let refused = turns.take(&tenant("a")).now_or_never().unwrap().err().unwrap();
        assert_eq!(refused, QueryError::Queue { tenant: "a".into(), waiting: MOST_WAITING });
        assert!(turns.take(&tenant("b")).now_or_never().is_some(), "another tenant's line is its own");
        drop(waits);
        assert!(turns.take(&tenant("a")).now_or_never().is_none(), "there is room to wait again");
    }

    /// Two tenants flood with queries of ten seconds; a third asks every few seconds.
    #[tokio::test(start_paused = true)]
    async fn floods_keep_nobody_waiting_for_long() {
        let turns = Turns::new(8);
        let query = |name: &'static str, takes: u64| {
            let turns = turns.clone();
            seam::spawn(async move {
                let asked = seam::now();
                let turn = turns.take(&tenant(name)).await.unwrap();
                let waited = asked.elapsed();
                seam::sleep(Duration::from_secs(takes)).await;
                drop(turn);
                waited
            })
        };
        let flood: Vec<_> = (0..400).flat_map(|_| [query("a", 10), query("c", 10)]).collect();
        let mut longest = Duration::ZERO;
        for _ in 0..60 {
            seam::sleep(Duration::from_secs(3)).await;
            longest = longest.max(query("b", 1).join().await.unwrap());
        }
        assert_eq!(longest, Duration::ZERO, "a tenant that asks one thing at a time never waits for the others");

        let mut waited = [Duration::ZERO; 2];
        for (at, task) in flood.into_iter().enumerate() {
            waited[at % 2] += task.join().await.unwrap();
        }
        let share = waited[0].as_secs_f64() / waited[1].as_secs_f64();
        assert!((0.95..1.05).contains(&share), "the two that flood wait alike: {waited:?}");
    }
}
