//! How long queriers are waited for: those that are much slower than the others are done without.

use std::time::Duration;

use bonghwa_cluster::seam::{self, Instant};
use tokio::sync::watch;

/// A querier may take so many times as long as half of them did, and a moment more.
const TIMES: u32 = 2;
const MOMENT: Duration = Duration::from_secs(1);

/// The queriers of one query.
pub(super) struct Pace {
    began: Instant,
    count: usize,
    most: Duration,
    ready: watch::Sender<usize>,
}

impl Pace {
    /// So many, of whom none is waited for longer than this.
    pub(super) fn new(count: usize, most: Duration) -> Self {
        Pace { began: seam::now(), count, most, ready: watch::Sender::new(0) }
    }

    /// One of them has done its part.
    pub(super) fn done(&self) {
        self.ready.send_modify(|ready| *ready += 1);
    }

    /// Waits until those that are not ready now are too slow.
    pub(super) async fn too_slow(&self) {
        let mut ready = self.ready.subscribe();
        let half = self.count.div_ceil(2);
        let left = || self.most.saturating_sub(self.began.elapsed());
        let known = matches!(seam::timeout(left(), ready.wait_for(|ready| *ready >= half)).await, Ok(Ok(_)));
        if known {
            seam::sleep((self.began.elapsed() * TIMES + MOMENT).min(left())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn half_of_them_tell_how_long_the_others_may_take() {
        for (count, done, waited) in [(2, 1, 7), (3, 1, 60), (3, 2, 7), (1, 0, 60)] {
            let pace = Pace::new(count, Duration::from_secs(60));
            seam::sleep(Duration::from_secs(2)).await;
            (0..done).for_each(|_| pace.done());
            pace.too_slow().await;
            assert_eq!(pace.began.elapsed().as_secs(), waited, "{done} of {count}");
        }
    }
}
