//! The life of one partition on this node, as the catalog and the log's leadership drive it:
//! loading the head when this node begins to lead, letting it go when another does, trimming to
//! the catalog's watermark, and on the leader the steps from creating over active to sealed and gone.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bonghwa_cluster::seam::{self, Instant};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::{self, PartitionState};
use bonghwa_protocol::{MetaClient, RpcError};

use crate::head::Mode;
use crate::partition::{Partition, Shared};

/// How often a partition looks around although nothing was announced: a step that failed is
/// taken again.
const TICK: Duration = Duration::from_millis(500);
/// A leader that is not the partition's home leads at least this long: a home that fails again and
/// again must not stop the writes each time.
const AWAY_FROM_HOME: Duration = Duration::from_secs(5);
/// Bytes of log read at once while a head is loaded.
const LOAD_BYTES: usize = 4 << 20;
/// While memory is short, or the log's last entry is being applied, loading waits this long.
const LOAD_PAUSE: Duration = Duration::from_millis(5);

/// Drives a partition until it is dropped.
pub(crate) async fn live(partition: Weak<Partition>, shared: Shared, meta: Arc<dyn MetaClient>) {
    let mut versions = shared.view.versions();
    let mut flushed_since: Option<Instant> = None;
    let mut led_since: Option<Instant> = None;
    loop {
        versions.borrow_and_update();
        let Some(here) = partition.upgrade() else { return };
        if let Some(known) = shared.view.current().partition(&here.name).cloned() {
            here.head.mark_flushed(known.watermark);
            follow_leadership(&here, &shared).await;
            trim(&here, known.watermark).await;
            go_home(&here, &shared, &known, &mut led_since).await;
            if here.group.is_leader()
                && let Err(error) = advance(&here, &shared, &*meta, &known, &mut flushed_since).await
            {
                tracing::debug!(partition = here.name, %error, "a step of the partition's life is tried again");
            }
        }
        let (group, leader) = (here.group.clone(), here.group.leader());
        drop(here);
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            changed = group.leader_changed(leader) => if changed.is_err() { return },
            () = seam::sleep(TICK) => {}
        }
    }
}

/// Brings the head in line with who leads.
async fn follow_leadership(partition: &Partition, shared: &Shared) {
    if !partition.group.is_leader() {
        if partition.is_leading() {
            partition.head.follow();
            partition.loaded.send_replace(false);
            tracing::info!(partition = partition.name, "no longer leads");
        }
        return;
    }
    if partition.head.mode() == Mode::Leading {
        return;
    }
    let started = seam::now();
    if partition.head.mode() == Mode::Following {
        partition.head.begin_loading();
    }
    while let Some(next) = partition.head.finish_loading() {
        if !partition.group.is_leader() {
            return;
        }
        if shared.memory.used() > shared.options.head_bytes {
            // A flush makes room; what is loaded can be flushed.
            partition.flush_wanted.notify_one();
            partition.head.release(None);
            seam::sleep(LOAD_PAUSE).await;
            partition.head.mark_flushed(watermark(partition, shared));
            continue;
        }
        let through = partition.group.applied();
        match partition.group.read_from(next, LOAD_BYTES).await {
            Ok(entries) if entries.is_empty() => {
                partition.head.loaded_through(through);
                if through < next {
                    seam::sleep(LOAD_PAUSE).await;
                }
            }
            Ok(entries) => {
                for (position, bytes) in entries {
                    partition.head.load(position, &bytes);
                }
            }
            Err(error) => {
                // Trimmed below us: the catalog's watermark says how far.
                tracing::debug!(partition = partition.name, %error, "loading the head goes on");
                seam::sleep(LOAD_PAUSE).await;
                partition.head.mark_flushed(watermark(partition, shared));
            }
        }
    }
    partition.loaded.send_replace(true);
    tracing::info!(partition = partition.name, took = ?started.elapsed(), "leads");
}

/// Leads only until the partition's home can: so leaderships, and with them the work, are spread as
/// the partitions are.
async fn go_home(partition: &Partition, shared: &Shared, known: &v1::Partition, led_since: &mut Option<Instant>) {
    if !partition.group.is_leader() {
        *led_since = None;
        return;
    }
    let since = *led_since.get_or_insert_with(seam::now);
    let Some(home) = known.replicas.first().copied().filter(|home| Some(*home) != partition.group.leader()) else {
        return;
    };
    let lives = shared.view.current().node(home).is_some_and(|n| n.effective_state() == v1::NodeState::Active);
    if lives
        && known.state() == PartitionState::Active
        && since.elapsed() >= AWAY_FROM_HOME
        && let Err(error) = partition.group.hand_over_to(home).await
    {
        tracing::debug!(partition = partition.name, %error, "its home does not take over");
    }
}

fn watermark(partition: &Partition, shared: &Shared) -> u64 {
    shared.view.current().partition(&partition.name).map_or(0, |known| known.watermark)
}

/// Lets the log forget what the catalog has. On the leader the flush has done it already.
async fn trim(partition: &Partition, watermark: u64) {
    if watermark > partition.group.watermark()
        && partition.group.applied() >= watermark
        && let Err(error) = partition.group.trim(watermark).await
    {
        tracing::warn!(partition = partition.name, %error, "the log could not be trimmed and is longer than it need be");
    }
}

/// The leader's part: activates what is being created; seals, flushes and removes what is sealed.
async fn advance(
    partition: &Partition,
    shared: &Shared,
    meta: &dyn MetaClient,
    known: &v1::Partition,
    flushed_since: &mut Option<Instant>,
) -> Result<(), RpcError> {
    let name = &partition.name;
    match known.state() {
        PartitionState::Creating => {
            execute(meta, Kind::ActivatePartition(v1::ActivatePartition { partition: name.clone() })).await
        }
        PartitionState::Active | PartitionState::Unspecified => Ok(()),
        PartitionState::Sealed => {
            let Some(sealed) = partition.head.sealed() else {
                return partition.seal().await.map_err(|error| RpcError::unavailable(error.to_string()));
            };
            if known.watermark < sealed {
                partition.flush_wanted.notify_one();
                return Ok(());
            }
            let since = *flushed_since.get_or_insert_with(seam::now);
            if since.elapsed() < shared.options.seal_grace {
                return Ok(());
            }
            let remove = v1::RemovePartition { partition: name.clone(), last_position: known.watermark };
            execute(meta, Kind::RemovePartition(remove)).await
        }
    }
}

async fn execute(meta: &dyn MetaClient, kind: Kind) -> Result<(), RpcError> {
    let result = meta.execute(v1::Command { kind: Some(kind) }).await?;
    match result.outcome {
        Some(v1::command_result::Outcome::Rejection(rejection)) => Err(RpcError::unavailable(rejection.message)),
        _ => Ok(()),
    }
}
