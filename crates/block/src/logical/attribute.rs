//! One attribute as a column: from its own physical columns, or picked out of the rest.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, new_null_array};
use bonghwa_model::json;

use super::{Arrays, missing};
use crate::BlockError;
use crate::column::ValueType;
use crate::json_scan::{entries, unquote};
use crate::layout::{Layout, Owner};

/// Where the values may lie, the first that has one wins.
pub(super) struct AttributeOutput {
    sources: Vec<Source>,
    value_type: ValueType,
}

enum Source {
    /// The attribute's own column.
    Column { index: usize, value_type: ValueType },
    /// A column of JSON objects, and the key with its quotes.
    Rest { index: usize, quoted: String },
}

/// A value of any type.
enum Found<'a> {
    Str(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Bytes, an array or a map.
    Json(&'a str),
}

/// A source with the arrays of one batch.
enum Values<'a> {
    Str(&'a StringArray),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
    Rest(&'a StringArray, &'a str),
}

impl AttributeOutput {
    pub fn new(
        layout: &Layout,
        owners: &[Owner],
        key: &str,
        value_type: ValueType,
        rest_holds: &dyn Fn(Owner, &str) -> bool,
    ) -> Self {
        let mut sources = Vec::new();
        for owner in owners {
            if let Some(promoted) = layout.find(*owner, key) {
                sources.push(Source::Column { index: promoted.index, value_type: promoted.value_type });
            } else if rest_holds(*owner, key)
                && let Some(index) = layout.index(owner.rest())
            {
                let mut quoted = Vec::with_capacity(key.len() + 2);
                json::write_str(&mut quoted, key);
                sources.push(Source::Rest { index, quoted: String::from_utf8_lossy(&quoted).into_owned() });
            }
        }
        AttributeOutput { sources, value_type }
    }

    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.sources.iter().map(|source| match source {
            Source::Column { index, .. } | Source::Rest { index, .. } => *index,
        })
    }

    pub fn build(&self, arrays: &Arrays) -> Result<ArrayRef, BlockError> {
        match &self.sources[..] {
            [] => return Ok(new_null_array(&self.value_type.data_type(), arrays.rows)),
            [Source::Column { index, value_type }] if *value_type == self.value_type => {
                return Ok(Arc::clone(arrays.get(*index)?));
            }
            _ => {}
        }
        let sources: Vec<Values<'_>> = self.sources.iter().map(|s| s.values(arrays)).collect::<Result<_, _>>()?;
        let found = (0..arrays.rows).map(|row| sources.iter().find_map(|source| source.get(row)));
        Ok(match self.value_type {
            ValueType::String => {
                let mut out = StringBuilder::new();
                let mut text = Vec::new();
                for value in found {
                    match value {
                        Some(value) => value.with_text(&mut text, |text| out.append_value(text)),
                        None => out.append_null(),
                    }
                }
                Arc::new(out.finish())
            }
            ValueType::Int64 => {
                let mut out = Int64Builder::with_capacity(arrays.rows);
                found.for_each(|value| match value {
                    Some(Found::Int(v)) => out.append_value(v),
                    _ => out.append_null(),
                });
                Arc::new(out.finish())
            }
            ValueType::Float64 => {
                let mut out = Float64Builder::with_capacity(arrays.rows);
                found.for_each(|value| match value {
                    Some(Found::Double(v)) => out.append_value(v),
                    Some(Found::Int(v)) => out.append_value(v as f64),
                    _ => out.append_null(),
                });
                Arc::new(out.finish())
            }
            ValueType::Boolean => {
                let mut out = BooleanBuilder::with_capacity(arrays.rows);
                found.for_each(|value| match value {
                    Some(Found::Bool(v)) => out.append_value(v),
                    _ => out.append_null(),
                });
                Arc::new(out.finish())
            }
        })
    }
}

impl Source {
    fn values<'a>(&'a self, arrays: &'a Arrays) -> Result<Values<'a>, BlockError> {
        let found = match self {
            Source::Rest { index, quoted } => {
                arrays.get(*index)?.as_string_opt::<i32>().map(|texts| Values::Rest(texts, quoted))
            }
            Source::Column { index, value_type } => {
                let array = arrays.get(*index)?;
                match value_type {
                    ValueType::String => array.as_string_opt::<i32>().map(Values::Str),
                    ValueType::Int64 => array.as_primitive_opt::<Int64Type>().map(Values::Int),
                    ValueType::Float64 => array.as_primitive_opt::<Float64Type>().map(Values::Double),
                    ValueType::Boolean => array.as_boolean_opt().map(Values::Bool),
                }
            }
        };
        found.ok_or_else(|| missing("of an attribute"))
    }
}

impl<'a> Values<'a> {
    fn get(&self, row: usize) -> Option<Found<'a>> {
        match self {
            Values::Str(v) => v.is_valid(row).then(|| Found::Str(Cow::Borrowed(v.value(row)))),
            Values::Int(v) => v.is_valid(row).then(|| Found::Int(v.value(row))),
            Values::Double(v) => v.is_valid(row).then(|| Found::Double(v.value(row))),
            Values::Bool(v) => v.is_valid(row).then(|| Found::Bool(v.value(row))),
            Values::Rest(texts, key) => {
                let text = texts.is_valid(row).then(|| texts.value(row))?;
                let (_, value) = entries(text).find(|(k, _)| k == key)?;
                parse(value)
            }
        }
    }
}

/// Reads a JSON value as [`bonghwa_model::json`] writes them. Null is no value.
fn parse(text: &str) -> Option<Found<'_>> {
    match text.as_bytes().first()? {
        b'"' => Some(Found::Str(unquote(text))),
        b'n' => None,
        b't' => Some(Found::Bool(true)),
        b'f' => Some(Found::Bool(false)),
        b'{' => match text {
            "{\"doubleValue\":\"NaN\"}" => Some(Found::Double(f64::NAN)),
            "{\"doubleValue\":\"Infinity\"}" => Some(Found::Double(f64::INFINITY)),
            "{\"doubleValue\":\"-Infinity\"}" => Some(Found::Double(f64::NEG_INFINITY)),
            _ => Some(Found::Json(text)),
        },
        b'[' => Some(Found::Json(text)),
        _ if text.contains(['.', 'e', 'E']) => text.parse().ok().map(Found::Double),
        _ => text.parse().ok().map(Found::Int),
    }
}

impl Found<'_> {
    /// The value as text columns show it.
    fn with_text(&self, buffer: &mut Vec<u8>, mut use_it: impl FnMut(&str)) {
        buffer.clear();
        match self {
            Found::Str(text) => return use_it(text),
            Found::Json(text) => return use_it(text),
            Found::Int(v) => json::write_i64(buffer, *v),
            Found::Double(v) => json::write_f64(buffer, *v),
            Found::Bool(v) => json::write_bool(buffer, *v),
        }
        use_it(std::str::from_utf8(buffer).unwrap_or_default());
    }
}
