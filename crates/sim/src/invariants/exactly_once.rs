//! Every acked record is returned exactly once by every later query; a record that was sent and
//! not acked at most once; and none that nobody sent.

use bonghwa_testkit::generate::Signal;

use crate::world::World;
use crate::{ledger, reads};

/// Asks a querier for all records of a signal. A query that fails breaks no promise: the error.
pub async fn check(world: &World, querier: &str, signal: Signal) -> Result<(), String> {
    let acked = world.ledger.of(signal).acked;
    let found = reads::ids(world, querier, signal).await?;
    let ledger::Known { sent, .. } = world.ledger.of(signal);
    let lost: Vec<u64> = acked.iter().filter(|id| !found.contains_key(id)).copied().collect();
    let doubled: Vec<u64> = found.iter().filter(|(_, n)| **n > 1).map(|(id, _)| *id).collect();
    let unknown: Vec<u64> = found.keys().filter(|id| !sent.contains(id)).copied().collect();
    let table = signal.table();
    for (what, ids) in [("lost", lost), ("there twice", doubled), ("never sent", unknown)] {
        if !ids.is_empty() {
            let first: Vec<String> = ids.iter().take(5).map(|id| format!("{id:#x}")).collect();
            world.violation(format!(
                "{table} by {querier}: {} of {} acked records are {what}: {}",
                ids.len(),
                acked.len(),
                first.join(" ")
            ));
        }
    }
    world.trace.line(format!(
        "{table} by {querier}: {} found, {} acked, {} sent",
        found.len(),
        acked.len(),
        sent.len()
    ));
    Ok(())
}
