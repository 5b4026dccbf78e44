//! How samples lie in a block. In memory they are lists of times and values; regular times and short decimals
//! take a fraction of that when they are written as small integers:
//!
//! | Physical list | Lies in the block as | Read as |
//! |---|---|---|
//! | `times` | `time_step` of the row, `time_offsets` | `min_time + i * time_step + time_offsets[i]`, nanoseconds |
//! | `ints` | `numbers`, where the row has no `number_scale` | `numbers[i]` |
//! | `values` | `numbers`, where the row has a `number_scale` | `numbers[i] / 10^number_scale` |
//! | | `floats` | `floats[i]`, where `numbers[i]` is null |
//!
//! `i` counts a row's samples from 0. Nothing is rounded: a value is written as a decimal only where reading it
//! gives the same bits. Blocks of version 1 have the physical lists as they are.

mod numbers;
mod times;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, ListArray};
use arrow_schema::{Field, Schema, SchemaRef};

use crate::BlockError;
use crate::column::list_field;
use crate::logical::{Arrays, missing};
use crate::physical::PhysicalColumn;

pub(crate) use numbers::POWERS;

/// The column of the offsets of times: few values, many times each.
pub(crate) const TIME_OFFSETS: &str = "time_offsets";
const TIME_STEP: &str = "time_step";
const NUMBERS: &str = "numbers";
const SCALE: &str = "number_scale";
const FLOATS: &str = "floats";

/// The fields of a block whose rows have these in memory.
pub(crate) fn stored(physical: &Schema) -> SchemaRef {
    let mut fields = Vec::with_capacity(physical.fields().len() + 2);
    for field in physical.fields() {
        match field.name().as_str() {
            "times" => fields.extend([times::step_field(), list_field(TIME_OFFSETS)].map(Arc::new)),
            "values" => fields.push(Arc::new(list_field(FLOATS))),
            "ints" => fields.extend([numbers::scale_field(), list_field(NUMBERS)].map(Arc::new)),
            _ => fields.push(Arc::clone(field)),
        }
    }
    Arc::new(Schema::new(fields))
}

/// Makes a block's columns of those in memory, both in the order of their fields.
pub(crate) fn pack(physical: &Schema, columns: Vec<PhysicalColumn>) -> Result<Vec<PhysicalColumn>, BlockError> {
    if physical.index_of("times").is_err() {
        return Ok(columns);
    }
    let find = |name: &str| -> Result<ArrayRef, BlockError> {
        let index = physical.index_of(name).map_err(BlockError::write)?;
        let column = columns.get(index).ok_or_else(|| missing(name))?;
        column.clone().into_array(physical.field(index).data_type())
    };
    let (times, values, ints) = (find("times")?, find("values")?, find("ints")?);
    let (step, offsets) = times::pack(list(&times)?)?;
    let numbers = numbers::pack(list(&values)?, list(&ints)?)?;
    let mut packed = Vec::with_capacity(columns.len() + 2);
    for (column, field) in columns.into_iter().zip(physical.fields()) {
        match field.name().as_str() {
            "times" => packed.extend([plain(step.clone()), plain(offsets.clone())]),
            "values" => packed.push(plain(numbers.floats.clone())),
            "ints" => packed.extend([plain(numbers.scales.clone()), plain(numbers.numbers.clone())]),
            _ => packed.push(column),
        }
    }
    Ok(packed)
}

fn plain(array: impl Array + 'static) -> PhysicalColumn {
    PhysicalColumn::Plain(Arc::new(array))
}

/// Where a block's packed columns are, and where those that are made of them.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    min_time: usize,
    step: usize,
    offsets: usize,
    scale: usize,
    numbers: usize,
    floats: usize,
    flags: usize,
    times: usize,
    values: usize,
    ints: usize,
}

impl Packed {
    /// Those of a block with these fields, if it has such; and its fields with the lists that are made of them
    /// at their end.
    pub fn of(stored: SchemaRef) -> (SchemaRef, Option<Packed>) {
        let index = |name: &str| stored.index_of(name).ok();
        let first = stored.fields().len();
        let packed = (|| {
            Some(Packed {
                min_time: index("min_time")?,
                step: index(TIME_STEP)?,
                offsets: index(TIME_OFFSETS)?,
                scale: index(SCALE)?,
                numbers: index(NUMBERS)?,
                floats: index(FLOATS)?,
                flags: index("flags")?,
                times: first,
                values: first + 1,
                ints: first + 2,
            })
        })();
        if packed.is_none() {
            return (stored, None);
        }
        let made = ["times", "values", "ints"].map(|name| Arc::new(list_field(name)));
        let fields: Vec<Arc<Field>> = stored.fields().iter().cloned().chain(made).collect();
        (Arc::new(Schema::new(fields)), packed)
    }

    /// All that numbers are made of: first time, step, offsets, scale, numbers, floats, flags.
    pub fn columns(&self) -> [usize; 7] {
        [self.min_time, self.step, self.offsets, self.scale, self.numbers, self.floats, self.flags]
    }

    /// The columns to read for these.
    pub fn sources(&self, needed: &BTreeSet<usize>) -> BTreeSet<usize> {
        let of = |index: usize| match index {
            i if i == self.times => vec![self.min_time, self.step, self.offsets],
            i if i == self.values => vec![self.scale, self.numbers, self.floats],
            i if i == self.ints => vec![self.scale, self.numbers],
            i => vec![i],
        };
        needed.iter().flat_map(|index| of(*index)).collect()
    }

    /// Makes those lists that are needed.
    pub fn unpack(&self, arrays: &mut Arrays, needed: &BTreeSet<usize>) -> Result<(), BlockError> {
        if needed.contains(&self.times) {
            let [first, step, offsets] = [self.min_time, self.step, self.offsets].map(|index| arrays.get(index));
            let times = times::unpack(first?, step?, list(offsets?)?)?;
            arrays.columns[self.times] = Some(Arc::new(times));
        }
        let (values, ints) = (needed.contains(&self.values), needed.contains(&self.ints));
        if values || ints {
            let scales = numbers::Scales::new(arrays.get(self.scale)?)?;
            let numbers = list(arrays.get(self.numbers)?)?;
            let ints = ints.then(|| scales.ints(numbers)).transpose()?;
            let values = values.then(|| scales.values(numbers, list(arrays.get(self.floats)?)?)).transpose()?;
            for (index, list) in [(self.ints, ints), (self.values, values)] {
                if let Some(list) = list {
                    arrays.columns[index] = Some(Arc::new(list));
                }
            }
        }
        Ok(())
    }
}

fn list(array: &ArrayRef) -> Result<&ListArray, BlockError> {
    array.as_list_opt::<i32>().ok_or_else(|| missing("of samples"))
}

/// A row's part of a list's items; nothing where it has no list.
fn bounds(list: &ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    match list.is_valid(row) {
        true => offsets[row] as usize..offsets[row + 1] as usize,
        false => 0..0,
    }
}
