#![allow(clippy::unwrap_used)]
use super::*;
use crate::State;

const RF3: PlacementOptions = PlacementOptions { replication_factor: 3, partitions_per_signal: 1 };

fn execute(state: &mut State, kind: Kind) {
    let applied = state.apply(&v1::Command { kind: Some(kind) });
    if let Some(v1::command_result::Outcome::Rejection(rejection)) = applied.result.outcome {
        panic!("{}", rejection.message);
    }
}

fn join(state: &mut State, id: u64, zone: &str) {
    let node = v1::Node {
        id,
        name: format!("n{id}"),
        address: format!("n{id}:7801"),
        zone: zone.into(),
        roles: vec!["ingester".into()],
        ..Default::default()
    };
    execute(state, Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation: 0 }));
}

fn set(state: &mut State, node: u64, to: NodeState) {
    execute(state, Kind::SetNodeState(v1::SetNodeState { node, state: to.into(), from: 0 }));
}

/// Carries plans out, with partitions that activate at once and sealed ones that are flushed at
/// once, until there is nothing to do. No ring may be empty once it was not.
fn settle(state: &mut State, options: PlacementOptions) {
    for _ in 0..100 {
        let served: Vec<bool> = Signal::ALL.iter().map(|s| !state.catalog().ring(*s).is_empty()).collect();
        let commands = plan(state.catalog(), options);
        let done = commands.is_empty();
        for command in commands {
            execute(state, command);
            for (signal, served) in Signal::ALL.iter().zip(&served) {
                assert!(!served || !state.catalog().ring(*signal).is_empty(), "the ring of {signal} is empty");
            }
        }
        let partitions: Vec<v1::Partition> = state.catalog().all_partitions().map(|p| (**p).clone()).collect();
        for partition in partitions {
            let name = partition.name.clone();
            match partition.state() {
                PartitionState::Creating => {
                    execute(state, Kind::ActivatePartition(v1::ActivatePartition { partition: name }));
                }
                PartitionState::Sealed => {
                    let remove = v1::RemovePartition { partition: name, last_position: partition.watermark };
                    execute(state, Kind::RemovePartition(remove));
                }
                _ => {}
            }
        }
        if done {
            return;
        }
    }
    panic!("it does not settle");
}

fn cluster(nodes: &[(u64, &str)], options: PlacementOptions) -> State {
    let mut state = State::default();
    for (id, zone) in nodes {
        join(&mut state, *id, zone);
    }
    settle(&mut state, options);
    state
}

/// Home -> zones of the replicas, for the logs.
fn homes(state: &State) -> BTreeMap<u64, Vec<String>> {
    let zones = |p: &v1::Partition| {
        let mut zones: Vec<String> =
            p.replicas.iter().map(|id| state.catalog().node(*id).unwrap().zone.clone()).collect();
        zones.sort();
        zones
    };
    state.catalog().partitions(Signal::Logs).map(|p| (p.replicas[0], zones(p))).collect()
}

#[test]
fn replicas_go_to_distinct_zones() {
    let state = cluster(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c"), (6, "c")], RF3);
    let homes = homes(&state);
    assert_eq!(homes.len(), 6);
    assert!(homes.values().all(|zones| zones == &["a", "b", "c"]), "{homes:?}");
    let mut load: BTreeMap<u64, usize> = BTreeMap::new();
    for id in state.catalog().all_partitions().flat_map(|p| &p.replicas) {
        *load.entry(*id).or_default() += 1;
    }
    assert!(load.values().all(|n| *n == 9), "evenly: {load:?}");
}

#[test]
fn fewer_nodes_than_replicas_wait_for_more() {
    let mut state = cluster(&[(1, "a"), (2, "b")], RF3);
    assert_eq!(state.catalog().all_partitions().count(), 0);
    join(&mut state, 3, "b");
    settle(&mut state, RF3);
    assert_eq!(homes(&state).len(), 3, "two in one zone are better than none");
}

#[test]
fn one_node_is_enough_for_one_replica() {
    let state = cluster(&[(1, "")], PlacementOptions { replication_factor: 1, partitions_per_signal: 2 });
    assert_eq!(state.catalog().all_partitions().count(), 6);
}

#[test]
fn a_new_node_gets_partitions_and_nothing_else_changes() {
    let mut state = cluster(&[(1, "a"), (2, "b"), (3, "c")], RF3);
    let before: Vec<String> = state.catalog().all_partitions().map(|p| p.name.clone()).collect();
    join(&mut state, 4, "a");
    settle(&mut state, RF3);
    assert!(before.iter().all(|name| state.catalog().partition(name).is_some()));
    assert_eq!(state.catalog().all_partitions().count(), before.len() + 3);
}

#[test]
fn a_drained_node_keeps_nothing() {
    let mut state = cluster(&[(1, "a"), (2, "b"), (3, "c"), (4, "a")], RF3);
    set(&mut state, 1, NodeState::Draining);
    settle(&mut state, RF3);
    assert!(state.catalog().all_partitions().all(|p| !p.replicas.contains(&1)));
    assert_eq!(homes(&state).keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    assert!(state.catalog().node(1).is_some(), "it is there until its process ends");
}

#[test]
fn without_a_replacement_nothing_is_sealed() {
    let mut state = cluster(&[(1, "a"), (2, "b"), (3, "c")], RF3);
    set(&mut state, 1, NodeState::Draining);
    settle(&mut state, RF3);
    assert_eq!(state.catalog().all_partitions().count(), 9, "two nodes cannot keep three replicas");
}

#[test]
fn a_lost_node_is_replaced_and_forgotten() {
    let mut state = cluster(&[(1, "a"), (2, "b"), (3, "c"), (4, "a")], RF3);
    set(&mut state, 4, NodeState::Unreachable);
    assert!(plan(state.catalog(), RF3).is_empty(), "a silent node keeps what it has");
    set(&mut state, 4, NodeState::Lost);
    settle(&mut state, RF3);
    assert!(state.catalog().node(4).is_none());
    assert_eq!(homes(&state).keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}
