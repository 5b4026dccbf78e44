//! Plans by table: what a catalog asks for.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::{Retention, SignalRetention, StreamRetention};

const HOUR: i64 = 3_600_000_000_000;
/// A multiple of all windows since 1970.
const DAY: i64 = 20_020 * 24 * HOUR;

fn rows(tenant: &str, min_time: i64, max_time: i64) -> v1::TenantRows {
    v1::TenantRows { tenant: tenant.into(), items: 1, min_time, max_time, row_groups: vec![0], ..Default::default() }
}

fn flushed(path: &str, min: i64, max: i64) -> v1::Block {
    let signal = v1::Signal::Logs.into();
    v1::Block {
        path: path.into(),
        signal,
        bytes: 1000,
        tenants: vec![rows("a", min, max), rows("b", min, max)],
        ..Default::default()
    }
}

fn compacted(path: &str, level: u32, tenant: &str, min: i64, max: i64) -> v1::Block {
    v1::Block { level, tenants: vec![rows(tenant, min, max)], ..flushed(path, min, max) }
}

fn catalog(blocks: Vec<v1::Block>, deletes: Vec<v1::Delete>) -> Catalog {
    Catalog::from_snapshot(&v1::Snapshot { version: 1, blocks, deletes, ..Default::default() })
}

/// Jobs as text: kind, level, paths.
fn planned(blocks: Vec<v1::Block>, deletes: Vec<v1::Delete>, options: &CompactorOptions, now: i64) -> String {
    let catalog = catalog(blocks, deletes);
    let jobs = plan(&catalog, options, now);
    let mut seen = HashSet::new();
    let all: Vec<String> = jobs
        .iter()
        .map(|job| {
            let paths: Vec<&str> = job.blocks.iter().map(|b| b.path.as_str()).collect();
            assert!(paths.iter().all(|path| seen.insert(path.to_string())), "{paths:?} are in two jobs");
            format!("{}{}({})", job.work.as_str(), job.level, paths.join(" "))
        })
        .collect();
    all.join(", ")
}

#[test]
fn windows_and_levels() {
    let options = CompactorOptions::default();
    let two = || vec![flushed("f1", DAY, DAY + 1), flushed("f2", DAY + HOUR, DAY + HOUR)];
    let blocks = |level, count: i64| -> Vec<v1::Block> {
        (0..count)
            .map(|n| compacted(&format!("c{n:02}"), level, "a", DAY + n * 2 * HOUR, DAY + n * 2 * HOUR + 5))
            .collect()
    };
    let days = |count: i64| -> Vec<v1::Block> {
        (0..count)
            .map(|n| compacted(&format!("d{n:02}"), 2, "a", DAY + n * 24 * HOUR, DAY + n * 24 * HOUR + 5))
            .collect()
    };
    for (what, blocks, now, expected) in [
        ("nothing", vec![], DAY, ""),
        ("an open window waits", two(), DAY + HOUR, ""),
        ("late records are waited for", two(), DAY + 2 * HOUR, ""),
        ("a closed window", two(), DAY + 3 * HOUR, "flushes1(f1 f2)"),
        ("even one block: it has several tenants", vec![flushed("f1", DAY, DAY)], DAY + 3 * HOUR, "flushes1(f1)"),
        (
            "windows apart",
            vec![flushed("f1", DAY, DAY), flushed("f2", DAY + 2 * HOUR, DAY + 2 * HOUR)],
            DAY + 9 * HOUR,
            "flushes1(f1), flushes1(f2)",
        ),
        ("from the future", vec![flushed("f1", DAY, i64::MAX)], DAY + 9 * HOUR, "flushes1(f1)"),
        ("altogether from the future", vec![flushed("f1", DAY * 2, DAY * 2)], DAY, "flushes1(f1)"),
        ("one small block stays", blocks(1, 1), DAY + 40 * HOUR, ""),
        ("a day that has not ended", blocks(1, 3), DAY + 20 * HOUR, ""),
        ("a day that has", blocks(1, 3), DAY + 25 * HOUR, "merge2(c00 c01 c02)"),
        (
            "late blocks of one window",
            vec![
                compacted("c1", 1, "a", DAY, DAY),
                compacted("c2", 1, "a", DAY, DAY),
                compacted("c3", 1, "b", DAY, DAY),
            ],
            DAY + 3 * HOUR,
            "merge1(c1 c2)",
        ),
        ("days of a week that has not ended", days(6), DAY + 6 * 24 * HOUR, ""),
        ("days of one that has", days(6), DAY + 8 * 24 * HOUR, "merge3(d00 d01 d02 d03 d04 d05)"),
        (
            "what came later, with the weeks",
            days(9).into_iter().chain(blocks(1, 1)).collect(),
            DAY + 29 * 24 * HOUR,
            "merge4(c00 d00 d01 d02 d03 d04 d05 d06 d07 d08)",
        ),
        ("the highest level stays as it is", blocks(4, 1), DAY + 99 * 24 * HOUR, ""),
    ] {
        assert_eq!(planned(blocks, vec![], &options, now), expected, "{what}");
    }
}

