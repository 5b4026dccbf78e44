//! A drain is remembered until an operator takes the node back, or it is gone.

use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_meta::{Meta, State};
use bonghwa_protocol::{MetaClient, v1};
use bonghwa_replog::LocalNetwork;
use v1::NodeState::{Active, Draining, Lost, Unreachable};
use v1::RejectionReason::NotFound;
use v1::command_result::Outcome;

use crate::commands::{refused, unchanged};
use crate::fixtures::{accept, command, founded, register, remove_node, set_drain, set_state};
use crate::node::{LONG, start, stop};

/// A node that keeps nothing.
const IDLE: u64 = 9;

fn with_idle_node() -> State {
    let mut state = founded();
    accept(&mut state, register("idle", IDLE));
    state
}

fn state_of(state: &State, node: u64) -> v1::NodeState {
    state.catalog().node(node).unwrap().state()
}

#[test]
fn a_start_does_not_end_an_operators_drain() {
    let mut state = with_idle_node();
    accept(&mut state, set_drain(IDLE, true));
    assert_eq!(state_of(&state, IDLE), Draining);
    unchanged(&mut state, set_drain(IDLE, true));
    unchanged(&mut state, register("idle", 0));
    assert_eq!(state_of(&state, IDLE), Draining, "it keeps nothing, and is drained still");

    // Also after meta has been read back from its disk.
    let mut state = State::decode(state.encode()).unwrap();
    unchanged(&mut state, register("idle", IDLE));

    accept(&mut state, set_drain(IDLE, false));
    assert_eq!(state_of(&state, IDLE), Active);
    unchanged(&mut state, set_drain(IDLE, false));
    unchanged(&mut state, register("idle", 0));
    refused(&state, vec![(set_drain(77, true), NotFound, "node is 77")]);
}

#[test]
fn a_node_that_was_given_up_is_drained_still() {
    let mut state = with_idle_node();
    accept(&mut state, set_drain(IDLE, true));
    accept(&mut state, set_state(IDLE, Lost));
    accept(&mut state, register("idle", 0));
    assert_eq!(state_of(&state, IDLE), Draining);

    // Taken back while nobody hears it: that is for its next word to end.
    accept(&mut state, set_state(IDLE, Lost));
    accept(&mut state, set_drain(IDLE, false));
    assert_eq!(state_of(&state, IDLE), Lost);
    accept(&mut state, register("idle", 0));
    assert_eq!(state_of(&state, IDLE), Active);

    // A silent node can be drained too.
    accept(&mut state, set_state(IDLE, Unreachable));
    accept(&mut state, set_drain(IDLE, true));
    assert_eq!(state_of(&state, IDLE), Draining);
}

#[test]
fn a_node_that_is_gone_comes_back_as_a_new_one() {
    let mut state = with_idle_node();
    accept(&mut state, set_drain(IDLE, true));
    accept(&mut state, remove_node(IDLE));
    accept(&mut state, register("idle", 0));
    assert_eq!(state.catalog().node_named("idle").unwrap().state(), Active);
}

/// A node that leaves with its process may come back with the next one.
#[test]
fn a_drain_of_a_process_ends_with_it() {
    let mut state = with_idle_node();
    accept(&mut state, set_state(IDLE, Draining));
    accept(&mut state, register("idle", 0));
    assert_eq!(state_of(&state, IDLE), Active);
    // Not while it keeps replicas.
    accept(&mut state, set_state(1, Draining));
    accept(&mut state, register("n1", 0));
    assert_eq!(state_of(&state, 1), Draining);
}

/// The leader gives a silent node up, and hears it again.
#[tokio::test(flavor = "multi_thread")]
async fn silence_does_not_end_a_drain() {
    let folder = tempfile::tempdir().unwrap();
    let silence = Duration::from_millis(300);
    let node = start(folder.path(), 1, 1, &LocalNetwork::new(), |options| {
        (options.control.unreachable_after, options.control.lost_after) = (silence, 2 * silence);
    })
    .await;
    let run = async |kind| {
        let result = node.meta.execute(command(kind)).await.unwrap();
        assert!(!matches!(result.outcome, Some(Outcome::Rejection(_))), "{result:?}");
    };
    run(register("idle", IDLE)).await;
    run(set_drain(IDLE, true)).await;
    wait_for_state(&node.meta, IDLE, Lost, false).await;
    wait_for_state(&node.meta, IDLE, Draining, true).await;
    run(set_drain(IDLE, false)).await;
    wait_for_state(&node.meta, IDLE, Active, true).await;
    stop(node).await;
}

/// Waits until the leader finds the node in a state, saying that it lives or keeping silent.
async fn wait_for_state(meta: &Meta, node: u64, state: v1::NodeState, lives: bool) {
    let found = seam::timeout(LONG, async {
        while meta.catalog().node(node).unwrap().state() != state {
            if lives {
                assert!(meta.heartbeat(node, 0).await.unwrap().known);
            }
            tokio::task::yield_now().await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("node {node} is not {state:?}: {:?}", meta.catalog().node(node)));
}
