//! Splitting a batch over the partitions of its signal.

use std::collections::HashMap;
use std::time::Duration;

use bonghwa_cluster::Catalog;
use bonghwa_cluster::seam::Instant;
use bonghwa_model::batch::{Batch, Group, Resource};
use bonghwa_model::heartbeat::SCOPE;
use bonghwa_model::{Signal, TenantId, json};
use bonghwa_ring::{ShardSet, ShardWidth, ShardWidthOptions, TenantRing, key};
use parking_lot::Mutex;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Chooses partitions: the ring of the newest catalog, widths from measured rates.
pub(crate) struct Router {
    widths: Mutex<HashMap<Signal, ShardWidth>>,
    started: Instant,
}

/// A part of a batch and the partition that takes it.
pub(crate) struct Part {
    pub partition: String,
    pub batch: Batch,
    /// A hash of which rows of the batch these are, heartbeats aside.
    pub rows: u64,
}

/// [`Part::rows`] of all rows.
const ALL_ROWS: u64 = 0;

impl Router {
    pub(crate) fn new(widths: ShardWidthOptions, now: Instant) -> Self {
        let widths = Signal::ALL.into_iter().map(|s| (s, ShardWidth::new(widths))).collect();
        Router { widths: Mutex::new(widths), started: now }
    }

    /// The parts of a batch, by partition: of those `shuffle_shard` that are the tenant's, 0 for all.
    /// `None`: the signal has no partition to write to.
    pub(crate) fn split(
        &self,
        catalog: &Catalog,
        tenant: &TenantId,
        shuffle_shard: usize,
        batch: Batch,
        now: Instant,
    ) -> Option<Vec<Part>> {
        let ring = catalog.ring(batch.signal()).of_tenant(tenant, shuffle_shard);
        let shards = self.shard_sets(&ring, tenant, &batch, now.saturating_duration_since(self.started));
        let first = shards.first()?.pick(0)?;
        if shards.iter().all(|s| s.len() == 1 && s.pick(0) == Some(first)) {
            return Some(vec![Part { partition: first.to_string(), batch, rows: ALL_ROWS }]);
        }
        let mut rows: HashMap<&str, Vec<u32>> = HashMap::new();
        for (group, range) in batch.common().group_ranges() {
            let shards = &shards[group.resource as usize];
            if shards.len() == 1 {
                rows.entry(&**shards.pick(0)?).or_default().extend(range.map(|row| row as u32));
                continue;
            }
            for row in range {
                rows.entry(&**shards.pick(item_hash(&batch, group.resource, row))?).or_default().push(row as u32);
            }
        }
        let sent = sent(&batch) as u32;
        let part = |(partition, rows): (&str, Vec<u32>)| Part {
            partition: partition.to_owned(),
            batch: batch.take(&rows),
            rows: rows
                .iter()
                .filter(|row| **row < sent)
                .fold(ALL_ROWS + 1, |hash, row| xxh3_64_with_seed(&row.to_le_bytes(), hash)),
        };
        let mut parts: Vec<Part> = rows.into_iter().map(part).collect();
        parts.sort_by(|a, b| a.partition.cmp(&b.partition));
        Some(parts)
    }

    /// The shard set of each resource, its service's rate counted.
    fn shard_sets(&self, ring: &TenantRing<'_>, tenant: &TenantId, batch: &Batch, now: Duration) -> Vec<ShardSet> {
        let common = batch.common();
        let mut rows = vec![0u64; common.resources.len()];
        for (group, range) in common.group_ranges() {
            rows[group.resource as usize] += range.len() as u64;
        }
        let bytes_per_row = (batch.heap_bytes() / batch.rows().max(1)) as u64;
        let mut widths = self.widths.lock();
        let shard_set = |(resource, rows): (&Resource, &u64)| {
            let key = key(tenant, &resource.service_name);
            let width =
                widths.get_mut(&batch.signal()).map_or(1, |w| w.observe(key, rows * bytes_per_row, now, ring.len()));
            ring.shard_set(key, width)
        };
        common.resources.iter().zip(&rows).map(shard_set).collect()
    }
}

/// How many rows were sent: heartbeats come last, and a request that comes again may have others.
fn sent(batch: &Batch) -> usize {
    let common = batch.common();
    let is_heartbeats = |group: &Group| common.scopes.get(group.scope as usize).is_some_and(|s| s.name == SCOPE);
    let mut heartbeats = common.group_ranges().filter(|(group, _)| is_heartbeats(group));
    heartbeats.next().map_or(batch.rows(), |(_, rows)| rows.start)
}

