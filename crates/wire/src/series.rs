//! The identity of metric series: a hash that does not depend on the order of attributes.
//!
//! It is stored, so its inputs never change: for each attribute XXH3-128 over the value's
//! bytes, seeded with XXH3-64 of the key and the kind; their sum; XXH3-128 over the sums of
//! resource, scope and point and over what identifies the metric (name, unit, type,
//! temporality, monotonicity; not its description, metadata or any schema URL).

use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::{Common, Resource, Scope};
use bonghwa_model::metrics::Metric;
use bonghwa_model::refs::Ref;
use bonghwa_model::{Kind, Value, json};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

/// The hashes of a batch's attribute keys, by number.
#[derive(Default)]
pub(crate) struct KeyHashes(Vec<u64>);

impl KeyHashes {
    /// The hash of the attributes pushed since the last row ended.
    #[inline]
    pub fn open_row(&mut self, attributes: &Attributes, common: &Common) -> u128 {
        let names = common.keys.names();
        if self.0.len() < names.len() {
            self.0.extend(names[self.0.len()..].iter().map(|name| xxh3_64(name.as_bytes())));
        }
        let start = attributes.ends.last().copied().unwrap_or(0) as usize;
        let entries = attributes.keys[start..].iter().zip(&attributes.kinds[start..]).zip(&attributes.values[start..]);
        let mut sum = 0u128;
        for ((key, kind), bits) in entries {
            let key = self.0[*key as usize];
            sum = sum.wrapping_add(match *kind {
                1 | 5 | 6 => entry(key, *kind, common.arena.bytes(Ref(*bits))),
                _ => entry(key, *kind, &bits.to_le_bytes()),
            });
        }
        sum
    }
}

/// The hash of an attribute that is text.
#[inline(always)]
pub(crate) fn text(key: &str, value: &str) -> u128 {
    entry(xxh3_64(key.as_bytes()), Kind::Str as u8, value.as_bytes())
}

#[inline(always)]
fn entry(key: u64, kind: u8, value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, key.wrapping_add(u64::from(kind)))
}

fn values(attributes: &[(String, Value)]) -> u128 {
    let mut sum = 0u128;
    for (key, value) in attributes {
        let bits = |bits: u64| entry(xxh3_64(key.as_bytes()), value.kind() as u8, &bits.to_le_bytes());
        let bytes = |bytes: &[u8]| entry(xxh3_64(key.as_bytes()), value.kind() as u8, bytes);
        sum = sum.wrapping_add(match value {
            Value::Null => bits(0),
            Value::Int(v) => bits(*v as u64),
            Value::Double(v) => bits(v.to_bits()),
            Value::Bool(v) => bits(u64::from(*v)),
            Value::Str(v) => bytes(v.as_bytes()),
            Value::Bytes(v) => bytes(v),
            Value::Array(_) | Value::Map(_) => {
                let mut text = Vec::new();
                json::write_value(&mut text, value);
                bytes(&text)
            }
        });
    }
    sum
}

/// The hash of a resource and scope.
pub(crate) fn sender(resource: &Resource, scope: &Scope) -> u128 {
    let mut input = Vec::with_capacity(64);
    input.extend_from_slice(&values(&resource.attributes).to_le_bytes());
    input.extend_from_slice(&values(&scope.attributes).to_le_bytes());
    put(&mut input, &scope.name);
    put(&mut input, &scope.version);
    xxh3_128(&input)
}

/// The hash of a sender's metric.
pub(crate) fn metric(sender: u128, metric: &Metric) -> u128 {
    let mut input = Vec::with_capacity(64);
    input.extend_from_slice(&sender.to_le_bytes());
    put(&mut input, &metric.name);
    put(&mut input, &metric.unit);
    input.extend_from_slice(&[metric.metric_type as u8, metric.temporality, u8::from(metric.monotonic)]);
    xxh3_128(&input)
}

/// The identity of a metric's series with these attributes.
#[inline(always)]
pub(crate) fn identity(metric: u128, attributes: u128) -> [u64; 2] {
    let mut input = [0; 32];
    input[..16].copy_from_slice(&metric.to_le_bytes());
    input[16..].copy_from_slice(&attributes.to_le_bytes());
    let hash = xxh3_128(&input);
    [(hash >> 64) as u64, hash as u64]
}

fn put(input: &mut Vec<u8>, text: &str) {
    input.extend_from_slice(&(text.len() as u64).to_le_bytes());
    input.extend_from_slice(text.as_bytes());
}

// `open_row` names the kinds whose values lie in the arena by number.
const _: () = assert!(Kind::Str as u8 == 1 && Kind::Bytes as u8 == 5 && Kind::Json as u8 == 6);
