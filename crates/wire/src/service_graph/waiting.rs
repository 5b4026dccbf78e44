//! Spans that wait for the other side of their request.

use std::collections::BTreeMap;
use std::time::Duration;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::{Connection, Half, Settled, Side};

/// The trace and the client's span.
type Key = ([u8; 16], [u8; 8]);

/// The sides of requests that came alone so far, of one tenant. Time is given: since any moment that stays the same.
#[derive(Debug)]
pub struct Waiting {
    wait: Duration,
    halves: HashMap<Key, (u64, Half), FixedState>,
    /// Until when each waits, in the order in which they came.
    order: BTreeMap<u64, (Duration, Key)>,
    next: u64,
}

impl Waiting {
    /// Nobody; each will wait so long.
    pub fn new(wait: Duration) -> Self {
        Waiting { wait, halves: HashMap::default(), order: BTreeMap::new(), next: 0 }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.halves.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.halves.is_empty()
    }

    /// Brings a side together with the other one, or lets it wait where fewer than `most` do. Where another of the
    /// same side waits already, this one is unpaired: a request has one client and one server.
    pub fn take(&mut self, half: Half, now: Duration, most: usize, settled: &mut Settled) {
        let waiting = self.halves.len();
        match self.halves.entry((half.trace_id, half.request)) {
            Entry::Occupied(other) if other.get().1.side != half.side => {
                let (number, other) = other.remove();
                self.order.remove(&number);
                match half.side {
                    Side::Client => settled.paired(&half, &other),
                    Side::Server => settled.paired(&other, &half),
                }
            }
            Entry::Occupied(_) => settled.unpaired(&half),
            Entry::Vacant(_) if waiting >= most => settled.dropped(&half),
            Entry::Vacant(place) => {
                self.order.insert(self.next, (now.saturating_add(self.wait), *place.key()));
                place.insert((self.next, half));
                self.next += 1;
            }
        }
    }

    /// Ends the wait of those who have waited long enough. A client that says whom it asked has asked somebody who
    /// sends no spans; all others are unpaired.
    pub fn expire(&mut self, now: Duration, settled: &mut Settled) {
        while let Some(first) = self.order.first_entry().filter(|first| first.get().0 <= now) {
            let (_, key) = first.remove();
            let Some((_, half)) = self.halves.remove(&key) else { continue };
            match &half.peer {
                Some(peer) => settled.one_sided(&half, peer.clone(), Connection::Virtual),
                None => settled.unpaired(&half),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::name;
    use super::super::tests::{half, lines};
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    /// Sides that come at these seconds, with room for so many; what has become of them in the end.
    fn settle(halves: &[(u64, Half)], most: usize) -> Vec<String> {
        let (mut waiting, mut settled) = (Waiting::new(WAIT), Settled::default());
        for (second, half) in halves {
            let now = Duration::from_secs(*second);
            waiting.expire(now, &mut settled);
            waiting.take(half.clone(), now, most, &mut settled);
            assert_eq!(waiting.halves.len(), waiting.order.len());
            assert!(waiting.len() <= most);
        }
        waiting.expire(Duration::MAX, &mut settled);
        assert!(waiting.is_empty() && waiting.order.is_empty());
        lines(&settled)
    }

    #[test]
    fn both_sides_are_paired_in_either_order() {
        let client = half(Side::Client, "shop", 1, 30);
        let server = half(Side::Server, "bank", 1, 20);
        for halves in [[(0, client.clone()), (9, server.clone())], [(0, server.clone()), (9, client.clone())]] {
            assert_eq!(settle(&halves, 10), ["shop -> bank (): 1, 0, 30, 20"]);
        }
        // Either side can fail, and either can say that it is of a messaging system.
        for fails in [Side::Client, Side::Server] {
            let halves = [client.clone(), server.clone()].map(|half| {
                let so = half.side == fails;
                (0, Half { failed: so, messaging: so, ..half })
            });
            assert_eq!(settle(&halves, 10), ["shop -> bank (messaging_system): 1, 1, 30, 20"]);
        }
    }

    #[test]
    fn only_sides_of_one_request_are_paired() {
        let client = half(Side::Client, "shop", 1, 30);
        let other_trace = Half { trace_id: [2; 16], ..half(Side::Server, "bank", 1, 20) };
        let other_request = Half { request: [2; 8], ..half(Side::Server, "bank", 1, 20) };
        let all = [(0, client.clone()), (0, other_trace), (0, other_request)];
        assert_eq!(settle(&all, 10), [" -> bank (): 2, 0", "shop ->  (): 1, 0"]);
        // A second server of one request has no client left, whenever it comes.
        let server = half(Side::Server, "bank", 1, 20);
        for halves in [
            [server.clone(), client.clone(), server.clone()],
            [client.clone(), server.clone(), server.clone()],
            [server.clone(), server.clone(), client.clone()],
        ] {
            let halves = halves.map(|half| (0, half));
            assert_eq!(settle(&halves, 10), [" -> bank (): 1, 0", "shop -> bank (): 1, 0, 30, 20"]);
        }
    }

    #[test]
    fn whoever_waits_too_long_stays_alone() {
        let client = half(Side::Client, "shop", 1, 30);
        let server = half(Side::Server, "bank", 1, 20);
        let late = [(0, client.clone()), (10, server.clone())];
        assert_eq!(settle(&late, 10), [" -> bank (): 1, 0", "shop ->  (): 1, 0"]);
        let asked = Half { peer: Some(name("payments")), ..client };
        let late = [(0, asked.clone()), (10, server.clone())];
        assert_eq!(settle(&late, 10), [" -> bank (): 1, 0", "shop -> payments (virtual_node): 1, 0, 30, 30"]);
        // A peer that sends spans is told by those.
        assert_eq!(settle(&[(0, asked), (1, server)], 10), ["shop -> bank (): 1, 0, 30, 20"]);
    }

    #[test]
    fn what_has_no_room_is_dropped() {
        let clients = (1..=5).map(|number| (0, half(Side::Client, "shop", number, 10)));
        // Those that wait are paired even where there is no room for more.
        let servers = (1..=5).map(|number| (1, half(Side::Server, "bank", number, 10)));
        let halves: Vec<(u64, Half)> = clients.chain(servers).collect();
        assert_eq!(settle(&halves, 3), [" -> bank (): 2, 0", "shop ->  (): 0, 2", "shop -> bank (): 3, 0, 30, 30"]);
    }
}