/// What decides the partition of a row inside its service's shard set: a trace goes by its
/// id, a series by its identity, a log record by its stream.
fn item_hash(batch: &Batch, resource: u32, row: usize) -> u64 {
    match batch {
        Batch::Traces(b) => xxh3_64(&b.trace_id[row]),
        Batch::Metrics(b) => b.series[row][0] ^ b.series[row][1],
        Batch::Logs(b) => {
            let mut stream = Vec::new();
            json::write_object(&mut stream, &b.common.resources[resource as usize].attributes);
            stream.push(b.severity_number[row]);
            xxh3_64(&stream)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::{BTreeMap, BTreeSet};

    use bonghwa_cluster::seam;
    use bonghwa_model::Value;
    use bonghwa_model::batch::Scope;
    use bonghwa_model::metrics::{Metric, MetricBatch, MetricRow};
    use bonghwa_model::spans::{SpanBatch, SpanRow};
    use bonghwa_protocol::v1;

    use super::*;

    fn catalog(partitions: usize) -> Catalog {
        catalog_of(Signal::Traces, partitions)
    }

    fn catalog_of(signal: Signal, partitions: usize) -> Catalog {
        let partitions = (1..=partitions).map(|n| v1::Partition {
            name: format!("{signal}-{n:04}"),
            signal: v1::Signal::from(signal) as i32,
            state: v1::PartitionState::Active as i32,
            replicas: vec![1],
            watermark: 0,
        });
        Catalog::from_snapshot(&v1::Snapshot { version: 1, partitions: partitions.collect(), ..Default::default() })
    }

    /// 32 services with 64 spans each, traces of 8 spans.
    fn batch() -> Batch {
        let mut batch = SpanBatch::default();
        batch.common.scopes.push(Scope::default());
        for service in 0..32u32 {
            batch.common.resources.push(Resource { service_name: format!("service-{service}"), ..Default::default() });
            for span in 0..64u8 {
                let mut trace_id = [span / 8 + 1; 16];
                trace_id[0] = service as u8;
                batch.push_row(SpanRow { trace_id, span_id: [span + 1; 8], ..Default::default() });
            }
            batch.common.close_group(service, 0, (service + 1) * 64);
        }
        Batch::Traces(batch)
    }

    type Trace = [u8; 16];

    /// Partition -> service -> traces, and that no span was lost or doubled.
    fn traces(parts: &[Part]) -> BTreeMap<String, BTreeMap<String, BTreeSet<Trace>>> {
        let mut found: BTreeMap<String, BTreeMap<String, BTreeSet<Trace>>> = BTreeMap::new();
        let mut spans = BTreeSet::new();
        for Part { partition, batch, .. } in parts {
            let Batch::Traces(part) = batch else { continue };
            for (group, range) in part.common.group_ranges() {
                let service = &part.common.resources[group.resource as usize].service_name;
                for row in range {
                    assert!(spans.insert((part.trace_id[row], part.span_id[row])), "doubled");
                    let services = found.entry(partition.clone()).or_default();
                    services.entry(service.clone()).or_default().insert(part.trace_id[row]);
                }
            }
        }
        assert_eq!(spans.len(), 32 * 64, "lost");
        found
    }

    #[test]
    fn a_quiet_service_goes_to_one_partition() {
        let router = Router::new(ShardWidthOptions::default(), seam::now());
        let parts = router.split(&catalog(4), &TenantId::default_tenant(), 0, batch(), seam::now()).unwrap();
        let found = traces(&parts);
        assert_eq!(found.len(), 4, "32 services reach all partitions");
        let services: usize = found.values().map(BTreeMap::len).sum();
        assert_eq!(services, 32, "and none is in two");
    }

    #[test]
    fn a_hot_service_spreads_and_its_traces_stay_whole() {
        let hot = ShardWidthOptions { target_rate: 1e-6, ..Default::default() };
        let router = Router::new(hot, seam::now());
        let parts = router.split(&catalog(4), &TenantId::default_tenant(), 0, batch(), seam::now()).unwrap();
        let found = traces(&parts);
        let spread: usize = found.values().map(BTreeMap::len).sum();
        assert!(spread > 64, "32 services are in {spread} places");
        let places: usize = found.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum();
        assert_eq!(places, 32 * 8, "each of 8 traces of a service is in one place");
    }

    /// Hot services of a tenant with a shuffle shard stay in it, all of them together.
    #[test]
    fn a_tenant_stays_in_its_shard() {
        let (tenant, catalog) = (TenantId::new("shop").unwrap(), catalog(16));
        let hot = ShardWidthOptions { target_rate: 1e-6, ..Default::default() };
        for size in [1, 3] {
            let own = catalog.ring(Signal::Traces).of_tenant(&tenant, size);
            let own: BTreeSet<String> = own.shard_set(0, size).partitions().map(ToString::to_string).collect();
            for widths in [ShardWidthOptions::default(), hot] {
                let router = Router::new(widths, seam::now());
                let parts = router.split(&catalog, &tenant, size, batch(), seam::now()).unwrap();
                assert_eq!(traces(&parts).into_keys().collect::<BTreeSet<_>>(), own, "{widths:?}");
            }
        }
    }

    /// A request that comes again may have other heartbeats: what was sent is to be known again.
    #[test]
    fn heartbeats_change_no_names() {
        let hot = ShardWidthOptions { target_rate: 1e-6, ..Default::default() };
        let names = |max_age: i64| -> BTreeMap<String, u64> {
            let mut batch = MetricBatch::default();
            let attributes = vec![("service.name".to_owned(), Value::Str("shop".into()))];
            batch.common.resources.push(Resource { attributes, ..Default::default() });
            batch.common.scopes.push(Scope::default());
            batch.metrics.push(Metric::default());
            for series in 0..64 {
                batch.push_row(MetricRow { series: [series, 0], ..Default::default() });
            }
            batch.common.close_group(0, 0, 64);
            let mut batch = Batch::Metrics(batch);
            bonghwa_wire::heartbeat::add(&mut batch, 1_000_000, max_age);
            assert_eq!(batch.rows(), if max_age > 0 { 65 } else { 64 });
            let router = Router::new(hot, seam::now());
            let (catalog, tenant) = (catalog_of(Signal::Metrics, 4), TenantId::default_tenant());
            let parts = router.split(&catalog, &tenant, 0, batch, seam::now()).unwrap();
            parts.into_iter().map(|part| (part.partition, part.rows)).collect()
        };
        let sent = names(0);
        assert!(sent.len() > 1, "{sent:?}");
        assert_eq!(names(i64::MAX), sent);
    }

    #[test]
    fn without_partitions_nothing_is_taken() {
        let router = Router::new(ShardWidthOptions::default(), seam::now());
        assert!(router.split(&catalog(0), &TenantId::default_tenant(), 0, batch(), seam::now()).is_none());
    }
}
