//! The one door to clock, randomness and tasks. Everything that measures time,
//! draws numbers or starts a task comes through here, so that a simulation on
//! Tokio's paused clock can repeat a run from its seed; elsewhere these calls are
//! forbidden by lint.
#![allow(clippy::disallowed_methods)]

mod process;
mod simulation;

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
pub use tokio::time::Instant;
pub use tokio::time::error::Elapsed;

pub use process::{InProcess, Process};
pub use simulation::{SimulationGuard, is_simulated, simulate};

/// The monotonic clock, for durations.
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, Unix nanoseconds.
pub fn unix_nanos() -> i64 {
    simulation::wall_clock().unwrap_or_else(|| match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => nanos(since),
        Err(before) => -nanos(before.duration()),
    })
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A random number.
pub fn random() -> u64 {
    simulation::draw().unwrap_or_else(rand::random)
}

/// A random share of a duration, from half of it to all of it: spreads retries.
pub fn jitter(duration: Duration) -> Duration {
    let share = (random() >> 11) as f64 / (1u64 << 53) as f64;
    duration.mul_f64(0.5 + share / 2.0)
}

/// Waits.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits for a future, at most this long.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await
}

/// Starts a task on the current Tokio runtime.
pub fn spawn<F>(future: F) -> Task<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    Task { handle: Some(start(future)) }
}

/// Starts a task on the current Tokio runtime, for a library that wants Tokio's own handle.
/// Dropping the handle does not end the task.
pub fn start<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match Process::current() {
        Some(process) => process.start(future),
        None => tokio::spawn(future),
    }
}

/// Runs blocking work on Tokio's blocking threads, or here and now in a simulation,
/// which has no threads. None if it panicked or the runtime is shutting down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    if is_simulated() {
        return Some(work());
    }
    tokio::task::spawn_blocking(work).await.ok()
}

/// Runs long work on this worker, while its other tasks move to another worker. Only inside a
/// task of a runtime with several workers, or in a simulation.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if is_simulated() { work() } else { tokio::task::block_in_place(work) }
}

/// A running task that ends when its handle is dropped, so that none outlives
/// what started it.
#[derive(Debug)]
pub struct Task<T = ()> {
    handle: Option<JoinHandle<T>>,
}

impl<T> Task<T> {
    /// Waits for its end. None if it panicked or was aborted.
    pub async fn join(mut self) -> Option<T> {
        match self.handle.as_mut() {
            Some(handle) => {
                let result = handle.await.ok();
                self.handle = None;
                result
            }
            None => None,
        }
    }

    /// Ends it, and waits until what it held is dropped.
    pub async fn stop(self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
        self.join().await;
    }

    /// Lets it run without an owner, to its own end.
    pub fn detach(mut self) {
        self.handle = None;
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_dropped_task_ends() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
        let task = spawn(async move {
            sleep(Duration::from_secs(3600)).await;
            drop(sender);
        });
        drop(task);
        assert_eq!(timeout(Duration::from_secs(1), receiver.recv()).await, Ok(None));
        assert_eq!(spawn(async { 5 }).join().await, Some(5));
    }
}
