//! Commands about the life of a partition: born, sealed, removed; it never moves.

use bonghwa_protocol::v1;
use bonghwa_protocol::v1::PartitionState;

use crate::names::PartitionName;
use crate::reject::{Done, Verdict, conflict, invalid, no_partition};
use crate::state::State;

impl State {
    pub(crate) fn create_partition(&mut self, command: &v1::CreatePartition) -> Verdict {
        let signal = command.model_signal().map_err(|e| invalid(e.to_string()))?;
        let replicas = &command.replicas;
        if replicas.is_empty() {
            return Err(invalid("replicas is empty: name at least one node id"));
        }
        for (at, id) in replicas.iter().enumerate() {
            if replicas[..at].contains(id) {
                return Err(invalid(format!("replicas has {id} twice: a node keeps one replica, name distinct nodes")));
            }
            if self.catalog.node(*id).is_none() {
                return Err(invalid(format!("replicas has {id}, which is no node: register the node first")));
            }
        }
        let number = self.last_number_mut(signal);
        *number += 1;
        let name = PartitionName { signal, number: *number };
        let partition = v1::Partition {
            name: name.to_string(),
            signal: v1::Signal::from(signal).into(),
            state: PartitionState::Creating.into(),
            replicas: replicas.clone(),
            watermark: 0,
        };
        Ok(Done::partition(partition.clone(), Some(changed(partition))))
    }

    pub(crate) fn activate_partition(&mut self, command: &v1::ActivatePartition) -> Verdict {
        let found = self.catalog.partition(&command.partition).ok_or_else(|| no_partition(&command.partition))?;
        let mut partition = (**found).clone();
        match partition.state() {
            PartitionState::Creating => {
                partition.set_state(PartitionState::Active);
                Ok(Done::partition(partition.clone(), Some(changed(partition))))
            }
            PartitionState::Active => Ok(Done::partition(partition, None)),
            PartitionState::Sealed | PartitionState::Unspecified => Err(conflict(format!(
                "partition {} is sealed and never comes back to the ring: write to another",
                partition.name
            ))),
        }
    }

    pub(crate) fn seal_partition(&mut self, command: &v1::SealPartition) -> Verdict {
        let found = self.catalog.partition(&command.partition).ok_or_else(|| no_partition(&command.partition))?;
        let mut partition = (**found).clone();
        if partition.state() == PartitionState::Sealed {
            return Ok(Done::partition(partition, None));
        }
        partition.set_state(PartitionState::Sealed);
        Ok(Done::partition(partition.clone(), Some(changed(partition))))
    }

    pub(crate) fn remove_partition(&mut self, command: &v1::RemovePartition) -> Verdict {
        let name = &command.partition;
        let Some(found) = self.catalog.partition(name) else {
            // A retry after a lost answer.
            if name.parse().is_ok_and(|name| self.is_removed(name)) {
                return Ok(Done::default());
            }
            return Err(no_partition(name));
        };
        let partition = (**found).clone();
        if partition.state() != PartitionState::Sealed {
            return Err(conflict(format!("partition {name} is on the ring: seal it, flush it, then remove it")));
        }
        let (last, watermark) = (command.last_position, partition.watermark);
        if last != watermark {
            return Err(conflict(format!(
                "last_position is {last}, but partition {name} is flushed up to {watermark}: flush all of it first"
            )));
        }
        self.last_flush.remove(name);
        let change = v1::Change { removed_partitions: vec![name.clone()], ..Default::default() };
        Ok(Done::partition(partition, Some(change)))
    }
}

fn changed(partition: v1::Partition) -> v1::Change {
    v1::Change { partitions: vec![partition], ..Default::default() }
}
