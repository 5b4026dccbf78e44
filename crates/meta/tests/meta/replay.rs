//! The state is what its commands make it: on every node, before and after a
//! snapshot, and in the copies that follow its changes.

use bonghwa_cluster::Follower;
use bonghwa_meta::{MetaError, State};
use bonghwa_protocol::v1;
use bytes::Bytes;
use proptest::prelude::*;
use v1::command::Kind;

use crate::fixtures::{block, command, create, flush, founded, register, remove, seal, set_limits};

/// Commands over few names, so that many of them meet.
fn any_command() -> impl Strategy<Value = Kind> {
    let name = || (1u64..5).prop_map(|n| format!("logs-{n:04}"));
    prop_oneof![
        1 => (1u64..6, 0u64..6).prop_map(|(n, id)| register(&format!("n{n}"), id)),
        1 => prop::collection::vec(1u64..4, 0..3).prop_map(|replicas| create(v1::Signal::Logs, &replicas)),
        1 => name().prop_map(|name| seal(&name)),
        1 => (name(), 0u64..6).prop_map(|(name, last)| remove(&name, last)),
        1 => (1u64..4, prop::option::of(0u32..3)).prop_map(|(n, rate)| set_limits(&format!("t{n}"), rate.map(f64::from))),
        4 => (name(), 0u64..8, 0u64..4, 0usize..3).prop_map(|(name, from, length, blocks)| {
            let (from, to) = (from, from + length);
            let paths = (0..blocks as u64).map(|n| block(&format!("{name}/{from}-{to}-{n}"), &name, from + n, (from + n + 1).min(to)));
            flush(&name, from, to, paths.collect())
        }),
        1 => (0u64..3, 1u64..6, any::<bool>()).prop_map(|(name, holder, take)| {
            let name = format!("l{name}");
            if take {
                Kind::AcquireLease(v1::AcquireLease { name, holder })
            } else {
                Kind::ReleaseLease(v1::ReleaseLease { name, holder })
            }
        }),
        2 => (name(), 0u64..8, 1u64..4, 0u64..2).prop_map(|(name, from, length, n)| {
            let path = format!("{name}/{from}-{}-{n}", from + length);
            let compacted = block(&format!("{path}-compacted"), &name, from + n, from + n + 1);
            let added = vec![v1::Block { level: 1, ..compacted }];
            Kind::CommitCompaction(v1::CommitCompaction { removed: vec![path], added, ..Default::default() })
        }),
        1 => (name(), 0u64..8, 1u64..4, 0u64..2).prop_map(|(name, from, length, n)| {
            Kind::CollectGarbage(v1::CollectGarbage { paths: vec![format!("{name}/{from}-{}-{n}", from + length)] })
        }),
        1 => (0i64..4).prop_map(|max_time| {
            let delete = v1::Delete { tenant: "a".into(), signal: 1, max_time, ..Default::default() };
            Kind::CreateDelete(v1::CreateDelete { delete: Some(delete) })
        }),
        1 => (0u64..4).prop_map(|id| Kind::RemoveDelete(v1::RemoveDelete { id })),
    ]
}

proptest! {
    #[test]
    fn snapshot_and_restore_equal_replay(
        commands in prop::collection::vec(any_command(), 0..60),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(commands.len() + 1);
        let mut replayed = founded();
        let mut restored = founded();
        let mut copy = Follower::new(std::sync::Arc::new(founded().catalog().clone()));
        for (at, kind) in commands.into_iter().enumerate() {
            if at == cut {
                restored = State::decode(restored.encode()).unwrap();
            }
            let before = replayed.catalog().version();
            let kind = command(kind);
            let applied = replayed.apply(&kind);
            prop_assert_eq!(&restored.apply(&kind), &applied, "the restored node answers the same");
            prop_assert_eq!(applied.result.version, before + u64::from(applied.change.is_some()));
            if let Some(change) = applied.change {
                let event = v1::Event { version: applied.result.version, kind: Some(v1::event::Kind::Change(change)) };
                prop_assert!(copy.take(&event).unwrap().is_some());
            }
        }
        prop_assert_eq!(restored.encode(), replayed.encode());
        prop_assert_eq!(copy.current().snapshot(), replayed.catalog().snapshot());
    }

    #[test]
    fn damaged_snapshots_are_errors(cut in any::<prop::sample::Index>()) {
        let mut state = founded();
        for at in 0..20 {
            state.apply(&command(flush("logs-0001", at, at + 1, vec![block(&format!("b{at}"), "logs-0001", at, at + 1)])));
        }
        let bytes = state.encode();
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(matches!(State::decode(cut), Err(MetaError::Damaged(_))));
    }
}

#[test]
fn a_newer_snapshot_asks_for_an_upgrade() {
    assert!(matches!(State::decode(Bytes::from_static(&[3, 0, 0])), Err(MetaError::Version(3))));
}

/// The format of the first release, which every later one must read.
#[test]
fn the_first_format_is_read() {
    let stored = include_bytes!("state-v1.bin");
    let mut state = State::decode(Bytes::from_static(stored)).unwrap();
    let names: Vec<&str> = state.catalog().nodes().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["n1", "n2"]);
    assert_eq!(state.catalog().partition("logs-0001").unwrap().watermark, 3);
    assert_eq!(**state.catalog().block("b").unwrap(), block("b", "logs-0001", 0, 3));
    assert_eq!(State::decode(state.encode()).unwrap().encode(), state.encode());
    let retry = state.apply(&command(flush("logs-0001", 0, 3, vec![block("b", "logs-0001", 0, 3)])));
    assert_eq!(retry.change, None, "its last flush is known");
}
