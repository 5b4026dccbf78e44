//! From a row per series to a row per sample.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, Int32Array, ListArray, PrimitiveArray, StringArray, UInt32Array,
};
use bonghwa_model::Signal;

use super::{Arrays, missing};
use crate::BlockError;
use crate::layout::Layout;

/// Which samples of which series are shown.
pub(super) struct Expansion {
    /// Per sample: its series' row.
    series: Vec<u32>,
    /// Per sample: its number within the series.
    number: Vec<u32>,
}

impl Expansion {
    pub fn new(times: &ArrayRef, range: &RangeInclusive<i64>) -> Result<Self, BlockError> {
        let times = times.as_list_opt::<i32>().ok_or_else(|| missing("times"))?;
        let values = times.values().as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| missing("times"))?;
        let mut expansion = Expansion { series: Vec::new(), number: Vec::new() };
        for (row, bounds) in times.value_offsets().windows(2).enumerate() {
            let (start, end) = (bounds[0] as usize, bounds[1] as usize);
            for (number, time) in values.values()[start..end].iter().enumerate() {
                if range.contains(time) {
                    expansion.series.push(row as u32);
                    expansion.number.push(number as u32);
                }
            }
        }
        Ok(expansion)
    }

    pub fn rows(&self) -> usize {
        self.series.len()
    }

    /// A column of the series, for each of its samples.
    pub fn repeat(&self, column: &ArrayRef) -> Result<ArrayRef, BlockError> {
        let rows = UInt32Array::from(self.series.clone());
        arrow_select::take::take(column, &rows, None).map_err(|e| BlockError::damaged("", e))
    }

    /// Per sample: where its item lies in a list column; `None` where the series has no list.
    fn items<'a>(&'a self, list: &'a ListArray) -> impl Iterator<Item = Option<usize>> + 'a {
        let offsets = list.value_offsets();
        self.series.iter().zip(&self.number).map(move |(row, number)| {
            let (start, end) = (offsets[*row as usize] as usize, offsets[*row as usize + 1] as usize);
            let at = start + *number as usize;
            (list.is_valid(*row as usize) && at < end).then_some(at)
        })
    }

    fn numbers<T: ArrowPrimitiveType>(&self, list: &ArrayRef) -> Result<PrimitiveArray<T>, BlockError> {
        let list = list.as_list_opt::<i32>().ok_or_else(|| missing("of samples"))?;
        let values = list.values().as_primitive_opt::<T>().ok_or_else(|| missing("of samples"))?;
        Ok(self.items(list).map(|at| at.filter(|at| values.is_valid(*at)).map(|at| values.value(at))).collect())
    }

    fn texts(&self, list: &ArrayRef, default: Option<&str>) -> Result<StringArray, BlockError> {
        let list = list.as_list_opt::<i32>().ok_or_else(|| missing("of samples"))?;
        let values = list.values().as_string_opt::<i32>().ok_or_else(|| missing("of samples"))?;
        Ok(self
            .items(list)
            .map(|at| at.filter(|at| values.is_valid(*at)).map(|at| values.value(at)).or(default))
            .collect())
    }
}

/// A logical column that each sample has its own value of.
pub(super) enum SampleColumn {
    Time(usize),
    Value { values: usize, ints: usize },
    Int(usize),
    Count(usize),
    Sum(usize),
    Buckets(usize),
    Exemplars(usize),
    Flags(usize),
    Start { all: usize, each: usize },
}

impl SampleColumn {
    /// The sample column of this name, if it is one.
    pub fn new(layout: &Layout, name: &str) -> Result<Option<Self>, BlockError> {
        if layout.signal != Signal::Metrics {
            return Ok(None);
        }
        let index = |name: &str| layout.index(name).ok_or_else(|| missing(name));
        Ok(Some(match name {
            "time" => SampleColumn::Time(index("times")?),
            "value" => SampleColumn::Value { values: index("values")?, ints: index("ints")? },
            "value_int" => SampleColumn::Int(index("ints")?),
            "count" => SampleColumn::Count(index("counts")?),
            "sum" => SampleColumn::Sum(index("sums")?),
            "buckets" => SampleColumn::Buckets(index("buckets")?),
            "exemplars" => SampleColumn::Exemplars(index("exemplars")?),
            "flags" => SampleColumn::Flags(index("flags")?),
            "start_time" => SampleColumn::Start { all: index("start_time")?, each: index("start_times")? },
            _ => return Ok(None),
        }))
    }

    pub fn needs(&self) -> Vec<usize> {
        use SampleColumn::*;
        match self {
            Time(i) | Int(i) | Count(i) | Sum(i) | Buckets(i) | Exemplars(i) | Flags(i) => vec![*i],
            Value { values, ints } => vec![*values, *ints],
            Start { all, each } => vec![*all, *each],
        }
    }

    pub fn build(&self, arrays: &Arrays, expansion: &Expansion) -> Result<ArrayRef, BlockError> {
        let utc = |times: PrimitiveArray<TimestampNanosecondType>| times.with_timezone("UTC");
        Ok(match self {
            SampleColumn::Time(index) => Arc::new(utc(expansion.numbers(arrays.get(*index)?)?)),
            SampleColumn::Value { values, ints } => {
                let values = expansion.numbers::<Float64Type>(arrays.get(*values)?)?;
                let ints = expansion.numbers::<Int64Type>(arrays.get(*ints)?)?;
                if ints.null_count() == ints.len() {
                    return Ok(Arc::new(values));
                }
                let both = values.iter().zip(ints.iter()).map(|(v, i)| v.or(i.map(|i| i as f64)));
                Arc::new(both.collect::<PrimitiveArray<Float64Type>>())
            }
            SampleColumn::Int(index) | SampleColumn::Count(index) => {
                Arc::new(expansion.numbers::<Int64Type>(arrays.get(*index)?)?)
            }
            SampleColumn::Sum(index) => Arc::new(expansion.numbers::<Float64Type>(arrays.get(*index)?)?),
            SampleColumn::Buckets(index) => Arc::new(expansion.texts(arrays.get(*index)?, None)?),
            SampleColumn::Exemplars(index) => Arc::new(expansion.texts(arrays.get(*index)?, Some("[]"))?),
            SampleColumn::Flags(index) => {
                let flags = expansion.numbers::<Int32Type>(arrays.get(*index)?)?;
                Arc::new(flags.iter().map(Option::unwrap_or_default).map(Some).collect::<Int32Array>())
            }
            SampleColumn::Start { all, each } => {
                let all = expansion.repeat(arrays.get(*all)?)?;
                let each = expansion.numbers::<TimestampNanosecondType>(arrays.get(*each)?)?;
                if each.null_count() == each.len() {
                    return Ok(all);
                }
                let all = all.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| missing("start_time"))?;
                let both = all.iter().zip(each.iter()).map(|(a, e)| a.or(e));
                Arc::new(utc(both.collect()))
            }
        })
    }
}
