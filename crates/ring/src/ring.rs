//! The ring itself: 128 points per partition, and the walk that finds a key's shard set. Which
//! partitions of it a tenant may use is the shuffle shard's matter.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bonghwa_model::TenantId;
use hashring::HashRing;

use crate::shuffle::{self, TenantRing};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Points that each partition has on the ring. 128 keep the partitions' shares
/// within about a tenth of each other.
pub const VIRTUAL_NODES: usize = 128;

/// The ring key of a tenant's service. Stable across processes and releases:
/// distributors of both versions run side by side during an upgrade.
pub fn key(tenant: &TenantId, service: &str) -> u64 {
    xxh3_64_with_seed(service.as_bytes(), xxh3_64(tenant.as_str().as_bytes()))
}

/// One signal's ring over the names of its active partitions. Immutable: a change
/// of the partitions makes a new ring.
#[derive(Clone, Debug)]
pub struct Ring {
    members: Vec<Member>,
    points: HashRing<Point>,
    /// The member at each point, in ring order.
    order: Vec<u32>,
    /// Where in `order` a member's virtual node lies: `[member * VIRTUAL_NODES + replica]`.
    position: Vec<u32>,
}

/// Where a partition lies: its home's failure domain and the home itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The zone; empty where there are none.
    pub zone: String,
    /// The ingester's node id.
    pub ingester: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: Arc<str>,
    pub(crate) seed: u64,
    pub(crate) place: Place,
}

/// A virtual node. Its place comes from the partition's name alone, so that it
/// does not depend on which other partitions there are.
#[derive(Clone, Copy, Debug)]
struct Point {
    member: u32,
    replica: u32,
    seed: u64,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.seed.hash(state);
        self.replica.hash(state);
    }
}

impl Ring {
    /// A ring over these partitions, all in one place. Order and repetitions do not matter.
    pub fn new<'a>(partitions: impl IntoIterator<Item = &'a str>) -> Self {
        Self::placed(partitions.into_iter().map(|name| (name, Place::default())))
    }

    /// A ring over these partitions and their places, which only shuffle shards heed. Order does
    /// not matter; of a name that is repeated, one place counts.
    pub fn placed<'a>(partitions: impl IntoIterator<Item = (&'a str, Place)>) -> Self {
        let mut placed: Vec<(&str, Place)> = partitions.into_iter().collect();
        placed.sort_by_key(|(name, _)| *name);
        placed.dedup_by_key(|(name, _)| *name);
        let member =
            |(name, place): (&str, Place)| Member { name: Arc::from(name), seed: xxh3_64(name.as_bytes()), place };
        let members: Vec<Member> = placed.into_iter().map(member).collect();
        let replicas = 0..VIRTUAL_NODES as u32;
        let mut points = HashRing::new();
        points.batch_add(
            (0u32..)
                .zip(&members)
                .flat_map(|(member, m)| replicas.clone().map(move |replica| Point { member, replica, seed: m.seed }))
                .collect(),
        );
        // hashring finds a key's point; going on from there needs the points in
        // order, which it gives only by value.
        let mut position = vec![0; members.len() * VIRTUAL_NODES];
        let mut order = Vec::with_capacity(position.len());
        for (index, point) in (0u32..).zip(points.clone()) {
            position[point.slot()] = index;
            order.push(point.member);
        }
        Ring { members, points, order, position }
    }

    /// How many partitions are on the ring.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is no partition to write to.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The partitions on the ring, by name.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.iter().map(|m| &m.name)
    }

    /// The partitions on the ring and where they lie, by name.
    pub fn places(&self) -> impl Iterator<Item = (&str, &Place)> {
        self.members.iter().map(|m| (&*m.name, &m.place))
    }

    /// The `size` partitions that a tenant's data may go to; 0, or as many as there are: all.
    pub fn of_tenant(&self, tenant: &TenantId, size: usize) -> TenantRing<'_> {
        let members = (size > 0 && size < self.len()).then(|| shuffle::members(&self.members, tenant, size));
        TenantRing { ring: self, size: members.as_ref().map_or(self.len(), |_| size), members }
    }

    /// The key's first `width` distinct partitions, going round the ring; all of
    /// them where there are fewer, at least one where there are any. The set of
    /// a larger width begins with that of a smaller one.
    pub fn shard_set(&self, key: u64, width: usize) -> ShardSet {
        self.walk(key, width.clamp(1, self.len().max(1)), |_| true)
    }

    /// The first `width` distinct ones of those partitions that are wanted, by their index.
    pub(crate) fn walk(&self, key: u64, width: usize, wanted: impl Fn(usize) -> bool) -> ShardSet {
        let mut members: Vec<Member> = Vec::with_capacity(width);
        if let Some(first) = self.points.get(&key) {
            let start = self.position[first.slot()] as usize;
            let (before, after) = self.order.split_at(start);
            for &member in after.iter().chain(before).filter(|&&member| wanted(member as usize)) {
                let member = &self.members[member as usize];
                if members.iter().all(|m| m.seed != member.seed) {
                    members.push(member.clone());
                }
                if members.len() == width {
                    break;
                }
            }
        }
        ShardSet { members }
    }
}

