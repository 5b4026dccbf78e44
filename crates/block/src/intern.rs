//! Builders of columns whose number of distinct values is not known beforehand:
//! they start as a dictionary and give it up when it does not pay.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::{BooleanArray, Float64Array, Int64Array};
use arrow_buffer::{BooleanBuffer, ScalarBuffer};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::BlockError;
use crate::physical::{DictValues, Keys, NULL, PhysicalColumn, Texts, finish_nulls, string_array};

/// After this many values a dictionary must have repeated itself.
const TRIAL: usize = 4096;
/// A dictionary of more bytes costs a reader of one page too much.
const MAX_DICTIONARY_BYTES: usize = 1 << 20;

/// Distinct byte strings, numbered.
#[derive(Default)]
pub(crate) struct Interner {
    pub texts: Texts,
    table: HashTable<u32>,
    hasher: FixedState,
}

impl Interner {
    #[inline]
    pub fn intern(&mut self, text: &[u8]) -> u32 {
        let hash = self.hasher.hash_one(text);
        let (texts, hasher) = (&self.texts, &self.hasher);
        let found =
            self.table.entry(hash, |i| texts.get(*i as usize) == text, |i| hasher.hash_one(texts.get(*i as usize)));
        match found {
            hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
            hashbrown::hash_table::Entry::Vacant(entry) => {
                let id = texts.len() as u32;
                entry.insert(id);
                self.texts.push(text);
                id
            }
        }
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }
}

/// Builds a text column.
pub(crate) struct TextBuilder {
    interner: Interner,
    keys: Vec<u32>,
    present: usize,
    last: u32,
    plain: Option<(Texts, BooleanBufferBuilder)>,
    rows: usize,
}

impl TextBuilder {
    /// For about `rows` rows.
    pub fn new(rows: usize) -> Self {
        let keys = Vec::with_capacity(rows);
        TextBuilder { interner: Interner::default(), keys, present: 0, last: NULL, plain: None, rows }
    }

    /// For a column that hardly repeats itself.
    pub fn plain(rows: usize) -> Self {
        let texts = Texts { bytes: Vec::new(), ends: Vec::with_capacity(rows) };
        let plain = Some((texts, BooleanBufferBuilder::new(rows)));
        TextBuilder { interner: Interner::default(), keys: Vec::new(), present: 0, last: NULL, plain, rows }
    }

    pub fn len(&self) -> usize {
        self.plain.as_ref().map_or(self.keys.len(), |(texts, _)| texts.len())
    }

    #[inline]
    pub fn push(&mut self, text: &[u8]) {
        self.present += 1;
        if let Some((texts, valid)) = &mut self.plain {
            texts.push(text);
            valid.append(true);
            return;
        }
        if self.last == NULL || self.interner.texts.get(self.last as usize) != text {
            self.last = self.interner.intern(text);
        }
        self.keys.push(self.last);
        let distinct = self.interner.len();
        if (self.present == TRIAL && distinct * 2 > TRIAL) || self.interner.texts.bytes.len() > MAX_DICTIONARY_BYTES {
            self.give_up();
        }
    }

    #[inline]
    pub fn push_null(&mut self) {
        match &mut self.plain {
            Some((texts, valid)) => {
                texts.push(b"");
                valid.append(false);
            }
            None => self.keys.push(NULL),
        }
    }

    /// Pushes nulls until the column has `rows` rows.
    #[inline]
    pub fn pad(&mut self, rows: usize) {
        while self.len() < rows {
            self.push_null();
        }
    }

    fn give_up(&mut self) {
        let mut texts = Texts { bytes: Vec::new(), ends: Vec::with_capacity(self.rows.max(self.keys.len())) };
        let mut valid = BooleanBufferBuilder::new(self.rows.max(self.keys.len()));
        for key in std::mem::take(&mut self.keys) {
            texts.push(if key == NULL { b"" } else { self.interner.texts.get(key as usize) });
            valid.append(key != NULL);
        }
        self.interner = Interner::default();
        self.plain = Some((texts, valid));
    }

