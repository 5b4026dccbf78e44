//! The wires between the nodes: calls take time, get lost, meet a dead process, or do not get
//! through at all.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_seam::{self as seam, Process};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::dice;
use crate::roles::Servers;
use crate::trace::Trace;

/// Until a caller gives up to connect; the product's default.
const CONNECT: Duration = Duration::from_secs(2);
/// Until a connection without a sign of life is given up; twice the product's keep-alive.
const SILENCE: Duration = Duration::from_secs(10);

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// There was no connection: nothing was done.
    Unreachable,
    /// The connection broke: it may have been done.
    Broken,
}

/// How messages travel.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The shortest and the longest time on the way.
    pub latency: (Duration, Duration),
    /// The share of messages that take ten times as long.
    pub stragglers: f64,
    /// The share of messages whose connection breaks.
    pub loss: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Weather { latency: (Duration::from_millis(1), Duration::from_millis(4)), stragglers: 0.005, loss: 0.0 }
    }
}

/// The network of a run. Nodes are known by their names; an address is a name with a port.
pub struct Network {
    state: Mutex<State>,
    trace: Arc<Trace>,
}

#[derive(Default)]
struct State {
    sites: BTreeMap<String, Site>,
    weather: Weather,
    /// From whom to whom nothing gets through.
    cut: BTreeSet<(String, String)>,
}

/// A running process and what it serves.
#[derive(Clone)]
struct Site {
    process: Arc<Process>,
    servers: Arc<Servers>,
}

/// The name in an address.
pub fn host_of(address: &str) -> &str {
    address.split_once(':').map_or(address, |(host, _)| host)
}

impl Network {
    /// A network without nodes.
    pub fn new(trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Network { state: Mutex::default(), trace })
    }

    /// A process takes calls under a name from now on.
    pub fn attach(&self, name: &str, process: Arc<Process>, servers: Arc<Servers>) {
        self.state.lock().sites.insert(name.to_owned(), Site { process, servers });
    }

    /// Nobody takes calls under this name any more.
    pub fn detach(&self, name: &str) {
        self.state.lock().sites.remove(name);
    }

    /// What a node serves, if it runs.
    pub fn servers(&self, name: &str) -> Option<Arc<Servers>> {
        self.state.lock().sites.get(name).map(|site| site.servers.clone())
    }

    /// Lets nothing through from one node to another.
    pub fn cut(&self, from: &str, to: &str) {
        self.state.lock().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// Undoes one [`cut`](Self::cut).
    pub fn mend(&self, from: &str, to: &str) {
        self.state.lock().cut.remove(&(from.to_owned(), to.to_owned()));
    }

    /// Undoes all cuts.
    pub fn mend_all(&self) {
        self.state.lock().cut.clear();
    }

    /// Sets how messages travel.
    pub fn set_weather(&self, weather: Weather) {
        self.state.lock().weather = weather;
    }

    /// Whether messages get through.
    pub fn is_cut(&self, from: &str, to: &str) -> bool {
        self.state.lock().cut.contains(&(from.to_owned(), to.to_owned()))
    }

    /// One message's way; false if it does not arrive.
    pub async fn travel(&self, from: &str, to: &str) -> bool {
        if from == to {
            return true;
        }
        let weather = self.state.lock().weather;
        let mut time = dice::between(weather.latency.0, weather.latency.1);
        if dice::chance(weather.stragglers) {
            time *= 10;
        }
        seam::sleep(time).await;
        let lost = weather.loss > 0.0 && dice::chance(weather.loss);
        !lost && !self.is_cut(from, to)
    }

    /// Has `serve` run by the process of a node, and brings its answer back.
    pub async fn call<T, F, Fut>(&self, from: &str, to: &str, serve: F) -> Result<T, CallError>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Servers>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        if !self.travel(from, to).await {
            seam::sleep(CONNECT).await;
            return Err(CallError::Unreachable);
        }
        let Some(site) = self.state.lock().sites.get(to).cloned() else { return Err(CallError::Unreachable) };
        self.trace.tick(from, to, 0);
        let (answer, answered) = oneshot::channel();
        let handler = site.process.start(async move {
            // Nobody waits any more where this fails.
            let _ = answer.send(serve(site.servers).await);
        });
        let mut hang_up = HangUp { network: self, from, to, handler: Some(handler.abort_handle()) };
        let answer = answered.await;
        hang_up.handler = None;
        let arrived = self.travel(to, from).await;
        self.trace.tick(to, from, arrived.into());
        match answer {
            Ok(answer) if arrived => Ok(answer),
            Ok(_) => {
                seam::sleep(SILENCE).await;
                Err(CallError::Broken)
            }
            Err(_) => Err(CallError::Broken),
        }
    }
}

/// A caller that goes away takes its request back, as HTTP/2 does; if that gets through.
struct HangUp<'a> {
    network: &'a Network,
    from: &'a str,
    to: &'a str,
    handler: Option<AbortHandle>,
}

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        if let Some(handler) = self.handler.take()
            && !self.network.is_cut(self.from, self.to)
        {
            handler.abort();
        }
    }
}
