//! Nodes that join, leave and are lost, while everything else goes wrong too.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::node_id;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_seam as seam;

use crate::dice;
use crate::roles::Role;
use crate::world::World;

/// How long an operator waits for a drain before asking for it again.
const INSIST: Duration = Duration::from_secs(20);

/// An ingester joins, and another leaves: on request, or for good. Returns when the one that leaves
/// keeps nothing.
pub async fn change(world: Arc<World>, really: bool) {
    if !really {
        return;
    }
    let pause = || seam::sleep(dice::between(Duration::from_millis(100), Duration::from_secs(12)));
    pause().await;
    let zone = format!("zone-{}", 1 + dice::below(3));
    world.add("ingester-4", Role::Ingester, &zone);
    pause().await;
    let ingesters = world.names(Role::Ingester);
    let Some(leaving) = dice::one_of(&ingesters).cloned() else { return };
    if dice::chance(0.5) {
        world.lose(&leaving);
        wait_until_replaced(&world, &leaving).await;
    } else {
        drain(&world, &leaving).await;
        // One that was given up and forgotten on the way is a new node when it is heard again: the
        // operator insists.
        while seam::timeout(INSIST, wait_until_replaced(&world, &leaving)).await.is_err() {
            drain(&world, &leaving).await;
        }
        world.stop(&leaving).await;
        world.lose(&leaving);
    }
}

async fn drain(world: &World, name: &str) {
    world.trace.line(format!("{name} is drained"));
    let drain = v1::SetNodeDrain { node: node_id(name), drain: true };
    let command = v1::Command { kind: Some(Kind::SetNodeDrain(drain)) };
    loop {
        for meta in world.names(Role::Meta) {
            let command = command.clone();
            let done = world.network.call("client", &meta, |servers| async move {
                match servers.meta() {
                    Some(meta) => meta.execute(command).await.is_ok_and(|result| !is_rejected(&result)),
                    None => false,
                }
            });
            if matches!(seam::timeout(Duration::from_secs(10), done).await, Ok(Ok(true))) {
                return;
            }
        }
        seam::sleep(Duration::from_secs(1)).await;
    }
}

fn is_rejected(result: &v1::CommandResult) -> bool {
    matches!(result.outcome, Some(v1::command_result::Outcome::Rejection(_)))
}

/// Waits until every meta node that runs has no partition with a replica on the node.
async fn wait_until_replaced(world: &World, name: &str) {
    let id = node_id(name);
    loop {
        let metas = world.names(Role::Meta);
        let running: Vec<_> = metas.iter().filter_map(|m| world.network.servers(m)?.meta_node()).collect();
        let keeps = |meta: &Arc<bonghwa_meta::Meta>| {
            let catalog = meta.catalog();
            catalog.all_partitions().any(|p| p.replicas.contains(&id)) || catalog.version() == 0
        };
        if running.len() == metas.len() && !running.iter().any(keeps) {
            world.trace.line(format!("{name} keeps nothing any more"));
            return;
        }
        seam::sleep(Duration::from_millis(500)).await;
    }
}
