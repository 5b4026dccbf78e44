//! The one door to clock, randomness and tasks. Everything that measures time,
//! draws numbers or starts a task comes through here, so that a simulation on
//! Tokio's paused clock can repeat a run from its seed; elsewhere these calls are
//! forbidden by lint.
#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
pub use tokio::time::Instant;
pub use tokio::time::error::Elapsed;

thread_local! {
    static SIMULATION: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

struct Simulation {
    epoch: i64,
    start: Instant,
    state: u64,
}

/// The monotonic clock, for durations.
pub fn now() -> Instant {
    Instant::now()
}

/// The wall clock, Unix nanoseconds.
pub fn unix_nanos() -> i64 {
    SIMULATION.with_borrow(|simulation| match simulation {
        Some(simulation) => simulation.epoch.saturating_add(nanos(simulation.start.elapsed())),
        None => match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => nanos(since),
            Err(before) => -nanos(before.duration()),
        },
    })
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A random number.
pub fn random() -> u64 {
    SIMULATION.with_borrow_mut(|simulation| match simulation {
        Some(simulation) => {
            // SplitMix64: one addition per draw, any seed will do.
            simulation.state = simulation.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = simulation.state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
        None => rand::random(),
    })
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
    Task { handle: Some(tokio::spawn(future)) }
}

/// Runs blocking work on Tokio's blocking threads. None if it panicked or the
/// runtime is shutting down.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
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

/// Makes this thread's clock and randomness repeatable until the guard is dropped:
/// the wall clock starts at `epoch` (Unix nanoseconds) and follows Tokio's clock.
/// Call it inside a current-thread runtime.
pub fn simulate(seed: u64, epoch: i64) -> SimulationGuard {
    SIMULATION.set(Some(Simulation { epoch, start: Instant::now(), state: seed }));
    SimulationGuard { _private: () }
}

/// Ends a simulation when dropped.
#[derive(Debug)]
pub struct SimulationGuard {
    _private: (),
}

impl Drop for SimulationGuard {
    fn drop(&mut self) {
        SIMULATION.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulation_repeats() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let guard = simulate(7, 1_000);
            sleep(Duration::from_secs(60)).await;
            runs.push((unix_nanos(), random(), random(), jitter(Duration::from_secs(1))));
            drop(guard);
        }
        assert_eq!(runs[0], runs[1]);
        assert_eq!(runs[0].0, 60_000_001_000);
        assert!(unix_nanos() > 1_600_000_000_000_000_000);
    }

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
