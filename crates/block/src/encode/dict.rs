//! Column chunks of dictionary columns, encoded from keys that are known already.
//!
//! The Parquet crate's writer would hash every value again to find its key; most
//! columns of a block have a handful of values in long runs.

use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Encoding, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::Compressor;
use super::rle;
use crate::physical::{DictValues, Keys, NULL};

/// Bounds of text are cut here: longer ones would cost more than they skip.
const MAX_BOUND: usize = 64;

/// A chunk's bytes, and what the footer says of it.
pub(super) struct EncodedChunk {
    pub bytes: Bytes,
    pub close: ColumnCloseResult,
}

/// Encodes one column of a row group, in pages of `page_rows` rows.
pub(super) fn encode(
    descriptor: &ColumnDescPtr,
    keys: &Keys,
    values: &DictValues,
    page_rows: usize,
    bounds: bool,
    compressor: &mut Compressor,
) -> Result<EncodedChunk> {
    let mut chunk = Chunk {
        descriptor,
        nullable: descriptor.max_def_level() > 0,
        width: rle::bit_width((values.len() as u32).saturating_sub(1)).max(1),
        ranks: if bounds { ranks(values) } else { Vec::new() },
        values,
        compressor,
        out: TrackedWrite::new(Vec::new()),
        offsets: OffsetIndexBuilder::new(),
        index: ColumnIndexBuilder::new(descriptor.physical_type()),
        uncompressed: 0,
        compressed: 0,
        nulls: 0,
        range: None,
    };
    let dictionary = if values.len() > 0 { Some(chunk.dictionary()?) } else { None };
    match keys {
        Keys::Constant { key, rows } => chunk.constant_page(*key, *rows)?,
        Keys::Each(keys) => {
            for page in keys.chunks(page_rows) {
                chunk.page(page)?;
            }
        }
    }
    chunk.finish(keys.len(), dictionary)
}

struct Chunk<'a> {
    descriptor: &'a ColumnDescPtr,
    nullable: bool,
    width: u8,
    /// Per value: its place in the order of values. Empty without bounds.
    ranks: Vec<u32>,
    values: &'a DictValues,
    compressor: &'a mut Compressor,
    out: TrackedWrite<Vec<u8>>,
    offsets: OffsetIndexBuilder,
    index: ColumnIndexBuilder,
    uncompressed: usize,
    compressed: usize,
    nulls: usize,
    /// Keys of the least and the greatest value of the chunk.
    range: Option<(u32, u32)>,
}

