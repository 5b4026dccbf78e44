//! Times as a step and what they differ from it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampNanosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, ListArray, PrimitiveArray};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{DataType, Field};

use super::{TIME_STEP, bounds};
use crate::BlockError;
use crate::column::time_type;
use crate::logical::missing;

/// Steps are multiples of one of these, the coarsest that fits; nanoseconds.
const UNITS: [i64; 5] = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 1];

pub(super) fn step_field() -> Field {
    Field::new(TIME_STEP, DataType::Int64, false)
}

/// The step of each row, and its times' offsets.
pub(super) fn pack(times: &ListArray) -> Result<(Int64Array, ListArray), BlockError> {
    let items = times.values().as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| missing("times"))?;
    let mut offsets = items.values().to_vec();
    let mut scratch = Vec::new();
    let mut steps = Vec::with_capacity(times.len());
    for row in 0..times.len() {
        let samples = &mut offsets[bounds(times, row)];
        let step = step(samples, &mut scratch);
        let mut expected = samples.first().copied().unwrap_or_default();
        for time in samples {
            *time = time.wrapping_sub(expected);
            expected = expected.wrapping_add(step);
        }
        steps.push(step);
    }
    let items = Int64Array::new(ScalarBuffer::from(offsets), items.nulls().cloned());
    Ok((steps.into(), with_items(times, Arc::new(items))?))
}

/// How far the times of a series are apart as a rule: their median distance, rounded as coarsely as it may
/// be without going astray until the last sample.
fn step(times: &[i64], distances: &mut Vec<i64>) -> i64 {
    distances.clear();
    distances.extend(times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    if distances.is_empty() {
        return 0;
    }
    let middle = distances.len() / 2;
    let median = *distances.select_nth_unstable(middle).1;
    let (first, last) = (times[0], times[times.len() - 1]);
    let astray = |step: i64| {
        // Samples may be missing: whole steps do not count.
        let rest = last.wrapping_sub(first).checked_rem_euclid(step).unwrap_or(i64::MAX);
        rest.min(step.wrapping_sub(rest))
    };
    let rounded = UNITS.map(|unit| (median.saturating_add(unit / 2)) / unit * unit);
    rounded.into_iter().filter(|step| *step > 0).min_by_key(|step| astray(*step)).unwrap_or(0)
}

/// The times of rows.
pub(super) fn unpack(first: &ArrayRef, steps: &ArrayRef, offsets: &ListArray) -> Result<ListArray, BlockError> {
    let first = first.as_primitive_opt::<TimestampNanosecondType>().ok_or_else(|| missing("min_time"))?;
    let steps = steps.as_primitive_opt::<Int64Type>().ok_or_else(|| missing(TIME_STEP))?;
    let items = offsets.values().as_primitive_opt::<Int64Type>().ok_or_else(|| missing("time_offsets"))?;
    let mut times = items.values().to_vec();
    for row in 0..offsets.len() {
        let (step, mut expected) = (steps.value(row), first.value(row));
        for time in &mut times[bounds(offsets, row)] {
            *time = time.wrapping_add(expected);
            expected = expected.wrapping_add(step);
        }
    }
    let times = PrimitiveArray::<TimestampNanosecondType>::new(ScalarBuffer::from(times), items.nulls().cloned());
    with_items(offsets, Arc::new(times.with_data_type(time_type())))
}

/// A list with other items at the same places.
fn with_items(list: &ListArray, items: ArrayRef) -> Result<ListArray, BlockError> {
    let field = Arc::new(Field::new("element", items.data_type().clone(), true));
    ListArray::try_new(field, list.offsets().clone(), items, list.nulls().cloned()).map_err(BlockError::write)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_of(times: impl IntoIterator<Item = i64>) -> i64 {
        step(&times.into_iter().collect::<Vec<_>>(), &mut Vec::new())
    }

    #[test]
    fn steps_are_what_times_keep_to() {
        const MS: i64 = 1_000_000;
        let jitter = |i: i64| i * 7919 % 31 * MS;
        assert_eq!(step_of((0..200).map(|i| i * 15_000 * MS + jitter(i))), 15_000 * MS);
        // Some samples are missing.
        let kept = (0..200).filter(|i| i % 50 != 3 && !(100..110).contains(i));
        assert_eq!(step_of(kept.map(|i| i * 15_000 * MS + jitter(i))), 15_000 * MS);
        assert_eq!(step_of((0..50).map(|i| i * 250 * MS)), 250 * MS);
        assert_eq!(step_of((0..50).map(|i| i * 333)), 333);
        // All at once, one alone, none, and as far apart as can be.
        assert_eq!(step_of([5, 5, 5]), 0);
        assert_eq!(step_of([5]), 0);
        assert_eq!(step_of([]), 0);
        step_of([i64::MIN, 0, i64::MAX]);
        step_of([i64::MIN, i64::MAX]);
    }
}
