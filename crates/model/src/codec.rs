//! Batches as bytes: what the replicated log stores and distributors send.
//!
//! `version u8, signal u8, rows u32, raw length u32, lz4 block`. Inside, columns
//! follow each other as raw little-endian slices with their byte length before
//! them; tables (resources, scopes, metrics) are JSON, since there are few.

use serde::{Deserialize, Serialize};

use crate::attributes::{Attributes, Keys};
use crate::batch::{Batch, Common, Resource, Scope};
use crate::column::Column;
use crate::logs::LogBatch;
use crate::metrics::{Metric, MetricBatch, MetricType};
use crate::refs::{Arena, Ref};
use crate::spans::SpanBatch;
use crate::{Kind, json};

const VERSION: u8 = 1;
const HEADER: usize = 10;
/// A batch never unpacks to more; a header that says so is damaged.
const MAX_RAW: usize = 1 << 30;

#[cfg(not(target_endian = "little"))]
compile_error!("batches are stored in little-endian order");

/// Why bytes are no batch. None of these is worth a retry with the same bytes.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by a newer Bonghwa.
    #[error("batch has version {0}, this build reads up to {VERSION}: upgrade this node")]
    Version(u8),
    /// No such signal.
    #[error("batch has signal number {0}, which is none of logs, metrics and traces")]
    Signal(u8),
    /// Too short or a column of the wrong length.
    #[error("batch is damaged: {column} has {found} bytes, {expected} expected")]
    Length {
        /// Which column.
        column: &'static str,
        /// What was there.
        found: usize,
        /// What the row count asks for.
        expected: usize,
    },
    /// A string outside the arena.
    #[error("batch is damaged: {column} refers to {reference:#x}, outside the batch's strings")]
    Reference {
        /// Which column.
        column: &'static str,
        /// Offset and length.
        reference: u64,
    },
    /// An index outside its table.
    #[error("batch is damaged: {0} points outside its table")]
    Index(&'static str),
    /// lz4 or JSON inside is broken.
    #[error("batch is damaged: {0}")]
    Content(String),
}

/// Encodes a batch.
pub fn encode(batch: &Batch) -> Vec<u8> {
    let columns = match batch {
        Batch::Logs(b) => b.encoded_bytes(),
        Batch::Metrics(b) => b.encoded_bytes(),
        Batch::Traces(b) => b.encoded_bytes(),
    };
    // Tables take more as JSON than in memory, but are small.
    let shared = batch.common().heap_bytes() + batch.attributes().heap_bytes();
    let mut raw = Vec::with_capacity(columns + shared + shared / 8);
    put_common(&mut raw, batch.common(), batch.attributes());
    let signal = match batch {
        Batch::Logs(b) => {
            b.encode_columns(&mut raw);
            1
        }
        Batch::Metrics(b) => {
            put_json(&mut raw, &b.metrics.iter().map(MetricTable::from).collect::<Vec<_>>());
            b.encode_columns(&mut raw);
            2
        }
        Batch::Traces(b) => {
            b.encode_columns(&mut raw);
            3
        }
    };
    let mut out = vec![0; HEADER + lz4_flex::block::get_maximum_output_size(raw.len())];
    out[0] = VERSION;
    out[1] = signal;
    out[2..6].copy_from_slice(&(batch.rows() as u32).to_le_bytes());
    out[6..10].copy_from_slice(&(raw.len() as u32).to_le_bytes());
    // The output has the size that lz4 names as its worst case, so this cannot fail.
    let written = lz4_flex::block::compress_into(&raw, &mut out[HEADER..]).unwrap_or(0);
    out.truncate(HEADER + written);
    out
}

/// Decodes a batch and checks that all it refers to is there.
pub fn decode(bytes: &[u8]) -> Result<Batch, CodecError> {
    if bytes.len() < HEADER {
        return Err(CodecError::Length { column: "header", found: bytes.len(), expected: HEADER });
    }
    if bytes[0] != VERSION {
        return Err(CodecError::Version(bytes[0]));
    }
    let rows = u32::from_le_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]) as usize;
    let raw_len = u32::from_le_bytes([bytes[6], bytes[7], bytes[8], bytes[9]]) as usize;
    if raw_len > MAX_RAW {
        return Err(CodecError::Content(format!("unpacked length {raw_len} is over {MAX_RAW}")));
    }
    let raw =
        lz4_flex::block::decompress(&bytes[HEADER..], raw_len).map_err(|e| CodecError::Content(format!("lz4: {e}")))?;
    let mut input = Reader { bytes: &raw };
    let (common, attributes) = input.common(rows)?;
    Ok(match bytes[1] {
        1 => {
            let mut b = LogBatch { common, attributes, ..Default::default() };
            b.decode_columns(&mut input)?;
            Batch::Logs(b)
        }
        2 => {
            let metrics: Vec<MetricTable> = input.json("metrics")?;
            let metrics: Vec<Metric> = metrics.into_iter().map(Metric::from).collect();
            let mut b = MetricBatch { common, attributes, metrics, ..Default::default() };
            b.decode_columns(&mut input)?;
            if b.metric.iter().any(|m| *m as usize >= b.metrics.len()) {
                return Err(CodecError::Index("metric"));
            }
            Batch::Metrics(b)
        }
        3 => {
            let mut b = SpanBatch { common, attributes, ..Default::default() };
            b.decode_columns(&mut input)?;
            Batch::Traces(b)
        }
        other => return Err(CodecError::Signal(other)),
    })
}

