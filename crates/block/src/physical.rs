//! Columns on their way into a block or into a query: either few distinct values
//! with a key per row, or an Arrow array.

use std::sync::Arc;

use arrow_array::builder::BooleanBufferBuilder;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeBinaryArray, PrimitiveArray, StringArray, new_null_array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::DataType;

use crate::BlockError;

/// The key of a row without a value.
pub(crate) const NULL: u32 = u32::MAX;

/// The key of each row.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// All rows have the same.
    Constant { key: u32, rows: usize },
    /// One per row; [`NULL`] for none.
    Each(Vec<u32>),
}

impl Keys {
    /// Looks each row's key up in a table, such as that of resources.
    pub fn lookup(rows: impl ExactSizeIterator<Item = u32>, table: &[u32]) -> Keys {
        let count = rows.len();
        match table.first() {
            Some(first) if table.iter().all(|key| key == first) => Keys::Constant { key: *first, rows: count },
            _ => Keys::Each(rows.map(|row| table[row as usize]).collect()),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Keys::Constant { rows, .. } => *rows,
            Keys::Each(keys) => keys.len(),
        }
    }

    pub fn get(&self, row: usize) -> u32 {
        match self {
            Keys::Constant { key, .. } => *key,
            Keys::Each(keys) => keys[row],
        }
    }
}

/// Texts one after another; text `i` ends at `ends[i]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    pub bytes: Vec<u8>,
    pub ends: Vec<u32>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub fn get(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.bytes[start..self.ends[i] as usize]
    }

    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u32);
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }
}

/// The distinct values of a column.
#[derive(Clone, Debug)]
pub(crate) enum DictValues {
    Text(Texts),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Fixed { width: usize, bytes: Vec<u8> },
}

impl DictValues {
    pub fn len(&self) -> usize {
        match self {
            DictValues::Text(texts) => texts.len(),
            DictValues::Int32(values) => values.len(),
            DictValues::Int64(values) => values.len(),
            DictValues::Double(values) => values.len(),
            DictValues::Fixed { width, bytes } => bytes.len() / width,
        }
    }
}

/// A column of some rows.
#[derive(Clone, Debug)]
pub(crate) enum PhysicalColumn {
    /// Few distinct values.
    Dict { keys: Keys, values: DictValues },
    /// Any values.
    Plain(ArrayRef),
}

impl PhysicalColumn {
    /// A text that all rows have.
    pub fn constant_text(text: &str, rows: usize) -> Self {
        let mut texts = Texts::default();
        texts.push(text.as_bytes());
        PhysicalColumn::Dict { keys: Keys::Constant { key: 0, rows }, values: DictValues::Text(texts) }
    }

    /// No row has a value.
    pub fn nulls(data_type: &DataType, rows: usize) -> Self {
        let values = match data_type {
            DataType::Utf8 => DictValues::Text(Texts::default()),
            DataType::Int32 => DictValues::Int32(Vec::new()),
            DataType::Int64 | DataType::Timestamp(..) => DictValues::Int64(Vec::new()),
            DataType::Float64 => DictValues::Double(Vec::new()),
            DataType::FixedSizeBinary(width) => DictValues::Fixed { width: *width as usize, bytes: Vec::new() },
            other => return PhysicalColumn::Plain(new_null_array(other, rows)),
        };
        PhysicalColumn::Dict { keys: Keys::Constant { key: NULL, rows }, values }
    }

    pub fn rows(&self) -> usize {
        match self {
            PhysicalColumn::Dict { keys, .. } => keys.len(),
            PhysicalColumn::Plain(array) => array.len(),
        }
    }

