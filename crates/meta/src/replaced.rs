//! Which compactions were committed, by what lies in the store.
//!
//! A compaction uploads its blocks, commits them, and only then, after a while, are the
//! blocks that it replaced deleted. So there are objects of compactions that were never
//! committed, and objects that were replaced. What tells them apart:
//!
//! - A compaction one of whose blocks was compacted further was committed: compactions
//!   read what the catalog lists.
//! - A compaction one of whose sources is missing was committed, unless another replaced
//!   the same sources.
//! - Where all sources are there, they hold all rows, whether it was committed or not.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bonghwa_cluster::object_hash as hash;
use bonghwa_protocol::v1;

use crate::rebuild::Orphan;

/// What is to be made of the compacted blocks.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    /// They belong into the catalog.
    pub blocks: Vec<v1::Block>,
    /// They do not.
    pub left_out: Vec<Orphan>,
    /// Positions whose records are in `blocks`, or were, before retention.
    pub covered: Covered,
}

/// Positions of partitions' logs.
#[derive(Debug, Default)]
pub(crate) struct Covered(BTreeMap<String, Vec<(u64, u64)>>);

impl Covered {
    fn add(&mut self, positions: &[v1::Positions]) {
        for v1::Positions { partition, from, to } in positions {
            self.0.entry(partition.clone()).or_default().push((*from, *to));
        }
    }

    /// Whether some of these positions are among them.
    pub fn holds(&self, partition: &str, from: u64, to: u64) -> bool {
        self.0.get(partition).is_some_and(|ranges| ranges.iter().any(|range| range.0 < to && from < range.1))
    }

    /// The last position of a partition; 0 for none.
    pub fn reach(&self, partition: &str) -> u64 {
        self.0.get(partition).into_iter().flatten().map(|range| range.1).max().unwrap_or(0)
    }

    pub fn partitions(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The blocks of one compaction that are there.
#[derive(Default)]
struct Compaction {
    blocks: Vec<v1::Block>,
    replaces: BTreeSet<u64>,
    positions: Vec<v1::Positions>,
    /// How many blocks it wrote, if the last is there.
    wrote: Option<u32>,
}

impl Compaction {
    fn items(&self) -> u64 {
        self.blocks.iter().flat_map(|block| &block.tenants).map(|rows| rows.items).sum()
    }

    fn is_complete(&self) -> bool {
        let ordinals: BTreeSet<u32> = self.blocks.iter().filter_map(|b| Some(b.origin.as_ref()?.ordinal)).collect();
        self.wrote.is_some_and(|wrote| ordinals.into_iter().eq(0..wrote))
    }
}

/// Chooses among compacted blocks. `flushed` are the level-0 blocks that are there.
pub(crate) fn choose(flushed: &[v1::Block], compacted: Vec<v1::Block>) -> Chosen {
    let mut chosen = Chosen::default();
    let there: HashSet<u64> = flushed.iter().chain(&compacted).map(|block| hash(&block.path)).collect();
    let compactions = by_compaction(compacted, &mut chosen.left_out);
    let replaced: HashSet<u64> = compactions.values().flat_map(|c| c.replaces.iter().copied()).collect();
    let proven = |c: &Compaction| c.blocks.iter().any(|block| replaced.contains(&hash(&block.path)));
    let mut candidates = Vec::new();
    for compaction in compactions.into_values() {
        let proven = proven(&compaction);
        if proven || !compaction.replaces.iter().all(|source| there.contains(source)) {
            candidates.push((proven, compaction.is_complete(), compaction.items(), compaction));
        } else {
            leave_out(&mut chosen.left_out, compaction, "the blocks that it was made from are still there");
        }
    }
    candidates.sort_by_key(|(proven, complete, items, _)| std::cmp::Reverse((*proven, *complete, *items)));
    let mut claimed: HashSet<u64> = HashSet::new();
    for (_, _, _, compaction) in candidates {
        if compaction.replaces.iter().any(|source| claimed.contains(source)) {
            leave_out(&mut chosen.left_out, compaction, "another compaction replaced the same blocks");
            continue;
        }
        claimed.extend(&compaction.replaces);
        chosen.covered.add(&compaction.positions);
        chosen.blocks.extend(compaction.blocks);
    }
    let (gone, blocks) = chosen.blocks.into_iter().partition(|block| claimed.contains(&hash(&block.path)));
    chosen.blocks = blocks;
    chosen.blocks.iter_mut().for_each(|block| block.origin = None);
    chosen.blocks.sort_by(|a, b| a.path.cmp(&b.path));
    let gone = Compaction { blocks: gone, ..Default::default() };
    leave_out(&mut chosen.left_out, gone, "it was compacted further");
    chosen
}

fn by_compaction(blocks: Vec<v1::Block>, left_out: &mut Vec<Orphan>) -> BTreeMap<u64, Compaction> {
    let mut compactions: BTreeMap<u64, Compaction> = BTreeMap::new();
    for block in blocks {
        let Some(origin) = block.origin.clone().filter(|_| block.model_signal().is_ok() && !block.path.is_empty())
        else {
            let reason = format!("it has the level {} and does not say what it replaced", block.level);
            left_out.push(Orphan { path: block.path, reason });
            continue;
        };
        let compaction = compactions.entry(origin.compaction).or_default();
        compaction.wrote = compaction.wrote.max((origin.blocks > 0).then_some(origin.blocks));
        compaction.replaces.extend(origin.replaces);
        compaction.positions.extend(origin.positions);
        compaction.blocks.push(block);
    }
    compactions
}

fn leave_out(left_out: &mut Vec<Orphan>, compaction: Compaction, reason: &str) {
    let paths = compaction.blocks.into_iter().map(|block| block.path);
    left_out.extend(paths.map(|path| Orphan { path, reason: reason.to_owned() }));
}
