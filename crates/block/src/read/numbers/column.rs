//! A column of some rows, page by page: of each row its items.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding};

use super::page::Page;
use super::values::{self, Run, Value};

/// Where a page lies, and which rows of the row group it has.
pub(super) struct Place {
    pub bytes: Range<u64>,
    pub rows: Range<usize>,
    /// From the first row that is wanted to the last one.
    pub wanted: Range<usize>,
}

/// How a column lies in a block.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub compression: Compression,
    /// The definition level of a value.
    pub most_defined: u32,
    /// Whether rows have lists.
    pub list: bool,
    /// Bytes of a plain integer.
    pub width: usize,
}

/// A column, read in the order of rows.
pub(super) struct Column<T> {
    shape: Shape,
    pages: VecDeque<(Place, Bytes)>,
    dictionary: Option<Bytes>,
    /// Its values, once a page asked for them.
    entries: Option<Vec<T>>,
    current: Items<T>,
}

/// The items of a page's rows.
#[derive(Default)]
struct Items<T> {
    first_row: usize,
    /// Where the items of each row end.
    ends: Vec<u32>,
    items: Vec<T>,
    /// By item, whether it is null; empty where none is.
    nulls: Vec<bool>,
}

/// The items of a row: none where it has no list, or an empty one.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    pub items: &'a [T],
    /// By item, whether it is null; empty where none is.
    nulls: &'a [bool],
}

impl<T> Default for Row<'_, T> {
    fn default() -> Self {
        Row { items: &[], nulls: &[] }
    }
}

impl<T: Copy> Row<'_, T> {
    pub fn get(&self, at: usize) -> Option<T> {
        let item = self.items.get(at)?;
        (!self.nulls.get(at).is_some_and(|null| *null)).then_some(*item)
    }

    /// Whether it has so many items, none of them null.
    pub fn is_whole(&self, count: usize) -> bool {
        self.items.len() == count && !self.nulls.contains(&true)
    }
}

impl<T: Value> Column<T> {
    pub fn new(shape: Shape, pages: VecDeque<(Place, Bytes)>, dictionary: Option<Bytes>) -> Self {
        Column { shape, pages, dictionary, entries: None, current: Items::default() }
    }

    /// Decodes the page of a row, which does not come before one that was asked for. Nothing where the column is
    /// damaged, or has no page of the row.
    pub fn seek(&mut self, row: usize) -> Option<()> {
        while row >= self.current.first_row + self.current.ends.len() {
            let (place, bytes) = self.pages.pop_front()?;
            if place.wanted.contains(&row) {
                self.current = self.decode(&place, &bytes)?;
            }
        }
        (row >= self.current.first_row).then_some(())
    }

    /// The items of a row that was sought.
    pub fn row(&self, row: usize) -> Row<'_, T> {
        let Items { first_row, ends, items, nulls } = &self.current;
        let at = row.saturating_sub(*first_row);
        let end = ends.get(at).map_or(0, |end| *end as usize);
        let start = if at == 0 { 0 } else { ends.get(at - 1).map_or(0, |end| *end as usize) };
        Row { items: items.get(start..end).unwrap_or_default(), nulls: nulls.get(start..end).unwrap_or_default() }
    }

    fn decode(&mut self, place: &Place, bytes: &[u8]) -> Option<Items<T>> {
        let page = Page::read(bytes, self.shape.compression)?;
        let (count, mut body) = (page.count, &page.bytes[..]);
        let mut starts = if self.shape.list { starts(levels(&mut body)?, count)? } else { (0..count as u32).collect() };
        if starts.len() != place.rows.len() || starts.first() != Some(&0) {
            return None;
        }
        starts.push(count as u32);
        let wanted = place.wanted.start - place.rows.start..place.wanted.end - place.rows.start;
        let starts = starts.get(wanted.start..=wanted.end)?;
        let (first, end) = (*starts.first()? as usize, *starts.last()? as usize);
        let ends = starts.iter().skip(1).map(|start| start - first as u32);
        let mut items = Items { first_row: place.wanted.start, ..Default::default() };
        let most = u64::from(self.shape.most_defined);
        let bits = u64::BITS - most.leading_zeros();
        let defined = if most > 0 { levels(&mut body)? } else { &[] };
        let level = match values::runs(defined, bits).next() {
            Some(Run::Repeated(level, length)) if length >= count => Some(level),
            _ => (most == 0).then_some(0),
        };
        if level == Some(most) {
            items.items = self.values(page.encoding, body, count, first..end)?;
            items.ends.extend(ends);
            return Some(items);
        }
        if level.is_some_and(|level| !self.is_item(level)) {
            items.ends.resize(wanted.len(), 0);
            return Some(items);
        }
        let defined = values::listed(defined, bits, 0..count)?;
        let present = |defined: &[u64]| defined.iter().filter(|level| **level == most).count();
        let before = present(&defined[..first]);
        let values = before..before + present(&defined[first..end]);
        let mut values = self.values(page.encoding, body, present(&defined), values)?.into_iter();
        let mut at = first;
        for end in ends {
            for level in &defined[at..first + end as usize] {
                if self.is_item(*level) {
                    let null = *level != most;
                    items.items.push(if null { T::default() } else { values.next()? });
                    items.nulls.push(null);
                }
            }
            at = first + end as usize;
            items.ends.push(items.items.len() as u32);
        }
        Some(items)
    }

    /// Whether there is an item at a definition level, which may be null.
    fn is_item(&self, level: u64) -> bool {
        let most = u64::from(self.shape.most_defined);
        level == most || self.shape.list && level + 1 == most
    }

    /// Some of a page's values.
    fn values(&mut self, encoding: Encoding, body: &[u8], total: usize, wanted: Range<usize>) -> Option<Vec<T>> {
        if wanted.is_empty() {
            return Some(Vec::new());
        }
        let width = self.shape.width;
        match encoding {
            Encoding::PLAIN => values::plain(body, wanted, width),
            Encoding::DELTA_BINARY_PACKED => values::delta(body, total, wanted, width),
            Encoding::BYTE_STREAM_SPLIT => values::byte_stream_split(body, total, wanted),
            Encoding::RLE_DICTIONARY => {
                if self.entries.is_none() {
                    let page = Page::read(self.dictionary.as_ref()?, self.shape.compression)?;
                    self.entries = Some(values::plain(&page.bytes, 0..page.count, width)?);
                }
                let (bits, indices) = body.split_first()?;
                values::looked_up(indices, u32::from(*bits), wanted, self.entries.as_ref()?)
            }
            _ => None,
        }
    }
}

/// Takes levels, which begin with their length.
fn levels<'a>(body: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(*body.split_off(..4)?.first_chunk()?);
    body.split_off(..usize::try_from(length).ok()?)
}

/// Which items are the first ones of a row: those whose repetition level is 0.
fn starts(levels: &[u8], count: usize) -> Option<Vec<u32>> {
    let mut starts = Vec::new();
    let mut at = 0;
    for run in values::runs(levels, 1) {
        match run {
            Run::Repeated(level, length) => {
                let end = (at + length).min(count);
                if level == 0 {
                    starts.extend((at..end).map(|at| at as u32));
                }
                at = end;
            }
            Run::Packed(bytes, _) => {
                for byte in bytes {
                    let mut zeros = !byte;
                    while zeros != 0 {
                        let start = at + zeros.trailing_zeros() as usize;
                        if start < count {
                            starts.push(start as u32);
                        }
                        zeros &= zeros - 1;
                    }
                    at += 8;
                }
            }
        }
        if at >= count {
            return Some(starts);
        }
    }
    None
}
