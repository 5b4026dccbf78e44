//! What each command does and what it is refused for.

use bonghwa_cluster::node_id;
use bonghwa_meta::State;
use bonghwa_model::TenantId;
use bonghwa_protocol::v1;
use v1::RejectionReason::{Conflict, Invalid, NotFound, StaleWatermark};
use v1::command::Kind;
use v1::command_result::Outcome;

use crate::fixtures::{
    accept, activate, apply, block, create, flush, founded, register, remove, restore, seal, set_limits,
};

const LOGS: &str = "logs-0001";

/// Each command is refused for this reason, in a sentence with these words, and
/// changes nothing.
pub fn refused(state: &State, cases: Vec<(Kind, v1::RejectionReason, &str)>) {
    for (kind, reason, words) in cases {
        let mut tried = state.clone();
        let applied = apply(&mut tried, kind.clone());
        let Some(Outcome::Rejection(rejection)) = applied.result.outcome else {
            panic!("{kind:?} was accepted");
        };
        assert_eq!(rejection.reason(), reason, "{}", rejection.message);
        assert!(rejection.message.contains(words), "{:?} in {:?}", words, rejection.message);
        assert!(rejection.message.contains(": "), "no remedy in {:?}", rejection.message);
        assert_eq!(applied.change, None);
        assert_eq!(tried.encode(), state.encode());
    }
}

/// The command is answered as done and makes no version.
pub fn unchanged(state: &mut State, kind: Kind) {
    let before = state.encode();
    let applied = apply(state, kind);
    assert!(!matches!(applied.result.outcome, Some(Outcome::Rejection(_))), "{applied:?}");
    assert_eq!((applied.change, state.encode()), (None, before));
}

fn partition(result: v1::CommandResult) -> v1::Partition {
    match result.outcome {
        Some(Outcome::Partition(partition)) => partition,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_keeps_its_id() {
    let mut state = State::default();
    accept(&mut state, register("a", 0));
    accept(&mut state, register("b", 7));
    let ids: Vec<u64> = ["a", "b"].iter().map(|name| state.catalog().node_named(name).unwrap().id).collect();
    assert_eq!(ids, [node_id("a"), 7]);
    unchanged(&mut state, register("a", 0));
    unchanged(&mut state, register("b", 0));
    unchanged(&mut state, register("b", 7));

    let moved = v1::Node { name: "b".into(), address: "10.0.0.9:1".into(), zone: "z".into(), ..Default::default() };
    let result =
        accept(&mut state, Kind::RegisterNode(v1::RegisterNode { node: Some(moved.clone()), previous_incarnation: 0 }));
    let active = v1::NodeState::Active.into();
    assert_eq!(result.outcome, Some(Outcome::Node(v1::Node { id: 7, state: active, ..moved })));
    assert_eq!(result.version, 3);

    let at = |address: &str| {
        let node = v1::Node { name: "c".into(), address: address.into(), ..Default::default() };
        Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation: 0 })
    };
    refused(
        &state,
        vec![
            (register("b", 8), Conflict, "node.id is 8, but node b has the id 7"),
            (register("c", 7), Conflict, "node.id is 7, which node b has"),
            (register("", 0), Invalid, "node.name is empty"),
            (at(""), Invalid, "node.address is \"\""),
            (at("host"), Invalid, "HOST:PORT"),
            (at(":7801"), Invalid, "HOST:PORT"),
            (at("host:http"), Invalid, "HOST:PORT"),
            (Kind::RegisterNode(v1::RegisterNode::default()), Invalid, "node is missing"),
        ],
    );
}

/// A disk that was copied holds an incarnation that its node has left behind.
#[test]
fn a_copied_disk_is_refused() {
    let start = |incarnation, previous_incarnation| {
        let node = v1::Node { name: "a".into(), address: "a:1".into(), incarnation, ..Default::default() };
        Kind::RegisterNode(v1::RegisterNode { node: Some(node), previous_incarnation })
    };
    let mut state = State::default();
    accept(&mut state, start(5, 0));
    unchanged(&mut state, start(5, 0));
    accept(&mut state, start(6, 5));
    refused(
        &state,
        vec![
            (start(7, 5), Conflict, "it is a copy, or an old one"),
            (start(7, 0), Conflict, "this data directory is new"),
        ],
    );
    accept(&mut state, start(7, 6));
}

