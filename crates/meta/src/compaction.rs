//! The commands of compaction: the swap of blocks, and what is left of those removed.

use std::collections::{BTreeMap, BTreeSet};

use bonghwa_model::TenantId;
use bonghwa_protocol::v1;

use crate::reject::{Done, Verdict, conflict, invalid, not_found};
use crate::state::State;

impl State {
    pub(crate) fn commit_compaction(&mut self, command: &v1::CommitCompaction) -> Verdict {
        let v1::CommitCompaction { removed, added, dropped, removed_at } = command;
        if removed.is_empty() {
            return Err(invalid("removed is empty: name the blocks that the new ones replace"));
        }
        if self.is_done(command) {
            // A retry after a lost answer: it is in already.
            return Ok(Done::default());
        }
        let mut balance: BTreeMap<&str, u64> = BTreeMap::new();
        let mut signal = None;
        let mut paths = BTreeSet::new();
        for path in removed {
            let block = self.catalog.block(path).ok_or_else(|| {
                not_found(format!(
                    "removed has the block {path:?}, which the catalog does not have: another compaction replaced it, plan again"
                ))
            })?;
            if !paths.insert(path.as_str()) {
                return Err(invalid(format!("removed has the block {path:?} twice: list each once")));
            }
            if *signal.get_or_insert(block.signal) != block.signal {
                return Err(invalid(format!("removed has the block {path:?} of another signal: compact one signal")));
            }
            for rows in &block.tenants {
                *balance.entry(&rows.tenant).or_default() += rows.items;
            }
        }
        let mut left: BTreeMap<&str, u64> = BTreeMap::new();
        for block in added {
            self.check_compacted(block, signal)?;
            if !paths.insert(block.path.as_str()) {
                return Err(invalid(format!("added has the block {:?} twice: list each once", block.path)));
            }
            for rows in &block.tenants {
                *left.entry(&rows.tenant).or_default() += rows.items;
            }
        }
        for rows in dropped {
            let left = left.entry(&rows.tenant).or_default();
            *left = left.saturating_add(rows.items);
        }
        balance.retain(|_, items| *items > 0);
        left.retain(|_, items| *items > 0);
        if balance != left {
            let tenants: BTreeSet<&str> = balance.keys().chain(left.keys()).copied().collect();
            let wrong = tenants.into_iter().find(|tenant| balance.get(tenant) != left.get(tenant)).unwrap_or_default();
            let count = |side: &BTreeMap<&str, u64>| side.get(wrong).copied().unwrap_or(0);
            return Err(invalid(format!(
                "tenant {wrong} has {} items in the blocks removed, and {} in those added and dropped: keep every row, or say that it was dropped",
                count(&balance),
                count(&left)
            )));
        }
        let written = removed.iter().filter_map(|path| self.catalog.block(path)).map(|block| block.written).max();
        let as_late = |block: &v1::Block| v1::Block { written: written.unwrap_or(0), ..block.clone() };
        let garbage = removed.iter().map(|path| v1::Garbage { path: path.clone(), removed_at: *removed_at });
        let change = v1::Change {
            garbage: garbage.collect(),
            removed_blocks: removed.clone(),
            blocks: added.iter().map(as_late).collect(),
            ..Default::default()
        };
        Ok(Done { change: Some(change), outcome: None })
    }

    /// Whether the catalog is as the command would leave it.
    fn is_done(&self, command: &v1::CommitCompaction) -> bool {
        command.removed.iter().all(|path| self.catalog.is_garbage(path))
            && command.added.iter().all(|block| {
                let same = |there: &v1::Block| *there == v1::Block { written: there.written, ..block.clone() };
                self.catalog.block(&block.path).is_some_and(|there| same(there))
            })
    }

    /// What must hold of any fresh block of a compaction.
    fn check_compacted(&self, block: &v1::Block, signal: Option<i32>) -> Result<(), v1::Rejection> {
        let path = &block.path;
        if path.is_empty() {
            return Err(invalid("added has a block without a path: name its object"));
        }
        if self.catalog.block(path).is_some() || self.catalog.is_garbage(path) {
            return Err(conflict(format!("block {path} was there already: write the object under a new path")));
        }
        if block.level == 0 {
            return Err(invalid(format!("block {path} has the level 0: a compaction writes level 1 and up")));
        }
        if Some(block.signal) != signal {
            return Err(invalid(format!(
                "block {path} has the signal {:?}, which the blocks removed do not have: compact one signal",
                block.signal()
            )));
        }
        for (at, rows) in block.tenants.iter().enumerate() {
            let tenant = &rows.tenant;
            TenantId::new(tenant).map_err(|e| invalid(format!("block {path} has the tenant {tenant:?}: {e}")))?;
            if block.tenants[..at].iter().any(|other| other.tenant == *tenant) {
                return Err(invalid(format!("block {path} lists the tenant {tenant} twice: list each once")));
            }
            if rows.min_time > rows.max_time {
                return Err(invalid(format!(
                    "block {path} has min_time {} after max_time {} for tenant {tenant}: order them",
                    rows.min_time, rows.max_time
                )));
            }
        }
        Ok(())
    }

    /// Forgets what is there no more; the rest of the paths is passed over.
    pub(crate) fn collect_garbage(&mut self, command: &v1::CollectGarbage) -> Verdict {
        let known = command.paths.iter().filter(|path| self.catalog.is_garbage(path));
        let collected: Vec<String> = known.cloned().collect();
        if collected.is_empty() {
            return Ok(Done::default());
        }
        let change = v1::Change { collected_garbage: collected, ..Default::default() };
        Ok(Done { change: Some(change), outcome: None })
    }
}