    /// The column as an array of this type.
    pub fn into_array(self, data_type: &DataType) -> Result<ArrayRef, BlockError> {
        match self {
            PhysicalColumn::Plain(array) => Ok(array),
            PhysicalColumn::Dict { keys, values } => Ok(match values {
                DictValues::Text(texts) => Arc::new(gather_text(&keys, &texts)?),
                DictValues::Int32(values) => Arc::new(gather::<Int32Type>(&keys, &values)),
                DictValues::Int64(values) => match data_type {
                    DataType::Timestamp(..) => {
                        Arc::new(gather::<TimestampNanosecondType>(&keys, &values).with_data_type(data_type.clone()))
                    }
                    _ => Arc::new(gather::<Int64Type>(&keys, &values)),
                },
                DictValues::Double(values) => Arc::new(gather::<Float64Type>(&keys, &values)),
                DictValues::Fixed { width, bytes } => Arc::new(gather_fixed(&keys, width, &bytes)?),
            }),
        }
    }
}

fn validity(keys: &Keys) -> Option<NullBuffer> {
    match keys {
        Keys::Constant { key: NULL, rows } => Some(NullBuffer::new_null(*rows)),
        Keys::Constant { .. } => None,
        Keys::Each(keys) => keys.contains(&NULL).then(|| NullBuffer::from_iter(keys.iter().map(|key| *key != NULL))),
    }
}

fn gather<T: ArrowPrimitiveType>(keys: &Keys, values: &[T::Native]) -> PrimitiveArray<T> {
    let get = |i| values.get(keys.get(i) as usize).copied().unwrap_or_default();
    let values: Vec<T::Native> = (0..keys.len()).map(get).collect();
    PrimitiveArray::new(ScalarBuffer::from(values), validity(keys))
}

fn gather_text(keys: &Keys, texts: &Texts) -> Result<StringArray, BlockError> {
    let mut out = Texts::default();
    out.ends.reserve(keys.len());
    for row in 0..keys.len() {
        match keys.get(row) {
            NULL => out.push(b""),
            key => out.push(texts.get(key as usize)),
        }
    }
    string_array(out, validity(keys))
}

fn gather_fixed(keys: &Keys, width: usize, bytes: &[u8]) -> Result<FixedSizeBinaryArray, BlockError> {
    let mut out = vec![0; keys.len() * width];
    for (row, slot) in out.chunks_exact_mut(width).enumerate() {
        let key = keys.get(row);
        if key != NULL {
            slot.copy_from_slice(&bytes[key as usize * width..][..width]);
        }
    }
    FixedSizeBinaryArray::try_new(width as i32, out.into(), validity(keys)).map_err(BlockError::write)
}

/// Texts as an array. Text that is no UTF-8 reads as empty, as it does in a batch.
pub(crate) fn string_array(texts: Texts, nulls: Option<NullBuffer>) -> Result<StringArray, BlockError> {
    if texts.bytes.len() > i32::MAX as usize {
        return Err(BlockError::write("a row group has more than 2 GiB of text in one column: flush smaller batches"));
    }
    if std::str::from_utf8(&texts.bytes).is_err() || !on_boundaries(&texts) {
        let mut clean = Texts::default();
        for text in texts.iter() {
            clean.push(if std::str::from_utf8(text).is_ok() { text } else { b"" });
        }
        return new_string_array(clean, nulls);
    }
    new_string_array(texts, nulls)
}

fn on_boundaries(texts: &Texts) -> bool {
    texts.ends.iter().all(|end| texts.bytes.get(*end as usize).is_none_or(|b| (*b as i8) >= -0x40))
}

fn new_string_array(texts: Texts, nulls: Option<NullBuffer>) -> Result<StringArray, BlockError> {
    let mut offsets = Vec::with_capacity(texts.ends.len() + 1);
    offsets.push(0);
    offsets.extend(texts.ends.iter().map(|end| *end as i32));
    StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), texts.bytes.into(), nulls)
        .map_err(BlockError::write)
}

/// Finishes a bitmap of rows that have a value; none if all have.
pub(crate) fn finish_nulls(mut valid: BooleanBufferBuilder) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(valid.finish());
    (nulls.null_count() > 0).then_some(nulls)
}
