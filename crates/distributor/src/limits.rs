//! What a tenant may send: of that, what it may send per second is a token bucket per tenant and signal.

use std::collections::HashMap;
use std::time::Duration;

use bonghwa_cluster::seam::Instant;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1::TenantRates;
use bonghwa_wire::AttributeLimits;
use parking_lot::Mutex;

/// A sustained rate and the burst above it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate {
    /// Units per second.
    per_second: f64,
    /// Units that may come at once.
    burst: f64,
}

impl Rate {
    /// Of a signal. None: no limit.
    fn of(rates: &TenantRates, signal: Signal) -> Option<Self> {
        let (per_second, burst) = match signal {
            Signal::Logs => (rates.logs_rate, rates.logs_burst),
            Signal::Metrics => (rates.metrics_rate, rates.metrics_burst),
            Signal::Traces => (rates.traces_rate, rates.traces_burst),
        };
        (per_second > 0.0).then_some(Rate { per_second, burst: if burst > 0.0 { burst } else { per_second } })
    }
}

/// The defaults of a tenant that has a name: 4 MB/s of logs, 10,000 samples/s of 150,000 series, 30 MB/s of traces.
pub const NAMED_TENANT: TenantRates = TenantRates {
    logs_rate: 4e6,
    logs_burst: 6e6,
    metrics_rate: 10e3,
    metrics_burst: 200e3,
    traces_rate: 30e6,
    traces_burst: 30e6,
    shuffle_shard: 0,
    accept_ha_samples: false,
    metrics_active_series: 150_000,
    metrics_labels: 30,
    metrics_label_name_bytes: 1024,
    metrics_label_value_bytes: 2048,
};

/// Limits of all tenants.
#[derive(Clone, Debug)]
pub struct TenantLimits {
    /// Callers that name no tenant: by default without a limit, backpressure protects the node.
    pub unnamed: TenantRates,
    /// Tenants without an entry of their own.
    pub named: TenantRates,
    /// By tenant name.
    pub overrides: HashMap<String, TenantRates>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        TenantLimits { unnamed: TenantRates::default(), named: NAMED_TENANT, overrides: HashMap::new() }
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

    /// The limits of a tenant, of whom the catalog has `given`. What was set while the cluster runs goes first, then
    /// what the configuration says of the tenant, then what it says of all.
    pub(crate) fn of<'a>(&'a self, tenant: &TenantId, given: Option<&'a TenantRates>) -> &'a TenantRates {
        let limits = &self.limits;
        given
            .or_else(|| limits.overrides.get(tenant.as_str()))
            .unwrap_or_else(|| if *tenant == TenantId::default_tenant() { &limits.unnamed } else { &limits.named })
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
        given: Option<&TenantRates>,
        signal: Signal,
        cost: f64,
        now: Instant,
    ) -> Result<(), Limited> {
        let Some(rate) = Rate::of(self.of(tenant, given), signal) else { return Ok(()) };
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

/// What the labels of a tenant's series may look like, where all may look like this.
pub(crate) fn of_labels(rates: &TenantRates, all: AttributeLimits) -> AttributeLimits {
    let TenantRates { metrics_labels, metrics_label_name_bytes, metrics_label_value_bytes, .. } = *rates;
    let [count_of_all, key_of_all, value_of_all] = all.settings;
    let least = |own: u32, own_setting, all, setting_of_all| match own as usize {
        own if own > 0 && own < all => (own, own_setting),
        _ => (all, setting_of_all),
    };
    let (count, of_count) = least(metrics_labels, "limits.metrics_labels", all.count, count_of_all);
    let (key_bytes, of_key) =
        least(metrics_label_name_bytes, "limits.metrics_label_name_bytes", all.key_bytes, key_of_all);
    let (value_bytes, of_value) =
        least(metrics_label_value_bytes, "limits.metrics_label_value_bytes", all.value_bytes, value_of_all);
    AttributeLimits { count, key_bytes, value_bytes, settings: [of_count, of_key, of_value] }
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
        configured.overrides.insert("shop".into(), TenantRates::default());
        let limits = Limits::new(configured);
        let tenant = TenantId::new("shop").unwrap();
        let start = seam::now();
        let second = |n: u64| start + Duration::from_secs(n);
        let low = TenantRates { logs_rate: 10.0, logs_burst: 20.0, ..Default::default() };
        let high = TenantRates { logs_rate: 1e6, ..Default::default() };
        let none = TenantRates::default();
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
    fn other_limits_go_by_the_same_order() {
        let mut configured = TenantLimits::default();
        configured.named.shuffle_shard = 4;
        configured.overrides.insert("shop".into(), TenantRates { shuffle_shard: 2, ..Default::default() });
        let limits = Limits::new(configured);
        let given = TenantRates { shuffle_shard: 1, ..Default::default() };
        let cleared = TenantRates::default();
        for (tenant, given, expected) in [
            ("default", None, 0),
            ("bank", None, 4),
            ("shop", None, 2),
            ("shop", Some(&given), 1),
            ("shop", Some(&cleared), 0),
        ] {
            assert_eq!(limits.of(&TenantId::new(tenant).unwrap(), given).shuffle_shard, expected, "{tenant} {given:?}");
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
