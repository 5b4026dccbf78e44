//! The replicated state and the door to its commands. Deterministic: every meta
//! node applies the same commands in the same order and must come to the same
//! state, so that nothing here asks a clock, a random number or a hash map's order.

use std::collections::BTreeMap;

use bonghwa_cluster::Catalog;
use bonghwa_model::Signal;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::command_result::Outcome;

use crate::names::PartitionName;
use crate::reject::{Done, Verdict, invalid};

/// The catalog and what only meta needs to know beside it.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) catalog: Catalog,
    /// The last number given to a partition of each signal, also if it is removed.
    pub(crate) last_number: [u64; 3],
    /// The last flush of each partition: a retry of it is told from a stranger by it.
    pub(crate) last_flush: BTreeMap<String, LastFlush>,
    /// Who holds which lease; one whose holder is not active is free.
    pub(crate) leases: BTreeMap<String, u64>,
    /// The last id given to a delete.
    pub(crate) last_delete: u64,
}

/// What identifies a committed flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LastFlush {
    pub from: u64,
    pub to: u64,
    pub paths: Vec<String>,
}

/// What a command did to the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// For whoever sent the command.
    pub result: v1::CommandResult,
    /// For the watchers; none if nothing changed.
    pub change: Option<v1::Change>,
}

impl State {
    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Applies one command. A refused one changes nothing; an accepted one makes
    /// the next version, unless all was so already.
    pub fn apply(&mut self, command: &v1::Command) -> Applied {
        let verdict = match &command.kind {
            Some(Kind::RegisterNode(c)) => self.register_node(c),
            Some(Kind::CreatePartition(c)) => self.create_partition(c),
            Some(Kind::SealPartition(c)) => self.seal_partition(c),
            Some(Kind::RemovePartition(c)) => self.remove_partition(c),
            Some(Kind::CommitFlush(c)) => self.commit_flush(c),
            Some(Kind::RestoreCatalog(c)) => self.restore_catalog(c),
            Some(Kind::ActivatePartition(c)) => self.activate_partition(c),
            Some(Kind::SetNodeState(c)) => self.set_node_state(c),
            Some(Kind::SetNodeDrain(c)) => self.set_node_drain(c),
            Some(Kind::RemoveNode(c)) => self.remove_node(c),
            Some(Kind::AcquireLease(c)) => self.acquire_lease(c),
            Some(Kind::ReleaseLease(c)) => self.release_lease(c),
            Some(Kind::CommitCompaction(c)) => self.commit_compaction(c),
            Some(Kind::CreateDelete(c)) => self.create_delete(c),
            Some(Kind::RemoveDelete(c)) => self.remove_delete(c),
            Some(Kind::CollectGarbage(c)) => self.collect_garbage(c),
            Some(Kind::SetTenantLimits(c)) => self.set_tenant_limits(c),
            Some(Kind::ElectReplica(c)) => self.elect_replica(c),
            None => Err(invalid("kind is missing: name a command")),
        };
        self.conclude(verdict)
    }

    fn conclude(&mut self, verdict: Verdict) -> Applied {
        let Done { change, outcome } = match verdict {
            Ok(done) => done,
            Err(rejection) => Done { change: None, outcome: Some(Outcome::Rejection(rejection)) },
        };
        if let Some(change) = &change {
            let next = self.catalog.version().saturating_add(1);
            match self.catalog.apply(next, change) {
                Ok(catalog) => self.catalog = catalog,
                // Only a version that does not follow is refused, and `next` does;
                // at u64::MAX versions the catalog would stand still.
                Err(error) => tracing::error!(%error, "the catalog takes no more changes"),
            }
        }
        Applied { result: v1::CommandResult { version: self.catalog.version(), outcome }, change }
    }

    pub(crate) fn last_number_mut(&mut self, signal: Signal) -> &mut u64 {
        &mut self.last_number[signal as usize]
    }

    /// Whether a partition of this name was here and is removed.
    pub(crate) fn is_removed(&self, name: PartitionName) -> bool {
        name.number <= self.last_number[name.signal as usize] && self.catalog.partition(&name.to_string()).is_none()
    }
}
