//! Bringing both sides of a request together: see [`bonghwa_wire::service_graph`]. What waits for its other side is in
//! memory alone, and ends with the process.

mod others;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bonghwa_cluster::seam::Instant;
use bonghwa_cluster::{Catalog, seam};
use bonghwa_model::TenantId;
use bonghwa_protocol::{GraphClient, RpcError, v1};
use bonghwa_wire::service_graph::{Counts, Found, Half, Settled, Waiting};
use parking_lot::Mutex;

use crate::counting::{Counting, CountingOptions, FULL_TENANTS};
use crate::metrics;
use crate::receive::Receiver;

pub use others::GraphPeers;
use others::Others;

/// How requests between services are counted.
#[derive(Clone, Debug)]
pub struct ServiceGraphOptions {
    /// How they are told.
    pub counting: CountingOptions,
    /// How long a span waits for the other side of its request.
    pub wait: Duration,
    /// Spans of a tenant that wait at once: those beyond are dropped, and that is told.
    pub max_items: usize,
    /// The attributes of a span that name the other side where that sends no spans; the first that it has counts.
    pub peer_attributes: Vec<String>,
    /// How spans get to the other distributors, so that both sides of a request meet. None: there are no others.
    pub peers: Option<GraphPeers>,
}

/// The graph of each tenant, as far as its traces are this node's.
pub(crate) struct ServiceGraph {
    options: ServiceGraphOptions,
    started: Instant,
    waiting: Mutex<HashMap<TenantId, Waiting>>,
    counting: Arc<Counting<Counts>>,
    others: Option<Others>,
}

impl ServiceGraph {
    pub fn new(options: ServiceGraphOptions) -> Self {
        let counting = Arc::new(Counting::new(options.counting.clone()));
        let others = options.peers.clone().map(|peers| Others::new(peers, counting.clone()));
        ServiceGraph { options, started: seam::now(), waiting: Mutex::default(), counting, others }
    }

    pub fn peer_attributes(&self) -> &[String] {
        &self.options.peer_attributes
    }

    pub fn counting(&self) -> &Counting<Counts> {
        &self.counting
    }

    /// Takes what a request had: sides of another node's traces go there. Gives how many requests were not counted, as
    /// there are too many edges.
    pub fn take(&self, catalog: &Catalog, tenant: &TenantId, found: Found) -> u64 {
        let Found { halves, mut settled } = found;
        let own = match &self.others {
            Some(others) => others.share(catalog, tenant, halves, &mut settled),
            None => halves,
        };
        self.pair(tenant, own, settled)
    }

    /// Brings sides of this node's traces together.
    fn pair(&self, tenant: &TenantId, halves: Vec<Half>, mut settled: Settled) -> u64 {
        let now = self.started.elapsed();
        let mut tenants = self.waiting.lock();
        let all: usize = tenants.values().map(Waiting::len).sum();
        let room = self.options.max_items.saturating_mul(FULL_TENANTS).saturating_sub(all);
        let own = tenants.entry(tenant.clone()).or_insert_with(|| Waiting::new(self.options.wait));
        let most = self.options.max_items.min(own.len().saturating_add(room));
        own.expire(now, &mut settled);
        halves.into_iter().for_each(|half| own.take(half, now, most, &mut settled));
        drop(tenants);
        if settled.is_empty() { 0 } else { self.counting.add(tenant, settled) }
    }

    /// Ends the wait of those who have waited long enough. Gives by tenant how many requests were not counted.
    pub fn expire(&self) -> Vec<(TenantId, u64)> {
        let now = self.started.elapsed();
        let mut tenants = self.waiting.lock();
        let settle = |(tenant, own): (&TenantId, &mut Waiting)| {
            let mut settled = Settled::default();
            own.expire(now, &mut settled);
            (tenant.clone(), settled)
        };
        let settled: Vec<(TenantId, Settled)> = tenants.iter_mut().map(settle).collect();
        tenants.retain(|_, own| !own.is_empty());
        let waiting: usize = tenants.values().map(Waiting::len).sum();
        drop(tenants);
        metrics::GRAPH_WAITING.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let counted = settled.into_iter().filter(|(_, settled)| !settled.is_empty());
        counted.map(|(tenant, settled)| (tenant.clone(), self.counting.add(&tenant, settled))).collect()
    }
}

#[async_trait]
impl GraphClient for Receiver {
    async fn pair(&self, request: v1::PairRequest) -> Result<(), RpcError> {
        let Some(graph) = &self.service_graph else {
            return Err(RpcError::invalid(
                "metrics.service_graph.enabled is false here: set it alike on all distributors",
            ));
        };
        let tenant = TenantId::new(&request.tenant).map_err(|error| RpcError::invalid(error.to_string()))?;
        let halves = request.halves.iter().map(others::read).collect::<Result<_, _>>()?;
        let passed_over = graph.pair(&tenant, halves, Settled::default());
        self.passed_over_requests(&tenant, passed_over);
        Ok(())
    }
}
