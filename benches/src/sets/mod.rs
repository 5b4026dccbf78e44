//! Sets of encoded requests, ready to be replayed.

mod infrastructure;
mod logs;
mod metrics;
mod series;
mod spans;

use bonghwa_testkit::Signal;
use bytes::Bytes;

pub use logs::logs;
pub use metrics::{Dialects, metrics};
pub use series::{DAYS, churning, histograms, month};
pub use spans::spans;

/// Seed of all sets: runs on one machine and on another send the same bytes.
pub const SEED: u64 = 7;

/// Most sets are replayed over this many connections at once. The metrics sets rely on it: every
/// series stays on one connection, so that its samples arrive in order.
pub const LANES: usize = 10;

/// Time of the first record, Unix nanoseconds: 2026-01-01, which no server takes for the future.
const BASE_TIME: u64 = 1_767_225_600_000_000_000;

/// Requests with the same number of items each.
pub struct Set {
    /// What they carry.
    pub signal: Signal,
    /// Log records, spans or points in each request.
    pub items_per_request: u64,
    /// Bodies.
    pub requests: Vec<Bytes>,
    /// Over how many connections they are replayed: request `i` over connection `i % lanes`.
    pub lanes: usize,
}

impl Set {
    /// Log records, spans or points.
    pub fn items(&self) -> u64 {
        self.items_per_request * self.requests.len() as u64
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> u64 {
        self.requests.iter().map(|r| r.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_per_item(set: &Set) -> f64 {
        set.bytes() as f64 / set.items() as f64
    }

    #[test]
    fn records_have_the_sizes_that_the_peers_were_measured_with() {
        let logs = bytes_per_item(&logs(20));
        assert!((178.0..184.0).contains(&logs), "{logs} bytes per log record instead of 181");
        let spans = bytes_per_item(&spans(20));
        assert!((207.0..215.0).contains(&spans), "{spans} bytes per span instead of 211");
    }

    #[test]
    fn a_set_is_the_same_each_time() {
        assert_eq!(logs(2).requests, logs(2).requests);
        assert_eq!(spans(2).requests, spans(2).requests);
        assert_eq!(metrics(2).otlp.requests, metrics(2).otlp.requests);
    }

    #[test]
    fn series_stay_on_their_connection() {
        for set in [metrics(1).otlp, churning(20_000, 1), histograms(1)] {
            assert_eq!(set.requests.len() % set.lanes, 0);
        }
    }
}
