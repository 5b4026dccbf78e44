//! The meta nodes have one catalog: once they are at the same version, the same bytes.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::Catalog;
use bonghwa_seam as seam;

use crate::roles::Role;
use crate::world::World;

/// How long the meta nodes may take to be at one version when nothing changes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until all meta nodes are at one version and compares; the catalog.
pub async fn check(world: &Arc<World>) -> Option<Catalog> {
    let same = seam::timeout(PATIENCE, async {
        loop {
            let catalogs = catalogs(world);
            let versions: Vec<u64> = catalogs.iter().map(|(_, catalog)| catalog.version()).collect();
            if versions.len() == world.names(Role::Meta).len() && versions.windows(2).all(|v| v[0] == v[1]) {
                return catalogs;
            }
            seam::sleep(Duration::from_millis(100)).await;
        }
    });
    let Ok(catalogs) = same.await else {
        let versions: Vec<String> = catalogs(world).iter().map(|(n, c)| format!("{n} at {}", c.version())).collect();
        world.violation(format!("meta nodes stay apart: {}", versions.join(", ")));
        return None;
    };
    for pair in catalogs.windows(2) {
        if describe(&pair[0].1) != describe(&pair[1].1) {
            world.violation(format!(
                "{} and {} have different catalogs of version {}",
                pair[0].0,
                pair[1].0,
                pair[0].1.version()
            ));
        }
    }
    catalogs.into_iter().next().map(|(_, catalog)| catalog)
}

fn catalogs(world: &World) -> Vec<(String, Catalog)> {
    let metas = world.names(Role::Meta).into_iter();
    metas.filter_map(|name| Some((name.clone(), world.network.servers(&name)?.meta_node()?.catalog()))).collect()
}

/// All that a catalog says, in its order.
fn describe(catalog: &Catalog) -> String {
    let nodes: Vec<_> = catalog.nodes().collect();
    let partitions: Vec<_> = catalog.all_partitions().collect();
    let blocks: Vec<_> = catalog.blocks().collect();
    format!("{nodes:?} {partitions:?} {blocks:?}")
}
