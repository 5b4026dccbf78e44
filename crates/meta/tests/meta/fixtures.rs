//! Commands, short.

use bonghwa_meta::{Applied, State};
use bonghwa_protocol::v1;
use v1::command::Kind;
use v1::command_result::Outcome;

pub fn register(name: &str, id: u64) -> Kind {
    let node = v1::Node { id, name: name.into(), address: format!("{name}:7801"), ..Default::default() };
    Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation: 0 })
}

pub fn create(signal: v1::Signal, replicas: &[u64]) -> Kind {
    Kind::CreatePartition(v1::CreatePartition { signal: signal.into(), replicas: replicas.to_vec() })
}

pub fn activate(partition: &str) -> Kind {
    Kind::ActivatePartition(v1::ActivatePartition { partition: partition.into() })
}

pub fn seal(partition: &str) -> Kind {
    Kind::SealPartition(v1::SealPartition { partition: partition.into() })
}

pub fn remove(partition: &str, last_position: u64) -> Kind {
    Kind::RemovePartition(v1::RemovePartition { partition: partition.into(), last_position })
}

pub fn flush(partition: &str, from: u64, to: u64, blocks: Vec<v1::Block>) -> Kind {
    Kind::CommitFlush(v1::CommitFlush { partition: partition.into(), from, to, blocks })
}

pub fn restore(partitions: Vec<v1::Partition>, blocks: Vec<v1::Block>) -> Kind {
    Kind::RestoreCatalog(v1::RestoreCatalog { partitions, blocks })
}

pub fn set_state(node: u64, state: v1::NodeState) -> Kind {
    Kind::SetNodeState(v1::SetNodeState { node, state: state.into(), from: 0 })
}

pub fn remove_node(node: u64) -> Kind {
    Kind::RemoveNode(v1::RemoveNode { node })
}

pub fn set_drain(node: u64, drain: bool) -> Kind {
    Kind::SetNodeDrain(v1::SetNodeDrain { node, drain })
}

/// So many bytes of logs per second, or the configurations' rates again.
pub fn set_limits(tenant: &str, logs_rate: Option<f64>) -> Kind {
    let rates = logs_rate.map(|logs_rate| v1::TenantRates { logs_rate, ..Default::default() });
    Kind::SetTenantLimits(v1::SetTenantLimits { limits: Some(v1::TenantLimits { tenant: tenant.into(), rates }) })
}

/// A level-0 block of the partition with one record per position, of tenant "a".
pub fn block(path: &str, partition: &str, from: u64, to: u64) -> v1::Block {
    let signal = match partition.split('-').next() {
        Some("logs") => v1::Signal::Logs,
        Some("metrics") => v1::Signal::Metrics,
        _ => v1::Signal::Traces,
    };
    let items = to.saturating_sub(from);
    let rows =
        v1::TenantRows { tenant: "a".into(), items, min_time: from as i64, max_time: to as i64, ..Default::default() };
    v1::Block {
        version: 1,
        path: path.into(),
        signal: signal.into(),
        partition: partition.into(),
        from,
        to,
        tenants: vec![rows],
        ..Default::default()
    }
}

pub fn command(kind: Kind) -> v1::Command {
    v1::Command { kind: Some(kind) }
}

pub fn apply(state: &mut State, kind: Kind) -> Applied {
    state.apply(&command(kind))
}

/// Applies what must be accepted.
pub fn accept(state: &mut State, kind: Kind) -> v1::CommandResult {
    let applied = apply(state, kind);
    if let Some(Outcome::Rejection(rejection)) = &applied.result.outcome {
        panic!("{}", rejection.message);
    }
    applied.result
}

/// Two nodes with the ids 1 and 2, and one active partition of logs and of traces.
pub fn founded() -> State {
    let mut state = State::default();
    accept(&mut state, register("n1", 1));
    accept(&mut state, register("n2", 2));
    accept(&mut state, create(v1::Signal::Logs, &[1, 2]));
    accept(&mut state, create(v1::Signal::Traces, &[2]));
    state
}
