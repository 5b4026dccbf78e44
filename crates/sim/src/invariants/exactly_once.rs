//! Every acked record is returned exactly once by every later query; a record that was sent and
//! not acked at most once; and none that nobody sent.
//!
//! One excuse: a querier whose copy of the catalog lacks a partition that was born since, as while
//! it is cut off from meta, cannot see that partition's records. It is counted, and excused only
//! while there are faults.

use std::collections::BTreeSet;

use bonghwa_testkit::generate::Signal;

use crate::roles::Role;
use crate::world::World;
use crate::{ledger, reads};

/// Asks a querier for all records of a signal. A query that fails breaks no promise: the error.
/// `faults`: whether the querier may be cut off.
pub async fn check(world: &World, querier: &str, signal: Signal, faults: bool) -> Result<(), String> {
    let acked = world.ledger.of(signal).acked;
    let unseen = unseen_partitions(world, querier);
    let found = reads::ids(world, querier, signal).await?;
    let ledger::Known { sent, .. } = world.ledger.of(signal);
    let mut lost: Vec<u64> = acked.iter().filter(|id| !found.contains_key(id)).copied().collect();
    let doubled: Vec<u64> = found.iter().filter(|(_, n)| **n > 1).map(|(id, _)| *id).collect();
    let unknown: Vec<u64> = found.keys().filter(|id| !sent.contains(id)).copied().collect();
    let table = signal.table();
    if faults && !lost.is_empty() && !unseen.is_empty() {
        world.stale_read(format!("{table} by {querier}: {} records are not seen, nor is {unseen:?}", lost.len()));
        lost.clear();
    }
    for (what, ids) in [("lost", lost), ("there twice", doubled), ("never sent", unknown)] {
        if !ids.is_empty() {
            let first: Vec<String> = ids.iter().take(5).map(|id| format!("{id:#x}")).collect();
            let (count, acked) = (ids.len(), acked.len());
            let first = first.join(" ");
            world.violation(format!("{table} by {querier}: {count} of {acked} acked records are {what}: {first}"));
        }
    }
    world.trace.line(format!(
        "{table} by {querier}: {} found, {} acked, {} sent",
        found.len(),
        acked.len(),
        sent.len()
    ));
    Ok(())
}

/// Partitions that some node knows and the querier does not.
fn unseen_partitions(world: &World, querier: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let servers = |name: &String| world.network.servers(name);
    for meta in world.names(Role::Meta).iter().filter_map(servers).filter_map(|servers| servers.meta_node()) {
        names.extend(meta.catalog().all_partitions().map(|partition| partition.name.clone()));
    }
    for host in world.names(Role::Ingester).iter().filter_map(servers).filter_map(|servers| servers.host()) {
        names.extend(host.groups().iter().map(|group| group.name().to_owned()));
    }
    if let Some(front) = world.network.servers(querier).and_then(|servers| servers.front()) {
        let copy = front.view.current();
        names.retain(|name| copy.partition(name).is_none());
    }
    names
}
