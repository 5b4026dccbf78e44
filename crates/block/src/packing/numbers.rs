//! Floats as decimals, beside integers.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, ArrowPrimitiveType, Int32Array, ListArray, PrimitiveArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field};

use super::{SCALE, bounds};
use crate::BlockError;
use crate::logical::missing;

/// Powers of ten, all of them exact; as many decimal places a value may have at most.
pub(crate) const POWERS: [f64; 10] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// A row is decimals if at most one value in so many is none: as a rule the stale marker at its end.
const EXCEPTIONS: usize = 8;
/// What a float holds of integers.
const MOST: u64 = 1 << 53;

pub(super) fn scale_field() -> Field {
    Field::new(SCALE, DataType::Int32, true)
}

pub(super) struct Packed {
    pub scales: Int32Array,
    pub numbers: ListArray,
    pub floats: ListArray,
}

pub(super) fn pack(values: &ListArray, ints: &ListArray) -> Result<Packed, BlockError> {
    let of_values = values.values().as_primitive_opt::<Float64Type>().ok_or_else(|| missing("values"))?;
    let of_ints = ints.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("ints"))?;
    let rows = values.len();
    let mut scales = Vec::with_capacity(rows);
    let mut numbers = Lists::<Int64Type>::new(rows);
    let mut floats = Lists::<Float64Type>::new(rows);
    for row in 0..rows {
        let (of_row, ints_of_row) = (bounds(values, row), bounds(ints, row));
        let scale = match ints_of_row.is_empty() {
            true => scale(of_values, of_row.clone()),
            false => None,
        };
        let Some(scale) = scale else {
            numbers.copy(of_ints, ints_of_row);
            floats.copy(of_values, of_row);
            scales.push(None);
            continue;
        };
        let value = |at: usize| of_values.is_valid(at).then(|| of_values.value(at));
        let decimal = |at: usize| value(at).and_then(|value| decimal(value, scale));
        let absent = numbers.absent.len();
        numbers.push(of_row.clone().map(decimal));
        if numbers.absent.len() > absent && of_row.clone().any(|at| value(at).is_some() && decimal(at).is_none()) {
            floats.push(of_row.map(|at| value(at).filter(|_| decimal(at).is_none())));
        } else {
            floats.push_none();
        }
        scales.push(Some(scale as i32));
    }
    Ok(Packed { scales: scales.into(), numbers: numbers.finish()?, floats: floats.finish()? })
}

/// How many decimal places the values of a row have, if nearly all have few.
fn scale(values: &PrimitiveArray<Float64Type>, row: std::ops::Range<usize>) -> Option<usize> {
    let allowed = row.len() / EXCEPTIONS;
    let (mut scale, mut exceptions, mut decimals) = (0, 0, 0);
    for at in row.filter(|at| values.is_valid(*at)) {
        let value = values.value(at);
        match (scale..POWERS.len()).find(|scale| decimal(value, *scale).is_some()) {
            Some(needed) => {
                scale = needed;
                decimals += 1;
            }
            None if exceptions < allowed => exceptions += 1,
            None => return None,
        }
    }
    (decimals > 0).then_some(scale)
}

/// The integer that over a power of ten is this value, to the bit.
fn decimal(value: f64, scale: usize) -> Option<i64> {
    // Rounded by hand: whether it was right is seen in what comes back.
    let number = (value * POWERS[scale] + 0.5f64.copysign(value)) as i64;
    // Of zeros only one is an integer.
    let same = number.unsigned_abs() < MOST && (number as f64 / POWERS[scale]).to_bits() == value.to_bits();
    same.then_some(number)
}

/// The scale of each row.
pub(super) struct Scales<'a>(&'a Int32Array);

impl<'a> Scales<'a> {
    pub fn new(array: &'a ArrayRef) -> Result<Self, BlockError> {
        let scales = array.as_primitive_opt::<Int32Type>().ok_or_else(|| missing(SCALE))?;
        match scales.iter().flatten().find(|scale| !(0..POWERS.len() as i32).contains(scale)) {
            Some(scale) => {
                Err(BlockError::damaged("", format!("{SCALE} {scale} is none of 0 to {}", POWERS.len() - 1)))
            }
            None => Ok(Scales(scales)),
        }
    }

    fn get(&self, row: usize) -> Option<f64> {
        self.0.is_valid(row).then(|| POWERS[self.0.value(row) as usize])
    }

    /// The integers of rows that have no scale.
    pub fn ints(&self, numbers: &ListArray) -> Result<ListArray, BlockError> {
        if self.0.null_count() == self.0.len() {
            return Ok(numbers.clone());
        }
        let items = numbers.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("numbers"))?;
        let mut ints = Lists::<Int64Type>::new(numbers.len());
        for row in 0..numbers.len() {
            match self.get(row) {
                None => ints.copy(items, bounds(numbers, row)),
                Some(_) => ints.push_none(),
            }
        }
        ints.finish()
    }

    /// The floats of rows: their numbers where they have a scale, or as they are.
    pub fn values(&self, numbers: &ListArray, floats: &ListArray) -> Result<ListArray, BlockError> {
        if self.0.null_count() == self.0.len() {
            return Ok(floats.clone());
        }
        let of_numbers = numbers.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("numbers"))?;
        let of_floats = floats.values().as_primitive_opt::<Float64Type>().ok_or_else(|| missing("floats"))?;
        let mut values = Lists::<Float64Type>::new(numbers.len());
        values.items.reserve(of_numbers.len() + of_floats.len());
        for row in 0..numbers.len() {
            let (of_row, floats_of_row) = (bounds(numbers, row), bounds(floats, row));
            let Some(power) = self.get(row) else {
                values.copy(of_floats, floats_of_row);
                continue;
            };
            if of_numbers.null_count() == 0 {
                values.items.extend(of_numbers.values()[of_row].iter().map(|number| *number as f64 / power));
                values.end();
                continue;
            }
            let float = |at: usize| (at < floats_of_row.end && of_floats.is_valid(at)).then(|| of_floats.value(at));
            values.push(of_row.clone().enumerate().map(|(nth, at)| match of_numbers.is_valid(at) {
                true => Some(of_numbers.value(at) as f64 / power),
                false => float(floats_of_row.start + nth),
            }));
        }
        values.finish()
    }
}

