//! One tenant's blocks of one signal, found by time.

use std::sync::Arc;

use bonghwa_protocol::v1;
use imbl::OrdMap;

/// A block as one tenant sees it.
#[derive(Clone, Debug)]
pub struct TenantBlock {
    block: Arc<v1::Block>,
    slot: usize,
}

impl TenantBlock {
    /// What a block holds of the tenant that is the `slot`th of its tenants; none where it has fewer.
    pub fn new(block: Arc<v1::Block>, slot: usize) -> Option<Self> {
        block.tenants.get(slot)?;
        Some(TenantBlock { block, slot })
    }

    /// The block.
    pub fn block(&self) -> &Arc<v1::Block> {
        &self.block
    }

    /// What the block holds of the tenant.
    pub fn rows(&self) -> &v1::TenantRows {
        // `new` saw the slot, and a block behind an Arc does not change.
        &self.block.tenants[self.slot]
    }

    /// Whether one of these services may be inside; none named means any.
    pub fn may_hold_service<S: AsRef<str>>(&self, services: &[S]) -> bool {
        let held = &self.rows().services;
        services.is_empty()
            || held.is_empty()
            || services.iter().any(|s| held.binary_search_by(|h| h.as_str().cmp(s.as_ref())).is_ok())
    }

    fn key(&self) -> Key {
        (self.rows().min_time, self.block.path.as_str().into(), self.slot)
    }

    /// Bits of the length of its time range: it is shorter than `1 << class`.
    fn class(&self) -> u32 {
        u64::BITS - self.rows().max_time.abs_diff(self.rows().min_time).leading_zeros()
    }
}

type Key = (i64, Arc<str>, usize);

/// Blocks by the start of their time, apart by the length of it: a search then
/// need not go back further than the longest of a class, however long a few
/// blocks with late records are.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimeIndex {
    classes: OrdMap<u32, OrdMap<Key, TenantBlock>>,
    len: usize,
}

impl TimeIndex {
    pub(crate) fn insert(&mut self, entry: TenantBlock) {
        let class = self.classes.entry(entry.class()).or_default();
        if class.insert(entry.key(), entry).is_none() {
            self.len += 1;
        }
    }

    pub(crate) fn remove(&mut self, entry: &TenantBlock) {
        let class = entry.class();
        if let Some(entries) = self.classes.get_mut(&class) {
            if entries.remove(&entry.key()).is_some() {
                self.len -= 1;
            }
            if entries.is_empty() {
                self.classes.remove(&class);
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TenantBlock> {
        self.classes.values().flat_map(|entries| entries.values())
    }

    /// The blocks that share an instant with `min..=max`, Unix nanoseconds; earliest first.
    pub(crate) fn overlapping(&self, min: i64, max: i64) -> Vec<&TenantBlock> {
        let mut found = Vec::new();
        if min > max {
            return found;
        }
        for (class, entries) in &self.classes {
            let longest = 1u64.checked_shl(*class).map_or(u64::MAX, |n| n - 1);
            let from: Key = (min.saturating_sub_unsigned(longest), Arc::from(""), 0);
            let in_range = entries.range(from..).take_while(|(key, _)| key.0 <= max).map(|(_, entry)| entry);
            found.extend(in_range.filter(|entry| entry.rows().max_time >= min));
        }
        found.sort_by(|a, b| (a.rows().min_time, &a.block.path).cmp(&(b.rows().min_time, &b.block.path)));
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn entry(number: usize, min_time: i64, max_time: i64) -> TenantBlock {
        let rows = v1::TenantRows { min_time, max_time, ..Default::default() };
        let block = v1::Block { path: format!("b{number}"), tenants: vec![rows], ..Default::default() };
        TenantBlock::new(Arc::new(block), 0).unwrap()
    }

    fn paths(found: Vec<&TenantBlock>) -> Vec<String> {
        let mut paths: Vec<String> = found.iter().map(|b| b.block().path.clone()).collect();
        paths.sort();
        paths
    }

    #[test]
    fn extremes_of_time() {
        let mut index = TimeIndex::default();
        for (number, (min, max)) in
            [(i64::MIN, i64::MAX), (0, 0), (i64::MAX, i64::MAX), (i64::MIN, i64::MIN)].iter().enumerate()
        {
            index.insert(entry(number, *min, *max));
        }
        for (min, max, expected) in [
            (i64::MIN, i64::MAX, "b0 b1 b2 b3"),
            (0, 0, "b0 b1"),
            (1, 5, "b0"),
            (i64::MAX, i64::MAX, "b0 b2"),
            (i64::MIN, i64::MIN, "b0 b3"),
            (5, 1, ""),
        ] {
            assert_eq!(paths(index.overlapping(min, max)).join(" "), expected, "{min}..={max}");
        }
    }

    #[test]
    fn services_prune_unless_unknown() {
        let mut block = v1::Block { tenants: vec![v1::TenantRows::default()], ..Default::default() };
        block.tenants[0].services = vec!["cart".into(), "checkout".into()];
        let held = TenantBlock::new(Arc::new(block), 0).unwrap();
        assert!(held.may_hold_service::<&str>(&[]));
        assert!(held.may_hold_service(&["web", "checkout"]));
        assert!(!held.may_hold_service(&["web"]));
        assert!(entry(1, 0, 0).may_hold_service(&["web"]));
    }

    proptest! {
        #[test]
        fn finds_what_a_scan_finds(
            blocks in prop::collection::vec((-1000i64..1000, prop_oneof![0i64..5, 0i64..3000]), 0..60),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            min in -1500i64..1500, length in -5i64..500,
        ) {
            let mut index = TimeIndex::default();
            let mut left: Vec<TenantBlock> =
                blocks.iter().enumerate().map(|(n, (min, span))| entry(n, *min, min + span)).collect();
            for block in &left {
                index.insert(block.clone());
                index.insert(block.clone());
            }
            for at in removed {
                if !left.is_empty() {
                    let gone = left.remove(at.index(left.len()));
                    index.remove(&gone);
                    index.remove(&gone);
                }
            }
            let max = min + length;
            let scan = left.iter().filter(|b| b.rows().min_time <= max && b.rows().max_time >= min && min <= max).collect();
            prop_assert_eq!(paths(index.overlapping(min, max)), paths(scan));
            prop_assert_eq!(index.len(), left.len());
            prop_assert_eq!(index.iter().count(), left.len());
        }
    }
}
