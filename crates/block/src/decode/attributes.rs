//! Attributes of rows and of resources, from their own columns and the rest.

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, BooleanArray, Float64Array, Int64Array, StringArray};
use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::Common;
use bonghwa_model::{Kind, Value, json};

use super::cells::{Cells, Texts};
use super::nested;
use crate::BlockError;
use crate::column::ValueType;
use crate::json_scan::{entries, unquote};
use crate::layout::Owner;
use crate::logical::missing;

pub(super) enum Column<'a> {
    Str(&'a StringArray),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
}

/// The attribute columns of one owner.
pub(super) struct AttributeCells<'a> {
    pub columns: Vec<(&'a str, Column<'a>)>,
    rest: Texts<'a>,
    /// Numbers of the columns' keys in the batch that is pushed to, once given.
    ids: Vec<Option<u32>>,
}

impl<'a> AttributeCells<'a> {
    pub fn new(cells: Cells<'a>, owner: Owner) -> Result<Self, BlockError> {
        let mut columns = Vec::new();
        for promoted in cells.layout.of(owner) {
            let Some(array) = cells.at(promoted.index) else { continue };
            let column = match promoted.value_type {
                ValueType::String => array.as_string_opt::<i32>().map(Column::Str),
                ValueType::Int64 => array.as_primitive_opt::<Int64Type>().map(Column::Int),
                ValueType::Float64 => array.as_primitive_opt::<Float64Type>().map(Column::Double),
                ValueType::Boolean => array.as_boolean_opt().map(Column::Bool),
            };
            columns.push((&*promoted.key, column.ok_or_else(|| missing(&promoted.key))?));
        }
        Ok(AttributeCells { ids: vec![None; columns.len()], columns, rest: cells.texts(owner.rest())? })
    }

    /// The text of those without a column.
    pub fn rest(&self, row: usize) -> &'a str {
        self.rest.get(row)
    }

    /// Pushes the attributes of a row, which the caller closes.
    pub fn push(&mut self, row: usize, common: &mut Common, attributes: &mut Attributes) {
        for ((key, column), id) in self.columns.iter().zip(&mut self.ids) {
            let Some((kind, bits)) = column.get(row, common) else { continue };
            let id = *id.get_or_insert_with(|| common.keys.id(key));
            attributes.push(id, kind, bits);
        }
        for (key, value) in entries(self.rest(row)) {
            let (kind, bits) = rest_value(value, common);
            attributes.push(common.keys.id(&unquote(key)), kind, bits);
        }
    }

    /// The attributes of a row as values of their own.
    pub fn values(&self, row: usize) -> Vec<(String, Value)> {
        let own = self.columns.iter().filter_map(|(key, column)| Some(((*key).to_owned(), column.value(row)?)));
        let rest = entries(self.rest(row)).map(|(key, value)| (unquote(key).into_owned(), nested::parse(value)));
        own.chain(rest).collect()
    }
}

impl Column<'_> {
    #[inline]
    fn get(&self, row: usize, common: &mut Common) -> Option<(Kind, u64)> {
        match self {
            Column::Str(v) => v.is_valid(row).then(|| (Kind::Str, common.arena.push(v.value(row).as_bytes()).0)),
            Column::Int(v) => v.is_valid(row).then(|| (Kind::Int, v.value(row) as u64)),
            Column::Double(v) => v.is_valid(row).then(|| (Kind::Double, v.value(row).to_bits())),
            Column::Bool(v) => v.is_valid(row).then(|| (Kind::Bool, u64::from(v.value(row)))),
        }
    }

    fn value(&self, row: usize) -> Option<Value> {
        match self {
            Column::Str(v) => v.is_valid(row).then(|| Value::Str(v.value(row).to_owned())),
            Column::Int(v) => v.is_valid(row).then(|| Value::Int(v.value(row))),
            Column::Double(v) => v.is_valid(row).then(|| Value::Double(v.value(row))),
            Column::Bool(v) => v.is_valid(row).then(|| Value::Bool(v.value(row))),
        }
    }

    /// Appends what tells the value from all others, and from none.
    pub fn identify(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Column::Str(v) if v.is_valid(row) => {
                out.extend_from_slice(&(v.value(row).len() as u64).to_le_bytes());
                out.extend_from_slice(v.value(row).as_bytes());
            }
            Column::Int(v) if v.is_valid(row) => {
                out.push(1);
                out.extend_from_slice(&v.value(row).to_le_bytes());
            }
            Column::Double(v) if v.is_valid(row) => {
                out.push(2);
                out.extend_from_slice(&v.value(row).to_bits().to_le_bytes());
            }
            Column::Bool(v) if v.is_valid(row) => out.extend_from_slice(&[3, u8::from(v.value(row))]),
            _ => out.push(0xff),
        }
    }
}

/// A value of the rest: numbers and texts as such, arrays and maps as the text that they are.
fn rest_value(text: &str, common: &mut Common) -> (Kind, u64) {
    match text.as_bytes().first() {
        Some(b'"') => (Kind::Str, common.arena.push(unquote(text).as_bytes()).0),
        Some(b't') => (Kind::Bool, 1),
        Some(b'f') => (Kind::Bool, 0),
        Some(b'[') => (Kind::Json, common.arena.push(text.as_bytes()).0),
        Some(b'{') => match marker(text) {
            Some(Value::Bytes(bytes)) => (Kind::Bytes, common.arena.push(&bytes).0),
            Some(Value::Double(value)) => (Kind::Double, value.to_bits()),
            _ => (Kind::Json, common.arena.push(text.as_bytes()).0),
        },
        Some(b'-' | b'0'..=b'9') => match nested::parse(text) {
            Value::Int(value) => (Kind::Int, value as u64),
            Value::Double(value) => (Kind::Double, value.to_bits()),
            _ => (Kind::Null, 0),
        },
        _ => (Kind::Null, 0),
    }
}

/// A map with one key that may stand for something else.
fn marker(text: &str) -> Option<Value> {
    let may_be = ["{\"bytesValue\":", "{\"doubleValue\":"].iter().any(|start| text.starts_with(start));
    let value = may_be.then(|| nested::parse(text))?;
    let mut back = Vec::new();
    json::write_value(&mut back, &value);
    // What would be written otherwise stays the text that it is.
    (back == text.as_bytes()).then_some(value)
}
