//! How many series a tenant has. Those beyond its limit are rejected; what is known goes on.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bonghwa_cluster::seam::Instant;
use bonghwa_model::TenantId;
use bonghwa_model::batch::Batch;
use bonghwa_model::metrics::{MetricBatch, PointKind};
use bonghwa_model::prometheus::is_sample;
use bonghwa_wire::remote_write::Written;
use bonghwa_wire::{Decoded, Reason, Rejection};
use foldhash::fast::FixedState;
use parking_lot::Mutex;

/// A series is active for so long after its last sample, and for twice that at most.
const PERIOD: Duration = Duration::from_secs(600);
/// Series of all tenants that are remembered of a period, about 100 MB: more end it.
const MOST: usize = 4_000_000;

/// How each exemplar of a row begins.
const EXEMPLAR: &[u8] = b"{\"time_unix_nano\":";

/// Series by a part of their identity, which is a hash.
type Series = HashSet<u64, FixedState>;

/// The series that came here lately, of tenants whose number is limited.
#[derive(Default)]
pub(crate) struct ActiveSeries(Mutex<Periods>);

#[derive(Default)]
struct Periods {
    /// Those of this period, and those that were not seen since the one before.
    by_tenant: HashMap<TenantId, [Series; 2]>,
    began: Option<Instant>,
    /// Those of this period, of all tenants.
    held: usize,
}

impl ActiveSeries {
    /// Rejects samples of series that are new where the tenant has as many as it may: 0 is no limit. They do not
    /// count as written.
    pub(crate) fn keep(
        &self,
        tenant: &TenantId,
        limit: u64,
        decoded: &mut Decoded,
        written: &mut Written,
        now: Instant,
    ) {
        let Batch::Metrics(batch) = &decoded.batch else { return };
        if limit == 0 || batch.rows() == 0 {
            return;
        }
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut kept: Vec<u32> = Vec::with_capacity(batch.rows());
        let mut passed_over = Written::default();
        {
            let mut periods = self.0.lock();
            periods.turn(now);
            let Periods { by_tenant, held, .. } = &mut *periods;
            let [current, before] = by_tenant.entry(tenant.clone()).or_default();
            for (row, [low, high]) in batch.series.iter().enumerate() {
                let series = low ^ high;
                if !current.contains(&series) {
                    let known = before.remove(&series);
                    if !known && current.len() + before.len() >= limit {
                        count(batch, row, &mut passed_over);
                        continue;
                    }
                    current.insert(series);
                    *held += 1;
                }
                kept.push(row as u32);
            }
        }
        let rejected = (batch.rows() - kept.len()) as u64;
        if rejected == 0 {
            return;
        }
        let message = format!(
            "the tenant {tenant} has {limit} active series, its limit, and {rejected} samples are of others: send fewer \
             series, or have limits.metrics_active_series raised"
        );
        written.samples = written.samples.saturating_sub(passed_over.samples);
        written.histograms = written.histograms.saturating_sub(passed_over.histograms);
        written.exemplars = written.exemplars.saturating_sub(passed_over.exemplars);
        decoded.batch = decoded.batch.take(&kept);
        decoded.rejected += rejected;
        decoded.reasons.push(Rejection { reason: Reason::TooManySeries, count: rejected, message });
    }
}

/// What a row is to remote write.
fn count(batch: &MetricBatch, row: usize, written: &mut Written) {
    let text = batch.common.arena.bytes(batch.exemplars[row]);
    written.exemplars += text.windows(EXEMPLAR.len()).filter(|window| *window == EXEMPLAR).count() as u64;
    match PointKind::from_u8(batch.point_kind[row]) {
        Some(PointKind::Distribution | PointKind::DistributionWithoutSum) => written.histograms += 1,
        Some(kind) if is_sample(kind, batch.flags[row]) => written.samples += 1,
        _ => {}
    }
}

impl Periods {
    fn turn(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        if now.saturating_duration_since(began) < PERIOD && self.held < MOST {
            return;
        }
        self.by_tenant.retain(|_, [current, before]| {
            *before = std::mem::take(current);
            !before.is_empty()
        });
        (self.began, self.held) = (Some(now), 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_cluster::seam;
    use bonghwa_model::metrics::MetricRow;

    use super::*;

    fn samples(series: impl IntoIterator<Item = u64>) -> Decoded {
        let mut batch = MetricBatch::default();
        series.into_iter().for_each(|n| batch.push_row(MetricRow { series: [n, 0], ..Default::default() }));
        let batch = Batch::Metrics(batch);
        Decoded { batch, rejected: 0, reasons: Vec::new(), cut_values: 0, dropped_ids: 0 }
    }

    /// What is kept and what is rejected of samples.
    fn counts(active: &ActiveSeries, tenant: &str, sent: Decoded, now: Instant) -> (usize, u64) {
        let samples = sent.batch.rows() as u64;
        let mut decoded = sent;
        let mut written = Written { samples, ..Default::default() };
        active.keep(&TenantId::new(tenant).unwrap(), 100, &mut decoded, &mut written, now);
        assert_eq!(written.samples, decoded.batch.rows() as u64);
        (decoded.batch.rows(), decoded.rejected)
    }

    #[test]
    fn what_is_known_goes_on_and_what_is_new_waits_for_room() {
        let (active, start) = (ActiveSeries::default(), seam::now());
        assert_eq!(counts(&active, "shop", samples((0..60).chain(0..60)), start), (120, 0));
        assert_eq!(counts(&active, "shop", samples(50..120), start), (50, 20));
        assert_eq!(counts(&active, "shop", samples(0..100), start + PERIOD), (100, 0), "still known");
        assert_eq!(counts(&active, "bank", samples(200..300), start), (100, 0), "tenants have their own");
        assert_eq!(counts(&active, "shop", samples(200..210), start + PERIOD), (0, 10));
        assert_eq!(counts(&active, "shop", samples(0..40), start + 2 * PERIOD), (40, 0));
        assert_eq!(counts(&active, "shop", samples(200..300), start + 3 * PERIOD), (60, 40), "those that ended left");
    }

    #[test]
    fn the_reason_names_tenant_limit_and_remedy() {
        let mut decoded = samples(0..101);
        ActiveSeries::default().keep(
            &TenantId::new("shop").unwrap(),
            100,
            &mut decoded,
            &mut Written::default(),
            seam::now(),
        );
        let message = decoded.message();
        for part in ["1 of 101 data points", "tenant shop has 100 active series", "limits.metrics_active_series"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn made_up_tenants_do_not_fill_memory() {
        let (active, start) = (ActiveSeries::default(), seam::now());
        let mut periods = active.0.lock();
        periods.turn(start);
        periods.held = MOST;
        drop(periods);
        assert_eq!(counts(&active, "shop", samples(0..100), start), (100, 0));
        assert_eq!(active.0.lock().held, 100, "a new period has begun");
    }
}
