//! Leases, the swap of blocks, deletes and garbage; and the rebuilt catalog where blocks
//! were compacted.

use bonghwa_cluster::object_hash;
use bonghwa_meta::{State, rebuild};
use bonghwa_protocol::v1;
use v1::command::Kind;
use v1::command_result::Outcome;

use crate::fixtures::{accept, apply, block, command, flush, founded, restore};

const LOGS: &str = "logs-0001";

fn refused(state: &mut State, kind: Kind) -> String {
    let before = state.encode();
    let applied = apply(state, kind);
    assert_eq!(state.encode(), before, "a refused command changes nothing");
    match applied.result.outcome {
        Some(Outcome::Rejection(rejection)) => rejection.message,
        other => panic!("{other:?}"),
    }
}

/// A block of level 1 with so many records of tenant "a".
fn compacted(path: &str, items: u64) -> v1::Block {
    let mut block = v1::Block { level: 1, partition: String::new(), from: 0, to: 0, ..block(path, LOGS, 0, items) };
    block.tenants[0].max_time = 100;
    block
}

fn commit(removed: &[&str], added: Vec<v1::Block>, dropped: u64) -> Kind {
    let dropped = if dropped > 0 { vec![v1::DroppedRows { tenant: "a".into(), items: dropped }] } else { vec![] };
    let removed = removed.iter().map(|path| (*path).to_owned()).collect();
    Kind::CommitCompaction(v1::CommitCompaction { removed, added, dropped, removed_at: 77 })
}

/// Two flushes of 5 and 4 records.
fn flushed() -> State {
    let mut state = founded();
    accept(&mut state, flush(LOGS, 0, 5, vec![block("b1", LOGS, 0, 5)]));
    accept(&mut state, flush(LOGS, 5, 9, vec![block("b2", LOGS, 5, 9)]));
    state
}

#[test]
fn a_swap_keeps_every_row() {
    let mut state = flushed();
    for (kind, says) in [
        (commit(&[], vec![], 0), "removed is empty"),
        (commit(&["b1", "b3"], vec![compacted("c", 9)], 0), "\"b3\", which the catalog does not have"),
        (commit(&["b1", "b1"], vec![compacted("c", 9)], 0), "\"b1\" twice"),
        (commit(&["b1", "b2"], vec![compacted("c", 8)], 0), "tenant a has 9 items in the blocks removed, and 8"),
        (commit(&["b1", "b2"], vec![compacted("c", 9)], 1), "and 10 in those added and dropped"),
        (commit(&["b1"], vec![block("c", LOGS, 0, 5)], 0), "the level 0"),
        (commit(&["b1"], vec![compacted("b2", 5)], 0), "b2 was there already"),
        (commit(&["b1"], vec![compacted("c", 2), compacted("c", 3)], 0), "\"c\" twice"),
        (commit(&["b1"], vec![v1::Block { signal: 3, ..compacted("c", 5) }], 0), "compact one signal"),
        (commit(&["b1"], vec![compacted("", 5)], 0), "without a path"),
    ] {
        let said = refused(&mut state, kind);
        assert!(said.contains(says), "{said}");
    }
    let swap = commit(&["b1", "b2"], vec![compacted("c1", 3), compacted("c2", 4)], 2);
    let version = accept(&mut state, swap.clone()).version;
    let paths: Vec<&str> = state.catalog().blocks().map(|block| block.path.as_str()).collect();
    assert_eq!(paths, ["c1", "c2"]);
    assert_eq!(state.catalog().garbage().collect::<Vec<_>>(), [("b1", 77), ("b2", 77)]);
    assert_eq!(accept(&mut state, swap).version, version, "a retry changes nothing");
    assert!(refused(&mut state, commit(&["b1"], vec![compacted("c3", 5)], 0)).contains("plan again"));
    assert!(refused(&mut state, commit(&["c1"], vec![compacted("b1", 3)], 0)).contains("was there already"));

    let collect = |paths: &[&str]| {
        Kind::CollectGarbage(v1::CollectGarbage { paths: paths.iter().map(|p| (*p).to_owned()).collect() })
    };
    let version = accept(&mut state, collect(&["b1", "c1", "x"])).version;
    assert_eq!(state.catalog().garbage().collect::<Vec<_>>(), [("b2", 77)]);
    assert!(state.catalog().block("c1").is_some());
    assert_eq!(accept(&mut state, collect(&["b1"])).version, version);
    let restored = State::decode(state.encode()).unwrap();
    assert_eq!(restored.encode(), state.encode());
    assert!(restored.catalog().is_garbage("b2"));
}

