//! A batch of metrics by its columns, whether a row is a series or a single sample.

use arrow_array::cast::AsArray;
use arrow_array::types::{ArrowPrimitiveType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray};
use bonghwa_block::Column;

use crate::QueryError;

/// What tells series apart.
const IDENTITY: [&str; 9] =
    ["series_id", "name", "type", "unit", "monotonic", "temporality", "service_name", "scope_name", "scope_version"];
/// What labels are made of.
const SOURCES: [&str; 2] = ["resource", "attributes"];
/// What samples are made of: the list, and the column of a single one.
const SAMPLES: [(&str, &str); 7] = [
    ("times", "time"),
    ("values", "value"),
    ("ints", "value_int"),
    ("counts", "count"),
    ("sums", "sum"),
    ("buckets", "buckets"),
    ("flags", "flags"),
];

/// The columns of rows of series.
pub(super) fn of_series(samples: bool) -> Vec<Column> {
    // Bounds and quantiles are labels too.
    let lists = if samples { &SAMPLES[..] } else { &[("buckets", "buckets")] };
    of_labels().chain(lists.iter().map(|(list, _)| Column::List(list))).collect()
}

/// The columns of rows of samples, which are read where some may be deleted.
pub(super) fn of_samples() -> Vec<Column> {
    of_labels().chain(SAMPLES.iter().map(|(_, single)| Column::Base(single))).collect()
}

/// The lists that rows of these kinds have: all have times.
pub(super) fn lists(numbers: bool, distributions: bool) -> Vec<Column> {
    let has = |list: &str| match list {
        "times" => true,
        "values" | "ints" | "flags" => numbers,
        _ => distributions,
    };
    SAMPLES.iter().filter(|(list, _)| has(list)).map(|(list, _)| Column::List(list)).collect()
}

/// The columns that labels are made of.
pub(super) fn of_labels() -> impl Iterator<Item = Column> {
    IDENTITY.iter().chain(&SOURCES).map(|name| Column::Base(name))
}

/// The columns of one batch. Those that tell series apart are the first, in the order in which they were asked for.
pub(super) struct Columns<'a> {
    id: &'a StringArray,
    pub name: &'a StringArray,
    pub metric_type: &'a StringArray,
    pub unit: &'a StringArray,
    pub monotonic: &'a BooleanArray,
    pub temporality: &'a StringArray,
    pub service_name: &'a StringArray,
    pub scope_name: &'a StringArray,
    pub scope_version: &'a StringArray,
    pub resource: &'a StringArray,
    pub attributes: &'a StringArray,
    pub rows: usize,
}

/// The samples of a batch. Parts that a sample lacks are null, or were not read.
pub(super) struct Samples<'a> {
    shape: Shape<'a>,
    /// Unix nanoseconds.
    pub times: Part<'a, TimestampNanosecondType>,
    pub values: Part<'a, Float64Type>,
    pub ints: Part<'a, Int64Type>,
    pub counts: Part<'a, Int64Type>,
    pub sums: Part<'a, Float64Type>,
    /// OTLP DataPointFlags; null for none.
    pub flags: Part<'a, Int32Type>,
    buckets: Texts<'a>,
}

enum Shape<'a> {
    Series(&'a ListArray),
    Single,
}

/// One number of each sample.
pub(super) struct Part<'a, T: ArrowPrimitiveType> {
    /// Absent where each row is a sample.
    list: Option<&'a ListArray>,
    /// Absent where it was not read.
    items: Option<&'a PrimitiveArray<T>>,
}

/// A text of each sample.
#[derive(Default)]
pub(super) struct Texts<'a> {
    list: Option<&'a ListArray>,
    items: Option<&'a StringArray>,
}

impl<'a> Columns<'a> {
    pub fn new(batch: &'a RecordBatch) -> Result<Self, QueryError> {
        let columns = batch.columns();
        let at = |index: usize| columns.get(index).ok_or_else(|| wrong("metrics lack a column"));
        let text = |index: usize| {
            at(index)?.as_string_opt::<i32>().ok_or_else(|| wrong(IDENTITY.get(index).unwrap_or(&"a label")))
        };
        Ok(Columns {
            id: text(0)?,
            name: text(1)?,
            metric_type: text(2)?,
            unit: text(3)?,
            monotonic: at(4)?.as_boolean_opt().ok_or_else(|| wrong("monotonic"))?,
            temporality: text(5)?,
            service_name: text(6)?,
            scope_name: text(7)?,
            scope_version: text(8)?,
            resource: text(9)?,
            attributes: text(10)?,
            rows: batch.num_rows(),
        })
    }

