//! Growing, spread waits between attempts.

use std::time::Duration;

use crate::seam;

/// Waits that double from a first to a longest, each shortened at random by up to half.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with `first` and grows up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, next: first }
    }

    /// The next wait.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.longest);
        seam::jitter(delay)
    }

    /// Waits once.
    pub async fn wait(&mut self) {
        seam::sleep(self.next_delay()).await;
    }

    /// After a success: the next wait is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for full in [100, 200, 350, 350] {
            let delay = backoff.next_delay();
            assert!((full / 2..=full).contains(&(delay.as_millis() as u64)), "{delay:?} of {full}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
