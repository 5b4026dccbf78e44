//! A tenant's shuffle shard: the few partitions of a ring that its data may go to. Tenants draw
//! theirs independently, so that two of them share few, and a flood of one reaches few others.
//!
//! A tenant's partitions stand in an order of their own: zones take turns, in a zone its ingesters
//! do, and of an ingester's partitions those with the highest random weight come first. The shard
//! is a prefix of it. A partition that joins or leaves moves those after it by one turn, so that it
//! changes at most one member of a shard.

use std::collections::BTreeMap;

use bonghwa_model::TenantId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::ring::{Member, Ring, ShardSet};

/// A ring as one tenant may use it.
#[derive(Clone, Debug)]
pub struct TenantRing<'a> {
    pub(crate) ring: &'a Ring,
    /// Whether each of the ring's partitions is the tenant's; none: all are.
    pub(crate) members: Option<Vec<bool>>,
    pub(crate) size: usize,
}

impl TenantRing<'_> {
    /// How many partitions the tenant may use.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Whether there is no partition to write to.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// As [`Ring::shard_set`], of the tenant's partitions alone: what a ring over them would give.
    pub fn shard_set(&self, key: u64, width: usize) -> ShardSet {
        match &self.members {
            None => self.ring.shard_set(key, width),
            Some(members) => self.ring.walk(key, width.clamp(1, self.size), |member| members[member]),
        }
    }
}

/// Marks the first `size` partitions in the tenant's order.
pub(crate) fn members(ring: &[Member], tenant: &TenantId, size: usize) -> Vec<bool> {
    let tenant = xxh3_64(tenant.as_str().as_bytes());
    let draw = |bytes: &[u8]| xxh3_64_with_seed(bytes, tenant);
    let mut zones: BTreeMap<&str, BTreeMap<u64, Vec<Drawn>>> = BTreeMap::new();
    for (member, Member { seed, place, .. }) in ring.iter().enumerate() {
        let drawn = (draw(&seed.to_le_bytes()), member);
        zones.entry(&place.zone).or_default().entry(place.ingester).or_default().push(drawn);
    }
    let of_zone = |ingesters: BTreeMap<u64, Vec<Drawn>>| {
        in_turns(ingesters.into_iter().map(|(id, mut partitions)| {
            partitions.sort_unstable();
            (draw(&id.to_le_bytes()), partitions)
        }))
    };
    let order = in_turns(zones.into_iter().map(|(zone, ingesters)| (draw(zone.as_bytes()), of_zone(ingesters))));
    let mut marked = vec![false; ring.len()];
    order.into_iter().take(size).for_each(|(_, member)| marked[member] = true);
    marked
}

/// A partition's weight and index.
type Drawn = (u64, usize);

