//! What a tenant may send per second: a token bucket per tenant and signal; and how many partitions
//! take it.

use std::collections::HashMap;
use std::time::Duration;

use bonghwa_cluster::seam::Instant;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use parking_lot::Mutex;

/// A sustained rate and the burst above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units per second.
    pub per_second: f64,
    /// Units that may come at once.
    pub burst: f64,
}

impl Rate {
    /// This rate and burst, as they are configured: a rate of 0 is no limit, a burst of 0 a second's worth.
    pub fn new(per_second: f64, burst: f64) -> Option<Self> {
        (per_second > 0.0).then_some(Rate { per_second, burst: if burst > 0.0 { burst } else { per_second } })
    }
}

/// Limits of one tenant. A rate of `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SignalLimits {
    /// Logs, in decompressed bytes.
    pub logs: Option<Rate>,
    /// Metrics, in samples.
    pub metrics: Option<Rate>,
    /// Traces, in decompressed bytes.
    pub traces: Option<Rate>,
    /// Partitions of each signal that its data may go to. 0: all.
    pub shuffle_shard: usize,
    /// Whether of several Prometheus servers that scrape the same, one is elected, and the others' samples
    /// are not taken.
    pub accept_ha_samples: bool,
}

impl SignalLimits {
    /// The defaults of a named tenant: 4 MB/s of logs, 10,000 samples/s, 30 MB/s of traces.
    pub fn named_tenant() -> Self {
        SignalLimits {
            logs: Some(Rate { per_second: 4e6, burst: 6e6 }),
            metrics: Some(Rate { per_second: 10e3, burst: 200e3 }),
            traces: Some(Rate { per_second: 30e6, burst: 30e6 }),
            shuffle_shard: 0,
            accept_ha_samples: false,
        }
    }

    /// Limits that were set while the cluster runs.
    fn given(rates: &v1::TenantRates) -> Self {
        SignalLimits {
            logs: Rate::new(rates.logs_rate, rates.logs_burst),
            metrics: Rate::new(rates.metrics_rate, rates.metrics_burst),
            traces: Rate::new(rates.traces_rate, rates.traces_burst),
            shuffle_shard: rates.shuffle_shard as usize,
            accept_ha_samples: rates.accept_ha_samples,
        }
    }

    fn of(&self, signal: Signal) -> Option<Rate> {
        match signal {
            Signal::Logs => self.logs,
            Signal::Metrics => self.metrics,
            Signal::Traces => self.traces,
        }
    }
}

/// Limits of all tenants.
#[derive(Clone, Debug)]
pub struct TenantLimits {
    /// Callers that name no tenant: by default without a limit, backpressure protects the node.
    pub unnamed: SignalLimits,
    /// Tenants without an entry of their own.
    pub named: SignalLimits,
    /// By tenant name.
    pub overrides: HashMap<String, SignalLimits>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        let unnamed = SignalLimits::default();
        TenantLimits { unnamed, named: SignalLimits::named_tenant(), overrides: HashMap::new() }
    }
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Why a request was not admitted.
#[derive(Debug, PartialEq)]
pub(crate) struct Limited {
    pub retry_after: Duration,
    pub message: String,
}

pub(crate) struct Limits {
    limits: TenantLimits,
    buckets: Mutex<Buckets>,
}

/// Names come from headers: anybody can make up new ones.
const MAX_BUCKETS: usize = 100_000;
/// A bucket that nobody drew from for so long says nothing: it is full again.
const FULL_AGAIN: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Buckets {
    by_tenant: HashMap<(TenantId, Signal), Bucket>,
    /// What tenants share for whom there is no room.
    shared: HashMap<Signal, Bucket>,
    swept: Option<Instant>,
}

