//! Draws from the run's seed.

use std::time::Duration;

use bonghwa_seam as seam;

/// A number below `bound`, which is above 0.
pub fn below(bound: u64) -> u64 {
    seam::random() % bound
}

/// Whether something with this probability happens.
pub fn chance(probability: f64) -> bool {
    ((seam::random() >> 11) as f64 / (1u64 << 53) as f64) < probability
}

/// A duration between two, to the millisecond.
pub fn between(shortest: Duration, longest: Duration) -> Duration {
    let (low, high) = (shortest.as_millis() as u64, longest.as_millis() as u64);
    Duration::from_millis(low + below(high.saturating_sub(low) + 1))
}

/// One of several; `None` if there are none.
pub fn one_of<T>(items: &[T]) -> Option<&T> {
    if items.is_empty() { None } else { items.get(below(items.len() as u64) as usize) }
}
