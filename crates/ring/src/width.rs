//! How many partitions a service is spread over: one, until it sends more than
//! one partition should take.

use std::collections::HashMap;
use std::time::Duration;

/// When a shard set grows and shrinks.
#[derive(Clone, Copy, Debug)]
pub struct ShardWidthOptions {
    /// Bytes per second that one partition should take of one service, as seen by
    /// this distributor: with several distributors behind a load balancer, divide
    /// the partition's share by their number.
    pub target_rate: f64,
    /// A set shrinks only once its rate fits the narrower set with each partition
    /// at or below this share of the target. In (0, 1); the gap up to 1 is what
    /// keeps the width from swinging.
    pub shrink_at: f64,
    /// Time in which an old measurement loses half of its weight.
    pub half_life: Duration,
    /// Services remembered. Beyond it the quietest quarter is forgotten, which
    /// costs them no more than starting from a width of 1 again.
    pub max_keys: usize,
}

impl Default for ShardWidthOptions {
    fn default() -> Self {
        ShardWidthOptions {
            target_rate: 8.0 * 1024.0 * 1024.0,
            shrink_at: 0.5,
            half_life: Duration::from_secs(30),
            max_keys: 100_000,
        }
    }
}

/// The measured rates of services and the widths that follow from them. Widths
/// may differ between distributors: a reader asks every partition, so that only
/// the load depends on them.
#[derive(Debug)]
pub struct ShardWidth {
    options: ShardWidthOptions,
    services: HashMap<u64, Service>,
}

#[derive(Clone, Copy, Debug)]
struct Service {
    /// Bytes per second at `at`, an exponentially weighted average.
    rate: f64,
    at: Duration,
    width: usize,
}

impl ShardWidth {
    /// With no service known.
    pub fn new(options: ShardWidthOptions) -> Self {
        ShardWidth { options, services: HashMap::new() }
    }

    /// Counts `bytes` that a service sends `now` (since any fixed instant; a step
    /// back counts as no time passed) and tells its width: 1 up to `partitions`,
    /// and 1 where there are none.
    pub fn observe(&mut self, key: u64, bytes: u64, now: Duration, partitions: usize) -> usize {
        if self.services.len() >= self.options.max_keys && !self.services.contains_key(&key) {
            self.forget_quiet(now);
        }
        let options = self.options;
        let service = self.services.entry(key).or_insert(Service { rate: 0.0, at: now, width: 1 });
        // One arrival adds its bytes spread over the average's memory, so that a
        // steady stream converges to its own rate whatever the size of its batches.
        service.rate = service.rate_at(now, options.half_life)
            + bytes as f64 * std::f64::consts::LN_2 / options.half_life.as_secs_f64().max(f64::MIN_POSITIVE);
        service.at = service.at.max(now);
        let least = (service.rate / options.target_rate).ceil() as usize;
        let most = (service.rate / (options.target_rate * options.shrink_at)).ceil() as usize;
        service.width = service.width.min(most).max(least).max(1);
        service.width.min(partitions.max(1))
    }

    /// The service's rate `now` in bytes per second; 0 where it is not known.
    pub fn rate(&self, key: u64, now: Duration) -> f64 {
        self.services.get(&key).map_or(0.0, |s| s.rate_at(now, self.options.half_life))
    }

    /// How many services are remembered.
    pub fn len(&self) -> usize {
        self.services.len()
    }

    /// Whether no service is remembered.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    fn forget_quiet(&mut self, now: Duration) {
        let half_life = self.options.half_life;
        let mut rates: Vec<(f64, u64)> = self.services.iter().map(|(k, s)| (s.rate_at(now, half_life), *k)).collect();
        let quarter = (rates.len() / 4).max(1).min(rates.len());
        if quarter < rates.len() {
            rates.select_nth_unstable_by(quarter, |a, b| a.0.total_cmp(&b.0));
        }
        for (_, key) in &rates[..quarter] {
            self.services.remove(key);
        }
    }
}

impl Service {
    fn rate_at(&self, now: Duration, half_life: Duration) -> f64 {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.rate * (-passed / half_life.as_secs_f64().max(f64::MIN_POSITIVE)).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    fn options() -> ShardWidthOptions {
        ShardWidthOptions { target_rate: MB, half_life: Duration::from_secs(10), max_keys: 100, ..Default::default() }
    }

    /// Sends `rate` bytes per second in ten batches a second; the last width.
    fn send(width: &mut ShardWidth, key: u64, rate: f64, from: u64, seconds: u64) -> usize {
        let mut last = 0;
        for tick in 0..seconds * 10 {
            let now = Duration::from_secs(from) + Duration::from_millis(100 * tick);
            last = width.observe(key, (rate / 10.0) as u64, now, 64);
        }
        last
    }

    #[test]
    fn width_follows_the_rate() {
        for (rate, expected) in
            [(0.0, 1), (0.5 * MB, 1), (0.95 * MB, 1), (2.5 * MB, 3), (9.5 * MB, 10), (500.0 * MB, 64)]
        {
            let mut width = ShardWidth::new(options());
            assert_eq!(send(&mut width, 1, rate, 0, 200), expected, "{rate}");
        }
    }

    #[test]
    fn the_rate_does_not_depend_on_the_batch_size() {
        let mut width = ShardWidth::new(options());
        for second in 0..300 {
            width.observe(1, 50_000_000, Duration::from_secs(second), 64);
        }
        let rate = width.rate(1, Duration::from_millis(299_500));
        assert!((rate / (50.0 * MB) - 1.0).abs() < 0.05, "{rate}");
    }

    #[test]
    fn it_shrinks_late_and_does_not_swing() {
        let mut width = ShardWidth::new(options());
        assert_eq!(send(&mut width, 1, 3.5 * MB, 0, 200), 4);
        assert_eq!(send(&mut width, 1, 2.2 * MB, 200, 200), 4, "above half of the target for each of four");
        assert_eq!(send(&mut width, 1, 1.2 * MB, 400, 200), 3);
        assert_eq!(send(&mut width, 1, 0.1 * MB, 600, 200), 1);
        let mut changes = 0;
        let mut last = send(&mut width, 1, 2.0 * MB, 800, 200);
        for round in 0..50 {
            let now = send(&mut width, 1, if round % 2 == 0 { 1.8 * MB } else { 2.2 * MB }, 1000 + 5 * round, 5);
            changes += usize::from(now != last);
            last = now;
        }
        assert!(changes <= 1, "{changes} changes");
    }

    #[test]
    fn an_idle_service_starts_again() {
        let mut width = ShardWidth::new(options());
        assert!(send(&mut width, 1, 8.0 * MB, 0, 100) >= 8);
        assert_eq!(width.observe(1, 10, Duration::from_secs(1000), 64), 1);
    }

    #[test]
    fn memory_is_bounded_and_the_loud_stay() {
        let mut width = ShardWidth::new(options());
        send(&mut width, u64::MAX, 5.0 * MB, 0, 100);
        for key in 0..10_000 {
            width.observe(key, 100, Duration::from_secs(100), 64);
            assert!(width.len() <= 100);
        }
        assert!(width.rate(u64::MAX, Duration::from_secs(100)) > 4.0 * MB);
    }

    #[test]
    fn time_going_back_and_no_partitions_do_no_harm() {
        let mut width = ShardWidth::new(options());
        assert_eq!(width.observe(1, 100, Duration::from_secs(50), 0), 1);
        assert_eq!(width.observe(1, 100, Duration::from_secs(10), 0), 1);
    }
}