/// The signal and the rows of an encoded batch, from its header alone.
pub fn peek(bytes: &[u8]) -> Option<(crate::Signal, u32)> {
    let signal = crate::Signal::ALL.get((*bytes.get(1)?).checked_sub(1)? as usize)?;
    Some((*signal, u32::from_le_bytes(bytes.get(2..6)?.try_into().ok()?)))
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) fn put_column<T>(out: &mut Vec<u8>, column: &impl Column<T>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    column.put(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_slice<T: bytemuck::NoUninit>(out: &mut Vec<u8>, slice: &[T]) {
    put_bytes(out, bytemuck::cast_slice(slice));
}

fn put_json<T: Serialize>(out: &mut Vec<u8>, table: &T) {
    // Plain structs of strings and numbers always serialize.
    put_bytes(out, &serde_json::to_vec(table).unwrap_or_default());
}

fn put_common(out: &mut Vec<u8>, common: &Common, attributes: &Attributes) {
    put_slice(out, &attributes.ends);
    put_slice(out, &attributes.keys);
    put_slice(out, &attributes.kinds);
    put_slice(out, &attributes.values);
    put_bytes(out, common.arena.as_bytes());
    put_slice(out, &common.groups);
    put_json(out, &common.keys.names());
    put_json(out, &common.resources.iter().map(ResourceTable::from).collect::<Vec<_>>());
    put_json(out, &common.scopes.iter().map(ScopeTable::from).collect::<Vec<_>>());
}

/// Walks the unpacked bytes.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, column: &'static str) -> Result<&'a [u8], CodecError> {
        let short = |found, expected| CodecError::Length { column, found, expected };
        let (len, rest) = self.bytes.split_first_chunk::<4>().ok_or(short(self.bytes.len(), 4))?;
        let len = u32::from_le_bytes(*len) as usize;
        let (taken, rest) = rest.split_at_checked(len).ok_or(short(rest.len(), len))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn slice<T: bytemuck::Pod>(&mut self, column: &'static str) -> Result<Vec<T>, CodecError> {
        let bytes = self.take(column)?;
        let size = std::mem::size_of::<T>();
        if !bytes.len().is_multiple_of(size) {
            return Err(CodecError::Length { column, found: bytes.len(), expected: bytes.len() / size * size });
        }
        Ok(Vec::read(bytes))
    }

    pub(crate) fn column<T, C: Column<T>>(&mut self, column: &'static str, rows: usize) -> Result<C, CodecError> {
        let bytes = self.take(column)?;
        let expected = rows * std::mem::size_of::<T>();
        if bytes.len() != expected {
            return Err(CodecError::Length { column, found: bytes.len(), expected });
        }
        Ok(C::read(bytes))
    }

    fn json<T: Deserialize<'a>>(&mut self, column: &'static str) -> Result<T, CodecError> {
        serde_json::from_slice(self.take(column)?).map_err(|e| CodecError::Content(format!("{column}: {e}")))
    }

    fn common(&mut self, rows: usize) -> Result<(Common, Attributes), CodecError> {
        let ends: Vec<u32> = self.column("attributes.ends", rows)?;
        let keys: Vec<u32> = self.slice("attributes.keys")?;
        let kinds: Vec<u8> = self.column("attributes.kinds", keys.len())?;
        let values: Vec<u64> = self.column("attributes.values", keys.len())?;
        let arena = Arena::from_bytes(self.take("strings")?.to_vec());
        let groups: Vec<crate::batch::Group> = self.slice("groups")?;
        let names: Vec<String> = self.json("keys")?;
        let resources: Vec<ResourceTable> = self.json("resources")?;
        let scopes: Vec<ScopeTable> = self.json("scopes")?;
        if !ends.is_sorted() || ends.last().copied().unwrap_or(0) as usize != keys.len() {
            return Err(CodecError::Index("attributes.ends"));
        }
        if keys.iter().any(|k| *k as usize >= names.len()) {
            return Err(CodecError::Index("attributes.keys"));
        }
        for (kind, value) in kinds.iter().zip(&values) {
            let text = matches!(Kind::from_u8(*kind), Some(Kind::Str | Kind::Bytes | Kind::Json));
            if text && !arena.contains(Ref(*value)) {
                return Err(CodecError::Reference { column: "attributes.values", reference: *value });
            }
        }
        let groups_hold = groups.windows(2).all(|w| w[0].end < w[1].end)
            && groups.last().map_or(0, |g| g.end) as usize == rows
            && groups.iter().all(|g| (g.resource as usize) < resources.len() && (g.scope as usize) < scopes.len());
        if !groups_hold {
            return Err(CodecError::Index("groups"));
        }
        let common = Common {
            keys: names.into_iter().collect::<Keys>(),
            arena,
            resources: resources.into_iter().map(Resource::from).collect(),
            scopes: scopes.into_iter().map(Scope::from).collect(),
            groups,
        };
        Ok((common, Attributes { ends, keys, kinds, values }))
    }
}

