//! Commands about nodes.

use bonghwa_cluster::node_id;
use bonghwa_protocol::v1;

use crate::reject::{Done, Verdict, conflict, invalid};
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
        let changed = known.is_none_or(|known| *known != node);
        Ok(Done::node(node, changed))
    }
}
