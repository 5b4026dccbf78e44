//! From physical columns to the logical ones of [`crate::column`]. Blocks and tails
//! both come through here, so that both show the same values.

mod attribute;
mod object;
mod samples;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, TimestampNanosecondArray};
use arrow_schema::SchemaRef;
use bonghwa_model::Signal;

use crate::BlockError;
use crate::column::{AttributeScope, Column, base_column, schema};
use crate::layout::{Layout, Owner};

use attribute::AttributeOutput;
use object::ObjectOutput;
use samples::SampleColumn;

/// Physical columns of some rows, by their index in the layout.
pub(crate) struct Arrays {
    pub columns: Vec<Option<ArrayRef>>,
    pub rows: usize,
}

impl Arrays {
    pub fn get(&self, index: usize) -> Result<&ArrayRef, BlockError> {
        self.columns.get(index).and_then(Option::as_ref).ok_or_else(|| missing(&index.to_string()))
    }
}

pub(crate) fn missing(name: &str) -> BlockError {
    BlockError::damaged("", format!("column {name} is missing or of an unknown type"))
}

/// How one logical column is made.
enum Output {
    /// As it is.
    Copy(usize),
    /// Ids as hex text.
    Hex(usize),
    /// JSON lists: `[]` where there is none.
    List(usize),
    /// The end of a span, from its start and duration.
    End { start: usize, duration: usize },
    /// All attributes as a JSON object.
    Object(ObjectOutput),
    /// One attribute.
    Attribute(AttributeOutput),
    /// A part of a metric's samples.
    Sample(SampleColumn),
}

/// How the logical columns of a query are made from one layout.
pub(crate) struct Mapping {
    schema: SchemaRef,
    outputs: Vec<Output>,
    /// Of metrics, for a row per sample: the list that tells how many samples a series has.
    times: Option<usize>,
    /// Physical columns that must be read, by index.
    pub needed: BTreeSet<usize>,
}

impl Mapping {
    /// Plans the columns. `rest_holds` tells whether the rest of a row may hold a key:
    /// where it cannot, the rest is not read.
    pub fn new(
        layout: &Layout,
        columns: &[Column],
        rest_holds: &dyn Fn(Owner, &str) -> bool,
    ) -> Result<Mapping, BlockError> {
        let by_series = columns.iter().any(|column| matches!(column, Column::List(_)));
        Self::by_rows(layout, columns, rest_holds, layout.signal != Signal::Metrics || by_series)
    }

    /// The same; `as_stored` gives a row per physical row, also of metrics, where that is a series.
    pub fn by_rows(
        layout: &Layout,
        columns: &[Column],
        rest_holds: &dyn Fn(Owner, &str) -> bool,
        as_stored: bool,
    ) -> Result<Mapping, BlockError> {
        let mut needed = BTreeSet::new();
        let mut outputs = Vec::with_capacity(columns.len());
        for column in columns {
            let output = match column {
                Column::Base(name) => base(layout, name)?,
                // As it lies in the block.
                Column::List(name) => Output::Copy(layout.index(name).ok_or_else(|| missing(name))?),
                Column::Attribute { scope, key, value_type } => {
                    let owners: &[Owner] = match scope {
                        AttributeScope::Any => &[Owner::Record, Owner::Resource],
                        AttributeScope::Resource => &[Owner::Resource],
                        AttributeScope::Record => &[Owner::Record],
                    };
                    Output::Attribute(AttributeOutput::new(layout, owners, key, *value_type, rest_holds))
                }
            };
            output.needs(&mut needed);
            outputs.push(output);
        }
        if as_stored && outputs.iter().any(|output| matches!(output, Output::Sample(_))) {
            return Err(BlockError::Request("rows of series have no columns of single samples: ask for lists".into()));
        }
        let times = match as_stored {
            true => None,
            false => Some(layout.index("times").ok_or_else(|| missing("times"))?),
        };
        needed.extend(times);
        Ok(Mapping { schema: schema(layout.signal, columns), outputs, times, needed })
    }