#[test]
fn a_partition_lives_once() {
    let mut state = founded();
    let second = partition(accept(&mut state, create(v1::Signal::Logs, &[2])));
    assert_eq!((second.name.as_str(), second.watermark), ("logs-0002", 0));
    assert_eq!(second.state(), v1::PartitionState::Creating, "not on the ring before somebody leads it");
    accept(&mut state, activate("logs-0002"));
    unchanged(&mut state, activate("logs-0002"));

    refused(
        &state,
        vec![
            (create(v1::Signal::Unspecified, &[1]), Invalid, "signal has the number 0"),
            (create(v1::Signal::Logs, &[]), Invalid, "replicas is empty"),
            (create(v1::Signal::Logs, &[1, 2, 1]), Invalid, "replicas has 1 twice"),
            (create(v1::Signal::Logs, &[1, 3]), Invalid, "replicas has 3, which is no node"),
            (seal("logs-0003"), NotFound, "partition is \"logs-0003\""),
            (remove("logs-0003", 0), NotFound, "partition is \"logs-0003\""),
            (remove("nonsense", 0), NotFound, "partition is \"nonsense\""),
            (remove("logs-0002", 0), Conflict, "partition logs-0002 is on the ring"),
        ],
    );

    let sealed = partition(accept(&mut state, seal("logs-0002")));
    assert_eq!(sealed.state(), v1::PartitionState::Sealed);
    unchanged(&mut state, seal("logs-0002"));
    refused(
        &state,
        vec![
            (remove("logs-0002", 5), Conflict, "last_position is 5, but partition logs-0002 is flushed up to 0"),
            (activate("logs-0002"), Conflict, "never comes back to the ring"),
        ],
    );
    accept(&mut state, flush("logs-0002", 0, 5, vec![]));
    accept(&mut state, remove("logs-0002", 5));
    assert!(state.catalog().partition("logs-0002").is_none());
    unchanged(&mut state, remove("logs-0002", 5));

    let third = partition(accept(&mut state, create(v1::Signal::Logs, &[1])));
    assert_eq!(third.name, "logs-0003", "a name is given once");
}

#[test]
fn a_flush_follows_the_watermark() {
    let mut state = founded();
    let first = flush(LOGS, 0, 10, vec![block("b1", LOGS, 0, 10)]);
    let done = partition(accept(&mut state, first.clone()));
    assert_eq!((done.watermark, state.catalog().block_count()), (10, 1));
    unchanged(&mut state, first.clone());
    accept(&mut state, flush(LOGS, 10, 12, vec![]));
    unchanged(&mut state, flush(LOGS, 10, 12, vec![]));
    accept(&mut state, flush(LOGS, 12, 40, vec![block("b2", LOGS, 12, 20), block("b3", LOGS, 25, 40)]));
    assert_eq!(state.catalog().block_count(), 3);

    // However late: whoever is refused deletes the object, and this one is in the catalog.
    unchanged(&mut state, first);
    let other = flush(LOGS, 0, 10, vec![block("b0", LOGS, 0, 10)]);
    refused(
        &state,
        vec![
            (other, StaleWatermark, "from is 0, but partition logs-0001 is flushed up to 40"),
            (flush(LOGS, 12, 40, vec![block("b4", LOGS, 12, 40)]), StaleWatermark, "from is 12"),
            (flush(LOGS, 12, 40, vec![]), StaleWatermark, "from is 12"),
            (flush(LOGS, 50, 60, vec![]), StaleWatermark, "from is 50"),
        ],
    );
    let stale = apply(&mut state, flush(LOGS, 0, 99, vec![]));
    assert!(matches!(stale.result.outcome, Some(Outcome::Rejection(r)) if r.watermark == 40));
}

#[test]
fn a_sealed_partition_can_be_flushed() {
    let mut state = founded();
    accept(&mut state, seal(LOGS));
    let done = partition(accept(&mut state, flush(LOGS, 0, 3, vec![block("b1", LOGS, 0, 3)])));
    assert_eq!((done.watermark, done.state()), (3, v1::PartitionState::Sealed));
    accept(&mut state, remove(LOGS, 3));
    unchanged(&mut state, flush(LOGS, 0, 3, vec![block("b1", LOGS, 0, 3)]));
}

