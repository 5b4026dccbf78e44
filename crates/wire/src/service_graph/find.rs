//! The sides of requests among the spans of a batch.

use std::borrow::Cow;
use std::sync::Arc;

use bonghwa_model::attributes::ValueRef;
use bonghwa_model::spans::SpanBatch;

use super::{Connection, Half, Settled, Side, name};
use crate::derived::Exemplar;

/// OTLP's span kinds of which requests are made.
const SERVER_KIND: u8 = 2;
const CLIENT_KIND: u8 = 3;
const PRODUCER_KIND: u8 = 4;
const CONSUMER_KIND: u8 = 5;
/// OTLP's status code of an error.
const ERROR: u8 = 2;

/// The client of a request that begins a trace, where nothing else names it.
const USER: &str = "user";
/// What tells that a client asks a database, and names it where nothing better does.
const DATABASE: [&str; 4] = ["db.namespace", "db.name", "db.system", "db.system.name"];
/// What names a database first.
const DATABASE_PEER: [&str; 3] = ["peer.service", "service.peer.name", "server.address"];

/// What a batch tells of requests.
#[derive(Debug, Default)]
pub struct Found {
    /// Sides that are to be brought together with the others.
    pub halves: Vec<Half>,
    /// Requests of which no other side will come: to a database, and from outside.
    pub settled: Settled,
}

/// Finds the sides of requests. The first of `peer_attributes` that a span has names the other side where that sends no
/// spans.
pub fn find(batch: &SpanBatch, peer_attributes: &[String]) -> Found {
    let keys = Keys::new(batch, peer_attributes);
    let mut found = Found::default();
    for (group, rows) in batch.common.group_ranges() {
        let mut service = None;
        for row in rows {
            let kind = batch.kind[row];
            let side = match kind {
                CLIENT_KIND | PRODUCER_KIND => Side::Client,
                SERVER_KIND | CONSUMER_KIND => Side::Server,
                _ => continue,
            };
            let service = service
                .get_or_insert_with(|| name(&batch.common.resources[group.resource as usize].service_name))
                .clone();
            let Exemplar { time, nanos, trace_id, span_id } = Exemplar::of(batch, row);
            let half = Half {
                trace_id,
                request: if side == Side::Client { span_id } else { batch.parent_span_id[row] },
                span_id,
                side,
                messaging: matches!(kind, PRODUCER_KIND | CONSUMER_KIND),
                failed: batch.status_code[row] == ERROR,
                nanos,
                time,
                service,
                peer: None,
            };
            match side {
                Side::Client => match keys.database(row) {
                    Some(database) => found.settled.one_sided(&half, database, Connection::Database),
                    None => found.halves.push(Half { peer: keys.peer(row), ..half }),
                },
                Side::Server if half.request == [0; 8] => {
                    let client = keys.peer(row).unwrap_or_else(|| USER.into());
                    found.settled.one_sided(&half, client, Connection::Virtual);
                }
                Side::Server => found.halves.push(half),
            }
        }
    }
    found
}

/// The numbers of attributes' keys; none of those that no span has.
struct Keys<'a> {
    batch: &'a SpanBatch,
    database: [Option<u32>; DATABASE.len()],
    database_peer: [Option<u32>; DATABASE_PEER.len()],
    address: Option<u32>,
    port: Option<u32>,
    peer: Vec<u32>,
}

impl<'a> Keys<'a> {
    fn new(batch: &'a SpanBatch, peer_attributes: &[String]) -> Self {
        let number = |key: &str| batch.common.keys.get(key);
        Keys {
            batch,
            database: DATABASE.map(number),
            database_peer: DATABASE_PEER.map(number),
            address: number("network.peer.address"),
            port: number("network.peer.port"),
            peer: peer_attributes.iter().filter_map(|key| number(key)).collect(),
        }
    }

    /// The database that a client asks.
    fn database(&self, row: usize) -> Option<Arc<str>> {
        let database = self.database.iter().flatten().find_map(|key| self.text(row, *key))?;
        let peer = self.database_peer.iter().flatten().find_map(|key| self.text(row, *key));
        let named = peer.or_else(|| self.network_peer(row)).unwrap_or(database);
        Some(name(&named))
    }

