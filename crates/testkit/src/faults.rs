//! What goes wrong on the way to the object store, by a seeded schedule.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;

use crate::seed;

/// What happens to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store answers 500 and does nothing.
    Error,
    /// The store answers 503 SlowDown and does nothing.
    SlowDown,
    /// The store takes the request and does not answer, until the faults change.
    Hang,
    /// The connection breaks after a part of the body.
    Torn,
    /// The store does what was asked, and the connection breaks before the answer.
    LostAnswer,
    /// The store answers, but only after [`SLOW`].
    Slow,
}

/// How long a slow answer takes.
pub const SLOW: Duration = Duration::from_secs(2);

impl Fault {
    const ALL: [Fault; 6] = [Fault::Error, Fault::SlowDown, Fault::Hang, Fault::Torn, Fault::LostAnswer, Fault::Slow];
}

/// How often each fault strikes, from 0 to 1; together at most 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultMix {
    /// [`Fault::Error`].
    pub error: f64,
    /// [`Fault::SlowDown`].
    pub slow_down: f64,
    /// [`Fault::Hang`].
    pub hang: f64,
    /// [`Fault::Torn`]; uploads only.
    pub torn: f64,
    /// [`Fault::LostAnswer`].
    pub lost_answer: f64,
    /// [`Fault::Slow`].
    pub slow: f64,
    /// What every request waits first.
    pub delay: Duration,
}

impl FaultMix {
    /// Two requests of three fail, in every way there is.
    pub fn storm() -> Self {
        FaultMix { error: 0.15, slow_down: 0.1, hang: 0.07, torn: 0.2, lost_answer: 0.15, ..Default::default() }
    }

    /// A few requests of a hundred fail, in each way that does not need somebody to end it.
    pub fn weather() -> Self {
        FaultMix { error: 0.03, slow_down: 0.02, torn: 0.03, lost_answer: 0.02, slow: 0.03, ..Default::default() }
    }

    /// Nothing works.
    pub fn outage() -> Self {
        FaultMix { error: 1.0, ..Default::default() }
    }

    /// Everything works, slowly.
    pub fn slow(delay: Duration) -> Self {
        FaultMix { delay, ..Default::default() }
    }

    fn chance(&self, fault: Fault) -> f64 {
        match fault {
            Fault::Error => self.error,
            Fault::SlowDown => self.slow_down,
            Fault::Hang => self.hang,
            Fault::Torn => self.torn,
            Fault::LostAnswer => self.lost_answer,
            Fault::Slow => self.slow,
        }
    }
}

/// The switch in front of a store.
pub struct Faults {
    rng: Mutex<StdRng>,
    mix: watch::Sender<FaultMix>,
    struck: [AtomicU64; Fault::ALL.len()],
}

impl Faults {
    /// No faults until [`Faults::set`].
    pub fn new(seed: u64) -> Self {
        Faults {
            rng: Mutex::new(seed::rng(seed, 0xFA)),
            mix: watch::Sender::new(FaultMix::default()),
            struck: Default::default(),
        }
    }

    /// Changes what goes wrong from now on. Hanging requests break off.
    pub fn set(&self, mix: FaultMix) {
        self.mix.send_replace(mix);
    }

    /// Ends all faults.
    pub fn clear(&self) {
        self.set(FaultMix::default());
    }

    /// How often a fault struck.
    pub fn struck(&self, fault: Fault) -> u64 {
        self.struck[fault as usize].load(Ordering::Relaxed)
    }

    /// Draws what happens to the next request.
    pub(crate) fn draw(&self, upload: bool) -> (Duration, Option<Fault>) {
        let mix = *self.mix.borrow();
        let mut at: f64 = self.rng.lock().unwrap_or_else(PoisonError::into_inner).random();
        let fault = Fault::ALL.into_iter().find(|fault| {
            at -= mix.chance(*fault);
            at < 0.0
        });
        let fault = match fault {
            Some(Fault::Torn) if !upload => Some(Fault::Error),
            fault => fault,
        };
        if let Some(fault) = fault {
            self.struck[fault as usize].fetch_add(1, Ordering::Relaxed);
        }
        (mix.delay, fault)
    }

    /// Draws a number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).random_range(0..bound.max(1))
    }

    /// Returns when the faults change.
    pub(crate) async fn changed(&self) {
        // The sender lives in `self`, so this can't fail.
        let _ = self.mix.subscribe().changed().await;
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in Fault::ALL.into_iter().enumerate() {
            let separator = if i == 0 { "" } else { ", " };
            write!(f, "{separator}{fault:?} {}", self.struck(fault))?;
        }
        Ok(())
    }
}