#[test]
fn a_flush_takes_no_wrong_blocks() {
    let mut state = founded();
    accept(&mut state, flush(LOGS, 0, 10, vec![block("b1", LOGS, 0, 10)]));
    let one = |block| flush(LOGS, 10, 20, vec![block]);
    let good = || block("b2", LOGS, 10, 20);
    let tenants = |tenants: &[(&str, i64, i64)]| {
        let rows = |(tenant, min_time, max_time): &(&str, i64, i64)| v1::TenantRows {
            tenant: (*tenant).into(),
            min_time: *min_time,
            max_time: *max_time,
            ..Default::default()
        };
        one(v1::Block { tenants: tenants.iter().map(rows).collect(), ..good() })
    };
    refused(
        &state,
        vec![
            (flush("logs-0009", 0, 1, vec![]), NotFound, "partition is \"logs-0009\""),
            (flush(LOGS, 10, 10, vec![]), Invalid, "to is 10 and from is 10"),
            (flush(LOGS, 10, 5, vec![]), Invalid, "to is 5 and from is 10"),
            (one(block("", LOGS, 10, 20)), Invalid, "has no path"),
            (one(block("b1", LOGS, 10, 20)), Conflict, "block b1 is in the catalog already"),
            (one(block("b2", "logs-0002", 10, 20)), Invalid, "has the partition \"logs-0002\" in a flush of logs-0001"),
            (one(v1::Block { signal: v1::Signal::Traces.into(), ..good() }), Invalid, "block b2 has the signal Traces"),
            (one(v1::Block { level: 1, ..good() }), Invalid, "block b2 has the level 1"),
            (one(block("b2", LOGS, 9, 20)), Invalid, "positions (9, 20], which do not lie in (10, 20]"),
            (one(block("b2", LOGS, 10, 21)), Invalid, "positions (10, 21]"),
            (one(block("b2", LOGS, 15, 15)), Invalid, "positions (15, 15]"),
            (
                flush(LOGS, 10, 20, vec![block("b2", LOGS, 10, 15), block("b3", LOGS, 14, 20)]),
                Invalid,
                "block b3 has the positions (14, 20], which do not lie in (15, 20]",
            ),
            (
                flush(LOGS, 10, 20, vec![block("b2", LOGS, 10, 15), block("b2", LOGS, 15, 20)]),
                Invalid,
                "blocks has the path \"b2\" twice",
            ),
            (tenants(&[("a/b", 0, 1)]), Invalid, "block b2 has the tenant \"a/b\""),
            (tenants(&[("a", 0, 1), ("a", 0, 1)]), Invalid, "lists the tenant a twice"),
            (tenants(&[("a", 2, 1)]), Invalid, "min_time 2 after max_time 1 for tenant a"),
        ],
    );
}

#[test]
fn a_restore_goes_into_an_empty_catalog() {
    let sealed = |name: &str, signal: v1::Signal| v1::Partition {
        name: name.into(),
        signal: signal.into(),
        state: v1::PartitionState::Sealed.into(),
        watermark: 10,
        ..Default::default()
    };
    let logs = || sealed("logs-0007", v1::Signal::Logs);
    let mut state = founded();
    refused(
        &state,
        vec![
            (restore(vec![sealed(LOGS, v1::Signal::Logs)], vec![]), Conflict, "partition logs-0001 exists already"),
            (restore(vec![logs(), logs()], vec![]), Invalid, "logs-0007 twice"),
            (
                restore(vec![sealed("logs-7", v1::Signal::Logs)], vec![]),
                Invalid,
                "\"logs-7\" is not a partition's name",
            ),
            (restore(vec![sealed("logs-0007", v1::Signal::Traces)], vec![]), Invalid, "its name asks for logs"),
            (
                restore(vec![], vec![block("b1", LOGS, 0, 1), block("b1", LOGS, 1, 2)]),
                Invalid,
                "blocks has the path \"b1\" twice or empty",
            ),
        ],
    );
    accept(&mut state, restore(vec![logs()], vec![block("b1", "logs-0007", 0, 10)]));
    assert_eq!(state.catalog().block_count(), 1);
    assert_eq!(partition(accept(&mut state, create(v1::Signal::Logs, &[1]))).name, "logs-0008");
    accept(&mut state, flush("logs-0007", 10, 20, vec![block("b2", "logs-0007", 10, 20)]));
    refused(&state, vec![(restore(vec![], vec![]), Conflict, "the catalog has 2 blocks")]);
}

