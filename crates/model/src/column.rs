//! The columns of a batch: a value per row, or one value while all rows hold the same.

use std::ops::{Index, IndexMut};

use bytemuck::{NoUninit, Pod};

/// What batches ask of a column. Encoded, it is its values as they lie in memory, whatever holds them.
pub(crate) trait Column<T> {
    /// Makes room for so many more rows.
    fn reserve(&mut self, rows: usize);

    /// Lets go of room for more rows.
    fn shrink_to_fit(&mut self);

    /// Bytes allocated.
    fn heap_bytes(&self) -> usize;

    /// Bytes of the values.
    fn bytes(&self) -> usize;

    /// Appends the values.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads a whole number of values.
    fn read(bytes: &[u8]) -> Self;
}

impl<T: Pod> Column<T> for Vec<T> {
    fn reserve(&mut self, rows: usize) {
        self.reserve(rows);
    }

    fn shrink_to_fit(&mut self) {
        self.shrink_to_fit();
    }

    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>()
    }

    fn bytes(&self) -> usize {
        size_of_val(&self[..])
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(bytemuck::cast_slice(self));
    }

    fn read(bytes: &[u8]) -> Self {
        bytemuck::allocation::pod_collect_to_vec(bytes)
    }
}

/// Values by row, like a vector; kept as one value until a row holds another.
#[derive(Clone, Debug, Default)]
pub struct Uniform<T> {
    rows: usize,
    /// What all rows hold, where `values` is empty.
    value: T,
    values: Vec<T>,
}

impl<T: Pod> Uniform<T> {
    /// Adds a row.
    #[inline]
    pub fn push(&mut self, value: T) {
        if !self.values.is_empty() {
            self.values.push(value);
        } else if self.rows == 0 {
            self.value = value;
        } else if !same(&self.value, &value) {
            self.spread();
            self.values.push(value);
        }
        self.rows += 1;
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What all rows hold, if they hold the same as far as it is known; none without rows.
    pub fn value(&self) -> Option<T> {
        (self.values.is_empty() && self.rows > 0).then_some(self.value)
    }

    /// The values by row.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        (0..self.rows).map(|row| &self[row])
    }

    /// A value per row.
    fn spread(&mut self) {
        if self.values.is_empty() {
            self.values = vec![self.value; self.rows];
        }
    }
}

impl<T: Pod> Column<T> for Uniform<T> {
    fn reserve(&mut self, rows: usize) {
        if !self.values.is_empty() {
            self.values.reserve(rows);
        }
    }

    fn shrink_to_fit(&mut self) {
        self.values.shrink_to_fit();
    }

    fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }

    fn bytes(&self) -> usize {
        self.rows * size_of::<T>()
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self.value() {
            Some(value) if bytemuck::bytes_of(&value).iter().all(|byte| *byte == 0) => {
                out.resize(out.len() + self.rows * size_of::<T>(), 0);
            }
            Some(value) => (0..self.rows).for_each(|_| out.extend_from_slice(bytemuck::bytes_of(&value))),
            None => out.extend_from_slice(bytemuck::cast_slice(&self.values)),
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let size = size_of::<T>();
        let rows = bytes.len() / size;
        let Some((first, _)) = bytes.split_at_checked(size) else {
            return Uniform { rows, value: T::zeroed(), values: Vec::new() };
        };
        // All are the same where each is like the one before.
        if bytes[size..rows * size] == bytes[..(rows - 1) * size] {
            return Uniform { rows, value: bytemuck::pod_read_unaligned(first), values: Vec::new() };
        }
        Uniform { rows, value: T::zeroed(), values: bytemuck::allocation::pod_collect_to_vec(bytes) }
    }
}

/// Whether two values are the same to the bit.
#[inline]
fn same<T: NoUninit>(one: &T, other: &T) -> bool {
    bytemuck::bytes_of(one) == bytemuck::bytes_of(other)
}

impl<T: Pod> Index<usize> for Uniform<T> {
    type Output = T;

    /// Panics where there is no such row.
    #[inline]
    fn index(&self, row: usize) -> &T {
        if self.values.is_empty() {
            assert!(row < self.rows, "row {row} of {}", self.rows);
            return &self.value;
        }
        &self.values[row]
    }
}

impl<T: Pod> IndexMut<usize> for Uniform<T> {
    fn index_mut(&mut self, row: usize) -> &mut T {
        self.spread();
        &mut self.values[row]
    }
}

/// Equal where all rows hold the same to the bit.
impl<T: Pod> PartialEq for Uniform<T> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.iter().zip(other.iter()).all(|(one, other)| same(one, other))
    }
}

impl<T: Pod> FromIterator<T> for Uniform<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut column = Uniform { rows: 0, value: T::zeroed(), values: Vec::new() };
        values.into_iter().for_each(|value| column.push(value));
        column
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_a_vector() {
        let nan = f64::NAN;
        for values in [vec![], vec![0.0], vec![0.0; 5], vec![1.5; 5], vec![0.0, 0.0, -0.0], vec![nan, nan, 2.0]] {
            let column: Uniform<f64> = values.iter().copied().collect();
            let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(column.iter().copied().collect()), bits(values.clone()), "{values:?}");
            let mut bytes = Vec::new();
            column.put(&mut bytes);
            assert_eq!(bytes, bytemuck::cast_slice::<f64, u8>(&values));
            let read = Uniform::read(&bytes);
            assert_eq!(read, column);
            assert_eq!(read.value().map(f64::to_bits), column.value().map(f64::to_bits), "{values:?}");
        }
    }

    #[test]
    fn one_value_takes_no_memory_and_each_row_can_be_set() {
        let mut column: Uniform<u64> = std::iter::repeat_n(7, 1000).collect();
        assert_eq!((column.heap_bytes(), column.value()), (0, Some(7)));
        column[3] = 8;
        assert_eq!((column[2], column[3], column[4], column.len()), (7, 8, 7, 1000));
        assert_eq!(column.value(), None);
    }
}
