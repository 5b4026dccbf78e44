//! The fast way to the samples of series that are numbers: of the rows that a query picked, the pages of their packed
//! columns are decoded straight to times and values, without Arrow's lists between.
//!
//! Whatever lies in a block as [`crate::packing`] says can be read so; a block of another version, or one that
//! another writer made, is read by [`BlockReader::scan`].

mod column;
mod page;
mod values;

use std::collections::VecDeque;
use std::ops::Range;

use bonghwa_model::TenantId;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, Type};
use parquet::file::metadata::ColumnChunkMetaData;

use self::column::{Column, Place, Row, Shape};
use self::values::Value;
use super::plan::RowRange;
use super::scan::BlockReader;
use crate::BlockError;
use crate::packing::POWERS;

/// Columns that lie so close together, bytes, are fetched as one range: asking for each page takes longer than keeping
/// what lies between them.
const TOGETHER: u64 = 128 * 1024;
/// OTLP's flag of a point without a value, which ends its series.
const NO_RECORDED_VALUE: i64 = 1;

/// The samples of picked rows, in their order.
pub struct Numbers {
    path: String,
    row_groups: VecDeque<RowGroup>,
    ranges: VecDeque<RowRange>,
}

/// Where a column's pages lie that rows need.
struct Places {
    shape: Shape,
    /// The whole column.
    chunk: Range<u64>,
    dictionary: Option<Range<u64>>,
    pages: Vec<Place>,
}

struct RowGroup {
    number: usize,
    first: Column<i64>,
    step: Column<i64>,
    offsets: Column<i64>,
    scale: Column<i64>,
    numbers: Column<i64>,
    floats: Column<f64>,
    flags: Column<i64>,
}

/// The samples of one series in one row.
pub struct NumberRow<'a> {
    first: i64,
    step: i64,
    offsets: &'a [i64],
    /// What numbers are over; none where they are integers.
    power: Option<f64>,
    numbers: Row<'a, i64>,
    floats: Row<'a, f64>,
    flags: Row<'a, i64>,
}

impl BlockReader {
    /// Fetches the samples of rows that are numbers. Rows are a tenant's, sorted, and no range is empty. None where
    /// the block is of another kind.
    pub async fn numbers(&self, tenant: &TenantId, ranges: &[RowRange]) -> Result<Option<Numbers>, BlockError> {
        if self.footer.layout.packed.is_none() {
            return Ok(None);
        }
        self.check_owner(tenant, ranges)?;
        let (mut row_groups, mut wanted) = (Vec::new(), Vec::new());
        for of_group in ranges.chunk_by(|a, b| a.row_group == b.row_group) {
            let Some(places) = self.places(of_group) else { return Ok(None) };
            add_wanted(&places, &mut wanted);
            row_groups.push((of_group[0].row_group, places));
        }
        let read = Fetched { bytes: self.read_ranges(&wanted).await?, ranges: wanted };
        let row_groups = row_groups.into_iter().map(|(number, places)| RowGroup::new(number, places, &read));
        let (path, row_groups) = (self.path.to_string(), row_groups.collect::<Option<VecDeque<_>>>());
        Ok(row_groups.map(|row_groups| Numbers { path, row_groups, ranges: ranges.to_vec().into() }))
    }

    /// Where the pages of some rows of a row group lie, by column. None where it is not known, or cannot be read here.
    fn places(&self, ranges: &[RowRange]) -> Option<Vec<Places>> {
        let metadata = self.footer.metadata();
        let number = ranges.first()?.row_group;
        let row_group = metadata.row_group(number);
        let place = |root: usize| {
            let leaf = self.footer.leaf(root)?;
            let chunk = row_group.column(leaf);
            let shape = shape(chunk)?;
            let pages = metadata.offset_index()?.get(number)?.get(leaf)?.page_locations();
            let dictionary = match chunk.dictionary_page_offset() {
                Some(start) => Some(u64::try_from(start).ok()?..u64::try_from(pages.first()?.offset).ok()?),
                None => None,
            };
            let ends = pages.iter().skip(1).map(|page| page.first_row_index).chain([row_group.num_rows()]);
            let mut places = Vec::new();
            let mut left = ranges;
            for (page, end) in pages.iter().zip(ends) {
                let rows = usize::try_from(page.first_row_index).ok()?..usize::try_from(end).ok()?;
                while left.first().is_some_and(|range| range.rows.end <= rows.start) {
                    left = &left[1..];
                }
                let within = left.iter().take_while(|range| range.rows.start < rows.end);
                let last = within.last().map(|range| range.rows.end.min(rows.end));
                if let Some((first, last)) = left.first().zip(last) {
                    let start = u64::try_from(page.offset).ok()?;
                    let bytes = start..start + u64::try_from(page.compressed_page_size).ok()?;
                    let wanted = first.rows.start.max(rows.start)..last;
                    places.push(Place { bytes, rows, wanted });
                }
            }
            let (start, length) = chunk.byte_range();
            Some(Places { shape, chunk: start..start.checked_add(length)?, dictionary, pages: places })
        };
        self.footer.layout.packed.as_ref()?.columns().into_iter().map(place).collect()
    }
}

