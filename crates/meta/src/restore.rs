//! The command that brings back a catalog that was rebuilt from its blocks.

use std::collections::BTreeSet;

use bonghwa_protocol::v1;

use crate::names::PartitionName;
use crate::reject::{Done, Verdict, conflict, invalid};
use crate::state::State;

impl State {
    pub(crate) fn restore_catalog(&mut self, command: &v1::RestoreCatalog) -> Verdict {
        let count = self.catalog.block_count();
        if count > 0 {
            return Err(conflict(format!(
                "the catalog has {count} blocks: restore only into a new meta, before anything is flushed"
            )));
        }
        let mut numbers = self.last_number;
        let mut names = BTreeSet::new();
        for partition in &command.partitions {
            let name: PartitionName = partition.name.parse().map_err(|e: crate::names::NotAPartitionName| {
                invalid(format!("partitions has a name that is wrong: {e}"))
            })?;
            if partition.model_signal() != Ok(name.signal) {
                return Err(invalid(format!(
                    "partition {name} has the signal {:?}: its name asks for {}",
                    partition.signal(),
                    name.signal
                )));
            }
            // Positions of the log that is there now would be taken for positions
            // of the lost one, and its records for flushed.
            if self.catalog.partition(&partition.name).is_some() {
                return Err(conflict(format!(
                    "partition {name} exists already: restore into a new meta, before any ingester joins"
                )));
            }
            if !names.insert(partition.name.as_str()) {
                return Err(invalid(format!("partitions has {name} twice: list each once")));
            }
            let last = &mut numbers[name.signal as usize];
            *last = name.number.max(*last);
        }
        let mut paths = BTreeSet::new();
        for block in &command.blocks {
            if block.path.is_empty() || !paths.insert(block.path.as_str()) {
                return Err(invalid(format!("blocks has the path {:?} twice or empty: list each once", block.path)));
            }
        }
        self.last_number = numbers;
        // A new delete must not have a number that blocks say was carried out on them.
        let carried_out = command.blocks.iter().map(|block| block.deletes_through).max();
        self.last_delete = self.last_delete.max(carried_out.unwrap_or(0));
        let v1::RestoreCatalog { partitions, blocks } = command.clone();
        let change = v1::Change { partitions, blocks, ..Default::default() };
        Ok(Done { change: Some(change), outcome: None })
    }
}
