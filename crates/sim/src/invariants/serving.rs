//! Once faults have ended, the cluster serves: every signal is taken by every distributor, and
//! every querier answers.

use std::sync::Arc;
use std::time::Duration;

use bonghwa_seam as seam;
use bonghwa_testkit::generate::{Generator, Signal};

use crate::invariants::exactly_once;
use crate::roles::Role;
use crate::workload;
use crate::world::World;

/// How long the cluster may take to serve again.
const PATIENCE: Duration = Duration::from_secs(120);

/// Sends to and asks all, until it worked.
pub async fn check(world: &Arc<World>, generator: &mut Generator) {
    for signal in Signal::ALL {
        until(world, &format!("no batch of {} is taken", signal.table()), || {
            let batch = generator.batch(signal, 1);
            async move { workload::send_one(world, &batch).await }
        })
        .await;
    }
    for querier in world.names(Role::Front) {
        for signal in Signal::ALL {
            let what = format!("{querier} answers no query of {}", signal.table());
            until(world, &what, || exactly_once::check(world, &querier, signal, false)).await;
        }
    }
}

async fn until<F>(world: &World, what: &str, mut attempt: impl FnMut() -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let mut last = String::new();
    let served = seam::timeout(PATIENCE, async {
        while let Err(error) = attempt().await {
            last = error;
            seam::sleep(Duration::from_millis(500)).await;
        }
    })
    .await;
    if served.is_err() {
        world.violation(format!("{what} for {PATIENCE:?} after the last fault: {last}"));
    }
}