    fn network_peer(&self, row: usize) -> Option<Cow<'a, str>> {
        let address = self.text(row, self.address?)?;
        Some(match self.port.and_then(|port| self.text(row, port)) {
            Some(port) => format!("{address}:{port}").into(),
            None => address,
        })
    }

    /// Who the other side is.
    fn peer(&self, row: usize) -> Option<Arc<str>> {
        self.peer.iter().find_map(|key| self.text(row, *key)).map(|peer| name(&peer))
    }

    /// An attribute of a span that is a text, or a number; none for an empty one.
    fn text(&self, row: usize, key: u32) -> Option<Cow<'a, str>> {
        let SpanBatch { attributes, common, .. } = self.batch;
        let at = attributes.range(row).find(|at| attributes.keys[*at] == key)?;
        match ValueRef::new(attributes.kinds[at], attributes.values[at], &common.arena) {
            ValueRef::Str(text) if !text.is_empty() => Some(text.into()),
            ValueRef::Int(number) => Some(number.to_string().into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bonghwa_model::Kind;
    use bonghwa_model::batch::Resource;
    use bonghwa_model::spans::SpanRow;

    use super::super::tests::{MILLI, lines};
    use super::*;

    /// What is found of a span of the service `shop`, of 30 ms.
    fn found(kind: u8, parent: u8, attributes: &[(&str, &str)]) -> Found {
        let mut batch = SpanBatch::default();
        batch.common.resources.push(Resource { service_name: "shop".into(), ..Default::default() });
        batch.common.scopes.push(Default::default());
        for (key, value) in attributes {
            let key = batch.common.keys.id(key);
            match value.parse::<i64>() {
                Ok(number) => batch.attributes.push(key, Kind::Int, number as u64),
                Err(_) => {
                    let value = batch.common.arena.push(value.as_bytes());
                    batch.attributes.push(key, Kind::Str, value.0);
                }
            }
        }
        batch.push_row(SpanRow {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent_span_id: [parent; 8],
            kind,
            start_time: 0,
            end_time: 30 * MILLI as i64,
            ..Default::default()
        });
        batch.common.close_group(0, 0, 1);
        let peers = ["peer.service", "db.system", "messaging.system"].map(str::to_owned);
        find(&batch, &peers)
    }

    #[test]
    fn sides_know_their_request() {
        for (kind, side, messaging) in [
            (CLIENT_KIND, Side::Client, false),
            (PRODUCER_KIND, Side::Client, true),
            (SERVER_KIND, Side::Server, false),
            (CONSUMER_KIND, Side::Server, true),
        ] {
            let found = found(kind, 3, &[]);
            let [half] = &found.halves[..] else { panic!("{found:?}") };
            let request = if side == Side::Client { [2; 8] } else { [3; 8] };
            assert_eq!((half.side, half.messaging, half.request), (side, messaging, request), "{half:?}");
            assert_eq!((half.service.as_ref(), half.nanos), ("shop", 30 * MILLI));
            assert!(found.settled.is_empty());
        }
        // Unspecified and internal spans are no requests.
        for kind in [0, 1] {
            let found = found(kind, 3, &[("peer.service", "bank")]);
            assert!(found.halves.is_empty() && found.settled.is_empty());
        }
    }

    #[test]
    fn peers_are_named_by_the_first_attribute() {
        for (attributes, peer) in [
            (&[][..], None),
            (&[("messaging.system", "kafka")], Some("kafka")),
            (&[("messaging.system", "kafka"), ("peer.service", "orders")], Some("orders")),
            (&[("peer.service", ""), ("server.address", "10.0.0.1")], None),
        ] {
            let found = found(PRODUCER_KIND, 3, attributes);
            assert_eq!(found.halves[0].peer.as_deref(), peer, "{attributes:?}");
        }
    }

    #[test]
    fn databases_are_named_by_their_peer_or_themselves() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[("db.system", "postgresql")], "postgresql"),
            (&[("db.system.name", "mysql"), ("db.namespace", "orders")], "orders"),
            (&[("db.system", "postgresql"), ("db.name", "orders")], "orders"),
            (&[("db.name", "orders"), ("network.peer.address", "10.0.0.1")], "10.0.0.1"),
            (&[("network.peer.port", "5432"), ("db.name", "orders"), ("network.peer.address", "::1")], "::1:5432"),
            (&[("db.name", "orders"), ("network.peer.address", "::1"), ("server.address", "db-0")], "db-0"),
            (&[("server.address", "db-0"), ("service.peer.name", "ledger"), ("db.name", "orders")], "ledger"),
            (&[("server.address", "db-0"), ("peer.service", "ledger"), ("db.name", "orders")], "ledger"),
        ];
        for (attributes, server) in cases {
            let found = found(CLIENT_KIND, 3, attributes);
            assert!(found.halves.is_empty());
            assert_eq!(lines(&found.settled), [format!("shop -> {server} (database): 1, 0, 30, 30")], "{attributes:?}");
        }
        // A server is none, whatever it says.
        assert_eq!(found(SERVER_KIND, 3, &[("db.name", "orders")]).halves.len(), 1);
    }

    #[test]
    fn traces_begin_with_a_user() {
        for kind in [SERVER_KIND, CONSUMER_KIND] {
            let found = found(kind, 0, &[]);
            assert!(found.halves.is_empty());
            assert_eq!(lines(&found.settled), ["user -> shop (virtual_node): 1, 0, 30, 30"]);
        }
        let found = found(CONSUMER_KIND, 0, &[("messaging.system", "kafka")]);
        assert_eq!(lines(&found.settled), ["kafka -> shop (virtual_node): 1, 0, 30, 30"]);
    }
}
