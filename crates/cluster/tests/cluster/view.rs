//! Following meta's watch stream: on Tokio's paused clock, so that waits cost nothing.

use std::time::Duration;

use bonghwa_cluster::{Catalog, ClusterError, ClusterView, seam};
use bonghwa_protocol::v1;

use crate::fixtures::{ScriptedMeta, block, change, node, snapshot};

const LONG: Duration = Duration::from_secs(600);

fn at(version: u64) -> v1::Event {
    snapshot(v1::Snapshot { version, ..Default::default() })
}

fn next(version: u64) -> v1::Event {
    change(version, v1::Change { nodes: vec![node(version)], ..Default::default() })
}

#[tokio::test(start_paused = true)]
async fn it_follows_and_resumes_where_it_was() {
    let (meta, mut watches) = ScriptedMeta::new(3);
    let view = ClusterView::follow(meta);
    let watch = watches.recv().await.unwrap();
    assert_eq!(watch.from_version, 0);
    watch.send(at(4));
    watch.send(next(5));
    assert_eq!(view.wait_for_version(5, LONG).await.unwrap().version(), 5);
    watch.fail();
    let watch = watches.recv().await.unwrap();
    assert_eq!(watch.from_version, 5, "resumes after what it has");
    assert_eq!(view.current().version(), 5, "and serves it meanwhile");
    watch.send(next(6));
    assert!(view.wait_for(LONG, |c| c.node(6).is_some()).await.is_ok());
    drop(watch);
    assert_eq!(watches.recv().await.unwrap().from_version, 6, "also after a stream that just ends");
}

#[tokio::test(start_paused = true)]
async fn a_gap_or_a_step_back_takes_a_new_snapshot() {
    for wrong in [7, 5, 1] {
        let (meta, mut watches) = ScriptedMeta::new(0);
        let view = ClusterView::follow(meta);
        let watch = watches.recv().await.unwrap();
        watch.send(at(5));
        watch.send(next(wrong));
        let watch = watches.recv().await.unwrap();
        assert_eq!((watch.from_version, view.current().version()), (0, 5));
        watch.send(at(2));
        let back = view.wait_for(LONG, |c| c.version() == 2).await;
        assert!(back.is_ok(), "meta was restored to an older state");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_may_interrupt_and_come_in_pieces() {
    let (meta, mut watches) = ScriptedMeta::new(0);
    let view = ClusterView::follow(meta);
    let watch = watches.recv().await.unwrap();
    watch.send(at(5));
    let piece = |path: &str, continues| {
        snapshot(v1::Snapshot { version: 9, blocks: vec![block(path, &[])], continues, ..Default::default() })
    };
    watch.send(piece("b1", true));
    watch.send(piece("b2", false));
    watch.send(next(10));
    assert_eq!(view.wait_for_version(10, LONG).await.unwrap().block_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends() {
    let view = ClusterView::fixed(Catalog::default());
    let timeout = Duration::from_secs(3);
    assert_eq!(
        view.wait_for_version(1, timeout).await.unwrap_err(),
        ClusterError::Timeout { version: 0, after: timeout }
    );
    assert_eq!(view.wait_for_version(0, timeout).await.unwrap().version(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_view_stops_following() {
    let (meta, mut watches) = ScriptedMeta::new(0);
    let view = ClusterView::follow(meta);
    let _watch = watches.recv().await.unwrap();
    drop(view);
    assert!(watches.recv().await.is_none(), "the last holder of meta is gone");
}

#[tokio::test(start_paused = true)]
async fn its_age_is_that_of_the_leaders_last_word_that_it_has_reached() {
    let second = Duration::from_secs(1);
    let (meta, mut watches) = ScriptedMeta::new(0);
    let view = ClusterView::follow(meta);
    let watch = watches.recv().await.unwrap();
    watch.send(at(5));
    view.wait_for_version(5, LONG).await.unwrap();
    tokio::time::advance(second).await;
    assert_eq!(view.age(), second, "from the start: events alone say nothing of what is not in them");
    view.expect(5, seam::now());
    assert_eq!(view.age(), Duration::ZERO);

    // Behind: the age grows until the version is here, and counts from when the leader was asked.
    let asked = seam::now();
    tokio::time::advance(second).await;
    view.expect(6, asked);
    view.expect(7, seam::now());
    assert_eq!(view.age(), second);
    watch.send(next(6));
    view.wait_for_version(6, LONG).await.unwrap();
    assert_eq!(view.age(), second, "it has the leader's answer of a second ago");
    view.expect(7, seam::now());
    watch.send(next(7));
    view.wait_for_version(7, LONG).await.unwrap();
    assert_eq!(view.age(), Duration::ZERO);

    // Cut off: nothing is heard.
    tokio::time::advance(30 * second).await;
    assert_eq!(view.age(), 30 * second);
    assert_eq!(ClusterView::fixed(Catalog::default()).age(), Duration::ZERO, "a fixed one is what it is");
}
