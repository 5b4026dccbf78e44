//! Counting spans as they are acked, and telling of it as metrics: see [`bonghwa_wire::span_metrics`].
//!
//! Each node counts what it received since it started; a request that a sender repeats is counted again. Counters are in
//! memory alone: one that begins anew is a reset as any other counter's.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bonghwa_cluster::seam;
use bonghwa_cluster::seam::Instant;
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_wire::remote_write;
use bonghwa_wire::span_metrics::{self, Counted, Counts, Operation, SERIES, Told};
use parking_lot::Mutex;
use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

use crate::metadata::Described;
use crate::metrics;
use crate::receive::{ReceiveError, Receiver};

/// Series of an operation.
pub const OPERATION_SERIES: usize = SERIES;

/// Operations whose rows are appended together.
const TOGETHER: usize = 512;
/// Tenants' series of one node, in tenants that have all that one may have.
const FULL_TENANTS: usize = 10;

/// How spans are counted.
#[derive(Clone, Debug)]
pub struct SpanMetricsOptions {
    /// Time between two samples.
    pub interval: Duration,
    /// Series of a tenant at a time: spans of more operations than that are not counted, and that is told.
    pub max_series: usize,
    /// An operation without a span for so long ends.
    pub forget_after: Duration,
    /// The node, as the label `__metrics_gen_instance` has it.
    pub instance: String,
}

/// What was counted, by tenant.
pub(crate) struct SpanMetrics {
    options: SpanMetricsOptions,
    tenants: Mutex<HashMap<TenantId, HashMap<Operation, Kept>>>,
}

/// What was counted of an operation.
struct Kept {
    counts: Counts,
    /// When the last span came.
    seen: Instant,
    /// Unix nanoseconds.
    since: i64,
    /// Whether its first sample is stored.
    told: bool,
}

impl SpanMetrics {
    pub fn new(options: SpanMetricsOptions) -> Self {
        SpanMetrics { options, tenants: Mutex::default() }
    }

    /// Adds what one request had. Gives how many spans were not counted, as there are too many operations.
    fn add(&self, tenant: &TenantId, counted: impl IntoIterator<Item = (Operation, Counts)>) -> u64 {
        let (now, since) = (seam::now(), seam::unix_nanos());
        let most = (self.options.max_series / SERIES).max(1);
        let mut tenants = self.tenants.lock();
        let mut all: usize = tenants.values().map(HashMap::len).sum();
        let own = tenants.entry(tenant.clone()).or_default();
        let mut passed_over = 0;
        for (operation, counts) in counted {
            if let Some(known) = own.get_mut(&operation) {
                known.counts.add(&counts);
                known.seen = now;
            } else if own.len() < most && all < most.saturating_mul(FULL_TENANTS) {
                all += 1;
                own.insert(operation, Kept { counts, seen: now, since, told: false });
            } else {
                passed_over += counts.calls();
            }
        }
        passed_over
    }

    /// The samples of a time, in batches, and which operations begin with each. What nobody sends any more ends.
    fn samples(&self, time: i64) -> Vec<(TenantId, Batch, Vec<Operation>)> {
        let now = seam::now();
        let zero = time.saturating_sub(i64::try_from(self.options.interval.as_nanos()).unwrap_or(i64::MAX));
        let mut samples = Vec::new();
        let mut tenants = self.tenants.lock();
        for (tenant, counted) in tenants.iter_mut() {
            let ends = |counted: &Kept| now.saturating_duration_since(counted.seen) > self.options.forget_after;
            let mut all: Vec<(&Operation, &mut Kept)> = counted.iter_mut().collect();
            all.sort_by(|(a, _), (b, _)| {
                (&a.service, &a.name, a.kind, a.status).cmp(&(&b.service, &b.name, b.kind, b.status))
            });
            for some in all.chunks_mut(TOGETHER) {
                let told = some.iter().map(|(operation, counted)| Told {
                    operation,
                    counts: &counted.counts,
                    since: counted.since,
                    zero: (!counted.told).then_some(zero),
                    ends: ends(counted),
                });
                let rows = span_metrics::rows(told, &self.options.instance, time);
                let begin = some.iter().filter(|(_, counted)| !counted.told);
                samples.push((tenant.clone(), Batch::Metrics(rows), begin.map(|(one, _)| (*one).clone()).collect()));
                some.iter_mut().for_each(|(_, counted)| counted.counts.forget_exemplars());
            }
            counted.retain(|_, counted| !ends(counted));
        }
        tenants.retain(|_, counted| !counted.is_empty());
        samples
    }

    /// The first samples of these are stored.
    fn began(&self, tenant: &TenantId, operations: &[Operation]) {
        let mut tenants = self.tenants.lock();
        let Some(counted) = tenants.get_mut(tenant) else { return };
        for operation in operations {
            if let Some(counted) = counted.get_mut(operation) {
                counted.told = true;
            }
        }
    }
}

impl Receiver {
    /// What is to be counted of a request.
    pub(crate) fn uncounted(&self, batch: &Batch) -> Option<Counted> {
        match batch {
            Batch::Traces(spans) if self.span_metrics.is_some() => Some(span_metrics::count(spans)),
            _ => None,
        }
    }

    /// Counts what was acked.
    pub(crate) fn count_spans(&self, tenant: &TenantId, counted: Option<Counted>) {
        let (Some(span_metrics), Some(counted)) = (&self.span_metrics, counted) else { return };
        let passed_over = span_metrics.add(tenant, counted);
        if passed_over > 0 {
            metrics::UNCOUNTED_SPANS.with_label_values(&[&self.labels.of(tenant)]).inc_by(passed_over);
        }
    }

    /// Tells of spans again and again, where they are counted, until it is dropped.
    pub async fn tell_of_spans(self: Arc<Self>) {
        let Some(span_metrics) = &self.span_metrics else { return };
        loop {
            seam::sleep(span_metrics.options.interval).await;
            self.tell_of_spans_now().await;
        }
    }

    /// Writes what was counted until now.
    pub async fn tell_of_spans_now(&self) {
        let Some(span_metrics) = &self.span_metrics else { return };
        let time = seam::unix_nanos();
        let samples = span_metrics.samples(time);
        for (number, (tenant, batch, begin)) in (0u64..).zip(samples) {
            let mut name = Xxh3::new();
            name.update(b"span metrics\0");
            name.update(span_metrics.options.instance.as_bytes());
            let name = xxh3_128_with_seed(&name.digest128().to_le_bytes(), time as u64 ^ number.rotate_left(48));
            match self.tell(&tenant, name, batch).await {
                Ok(()) => span_metrics.began(&tenant, &begin),
                Err(error) => {
                    tracing::warn!(%tenant, %error, "metrics of spans could not be written: the next ones have what these had");
                }
            }
        }
    }

    async fn tell(&self, tenant: &TenantId, name: u128, batch: Batch) -> Result<(), ReceiveError> {
        self.append(tenant, name, batch).await?;
        let (now, arrival) = (seam::now(), seam::unix_nanos());
        let mut metadata = Vec::from(span_metrics::metadata());
        metadata.retain(|metadata| self.described.is_new(tenant, metadata, now));
        if metadata.is_empty() {
            return Ok(());
        }
        let name = xxh3_128_with_seed(b"metadata of span metrics", Described::period(arrival));
        self.append(tenant, name, remote_write::metadata_batch(&metadata, arrival)).await?;
        self.described.remember(tenant, &metadata, now);
        Ok(())
    }
}
