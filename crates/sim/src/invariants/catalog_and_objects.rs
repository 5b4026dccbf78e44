//! Catalog and object store agree: every block of the catalog is an object with as many bytes, and
//! the flushed blocks of a partition hold its positions once, up to its watermark.

use std::collections::BTreeMap;

use bonghwa_cluster::Catalog;
use bonghwa_protocol::v1;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::world::World;

/// Compares a catalog with the store. Nothing may be flushed meanwhile.
pub async fn check(world: &World, catalog: &Catalog) {
    let mut partitions: BTreeMap<&str, Vec<&v1::Block>> = BTreeMap::new();
    for block in catalog.blocks() {
        if block.level == 0 {
            partitions.entry(&block.partition).or_default().push(block);
        }
        match world.objects.objects().head(&Path::from(block.path.as_str())).await {
            Ok(object) if object.size == block.bytes => {}
            Ok(object) => world.violation(format!(
                "block {} has {} bytes in the catalog and {} in the store",
                block.path, block.bytes, object.size
            )),
            Err(error) => world.violation(format!("block {} is in the catalog: {error}", block.path)),
        }
    }
    for (name, mut blocks) in partitions {
        blocks.sort_by_key(|block| block.from);
        for pair in blocks.windows(2) {
            if pair[1].from < pair[0].to {
                world.violation(format!("blocks {} and {} hold the same positions", pair[0].path, pair[1].path));
            }
        }
        let last = blocks.last().map_or(0, |block| block.to);
        if let Some(partition) = catalog.partition(name).filter(|p| p.watermark < last) {
            world.violation(format!(
                "partition {name} is flushed up to {}, but has a block up to {last}",
                partition.watermark
            ));
        }
    }
}