#[test]
fn a_lease_has_one_holder() {
    let mut state = founded();
    let acquire = |holder| Kind::AcquireLease(v1::AcquireLease { name: "l".into(), holder });
    let release = |holder| Kind::ReleaseLease(v1::ReleaseLease { name: "l".into(), holder });
    accept(&mut state, acquire(1));
    accept(&mut state, acquire(1));
    assert!(refused(&mut state, acquire(2)).contains("held by node 1"));
    assert!(refused(&mut state, acquire(99)).contains("holder is 99, which is no active node"));
    accept(&mut state, release(2));
    assert!(refused(&mut state, acquire(2)).contains("held by node 1"));
    assert!(refused(&mut State::decode(state.encode()).unwrap(), acquire(2)).contains("held by node 1"));
    accept(&mut state, release(1));
    accept(&mut state, acquire(2));
    // The holder no longer answers: its work is another's.
    let lost = v1::SetNodeState { node: 2, state: v1::NodeState::Lost.into(), ..Default::default() };
    accept(&mut state, Kind::SetNodeState(lost));
    assert!(refused(&mut state, acquire(2)).contains("no active node"));
    accept(&mut state, acquire(1));
}

#[test]
fn deletes_have_numbers_of_their_own() {
    let mut state = flushed();
    let delete = |service: &str| {
        let selector = Some(v1::Selector { service: service.into(), ..Default::default() });
        let signal = v1::Signal::Logs.into();
        let delete =
            v1::Delete { tenant: "a".into(), signal, selector, max_time: 9, created_at: 5, ..Default::default() };
        Kind::CreateDelete(v1::CreateDelete { delete: Some(delete) })
    };
    let id = |result: v1::CommandResult| match result.outcome {
        Some(Outcome::Delete(delete)) => delete.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(id(accept(&mut state, delete("x"))), 1);
    assert_eq!(id(accept(&mut state, delete("x"))), 1, "a retry");
    assert_eq!(id(accept(&mut state, delete("y"))), 2);
    let remove = |id| Kind::RemoveDelete(v1::RemoveDelete { id });
    accept(&mut state, remove(2));
    accept(&mut state, remove(2));
    assert!(refused(&mut state, remove(3)).contains("id is 3, which is no delete"));
    let mut state = State::decode(state.encode()).unwrap();
    assert_eq!(id(accept(&mut state, delete("z"))), 3, "numbers are not given twice");
    assert_eq!(state.catalog().deletes().map(|d| d.id).collect::<Vec<_>>(), [1, 3]);
    // Nor after a rebuild from blocks on which deletes were carried out.
    let mut rebuilt = State::default();
    accept(&mut rebuilt, restore(vec![], vec![v1::Block { deletes_through: 8, ..compacted("c", 1) }]));
    assert_eq!(id(accept(&mut rebuilt, delete("x"))), 9);
}

#[test]
fn blocks_that_come_after_a_delete_are_none_of_its() {
    let mut state = flushed();
    let before: Vec<_> = state.catalog().blocks().map(|block| block.path.clone()).collect();
    let delete = v1::Delete { tenant: "a".into(), signal: v1::Signal::Logs.into(), max_time: 9, ..Default::default() };
    accept(&mut state, Kind::CreateDelete(v1::CreateDelete { delete: Some(delete) }));
    accept(&mut state, flush(LOGS, 9, 12, vec![block("later", LOGS, 9, 12)]));
    for block in state.catalog().blocks() {
        assert_eq!(block.deletes_through, u64::from(!before.contains(&block.path)), "{}", block.path);
    }
}

#[test]
fn watchers_see_deletes_and_garbage() {
    let mut state = flushed();
    let mut copy = bonghwa_cluster::Follower::new(std::sync::Arc::new(state.catalog().clone()));
    let selector = Some(v1::Selector::default());
    let delete = v1::Delete { tenant: "a".into(), signal: 1, selector, ..Default::default() };
    for kind in [
        Kind::CreateDelete(v1::CreateDelete { delete: Some(delete) }),
        commit(&["b1"], vec![compacted("c", 5)], 0),
        Kind::CollectGarbage(v1::CollectGarbage { paths: vec!["b1".into()] }),
        Kind::RemoveDelete(v1::RemoveDelete { id: 1 }),
    ] {
        let applied = state.apply(&command(kind));
        let kind = applied.change.map(v1::event::Kind::Change);
        copy.take(&v1::Event { version: applied.result.version, kind }).unwrap();
        assert_eq!(copy.current().snapshot(), state.catalog().snapshot());
    }
}

/// A compaction's block, as its own footer describes it.
fn output(path: &str, compaction: u64, ordinal: u32, blocks: u32, replaces: &[&str], to: u64) -> v1::Block {
    let positions = vec![v1::Positions { partition: LOGS.into(), from: 0, to }];
    let replaces = replaces.iter().map(|path| object_hash(path)).collect();
    let origin = v1::Origin { compaction, ordinal, blocks, replaces, positions };
    v1::Block { origin: Some(origin), ..compacted(path, 1) }
}

#[test]
fn of_compacted_blocks_and_their_sources_one_side_is_chosen() {
    let b1 = || block("b1", LOGS, 0, 5);
    let b2 = || block("b2", LOGS, 5, 9);
    let sources = ["b1", "b2"];
    let one = || output("c1", 1, 0, 0, &sources, 9);
    let two = || output("c2", 1, 1, 2, &sources, 9);
    let further = || output("d1", 2, 0, 1, &["c1", "c2"], 9);
    for (what, blocks, expected) in [
        ("uploaded, not committed", vec![b1(), b2(), one()], "b1 b2"),
        ("committed, sources still there", vec![b1(), b2(), one(), two()], "b1 b2"),
        ("committed, a source deleted", vec![b2(), one(), two()], "c1 c2"),
        ("committed, all sources deleted", vec![one(), two()], "c1 c2"),
        ("compacted further", vec![b1(), b2(), one(), two(), further()], "c1 c2"),
        ("compacted further, a source deleted", vec![two(), further()], "d1"),
        ("two tries, the second committed", vec![one(), output("e1", 3, 0, 1, &sources, 9)], "e1"),
        (
            "two tries, the first compacted further",
            vec![one(), two(), output("e1", 3, 0, 1, &sources, 9), further()],
            "c1 c2",
        ),
        ("a flush that was tried twice", vec![one(), two(), block("b1-again", LOGS, 0, 3)], "c1 c2"),
        ("a flush after it", vec![one(), two(), block("b3", LOGS, 9, 12)], "c1 c2 b3"),
    ] {
        for reversed in [false, true] {
            let mut blocks = blocks.clone();
            if reversed {
                blocks.reverse();
            }
            let count = blocks.len();
            let rebuilt = rebuild(blocks);
            let chosen: Vec<&str> = rebuilt.catalog.blocks.iter().map(|b| b.path.as_str()).collect();
            assert_eq!(chosen.join(" "), expected, "{what}: {:?}", rebuilt.orphans);
            assert_eq!(chosen.len() + rebuilt.orphans.len(), count, "{what}");
            let watermark = rebuilt.catalog.partitions[0].watermark;
            assert_eq!(watermark, if what == "a flush after it" { 12 } else { 9 }, "{what}");
            assert!(rebuilt.catalog.blocks.iter().all(|block| block.origin.is_none()));
        }
    }
}
