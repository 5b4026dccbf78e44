//! What was read of series' labels, within a bound of bytes. Blocks never change, no path is used twice, and a
//! series id says all that labels are made of: nothing that is kept here can be outdated.
//!
//! Entries are in two generations. What is asked for moves to the young one; when that holds half of what may be
//! kept, the old one goes, and the young one becomes the old.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::mem;
use std::sync::Arc;

use bonghwa_block::RowRange;
use bonghwa_model::TenantId;
use foldhash::fast::FixedState;
use parking_lot::Mutex;

use super::granule::Granule;
use super::identity::Identity;
use super::metrics;

/// What an entry takes beside what it holds, roughly.
const ENTRY_BYTES: usize = 64;

/// The identity of a series; none of an id that is metadata's.
pub(super) type Known = Option<Arc<Identity>>;
/// The rows of a granule.
pub(super) type Rows = Arc<Granule>;
/// The names of a granule's metrics, as they are stored.
pub(super) type Names = Arc<[Arc<str>]>;

/// Identities of series, by their ids and by where they lie; shared by all queries of an engine.
pub(crate) struct SeriesCache {
    /// Bytes of a generation.
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    series: Shelf<SeriesKey, Known>,
    rows: Shelf<Place, Rows>,
    names: Shelf<Place, Names>,
}

/// A hash of the tenant, and the series' id: ids are hashes of what somebody sends.
type SeriesKey = (u64, u128);

/// Where a granule lies.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    block: Arc<str>,
    row_group: usize,
    first_row: usize,
}

/// The cache, as one tenant sees it.
#[derive(Clone, Copy)]
pub(super) struct OfTenant<'a> {
    cache: &'a SeriesCache,
    tenant: u64,
}

impl SeriesCache {
    /// Keeps about so many bytes, at most.
    pub(crate) fn new(capacity: usize) -> Self {
        metrics::show();
        SeriesCache { most: capacity / 2, kept: Mutex::default() }
    }

    /// As this tenant sees it.
    pub(super) fn of(&self, tenant: &TenantId) -> OfTenant<'_> {
        OfTenant { cache: self, tenant: FixedState::default().hash_one(tenant.as_str()) }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Kept) -> T) -> T {
        let (answer, dropped) = {
            let mut kept = self.kept.lock();
            let answer = change(&mut kept);
            let dropped = kept.age(self.most);
            metrics::BYTES.set(i64::try_from(kept.bytes()).unwrap_or(i64::MAX));
            (answer, dropped)
        };
        // What nobody shares is freed here, while others go on.
        drop(dropped);
        answer
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.kept.lock().bytes()
    }
}

impl OfTenant<'_> {
    /// What is known of these series.
    pub fn series(&self, ids: &[u128]) -> Vec<Option<Known>> {
        let known = self.cache.change(|kept| {
            let known = ids.iter().map(|id| kept.series.get(&(self.tenant, *id)).map(|(known, _)| known));
            known.collect::<Vec<_>>()
        });
        let hits = known.iter().filter(|known| known.is_some()).count();
        metrics::count(hits, known.len() - hits);
        known
    }

    /// Keeps these, and gives them back: what another kept meanwhile instead.
    pub fn keep_series(&self, read: Vec<(u128, Known)>) -> Vec<Known> {
        self.cache.change(|kept| {
            let keep = |(id, known): (u128, Known)| {
                let key = (self.tenant, id);
                if let Some((first, _)) = kept.series.get(&key) {
                    return first;
                }
                let bytes = ENTRY_BYTES + known.as_ref().map_or(0, |identity| identity.bytes);
                kept.series.insert(key, known.clone(), bytes);
                known
            };
            read.into_iter().map(keep).collect()
        })
    }

    /// The rows of these granules of a block, as far as they are known.
    pub fn rows(&self, block: &Arc<str>, granules: &[RowRange]) -> Vec<Option<Rows>> {
        let known = self.cache.change(|kept| {
            let known = granules.iter().map(|granule| {
                let (known, is_old) = kept.rows.get(&Place::new(block, granule))?;
                if is_old {
                    // Identities stay as long as rows that have them, for others to share.
                    for identity in known.rows.iter().flatten() {
                        kept.series.get(&(self.tenant, identity.id));
                    }
                }
                Some(known)
            });
            known.collect::<Vec<_>>()
        });
        metrics::count(known.iter().flatten().map(|known| known.rows.len()).sum(), 0);
        known
    }

    /// Of which of these granules of a block the rows are known.
    pub fn has_rows(&self, block: &Arc<str>, granules: &[RowRange]) -> Vec<bool> {
        self.cache.change(|kept| {
            let has = granules.iter().map(|granule| kept.rows.has(&Place::new(block, granule)));
            has.collect()
        })
    }

    /// Keeps the rows of a granule.
    pub fn keep_rows(&self, block: &Arc<str>, granule: &RowRange, rows: Rows) {
        let bytes = ENTRY_BYTES + block.len() + rows.bytes();
        self.cache.change(|kept| kept.rows.insert(Place::new(block, granule), rows, bytes));
    }

    /// The names in these granules of a block, as far as they are known.
    pub fn names(&self, block: &Arc<str>, granules: &[RowRange]) -> Vec<Option<Names>> {
        self.cache.change(|kept| {
            let known = granules.iter().map(|granule| kept.names.get(&Place::new(block, granule)));
            known.map(|known| known.map(|(names, _)| names)).collect()
        })
    }

    /// Keeps the names in a granule.
    pub fn keep_names(&self, block: &Arc<str>, granule: &RowRange, names: Names) {
        let texts: usize = names.iter().map(|name| name.len() + ENTRY_BYTES).sum();
        let bytes = ENTRY_BYTES + block.len() + texts;
        self.cache.change(|kept| kept.names.insert(Place::new(block, granule), names, bytes));
    }
}

