//! A thread's simulation: a wall clock that follows Tokio's, and random numbers from a seed.

use std::cell::RefCell;

use tokio::time::Instant;

use crate::{Process, nanos};

thread_local! {
    static SIMULATION: RefCell<Option<Simulation>> = const { RefCell::new(None) };
}

struct Simulation {
    epoch: i64,
    start: Instant,
    state: u64,
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

/// Whether this thread runs a simulation.
pub fn is_simulated() -> bool {
    SIMULATION.with_borrow(Option::is_some)
}

/// The simulation's wall clock as the running process reads it, if there is a simulation.
pub(crate) fn wall_clock() -> Option<i64> {
    let true_time = SIMULATION
        .with_borrow(|simulation| simulation.as_ref().map(|s| s.epoch.saturating_add(nanos(s.start.elapsed()))))?;
    let error = Process::current().map_or(0, |process| process.clock_error());
    Some(true_time.saturating_add(error))
}

/// The simulation's next random number, if there is a simulation.
pub(crate) fn draw() -> Option<u64> {
    SIMULATION.with_borrow_mut(|simulation| {
        let simulation = simulation.as_mut()?;
        // SplitMix64: one addition per draw, any seed will do.
        simulation.state = simulation.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = simulation.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some(z ^ (z >> 31))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{blocking, in_place, jitter, random, sleep, unix_nanos};

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
    async fn blocking_work_stays_on_the_thread() {
        let _simulation = simulate(1, 0);
        let here = std::thread::current().id();
        assert_eq!(blocking(|| std::thread::current().id()).await, Some(here));
        assert_eq!(in_place(|| std::thread::current().id()), here);
    }
}
