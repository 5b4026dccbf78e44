//! Who calls whom, as Tempo's generator tells it: requests between two services, counted from the spans of both sides.
//! [`find()`] takes the sides out of a request, [`Waiting`] brings two of them together, [`Settled`] counts:
//!
//! | Series | Of each edge |
//! |---|---|
//! | [`REQUESTS`], [`FAILED`] | requests; those of which either span is an error |
//! | [`CLIENT`]`_bucket`, `_sum`, `_count` | what they took as the client saw it, seconds; buckets end at 100 ms and its doubles up to 12.8 s |
//! | [`SERVER`]`_bucket`, `_sum`, `_count` | the same as the server saw it |
//! | [`UNPAIRED`], [`DROPPED`] | spans of one service whose other side never came; for which there was no room |
//!
//! An edge is `client`, `server` and `connection_type`: empty where both are services, `messaging_system` where one
//! produces and the other consumes, `database` where a client's span tells of one, `virtual_node` where only one side
//! sends spans. Of these two the side that was not seen lasts as long as the one that was. Of unpaired and dropped
//! spans one of both names is empty. Each bucket has its newest trace as exemplar.

mod find;
mod waiting;

use std::sync::Arc;

use bonghwa_model::prometheus::Metadata;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::derived::{Bounds, Counters, Exemplar, Histogram, Series, described};

pub use find::{Found, find};
pub use waiting::Waiting;

/// Requests.
pub const REQUESTS: &str = "traces_service_graph_request_total";
/// Requests that failed.
pub const FAILED: &str = "traces_service_graph_request_failed_total";
/// Durations as the server sees them, seconds.
pub const SERVER: &str = "traces_service_graph_request_server_seconds";
/// Durations as the client sees them, seconds.
pub const CLIENT: &str = "traces_service_graph_request_client_seconds";
/// Spans whose other side did not come in time.
pub const UNPAIRED: &str = "traces_service_graph_unpaired_spans_total";
/// Spans for which there was no room.
pub const DROPPED: &str = "traces_service_graph_dropped_spans_total";

const BUCKETS: usize = 9;
const BOUNDS: Bounds<BUCKETS> = Bounds {
    millis: &[100, 200, 400, 800, 1600, 3200, 6400, 12800],
    seconds: ["0.1", "0.2", "0.4", "0.8", "1.6", "3.2", "6.4", "12.8", "+Inf"],
};

/// Longer names of services and peers are cut: so many bytes.
const NAME_BYTES: usize = 256;

/// The name of a node of the graph.
pub fn name(text: &str) -> Arc<str> {
    text[..text.floor_char_boundary(NAME_BYTES)].into()
}

/// Who of a request a span tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who asks or produces.
    Client,
    /// Who answers or consumes.
    Server,
}

/// A span that is one side of a request, and waits for the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Half {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The client's span, which is the server's parent: what both sides know.
    pub request: [u8; 8],
    /// The span itself.
    pub span_id: [u8; 8],
    /// Which side.
    pub side: Side,
    /// Whether it is of a messaging system.
    pub messaging: bool,
    /// Whether its status is an error.
    pub failed: bool,
    /// How long it was.
    pub nanos: u64,
    /// When it ended, Unix nanoseconds.
    pub time: i64,
    /// The service.
    pub service: Arc<str>,
    /// Of a client: who the other side is, if it never tells itself.
    pub peer: Option<Arc<str>>,
}

impl Half {
    fn exemplar(&self) -> Exemplar {
        Exemplar { time: self.time, nanos: self.nanos, trace_id: self.trace_id, span_id: self.span_id }
    }

    /// The edge of which only this side is known.
    fn alone(&self) -> Edge {
        let (service, nobody) = (self.service.clone(), Arc::default());
        let (client, server) = match self.side {
            Side::Client => (service, nobody),
            Side::Server => (nobody, service),
        };
        Edge { client, server, connection: Connection::between(self.messaging) }
    }
}

/// What two nodes are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Connection {
    /// Client and server.
    Direct,
    /// Producer and consumer.
    Messaging,
    /// A service and its database.
    Database,
    /// A service and somebody who sends no spans.
    Virtual,
}

impl Connection {
    fn between(messaging: bool) -> Self {
        if messaging { Connection::Messaging } else { Connection::Direct }
    }

    /// The value of `connection_type`.
    fn label(self) -> &'static str {
        match self {
            Connection::Direct => "",
            Connection::Messaging => "messaging_system",
            Connection::Database => "database",
            Connection::Virtual => "virtual_node",
        }
    }
}

