//! Values as JSON text, without losing a type: the form in which blocks keep the
//! attributes that have no column of their own, and in which SQL shows them.
//!
//! Integers have no fraction, floats always have one or an exponent. What JSON
//! lacks is written as OTLP's JSON spells it, an object with one key:
//! `{"bytesValue":"<base64>"}`, `{"doubleValue":"NaN"}`; a map that looks like
//! one of these is wrapped as `{"kvlistValue":{...}}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::Value;

const MARKERS: [&str; 3] = ["bytesValue", "doubleValue", "kvlistValue"];

/// Whether a map with this one key must be wrapped to stay a map.
pub fn is_marker(key: &str) -> bool {
    MARKERS.contains(&key)
}

/// Appends a JSON string with its quotes.
#[inline]
pub fn write_str(out: &mut Vec<u8>, value: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = value.as_bytes();
    let mut start = 0;
    for (i, &b) in bytes.iter().enumerate() {
        if b >= 0x20 && b != b'"' && b != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[start..i]);
        start = i + 1;
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[(b >> 4) as usize]);
                out.push(HEX[(b & 15) as usize]);
            }
        }
    }
    out.extend_from_slice(&bytes[start..]);
    out.push(b'"');
}

/// Appends an integer.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends an unsigned integer.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a float; the shortest text that reads back to the same value.
#[inline]
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    } else {
        let name = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        out.extend_from_slice(b"{\"doubleValue\":\"");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

/// Appends a boolean.
pub fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends bytes.
pub fn write_bytes(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(b"{\"bytesValue\":\"");
    out.extend_from_slice(base64(value).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Bytes as JSON has them in a string.
pub fn base64(value: &[u8]) -> String {
    BASE64.encode(value)
}

/// Appends any value.
pub fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Str(v) => write_str(out, v),
        Value::Int(v) => write_i64(out, *v),
        Value::Double(v) => write_f64(out, *v),
        Value::Bool(v) => write_bool(out, *v),
        Value::Bytes(v) => write_bytes(out, v),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Map(entries) => write_map(out, entries),
    }
}

/// Appends a map that is a value; see [`write_object`] for one that is a row's attributes.
fn write_map(out: &mut Vec<u8>, entries: &[(String, Value)]) {
    let wrap = matches!(entries, [(key, _)] if is_marker(key));
    if wrap {
        out.extend_from_slice(b"{\"kvlistValue\":");
    }
    write_object(out, entries);
    if wrap {
        out.push(b'}');
    }
}

/// Appends a top-level set of attributes: always a plain object.
pub fn write_object(out: &mut Vec<u8>, entries: &[(String, Value)]) {
    out.push(b'{');
    for (i, (key, value)) in entries.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_str(out, key);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

/// Reads a value back. Text that this module did not write may lose what JSON can't say.
pub fn parse_value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(v) => Value::Bool(*v),
        serde_json::Value::Number(n) => match n.as_i64() {
            Some(v) => Value::Int(v),
            None => Value::Double(n.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(v) => Value::Str(v.clone()),
        serde_json::Value::Array(items) => Value::Array(items.iter().map(parse_value).collect()),
        serde_json::Value::Object(map) => parse_marker(map)
            .unwrap_or_else(|| Value::Map(map.iter().map(|(k, v)| (k.clone(), parse_value(v))).collect())),
    }
}

fn parse_marker(map: &serde_json::Map<String, serde_json::Value>) -> Option<Value> {
    if map.len() != 1 {
        return None;
    }
    let (key, value) = map.iter().next()?;
    match (key.as_str(), value) {
        ("bytesValue", serde_json::Value::String(text)) => BASE64.decode(text).ok().map(Value::Bytes),
        ("doubleValue", serde_json::Value::String(text)) => match text.as_str() {
            "NaN" => Some(Value::Double(f64::NAN)),
            "Infinity" => Some(Value::Double(f64::INFINITY)),
            "-Infinity" => Some(Value::Double(f64::NEG_INFINITY)),
            _ => None,
        },
        ("kvlistValue", serde_json::Value::Object(inner)) => {
            Some(Value::Map(inner.iter().map(|(k, v)| (k.clone(), parse_value(v))).collect()))
        }
        _ => None,
    }
}

/// Reads a set of attributes, as [`write_object`] wrote it. Text that is no object has none.
pub fn parse_object(text: &str) -> Vec<(String, Value)> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(map) => map.iter().map(|(k, v)| (k.clone(), parse_value(v))).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_type_survives() {
        let values = [
            (Value::Str("a\"\\\n\u{1}é".into()), r#""a\"\\\n\u0001é""#),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (Value::Double(1.0), "1.0"),
            (Value::Double(1e300), "1e300"),
            (Value::Double(f64::INFINITY), r#"{"doubleValue":"Infinity"}"#),
            (Value::Bool(true), "true"),
            (Value::Bytes(vec![0, 255]), r#"{"bytesValue":"AP8="}"#),
            (Value::Array(vec![Value::Int(1), Value::Null]), "[1,null]"),
            (
                Value::Map(vec![("bytesValue".into(), Value::Str("AP8=".into()))]),
                r#"{"kvlistValue":{"bytesValue":"AP8="}}"#,
            ),
        ];
        for (value, text) in values {
            let mut out = Vec::new();
            write_value(&mut out, &value);
            assert_eq!(std::str::from_utf8(&out).unwrap(), text);
            assert_eq!(parse_value(&serde_json::from_slice(&out).unwrap()), value);
        }
    }
}