/// How a column lies in a block, if it can be read here.
fn shape(chunk: &ColumnChunkMetaData) -> Option<Shape> {
    let column = chunk.column_descr();
    let width = match column.physical_type() {
        Type::INT32 => 4,
        Type::INT64 | Type::DOUBLE => 8,
        _ => return None,
    };
    let known = |encoding: Encoding| {
        matches!(
            encoding,
            Encoding::PLAIN
                | Encoding::RLE
                | Encoding::RLE_DICTIONARY
                | Encoding::DELTA_BINARY_PACKED
                | Encoding::BYTE_STREAM_SPLIT
        )
    };
    let compression = chunk.compression();
    let can = matches!(compression, Compression::ZSTD(_) | Compression::UNCOMPRESSED) && chunk.encodings().all(known);
    can.then(|| Shape {
        compression,
        most_defined: column.max_def_level().unsigned_abs().into(),
        list: column.max_rep_level() > 0,
        width,
    })
}

/// Adds what is to be fetched of a row group's columns: of those that are close together all, else their pages.
/// Ranges are in the order of the file; no two overlap.
fn add_wanted(places: &[Places], wanted: &mut Vec<Range<u64>>) {
    let mut columns: Vec<&Places> = places.iter().collect();
    columns.sort_by_key(|column| column.chunk.start);
    let mut left = &columns[..];
    while let Some(first) = left.first() {
        let near = left.iter().take_while(|column| column.chunk.end - first.chunk.start <= TOGETHER).count();
        match near.checked_sub(1) {
            Some(last) => wanted.push(first.chunk.start..left[last].chunk.end),
            None => wanted.extend(first.dictionary.iter().chain(first.pages.iter().map(|page| &page.bytes)).cloned()),
        }
        left = &left[near.max(1)..];
    }
}

/// Ranges of a block, in the order of the file.
struct Fetched {
    ranges: Vec<Range<u64>>,
    bytes: Vec<Bytes>,
}

impl Fetched {
    /// The bytes of a range that lies in one of those that were fetched.
    fn get(&self, range: &Range<u64>) -> Option<Bytes> {
        let at = self.ranges.partition_point(|fetched| fetched.start <= range.start).checked_sub(1)?;
        let (fetched, bytes) = (self.ranges.get(at)?, self.bytes.get(at)?);
        let within = |at: u64| usize::try_from(at.checked_sub(fetched.start)?).ok();
        let (start, end) = (within(range.start)?, within(range.end)?);
        (start <= end && end <= bytes.len()).then(|| bytes.slice(start..end))
    }
}

impl Places {
    /// The column, of what was fetched.
    fn column<T: Value>(self, read: &Fetched) -> Option<Column<T>> {
        let dictionary = match &self.dictionary {
            Some(range) => Some(read.get(range)?),
            None => None,
        };
        let pages = self.pages.into_iter().map(|page| read.get(&page.bytes).map(|bytes| (page, bytes)));
        Some(Column::new(self.shape, pages.collect::<Option<_>>()?, dictionary))
    }
}

impl RowGroup {
    fn new(number: usize, places: Vec<Places>, read: &Fetched) -> Option<Self> {
        let mut places = places.into_iter();
        Some(RowGroup {
            number,
            // In the order of `Packed::columns`.
            first: places.next()?.column(read)?,
            step: places.next()?.column(read)?,
            offsets: places.next()?.column(read)?,
            scale: places.next()?.column(read)?,
            numbers: places.next()?.column(read)?,
            floats: places.next()?.column(read)?,
            flags: places.next()?.column(read)?,
        })
    }

    /// Decodes what a row needs: mostly neither floats nor flags.
    fn seek(&mut self, row: usize) -> Option<()> {
        [&mut self.first, &mut self.step, &mut self.offsets, &mut self.scale, &mut self.numbers]
            .into_iter()
            .try_for_each(|column| column.seek(row))?;
        if self.is_whole(row) {
            return Some(());
        }
        self.floats.seek(row)?;
        self.flags.seek(row)
    }

    /// Whether all samples of a row are in `numbers`.
    fn is_whole(&self, row: usize) -> bool {
        self.numbers.row(row).is_whole(self.offsets.row(row).items.len())
    }