#[test]
fn samples_are_merged_in_the_order_in_which_they_were_written() {
    let of_metrics = |written, block| v1::Block { written, signal: v1::Signal::Metrics.into(), ..block };
    let old = |path: &str, written| of_metrics(written, compacted(path, 1, "a", DAY, DAY + 1));
    let late = |path: &str, written| of_metrics(written, flushed(path, DAY, DAY + 1));
    let live = |path: &str, written| of_metrics(written, flushed(path, DAY, DAY + 4 * HOUR));
    let other = |path: &str, written| of_metrics(written, flushed(path, DAY + 4 * HOUR, DAY + 4 * HOUR));
    let large = |path: &str, written| v1::Block { bytes: 1 << 40, ..old(path, written) };
    let now = DAY + 5 * HOUR;
    for (what, blocks, expected) in [
        ("nothing between them", vec![old("o1", 1), old("o3", 3), old("o2", 2)], "merge1(o1 o2 o3)"),
        ("one that waits for its window", vec![old("o1", 1), live("f2", 2), old("o3", 3)], ""),
        (
            "runs before and after it",
            vec![old("o1", 1), old("o2", 2), live("f3", 3), old("o4", 4), old("o5", 5)],
            "merge1(o1 o2), merge1(o4 o5)",
        ),
        (
            "flushes as well",
            vec![late("f1", 1), live("f2", 2), late("f3", 3), late("f4", 4)],
            "flushes1(f1), flushes1(f3 f4)",
        ),
        ("what has no rows of the time", vec![old("o1", 1), other("f2", 2), old("o3", 3)], "merge1(o1 o3)"),
        ("one that is too large", vec![old("o1", 1), large("l2", 2), old("o3", 3)], ""),
        ("parts of one job are equal", vec![old("o2", 2), large("l2", 2), old("o3", 3)], "merge1(o2 o3)"),
        ("what is older than all of them", vec![old("o3", 3), large("l2", 2), old("o4", 4)], "merge1(o3 o4)"),
        ("and what is as old as the younger", vec![old("o1", 1), large("l2", 2), old("o2", 2)], ""),
    ] {
        assert_eq!(planned(blocks, vec![], &CompactorOptions::default(), now), expected, "{what}");
    }
    let logs = vec![compacted("o1", 1, "a", DAY, DAY), flushed("f2", DAY, now - 1), compacted("o3", 1, "a", DAY, DAY)];
    assert_eq!(planned(logs, vec![], &CompactorOptions::default(), now), "merge1(o1 o3)", "logs have no such order");
}

#[test]
fn bounds() {
    let options = CompactorOptions { eager_blocks: 3, job_blocks: 4, memory_bytes: 16 << 20, ..Default::default() };
    let flushes =
        |count: i64| -> Vec<v1::Block> { (0..count).map(|n| flushed(&format!("f{n}"), DAY + n, DAY + n)).collect() };
    let now = DAY + HOUR;
    assert_eq!(planned(flushes(2), vec![], &options, now), "");
    assert_eq!(planned(flushes(3), vec![], &options, now), "flushes1(f0 f1 f2)", "many do not wait");
    assert_eq!(planned(flushes(5), vec![], &options, now), "flushes1(f0 f1 f2 f3), flushes1(f4)");
    let large = |path: &str| v1::Block { bytes: 3 << 20, ..flushed(path, DAY, DAY) };
    let blocks = vec![large("f0"), large("f1"), large("f2")];
    assert_eq!(planned(blocks, vec![], &options, now), "flushes1(f0), flushes1(f1), flushes1(f2)", "by bytes");
    let many = |path: &str| {
        let mut block = flushed(path, DAY, DAY);
        block.tenants[0].row_groups = (0..60).collect();
        block
    };
    assert_eq!(
        planned(vec![many("f0"), many("f1"), flushed("f2", DAY, DAY)], vec![], &options, now),
        "flushes1(f0 f2), flushes1(f1)".replace("f0 f2), flushes1(f1", "f0), flushes1(f1 f2"),
        "by footers"
    );
    let large = |path: &str| v1::Block { bytes: 3 << 20, ..compacted(path, 1, "a", DAY, DAY) };
    assert_eq!(planned(vec![large("c1"), large("c2")], vec![], &options, DAY + 99 * HOUR), "", "large blocks stay");
}