/// The first of each group, then the second of each: groups in the order of their weights.
fn in_turns(groups: impl Iterator<Item = (u64, Vec<Drawn>)>) -> Vec<Drawn> {
    let mut groups: Vec<(u64, Vec<Drawn>)> = groups.collect();
    groups.sort_unstable();
    let turns = groups.iter().map(|(_, group)| group.len()).max().unwrap_or(0);
    (0..turns).flat_map(|turn| groups.iter().filter_map(move |(_, group)| group.get(turn).copied())).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::{Place, key};

    fn tenant(n: usize) -> TenantId {
        TenantId::new(&format!("tenant-{n}")).unwrap()
    }

    /// Name, zone and ingester of partitions: so many on each ingester, ingesters in zones by turns.
    fn partitions(ingesters: usize, each: usize, zones: usize) -> Vec<(String, Place)> {
        let place = |n: usize| Place { zone: format!("zone-{}", n / each % zones), ingester: (n / each) as u64 };
        (0..ingesters * each).map(|n| (format!("logs-{n:04}"), place(n))).collect()
    }

    fn ring(partitions: &[(String, Place)]) -> Ring {
        Ring::placed(partitions.iter().map(|(name, place)| (name.as_str(), place.clone())))
    }

    fn shard(ring: &Ring, tenant: &TenantId, size: usize) -> BTreeSet<String> {
        let members = ring.of_tenant(tenant, size);
        let set = members.shard_set(key(tenant, "any"), usize::MAX);
        assert_eq!(set.len(), members.len());
        set.partitions().map(ToString::to_string).collect()
    }

    #[test]
    fn zero_and_too_many_are_all() {
        let ring = ring(&partitions(3, 2, 3));
        for size in [0, 6, 7, usize::MAX] {
            assert_eq!(shard(&ring, &tenant(1), size).len(), 6, "{size}");
        }
        let (whole, own) = (ring.shard_set(7, 3), ring.of_tenant(&tenant(1), 0).shard_set(7, 3));
        assert!(whole.partitions().eq(own.partitions()), "without a shard nothing changes");
        let empty = Ring::new([]);
        assert!(empty.of_tenant(&tenant(1), 4).is_empty());
        assert_eq!(empty.of_tenant(&tenant(1), 4).shard_set(7, 3).len(), 0);
    }

    /// The choice is part of the protocol between releases, as placement is.
    #[test]
    fn the_choice_is_pinned() {
        let ring = ring(&partitions(8, 2, 2));
        let chosen: Vec<String> =
            (0..3).map(|n| shard(&ring, &tenant(n), 3).into_iter().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            chosen,
            ["logs-0000 logs-0008 logs-0014", "logs-0000 logs-0002 logs-0006", "logs-0002 logs-0008 logs-0011"]
        );
    }

    /// However fast a service grows, it stays inside, and goes as on a ring of the shard alone.
    #[test]
    fn widths_stay_inside_the_shard() {
        let all = partitions(16, 4, 1);
        let ring = ring(&all);
        for n in 0..50 {
            let (tenant, size) = (tenant(n), n % 7 + 1);
            let own = shard(&ring, &tenant, size);
            assert_eq!(own.len(), size);
            let alone = Ring::new(own.iter().map(String::as_str));
            for width in [1, 2, size, size + 1, 64, usize::MAX] {
                let set = ring.of_tenant(&tenant, size).shard_set(key(&tenant, "hot"), width);
                assert_eq!(set.len(), width.min(size));
                assert!(set.partitions().eq(alone.shard_set(key(&tenant, "hot"), width).partitions()), "{width}");
            }
        }
    }

    #[test]
    fn services_use_the_whole_shard() {
        let ring = ring(&partitions(16, 4, 1));
        let members = ring.of_tenant(&tenant(1), 4);
        let of = |n: usize| members.shard_set(key(&tenant(1), &format!("service-{n}")), 1).pick(0).unwrap().clone();
        let used: BTreeSet<_> = (0..200).map(of).collect();
        assert_eq!(used.len(), 4);
    }

    /// Of 64 partitions, two shards of 4 share 4 * 4 / 64 on average, and hardly ever all.
    #[test]
    fn two_tenants_share_little() {
        for all in [partitions(64, 1, 1), partitions(16, 4, 1), partitions(64, 1, 4)] {
            let ring = ring(&all);
            let shards: Vec<_> = (0..200).map(|n| shard(&ring, &tenant(n), 4)).collect();
            let mut shared = [0usize; 5];
            for (n, one) in shards.iter().enumerate() {
                shards[..n].iter().for_each(|other| shared[one.intersection(other).count()] += 1);
            }
            let pairs: usize = shared.iter().sum();
            let mean = shared.iter().enumerate().map(|(n, count)| n * count).sum::<usize>() as f64 / pairs as f64;
            assert!((0.15..0.35).contains(&mean), "{mean} of {shared:?}");
            assert!(shared[3] + shared[4] < pairs / 500, "{shared:?}");
        }
    }

    #[test]
    fn tenants_are_balanced() {
        let ring = ring(&partitions(16, 4, 1));
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for n in 0..6_400 {
            shard(&ring, &tenant(n), 4).into_iter().for_each(|p| *counts.entry(p).or_default() += 1);
        }
        assert_eq!(counts.len(), 64);
        assert!(counts.values().all(|count| (300..500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_shard_spreads_over_zones_and_ingesters() {
        let all = partitions(12, 4, 3);
        let places: BTreeMap<&str, &Place> = all.iter().map(|(name, place)| (name.as_str(), place)).collect();
        for n in 0..100 {
            for (size, zones, ingesters) in [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 3, 4), (12, 3, 12), (20, 3, 12)] {
                let own = shard(&ring(&all), &tenant(n), size);
                let of = || own.iter().map(|name| places[name.as_str()]);
                assert_eq!(of().map(|p| &p.zone).collect::<BTreeSet<_>>().len(), zones, "{size}");
                assert_eq!(of().map(|p| p.ingester).collect::<BTreeSet<_>>().len(), ingesters, "{size}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn one_partition_changes_one_member_at_most(
            places in prop::collection::vec((0u8..4, 0u64..6), 2..40),
            gone in any::<prop::sample::Index>(),
            size in 1usize..12,
        ) {
            // An ingester is in one zone.
            let place = |(zone, ingester)| Place { zone: format!("zone-{zone}"), ingester: ingester * 4 + u64::from(zone) };
            let all: Vec<(String, Place)> =
                places.into_iter().enumerate().map(|(n, p)| (format!("logs-{n:04}"), place(p))).collect();
            let mut left = all.clone();
            let gone = left.remove(gone.index(all.len())).0;
            for n in 0..20 {
                let (with, without) = (shard(&ring(&all), &tenant(n), size), shard(&ring(&left), &tenant(n), size));
                let (lost, won) = (with.difference(&without).count(), without.difference(&with).count());
                prop_assert!(lost <= 1 && won <= 1, "{:?} became {:?} without {}", with, without, gone);
                prop_assert!(with.contains(&gone) || with.len() == without.len());
            }
        }
    }
}
