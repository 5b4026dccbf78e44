//! What a tenant may send per second: a token bucket per tenant and signal.

use std::collections::HashMap;
use std::time::Duration;

use bonghwa_cluster::seam::Instant;
use bonghwa_model::{Signal, TenantId};
use parking_lot::Mutex;

/// A sustained rate and the burst above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Units per second.
    pub per_second: f64,
    /// Units that may come at once.
    pub burst: f64,
}

/// Limits of one tenant. `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SignalLimits {
    /// Logs, in decompressed bytes.
    pub logs: Option<Rate>,
    /// Metrics, in samples.
    pub metrics: Option<Rate>,
    /// Traces, in decompressed bytes.
    pub traces: Option<Rate>,
}

impl SignalLimits {
    /// The defaults of a named tenant: 4 MB/s of logs, 10,000 samples/s, 30 MB/s of traces.
    pub fn named_tenant() -> Self {
        SignalLimits {
            logs: Some(Rate { per_second: 4e6, burst: 6e6 }),
            metrics: Some(Rate { per_second: 10e3, burst: 200e3 }),
            traces: Some(Rate { per_second: 30e6, burst: 30e6 }),
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

    fn rate(&self, tenant: &TenantId, signal: Signal) -> Option<Rate> {
        let limits = self.limits.overrides.get(tenant.as_str()).unwrap_or_else(|| {
            if *tenant == TenantId::default_tenant() { &self.limits.unnamed } else { &self.limits.named }
        });
        limits.of(signal)
    }

    /// Whether `cost` is a number of samples rather than of bytes.
    pub(crate) fn counts_items(signal: Signal) -> bool {
        signal == Signal::Metrics
    }

    /// Takes `cost` from the bucket. A request larger than the burst is admitted by a full bucket
    /// and paid for afterwards; else it could never be sent.
    pub(crate) fn admit(&self, tenant: &TenantId, signal: Signal, cost: f64, now: Instant) -> Result<(), Limited> {
        let Some(rate) = self.rate(tenant, signal) else { return Ok(()) };
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
        assert_eq!(limits.admit(&tenant, Signal::Logs, 6e6, start), Ok(()));
        let refused = limits.admit(&tenant, Signal::Logs, 4e6, start).unwrap_err();
        assert_eq!(refused.retry_after, Duration::from_secs(1));
        assert!(refused.message.contains("limits.logs"), "{}", refused.message);
        assert_eq!(limits.admit(&tenant, Signal::Logs, 4e6, start + Duration::from_secs(1)), Ok(()));
        assert_eq!(limits.admit(&tenant, Signal::Traces, 1.0, start), Ok(()), "signals have buckets of their own");
    }

    #[test]
    fn a_request_above_the_burst_passes_once_and_is_paid_for() {
        let limits = Limits::new(TenantLimits::default());
        let tenant = TenantId::new("shop").unwrap();
        let start = seam::now();
        assert_eq!(limits.admit(&tenant, Signal::Logs, 14e6, start), Ok(()));
        assert!(limits.admit(&tenant, Signal::Logs, 1.0, start + Duration::from_secs(1)).is_err());
        assert_eq!(limits.admit(&tenant, Signal::Logs, 1.0, start + Duration::from_secs(3)), Ok(()));
    }

    #[test]
    fn made_up_tenants_share_what_is_left() {
        let limits = Limits::new(TenantLimits::default());
        let start = seam::now();
        let admit = |name: String, now| limits.admit(&TenantId::new(&name).unwrap(), Signal::Logs, 6e6, now);
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
        assert_eq!(limits.admit(&TenantId::default_tenant(), Signal::Metrics, 1e12, seam::now()), Ok(()));
    }
}
