//! Who calls whom, as metrics.

use std::time::Duration;

use bonghwa_distributor::{CountingOptions, EDGE_SERIES, ServiceGraphOptions};
use serde::{Deserialize, Serialize};

use super::metrics::check_counting;
use crate::units::Time;

/// Requests between services, as Tempo's generator names them: how many, how many failed, what they took, by client,
/// server and type of connection. Distributors bring the spans of both sides together, each those of its share of all
/// traces.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceGraph {
    /// Whether requests are counted: each pair of services costs 24 series. Set it alike on all distributors.
    pub enabled: bool,
    /// How long a span waits for the other side of its request.
    pub wait: Time,
    /// Spans of a tenant and distributor that wait at once: those beyond are dropped, and counted as that.
    pub max_items: usize,
    /// Attributes of a span that name the other side where that sends no spans; the first that the span has counts.
    pub peer_attributes: Vec<String>,
    /// Time between two samples.
    pub interval: Time,
    /// Series of a tenant and distributor: requests between further services are not counted.
    pub max_series: usize,
    /// Two services without a request for so long end.
    pub forget_after: Time,
}

impl Default for ServiceGraph {
    fn default() -> Self {
        let peers = ["peer.service", "service.peer.name", "db.name", "db.system", "db.system.name", "messaging.system"];
        ServiceGraph {
            enabled: false,
            wait: Time(Duration::from_secs(10)),
            max_items: 10_000,
            peer_attributes: peers.map(str::to_owned).to_vec(),
            interval: Time(Duration::from_secs(15)),
            max_series: 100_000,
            forget_after: Time(Duration::from_secs(15 * 60)),
        }
    }
}

impl ServiceGraph {
    /// The distributor's options; the node comes later.
    pub(super) fn options(&self) -> Option<ServiceGraphOptions> {
        self.enabled.then(|| ServiceGraphOptions {
            counting: CountingOptions {
                interval: self.interval.0,
                max_series: self.max_series,
                forget_after: self.forget_after.0,
                instance: String::new(),
            },
            wait: self.wait.0,
            max_items: self.max_items,
            peer_attributes: self.peer_attributes.clone(),
            peers: None,
        })
    }

    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        if self.wait.0 < Duration::from_secs(1) {
            return Err(("metrics.service_graph.wait", format!("{} is too short: give 1s or more", self.wait)));
        }
        if self.max_items == 0 {
            let message = "0 lets no span wait for the other side of its request: give 1 or more";
            return Err(("metrics.service_graph.max_items", message.into()));
        }
        if self.peer_attributes.iter().any(String::is_empty) {
            let message = "one of them is empty: name attributes, such as peer.service";
            return Err(("metrics.service_graph.peer_attributes", message.into()));
        }
        let keys = [
            "metrics.service_graph.interval",
            "metrics.service_graph.forget_after",
            "metrics.service_graph.max_series",
        ];
        let of = ("pair of services", EDGE_SERIES);
        check_counting(keys, (self.interval, self.forget_after, self.max_series), of)
    }
}
