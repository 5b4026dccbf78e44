//! Versions of the catalog.

use bonghwa_cluster::{Catalog, ClusterError, Follower, node_id};
use bonghwa_model::Signal;
use bonghwa_protocol::v1;
use proptest::prelude::*;

use crate::fixtures::{active, block, change, node, partition, snapshot, tenant};

fn with_blocks(blocks: Vec<v1::Block>) -> v1::Change {
    v1::Change { blocks, ..Default::default() }
}

fn ring(catalog: &Catalog, signal: Signal) -> Vec<String> {
    catalog.ring(signal).partitions().map(|p| p.to_string()).collect()
}

#[test]
fn changes_make_versions_and_leave_the_old_alone() {
    let empty = Catalog::default();
    let first = empty
        .apply(
            1,
            &v1::Change {
                nodes: vec![node(1), node(2)],
                partitions: vec![active("logs-0001", &[1]), active("logs-0002", &[2]), active("traces-0001", &[1])],
                ..Default::default()
            },
        )
        .unwrap();
    let sealed = partition("logs-0002", v1::PartitionState::Sealed, &[2]);
    let second = first.apply(2, &v1::Change { partitions: vec![sealed], ..Default::default() }).unwrap();
    let third =
        second.apply(3, &v1::Change { removed_partitions: vec!["logs-0002".into()], ..Default::default() }).unwrap();

    assert_eq!((empty.version(), first.version(), third.version()), (0, 1, 3));
    assert_eq!(ring(&empty, Signal::Logs), Vec::<String>::new());
    assert_eq!(ring(&first, Signal::Logs), ["logs-0001", "logs-0002"]);
    assert_eq!(ring(&second, Signal::Logs), ["logs-0001"]);
    assert_eq!(ring(&third, Signal::Traces), ["traces-0001"]);
    assert_eq!(second.partitions(Signal::Logs).count(), 2, "a sealed partition still has a tail");
    assert_eq!(third.partitions(Signal::Logs).count(), 1);
    assert_eq!(third.node_named("n2").unwrap().id, 2);
    assert_eq!(first.apply(3, &v1::Change::default()).unwrap_err(), ClusterError::Gap { have: 1, got: 3 });
    assert_eq!(first.apply(1, &v1::Change::default()).unwrap_err(), ClusterError::Gap { have: 1, got: 1 });
}

#[test]
fn blocks_are_found_by_tenant_time_and_service() {
    let catalog = Catalog::default()
        .apply(
            1,
            &with_blocks(vec![
                block("b1", &[("a", 0, 9), ("b", 5, 6)]),
                block("b2", &[("a", 10, 19)]),
                block("b3", &[("a", -100, 1000)]),
                block("b4", &[("b", 10, 19)]),
            ]),
        )
        .unwrap();
    let find = |name: &str, time: std::ops::RangeInclusive<i64>, services: &[&str]| {
        let (found, total) = catalog.blocks_for(Signal::Logs, &tenant(name), time, services);
        let paths: Vec<&str> = found.iter().map(|b| b.block().path.as_str()).collect();
        assert!(found.iter().all(|b| b.rows().tenant == name));
        (paths.join(" "), total)
    };
    for (name, time, services, expected) in [
        ("a", 0..=9, &[][..], ("b3 b1", 3)),
        ("a", 9..=10, &[], ("b3 b1 b2", 3)),
        ("a", 20..=50, &[], ("b3", 3)),
        ("a", 2000..=3000, &[], ("", 3)),
        ("a", 9..=10, &["a-web"], ("b3 b1 b2", 3)),
        ("a", 9..=10, &["b-web"], ("", 3)),
        ("b", 0..=100, &[], ("b1 b4", 2)),
        ("c", 0..=100, &[], ("", 0)),
    ] {
        let (paths, total) = find(name, time.clone(), services);
        assert_eq!((paths.as_str(), total), expected, "{name} {time:?} {services:?}");
    }
    assert_eq!(catalog.blocks_for::<&str>(Signal::Traces, &tenant("a"), 0..=9, &[]).1, 0);
    let tenants: Vec<&str> = catalog.tenants(Signal::Logs).map(|t| t.as_str()).collect();
    assert_eq!(tenants, ["a", "b"]);
}

#[test]
fn removed_and_replaced_blocks_leave_the_index() {
    let first = Catalog::default().apply(1, &with_blocks(vec![block("b1", &[("a", 0, 9)])])).unwrap();
    let moved = first.apply(2, &with_blocks(vec![block("b1", &[("b", 100, 109)])])).unwrap();
    let gone = moved.apply(3, &v1::Change { removed_blocks: vec!["b1".into()], ..Default::default() }).unwrap();
    let count = |catalog: &Catalog, name: &str| catalog.blocks_for::<&str>(Signal::Logs, &tenant(name), 0..=999, &[]);
    assert_eq!(count(&first, "a").0.len(), 1);
    assert_eq!((count(&moved, "a").1, count(&moved, "b").1), (0, 1));
    assert_eq!((count(&gone, "b").1, gone.block_count()), (0, 0));
    assert_eq!(gone.tenants(Signal::Logs).count(), 0);
}