#[test]
fn deletes_and_retention() {
    let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
    let delete = |id, tenant: &str, service: &str, min_time, max_time| v1::Delete {
        id,
        tenant: tenant.into(),
        signal: v1::Signal::Logs.into(),
        selector: Some(v1::Selector { service: service.into(), ..Default::default() }),
        min_time,
        max_time,
        created_at: 0,
    };
    let options = CompactorOptions::default();
    let block = || compacted("c", 1, "a", DAY, DAY + 10);
    let now = DAY + HOUR;
    for (what, blocks, deletes, expected) in [
        ("its rows", vec![block()], vec![delete(1, "a", "", DAY, DAY)], "rewrite1(c)"),
        ("another tenant's", vec![block()], vec![delete(1, "b", "", DAY, DAY)], ""),
        ("another time", vec![block()], vec![delete(1, "a", "", 0, DAY - 1)], ""),
        ("done already", vec![v1::Block { deletes_through: 1, ..block() }], vec![delete(1, "a", "", DAY, DAY)], ""),
        (
            "not done yet",
            vec![v1::Block { deletes_through: 1, ..block() }],
            vec![delete(2, "a", "", DAY, DAY)],
            "rewrite1(c)",
        ),
        (
            "an open window does not wait",
            vec![flushed("f", DAY, DAY)],
            vec![delete(1, "b", "", DAY, DAY)],
            "flushes1(f)",
        ),
    ] {
        assert_eq!(planned(blocks, deletes, &options, now), expected, "{what}");
    }
    let stream = StreamRetention {
        tenant: None,
        selector: v1::Selector { max_severity: 8, ..Default::default() },
        keep: Duration::from_secs(3600),
    };
    let options = CompactorOptions {
        retention: Retention {
            default: SignalRetention { logs: hours(48), ..Default::default() },
            tenants: BTreeMap::from([("b".to_owned(), SignalRetention { logs: hours(8), ..Default::default() })]),
            streams: vec![stream],
        },
        ..Default::default()
    };
    let fingerprint = options.retention.rules("a", Signal::Logs)[0].fingerprint;
    let ruled = || v1::Block { retention_rules: vec![fingerprint], ..block() };
    for (what, blocks, after, expected) in [
        ("all rows are kept", vec![block()], 1, ""),
        ("some go", vec![block()], 2, "rewrite1(c)"),
        ("they have gone", vec![ruled()], 2, ""),
        ("all go", vec![ruled()], 49, "expire1(c)"),
        (
            "a tenant's own time",
            vec![v1::Block { retention_rules: vec![fingerprint], ..compacted("d", 1, "b", DAY, DAY) }],
            9,
            "expire1(d)",
        ),
        ("a flush goes when all its tenants do", vec![flushed("f", DAY, DAY)], 9, "flushes1(f)"),
        ("as here", vec![flushed("f", DAY, DAY)], 49, "expire1(f)"),
    ] {
        assert_eq!(planned(blocks, vec![], &options, DAY + after * HOUR), expected, "{what}");
    }
}

#[test]
fn windows_are_short_where_rows_are_not_kept_for_long() {
    let days = || -> Vec<v1::Block> {
        let two = |n: i64| [n * 24 * HOUR, (n * 24 + 1) * HOUR].map(|at| (format!("d{n:02}-{at}"), DAY + at));
        (0..28).flat_map(two).map(|(path, at)| compacted(&path, 1, "a", at, at)).collect()
    };
    for (keep, level) in [(2, 1), (4, 2), (27, 2), (28, 3), (111, 3), (112, 4)] {
        let logs = Some(Duration::from_secs(keep * 24 * 3600));
        let default = SignalRetention { logs, ..Default::default() };
        let options = CompactorOptions { retention: Retention { default, ..Default::default() }, ..Default::default() };
        let catalog = catalog(days(), vec![]);
        let jobs = plan(&catalog, &options, DAY + (28 * 24 + 1) * HOUR);
        let longest = jobs.iter().filter(|job| job.work == Work::Merge).map(|job| job.level).max();
        assert_eq!(longest, Some(level), "{keep} days");
    }
}

#[test]
fn jobs_that_could_meet_have_one_lease() {
    let options = CompactorOptions::default();
    let blocks = vec![
        compacted("c1", 1, "a", DAY, DAY),
        compacted("c2", 1, "a", DAY, DAY),
        compacted("c3", 2, "a", DAY + 5 * HOUR, DAY + 5 * HOUR),
        compacted("c4", 1, "b", DAY, DAY),
        compacted("c5", 1, "b", DAY, DAY),
    ];
    let catalog = catalog(blocks, vec![]);
    let leases = |now| -> Vec<String> { plan(&catalog, &options, now).into_iter().map(|job| job.lease).collect() };
    let (early, late) = (leases(DAY + 3 * HOUR), leases(DAY + 30 * HOUR));
    assert_eq!(early, late, "merges of both levels of a tenant's day");
    assert_eq!(early.iter().collect::<HashSet<_>>().len(), 2, "tenants apart: {early:?}");
}
