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

/// The columns that labels are made of.
pub(super) fn of_labels() -> impl Iterator<Item = Column> {
    IDENTITY.iter().chain(&SOURCES).map(|name| Column::Base(name))
}

/// The columns of one batch. Columns are in the order in which they were asked for.
pub(super) struct Columns<'a> {
    pub id: &'a StringArray,
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
    /// Absent where only labels were asked for.
    pub samples: Option<Samples<'a>>,
    /// Where only labels were asked for.
    distributions: Option<Texts<'a>>,
    pub rows: usize,
}

/// The samples of a batch. Parts that a sample lacks are null.
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
    items: &'a PrimitiveArray<T>,
}

struct Texts<'a> {
    list: Option<&'a ListArray>,
    items: &'a StringArray,
}

impl<'a> Columns<'a> {
    pub fn new(batch: &'a RecordBatch) -> Result<Self, QueryError> {
        let columns = batch.columns();
        let at = |index: usize| columns.get(index).ok_or_else(|| wrong("metrics lack a column"));
        let text = |index: usize| {
            at(index)?.as_string_opt::<i32>().ok_or_else(|| wrong(IDENTITY.get(index).unwrap_or(&"a label")))
        };
        let first = IDENTITY.len() + SOURCES.len();
        let (samples, distributions) = match columns.get(first..) {
            Some(samples) if samples.len() == SAMPLES.len() => (Some(Samples::new(samples)?), None),
            Some([buckets]) => (None, Some(Texts::new(buckets)?)),
            _ => (None, None),
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
            samples,
            distributions,
            rows: batch.num_rows(),
        })
    }

    /// The JSON of a distribution of a row, where only labels were asked for.
    pub fn distribution(&self, row: usize) -> Option<&'a str> {
        let Texts { list, items } = self.distributions.as_ref()?;
        let count = list.map_or(1, |list| list.value_length(row) as usize);
        let mut places = (0..count).filter_map(|sample| place(*list, row, sample));
        places.find(|at| items.is_valid(*at)).map(|at| items.value(at))
    }
}

impl<'a> Samples<'a> {
    fn new(columns: &'a [ArrayRef]) -> Result<Self, QueryError> {
        let shape = match columns[0].as_list_opt::<i32>() {
            Some(times) => Shape::Series(times),
            None => Shape::Single,
        };
        Ok(Samples {
            shape,
            times: Part::new(&columns[0])?,
            values: Part::new(&columns[1])?,
            ints: Part::new(&columns[2])?,
            counts: Part::new(&columns[3])?,
            sums: Part::new(&columns[4])?,
            flags: Part::new(&columns[6])?,
            buckets: Texts::new(&columns[5])?,
        })
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
        let at = place(self.buckets.list, row, sample)?;
        self.buckets.items.is_valid(at).then(|| self.buckets.items.value(at))
    }
}

impl<'a> Texts<'a> {
    fn new(column: &'a ArrayRef) -> Result<Self, QueryError> {
        let list = column.as_list_opt::<i32>();
        let items = list.map_or(column, |list| list.values());
        Ok(Texts { list, items: items.as_string_opt::<i32>().ok_or_else(|| wrong("buckets"))? })
    }
}

impl<'a, T: ArrowPrimitiveType> Part<'a, T> {
    fn new(column: &'a ArrayRef) -> Result<Self, QueryError> {
        let list = column.as_list_opt::<i32>();
        let items = list.map_or(column, |list| list.values());
        let items = items.as_primitive_opt::<T>().ok_or_else(|| wrong("a part of samples"))?;
        Ok(Part { list, items })
    }

    /// The number of a sample.
    pub fn get(&self, row: usize, sample: usize) -> Option<T::Native> {
        let at = place(self.list, row, sample)?;
        self.items.is_valid(at).then(|| self.items.value(at))
    }

    /// All numbers of a row, if no sample lacks one.
    pub fn all(&self, row: usize) -> Option<&'a [T::Native]> {
        let (start, end) = match self.list {
            None => (row, row + 1),
            Some(list) if list.is_valid(row) => {
                let offsets = list.value_offsets();
                (offsets[row] as usize, offsets[row + 1] as usize)
            }
            Some(_) => return None,
        };
        let whole = self.items.nulls().is_none_or(|nulls| nulls.slice(start, end - start).null_count() == 0);
        whole.then(|| &self.items.values()[start..end])
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