#[test]
fn an_unknown_signal_is_kept_and_not_listed() {
    let mut foreign = block("b1", &[("a", 0, 9)]);
    foreign.signal = 9;
    let catalog = Catalog::default().apply(1, &with_blocks(vec![foreign])).unwrap();
    assert_eq!(catalog.block_count(), 1);
    assert!(Signal::ALL.iter().all(|s| catalog.tenants(*s).count() == 0));
}

#[test]
fn a_follower_wants_no_gap_and_whole_snapshots() {
    let piece = |version, continues| snapshot(v1::Snapshot { version, continues, ..Default::default() });
    let mut follower = Follower::default();
    assert_eq!(follower.take(&piece(5, false)).unwrap().unwrap().version(), 5);
    assert_eq!(follower.take(&change(6, v1::Change::default())).unwrap().unwrap().version(), 6);
    assert_eq!(follower.take(&change(8, v1::Change::default())).unwrap_err(), ClusterError::Gap { have: 6, got: 8 });
    assert!(follower.take(&piece(3, true)).unwrap().is_none());
    assert_eq!(follower.current().version(), 6, "half a snapshot is not shown");
    assert_eq!(follower.take(&piece(4, false)).unwrap_err(), ClusterError::Piece { have: 3, got: 4 });
    assert_eq!(follower.take(&piece(4, false)).unwrap().unwrap().version(), 4, "a snapshot may go back");
    assert!(follower.take(&v1::Event { version: 5, kind: None }).is_err());
}

#[test]
fn node_ids_are_stable() {
    // Pinned: nodes of two releases must agree.
    assert_eq!(node_id("bonghwa-ingester-0"), 5_244_122_857_618_975);
    assert!(["", "a", "b"].iter().all(|name| (1..1 << 53).contains(&node_id(name))));
}

/// What a test can tell two catalogs apart by.
fn contents(catalog: &Catalog) -> (v1::Snapshot, Vec<Vec<String>>, Vec<(String, usize)>) {
    let rings = Signal::ALL.iter().map(|s| ring(catalog, *s)).collect();
    let index = catalog
        .tenants(Signal::Logs)
        .map(|t| (t.to_string(), catalog.tenant_blocks(Signal::Logs, t).count()))
        .collect();
    (catalog.snapshot(), rings, index)
}

fn any_change() -> impl Strategy<Value = v1::Change> {
    let name = |n: usize| format!("logs-{n:04}");
    let blocks = prop::collection::vec((0usize..20, "[ab]", 0i64..100, 0i64..50), 0..3);
    let removed_blocks = prop::collection::vec(0usize..20, 0..2);
    let partitions = prop::collection::vec((1usize..6, any::<bool>()), 0..2);
    let removed_partitions = prop::collection::vec(1usize..6, 0..1);
    (blocks, removed_blocks, partitions, removed_partitions, prop::collection::vec(1u64..5, 0..2)).prop_map(
        move |(blocks, removed_blocks, partitions, removed_partitions, nodes)| v1::Change {
            nodes: nodes.into_iter().map(node).collect(),
            partitions: partitions
                .into_iter()
                .map(|(n, on)| {
                    let state = if on { v1::PartitionState::Active } else { v1::PartitionState::Sealed };
                    partition(&name(n), state, &[1])
                })
                .collect(),
            removed_partitions: removed_partitions.into_iter().map(name).collect(),
            blocks: blocks
                .into_iter()
                .map(|(n, who, min, span)| block(&format!("b{n}"), &[(&who, min, min + span)]))
                .collect(),
            removed_blocks: removed_blocks.into_iter().map(|n| format!("b{n}")).collect(),
            ..Default::default()
        },
    )
}

proptest! {
    #[test]
    fn a_snapshot_in_any_pieces_is_the_catalog(
        changes in prop::collection::vec(any_change(), 0..30),
        max_bytes in prop_oneof![Just(0usize), 1usize..500, Just(usize::MAX)],
    ) {
        let mut catalog = Catalog::default();
        for (version, change) in (1..).zip(&changes) {
            catalog = catalog.apply(version, change).unwrap();
        }
        let mut follower = Follower::default();
        let pieces: Vec<v1::Snapshot> = catalog.snapshot_pieces(max_bytes).collect();
        let (last, before) = pieces.split_last().unwrap();
        for piece in before {
            prop_assert!(follower.take(&snapshot(piece.clone())).unwrap().is_none());
        }
        let copy = follower.take(&snapshot(last.clone())).unwrap().unwrap();
        prop_assert_eq!(contents(copy), contents(&catalog));
        prop_assert_eq!(contents(&Catalog::from_snapshot(&catalog.snapshot())), contents(&catalog));
    }
}
