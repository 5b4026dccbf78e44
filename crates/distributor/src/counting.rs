//! Counters in memory, by tenant and key, of which samples are told every few seconds: see [`bonghwa_wire::derived`].
//!
//! Each node counts what it received since it started; a request that a sender repeats is counted again. A counter that
//! begins anew is a reset as any other counter's.

use std::collections::HashMap;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_cluster::seam::Instant;
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_wire::derived::{self, Counters, Told};
use bonghwa_wire::remote_write;
use parking_lot::Mutex;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::metadata::Described;
use crate::receive::{ReceiveError, Receiver};

/// Rows that are appended together, about.
const TOGETHER: usize = 10_000;
/// What one node keeps of all tenants, in tenants that have all that one may have.
pub(crate) const FULL_TENANTS: usize = 10;

/// How something is counted, and told.
#[derive(Clone, Debug)]
pub struct CountingOptions {
    /// Time between two samples.
    pub interval: Duration,
    /// Series of a tenant at a time: what needs more keys than that is not counted, and that is told.
    pub max_series: usize,
    /// A key of which nothing came for so long ends.
    pub forget_after: Duration,
    /// The node, as the label `__metrics_gen_instance` has it.
    pub instance: String,
}

/// What was counted, by tenant.
pub(crate) struct Counting<C: Counters> {
    options: CountingOptions,
    tenants: Mutex<HashMap<TenantId, Counted<C>>>,
}

type Counted<C> = HashMap<<C as Counters>::Key, Kept<C>>;

/// What was counted of a key.
struct Kept<C> {
    counts: C,
    /// When the last of it came.
    seen: Instant,
    /// Unix nanoseconds.
    since: i64,
    /// Whether its first sample is stored.
    told: bool,
}

/// Samples of a tenant that are appended together, and what begins with them.
pub(crate) struct Samples<C: Counters> {
    pub tenant: TenantId,
    pub batch: Batch,
    begin: Vec<C::Key>,
}

impl<C: Counters> Counting<C> {
    pub fn new(options: CountingOptions) -> Self {
        Counting { options, tenants: Mutex::default() }
    }

    pub fn interval(&self) -> Duration {
        self.options.interval
    }

    /// Adds what came. Gives how many calls were not counted, as there are too many keys.
    pub fn add(&self, tenant: &TenantId, counted: impl IntoIterator<Item = (C::Key, C)>) -> u64 {
        let (now, since) = (seam::now(), seam::unix_nanos());
        let most = (self.options.max_series / C::SERIES).max(1);
        let mut tenants = self.tenants.lock();
        let mut all: usize = tenants.values().map(HashMap::len).sum();
        let own = tenants.entry(tenant.clone()).or_default();
        let mut passed_over = 0;
        for (key, counts) in counted {
            if let Some(known) = own.get_mut(&key) {
                known.counts.add(&counts);
                known.seen = now;
            } else if own.len() < most && all < most.saturating_mul(FULL_TENANTS) {
                all += 1;
                own.insert(key, Kept { counts, seen: now, since, told: false });
            } else {
                passed_over += counts.calls();
            }
        }
        passed_over
    }

    /// The samples of a time. What nothing comes of any more ends.
    pub fn samples(&self, time: i64) -> Vec<Samples<C>> {
        let now = seam::now();
        let zero = time.saturating_sub(i64::try_from(self.options.interval.as_nanos()).unwrap_or(i64::MAX));
        let ends = |kept: &Kept<C>| now.saturating_duration_since(kept.seen) > self.options.forget_after;
        let mut samples = Vec::new();
        let mut tenants = self.tenants.lock();
        for (tenant, counted) in tenants.iter_mut() {
            let mut all: Vec<(&C::Key, &mut Kept<C>)> = counted.iter_mut().collect();
            all.sort_by_key(|(key, _)| *key);
            for some in all.chunks_mut((TOGETHER / C::SERIES).max(1)) {
                let told = some.iter().map(|(key, kept)| Told {
                    key: *key,
                    counts: &kept.counts,
                    since: kept.since,
                    zero: (!kept.told).then_some(zero),
                    ends: ends(kept),
                });
                let batch = Batch::Metrics(derived::rows(told, &self.options.instance, time));
                let begin = some.iter().filter(|(_, kept)| !kept.told).map(|(key, _)| (*key).clone()).collect();
                samples.push(Samples { tenant: tenant.clone(), batch, begin });
                some.iter_mut().for_each(|(_, kept)| kept.counts.forget_exemplars());
            }
            counted.retain(|_, kept| !ends(kept));
        }
        tenants.retain(|_, counted| !counted.is_empty());
        samples
    }

