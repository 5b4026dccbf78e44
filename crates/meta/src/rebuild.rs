//! The catalog from its blocks: what `bonghwa meta rebuild` does when meta's own
//! disks are lost.
//!
//! Every block says which positions of its partition's log it holds, and holds all
//! records at these positions. Objects in the store that no catalog lists are
//! orphans: a node crashed between the upload and the commit, and the next leader
//! flushed the same positions again, in other cuts. So of each partition a chain
//! of blocks is chosen that do not overlap; a record is then in one of them, once.
//!
//! Compacted blocks say what they replaced, and those replaced lie in the store for a
//! while; [`crate::replaced`] chooses between both first.

use std::collections::{BTreeMap, BTreeSet};

use bonghwa_protocol::v1;

use crate::names::PartitionName;
use crate::replaced::{self, Chosen};

/// What [`rebuild`] made of the blocks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rebuilt {
    /// To be run as a command on a new meta. Its partitions are sealed and have no
    /// replicas: what logs may be left of them is the ingesters' to say.
    pub catalog: v1::RestoreCatalog,
    /// Blocks left out.
    pub orphans: Vec<Orphan>,
}

/// An object that is not part of the rebuilt catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its path.
    pub path: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// Recreates the catalog from the footers of all blocks in the store, in any order.
///
/// Takes the compacted blocks whose compaction was committed, and leaves out what these
/// replaced. Of the level-0 blocks that are left takes, per partition, of all chains that
/// do not overlap one that reaches the furthest position, among these one with the most
/// records, and among these one that covers the most positions. Gaps are allowed: a flush
/// of positions without records has no block, and retention deletes blocks.
pub fn rebuild(footers: Vec<v1::Block>) -> Rebuilt {
    let mut rebuilt = Rebuilt::default();
    let (flushed, compacted): (Vec<_>, Vec<_>) = footers.into_iter().partition(|block| block.level == 0);
    let Chosen { blocks, left_out, covered } = replaced::choose(&flushed, compacted);
    rebuilt.catalog.blocks = blocks;
    rebuilt.orphans = left_out;
    let mut partitions: BTreeMap<PartitionName, BTreeMap<String, v1::Block>> = BTreeMap::new();
    for block in flushed {
        match check(&block) {
            Ok(name) if covered.holds(&block.partition, block.from, block.to) => {
                let (from, to) = (block.from, block.to);
                let reason = format!("its positions ({from}, {to}] of {name} are in compacted blocks");
                rebuilt.orphans.push(Orphan { path: block.path, reason });
            }
            Ok(name) => {
                partitions.entry(name).or_default().insert(block.path.clone(), block);
            }
            Err(reason) => rebuilt.orphans.push(Orphan { path: block.path, reason }),
        }
    }
    let names: BTreeSet<PartitionName> =
        covered.partitions().filter_map(|name| name.parse().ok()).chain(partitions.keys().copied()).collect();
    for name in names {
        let mut blocks: Vec<v1::Block> = partitions.remove(&name).unwrap_or_default().into_values().collect();
        let watermark = blocks.iter().map(|b| b.to).max().unwrap_or(0).max(covered.reach(&name.to_string()));
        let chosen = choose(&mut blocks);
        for (block, chosen) in blocks.into_iter().zip(chosen) {
            if chosen {
                rebuilt.catalog.blocks.push(block);
            } else {
                let (from, to) = (block.from, block.to);
                let reason = format!("its positions ({from}, {to}] of {name} are in other blocks");
                rebuilt.orphans.push(Orphan { path: block.path, reason });
            }
        }
        rebuilt.catalog.partitions.push(v1::Partition {
            name: name.to_string(),
            signal: v1::Signal::from(name.signal).into(),
            state: v1::PartitionState::Sealed.into(),
            replicas: Vec::new(),
            watermark,
        });
    }
    rebuilt
}

/// The partition of a block that can be part of a chain, or why it cannot.
fn check(block: &v1::Block) -> Result<PartitionName, String> {
    if block.path.is_empty() {
        return Err("it has no path".into());
    }
    let name: PartitionName = block.partition.parse().map_err(|error| format!("its partition is wrong: {error}"))?;
    if block.model_signal() != Ok(name.signal) {
        return Err(format!("its signal is {:?}, its partition is {name}", block.signal()));
    }
    if block.from >= block.to {
        return Err(format!("its positions ({}, {}] are none", block.from, block.to));
    }
    Ok(name)
}

/// How good a chain is: records, then positions covered.
type Worth = (u64, u64);

/// Sorts the blocks by where they end and says of each whether it is in the best
/// chain. Weighted interval scheduling: the best chain that ends with a block is
/// the block and the best chain among those that end where it begins or before.
fn choose(blocks: &mut [v1::Block]) -> Vec<bool> {
    blocks.sort_by(|a, b| (a.to, a.from, &a.path).cmp(&(b.to, b.from, &b.path)));
    let ends: Vec<u64> = blocks.iter().map(|b| b.to).collect();
    let mut worths: Vec<Worth> = Vec::with_capacity(blocks.len());
    let mut before: Vec<Option<usize>> = Vec::with_capacity(blocks.len());
    // Of the chains that end with one of the first n blocks, the best's last block.
    let mut best: Vec<usize> = Vec::with_capacity(blocks.len());
    for (at, block) in blocks.iter().enumerate() {
        let earlier = ends[..at].partition_point(|end| *end <= block.from);
        let link = earlier.checked_sub(1).map(|last| best[last]);
        let (records, positions) = link.map_or((0, 0), |link| worths[link]);
        let items: u64 = block.tenants.iter().map(|t| t.items).sum();
        worths.push((records + items, positions + (block.to - block.from)));
        before.push(link);
        best.push(match best.last() {
            Some(&other) if worths[other] >= worths[at] => other,
            _ => at,
        });
    }
    let mut chosen = vec![false; blocks.len()];
    let furthest = ends.last().copied();
    let mut next = (0..blocks.len()).filter(|at| Some(ends[*at]) == furthest).max_by_key(|at| worths[*at]);
    while let Some(at) = next {
        chosen[at] = true;
        next = before[at];
    }
    chosen
}