#[test]
fn a_missing_command_is_refused() {
    let mut state = founded();
    let applied = state.apply(&v1::Command { kind: None });
    assert!(matches!(applied.result.outcome, Some(Outcome::Rejection(r)) if r.reason() == Invalid));
}

#[test]
fn a_tenants_rates_are_set_changed_and_ended() {
    let mut state = founded();
    let rate = |state: &State| state.catalog().tenant_limits(&TenantId::new("shop").unwrap()).map(|r| r.logs_rate);
    unchanged(&mut state, set_limits("shop", None));
    accept(&mut state, set_limits("shop", Some(10.0)));
    assert_eq!(rate(&state), Some(10.0));
    unchanged(&mut state, set_limits("shop", Some(10.0)));
    accept(&mut state, set_limits("shop", Some(0.0)));
    assert_eq!(rate(&state), Some(0.0), "no limit is not the same as no rates of its own");
    let change = accept(&mut state, set_limits("shop", None));
    assert_eq!((rate(&state), change.outcome), (None, None));
    let missing = Kind::SetTenantLimits(v1::SetTenantLimits::default());
    refused(
        &state,
        vec![
            (missing, Invalid, "limits are missing"),
            (set_limits("", Some(1.0)), Invalid, "limits.tenant is \"\""),
            (set_limits("a|b", Some(1.0)), Invalid, "limits.tenant is \"a|b\""),
            (set_limits("shop", Some(-1.0)), Invalid, "logs_rate is -1 for tenant shop"),
            (set_limits("shop", Some(f64::NAN)), Invalid, "logs_rate is NaN"),
            (set_limits("shop", Some(f64::INFINITY)), Invalid, "logs_rate is inf"),
        ],
    );
}

#[test]
fn a_replica_stays_elected_until_it_is_silent() {
    let mut state = founded();
    let elect = |tenant: &str, cluster: &str, replica: &str, now: i64| {
        let (tenant, cluster, replica) = (tenant.into(), cluster.into(), replica.into());
        Kind::ElectReplica(v1::ElectReplica { tenant, cluster, replica, now, failover_after: 30 })
    };
    let elected = |state: &State| {
        let elected = state.catalog().elected_replica(&TenantId::new("shop").unwrap(), "eu");
        elected.map(|e| (e.replica.clone(), e.seen_at, e.elected_at))
    };
    let is = |replica: &str, seen_at, elected_at| Some((replica.to_owned(), seen_at, elected_at));
    accept(&mut state, elect("shop", "eu", "a", 100));
    assert_eq!(elected(&state), is("a", 100, 100));
    unchanged(&mut state, elect("shop", "eu", "a", 100));
    unchanged(&mut state, elect("shop", "eu", "b", 129));
    accept(&mut state, elect("shop", "eu", "a", 120));
    unchanged(&mut state, elect("shop", "eu", "b", 149));
    assert_eq!(elected(&state), is("a", 120, 100));
    accept(&mut state, elect("shop", "eu", "b", 150));
    assert_eq!(elected(&state), is("b", 150, 150));
    unchanged(&mut state, elect("shop", "eu", "a", 160));
    // Another cluster, and another tenant's of the same name, have their own.
    accept(&mut state, elect("shop", "us", "a", 160));
    accept(&mut state, elect("bank", "eu", "a", 160));
    assert_eq!(elected(&state), is("b", 150, 150));
    refused(
        &state,
        vec![
            (elect("a|b", "eu", "a", 1), Invalid, "tenant is \"a|b\""),
            (elect("shop", "", "a", 1), Invalid, "cluster has 0 bytes"),
            (elect("shop", "eu", &"x".repeat(2000), 1), Invalid, "replica has 2000 bytes"),
        ],
    );
    for n in 2..100 {
        accept(&mut state, elect("shop", &format!("c{n}"), "a", 200));
    }
    refused(&state, vec![(elect("shop", "more", "a", 300), Invalid, "has 100 clusters of replicas already")]);
    // One of which nothing was seen for an hour makes room.
    accept(&mut state, elect("shop", "more", "a", 3_600_000_000_200));
    assert_eq!(elected(&state), None, "the one that was seen the longest ago");
}