/// By what requests are counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// Who asks; empty if that is not known.
    pub client: Arc<str>,
    /// Who answers; empty if that is not known.
    pub server: Arc<str>,
    /// How they are connected.
    pub connection: Connection,
}

impl Edge {
    /// Whether both sides are known.
    fn is_whole(&self) -> bool {
        !self.client.is_empty() && !self.server.is_empty()
    }
}

/// What was counted of an edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    failed: u64,
    unpaired: u64,
    dropped: u64,
    client: Histogram<BUCKETS>,
    server: Histogram<BUCKETS>,
}

impl Counters for Counts {
    type Key = Edge;
    const WHAT: &'static str = "service graph";
    const METRICS: &'static [&'static str] = &[
        REQUESTS,
        FAILED,
        "traces_service_graph_request_client_seconds_bucket",
        "traces_service_graph_request_client_seconds_sum",
        "traces_service_graph_request_client_seconds_count",
        "traces_service_graph_request_server_seconds_bucket",
        "traces_service_graph_request_server_seconds_sum",
        "traces_service_graph_request_server_seconds_count",
        UNPAIRED,
        DROPPED,
    ];
    const SERIES: usize = 2 * (BUCKETS + 2) + 2;

    fn metadata() -> Vec<Metadata> {
        vec![
            described(REQUESTS, 1, "Requests between two services", ""),
            described(FAILED, 1, "Requests between two services that failed", ""),
            described(CLIENT, 3, "Durations of requests as the client sees them", "seconds"),
            described(SERVER, 3, "Durations of requests as the server sees them", "seconds"),
            described(UNPAIRED, 1, "Spans of requests whose other side did not come in time", ""),
            described(DROPPED, 1, "Spans of requests that were not paired, as there was no room", ""),
        ]
    }

    fn calls(&self) -> u64 {
        self.client.count()
    }

    fn add(&mut self, more: &Counts) {
        self.failed += more.failed;
        self.unpaired += more.unpaired;
        self.dropped += more.dropped;
        self.client.add(&more.client);
        self.server.add(&more.server);
    }

    fn forget_exemplars(&mut self) {
        self.client.forget_exemplars();
        self.server.forget_exemplars();
    }

    fn write(&self, key: &Edge, series: &mut Series<'_>) {
        let Edge { client, server, connection } = key;
        let service = if client.is_empty() { server } else { client };
        let labels = [("client", &**client), ("connection_type", connection.label()), ("server", server)];
        series.of(service, &labels);
        if key.is_whole() {
            series.counter(0, self.calls() as f64);
            series.counter(1, self.failed as f64);
            series.histogram(2, &BOUNDS, &self.client);
            series.histogram(5, &BOUNDS, &self.server);
        } else {
            series.counter(8, self.unpaired as f64);
            series.counter(9, self.dropped as f64);
        }
    }
}

/// Requests that need not wait any more, by edge.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled(HashMap<Edge, Counts, FixedState>);

impl Settled {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Counts a span that was not paired as there was no room.
    pub fn dropped(&mut self, half: &Half) {
        self.0.entry(half.alone()).or_default().dropped += 1;
    }

    /// Counts a span whose other side did not come.
    fn unpaired(&mut self, half: &Half) {
        self.0.entry(half.alone()).or_default().unpaired += 1;
    }

    /// Counts a request of which both sides came.
    fn paired(&mut self, client: &Half, server: &Half) {
        let connection = Connection::between(client.messaging || server.messaging);
        let edge = Edge { client: client.service.clone(), server: server.service.clone(), connection };
        self.request(edge, client, server);
    }

    /// Counts a request whose other side is this one, and sends no spans.
    fn one_sided(&mut self, half: &Half, other: Arc<str>, connection: Connection) {
        let (client, server) = match half.side {
            Side::Client => (half.service.clone(), other),
            Side::Server => (other, half.service.clone()),
        };
        self.request(Edge { client, server, connection }, half, half);
    }

    fn request(&mut self, edge: Edge, client: &Half, server: &Half) {
        let counts = self.0.entry(edge).or_default();
        counts.failed += u64::from(client.failed || server.failed);
        counts.client.observe(&BOUNDS, client.exemplar());
        counts.server.observe(&BOUNDS, server.exemplar());
    }
}

