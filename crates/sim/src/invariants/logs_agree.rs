//! The replicas of a log hold the same entry at every position that two of them have applied.

use std::collections::BTreeMap;

use bonghwa_replog::NodeId;
use bytes::Bytes;

use crate::world::World;

/// Compares all logs of all running nodes.
pub async fn check(world: &World) {
    let mut known: BTreeMap<(String, u64), (NodeId, Bytes)> = BTreeMap::new();
    for name in world.all_names() {
        let Some(host) = world.network.servers(&name).and_then(|servers| servers.host()) else { continue };
        for group in host.groups() {
            let mut next = 0;
            loop {
                let entries = match group.read_from(next, 1 << 20).await {
                    Ok(entries) => entries,
                    Err(error) => {
                        world.trace.line(format!("the log {} of {name} was not compared: {error}", group.name()));
                        break;
                    }
                };
                let Some((last, _)) = entries.last() else { break };
                next = last + 1;
                for (position, bytes) in entries {
                    let place = (group.name().to_owned(), position);
                    match known.get(&place) {
                        Some((other, theirs)) if *theirs != bytes => world.violation(format!(
                            "position {position} of {} differs between nodes {other} and {}",
                            group.name(),
                            host.node()
                        )),
                        Some(_) => {}
                        None => drop(known.insert(place, (host.node(), bytes))),
                    }
                }
            }
        }
    }
}
