//! Commands about nodes: they register, change their state, and go.

use bonghwa_cluster::node_id;
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::NodeState;

use crate::reject::{Done, Verdict, conflict, invalid, no_node};
use crate::state::State;

impl State {
    pub(crate) fn register_node(&mut self, command: &v1::RegisterNode) -> Verdict {
        let mut node = command.node.clone().ok_or_else(|| invalid("node is missing: say which node to register"))?;
        if node.name.is_empty() {
            return Err(invalid("node.name is empty: give the node a name with --node-name"));
        }
        let v1::Node { name, address, .. } = &node;
        if !address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) {
            return Err(invalid(format!(
                "node.address is {address:?} for node {name}: it must be HOST:PORT, set it with --advertise"
            )));
        }
        let known = self.catalog.node_named(name).cloned();
        match &known {
            Some(known) if node.id != 0 && node.id != known.id => {
                return Err(conflict(format!(
                    "node.id is {}, but node {name} has the id {}: leave the id out, or use another --node-name",
                    node.id, known.id
                )));
            }
            Some(known) => node.id = known.id,
            None if node.id == 0 => node.id = node_id(name),
            None => {}
        }
        if let Some(other) = self.catalog.node(node.id).filter(|other| other.name != node.name) {
            return Err(conflict(format!(
                "node.id is {}, which node {} has: use another --node-name for node {}",
                node.id, other.name, node.name
            )));
        }
        if let Some(known) = &known {
            check_incarnation(known, &node, command.previous_incarnation)?;
        }
        // A start takes a node back in, unless it is being drained of what it keeps, or an operator
        // has it drained.
        let draining = known.as_ref().is_some_and(|k| k.state() == NodeState::Draining);
        node.drain = known.as_ref().is_some_and(|k| k.drain);
        let drains = node.drain || draining && self.keeps_replicas(node.id);
        node.set_state(if drains { NodeState::Draining } else { NodeState::Active });
        let changed = known.is_none_or(|known| *known != node);
        Ok(Done::node(node, changed))
    }

    pub(crate) fn set_node_state(&mut self, command: &v1::SetNodeState) -> Verdict {
        let state = command.state();
        if state == NodeState::Unspecified {
            return Err(invalid("state is missing: name the one that the node is to have"));
        }
        let found = self.catalog.node(command.node).ok_or_else(|| no_node(command.node))?;
        let mut node = (**found).clone();
        if node.state == command.state {
            return Ok(Done::node(node, false));
        }
        let from = command.from();
        if from != NodeState::Unspecified && found.effective_state() != from {
            return Err(conflict(format!(
                "node {} is {}, not {}: look again",
                node.name,
                node.effective_state().as_str_name(),
                from.as_str_name()
            )));
        }
        node.set_state(state);
        Ok(Done::node(node, true))
    }

    pub(crate) fn set_node_drain(&mut self, command: &v1::SetNodeDrain) -> Verdict {
        let found = self.catalog.node(command.node).ok_or_else(|| no_node(command.node))?;
        let mut node = (**found).clone();
        node.drain = command.drain;
        match (command.drain, node.state()) {
            (true, _) => node.set_state(NodeState::Draining),
            (false, NodeState::Draining) => node.set_state(NodeState::Active),
            // A silent one is taken back when it is heard again.
            (false, _) => {}
        }
        let changed = **found != node;
        Ok(Done::node(node, changed))
    }

    pub(crate) fn remove_node(&mut self, command: &v1::RemoveNode) -> Verdict {
        let Some(found) = self.catalog.node(command.node).cloned() else { return Ok(Done::default()) };
        if self.keeps_replicas(found.id) {
            return Err(conflict(format!(
                "node {} keeps replicas of partitions: drain it first with `bonghwa ring drain {}`",
                found.name, found.name
            )));
        }
        let change = v1::Change { removed_nodes: vec![found.id], ..Default::default() };
        Ok(Done { change: Some(change), outcome: None })
    }

    fn keeps_replicas(&self, node: u64) -> bool {
        self.catalog.all_partitions().any(|p| p.replicas.contains(&node))
    }
}

/// A disk that was copied, or brought back from a backup, holds an incarnation that its node has
/// left behind: its log lacks what was acked since.
fn check_incarnation(known: &v1::Node, node: &v1::Node, previous: u64) -> Result<(), v1::Rejection> {
    if known.incarnation == 0 || known.incarnation == previous || known.incarnation == node.incarnation {
        return Ok(());
    }
    let name = &node.name;
    Err(conflict(if previous == 0 {
        format!(
            "node {name} is known with another disk, and this data directory is new: if that disk is lost, wait \
             until the cluster has given the node up and replaced its partitions, or drain it with \
             `bonghwa ring drain {name}`; else use another --node-name"
        )
    } else {
        format!(
            "node {name} has started from another disk since this data directory was last used: it is a copy, or \
             an old one; use the newest, or an empty directory with another --node-name"
        )
    }))
}
