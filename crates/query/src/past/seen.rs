//! What a query's views have for a time: the same blocks and deletes, and no tail, give the same samples.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, OnceLock};

use bonghwa_model::Signal;
use foldhash::fast::FixedState;

use crate::engine::Views;
use crate::view::View;

const NANOS: i64 = 1_000_000;

/// Of all blocks and open deletes for a time: how many, and their hashes added up, which no order changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    count: u64,
    sums: (u64, u64),
}

/// A block or a delete.
struct Source {
    /// Unix nanoseconds, both inclusive.
    time: (i64, i64),
    hashes: (u64, u64),
}

/// What the views of a query have of metrics, by time.
pub(super) struct Seen {
    views: Vec<Arc<View>>,
    /// Hashed once somebody asks.
    sources: OnceLock<Vec<Source>>,
    tails_from_ms: i64,
}

impl Seen {
    /// None where a partition's tail is not in view: nobody knows what time it reaches into.
    pub(super) fn new(views: &Views) -> Option<Self> {
        let views: Vec<Arc<View>> = views.iter().filter_map(|(_, of)| of.get(&Signal::Metrics).cloned()).collect();
        if views.iter().any(|view| !view.missing.is_empty()) {
            return None;
        }
        let tails = views.iter().flat_map(|view| &view.tails).map(|tail| tail.rows.min_time.div_euclid(NANOS));
        let tails_from_ms = tails.min().unwrap_or(i64::MAX);
        Some(Seen { views, sources: OnceLock::new(), tails_from_ms })
    }

    /// The earliest millisecond that some tail has samples of.
    pub(super) fn tails_from_ms(&self) -> i64 {
        self.tails_from_ms
    }

    /// What there is for a time, Unix milliseconds, both inclusive.
    pub(super) fn fingerprint(&self, (from_ms, to_ms): (i64, i64)) -> Fingerprint {
        let (from, to) = (from_ms.saturating_mul(NANOS), to_ms.saturating_mul(NANOS).saturating_add(NANOS - 1));
        let mut found = Fingerprint::default();
        let sources = self.sources.get_or_init(|| self.hashed());
        for source in sources.iter().filter(|source| source.time.0 <= to && source.time.1 >= from) {
            found.count += 1;
            found.sums.0 = found.sums.0.wrapping_add(source.hashes.0);
            found.sums.1 = found.sums.1.wrapping_add(source.hashes.1);
        }
        found
    }

    fn hashed(&self) -> Vec<Source> {
        let mut sources = Vec::new();
        // The tenants of a query are in the key, in this order.
        for (tenant, view) in self.views.iter().enumerate() {
            for block in &view.blocks {
                let rows = block.rows();
                let hashes = hashes(&(tenant, block.block().path.as_str()));
                sources.push(Source { time: (rows.min_time, rows.max_time), hashes });
            }
            for delete in &view.deletes {
                let hashes = hashes(&(tenant, delete.id));
                sources.push(Source { time: (delete.min_time, delete.max_time), hashes });
            }
        }
        sources
    }
}

/// Two hashes, so that 128 bits must agree.
fn hashes(of: &impl Hash) -> (u64, u64) {
    (FixedState::with_seed(1).hash_one(of), FixedState::with_seed(2).hash_one(of))
}