    /// The schema of the logical rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Makes the logical rows. Metric samples outside `range` are left out.
    pub fn apply(&self, arrays: &Arrays, range: &RangeInclusive<i64>) -> Result<RecordBatch, BlockError> {
        let expansion = match self.times {
            Some(times) => Some(samples::Expansion::new(arrays.get(times)?, range)?),
            None => None,
        };
        let mut columns = Vec::with_capacity(self.outputs.len());
        for output in &self.outputs {
            columns.push(match (output, &expansion) {
                (Output::Sample(sample), Some(expansion)) => sample.build(arrays, expansion)?,
                (output, Some(expansion)) => expansion.repeat(&output.build(arrays)?)?,
                (output, None) => output.build(arrays)?,
            });
        }
        let rows = expansion.map_or(arrays.rows, |e| e.rows());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|e| BlockError::damaged("", e))
    }
}

fn base(layout: &Layout, name: &'static str) -> Result<Output, BlockError> {
    base_column(layout.signal, name)?;
    let index = |name: &str| layout.index(name).ok_or_else(|| missing(name));
    Ok(match name {
        "resource" => Output::Object(ObjectOutput::new(layout, Owner::Resource)),
        "attributes" => Output::Object(ObjectOutput::new(layout, Owner::Record)),
        "trace_id" | "span_id" | "parent_span_id" | "series_id" => Output::Hex(index(name)?),
        "events" | "links" => Output::List(index(name)?),
        "end_time" => Output::End { start: index("start_time")?, duration: index("duration_ns")? },
        _ => match SampleColumn::new(layout, name)? {
            Some(sample) => Output::Sample(sample),
            None => Output::Copy(index(name)?),
        },
    })
}

impl Output {
    fn needs(&self, needed: &mut BTreeSet<usize>) {
        match self {
            Output::Copy(index) | Output::Hex(index) | Output::List(index) => {
                needed.insert(*index);
            }
            Output::End { start, duration } => needed.extend([*start, *duration]),
            Output::Object(object) => needed.extend(object.needs()),
            Output::Attribute(attribute) => needed.extend(attribute.needs()),
            Output::Sample(sample) => needed.extend(sample.needs()),
        }
    }

    /// The column, one row per physical row.
    fn build(&self, arrays: &Arrays) -> Result<ArrayRef, BlockError> {
        match self {
            Output::Copy(index) => Ok(Arc::clone(arrays.get(*index)?)),
            Output::Hex(index) => hex(arrays.get(*index)?),
            Output::List(index) => or_empty_list(arrays.get(*index)?),
            Output::End { start, duration } => end_time(arrays.get(*start)?, arrays.get(*duration)?),
            Output::Object(object) => object.build(arrays),
            Output::Attribute(attribute) => attribute.build(arrays),
            Output::Sample(_) => Err(missing("times")),
        }
    }
}

fn hex(ids: &ArrayRef) -> Result<ArrayRef, BlockError> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let ids = ids.as_fixed_size_binary_opt().ok_or_else(|| missing("id"))?;
    let width = ids.value_length() as usize;
    let mut out = StringBuilder::with_capacity(ids.len(), ids.len() * width * 2);
    let mut text = String::with_capacity(width * 2);
    for row in 0..ids.len() {
        if ids.is_null(row) {
            out.append_null();
            continue;
        }
        text.clear();
        for byte in ids.value(row) {
            text.push(DIGITS[(byte >> 4) as usize] as char);
            text.push(DIGITS[(byte & 15) as usize] as char);
        }
        out.append_value(&text);
    }
    Ok(Arc::new(out.finish()))
}

fn or_empty_list(texts: &ArrayRef) -> Result<ArrayRef, BlockError> {
    let texts = text_array(texts)?;
    if texts.null_count() == 0 {
        return Ok(Arc::new(texts.clone()));
    }
    Ok(Arc::new(texts.iter().map(|t| Some(t.unwrap_or("[]"))).collect::<StringArray>()))
}

fn text_array(array: &ArrayRef) -> Result<&StringArray, BlockError> {
    array.as_string_opt::<i32>().ok_or_else(|| missing("text"))
}

fn end_time(start: &ArrayRef, duration: &ArrayRef) -> Result<ArrayRef, BlockError> {
    let start = start.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| missing("start_time"))?;
    let duration = duration.as_primitive_opt::<Int64Type>().ok_or_else(|| missing("duration_ns"))?;
    let ends = start.values().iter().zip(duration.values()).map(|(s, d)| s.wrapping_add(*d));
    let array: TimestampNanosecondArray = ends.collect::<Vec<i64>>().into();
    Ok(Arc::new(array.with_timezone("UTC")))
}
