//! The catalog that blocks describe.

use bonghwa_meta::{Rebuilt, State, rebuild};
use bonghwa_protocol::v1;
use proptest::prelude::*;

use crate::fixtures::{accept, block, restore};

const LOGS: &str = "logs-0001";

fn chosen(rebuilt: &Rebuilt) -> String {
    let ranges: Vec<String> = rebuilt.catalog.blocks.iter().map(|b| format!("{}-{}", b.from, b.to)).collect();
    ranges.join(" ")
}

#[test]
fn chains() {
    for (ranges, expected, why) in [
        (&[][..], "", "nothing"),
        (&[(0, 5), (5, 9), (9, 12)][..], "0-5 5-9 9-12", "no orphans"),
        (&[(9, 12), (0, 5), (5, 9)][..], "0-5 5-9 9-12", "any order"),
        (&[(0, 5), (9, 12)][..], "0-5 9-12", "a flush without a block, or a block past retention"),
        (&[(0, 5), (0, 5), (5, 9)][..], "0-5 5-9", "the same flush twice"),
        (&[(0, 10), (10, 20), (10, 15), (15, 30)][..], "0-10 10-15 15-30", "an orphan cut otherwise"),
        (&[(0, 10), (10, 20), (10, 15)][..], "0-10 10-20", "the furthest, committed or not: it holds the same records"),
        (&[(0, 50), (0, 10), (40, 51)][..], "0-10 40-51", "the furthest first"),
        (&[(0, 8), (0, 3), (3, 10), (8, 12)][..], "0-8 8-12", "then the most records"),
        (&[(0, 4), (4, 8), (0, 8), (8, 9)][..], "0-8 8-9", "of equal chains one"),
    ] {
        let blocks = ranges.iter().enumerate().map(|(n, (from, to))| block(&format!("b{n}"), LOGS, *from, *to));
        let rebuilt = rebuild(blocks.collect());
        let found = chosen(&rebuilt);
        let equal = if why.starts_with("of equal") { "0-4 4-8 8-9" } else { expected };
        assert!(found == expected || found == equal, "{why}: {found}");
        assert_eq!(rebuilt.catalog.blocks.len() + rebuilt.orphans.len(), ranges.len(), "{why}");
        let watermark = rebuilt.catalog.partitions.first().map_or(0, |p| p.watermark);
        assert_eq!(watermark, ranges.iter().map(|r| r.1).max().unwrap_or(0), "{why}");
    }
}

/// Positions without records (elections) must not outweigh records.
#[test]
fn records_count_more_than_positions() {
    let with = |path: &str, from, to, items| {
        let mut block = block(path, LOGS, from, to);
        block.tenants[0].items = items;
        block
    };
    let rebuilt = rebuild(vec![
        with("a", 0, 2, 2),
        // Committed as well: (2, 100] without a block.
        with("b", 100, 103, 3),
        with("c", 103, 104, 1),
        with("orphan", 0, 101, 3),
    ]);
    assert_eq!(chosen(&rebuilt), "0-2 100-103 103-104");
}

#[test]
fn what_cannot_be_rebuilt_is_named() {
    for (block, reason) in [
        (v1::Block { level: 1, ..block("x", LOGS, 0, 1) }, "it has the level 1 and does not say what it replaced"),
        (block("x", "", 0, 1), "its partition is wrong"),
        (block("x", LOGS, 5, 5), "its positions (5, 5] are none"),
        (v1::Block { signal: 3, ..block("x", LOGS, 0, 1) }, "its signal is Traces"),
        (block("", LOGS, 0, 1), "it has no path"),
    ] {
        let rebuilt = rebuild(vec![block]);
        assert!(rebuilt.catalog.blocks.is_empty() && rebuilt.catalog.partitions.is_empty());
        assert!(rebuilt.orphans[0].reason.contains(reason), "{:?}", rebuilt.orphans);
    }
}

#[test]
fn the_result_can_be_restored() {
    let blocks = vec![block("b1", LOGS, 0, 5), block("b2", "traces-0003", 0, 9), block("b3", LOGS, 3, 8)];
    let rebuilt = rebuild(blocks);
    let mut state = State::default();
    accept(&mut state, restore(rebuilt.catalog.partitions, rebuilt.catalog.blocks));
    assert_eq!(state.catalog().block_count(), 2);
    assert_eq!(state.catalog().partition("traces-0003").unwrap().watermark, 9);
}

/// One attempt to flush: how far it goes, and whether it is committed before the
/// next; an attempt that is not leaves an orphan.
#[derive(Clone, Debug)]
struct Attempt {
    length: u64,
    committed: bool,
}

/// Which positions hold records, and the attempts on a log of them.
fn history() -> impl Strategy<Value = (Vec<bool>, Vec<Attempt>)> {
    let attempt = (1u64..12, any::<bool>()).prop_map(|(length, committed)| Attempt { length, committed });
    (prop::collection::vec(prop::bool::weighted(0.7), 80), prop::collection::vec(attempt, 0..30))
}

/// A block with one record per position that holds one; none if there are none.
fn written(path: String, records: &[bool], from: u64, to: u64) -> Option<v1::Block> {
    let items = records[from as usize..to as usize].iter().filter(|has| **has).count() as u64;
    let mut block = block(&path, LOGS, from, to);
    block.tenants[0].items = items;
    (items > 0).then_some(block)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_flushed_record_is_there_once((records, attempts) in history(), shuffle in any::<u64>()) {
        let (mut watermark, mut reached) = (0u64, 0u64);
        let mut blocks = Vec::new();
        for (n, attempt) in attempts.iter().enumerate() {
            let to = (watermark + attempt.length).min(records.len() as u64);
            if to == watermark {
                break;
            }
            if let Some(block) = written(format!("b{n}"), &records, watermark, to) {
                reached = reached.max(to);
                blocks.push(block);
            }
            if attempt.committed {
                watermark = to;
            }
        }
        blocks.sort_by_key(|b| b.from.wrapping_mul(shuffle | 1) ^ b.to.rotate_left((shuffle % 64) as u32));
        let count = blocks.len();
        let rebuilt = rebuild(blocks);
        let mut held = vec![0; records.len()];
        for block in &rebuilt.catalog.blocks {
            for position in block.from..block.to {
                held[position as usize] += 1;
            }
        }
        for (position, has) in records.iter().enumerate() {
            prop_assert!(held[position] <= 1, "position {} is held {} times", position, held[position]);
            if *has && (position as u64) < reached.max(watermark) {
                prop_assert_eq!(held[position], 1, "the record at {} is lost", position);
            }
        }
        prop_assert_eq!(rebuilt.catalog.blocks.len() + rebuilt.orphans.len(), count);
        prop_assert_eq!(rebuilt.catalog.partitions.first().map_or(0, |p| p.watermark), reached);
    }
}