    /// The first samples of these are stored.
    fn began(&self, tenant: &TenantId, keys: &[C::Key]) {
        let mut tenants = self.tenants.lock();
        let Some(counted) = tenants.get_mut(tenant) else { return };
        for key in keys {
            if let Some(kept) = counted.get_mut(key) {
                kept.told = true;
            }
        }
    }
}

impl Receiver {
    /// Writes what was counted until now.
    pub(crate) async fn tell<C: Counters>(&self, counting: &Counting<C>) {
        let time = seam::unix_nanos();
        for (number, Samples { tenant, batch, begin }) in (0u64..).zip(counting.samples(time)) {
            let mut name = Xxh3::new();
            name.update(C::WHAT.as_bytes());
            name.update(b"\0");
            name.update(counting.options.instance.as_bytes());
            let name = xxh3_128_with_seed(&name.digest128().to_le_bytes(), time as u64 ^ number.rotate_left(48));
            match self.tell_of::<C>(&tenant, name, batch).await {
                Ok(()) => counting.began(&tenant, &begin),
                Err(error) => {
                    tracing::warn!(%tenant, %error, "{} could not be written: the next samples have what these had", C::WHAT);
                }
            }
        }
    }

    async fn tell_of<C: Counters>(&self, tenant: &TenantId, name: u128, batch: Batch) -> Result<(), ReceiveError> {
        self.append(tenant, name, batch).await?;
        let (now, arrival) = (seam::now(), seam::unix_nanos());
        let mut metadata = C::metadata();
        metadata.retain(|metadata| self.described.is_new(tenant, metadata, now));
        if metadata.is_empty() {
            return Ok(());
        }
        let name = format!("metadata of {} of {tenant}", C::WHAT);
        let name = xxh3_128_with_seed(name.as_bytes(), Described::period(arrival));
        self.append(tenant, name, remote_write::metadata_batch(&metadata, arrival)).await?;
        self.described.remember(tenant, &metadata, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bonghwa_model::batch::Resource;
    use bonghwa_model::prometheus::STALE_NAN;
    use bonghwa_model::spans::{SpanBatch, SpanRow};
    use bonghwa_wire::span_metrics::{self, Counts};

    use super::*;

    /// One span of each of these names.
    fn spans(names: &[&str]) -> span_metrics::Counted {
        let mut batch = SpanBatch::default();
        batch.common.resources.push(Resource { service_name: "shop".into(), ..Default::default() });
        batch.common.scopes.push(Default::default());
        for name in names {
            let name = batch.common.arena.push(name.as_bytes());
            batch.push_row(SpanRow { name, ..Default::default() });
        }
        batch.common.close_group(0, 0, names.len() as u32);
        span_metrics::count(&batch)
    }

    /// The values of a time, and how many keys begin with it.
    fn values(counting: &Counting<Counts>) -> (Vec<u64>, Vec<Samples<Counts>>) {
        let samples = counting.samples(60_000_000_000);
        let values = samples.iter().flat_map(|samples| match &samples.batch {
            Batch::Metrics(rows) => rows.value.clone(),
            other => panic!("{other:?}"),
        });
        (values.collect(), samples)
    }

    #[tokio::test(start_paused = true)]
    async fn counters_begin_and_end_and_are_bounded() {
        let (series, forget_after) = (Counts::SERIES, Duration::from_secs(60));
        let options = CountingOptions {
            interval: Duration::from_secs(15),
            max_series: 2 * series + 1,
            forget_after,
            instance: String::new(),
        };
        let counting = Counting::<Counts>::new(options);
        let tenant = TenantId::default_tenant();
        assert_eq!(counting.add(&tenant, spans(&["a", "b"])), 0);
        assert_eq!(counting.add(&tenant, spans(&["c", "c", "a"])), 2, "there is no room for c");
        assert_eq!(counting.add(&TenantId::new("bank").unwrap(), spans(&["c"])), 0, "tenants have their own");

        // A zero comes first, until it is stored.
        for _ in 0..2 {
            assert_eq!(values(&counting).0.len(), 3 * 2 * series);
        }
        for Samples { tenant, begin, .. } in values(&counting).1 {
            counting.began(&tenant, &begin);
        }
        assert_eq!(values(&counting).0.len(), 3 * series);
        tokio::time::advance(forget_after).await;
        assert_eq!(counting.add(&tenant, spans(&["b"])), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        let stale = values(&counting).0.iter().filter(|value| **value == STALE_NAN).count();
        assert_eq!(stale, 2 * series, "nothing came of two of them");
        assert_eq!(values(&counting).0.len(), series);
    }
}
