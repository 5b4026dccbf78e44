//! The command that makes a flush visible: the one transaction in which a
//! partition's watermark moves and its blocks appear.

use bonghwa_model::TenantId;
use bonghwa_protocol::v1;

use crate::reject::{Done, Verdict, conflict, invalid, no_partition, stale};
use crate::state::{LastFlush, State};

impl State {
    pub(crate) fn commit_flush(&mut self, command: &v1::CommitFlush) -> Verdict {
        let v1::CommitFlush { partition: name, from, to, blocks } = command;
        if !blocks.is_empty() && blocks.iter().all(|block| self.is_listed(block)) {
            // A retry after a lost answer, whatever was flushed since, and though the partition may be
            // gone: whoever is refused deletes the objects.
            let partition = self.catalog.partition(name).map(|found| (**found).clone());
            return Ok(partition.map_or_else(Done::default, |partition| Done::partition(partition, None)));
        }
        let found = self.catalog.partition(name).ok_or_else(|| no_partition(name))?;
        let mut partition = (**found).clone();
        let flush = LastFlush { from: *from, to: *to, paths: blocks.iter().map(|b| b.path.clone()).collect() };
        if partition.watermark == *to && self.last_flush.get(name) == Some(&flush) {
            // A retry after a lost answer: it is in already.
            return Ok(Done::partition(partition, None));
        }
        if *from != partition.watermark {
            return Err(stale(&partition, *from));
        }
        if to <= from {
            return Err(invalid(format!(
                "to is {to} and from is {from} for partition {name}: a flush moves the watermark on, leave out an empty one"
            )));
        }
        let mut covered = *from;
        for block in blocks {
            self.check_block(block, &partition)?;
            // One object per range: `rebuild` tells committed blocks from orphans
            // by their ranges not overlapping.
            if block.from < covered || block.to <= block.from || block.to > *to {
                return Err(invalid(format!(
                    "block {} has the positions ({}, {}], which do not lie in ({covered}, {to}], the rest of the flush: order blocks by position, without overlap",
                    block.path, block.from, block.to
                )));
            }
            covered = block.to;
        }
        if let Some(at) = (1..blocks.len()).find(|at| blocks[..*at].iter().any(|b| b.path == blocks[*at].path)) {
            return Err(invalid(format!("blocks has the path {:?} twice: list each object once", blocks[at].path)));
        }
        partition.watermark = *to;
        self.last_flush.insert(name.clone(), flush);
        // Deletes that are open concern what lay in blocks when they were made: these rows came later, or were not known.
        let (deletes_through, written) = (self.last_delete, self.catalog.version().saturating_add(1));
        let of_later = |block: &v1::Block| v1::Block { deletes_through, written, ..block.clone() };
        let blocks = blocks.iter().map(of_later).collect();
        let change = v1::Change { partitions: vec![partition.clone()], blocks, ..Default::default() };
        Ok(Done::partition(partition, Some(change)))
    }

    /// Whether the catalog has this very block, or had it until a compaction.
    fn is_listed(&self, block: &v1::Block) -> bool {
        match self.catalog.block(&block.path) {
            Some(known) => known.partition == block.partition && (known.from, known.to) == (block.from, block.to),
            None => self.catalog.is_garbage(&block.path),
        }
    }

    /// What must hold of any fresh block of this partition.
    fn check_block(&self, block: &v1::Block, partition: &v1::Partition) -> Result<(), v1::Rejection> {
        let path = &block.path;
        if path.is_empty() {
            return Err(invalid(format!("a block of partition {} has no path: name its object", partition.name)));
        }
        if block.partition != partition.name {
            return Err(invalid(format!(
                "block {path} has the partition {:?} in a flush of {}: commit it with its own partition",
                block.partition, partition.name
            )));
        }
        if block.signal != partition.signal {
            return Err(invalid(format!(
                "block {path} has the signal {:?}, but partition {} has {:?}: commit it with a partition of its signal",
                block.signal(),
                partition.name,
                partition.signal()
            )));
        }
        if block.level != 0 {
            return Err(invalid(format!("block {path} has the level {}: a flush writes level 0", block.level)));
        }
        if self.catalog.block(path).is_some() {
            return Err(conflict(format!(
                "block {path} is in the catalog already with other positions: write the object under a new path"
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
}
