//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(10);

/// Polls `condition` until it yields a value. Past the deadline the error names `what`
/// and carries the last reason that the condition gave for not being met.
pub async fn until<T, F, Fut>(what: &str, deadline: Duration, mut condition: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let end = Instant::now() + deadline;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match condition().await {
            Ok(value) => return Ok(value),
            Err(reason) if Instant::now() >= end => {
                bail!("{what}: not within {deadline:?}; last: {reason}")
            }
            Err(_) => {}
        }
    }
}

/// A stretch of load or of silence that a test draws from its seed. It waits for
/// nothing: use [`until`] where something has to happen.
pub async fn moment(length: Duration) {
    tokio::time::sleep(length).await;
}
