//! A crash at every step of a run leaves every row exactly once: in the catalog, in a
//! catalog rebuilt from the store, and after the next run.

use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_compactor::CompactorOptions;
use bonghwa_model::Signal;
use bonghwa_protocol::v1;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::support;
use crate::world::{HOUR, World, without_errors};

async fn world() -> World {
    let mut rng = StdRng::seed_from_u64(21);
    let mut world = World::new().await;
    for (signal, flushes) in [(Signal::Logs, 3), (Signal::Traces, 1)] {
        for _ in 0..flushes {
            let batches = support::batches(signal, &mut rng);
            world.flush(signal, &batches, &Default::default()).await;
        }
    }
    world
}

fn options() -> CompactorOptions {
    CompactorOptions {
        memory_bytes: 16 << 20,
        job_blocks: 2,
        windows: vec![Duration::from_secs(100_000), Duration::from_secs(10_000_000)],
        ..Default::default()
    }
}

/// One run at whose `step` everything fails. Whether it got so far.
async fn crash_at(step: u64, takes_effect: bool, deleting: bool) -> bool {
    let world = world().await;
    let all = world.seen().await;
    let now = seam::unix_nanos();
    if deleting {
        let delete = v1::Delete {
            tenant: "default".into(),
            signal: v1::Signal::Logs.into(),
            selector: Some(v1::Selector { service: "service-1".into(), ..Default::default() }),
            min_time: i64::MIN,
            max_time: i64::MAX,
            created_at: now,
            ..Default::default()
        };
        world.delete(delete).await;
    }
    let before = world.seen().await;
    assert_eq!(deleting, before != all);
    let what = format!("step {step}, takes effect: {takes_effect}, deleting: {deleting}");
    world.faults.at(step, takes_effect);
    // A second day, so that replaced objects and orphans are deleted as well.
    let compactor = world.compactor("n1", options());
    compactor.run_once(now).await;
    compactor.run_once(now + 30 * HOUR).await;
    let struck = world.faults.struck();
    world.faults.heal();
    drop(compactor);

    assert_eq!(world.seen().await, before, "{what}");
    let rebuilt = world.rebuilt().await;
    let found = world.rows(&rebuilt.catalog.blocks, &[]).await;
    if deleting {
        // A delete is not in the blocks: rows not yet taken out are there again, but once.
        let once: std::collections::BTreeSet<&String> = all.iter().collect();
        let repeated = all.len() - once.len();
        assert!(
            found.len() >= before.len() && found.len() <= all.len(),
            "{what}: {} rows, {repeated} equal",
            found.len()
        );
    } else {
        assert_eq!(found, before, "{what}: rebuilt");
    }
    let survivor = world.compactor("n2", options());
    without_errors(survivor.run_once(now + 31 * HOUR).await);
    assert_eq!(world.seen().await, before, "{what}: another node");
    // The lease of the one that crashed ends with the node, which is not told here.
    let restarted = world.compactor("n1", options());
    without_errors(restarted.run_once(now + 60 * HOUR).await);
    without_errors(restarted.run_once(now + 90 * HOUR).await);
    assert_eq!(world.seen().await, before, "{what}: restarted");
    assert_eq!(world.unlisted().await.len(), 0, "{what}: {:?}", world.unlisted().await);
    assert_eq!(world.store.paths().await.len(), world.catalog().block_count(), "{what}");
    let rebuilt = world.rebuilt().await;
    assert_eq!(world.rows(&rebuilt.catalog.blocks, &[]).await, before, "{what}: rebuilt at the end");
    struck
}

fn crash_everywhere(takes_effect: bool, deleting: bool) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let mut steps = 0;
    for step in 1.. {
        if !runtime().block_on(crash_at(step, takes_effect, deleting)) {
            break;
        }
        steps = step;
    }
    assert!(steps > 40, "only {steps} steps");
}

#[test]
fn nothing_is_lost_by_a_step_that_fails() {
    crash_everywhere(false, false);
}

#[test]
fn nothing_is_lost_by_an_answer_that_is_lost() {
    crash_everywhere(true, false);
}

#[test]
fn nothing_comes_back_by_a_step_that_fails() {
    crash_everywhere(false, true);
}
