//! Exemplars without a time of their own: a target repeats the last one with every scrape, and it is one.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use xxhash_rust::xxh3::Xxh3;

use crate::labels::hash_pair;
use crate::parse::Exemplar;

/// What series had of them in the scrape before, by the hash of the series.
#[derive(Default)]
pub(super) struct Timeless {
    had: HashMap<u64, Had, FixedState>,
}

struct Had {
    /// The scrape.
    generation: u32,
    exemplars: u64,
}

impl Timeless {
    /// The exemplars of a series without those that the scrape before had as well.
    pub fn fresh<'a, 'b>(&mut self, key: u64, exemplars: &'a [Exemplar<'b>], generation: u32) -> &'a [Exemplar<'b>] {
        if exemplars.is_empty() || exemplars.iter().any(|exemplar| exemplar.timestamp.is_some()) {
            return exemplars;
        }
        let hash = hash(exemplars);
        let before = self.had.insert(key, Had { generation, exemplars: hash });
        if before.is_some_and(|before| before.exemplars == hash) { &[] } else { exemplars }
    }

    /// Forgets those that this scrape had not.
    pub fn end(&mut self, generation: u32) {
        self.had.retain(|_, had| had.generation == generation);
    }
}

fn hash(exemplars: &[Exemplar<'_>]) -> u64 {
    let mut hasher = Xxh3::new();
    for exemplar in exemplars {
        exemplar.labels.iter().for_each(|(name, value)| hash_pair(&mut hasher, name, value));
        hasher.update(&exemplar.value.to_bits().to_le_bytes());
    }
    hasher.digest()
}
