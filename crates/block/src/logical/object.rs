//! All attributes of a row as one JSON object, put together from the attributes'
//! own columns and the rest, sorted by key.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use bonghwa_model::json;

use super::{Arrays, missing, text_array};
use crate::BlockError;
use crate::column::ValueType;
use crate::json_scan::{entries, unquote};
use crate::layout::{Layout, Owner};

struct Member {
    index: usize,
    value_type: ValueType,
    key: String,
    /// `"key":`
    prefix: Vec<u8>,
}

/// The object of one owner.
pub(super) struct ObjectOutput {
    members: Vec<Member>,
    rest: Option<usize>,
}

enum Values<'a> {
    Str(&'a StringArray),
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
}

impl Values<'_> {
    fn is_valid(&self, row: usize) -> bool {
        match self {
            Values::Str(v) => v.is_valid(row),
            Values::Int(v) => v.is_valid(row),
            Values::Double(v) => v.is_valid(row),
            Values::Bool(v) => v.is_valid(row),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Values::Str(v) => json::write_str(out, v.value(row)),
            Values::Int(v) => json::write_i64(out, v.value(row)),
            Values::Double(v) => json::write_f64(out, v.value(row)),
            Values::Bool(v) => json::write_bool(out, v.value(row)),
        }
    }

    /// Whether a row has the same value as the one before it.
    fn repeats(&self, row: usize) -> bool {
        self.is_valid(row) == self.is_valid(row - 1)
            && match self {
                Values::Str(v) => v.value(row) == v.value(row - 1),
                Values::Int(v) => v.value(row) == v.value(row - 1),
                Values::Double(v) => v.value(row).to_bits() == v.value(row - 1).to_bits(),
                Values::Bool(v) => v.value(row) == v.value(row - 1),
            }
    }
}

impl ObjectOutput {
    pub fn new(layout: &Layout, owner: Owner) -> Self {
        let members = layout.of(owner).map(|promoted| {
            let mut prefix = Vec::with_capacity(promoted.key.len() + 3);
            json::write_str(&mut prefix, &promoted.key);
            prefix.push(b':');
            Member { index: promoted.index, value_type: promoted.value_type, key: promoted.key.to_string(), prefix }
        });
        ObjectOutput { members: members.collect(), rest: layout.index(owner.rest()) }
    }

    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.members.iter().map(|m| m.index).chain(self.rest)
    }

    pub fn build(&self, arrays: &Arrays) -> Result<ArrayRef, BlockError> {
        let mut members = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let array = arrays.get(member.index)?;
            let values = match member.value_type {
                ValueType::String => array.as_string_opt::<i32>().map(Values::Str),
                ValueType::Int64 => array.as_primitive_opt::<Int64Type>().map(Values::Int),
                ValueType::Float64 => array.as_primitive_opt::<Float64Type>().map(Values::Double),
                ValueType::Boolean => array.as_boolean_opt().map(Values::Bool),
            };
            members.push((member, values.ok_or_else(|| missing(&member.key))?));
        }
        let rest = match self.rest {
            Some(index) => Some(text_array(arrays.get(index)?)?),
            None => None,
        };
        let mut out = StringBuilder::with_capacity(arrays.rows, arrays.rows * 32);
        let mut text: Vec<u8> = Vec::new();
        for row in 0..arrays.rows {
            // Rows of one resource lie together: what repeats is not put together again.
            let repeats = row > 0
                && members.iter().all(|(_, values)| values.repeats(row))
                && rest.is_none_or(|r| r.is_valid(row) == r.is_valid(row - 1) && r.value(row) == r.value(row - 1));
            if !repeats {
                text.clear();
                write_row(&mut text, &members, rest.filter(|r| r.is_valid(row)).map(|r| r.value(row)), row);
            }
            out.append_value(std::str::from_utf8(&text).map_err(|e| BlockError::damaged("", e))?);
        }
        Ok(Arc::new(out.finish()))
    }
}

fn write_row(out: &mut Vec<u8>, members: &[(&Member, Values<'_>)], rest: Option<&str>, row: usize) {
    out.push(b'{');
    let start = out.len();
    let mut members = members.iter().filter(|(_, values)| values.is_valid(row)).peekable();
    let member = |out: &mut Vec<u8>, (member, values): &(&Member, Values<'_>)| {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(&member.prefix);
        values.write(row, out);
    };
    for (quoted, value) in rest.into_iter().flat_map(entries) {
        let key = unquote(quoted);
        while let Some(next) = members.next_if(|(m, _)| m.key.as_str() < &*key) {
            member(out, next);
        }
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(quoted.as_bytes());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
    }
    for next in members {
        member(out, next);
    }
    out.push(b'}');
}
