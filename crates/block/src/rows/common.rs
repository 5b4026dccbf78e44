//! The tables that many batches share once they lie in one block: attribute keys,
//! resources, scopes and metrics, numbered over all of them.

use std::hash::Hash;
use std::sync::Arc;

use bonghwa_model::batch::{Batch, Resource, Scope};
use bonghwa_model::metrics::Metric;
use bonghwa_model::thin::{Piece, ThinBatch};
use bonghwa_model::{Value, json};
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::check;
use crate::BlockError;
use bonghwa_model::Signal;

/// Distinct values, numbered in order of appearance.
pub(crate) struct Table<T> {
    ids: HashMap<T, u32, FixedState>,
}

impl<T: Hash + Eq> Table<T> {
    fn new() -> Self {
        Table { ids: HashMap::with_hasher(FixedState::default()) }
    }

    fn id(&mut self, value: T) -> u32 {
        let next = self.ids.len() as u32;
        *self.ids.entry(value).or_insert(next)
    }
}

/// A resource or a scope by what it says, its attributes as sorted JSON.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Identity {
    names: [String; 3],
    dropped: u32,
    attributes: Vec<u8>,
}

/// Thin batches are numbered from here on.
const THIN: u32 = 1 << 31;

/// A thin batch, and the numbers of its tellers.
struct Thin<'a> {
    batch: &'a ThinBatch,
    tellers: Vec<u32>,
}

/// Batches, and the numbers of what their rows refer to.
pub(crate) struct Input<'a> {
    pub batches: Vec<&'a Batch>,
    thin: Vec<Thin<'a>>,
    /// Attribute keys; per batch and key of the batch: the number here.
    pub keys: Vec<&'a str>,
    pub key_ids: Vec<Vec<u32>>,
    /// Distinct resources; their attributes sorted by key, each key once.
    pub resources: Vec<(&'a Resource, Vec<(&'a str, &'a Value)>)>,
    pub resource_ids: Vec<Vec<u32>>,
    pub scopes: Vec<(&'a Scope, Vec<(&'a str, &'a Value)>)>,
    pub scope_ids: Vec<Vec<u32>>,
    pub metrics: Vec<&'a Metric>,
    pub metric_ids: Vec<Vec<u32>>,
}

impl<'a> Input<'a> {
    pub fn new(signal: Signal, batches: Vec<&'a Batch>) -> Result<Self, BlockError> {
        let mut input = Input {
            batches: Vec::new(),
            thin: Vec::new(),
            keys: Vec::new(),
            key_ids: Vec::new(),
            resources: Vec::new(),
            resource_ids: Vec::new(),
            scopes: Vec::new(),
            scope_ids: Vec::new(),
            metrics: Vec::new(),
            metric_ids: Vec::new(),
        };
        let mut keys = Table::new();
        let mut resources = Table::new();
        let mut scopes = Table::new();
        let mut metrics = Table::new();
        for batch in &batches {
            check(signal, batch)?;
            let common = batch.common();
            input.key_ids.push(number(&mut keys, &mut input.keys, common.keys.names(), |k| (k.as_str(), k.as_str())));
            input.resource_ids.push(number(&mut resources, &mut input.resources, &common.resources, |r| {
                let attributes = sorted_attributes(&r.attributes);
                let names = [r.service_name.clone(), r.schema_url.clone(), String::new()];
                let identity = Identity { names, dropped: r.dropped_attributes, attributes: to_json(&attributes) };
                (identity, (r, attributes))
            }));
            input.scope_ids.push(number(&mut scopes, &mut input.scopes, &common.scopes, |s| {
                let attributes = sorted_attributes(&s.attributes);
                let names = [s.name.clone(), s.version.clone(), s.schema_url.clone()];
                let identity = Identity { names, dropped: s.dropped_attributes, attributes: to_json(&attributes) };
                (identity, (s, attributes))
            }));
            input.metric_ids.push(match batch {
                Batch::Metrics(b) => number(&mut metrics, &mut input.metrics, &b.metrics, |m| (m, m)),
                _ => Vec::new(),
            });
        }
        input.batches = batches;
        Ok(input)
    }

    /// The batches of pieces, and their tellers; the answer has the number of each piece.
    pub fn of_pieces(signal: Signal, pieces: impl Iterator<Item = &'a Piece>) -> Result<(Self, Vec<u32>), BlockError> {
        let (mut batches, mut thin): (Vec<&'a Batch>, Vec<Thin<'a>>) = Default::default();
        let mut known: HashMap<*const Batch, u32, FixedState> = HashMap::default();
        let mut number = |batch: &'a Arc<Batch>| {
            *known.entry(Arc::as_ptr(batch)).or_insert_with(|| {
                batches.push(batch);
                batches.len() as u32 - 1
            })
        };
        let numbers = pieces.map(|piece| match piece {
            Piece::Whole(batch) => number(batch),
            Piece::Thin(batch) => {
                thin.push(Thin { batch, tellers: batch.tellers().iter().map(&mut number).collect() });
                THIN + thin.len() as u32 - 1
            }
        });
        let numbers = numbers.collect();
        Ok((Input { thin, ..Input::new(signal, batches)? }, numbers))
    }

    /// The thin batch of a number, if it is one's.
    #[inline]
    pub fn thin(&self, number: u32) -> Option<&'a ThinBatch> {
        number.checked_sub(THIN).map(|at| self.thin[at as usize].batch)
    }

    /// The batch and the row that tell of the series of a row: mostly itself.
    #[inline]
    pub fn told(&self, number: u32, row: u32) -> (u32, u32) {
        match number.checked_sub(THIN) {
            None => (number, row),
            Some(at) => {
                let thin = &self.thin[at as usize];
                let (teller, row) = thin.batch.told(row as usize);
                (thin.tellers[teller], row as u32)
            }
        }
    }
}

/// Numbers the values of one batch; new ones are added to `all`.
fn number<'a, V, K: Hash + Eq, T>(
    table: &mut Table<K>,
    all: &mut Vec<T>,
    values: &'a [V],
    describe: impl Fn(&'a V) -> (K, T),
) -> Vec<u32> {
    values
        .iter()
        .map(|value| {
            let (key, row) = describe(value);
            let id = table.id(key);
            if id as usize == all.len() {
                all.push(row);
            }
            id
        })
        .collect()
}

/// Attributes in the order in which blocks keep them; of a key sent twice the first.
pub(crate) fn sorted_attributes(attributes: &[(String, Value)]) -> Vec<(&str, &Value)> {
    let mut sorted: Vec<(&str, &Value)> = attributes.iter().map(|(key, value)| (key.as_str(), value)).collect();
    sorted.sort_by_key(|(key, _)| *key);
    sorted.dedup_by_key(|(key, _)| *key);
    sorted
}

/// Sorted attributes as a JSON object.
pub(crate) fn to_json(attributes: &[(&str, &Value)]) -> Vec<u8> {
    let mut out = vec![b'{'];
    for (i, (key, value)) in attributes.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        json::write_str(&mut out, key);
        out.push(b':');
        json::write_value(&mut out, value);
    }
    out.push(b'}');
    out
}
