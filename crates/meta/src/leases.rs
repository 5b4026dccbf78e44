//! Leases: work that one node does at a time, such as a compaction.

use bonghwa_protocol::v1;
use bonghwa_protocol::v1::NodeState;

use crate::reject::{Done, Verdict, conflict, invalid, not_found};
use crate::state::State;

impl State {
    pub(crate) fn acquire_lease(&mut self, command: &v1::AcquireLease) -> Verdict {
        let v1::AcquireLease { name, holder } = command;
        if name.is_empty() {
            return Err(invalid("name is empty: say which lease to take"));
        }
        if !self.is_active(*holder) {
            return Err(not_found(format!(
                "holder is {holder}, which is no active node: register the node, and wait until it is active again"
            )));
        }
        match self.leases.get(name).filter(|current| *current != holder && self.is_active(**current)) {
            Some(current) => Err(conflict(format!("lease {name} is held by node {current}: come back later"))),
            None => {
                self.leases.insert(name.clone(), *holder);
                Ok(Done::default())
            }
        }
    }

    pub(crate) fn release_lease(&mut self, command: &v1::ReleaseLease) -> Verdict {
        if self.leases.get(&command.name) == Some(&command.holder) {
            self.leases.remove(&command.name);
        }
        Ok(Done::default())
    }

    /// Whether a node may hold leases. A node that was registered before there were
    /// states has none, and is active.
    fn is_active(&self, node: u64) -> bool {
        let state = self.catalog.node(node).map(|node| node.state());
        matches!(state, Some(NodeState::Active | NodeState::Unspecified))
    }
}
