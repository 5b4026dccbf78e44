//! A compaction keeps what is to be kept, and takes out what is not.

use std::time::Duration;

use bonghwa_cluster::{node_id, seam};
use bonghwa_compactor::{CompactorOptions, Retention, SignalRetention, StreamRetention};
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use bonghwa_protocol::v1::command::Kind;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support;
use crate::world::{HOUR, World, without_errors};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(future)
}

async fn random_world(rng: &mut StdRng) -> World {
    let mut world = World::new().await;
    for signal in Signal::ALL {
        for _ in 0..rng.random_range(0..4) {
            let batches = support::batches(signal, rng);
            // A flush of positions without records has no block.
            if batches.iter().any(|(_, batch)| batch.rows() > 0) {
                world.flush(signal, &batches, &support::small_options(rng)).await;
            }
        }
    }
    world
}

fn options(rng: &mut StdRng) -> CompactorOptions {
    CompactorOptions {
        write: support::small_options(rng),
        memory_bytes: 16 << 20,
        job_blocks: rng.random_range(2..5),
        // Rows of random blocks lie within some twenty minutes, and at the ends of time.
        windows: vec![Duration::from_secs(100), Duration::from_secs(100_000)],
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_row_stays(seed: u64) {
        run(async {
            let mut rng = StdRng::seed_from_u64(seed);
            let world = random_world(&mut rng).await;
            let before = world.seen().await;
            let compactor = world.compactor("n1", options(&mut rng));
            let now = seam::unix_nanos();
            without_errors(compactor.run_once(now).await);
            assert_eq!(world.seen().await, before, "seed {seed}");
            assert!(world.catalog().blocks().all(|block| block.level > 0 && block.tenants.len() == 1));
            // A second run finds nothing to do, and the next day only garbage.
            let again = without_errors(compactor.run_once(now).await);
            assert_eq!((again.jobs, again.garbage_deleted), (0, 0), "seed {seed}: {again:?}");
            let rebuilt = world.rebuilt().await;
            assert_eq!(world.rows(&rebuilt.catalog.blocks, &[]).await, before, "seed {seed}: sources are there");
            without_errors(compactor.run_once(now + 30 * HOUR).await);
            assert_eq!(world.seen().await, before, "seed {seed}");
            assert_eq!(world.store.paths().await.len(), world.catalog().block_count());
            let rebuilt = world.rebuilt().await;
            assert_eq!(rebuilt.orphans, []);
            assert_eq!(world.rows(&rebuilt.catalog.blocks, &[]).await, before, "seed {seed}: sources are gone");
            for signal in Signal::ALL {
                for partition in world.catalog().partitions(signal).filter(|p| p.watermark > 0) {
                    let found = rebuilt.catalog.partitions.iter().find(|p| p.name == partition.name);
                    assert_eq!(found.map(|p| p.watermark), Some(partition.watermark), "seed {seed}");
                }
            }
        });
    }

    #[test]
    fn deleted_rows_go(seed: u64) {
        run(async {
            let mut rng = StdRng::seed_from_u64(seed);
            let world = random_world(&mut rng).await;
            let compactor = world.compactor("n1", options(&mut rng));
            let now = seam::unix_nanos();
            if rng.random() {
                without_errors(compactor.run_once(now).await);
            }
            let before = world.seen().await.len();
            for _ in 0..rng.random_range(1..4) {
                world.delete(random_delete(&mut rng, now)).await;
            }
            let seen = world.seen().await;
            let report = without_errors(compactor.run_once(now).await);
            assert!(report.deletes_closed > 0 && world.catalog().deletes().next().is_none(), "seed {seed}");
            assert_eq!(report.items_dropped, (before - seen.len()) as u64, "seed {seed}");
            assert_eq!(world.seen().await, seen, "seed {seed}");
            let later = without_errors(compactor.run_once(now + 2 * HOUR).await);
            assert_eq!(later.jobs, 0, "seed {seed}: {later:?}");
            assert_eq!(world.seen().await, seen, "seed {seed}: nothing comes back");
        });
    }
}

/// What comes after a delete stays, though it is merged with what the delete takes out.
#[test]
fn rows_that_come_after_a_delete_stay() {
    run(async {
        let mut rng = StdRng::seed_from_u64(7);
        let mut world = World::new().await;
        let batches = support::batches(Signal::Logs, &mut rng);
        world.flush(Signal::Logs, &batches, &Default::default()).await;
        let of = |tenant: &str| v1::Delete {
            tenant: tenant.into(),
            signal: v1::Signal::from(Signal::Logs).into(),
            min_time: i64::MIN,
            max_time: i64::MAX,
            ..Default::default()
        };
        let all = world.seen().await;
        for tenant in ["default", "team-a", "Team-B"] {
            world.delete(of(tenant)).await;
        }
        assert_eq!(world.seen().await, [""; 0]);
        world.flush(Signal::Logs, &batches, &Default::default()).await;
        assert_eq!(world.seen().await, all, "the same once more");
        let compactor = world.compactor("n1", CompactorOptions { eager_blocks: 1, ..CompactorOptions::default() });
        let report = without_errors(compactor.run_once(seam::unix_nanos()).await);
        assert_eq!((report.items_dropped, report.deletes_closed), (all.len() as u64, 3), "{report:?}");
        assert_eq!(world.seen().await, all);
    });
}

fn random_delete(rng: &mut StdRng, now: i64) -> v1::Delete {
    let signal = Signal::ALL[rng.random_range(0..3)];
    let mut selector = v1::Selector::default();
    if rng.random() {
        selector.service = format!("service-{}", rng.random_range(0..4));
    }
    if signal == Signal::Logs && rng.random() {
        selector.max_severity = rng.random_range(1..25);
    }
    let start = 1_700_000_000_000_000_000 + rng.random_range(0..1000) * 1_000_000_000;
    v1::Delete {
        tenant: ["default", "team-a", "Team-B"][rng.random_range(0..3)].into(),
        signal: v1::Signal::from(signal).into(),
        selector: Some(selector),
        min_time: if rng.random() { start } else { i64::MIN },
        max_time: i64::MAX,
        created_at: now,
        ..Default::default()
    }
}

#[test]
fn retention_takes_blocks_and_streams() {
    run(async {
        let mut rng = StdRng::seed_from_u64(3);
        let mut world = World::new().await;
        for signal in Signal::ALL {
            let batches = support::batches(signal, &mut rng);
            world.flush(signal, &batches, &Default::default()).await;
        }
        let of = |rows: &[String], signal: &str| rows.iter().filter(|row| row.starts_with(signal)).count();
        let before = world.seen().await;
        assert!(Signal::ALL.iter().all(|signal| of(&before, signal.as_str()) > 3));
        // Rows lie in 2023, at 1970, and at the end of time.
        let years = |years: u64| Duration::from_secs(years * 366 * 24 * 3600);
        let retention = Retention {
            default: SignalRetention { traces: Some(years(1)), logs: Some(years(100)), metrics: None },
            tenants: Default::default(),
            streams: vec![StreamRetention {
                tenant: None,
                selector: v1::Selector { max_severity: 8, ..Default::default() },
                keep: years(1),
            }],
        };
        let compactor = world.compactor("n1", CompactorOptions { retention, ..Default::default() });
        without_errors(compactor.run_once(seam::unix_nanos()).await);
        let after = world.seen().await;
        assert_eq!(of(&after, "metrics"), of(&before, "metrics"), "kept for ever");
        let end_of_time = |rows: &[String], signal: &str| {
            rows.iter().filter(|row| row.starts_with(signal) && row.contains("9223372036854775806")).count()
        };
        assert!(of(&after, "traces") <= end_of_time(&before, "traces"), "only rows from the future stay");
        assert!(of(&after, "logs") < of(&before, "logs") && of(&after, "logs") > 0);
        let again = without_errors(compactor.run_once(seam::unix_nanos()).await);
        assert_eq!(again.jobs, 0, "a rule is carried out once: {again:?}");
    });
}

/// Two compactors share the work, and neither does what the other did.
#[test]
fn two_compactors_share_the_work() {
    run(async {
        let mut rng = StdRng::seed_from_u64(11);
        let mut world = World::new().await;
        for _ in 0..6 {
            for signal in Signal::ALL {
                let batches = support::batches(signal, &mut rng);
                world.flush(signal, &batches, &support::small_options(&mut rng)).await;
            }
        }
        let before = world.seen().await;
        let (a, b) = (world.compactor("n1", options(&mut rng)), world.compactor("n2", options(&mut rng)));
        let now = seam::unix_nanos();
        let (one, two) = tokio::join!(a.run_once(now), b.run_once(now));
        without_errors(one);
        without_errors(two);
        assert_eq!(world.seen().await, before);
        without_errors(a.run_once(now + 30 * HOUR).await);
        assert_eq!(world.seen().await, before);
        assert_eq!(world.store.paths().await.len(), world.catalog().block_count());
    });
}

/// What a node does that is gone, another does.
#[test]
fn a_lease_ends_with_its_holder() {
    run(async {
        let mut rng = StdRng::seed_from_u64(12);
        let mut world = World::new().await;
        let tenant = TenantId::default_tenant();
        let batch = support::batches(Signal::Logs, &mut rng).into_iter().find(|(_, b)| b.rows() > 0).unwrap().1;
        world.flush(Signal::Logs, &[(tenant, batch)], &Default::default()).await;
        let now = seam::unix_nanos();
        let lease = bonghwa_compactor::plan(&world.catalog(), &CompactorOptions::default(), now)[0].lease.clone();
        world.meta.accept(Kind::AcquireLease(v1::AcquireLease { name: lease.clone(), holder: node_id("n1") }));
        let other = world.compactor("n2", CompactorOptions::default());
        let report = without_errors(other.run_once(now).await);
        assert!(report.skipped > 0 && world.catalog().blocks().any(|block| block.level == 0));
        world.meta.accept(Kind::ReleaseLease(v1::ReleaseLease { name: lease, holder: node_id("n1") }));
        without_errors(other.run_once(now).await);
        assert!(world.catalog().blocks().all(|block| block.level > 0));
    });
}

/// An upload that was never committed is deleted when it is old, and not before; one that
/// may still be committed never.
#[test]
fn orphans_go() {
    run(async {
        let mut rng = StdRng::seed_from_u64(13);
        let mut world = World::new().await;
        let batches = support::batches(Signal::Logs, &mut rng);
        let abandoned = world.upload(Signal::Logs, &batches, &Default::default()).await;
        world.flush(Signal::Logs, &batches, &Default::default()).await;
        let pending = world.upload(Signal::Logs, &batches, &Default::default()).await;
        let before = world.seen().await;
        let rebuilt = world.rebuilt().await;
        assert!(rebuilt.orphans.len() <= 1, "{:?}", rebuilt.orphans);
        let compactor = world.compactor("n1", CompactorOptions::default());
        let now = seam::unix_nanos();
        let report = without_errors(compactor.run_once(now).await);
        assert_eq!(report.orphans_deleted, 0);
        // The abandoned one holds rows that are in compacted blocks now.
        without_errors(compactor.run_once(now + HOUR).await);
        let report = without_errors(compactor.run_once(now + 30 * HOUR).await);
        assert_eq!(report.orphans_deleted, 1);
        let paths = world.store.paths().await;
        assert!(!paths.contains(&abandoned.path) && paths.contains(&pending.path));
        assert_eq!(world.seen().await, before);
    });
}