impl Point {
    fn slot(&self) -> usize {
        self.member as usize * VIRTUAL_NODES + self.replica as usize
    }
}

/// The partitions that one key's items are spread over.
#[derive(Clone, Debug)]
pub struct ShardSet {
    members: Vec<Member>,
}

impl ShardSet {
    /// The partition of an item: of a trace by the hash of its id, of a series by
    /// its labels, of a log stream by its stream. By highest random weight, so that
    /// a wider set takes from each partition only the share of the new one.
    /// None where the ring is empty.
    pub fn pick(&self, item_hash: u64) -> Option<&Arc<str>> {
        match self.members.as_slice() {
            [only] => Some(&only.name),
            many => many.iter().max_by_key(|m| (weight(m.seed, item_hash), m.seed)).map(|m| &m.name),
        }
    }

    /// The partitions, nearest on the ring first.
    pub fn partitions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.members.iter().map(|m| &m.name)
    }

    /// How many partitions.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether the ring was empty.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

fn weight(seed: u64, item_hash: u64) -> u64 {
    xxh3_64_with_seed(&item_hash.to_le_bytes(), seed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use super::*;
    use proptest::prelude::*;

    fn names(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("logs-{i:04}")).collect()
    }

    fn ring(names: &[String]) -> Ring {
        Ring::new(names.iter().map(String::as_str))
    }

    fn keys(n: usize) -> impl Iterator<Item = u64> {
        let tenant = TenantId::default_tenant();
        (0..n).map(move |i| key(&tenant, &format!("service-{i}")))
    }

    fn set(ring: &Ring, key: u64, width: usize) -> Vec<Arc<str>> {
        ring.shard_set(key, width).partitions().cloned().collect()
    }

    #[test]
    fn empty_ring_has_no_partition() {
        let ring = Ring::new([]);
        assert!(ring.is_empty());
        assert_eq!(ring.shard_set(7, 3).pick(1), None);
    }

    #[test]
    fn order_and_repetition_do_not_matter() {
        let a = Ring::new(["logs-0002", "logs-0001", "logs-0001"]);
        let b = Ring::new(["logs-0001", "logs-0002"]);
        assert_eq!(a.len(), 2);
        assert!(keys(500).all(|k| set(&a, k, 2) == set(&b, k, 2)));
    }

    /// The placement is part of the protocol between releases.
    #[test]
    fn placement_is_pinned() {
        let ring = ring(&names(8));
        let tenant = TenantId::new("acme").unwrap();
        let found: Vec<String> =
            ["checkout", "cart", "봉화", ""].iter().map(|s| set(&ring, key(&tenant, s), 3).join(" ")).collect();
        assert_eq!(
            found,
            [
                "logs-0008 logs-0006 logs-0005",
                "logs-0004 logs-0005 logs-0008",
                "logs-0002 logs-0001 logs-0008",
                "logs-0003 logs-0005 logs-0004",
            ]
        );
    }

    #[test]
    fn tenants_do_not_share_keys() {
        let (a, b) = (TenantId::new("ab").unwrap(), TenantId::new("a").unwrap());
        assert_ne!(key(&a, "c"), key(&b, "bc"));
    }

    #[test]
    fn partitions_are_balanced() {
        for n in [2, 3, 8, 24] {
            let ring = ring(&names(n));
            let mut counts: HashMap<Arc<str>, usize> = HashMap::new();
            let total = 20_000 * n;
            for k in keys(total) {
                *counts.entry(set(&ring, k, 1).remove(0)).or_default() += 1;
            }
            for (name, count) in &counts {
                let share = *count as f64 * n as f64 / total as f64;
                assert!((0.70..1.30).contains(&share), "{name} of {n} has {share:.2} of a fair share");
            }
            assert_eq!(counts.len(), n);
        }
    }

    #[test]
    fn items_are_balanced_inside_a_set() {
        let shards = ring(&names(9)).shard_set(12345, 4);
        let mut counts: HashMap<Arc<str>, usize> = HashMap::new();
        for item in 0..40_000u64 {
            *counts.entry(shards.pick(item).unwrap().clone()).or_default() += 1;
        }
        assert_eq!(counts.len(), 4);
        assert!(counts.values().all(|c| (9_000..11_000).contains(c)), "{counts:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_new_partition_takes_its_share_and_nothing_else_moves(n in 1usize..20) {
            let all = names(n + 1);
            let (before, after) = (ring(&all[..n]), ring(&all));
            let mut moved = 0;
            for k in keys(4_000) {
                let (old, new) = (set(&before, k, 1).remove(0), set(&after, k, 1).remove(0));
                if old != new {
                    prop_assert_eq!(&*new, all[n].as_str(), "keys move only to the new partition");
                    moved += 1;
                }
            }
            let fair = 4_000.0 / (n + 1) as f64;
            prop_assert!((moved as f64) < 1.5 * fair + 50.0, "{} moved, fair is {}", moved, fair);
        }

        #[test]
        fn removing_a_partition_moves_only_its_keys(n in 2usize..20, gone in any::<prop::sample::Index>()) {
            let all = names(n);
            let gone = gone.get(&all).clone();
            let left: Vec<String> = all.iter().filter(|p| **p != gone).cloned().collect();
            let (before, after) = (ring(&all), ring(&left));
            for k in keys(1_000) {
                let mut old = set(&before, k, n);
                old.retain(|p| **p != *gone);
                prop_assert_eq!(old, set(&after, k, n), "the others keep their order");
            }
        }

        #[test]
        fn a_wider_set_extends_a_narrower(n in 1usize..20, k in any::<u64>()) {
            let ring = ring(&names(n));
            for width in 1..=n {
                let (narrow, wide) = (set(&ring, k, width), set(&ring, k, width + 1));
                prop_assert_eq!(narrow.len(), width);
                prop_assert_eq!(&wide[..width], &narrow[..]);
                let mut distinct = wide.clone();
                distinct.sort();
                distinct.dedup();
                prop_assert_eq!(distinct.len(), wide.len());
            }
        }

        #[test]
        fn a_wider_set_moves_items_only_to_the_new_partition(k in any::<u64>(), width in 1usize..8) {
            let ring = ring(&names(9));
            let (narrow, wide) = (ring.shard_set(k, width), ring.shard_set(k, width + 1));
            let new = wide.partitions().last().unwrap();
            for item in 0..500u64 {
                let (old, now) = (narrow.pick(item).unwrap(), wide.pick(item).unwrap());
                prop_assert!(old == now || now == new);
            }
        }
    }
}