impl Buckets {
    fn of(&mut self, tenant: &TenantId, signal: Signal, rate: Rate, now: Instant) -> &mut Bucket {
        let full = Bucket { tokens: rate.burst, at: now };
        let key = (tenant.clone(), signal);
        if self.by_tenant.len() >= MAX_BUCKETS && !self.by_tenant.contains_key(&key) {
            let since = |then| now.saturating_duration_since(then);
            if self.swept.is_none_or(|swept| since(swept) > FULL_AGAIN / 10) {
                self.by_tenant.retain(|_, bucket| since(bucket.at) <= FULL_AGAIN);
                self.swept = Some(now);
            }
            if self.by_tenant.len() >= MAX_BUCKETS {
                return self.shared.entry(signal).or_insert(full);
            }
        }
        self.by_tenant.entry(key).or_insert(full)
    }
}

impl Limits {
    pub(crate) fn new(limits: TenantLimits) -> Self {
        Limits { limits, buckets: Mutex::default() }
    }

    /// What was set while the cluster runs goes first, then what the configuration says of the
    /// tenant, then what it says of all.
    fn of(&self, tenant: &TenantId, given: Option<&v1::TenantRates>) -> SignalLimits {
        if let Some(rates) = given {
            return SignalLimits::given(rates);
        }
        *self.limits.overrides.get(tenant.as_str()).unwrap_or_else(|| {
            if *tenant == TenantId::default_tenant() { &self.limits.unnamed } else { &self.limits.named }
        })
    }

    /// How many partitions of each signal the tenant's data may go to; 0: all. `given` are the
    /// catalog's limits of the tenant.
    pub(crate) fn shuffle_shard(&self, tenant: &TenantId, given: Option<&v1::TenantRates>) -> usize {
        self.of(tenant, given).shuffle_shard
    }

    /// Whether the tenant's remote write may come from several replicas. `given` are the catalog's limits of
    /// the tenant.
    pub(crate) fn accepts_replicas(&self, tenant: &TenantId, given: Option<&v1::TenantRates>) -> bool {
        self.of(tenant, given).accept_ha_samples
    }

    /// Whether `cost` is a number of samples rather than of bytes.
    pub(crate) fn counts_items(signal: Signal) -> bool {
        signal == Signal::Metrics
    }

    /// Takes `cost` from the bucket. A request larger than the burst is admitted by a full bucket
    /// and paid for afterwards; else it could never be sent. `given` are the catalog's rates of the tenant.
    pub(crate) fn admit(
        &self,
        tenant: &TenantId,
        given: Option<&v1::TenantRates>,
        signal: Signal,
        cost: f64,
        now: Instant,
    ) -> Result<(), Limited> {
        let Some(rate) = self.of(tenant, given).of(signal) else { return Ok(()) };
        let mut buckets = self.buckets.lock();
        let bucket = buckets.of(tenant, signal, rate, now);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * rate.per_second).min(rate.burst);
        bucket.at = now;
        let needed = cost.min(rate.burst);
        if bucket.tokens >= needed {
            bucket.tokens -= cost;
            return Ok(());
        }
        let wait = ((needed - bucket.tokens) / rate.per_second).clamp(1.0, 60.0);
        let unit = if Self::counts_items(signal) { "samples" } else { "bytes" };
        let message = format!(
            "tenant {tenant} sends more {signal} than its limit of {} {unit} per second (burst {}): wait {} s, or have limits.{signal} raised",
            rate.per_second,
            rate.burst,
            wait.ceil()
        );
        Err(Limited { retry_after: Duration::from_secs_f64(wait.ceil()), message })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_cluster::seam;

    use super::*;