    /// The id of a row's series.
    pub fn id(&self, row: usize) -> u128 {
        parse_id(self.id.value(row))
    }
}

/// Reads a series id: hexadecimal digits, always.
pub(super) fn parse_id(text: &str) -> u128 {
    u128::from_str_radix(text, 16).unwrap_or_default()
}

/// A column of text.
pub(super) fn text<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, QueryError> {
    batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>()).ok_or_else(|| wrong(name))
}

impl<'a> Samples<'a> {
    /// Those of a batch; none where no times were read.
    pub fn new(batch: &'a RecordBatch) -> Result<Option<Self>, QueryError> {
        let column = |number: usize| {
            let (list, single) = SAMPLES[number];
            batch.column_by_name(list).or_else(|| batch.column_by_name(single))
        };
        let Some(times) = column(0) else { return Ok(None) };
        let shape = match times.as_list_opt::<i32>() {
            Some(times) => Shape::Series(times),
            None => Shape::Single,
        };
        Ok(Some(Samples {
            shape,
            times: Part::new(Some(times))?,
            values: Part::new(column(1))?,
            ints: Part::new(column(2))?,
            counts: Part::new(column(3))?,
            sums: Part::new(column(4))?,
            buckets: Texts::new(column(5))?,
            flags: Part::new(column(6))?,
        }))
    }

    /// How many samples a row has.
    pub fn len(&self, row: usize) -> usize {
        match self.shape {
            Shape::Series(times) => times.value_length(row) as usize,
            Shape::Single => 1,
        }
    }

    /// The JSON of a sample's distribution.
    pub fn buckets(&self, row: usize, sample: usize) -> Option<&'a str> {
        self.buckets.get(row, sample)
    }
}

impl<'a> Texts<'a> {
    /// The distributions of a batch's samples.
    pub fn of_distributions(batch: &'a RecordBatch) -> Result<Self, QueryError> {
        Self::new(batch.column_by_name("buckets"))
    }

    fn new(column: Option<&'a ArrayRef>) -> Result<Self, QueryError> {
        let Some(column) = column else { return Ok(Texts::default()) };
        let list = column.as_list_opt::<i32>();
        let items = list.map_or(column, |list| list.values());
        Ok(Texts { list, items: Some(items.as_string_opt::<i32>().ok_or_else(|| wrong("buckets"))?) })
    }

    fn get(&self, row: usize, sample: usize) -> Option<&'a str> {
        let (items, at) = (self.items?, place(self.list, row, sample)?);
        items.is_valid(at).then(|| items.value(at))
    }

    /// The first that a row has.
    pub fn first(&self, row: usize) -> Option<&'a str> {
        let count = self.list.map_or(1, |list| list.value_length(row) as usize);
        (0..count).find_map(|sample| self.get(row, sample))
    }
}

impl<'a, T: ArrowPrimitiveType> Part<'a, T> {
    fn new(column: Option<&'a ArrayRef>) -> Result<Self, QueryError> {
        let Some(column) = column else { return Ok(Part { list: None, items: None }) };
        let list = column.as_list_opt::<i32>();
        let items = list.map_or(column, |list| list.values());
        let items = items.as_primitive_opt::<T>().ok_or_else(|| wrong("a part of samples"))?;
        Ok(Part { list, items: Some(items) })
    }

    /// The number of a sample.
    pub fn get(&self, row: usize, sample: usize) -> Option<T::Native> {
        let (items, at) = (self.items?, place(self.list, row, sample)?);
        items.is_valid(at).then(|| items.value(at))
    }

    /// All numbers of a row, if no sample lacks one.
    pub fn all(&self, row: usize) -> Option<&'a [T::Native]> {
        let items = self.items?;
        let (start, end) = match self.list {
            None => (row, row + 1),
            Some(list) if list.is_valid(row) => {
                let offsets = list.value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            }
            Some(_) => return None,
        };
        let whole = items.nulls().is_none_or(|nulls| nulls.slice(start, end - start).null_count() == 0);
        whole.then(|| &items.values()[start..end])
    }
}

/// Where a sample's item lies.
fn place(list: Option<&ListArray>, row: usize, sample: usize) -> Option<usize> {
    match list {
        None => Some(row),
        Some(list) if list.is_valid(row) => Some(list.value_offsets()[row] as usize + sample),
        Some(_) => None,
    }
}

fn wrong(what: &str) -> QueryError {
    QueryError::Internal(format!("{what} came with another type"))
}