impl Chunk<'_> {
    fn dictionary(&mut self) -> Result<u64> {
        let plain = plain(self.values);
        let page = |buf| Page::DictionaryPage {
            buf,
            num_values: self.values.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let size = plain.len();
        let page = CompressedPage::new(page(self.compressor.compress(&plain)?), size);
        let spec = SerializedPageWriter::new(&mut self.out).write_page(page)?;
        self.uncompressed += spec.uncompressed_size;
        self.compressed += spec.compressed_size;
        Ok(spec.offset)
    }

    fn page(&mut self, keys: &[u32]) -> Result<()> {
        let mut body = Vec::with_capacity(keys.len() * usize::from(self.width) / 8 + 64);
        let nulls = if self.nullable { keys.iter().filter(|key| **key == NULL).count() } else { 0 };
        if self.nullable {
            levels(&mut body, |out| match nulls {
                0 => rle::run(out, 1, keys.len(), 1),
                n if n == keys.len() => rle::run(out, 0, n, 1),
                _ => {
                    let present: Vec<u32> = keys.iter().map(|key| u32::from(*key != NULL)).collect();
                    rle::hybrid(out, &present, 1);
                }
            });
        }
        body.push(self.width);
        if nulls == 0 {
            rle::hybrid(&mut body, keys, self.width);
        } else {
            let present: Vec<u32> = keys.iter().copied().filter(|key| *key != NULL).collect();
            rle::hybrid(&mut body, &present, self.width);
        }
        let range = self.range_of(keys);
        self.write(body, keys.len(), nulls, range)
    }

    /// A page of one value costs a few bytes, however many rows it has.
    fn constant_page(&mut self, key: u32, rows: usize) -> Result<()> {
        let mut body = Vec::new();
        if self.nullable {
            levels(&mut body, |out| rle::run(out, u32::from(key != NULL), rows, 1));
        }
        if key == NULL {
            return self.write(body, rows, rows, None);
        }
        body.push(self.width);
        rle::run(&mut body, key, rows, self.width);
        self.write(body, rows, 0, (!self.ranks.is_empty()).then_some((key, key)))
    }

    fn write(&mut self, body: Vec<u8>, rows: usize, nulls: usize, range: Option<(u32, u32)>) -> Result<()> {
        let encoding = if self.values.len() == 0 { Encoding::PLAIN } else { Encoding::RLE_DICTIONARY };
        let body = if encoding == Encoding::PLAIN { self.without_width(body) } else { body };
        let page = Page::DataPage {
            buf: self.compressor.compress(&body)?,
            num_values: rows as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let spec = SerializedPageWriter::new(&mut self.out).write_page(CompressedPage::new(page, body.len()))?;
        self.uncompressed += spec.uncompressed_size;
        self.compressed += spec.compressed_size;
        self.offsets.append_row_count(rows as i64);
        self.offsets.append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        self.nulls += nulls;
        match range {
            Some((min, max)) => {
                let (min_bound, max_bound) = (lower(self.bytes(min)), upper(self.bytes(max)));
                match max_bound {
                    Some(max_bound) => self.index.append(false, min_bound, max_bound, nulls as i64),
                    None => self.index.to_invalid(),
                }
                self.range = Some(match self.range {
                    None => (min, max),
                    Some((a, b)) => (
                        if self.rank(min) < self.rank(a) { min } else { a },
                        if self.rank(max) > self.rank(b) { max } else { b },
                    ),
                });
            }
            None if nulls == rows => self.index.append(true, Vec::new(), Vec::new(), nulls as i64),
            None => self.index.to_invalid(),
        }
        Ok(())
    }

    /// Pages without values have no keys, so no width of keys either.
    fn without_width(&self, mut body: Vec<u8>) -> Vec<u8> {
        if self.nullable && body.len() > 4 {
            let levels = u32::from_le_bytes([body[0], body[1], body[2], body[3]]) as usize;
            body.truncate(4 + levels);
        }
        body
    }

    fn rank(&self, key: u32) -> u32 {
        self.ranks[key as usize]
    }

    /// Keys of the least and the greatest value among these.
    fn range_of(&self, keys: &[u32]) -> Option<(u32, u32)> {
        if self.ranks.is_empty() {
            return None;
        }
        let (mut min, mut max) = (NULL, NULL);
        let mut last = NULL;
        for &key in keys {
            if key == last || key == NULL {
                continue;
            }
            last = key;
            if min == NULL || self.rank(key) < self.rank(min) {
                min = key;
            }
            if max == NULL || self.rank(key) > self.rank(max) {
                max = key;
            }
        }
        (min != NULL).then_some((min, max))
    }

    fn bytes(&self, key: u32) -> Vec<u8> {
        let key = key as usize;
        match self.values {
            DictValues::Text(texts) => texts.get(key).to_vec(),
            DictValues::Int32(values) => values[key].to_le_bytes().to_vec(),
            DictValues::Int64(values) => values[key].to_le_bytes().to_vec(),
            DictValues::Double(values) => values[key].to_le_bytes().to_vec(),
            DictValues::Fixed { width, bytes } => bytes[key * width..][..*width].to_vec(),
        }
    }

    fn statistics(&self) -> Option<Statistics> {
        let nulls = Some(self.nulls as u64);
        let range = self.range;
        Some(match self.values {
            DictValues::Text(_) => {
                let min = range.map(|r| ByteArray::from(lower(self.bytes(r.0))));
                let max = range.and_then(|r| upper(self.bytes(r.1))).map(ByteArray::from);
                let exact = |key: u32| self.bytes(key).len() <= MAX_BOUND;
                let statistics = parquet::file::statistics::ValueStatistics::new(min, max, None, nulls, false)
                    .with_min_is_exact(range.is_some_and(|r| exact(r.0)))
                    .with_max_is_exact(range.is_some_and(|r| exact(r.1)));
                Statistics::ByteArray(statistics)
            }
            DictValues::Int32(v) => {
                Statistics::int32(range.map(|r| v[r.0 as usize]), range.map(|r| v[r.1 as usize]), None, nulls, false)
            }
            DictValues::Int64(v) => {
                Statistics::int64(range.map(|r| v[r.0 as usize]), range.map(|r| v[r.1 as usize]), None, nulls, false)
            }
            DictValues::Double(v) => {
                // Zero has two signs: bounds must hold both.
                let min = range.map(|r| v[r.0 as usize]).map(|v| if v == 0.0 { -0.0 } else { v });
                let max = range.map(|r| v[r.1 as usize]).map(|v| if v == 0.0 { 0.0 } else { v });
                Statistics::double(min, max, None, nulls, false)
            }
            DictValues::Fixed { .. } => {
                Statistics::fixed_len_byte_array(None::<FixedLenByteArray>, None, None, nulls, false)
            }
        })
    }

    fn finish(self, rows: usize, dictionary: Option<u64>) -> Result<EncodedChunk> {
        let statistics = self.statistics();
        let encodings = if dictionary.is_some() {
            vec![Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY]
        } else {
            vec![Encoding::PLAIN, Encoding::RLE]
        };
        let offset_index = self.offsets.build();
        let first = offset_index.page_locations.first().map_or(0, |page| page.offset);
        let mut metadata = ColumnChunkMetaData::builder(self.descriptor.clone())
            .set_compression(self.compressor.compression())
            .set_encodings(encodings)
            .set_num_values(rows as i64)
            .set_total_compressed_size(self.compressed as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_data_page_offset(first)
            .set_dictionary_page_offset(dictionary.map(|offset| offset as i64));
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let mut index = self.index;
        index.set_boundary_order(BoundaryOrder::UNORDERED);
        let column_index = if index.valid() { Some(index.build()?) } else { None };
        let bytes = self.out.into_inner()?;
        Ok(EncodedChunk {
            close: ColumnCloseResult {
                bytes_written: bytes.len() as u64,
                rows_written: rows as u64,
                metadata: metadata.build()?,
                bloom_filter: None,
                column_index,
                offset_index: Some(offset_index),
            },
            bytes: bytes.into(),
        })
    }
}

/// Definition levels, with their length before them.
fn levels(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn plain(values: &DictValues) -> Vec<u8> {
    match values {
        DictValues::Text(texts) => {
            let mut out = Vec::with_capacity(texts.bytes.len() + 4 * texts.len());
            for text in texts.iter() {
                out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text);
            }
            out
        }
        DictValues::Int32(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DictValues::Int64(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DictValues::Double(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DictValues::Fixed { bytes, .. } => bytes.clone(),
    }
}

/// The rank of each value; ids have no useful order.
fn ranks(values: &DictValues) -> Vec<u32> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    match values {
        DictValues::Text(texts) => order.sort_unstable_by(|a, b| texts.get(*a as usize).cmp(texts.get(*b as usize))),
        DictValues::Int32(values) => order.sort_unstable_by_key(|i| values[*i as usize]),
        DictValues::Int64(values) => order.sort_unstable_by_key(|i| values[*i as usize]),
        DictValues::Double(values) => {
            order.sort_unstable_by(|a, b| values[*a as usize].total_cmp(&values[*b as usize]))
        }
        DictValues::Fixed { .. } => return Vec::new(),
    }
    let mut ranks = vec![0; order.len()];
    for (rank, key) in order.into_iter().enumerate() {
        ranks[key as usize] = rank as u32;
    }
    ranks
}

/// A lower bound of bounded length.
fn lower(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() > MAX_BOUND {
        // Readers take bounds of text for text.
        let mut end = MAX_BOUND;
        while end > 0 && (value[end] as i8) < -0x40 {
            end -= 1;
        }
        value.truncate(end);
    }
    value
}

/// An upper bound of bounded length, if there is one.
fn upper(value: Vec<u8>) -> Option<Vec<u8>> {
    if value.len() <= MAX_BOUND {
        return Some(value);
    }
    let mut bound = lower(value);
    // The last ASCII character that has a successor makes room for all that follow.
    while let Some(last) = bound.pop() {
        if last < 0x7e {
            bound.push(last + 1);
            return Some(bound);
        }
    }
    None
}

/// The physical type that a kind of values is stored as.
pub(super) fn physical_type(values: &DictValues) -> Type {
    match values {
        DictValues::Text(_) => Type::BYTE_ARRAY,
        DictValues::Int32(_) => Type::INT32,
        DictValues::Int64(_) => Type::INT64,
        DictValues::Double(_) => Type::DOUBLE,
        DictValues::Fixed { .. } => Type::FIXED_LEN_BYTE_ARRAY,
    }
}

/// Guards against a column whose values do not fit its place in the schema.
pub(super) fn check_type(descriptor: &ColumnDescPtr, values: &DictValues) -> Result<()> {
    if descriptor.physical_type() == physical_type(values) {
        return Ok(());
    }
    Err(ParquetError::General(format!("column {} was built with another type", descriptor.path())))
}