/// Lists of numbers that grow row by row.
struct Lists<T: ArrowPrimitiveType> {
    items: Vec<T::Native>,
    /// Places of items that are null.
    absent: Vec<usize>,
    ends: Vec<i32>,
    valid: BooleanBufferBuilder,
}

impl<T: ArrowPrimitiveType> Lists<T> {
    fn new(rows: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Lists { items: Vec::new(), absent: Vec::new(), ends, valid: BooleanBufferBuilder::new(rows) }
    }

    /// A row without a list.
    fn push_none(&mut self) {
        self.valid.append(false);
        self.ends.push(self.items.len() as i32);
    }

    /// Ends a row's list.
    fn end(&mut self) {
        self.valid.append(true);
        self.ends.push(self.items.len() as i32);
    }

    fn push(&mut self, row: impl Iterator<Item = Option<T::Native>>) {
        for item in row {
            if item.is_none() {
                self.absent.push(self.items.len());
            }
            self.items.push(item.unwrap_or_default());
        }
        self.end();
    }

    /// A row as it is elsewhere; without a list where it is empty.
    fn copy(&mut self, items: &PrimitiveArray<T>, row: std::ops::Range<usize>) {
        if row.is_empty() {
            return self.push_none();
        }
        if items.null_count() > 0 {
            let first = self.items.len();
            self.absent
                .extend(row.clone().enumerate().filter(|(_, at)| items.is_null(*at)).map(|(nth, _)| first + nth));
        }
        self.items.extend_from_slice(&items.values()[row]);
        self.end();
    }

    fn finish(mut self) -> Result<ListArray, BlockError> {
        let nulls = (!self.absent.is_empty()).then(|| {
            let mut valid = BooleanBufferBuilder::new(self.items.len());
            valid.append_n(self.items.len(), true);
            self.absent.iter().for_each(|at| valid.set_bit(*at, false));
            NullBuffer::new(valid.finish())
        });
        let items: ArrayRef = Arc::new(PrimitiveArray::<T>::new(ScalarBuffer::from(self.items), nulls));
        let field = Arc::new(Field::new("element", items.data_type().clone(), true));
        let rows = NullBuffer::new(self.valid.finish());
        let rows = (rows.null_count() > 0).then_some(rows);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        ListArray::try_new(field, offsets, items, rows).map_err(BlockError::write)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Row<'a, T> = Option<&'a [Option<T>]>;

    fn lists<T: ArrowPrimitiveType>(rows: &[Row<'_, T::Native>]) -> ListArray {
        let mut lists = Lists::<T>::new(rows.len());
        for row in rows {
            match row {
                Some(items) => lists.push(items.iter().copied()),
                None => lists.push_none(),
            }
        }
        lists.finish().unwrap()
    }

    #[test]
    fn every_value_comes_back_to_the_bit() {
        let stale = f64::from_bits(0x7ff0_0000_0000_0002);
        let decimals: Vec<Option<f64>> = (0..100).map(|n| Some(f64::from(n * 7919 % 1000) / 100.0)).collect();
        let ended: Vec<Option<f64>> = decimals.iter().copied().chain([Some(stale)]).collect();
        let odd = [0.1 + 0.2, f64::MAX, -0.0, f64::INFINITY, f64::NAN, 1e300, 5e-324].map(Some);
        let mixed = [Some(1.5), None, Some(-0.0), Some(-3.25), None, None, None, None, Some(2.0)];
        let with_ints = [Some(2.5), None];
        let ints = [None, Some(i64::MIN)];
        let rows: [(Row<'_, f64>, Row<'_, i64>, Option<i32>); 7] = [
            (Some(&decimals), None, Some(2)),
            (Some(&ended), None, Some(2)),
            (Some(&odd), None, None),
            (Some(&mixed), None, Some(2)),
            (None, Some(&[Some(i64::MAX), Some(0)]), None),
            (Some(&with_ints), Some(&ints), None),
            (None, None, None),
        ];
        let values = lists::<Float64Type>(&rows.map(|row| row.0));
        let ints = lists::<Int64Type>(&rows.map(|row| row.1));
        let packed = pack(&values, &ints).unwrap();
        assert_eq!(packed.scales, Int32Array::from(rows.map(|row| row.2).to_vec()));
        let scales: ArrayRef = Arc::new(packed.scales);
        let scales = Scales::new(&scales).unwrap();
        assert_eq!(scales.ints(&packed.numbers).unwrap(), ints);
        let back = scales.values(&packed.numbers, &packed.floats).unwrap();
        assert_eq!(back.offsets(), values.offsets());
        assert_eq!(back.nulls(), values.nulls());
        let bits = |list: &ListArray| -> Vec<Option<u64>> {
            list.values().as_primitive::<Float64Type>().iter().map(|value| value.map(f64::to_bits)).collect()
        };
        assert_eq!(bits(&back), bits(&values));
        // One value that is no decimal does not make the row floats.
        assert_eq!(bounds(&packed.floats, 0).len(), 0);
        assert_eq!(packed.numbers.value(1).null_count(), 1);
    }
}
