//! What a set of batches holds: counts, time range, services, attributes and their
//! types. The catalog shows it to queries; the layout of a block is chosen from it.

use std::collections::{BTreeMap, BTreeSet};

use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::{Batch, Common};
use bonghwa_model::refs::Ref;
use bonghwa_model::thin::{Piece, ThinBatch};
use bonghwa_model::{Kind, TenantId, Value};
use bonghwa_protocol::v1;
use hashbrown::HashMap;

/// More services than this are not listed.
const MAX_SERVICES: usize = 1_000;
/// More attribute keys than this are not listed.
const MAX_ATTRIBUTES: usize = 10_000;

/// What one attribute key was seen with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyStats {
    /// Bit set over [`Kind::bit`].
    pub kinds: u32,
    /// Rows that have it.
    pub rows: u64,
    /// Bytes of its values.
    pub bytes: u64,
    /// Whether a value was not a number: such columns have no usable bounds.
    pub nan: bool,
}

impl KeyStats {
    fn merge(&mut self, other: &KeyStats) {
        self.kinds |= other.kinds;
        self.rows += other.rows;
        self.bytes += other.bytes;
        self.nan |= other.nan;
    }
}

/// Accumulates the description of one tenant's rows, batch by batch.
#[derive(Clone, Debug)]
pub struct Describer {
    items: u64,
    min_time: i64,
    max_time: i64,
    services: BTreeSet<String>,
    pub(crate) resource: HashMap<String, KeyStats>,
    pub(crate) record: HashMap<String, KeyStats>,
}

impl Default for Describer {
    fn default() -> Self {
        Describer {
            items: 0,
            min_time: i64::MAX,
            max_time: i64::MIN,
            services: BTreeSet::new(),
            resource: HashMap::new(),
            record: HashMap::new(),
        }
    }
}

/// Describes batches of one tenant.
pub fn describe<'a>(batches: impl Iterator<Item = &'a Batch>) -> Describer {
    let mut describer = Describer::default();
    batches.for_each(|batch| describer.add(batch));
    describer
}

impl Describer {
    /// Log records, spans or metric points so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The time of the last row so far, Unix nanoseconds.
    pub(crate) fn max_time(&self) -> i64 {
        self.max_time
    }

    /// Takes in a batch.
    pub fn add(&mut self, batch: &Batch) {
        if batch.rows() == 0 {
            return;
        }
        self.items += batch.rows() as u64;
        for time in batch.times() {
            self.min_time = self.min_time.min(*time);
            self.max_time = self.max_time.max(*time);
        }
        let (common, attributes) = (batch.common(), batch.attributes());
        let mut rows = vec![0u64; common.resources.len()];
        for (group, range) in common.group_ranges() {
            rows[group.resource as usize] += range.len() as u64;
        }
        self.add_resources(common, &rows);
        self.add_attributes(common, attributes, 0..attributes.keys.len());
    }

    /// Takes in a piece.
    pub fn add_piece(&mut self, piece: &Piece) {
        match piece {
            Piece::Whole(batch) => self.add(batch),
            Piece::Thin(thin) => self.add_thin(thin),
        }
    }

    /// Takes in samples: each counts as the row that tells of its series does.
    fn add_thin(&mut self, thin: &ThinBatch) {
        self.items += thin.rows() as u64;
        let mut told: Vec<Vec<u32>> = vec![Vec::new(); thin.tellers().len()];
        for sample in 0..thin.rows() {
            let time = thin.time(sample);
            self.min_time = self.min_time.min(time);
            self.max_time = self.max_time.max(time);
            let (teller, row) = thin.told(sample);
            told[teller].push(row as u32);
        }
        for (teller, rows) in thin.tellers().iter().zip(&told) {
            let (common, attributes) = (teller.common(), teller.attributes());
            let mut resources = vec![0u64; common.resources.len()];
            for row in rows {
                let group = common.groups.partition_point(|group| group.end <= *row);
                resources[common.groups[group].resource as usize] += 1;
            }
            self.add_resources(common, &resources);
            self.add_attributes(common, attributes, rows.iter().flat_map(|row| attributes.range(*row as usize)));
        }
    }

    fn add_resources(&mut self, common: &Common, rows: &[u64]) {
        for (resource, rows) in common.resources.iter().zip(rows.iter().copied()).filter(|(_, rows)| *rows > 0) {
            if self.services.len() <= MAX_SERVICES && !self.services.contains(&resource.service_name) {
                self.services.insert(resource.service_name.clone());
            }
            for (key, value) in &resource.attributes {
                let size = match value {
                    Value::Str(text) => text.len() as u64 + 1,
                    _ => 8,
                };
                let nan = matches!(value, Value::Double(v) if v.is_nan());
                let stats = KeyStats { kinds: value.kind().bit(), rows, bytes: rows * size, nan };
                self.resource.entry_ref(key.as_str()).or_default().merge(&stats);
            }
        }
    }

    fn add_attributes(&mut self, common: &Common, attributes: &Attributes, entries: impl Iterator<Item = usize>) {
        let mut stats = vec![KeyStats::default(); common.keys.names().len()];
        for entry in entries {
            let (kind, bits) = (attributes.kinds[entry], attributes.values[entry]);
            let Some(stats) = stats.get_mut(attributes.keys[entry] as usize) else { continue };
            stats.rows += 1;
            stats.kinds |= 1 << (kind & 31);
            stats.bytes += if kind == Kind::Str as u8 { 1 + u64::from(Ref(bits).0 as u32) } else { 8 };
            stats.nan |= kind == Kind::Double as u8 && f64::from_bits(bits).is_nan();
        }
        for (key, stats) in common.keys.names().iter().zip(&stats).filter(|(_, s)| s.rows > 0) {
            self.record.entry_ref(key.as_str()).or_default().merge(stats);
        }
    }

    /// Adds what another one saw.
    pub(crate) fn merge(&mut self, other: &Describer) {
        self.items += other.items;
        self.min_time = self.min_time.min(other.min_time);
        self.max_time = self.max_time.max(other.max_time);
        for (mine, theirs) in [(&mut self.resource, &other.resource), (&mut self.record, &other.record)] {
            for (key, stats) in theirs {
                mine.entry_ref(key.as_str()).or_default().merge(stats);
            }
        }
    }

    /// The description as the catalog holds it. `rows` is `items`, and `row_groups` is empty.
    pub fn finish(self, tenant: &TenantId) -> v1::TenantRows {
        let mut attributes = BTreeMap::new();
        let scopes = [(v1::AttributeScope::Resource, &self.resource), (v1::AttributeScope::Record, &self.record)];
        for (scope, keys) in scopes {
            attributes.extend(keys.iter().map(|(key, stats)| ((scope as i32, key.as_str()), stats.kinds)));
        }
        v1::TenantRows {
            tenant: tenant.as_str().to_owned(),
            row_groups: Vec::new(),
            rows: self.items,
            items: self.items,
            min_time: self.min_time,
            max_time: self.max_time,
            services: if self.services.len() > MAX_SERVICES { Vec::new() } else { self.services.into_iter().collect() },
            attributes_complete: attributes.len() <= MAX_ATTRIBUTES,
            attributes: attributes
                .into_iter()
                .take(MAX_ATTRIBUTES)
                .map(|((scope, key), kinds)| v1::AttributeType { scope, key: key.to_owned(), kinds })
                .collect(),
        }
    }
}
