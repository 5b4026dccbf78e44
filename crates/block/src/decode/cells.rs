//! Typed access to physical columns, by name. A column that was not read has no values.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
use arrow_array::{
    Array, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    TimestampNanosecondArray,
};

use crate::BlockError;
use crate::layout::Layout;
use crate::logical::{Arrays, missing};

/// The columns of some physical rows.
#[derive(Clone, Copy)]
pub(super) struct Cells<'a> {
    pub layout: &'a Layout,
    pub arrays: &'a Arrays,
}

impl<'a> Cells<'a> {
    fn array(&self, name: &str) -> Option<&'a ArrayRef> {
        self.at(self.layout.index(name)?)
    }

    pub fn at(&self, index: usize) -> Option<&'a ArrayRef> {
        self.arrays.columns.get(index)?.as_ref()
    }

    fn typed<T: ?Sized>(
        &self,
        name: &str,
        cast: impl Fn(&'a ArrayRef) -> Option<&'a T>,
    ) -> Result<Option<&'a T>, BlockError> {
        self.array(name).map(|array| cast(array).ok_or_else(|| missing(name))).transpose()
    }

    pub fn texts(&self, name: &str) -> Result<Texts<'a>, BlockError> {
        Ok(Texts(self.typed(name, |a| a.as_string_opt::<i32>())?))
    }

    pub fn ints(&self, name: &str) -> Result<Ints<'a>, BlockError> {
        Ok(Ints(self.typed(name, |a| a.as_primitive_opt::<Int32Type>())?))
    }

    pub fn longs(&self, name: &str) -> Result<Longs<'a>, BlockError> {
        Ok(Longs(self.typed(name, |a| a.as_primitive_opt::<Int64Type>())?))
    }

    pub fn times(&self, name: &str) -> Result<Times<'a>, BlockError> {
        Ok(Times(self.typed(name, |a| a.as_primitive_opt::<TimestampNanosecondType>())?))
    }

    pub fn bools(&self, name: &str) -> Result<Option<&'a BooleanArray>, BlockError> {
        self.typed(name, |a| a.as_boolean_opt())
    }

    pub fn ids(&self, name: &str) -> Result<Ids<'a>, BlockError> {
        Ok(Ids(self.typed(name, |a| a.as_fixed_size_binary_opt())?))
    }

    pub fn list(&self, name: &str) -> Result<List<'a>, BlockError> {
        Ok(List(self.typed(name, |a| a.as_list_opt::<i32>())?))
    }
}

/// Texts; the empty one where there is none.
pub(super) struct Texts<'a>(Option<&'a StringArray>);

impl<'a> Texts<'a> {
    #[inline]
    pub fn get(&self, row: usize) -> &'a str {
        self.find(row).unwrap_or_default()
    }

    #[inline]
    pub fn find(&self, row: usize) -> Option<&'a str> {
        self.0.filter(|a| a.is_valid(row)).map(|a| a.value(row))
    }
}

/// 32-bit integers; 0 where there is none.
pub(super) struct Ints<'a>(Option<&'a Int32Array>);

impl Ints<'_> {
    #[inline]
    pub fn get(&self, row: usize) -> u32 {
        self.0.filter(|a| a.is_valid(row)).map_or(0, |a| a.value(row) as u32)
    }
}

/// 64-bit integers; 0 where there is none.
pub(super) struct Longs<'a>(Option<&'a Int64Array>);

impl Longs<'_> {
    #[inline]
    pub fn get(&self, row: usize) -> i64 {
        self.0.filter(|a| a.is_valid(row)).map_or(0, |a| a.value(row))
    }
}

/// Times; 0 where there is none.
pub(super) struct Times<'a>(Option<&'a TimestampNanosecondArray>);

impl<'a> Times<'a> {
    #[inline]
    pub fn get(&self, row: usize) -> i64 {
        self.0.filter(|a| a.is_valid(row)).map_or(0, |a| a.value(row))
    }

    pub fn values(&self) -> &'a [i64] {
        self.0.map_or(&[], |a| a.values())
    }
}

/// Ids; all zero where there is none.
pub(super) struct Ids<'a>(Option<&'a FixedSizeBinaryArray>);

impl Ids<'_> {
    #[inline]
    pub fn get<const N: usize>(&self, row: usize) -> [u8; N] {
        let id = self.0.filter(|a| a.is_valid(row)).map(|a| a.value(row));
        id.and_then(|id| id.try_into().ok()).unwrap_or([0; N])
    }
}

/// Lists, one per row, of a value per sample or of none.
pub(super) struct List<'a>(Option<&'a ListArray>);

impl<'a> List<'a> {
    /// Where the items of a row lie in the list's values.
    #[inline]
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        self.0.filter(|a| a.is_valid(row)).map_or(0..0, |a| {
            let offsets = a.value_offsets();
            offsets[row] as usize..offsets[row + 1] as usize
        })
    }

    fn typed<T>(&self, cast: impl Fn(&'a ArrayRef) -> Option<&'a T>) -> Result<Option<&'a T>, BlockError> {
        self.0.map(|list| cast(list.values()).ok_or_else(|| missing("of samples"))).transpose()
    }

    pub fn times(&self) -> Result<Option<&'a TimestampNanosecondArray>, BlockError> {
        self.typed(|a| a.as_primitive_opt::<TimestampNanosecondType>())
    }

    pub fn doubles(&self) -> Result<Option<&'a Float64Array>, BlockError> {
        self.typed(|a| a.as_primitive_opt::<Float64Type>())
    }

    pub fn longs(&self) -> Result<Option<&'a Int64Array>, BlockError> {
        self.typed(|a| a.as_primitive_opt::<Int64Type>())
    }

    pub fn ints(&self) -> Result<Option<&'a Int32Array>, BlockError> {
        self.typed(|a| a.as_primitive_opt::<Int32Type>())
    }

    pub fn texts(&self) -> Result<Option<&'a StringArray>, BlockError> {
        self.typed(|a| a.as_string_opt::<i32>())
    }
}
