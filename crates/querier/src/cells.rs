//! One column's values as JSON or as text.
//!
//! Times are RFC 3339 with nine digits and Z; integers JSON numbers; floats that
//! JSON lacks the texts NaN, Infinity and -Infinity; columns marked `arrow.json`
//! nested JSON.

use arrow::array::cast::AsArray;
use arrow::array::types::{Float64Type, Int64Type, TimestampNanosecondType};
use arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::value::RawValue;

/// The values of one column of a batch.
pub(crate) struct Cells<'a> {
    array: ArrayRef,
    kind: Kind<'a>,
}

enum Kind<'a> {
    Null,
    Text(StringArray),
    /// JSON text.
    Json(StringArray),
    Float(Float64Array),
    Integer(Int64Array),
    /// Nanoseconds since 1970.
    Time,
    /// Written as JSON numbers and booleans.
    Bare(ArrayFormatter<'a>),
    /// Written as JSON strings.
    Quoted(ArrayFormatter<'a>),
    List(Vec<Option<(usize, usize)>>, Box<Cells<'a>>),
    Struct(Vec<(String, Cells<'a>)>),
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_null("");

impl<'a> Cells<'a> {
    /// Prepares a column for writing.
    pub(crate) fn new(array: &'a ArrayRef, field: &Field) -> Result<Self, String> {
        let failed = |error: arrow::error::ArrowError| error.to_string();
        let text = || cast(array, &DataType::Utf8).map(|text| text.as_string::<i32>().clone()).map_err(failed);
        let is_json = field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.json");
        let kind = match array.data_type() {
            DataType::Null => Kind::Null,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if is_json => Kind::Json(text()?),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text(text()?),
            DataType::Dictionary(_, values) if values.is_string() => Kind::Text(text()?),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                let floats = cast(array, &DataType::Float64).map_err(failed)?;
                Kind::Float(floats.as_primitive::<Float64Type>().clone())
            }
            DataType::Timestamp(..) => {
                let zone = match array.data_type() {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                // Times beyond what nanoseconds reach fail the cast: they are shown as they are.
                match cast(array, &DataType::Timestamp(TimeUnit::Nanosecond, zone)) {
                    Ok(nanos) if nanos.null_count() == array.null_count() => {
                        return Ok(Cells { array: nanos, kind: Kind::Time });
                    }
                    _ => Kind::Quoted(ArrayFormatter::try_new(array, &OPTIONS).map_err(failed)?),
                }
            }
            DataType::Boolean => Kind::Bare(ArrayFormatter::try_new(array, &OPTIONS).map_err(failed)?),
            kind if kind.is_signed_integer() => {
                let integers = cast(array, &DataType::Int64).map_err(failed)?;
                Kind::Integer(integers.as_primitive::<Int64Type>().clone())
            }
            kind if kind.is_integer() => Kind::Bare(ArrayFormatter::try_new(array, &OPTIONS).map_err(failed)?),
            DataType::List(item) => {
                let list = array.as_list::<i32>();
                let offsets = list.value_offsets();
                let range = |i: usize| list.is_valid(i).then(|| (offsets[i] as usize, offsets[i + 1] as usize));
                Kind::List((0..list.len()).map(range).collect(), Box::new(Cells::new(list.values(), item)?))
            }
            DataType::LargeList(item) => {
                let list = array.as_list::<i64>();
                let offsets = list.value_offsets();
                let range = |i: usize| list.is_valid(i).then(|| (offsets[i] as usize, offsets[i + 1] as usize));
                Kind::List((0..list.len()).map(range).collect(), Box::new(Cells::new(list.values(), item)?))
            }
            DataType::Struct(fields) => {
                let columns = array.as_struct().columns().iter().zip(fields.iter());
                let member = |(column, field): (&'a ArrayRef, &FieldRef)| {
                    Cells::new(column, field).map(|cells| (field.name().clone(), cells))
                };
                Kind::Struct(columns.map(member).collect::<Result<_, _>>()?)
            }
            _ => Kind::Quoted(ArrayFormatter::try_new(array, &OPTIONS).map_err(failed)?),
        };
        Ok(Cells { array: array.clone(), kind })
    }

    /// Whether a row has no value.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self.kind, Kind::Null) || self.array.is_null(row)
    }

    /// Appends a row's value as JSON.
    pub(crate) fn json(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.kind {
            Kind::Null => {}
            Kind::Text(values) => quoted(values.value(row), out),
            Kind::Json(values) => match serde_json::from_str::<&RawValue>(values.value(row)) {
                Ok(raw) => out.extend_from_slice(raw.get().as_bytes()),
                Err(_) => quoted(values.value(row), out),
            },
            Kind::Float(values) if values.value(row).is_finite() => float(values.value(row), out),
            Kind::Integer(values) => bonghwa_model::json::write_i64(out, values.value(row)),
            Kind::Bare(values) => out.extend_from_slice(values.value(row).to_string().as_bytes()),
            Kind::Float(_) | Kind::Time | Kind::Quoted(_) => {
                let mut text = Vec::new();
                self.text(row, &mut text);
                quoted(&String::from_utf8_lossy(&text), out);
            }
            Kind::List(ranges, items) => {
                out.push(b'[');
                let (start, end) = ranges[row].unwrap_or_default();
                for at in start..end {
                    if at > start {
                        out.push(b',');
                    }
                    items.json(at, out);
                }
                out.push(b']');
            }
            Kind::Struct(members) => {
                out.push(b'{');
                for (at, (name, cells)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    quoted(name, out);
                    out.push(b':');
                    cells.json(row, out);
                }
                out.push(b'}');
            }
        }
    }

    /// Appends a row's value as text, nested ones as JSON; nothing for null.
    pub(crate) fn text(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return;
        }
        match &self.kind {
            Kind::Null => {}
            Kind::Text(values) | Kind::Json(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Kind::Float(values) => match values.value(row) {
                value if value.is_finite() => float(value, out),
                value if value.is_nan() => out.extend_from_slice(b"NaN"),
                value if value > 0.0 => out.extend_from_slice(b"Infinity"),
                _ => out.extend_from_slice(b"-Infinity"),
            },
            Kind::Integer(values) => bonghwa_model::json::write_i64(out, values.value(row)),
            Kind::Time => time(self.array.as_primitive::<TimestampNanosecondType>().value(row), out),
            Kind::Bare(values) | Kind::Quoted(values) => {
                out.extend_from_slice(values.value(row).to_string().as_bytes());
            }
            Kind::List(..) | Kind::Struct(_) => self.json(row, out),
        }
    }
}

fn quoted(text: &str, out: &mut Vec<u8>) {
    bonghwa_model::json::write_str(out, text);
}

fn float(value: f64, out: &mut Vec<u8>) {
    bonghwa_model::json::write_f64(out, value);
}

/// RFC 3339. Years are 1677 to 2262: what 64 bits of nanoseconds reach.
fn time(nanos: i64, out: &mut Vec<u8>) {
    let (seconds, fraction) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    digits(year, 4, out);
    out.push(b'-');
    digits(month, 2, out);
    out.push(b'-');
    digits(day, 2, out);
    out.push(b'T');
    digits(second / 3600, 2, out);
    out.push(b':');
    digits(second / 60 % 60, 2, out);
    out.push(b':');
    digits(second % 60, 2, out);
    out.push(b'.');
    digits(fraction, 9, out);
    out.push(b'Z');
}

/// Days since 1970 as year, month and day; Howard Hinnant's `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn digits(value: i64, count: u32, out: &mut Vec<u8>) {
    for place in (0..count).rev() {
        out.push(b'0' + (value / 10i64.pow(place) % 10) as u8);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;
    use std::sync::Arc;

    use arrow::array::types::Int64Type;
    use arrow::array::{BooleanArray, Float64Array, Int64Array, ListArray, TimestampNanosecondArray};

    use super::*;

    fn json(array: ArrayRef, metadata: &[(&str, &str)]) -> Vec<String> {
        let metadata: HashMap<_, _> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let field = Field::new("x", array.data_type().clone(), true).with_metadata(metadata);
        let cells = Cells::new(&array, &field).unwrap();
        let one = |row| {
            let mut out = Vec::new();
            cells.json(row, &mut out);
            String::from_utf8(out).unwrap()
        };
        (0..array.len()).map(one).collect()
    }

    #[test]
    fn values() {
        assert_eq!(
            json(Arc::new(Float64Array::from(vec![Some(1.5), Some(f64::NAN), Some(f64::NEG_INFINITY), None])), &[]),
            ["1.5", "\"NaN\"", "\"-Infinity\"", "null"]
        );
        assert_eq!(json(Arc::new(Int64Array::from(vec![i64::MIN, 7])), &[]), ["-9223372036854775808", "7"]);
        assert_eq!(json(Arc::new(BooleanArray::from(vec![true])), &[]), ["true"]);
        let times =
            TimestampNanosecondArray::from(vec![0, -1, 1_709_164_799_000_000_000, 1_700_000_000_000_000_001, i64::MAX])
                .with_timezone("UTC");
        assert_eq!(
            json(Arc::new(times), &[]),
            [
                "\"1970-01-01T00:00:00.000000000Z\"",
                "\"1969-12-31T23:59:59.999999999Z\"",
                "\"2024-02-28T23:59:59.000000000Z\"",
                "\"2023-11-14T22:13:20.000000001Z\"",
                "\"2262-04-11T23:47:16.854775807Z\""
            ]
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec![r#"{"a":1}"#, "not json"]));
        assert_eq!(json(texts.clone(), &[]), [r#""{\"a\":1}""#, "\"not json\""]);
        assert_eq!(json(texts, &[("ARROW:extension:name", "arrow.json")]), [r#"{"a":1}"#, "\"not json\""]);
        let list = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(1), None]), None]);
        assert_eq!(json(Arc::new(list), &[]), ["[1,null]", "null"]);
    }
}