    fn row(&self, row: usize) -> Option<NumberRow<'_>> {
        let whole = self.is_whole(row);
        let power = match self.scale.row(row).get(0) {
            Some(scale) => Some(*POWERS.get(usize::try_from(scale).ok()?)?),
            None => None,
        };
        Some(NumberRow {
            first: self.first.row(row).get(0)?,
            step: self.step.row(row).get(0)?,
            offsets: self.offsets.row(row).items,
            power,
            numbers: self.numbers.row(row),
            floats: if whole { Row::default() } else { self.floats.row(row) },
            flags: if whole { Row::default() } else { self.flags.row(row) },
        })
    }
}

impl Numbers {
    /// Passes over a row.
    pub fn skip(&mut self) {
        if let Some(range) = self.ranges.front_mut() {
            range.rows.start += 1;
            if range.rows.is_empty() {
                self.ranges.pop_front();
            }
        }
    }

    /// The next row; none after the last one.
    pub fn next_row(&mut self) -> Result<Option<NumberRow<'_>>, BlockError> {
        let Some(range) = self.ranges.front() else { return Ok(None) };
        let (number, row) = (range.row_group, range.rows.start);
        self.skip();
        while self.row_groups.front().is_some_and(|group| group.number != number) {
            self.row_groups.pop_front();
        }
        let path = &self.path;
        let damaged = || BlockError::damaged(path, format!("row {row} of row group {number} has no samples"));
        let group = self.row_groups.front_mut().ok_or_else(damaged)?;
        group.seek(row).ok_or_else(damaged)?;
        group.row(row).map(Some).ok_or_else(damaged)
    }
}

impl NumberRow<'_> {
    /// How many samples there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Adds the samples between two times, both inclusive and in Unix milliseconds; how many they are. A point that ends its
    /// series has the value `ended`.
    pub fn append(&self, range: (i64, i64), ended: f64, times: &mut Vec<i64>, values: &mut Vec<f64>) -> usize {
        let (count, before) = (self.offsets.len(), times.len());
        let Some(last) = self.offsets.last() else { return 0 };
        let last = self.step.wrapping_mul(count as i64 - 1).wrapping_add(self.first).wrapping_add(*last);
        if to_millis(self.first) > range.1 || to_millis(last) < range.0 {
            return 0;
        }
        let mut expected = self.first;
        times.extend(self.offsets.iter().map(|offset| {
            let time = to_millis(expected.wrapping_add(*offset));
            expected = expected.wrapping_add(self.step);
            time
        }));
        // Samples are sorted by time.
        let end = times[before..].partition_point(|time| *time <= range.1);
        let start = times[before..before + end].partition_point(|time| *time < range.0);
        times.truncate(before + end);
        times.drain(before..before + start);
        let wanted = start..end;
        match self.power {
            Some(power) if self.numbers.is_whole(count) => {
                values.extend(self.numbers.items[wanted].iter().map(|number| *number as f64 / power));
            }
            None if self.floats.is_whole(count) => values.extend_from_slice(&self.floats.items[wanted]),
            None if self.floats.items.is_empty() && self.numbers.is_whole(count) => {
                values.extend(self.numbers.items[wanted].iter().map(|number| *number as f64));
            }
            power => self.append_mixed(wanted, power, ended, times, values),
        }
        times.len() - before
    }

    /// The same where values are of several kinds, or lack.
    fn append_mixed(
        &self,
        wanted: Range<usize>,
        power: Option<f64>,
        ended: f64,
        times: &mut Vec<i64>,
        values: &mut Vec<f64>,
    ) {
        let first = times.len() - wanted.len();
        let mut kept = first;
        for (nth, at) in wanted.enumerate() {
            let number = self.numbers.get(at);
            let value = match power {
                Some(power) => number.map(|number| number as f64 / power).or_else(|| self.floats.get(at)),
                None => self.floats.get(at).or_else(|| number.map(|number| number as f64)),
            };
            let ends = || self.flags.get(at).is_some_and(|flags| flags & NO_RECORDED_VALUE != 0).then_some(ended);
            // A point without a number may be there for its exemplars alone.
            if let Some(value) = value.or_else(ends) {
                values.push(value);
                times[kept] = times[first + nth];
                kept += 1;
            }
        }
        times.truncate(kept);
    }
}

/// Unix milliseconds of Unix nanoseconds, rounded down.
pub fn to_millis(nanos: i64) -> i64 {
    // Division of what is not negative is the faster one.
    if nanos >= 0 { (nanos as u64 / 1_000_000) as i64 } else { nanos.div_euclid(1_000_000) }
}