impl Place {
    fn new(block: &Arc<str>, rows: &RowRange) -> Self {
        Place { block: block.clone(), row_group: rows.row_group, first_row: rows.rows.start }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.young_bytes() + self.series.old_bytes + self.rows.old_bytes + self.names.old_bytes
    }

    fn young_bytes(&self) -> usize {
        self.series.young_bytes + self.rows.young_bytes + self.names.young_bytes
    }

    /// Ends a generation that is full; what is dropped with it.
    fn age(&mut self, most: usize) -> Option<Dropped> {
        (self.young_bytes() > most).then(|| (self.series.age(), self.rows.age(), self.names.age()))
    }
}

/// Entries of one kind, with their bytes.
struct Shelf<K, V> {
    young: Entries<K, V>,
    old: Entries<K, V>,
    young_bytes: usize,
    old_bytes: usize,
}

type Entries<K, V> = HashMap<K, (V, usize), FixedState>;
type Dropped = (Entries<SeriesKey, Known>, Entries<Place, Rows>, Entries<Place, Names>);

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Shelf { young: HashMap::default(), old: HashMap::default(), young_bytes: 0, old_bytes: 0 }
    }
}

impl<K: Eq + Hash, V: Clone> Shelf<K, V> {
    /// The value of a key, and whether it was old.
    fn get(&mut self, key: &K) -> Option<(V, bool)> {
        if let Some((value, _)) = self.young.get(key) {
            return Some((value.clone(), false));
        }
        let (key, (value, bytes)) = self.old.remove_entry(key)?;
        self.old_bytes -= bytes;
        self.insert(key, value.clone(), bytes);
        Some((value, true))
    }

    fn has(&self, key: &K) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.young_bytes += bytes;
        if let Some((_, replaced)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes -= replaced;
        }
    }

    fn age(&mut self) -> Entries<K, V> {
        self.old_bytes = mem::take(&mut self.young_bytes);
        mem::replace(&mut self.old, mem::take(&mut self.young))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_model::metrics::MetricType;
    use bonghwa_promql::Labels;

    use super::*;

    fn identity(id: u128) -> Known {
        let labels = Labels::new([("__name__", "up"), ("n", id.to_string().as_str())]);
        let (kind, verbatim, delta, target) = (MetricType::Gauge, true, false, None);
        Some(Arc::new(Identity { id, kind, verbatim, delta, labels, place: 0, target, bytes: 1000 }))
    }

    fn granule(row_group: usize) -> RowRange {
        RowRange { row_group, rows: 0..10 }
    }

    #[test]
    fn identities_are_shared() {
        let cache = SeriesCache::new(1 << 20);
        let tenant = cache.of(&TenantId::default_tenant());
        assert!(tenant.series(&[1, 2]).iter().all(Option::is_none));
        let first = tenant.keep_series(vec![(1, identity(1)), (2, None)]);
        // Another that read the same meanwhile.
        let again = tenant.keep_series(vec![(1, identity(1)), (2, None)]);
        let known = tenant.series(&[1, 2, 3]);
        let same = |a: &Known, b: &Known| a.as_ref().zip(b.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b));
        assert!(same(&first[0], &again[0]) && known[0].as_ref().is_some_and(|known| same(known, &first[0])));
        assert!(again[1].is_none() && matches!(known[1], Some(None)) && known[2].is_none());
        let bytes = cache.bytes();
        tenant.keep_rows(&"block".into(), &granule(0), Granule::new(first).into());
        assert!(cache.bytes() < bytes + 500, "what is shared counts once");
        let other = TenantId::new("other").unwrap();
        assert!(cache.of(&other).series(&[1]).iter().all(Option::is_none));
    }

    #[test]
    fn bytes_are_bounded_and_what_is_used_stays() {
        let cache = SeriesCache::new(100_000);
        let tenant = cache.of(&TenantId::default_tenant());
        let block: Arc<str> = "block".into();
        let used = tenant.keep_series((0..10).map(|id| (id, identity(id))).collect());
        tenant.keep_rows(&block, &granule(0), Granule::new(used).into());
        tenant.keep_names(&block, &granule(0), vec![Arc::from("up")].into());
        for id in 10..2000 {
            tenant.keep_series(vec![(id, identity(id))]);
            assert!(tenant.rows(&block, &[granule(0)])[0].is_some(), "{id}");
            assert!(tenant.names(&block, &[granule(0)])[0].is_some(), "{id}");
            assert!(cache.bytes() <= 102_000, "{}", cache.bytes());
        }
        assert!(tenant.series(&[5])[0].is_some(), "its row is used");
        assert!(tenant.series(&[50])[0].is_none());
        let nothing = SeriesCache::new(0);
        let tenant = nothing.of(&TenantId::default_tenant());
        (0..100).for_each(|id| drop(tenant.keep_series(vec![(id, identity(id))])));
        assert!(nothing.bytes() <= 2_200);
    }
}
