//! Queries of which it was seen that their steps cannot be evaluated apart: sharing them out again would be for nothing.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// So many are known, those that were learned last.
const MOST: usize = 256;

/// Queries by their hashes.
#[derive(Debug, Default)]
pub(super) struct Whole(Mutex<VecDeque<u64>>);

impl Whole {
    pub(super) fn knows(&self, query: u64) -> bool {
        self.0.lock().contains(&query)
    }

    pub(super) fn learn(&self, query: u64) {
        let mut known = self.0.lock();
        if !known.contains(&query) {
            known.truncate(MOST - 1);
            known.push_front(query);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_known() {
        let whole = Whole::default();
        (0..1000).for_each(|query| whole.learn(query));
        assert!(whole.knows(999) && whole.knows(744) && !whole.knows(743));
    }
}
