//! Where partitions go: what has to change in the catalog, given who is alive. Pure.
//!
//! Every healthy ingester is the home of as many active partitions per signal as the options say;
//! a partition's other replicas are on other ingesters, in other zones where there are enough.
//! A partition never moves: one with a replica on a node that leaves or is lost is replaced by a new
//! one and then sealed. Nothing is taken off a ring before what replaces it is on it.

use std::collections::BTreeMap;

use bonghwa_cluster::Catalog;
use bonghwa_model::Signal;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::{self, NodeState, PartitionState};

/// How many partitions there are to be.
#[derive(Clone, Copy, Debug)]
pub struct PlacementOptions {
    /// Ingesters that keep each partition.
    pub replication_factor: usize,
    /// Partitions of each signal per ingester.
    pub partitions_per_signal: usize,
}

/// The commands that bring the catalog nearer to what it should be; none if it is so.
pub(crate) fn plan(catalog: &Catalog, options: PlacementOptions) -> Vec<Kind> {
    let place = Place::new(catalog, options);
    let mut commands = Vec::new();
    for signal in Signal::ALL {
        place.create(signal, &mut commands);
        place.seal(signal, &mut commands);
    }
    place.forget(&mut commands);
    commands
}

struct Place<'a> {
    catalog: &'a Catalog,
    options: PlacementOptions,
    /// Ingesters that may get replicas, by id.
    healthy: Vec<&'a v1::Node>,
    /// Replicas of partitions that take writes, by node.
    load: std::cell::RefCell<BTreeMap<u64, usize>>,
}

impl<'a> Place<'a> {
    fn new(catalog: &'a Catalog, options: PlacementOptions) -> Self {
        let ingesters = catalog.nodes().map(|n| &**n).filter(|n| n.has_role("ingester"));
        let healthy = ingesters.filter(|n| n.effective_state() == NodeState::Active).collect();
        let mut load = BTreeMap::new();
        for partition in catalog.all_partitions().filter(|p| p.state() != PartitionState::Sealed) {
            partition.replicas.iter().for_each(|id| *load.entry(*id).or_default() += 1);
        }
        Place { catalog, options, healthy, load: load.into() }
    }

    /// Whether all replicas are on nodes that stay.
    fn stays(&self, partition: &v1::Partition) -> bool {
        let stays = |id: &u64| {
            let state = self.catalog.node(*id).map(|n| n.effective_state());
            matches!(state, Some(NodeState::Active | NodeState::Unreachable))
        };
        partition.replicas.iter().all(stays)
    }

    fn create(&self, signal: Signal, commands: &mut Vec<Kind>) {
        if self.healthy.len() < self.options.replication_factor {
            return;
        }
        for home in &self.healthy {
            let is_here = |p: &&std::sync::Arc<v1::Partition>| {
                p.replicas.first() == Some(&home.id) && p.state() != PartitionState::Sealed && self.stays(p)
            };
            let have = self.catalog.partitions(signal).filter(is_here).count();
            for _ in have..self.options.partitions_per_signal {
                let replicas = self.replicas(home);
                let create = v1::CreatePartition { signal: v1::Signal::from(signal).into(), replicas };
                commands.push(Kind::CreatePartition(create));
            }
        }
    }

    /// The home and the others: one after another, from a zone that has none yet, then the one
    /// with the fewest replicas.
    fn replicas(&self, home: &v1::Node) -> Vec<u64> {
        let mut load = self.load.borrow_mut();
        let mut chosen: Vec<&v1::Node> = vec![home];
        while chosen.len() < self.options.replication_factor {
            let free = self.healthy.iter().filter(|n| chosen.iter().all(|c| c.id != n.id));
            let cost = |n: &&&v1::Node| {
                let same_zone = chosen.iter().filter(|c| c.zone == n.zone).count();
                (same_zone, load.get(&n.id).copied().unwrap_or(0), n.id)
            };
            let Some(next) = free.min_by_key(cost) else { break };
            chosen.push(next);
        }
        chosen.iter().for_each(|n| *load.entry(n.id).or_default() += 1);
        chosen.iter().map(|n| n.id).collect()
    }

    /// Seals what has a replica on a node that goes, once its replacement takes writes: the home's
    /// own, or where the home goes, any.
    fn seal(&self, signal: Signal, commands: &mut Vec<Kind>) {
        let active = |p: &v1::Partition| p.state() == PartitionState::Active && self.stays(p);
        for partition in self.catalog.partitions(signal) {
            if partition.state() == PartitionState::Sealed || self.stays(partition) {
                continue;
            }
            let home = partition.replicas.first();
            let home_stays = self.healthy.iter().any(|n| Some(&n.id) == home);
            let replaced =
                self.catalog.partitions(signal).any(|p| active(p) && (!home_stays || p.replicas.first() == home));
            // One that was never on the ring holds nothing to be missed.
            if replaced || partition.state() == PartitionState::Creating {
                commands.push(Kind::SealPartition(v1::SealPartition { partition: partition.name.clone() }));
            }
        }
    }

    /// Nodes that are given up and keep nothing.
    fn forget(&self, commands: &mut Vec<Kind>) {
        let lost = self.catalog.nodes().filter(|n| n.effective_state() == NodeState::Lost);
        for node in lost.filter(|n| !self.catalog.all_partitions().any(|p| p.replicas.contains(&n.id))) {
            commands.push(Kind::RemoveNode(v1::RemoveNode { node: node.id }));
        }
    }
}

#[cfg(test)]
mod tests;