    #[test]
    fn a_bucket_empties_refills_and_names_the_wait() {
        let limits = Limits::new(TenantLimits::default());
        let tenant = TenantId::new("shop").unwrap();
        let start = seam::now();
        assert_eq!(limits.admit(&tenant, None, Signal::Logs, 6e6, start), Ok(()));
        let refused = limits.admit(&tenant, None, Signal::Logs, 4e6, start).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(1));
        assert!(refused.message.contains("limits.logs"), "{}", refused.message);
        assert_eq!(limits.admit(&tenant, None, Signal::Logs, 4e6, start + Duration::from_secs(1)), Ok(()));
        assert_eq!(
            limits.admit(&tenant, None, Signal::Traces, 1.0, start),
            Ok(()),
            "signals have buckets of their own"
        );
    }

    #[test]
    fn a_request_above_the_burst_passes_once_and_is_paid_for() {
        let limits = Limits::new(TenantLimits::default());
        let tenant = TenantId::new("shop").unwrap();
        let start = seam::now();
        assert_eq!(limits.admit(&tenant, None, Signal::Logs, 14e6, start), Ok(()));
        assert!(limits.admit(&tenant, None, Signal::Logs, 1.0, start + Duration::from_secs(1)).is_err());
        assert_eq!(limits.admit(&tenant, None, Signal::Logs, 1.0, start + Duration::from_secs(3)), Ok(()));
    }

    #[test]
    fn rates_that_are_set_at_run_time_hold_at_once() {
        let mut configured = TenantLimits::default();
        configured.overrides.insert("shop".into(), SignalLimits::default());
        let limits = Limits::new(configured);
        let tenant = TenantId::new("shop").unwrap();
        let start = seam::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let low = v1::TenantRates { logs_rate: 10.0, logs_burst: 20.0, ..Default::default() };
        let high = v1::TenantRates { logs_rate: 1e6, ..Default::default() };
        let none = v1::TenantRates::default();
        let admit = |given, cost, now| limits.admit(&tenant, given, Signal::Logs, cost, now).is_ok();
        assert!(admit(None, 1e12, start), "the configuration gives it no limit");
        assert!(admit(Some(&low), 20.0, start));
        assert!(!admit(Some(&low), 10.0, start));
        assert!(admit(Some(&low), 10.0, second(1)));
        assert!(!admit(Some(&low), 10.0, second(1)));
        assert!(admit(Some(&high), 1e5, second(2)), "it refills by the rate that holds now");
        assert!(admit(Some(&none), 1e12, second(2)), "a rate of 0 is no limit");
        assert!(admit(Some(&low), 20.0, second(2)));
        assert!(!admit(Some(&low), 1.0, second(2)), "the bucket is as small again as the burst says");
        assert!(admit(None, 1e12, second(2)));
        assert!(
            limits.admit(&tenant, Some(&low), Signal::Traces, 1e12, start).is_ok(),
            "what is not named has no limit"
        );
    }

    #[test]
    fn the_shard_goes_by_the_same_order_as_rates() {
        let mut configured = TenantLimits::default();
        configured.named.shuffle_shard = 4;
        configured.overrides.insert("shop".into(), SignalLimits { shuffle_shard: 2, ..Default::default() });
        let limits = Limits::new(configured);
        let given = v1::TenantRates { shuffle_shard: 1, ..Default::default() };
        let cleared = v1::TenantRates::default();
        for (tenant, given, expected) in [
            ("default", None, 0),
            ("bank", None, 4),
            ("shop", None, 2),
            ("shop", Some(&given), 1),
            ("shop", Some(&cleared), 0),
        ] {
            assert_eq!(limits.shuffle_shard(&TenantId::new(tenant).unwrap(), given), expected, "{tenant} {given:?}");
        }
    }

    #[test]
    fn made_up_tenants_share_what_is_left() {
        let limits = Limits::new(TenantLimits::default());
        let start = seam::now();
        let admit = |name: String, now| limits.admit(&TenantId::new(&name).unwrap(), None, Signal::Logs, 6e6, now);
        for n in 0..MAX_BUCKETS {
            assert_eq!(admit(format!("t{n}"), start), Ok(()));
        }
        assert_eq!(admit("first.too.many".into(), start), Ok(()));
        assert!(admit("second.too.many".into(), start).is_err(), "they share one bucket");
        let later = start + 2 * FULL_AGAIN;
        assert_eq!(
            (admit("third".into(), later), admit("fourth".into(), later)),
            (Ok(()), Ok(())),
            "there is room again"
        );
    }

    #[test]
    fn callers_without_a_tenant_are_not_limited() {
        let limits = Limits::new(TenantLimits::default());
        assert_eq!(limits.admit(&TenantId::default_tenant(), None, Signal::Metrics, 1e12, seam::now()), Ok(()));
    }
}