#[derive(Serialize, Deserialize)]
struct ResourceTable(String, serde_json::Value, u32, String);

impl From<&Resource> for ResourceTable {
    fn from(r: &Resource) -> Self {
        ResourceTable(r.service_name.clone(), pairs(&r.attributes), r.dropped_attributes, r.schema_url.clone())
    }
}

impl From<ResourceTable> for Resource {
    fn from(t: ResourceTable) -> Self {
        Resource { service_name: t.0, attributes: unpairs(&t.1), dropped_attributes: t.2, schema_url: t.3 }
    }
}

#[derive(Serialize, Deserialize)]
struct ScopeTable(String, String, serde_json::Value, u32, String);

impl From<&Scope> for ScopeTable {
    fn from(s: &Scope) -> Self {
        ScopeTable(s.name.clone(), s.version.clone(), pairs(&s.attributes), s.dropped_attributes, s.schema_url.clone())
    }
}

impl From<ScopeTable> for Scope {
    fn from(t: ScopeTable) -> Self {
        Scope { name: t.0, version: t.1, attributes: unpairs(&t.2), dropped_attributes: t.3, schema_url: t.4 }
    }
}

#[derive(Serialize, Deserialize)]
struct MetricTable(String, String, String, u8, bool, u8, String);

impl From<&Metric> for MetricTable {
    fn from(m: &Metric) -> Self {
        let kind = m.metric_type as u8;
        let (name, unit, description) = (m.name.clone(), m.unit.clone(), m.description.clone());
        MetricTable(name, unit, description, kind, m.monotonic, m.temporality, m.metadata.clone())
    }
}

impl From<MetricTable> for Metric {
    fn from(t: MetricTable) -> Self {
        Metric {
            name: t.0,
            unit: t.1,
            description: t.2,
            metric_type: MetricType::from_u8(t.3).unwrap_or_default(),
            monotonic: t.4,
            temporality: t.5,
            metadata: t.6,
        }
    }
}

/// Attributes as `[key, value, key, value, ...]`: keeps the sender's order.
fn pairs(attributes: &[(String, crate::Value)]) -> serde_json::Value {
    let mut items = Vec::with_capacity(attributes.len() * 2);
    for (key, value) in attributes {
        items.push(serde_json::Value::String(key.clone()));
        let mut text = Vec::new();
        json::write_value(&mut text, value);
        items.push(serde_json::from_slice(&text).unwrap_or_default());
    }
    serde_json::Value::Array(items)
}

fn unpairs(table: &serde_json::Value) -> Vec<(String, crate::Value)> {
    let items = table.as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |p: &[serde_json::Value]| Some((p.first()?.as_str()?.to_owned(), json::parse_value(p.get(1)?)));
    items.chunks(2).filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Value;
    use crate::metrics::MetricRow;

    fn sample() -> Batch {
        let mut b = MetricBatch::default();
        b.metrics.push(Metric { name: "m".into(), metric_type: MetricType::Sum, ..Default::default() });
        b.common.scopes.push(Scope { name: "lib".into(), ..Default::default() });
        b.common.resources.push(Resource {
            service_name: "cart".into(),
            attributes: vec![
                ("z".into(), Value::Double(f64::NEG_INFINITY)),
                ("a".into(), Value::Array(vec![Value::Bytes(vec![1]), Value::Int(3)])),
            ],
            ..Default::default()
        });
        for i in 0..100 {
            let key = b.common.keys.id("pod");
            let value = b.common.arena.push(format!("pod-{i}").as_bytes());
            b.attributes.push(key, Kind::Str, value.0);
            b.push_row(MetricRow { time: i, value: i as u64, ..Default::default() });
        }
        b.common.close_group(0, 0, 100);
        Batch::Metrics(b)
    }

    #[test]
    fn a_batch_survives() {
        let batch = sample();
        let bytes = encode(&batch);
        assert_eq!(peek(&bytes), Some((crate::Signal::Metrics, 100)));
        assert_eq!(decode(&bytes).unwrap(), batch);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let bytes = encode(&sample());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x55;
            let _ = decode(&damaged);
        }
        let mut newer = bytes.clone();
        newer[0] = 9;
        assert!(matches!(decode(&newer), Err(CodecError::Version(9))));
    }
}
