//! JSON text back to a value, with the members of maps in the order in which they were sent.

use bonghwa_model::{Value, json};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads what [`json::write_value`] wrote. Text that is no JSON is no value.
pub(super) fn parse(text: &str) -> Value {
    serde_json::from_str::<Ordered>(text).map_or(Value::Null, |ordered| ordered.0)
}

struct Ordered(Value);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor { plain: false }).map(Ordered)
    }
}

/// What stands in a wrapper: a map there is a map, whatever its one key is called.
struct Plain(Value);

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderedVisitor { plain: true }).map(Plain)
    }
}

struct OrderedVisitor {
    plain: bool,
}

impl<'de> Visitor<'de> for OrderedVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Double(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Str(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Ordered(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map: Vec<(String, Value)> = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value =
                if key == WRAPPER { entries.next_value::<Plain>()?.0 } else { entries.next_value::<Ordered>()?.0 };
            map.push((key, value));
        }
        if map.len() > 1 || self.plain {
            // It was no wrapper, only a key of that name.
            for (_, value) in map.iter_mut().filter(|(key, _)| key == WRAPPER) {
                if let Value::Map(inner) = value {
                    *value = unwrap(std::mem::take(inner));
                }
            }
        }
        Ok(if self.plain { Value::Map(map) } else { unwrap(map) })
    }
}

/// The key of a wrapper around a map that looks like something else.
const WRAPPER: &str = "kvlistValue";

/// What a map with one key stands for, if it is one of those that JSON lacks.
fn unwrap(mut map: Vec<(String, Value)>) -> Value {
    match &mut map[..] {
        [(key, Value::Map(inner))] if key == WRAPPER => Value::Map(std::mem::take(inner)),
        [(key, Value::Str(text))] if json::is_marker(key) => {
            let marker = serde_json::json!({ key.as_str(): text.as_str() });
            match json::parse_value(&marker) {
                value @ (Value::Bytes(_) | Value::Double(_)) => value,
                _ => Value::Map(map),
            }
        }
        _ => Value::Map(map),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_come_back_as_they_were_written() {
        let map = |entries: &[(&str, Value)]| {
            Value::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
        };
        for value in [
            Value::Null,
            Value::Int(i64::MIN),
            Value::Double(-0.0),
            Value::Double(f64::INFINITY),
            Value::Bytes(vec![1, 2, 255]),
            Value::Str("a\"b\u{1}".into()),
            map(&[
                ("z", Value::Int(1)),
                ("a", Value::Bool(true)),
                ("m", map(&[("y", Value::Null), ("b", Value::Null)])),
            ]),
            map(&[("bytesValue", Value::Str("AP8=".into()))]),
            map(&[("kvlistValue", map(&[("b", Value::Int(1)), ("a", Value::Int(2))]))]),
            Value::Array(vec![map(&[]), Value::Array(vec![]), Value::Double(1.5)]),
        ] {
            let mut text = Vec::new();
            json::write_value(&mut text, &value);
            assert_eq!(parse(std::str::from_utf8(&text).unwrap()), value);
        }
    }
}
