//! What meta's leader does on its own: it hears who lives, and brings partitions to where they
//! should be ([`crate::placement`]). Only what it decides is replicated; a new leader starts
//! listening anew and gives every node its full time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::Catalog;
use bonghwa_cluster::seam::{self, Instant};
use bonghwa_protocol::v1::command::Kind;
use bonghwa_protocol::v1::{self, NodeState};
use bonghwa_replog::Group;
use parking_lot::Mutex;
use prost::Message;

use crate::machine::{Machine, entry};
use crate::placement::{self, PlacementOptions};

/// How often the leader looks around although nothing changed.
const TICK: Duration = Duration::from_millis(500);
/// Changes that come together are looked at together.
const SETTLE: Duration = Duration::from_millis(20);

/// How the leader judges and places.
#[derive(Clone, Copy, Debug)]
pub struct ControlOptions {
    /// After this silence a node gets no new replicas.
    pub unreachable_after: Duration,
    /// After this silence a node's replicas are given up.
    pub lost_after: Duration,
    /// How many partitions there are to be; `None`: they are somebody else's matter.
    pub placement: Option<PlacementOptions>,
}

impl Default for ControlOptions {
    fn default() -> Self {
        ControlOptions {
            unreachable_after: Duration::from_secs(5),
            lost_after: Duration::from_secs(600),
            placement: None,
        }
    }
}

/// When each node was heard last.
#[derive(Default)]
pub(crate) struct Liveness(Mutex<HashMap<u64, Instant>>);

impl Liveness {
    pub(crate) fn hear(&self, node: u64) {
        self.0.lock().insert(node, seam::now());
    }

    fn forget_all(&self) {
        self.0.lock().clear();
    }

    /// How long the node has been silent; from now on for one that was never heard.
    fn silence(&self, node: u64) -> Duration {
        self.0.lock().entry(node).or_insert_with(seam::now).elapsed()
    }
}

/// Runs until the task is stopped; does something only while this node leads.
pub(crate) async fn control(
    group: Arc<Group>,
    machine: Arc<Machine>,
    liveness: Arc<Liveness>,
    options: ControlOptions,
) {
    let mut positions = machine.positions();
    let mut leads = false;
    loop {
        positions.borrow_and_update();
        if !group.is_leader() {
            leads = false;
        } else if !leads && group.confirm_leader().await.is_ok() {
            // Everything that an earlier leader has decided is in the catalog now.
            liveness.forget_all();
            leads = true;
        }
        if leads {
            let catalog = machine.feed().catalog();
            let mut commands = judge(&catalog, &liveness, options);
            if let Some(placement) = options.placement
                && commands.is_empty()
            {
                commands = placement::plan(&catalog, placement);
            }
            for kind in commands {
                if !execute(&group, kind).await {
                    break;
                }
            }
        }
        tokio::select! {
            changed = positions.changed() => if changed.is_err() { return },
            () = seam::sleep(TICK) => {}
        }
        seam::sleep(SETTLE).await;
    }
}

/// The changes of nodes' states.
fn judge(catalog: &Catalog, liveness: &Liveness, options: ControlOptions) -> Vec<Kind> {
    let judge_one = |node: &v1::Node| {
        let (state, silence) = (node.effective_state(), liveness.silence(node.id));
        let to = match state {
            NodeState::Active if silence >= options.unreachable_after => NodeState::Unreachable,
            NodeState::Lost if silence < options.unreachable_after && node.drain => NodeState::Draining,
            NodeState::Unreachable | NodeState::Lost if silence < options.unreachable_after => NodeState::Active,
            NodeState::Unreachable | NodeState::Draining if silence >= options.lost_after => NodeState::Lost,
            _ => return None,
        };
        tracing::info!(node = node.name, from = state.as_str_name(), to = to.as_str_name(), ?silence, "a node's state");
        Some(Kind::SetNodeState(v1::SetNodeState { node: node.id, state: to.into(), from: state.into() }))
    };
    catalog.nodes().filter_map(|node| judge_one(node)).collect()
}

/// Whether the command was carried out.
async fn execute(group: &Group, kind: Kind) -> bool {
    let what = format!("{kind:?}");
    let appended = match group.append(entry(v1::Command { kind: Some(kind) })).await {
        Ok(appended) => appended,
        Err(error) => {
            tracing::debug!(%error, what, "a decision of meta is taken again");
            return false;
        }
    };
    let result = v1::CommandResult::decode(appended.response);
    if let Ok(v1::CommandResult { outcome: Some(v1::command_result::Outcome::Rejection(rejection)), .. }) = result {
        tracing::debug!(what, rejection.message, "a decision of meta came too late");
        return false;
    }
    tracing::info!(what, "meta decided");
    true
}