impl IntoIterator for Settled {
    type Item = (Edge, Counts);
    type IntoIter = hashbrown::hash_map::IntoIter<Edge, Counts>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::derived::tests::shown;
    use crate::derived::{Told, rows};

    pub(super) const MILLI: u64 = 1_000_000;

    /// One side of request `number`, of so many milliseconds.
    pub(super) fn half(side: Side, service: &str, number: u8, millis: u64) -> Half {
        Half {
            trace_id: [number; 16],
            request: [number; 8],
            span_id: [number; 8],
            side,
            messaging: false,
            failed: false,
            nanos: millis * MILLI,
            time: 1_000_000_000,
            service: name(service),
            peer: None,
        }
    }

    /// A line for each edge: `client -> server (connection): requests, failed, ms of the client, of the server`, or
    /// `client -> : unpaired, dropped`.
    pub(super) fn lines(settled: &Settled) -> Vec<String> {
        let line = |(edge, counts): (&Edge, &Counts)| {
            let Edge { client, server, connection } = edge;
            let numbers = if edge.is_whole() {
                let millis = [&counts.client, &counts.server].map(|one| one.nanos / u128::from(MILLI));
                assert_eq!(counts.client.count(), counts.server.count());
                format!("{}, {}, {}, {}", counts.calls(), counts.failed, millis[0], millis[1])
            } else {
                format!("{}, {}", counts.unpaired, counts.dropped)
            };
            format!("{client} -> {server} ({}): {numbers}", connection.label())
        };
        let mut lines: Vec<String> = settled.0.iter().map(line).collect();
        lines.sort();
        lines
    }

    #[test]
    fn edges_become_series() {
        let mut settled = Settled::default();
        let client = half(Side::Client, "shop", 1, 150);
        let server = Half { failed: true, span_id: [9; 8], ..half(Side::Server, "bank", 1, 100) };
        settled.paired(&client, &server);
        settled.paired(&client, &Half { failed: false, ..server.clone() });
        settled.unpaired(&server);
        settled.dropped(&server);
        settled.dropped(&server);
        let mut all: Vec<(Edge, Counts)> = settled.into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        let told = all.iter().map(|(key, counts)| Told { key, counts, since: 0, zero: None, ends: false });
        let rows = rows(told, "n", 60_000_000_000);
        let lines = shown(&rows);
        assert_eq!(lines.len(), Counts::SERIES + 2, "{lines:#?}");
        for expected in [
            r#"unpaired_spans_total{__metrics_gen_instance="n",server="bank"} 1 @60"#,
            r#"dropped_spans_total{__metrics_gen_instance="n",server="bank"} 2 @60"#,
            r#"request_total{__metrics_gen_instance="n",client="shop",server="bank"} 2 @60"#,
            r#"request_failed_total{__metrics_gen_instance="n",client="shop",server="bank"} 1 @60"#,
            r#"request_client_seconds_bucket{__metrics_gen_instance="n",client="shop",le="0.1",server="bank"} 0 @60"#,
            r#"request_client_seconds_bucket{__metrics_gen_instance="n",client="shop",le="0.2",server="bank"} 2 @60"#,
            r#"request_client_seconds_sum{__metrics_gen_instance="n",client="shop",server="bank"} 0.3 @60"#,
            r#"request_server_seconds_bucket{__metrics_gen_instance="n",client="shop",le="0.1",server="bank"} 2 @60"#,
            r#"request_server_seconds_bucket{__metrics_gen_instance="n",client="shop",le="+Inf",server="bank"} 2 @60"#,
            r#"request_server_seconds_sum{__metrics_gen_instance="n",client="shop",server="bank"} 0.2 @60"#,
            r#"request_server_seconds_count{__metrics_gen_instance="n",client="shop",server="bank"} 2 @60"#,
        ] {
            let expected = format!("traces_service_graph_{expected}");
            assert!(lines.contains(&expected), "{expected} of {lines:#?}");
        }
        let exemplars = rows.exemplars.iter().map(|one| rows.common.arena.str(*one)).filter(|one| !one.is_empty());
        let exemplars: Vec<&str> = exemplars.collect();
        assert_eq!(exemplars.len(), 2, "a trace for the bucket of each side");
        assert!(exemplars[1].contains(r#""span_id":"0909090909090909""#), "{exemplars:?}");
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(name("shop").as_ref(), "shop");
        let long = name(&"봉".repeat(100));
        assert!(long.len() <= NAME_BYTES && long.len() > NAME_BYTES - 3, "{}", long.len());
    }
}
