//! Columns gathered row by row from the plain columns of log and span batches.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{FixedSizeBinaryArray, TimestampNanosecondArray};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use bonghwa_model::refs::Ref;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;

use super::{Input, Row};
use crate::BlockError;
use crate::intern::{TextBuilder, compact};
use crate::physical::{DictValues, NULL, PhysicalColumn, Texts, finish_nulls, string_array};

/// The batches of one signal, and their rows in the order of the block.
pub(super) struct Records<'a, B> {
    pub batches: Vec<&'a B>,
    pub rows: &'a [Row],
}

/// Ids that repeat at least this often on average get a dictionary.
const ID_REPEATS: usize = 2;

impl<'a, B> Records<'a, B> {
    pub fn new(
        input: &Input<'a>,
        rows: &'a [Row],
        of: impl Fn(&'a bonghwa_model::batch::Batch) -> Result<&'a B, BlockError>,
    ) -> Result<Self, BlockError> {
        let batches = input.batches.iter().map(|b| of(b)).collect::<Result<_, _>>()?;
        Ok(Records { batches, rows })
    }

    fn each<T>(&self, get: impl Fn(&'a B, usize) -> T) -> impl ExactSizeIterator<Item = T> {
        self.rows.iter().map(move |row| get(self.batches[row.batch as usize], row.row as usize))
    }

    /// A required time.
    pub fn time(&self, get: impl Fn(&'a B, usize) -> i64) -> PhysicalColumn {
        let values: Vec<i64> = self.each(get).collect();
        let array = TimestampNanosecondArray::new(ScalarBuffer::from(values), None);
        PhysicalColumn::Plain(Arc::new(array.with_timezone("UTC")))
    }

    /// A time that is null where it is 0.
    pub fn optional_time(&self, get: impl Fn(&'a B, usize) -> i64) -> PhysicalColumn {
        let values: Vec<i64> = self.each(get).collect();
        if values.iter().all(|v| *v == 0) {
            return PhysicalColumn::nulls(&crate::column::time_type(), values.len());
        }
        let nulls = NullBuffer::from_iter(values.iter().map(|v| *v != 0));
        let nulls = (nulls.null_count() > 0).then_some(nulls);
        let array = TimestampNanosecondArray::new(ScalarBuffer::from(values), nulls);
        PhysicalColumn::Plain(Arc::new(array.with_timezone("UTC")))
    }

    /// Required 64-bit integers.
    pub fn long(&self, get: impl Fn(&'a B, usize) -> i64) -> PhysicalColumn {
        let values: Vec<i64> = self.each(get).collect();
        PhysicalColumn::Plain(Arc::new(arrow_array::Int64Array::new(ScalarBuffer::from(values), None)))
    }

    /// Required integers of few values.
    pub fn int(&self, get: impl Fn(&'a B, usize) -> u32) -> PhysicalColumn {
        let mut ids: HashMap<u32, u32, FixedState> = HashMap::default();
        let mut distinct = Vec::new();
        let (mut last, mut last_key) = (0, NULL);
        let keys = self.each(get).map(|value| {
            if last_key == NULL || value != last {
                last = value;
                last_key = *ids.entry(value).or_insert_with(|| {
                    distinct.push(value as i32);
                    distinct.len() as u32 - 1
                });
            }
            last_key
        });
        let keys = compact(keys.collect());
        PhysicalColumn::Dict { keys, values: DictValues::Int32(distinct) }
    }

    /// The names of small numbers.
    pub fn name(&self, get: impl Fn(&'a B, usize) -> u8, name: impl Fn(u8) -> &'static str) -> PhysicalColumn {
        let mut ids = [NULL; 256];
        let mut names = Texts::default();
        let keys = self.each(get).map(|number| {
            let id = &mut ids[number as usize];
            if *id == NULL {
                *id = names.len() as u32;
                names.push(name(number).as_bytes());
            }
            *id
        });
        let keys = compact(keys.collect());
        PhysicalColumn::Dict { keys, values: DictValues::Text(names) }
    }

    /// Texts that often repeat; empty ones are null if `optional`.
    pub fn text(
        &self,
        bytes: impl Fn(&'a B, usize) -> (&'a bonghwa_model::refs::Arena, Ref),
        optional: bool,
    ) -> Result<PhysicalColumn, BlockError> {
        let mut builder = TextBuilder::new(self.rows.len());
        for (arena, r) in self.each(bytes) {
            if optional && r.is_empty() {
                builder.push_null();
            } else {
                builder.push(arena.bytes(r));
            }
        }
        builder.finish()
    }

    /// Texts that hardly repeat; `None` is null.
    pub fn long_text(&self, bytes: impl Fn(&'a B, usize) -> Option<&'a [u8]>) -> Result<PhysicalColumn, BlockError> {
        let mut texts = Texts { bytes: Vec::new(), ends: Vec::with_capacity(self.rows.len()) };
        let mut valid = BooleanBufferBuilder::new(self.rows.len());
        for text in self.each(bytes) {
            texts.push(text.unwrap_or_default());
            valid.append(text.is_some());
        }
        Ok(PhysicalColumn::Plain(Arc::new(string_array(texts, finish_nulls(valid))?)))
    }

    /// Ids that are null where all zero. With `repeats` they get a dictionary if that pays.
    pub fn id<const N: usize>(
        &self,
        get: impl Fn(&'a B, usize) -> [u8; N] + Copy,
        repeats: bool,
    ) -> Result<PhysicalColumn, BlockError> {
        if self.each(get).all(|id| id == [0; N]) {
            return Ok(PhysicalColumn::nulls(&arrow_schema::DataType::FixedSizeBinary(N as i32), self.rows.len()));
        }
        if repeats && let Some(column) = self.id_dictionary(get) {
            return Ok(column);
        }
        let mut bytes = Vec::with_capacity(self.rows.len() * N);
        let mut valid = BooleanBufferBuilder::new(self.rows.len());
        for id in self.each(get) {
            valid.append(id != [0; N]);
            bytes.extend_from_slice(&id);
        }
        let array = FixedSizeBinaryArray::try_new(N as i32, bytes.into(), finish_nulls(valid));
        Ok(PhysicalColumn::Plain(Arc::new(array.map_err(BlockError::write)?)))
    }

    fn id_dictionary<const N: usize>(&self, get: impl Fn(&'a B, usize) -> [u8; N]) -> Option<PhysicalColumn> {
        let hasher = FixedState::default();
        let most = self.rows.len() / ID_REPEATS;
        let mut table: HashTable<u32> = HashTable::with_capacity(most.min(1 << 20));
        let mut distinct: Vec<[u8; N]> = Vec::new();
        let mut keys = Vec::with_capacity(self.rows.len());
        for id in self.each(get) {
            if id == [0; N] {
                keys.push(NULL);
                continue;
            }
            let entry = table.entry(
                hasher.hash_one(id),
                |k| distinct[*k as usize] == id,
                |k| hasher.hash_one(distinct[*k as usize]),
            );
            keys.push(match entry {
                hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
                hashbrown::hash_table::Entry::Vacant(entry) => {
                    let key = distinct.len() as u32;
                    entry.insert(key);
                    distinct.push(id);
                    if distinct.len() > most {
                        return None;
                    }
                    key
                }
            });
        }
        let bytes = distinct.concat();
        Some(PhysicalColumn::Dict { keys: compact(keys), values: DictValues::Fixed { width: N, bytes } })
    }
}