    pub fn finish(mut self) -> Result<PhysicalColumn, BlockError> {
        if self.plain.is_none() && self.present > 64 && self.interner.len() * 3 > self.present {
            self.give_up();
        }
        match self.plain {
            Some((texts, valid)) => Ok(PhysicalColumn::Plain(Arc::new(string_array(texts, finish_nulls(valid))?))),
            None => Ok(PhysicalColumn::Dict {
                keys: compact(self.keys),
                values: DictValues::Text(valid_utf8(self.interner.texts)),
            }),
        }
    }
}

/// Text that is no UTF-8 reads as empty, as it does in a batch.
fn valid_utf8(texts: Texts) -> Texts {
    if texts.iter().all(|text| std::str::from_utf8(text).is_ok()) {
        return texts;
    }
    let mut clean = Texts::default();
    for text in texts.iter() {
        clean.push(if std::str::from_utf8(text).is_ok() { text } else { b"" });
    }
    clean
}

/// Keys that are all the same become one.
pub(crate) fn compact(keys: Vec<u32>) -> Keys {
    match keys.first() {
        Some(first) if keys.iter().all(|key| key == first) => Keys::Constant { key: *first, rows: keys.len() },
        _ => Keys::Each(keys),
    }
}

/// Builds a column of 64-bit values: integers, or the bits of floats.
pub(crate) struct WordBuilder {
    values: Vec<u64>,
    valid: BooleanBufferBuilder,
    double: bool,
}

impl WordBuilder {
    pub fn new(rows: usize, double: bool) -> Self {
        WordBuilder { values: Vec::with_capacity(rows), valid: BooleanBufferBuilder::new(rows), double }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    #[inline]
    pub fn push(&mut self, bits: u64) {
        self.values.push(bits);
        self.valid.append(true);
    }

    #[inline]
    pub fn pad(&mut self, rows: usize) {
        if self.values.len() < rows {
            self.valid.append_n(rows - self.values.len(), false);
            self.values.resize(rows, 0);
        }
    }

    pub fn finish(mut self) -> PhysicalColumn {
        if let Some((keys, words)) = self.dictionary() {
            let values = if self.double {
                DictValues::Double(words.into_iter().map(f64::from_bits).collect())
            } else {
                DictValues::Int64(words.into_iter().map(|w| w as i64).collect())
            };
            return PhysicalColumn::Dict { keys: compact(keys), values };
        }
        let nulls = finish_nulls(std::mem::replace(&mut self.valid, BooleanBufferBuilder::new(0)));
        if self.double {
            let values: Vec<f64> = self.values.into_iter().map(f64::from_bits).collect();
            PhysicalColumn::Plain(Arc::new(Float64Array::new(ScalarBuffer::from(values), nulls)))
        } else {
            let values: Vec<i64> = self.values.into_iter().map(|w| w as i64).collect();
            PhysicalColumn::Plain(Arc::new(Int64Array::new(ScalarBuffer::from(values), nulls)))
        }
    }

    /// The values as booleans.
    pub fn finish_bool(self) -> PhysicalColumn {
        let values = BooleanBuffer::from_iter(self.values.iter().map(|word| *word != 0));
        PhysicalColumn::Plain(Arc::new(BooleanArray::new(values, finish_nulls(self.valid))))
    }

    /// Keys and distinct values, if there are few enough of them.
    fn dictionary(&self) -> Option<(Vec<u32>, Vec<u64>)> {
        let limit = if self.double { 4096 } else { 256 };
        let mut table: HashTable<u32> = HashTable::new();
        let mut words: Vec<u64> = Vec::new();
        let mut keys = Vec::with_capacity(self.values.len());
        let (mut last, mut last_key) = (0, NULL);
        for (i, &word) in self.values.iter().enumerate() {
            if !self.valid.get_bit(i) {
                keys.push(NULL);
                continue;
            }
            if last_key == NULL || word != last {
                let hash = |w: u64| w.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
                let entry = table.entry(hash(word), |k| words[*k as usize] == word, |k| hash(words[*k as usize]));
                last = word;
                last_key = match entry {
                    hashbrown::hash_table::Entry::Occupied(entry) => *entry.get(),
                    hashbrown::hash_table::Entry::Vacant(entry) => {
                        let key = words.len() as u32;
                        entry.insert(key);
                        words.push(word);
                        key
                    }
                };
                if words.len() > limit || (i >= 256 && words.len() * 2 > i) {
                    return None;
                }
            }
            keys.push(last_key);
        }
        Some((keys, words))
    }
}
