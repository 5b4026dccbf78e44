//! OTLP's JSON, rewritten as protobuf while it is parsed, without a tree in between.
//!
//! Accepted beyond the specification: field names as the .proto file spells them, names of
//! enum numbers, unpadded and URL-safe base64, `null` for what is missing. The spec's own
//! rules: hex ids in any case, 64-bit integers as numbers or texts, unknown fields ignored.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::WireError;
use crate::response::put_varint;
use crate::schema::{Field, Kind, Message, any_value};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Rewrites a request.
///
/// Values nested deeper than `max_depth` lose what lies below the level after, so that the
/// walker, which knows the record, can reject them.
pub(crate) fn to_protobuf(request: &'static Message, text: &[u8], max_depth: usize) -> Result<Vec<u8>, WireError> {
    let out = Vec::with_capacity(text.len() / 2);
    let mut writer = Writer { out, path: Vec::new(), depth: 0, max_depth };
    let mut json = serde_json::Deserializer::from_slice(text);
    json.disable_recursion_limit();
    let read = Content { writer: &mut writer, message: request }.deserialize(&mut json).and_then(|()| json.end());
    match read {
        Ok(()) => Ok(writer.out),
        Err(e) => Err(WireError::Json { path: writer.shown_path(), detail: shown_error(&e) }),
    }
}

/// What serde says, without the whole of a value that it quotes.
fn shown_error(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.char_indices().nth(300) {
        Some((end, _)) => format!("{}... at line {} column {}", &text[..end], error.line(), error.column()),
        None => text,
    }
}

/// The bytes so far, and where the parser is. On an error the path stays as it was.
struct Writer {
    out: Vec<u8>,
    path: Vec<Step>,
    depth: usize,
    max_depth: usize,
}

enum Step {
    Field(&'static str),
    Item(usize),
}

impl Writer {
    fn shown_path(&self) -> String {
        let mut shown = String::from("$");
        for step in &self.path {
            match step {
                Step::Field(name) => {
                    shown.push('.');
                    let mut upper = false;
                    for c in name.chars() {
                        match c {
                            '_' => upper = true,
                            c if upper => {
                                shown.push(c.to_ascii_uppercase());
                                upper = false;
                            }
                            c => shown.push(c),
                        }
                    }
                }
                Step::Item(at) => shown.push_str(&format!("[{at}]")),
            }
        }
        shown
    }

    fn tag(&mut self, field: &Field) {
        put_varint(&mut self.out, u64::from((field.number << 3) | field.kind.wire()));
    }

    fn bytes(&mut self, field: &Field, value: &[u8]) {
        self.tag(field);
        put_varint(&mut self.out, value.len() as u64);
        self.out.extend_from_slice(value);
    }
}

/// Reads an object as the fields of a message.
struct Content<'w> {
    writer: &'w mut Writer,
    message: &'static Message,
}

impl<'de> DeserializeSeed<'de> for Content<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Content<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(field) = map.next_key_seed(Key(self.message))? {
            let Some(field) = field else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            self.writer.path.push(Step::Field(field.name));
            if field.repeated {
                map.next_value_seed(List { writer: self.writer, field })?;
            } else {
                map.next_value_seed(One { writer: self.writer, field, item: false })?;
            }
            self.writer.path.pop();
        }
        Ok(())
    }
}

/// Reads a key as a field of the message.
struct Key(&'static Message);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_identifier(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_by_key(key))
    }
}

/// Reads an array as a repeated field.
struct List<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        for at in 0.. {
            self.writer.path.push(Step::Item(at));
            let next = items.next_element_seed(One { writer: self.writer, field: self.field, item: true })?;
            self.writer.path.pop();
            if next.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads one value of a field.
struct One<'w> {
    writer: &'w mut Writer,
    field: &'static Field,
    /// Whether it stands in an array, where `null` counts as a message without fields.
    item: bool,
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Kind::Message(message) = self.field.kind else {
            return json.deserialize_any(self);
        };
        if !std::ptr::eq(message, &any_value::MESSAGE) {
            return json.deserialize_any(self);
        }
        if self.writer.depth > self.writer.max_depth {
            return json.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        let One { writer, field, item } = self;
        writer.depth += 1;
        let read = json.deserialize_any(One { writer: &mut *writer, field, item });
        writer.depth -= 1;
        read
    }
}

/// A JSON number, or a text that holds one.
#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.field.kind {
            Kind::Bool => "true or false",
            Kind::Int64 | Kind::Sfixed64 => "a 64-bit integer, as a number or a text",
            Kind::Uint64 | Kind::Fixed64 => "an unsigned 64-bit integer, as a number or a text",
            Kind::Uint32 | Kind::Fixed32 => "an unsigned 32-bit integer",
            Kind::Sint32 => "a 32-bit integer",
            Kind::Enum(_) => "the number of an enum",
            Kind::Double => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            Kind::String => "a text",
            Kind::Bytes => "a text in base64",
            Kind::Id => "a text in hex",
            Kind::Message(_) => "an object",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        if self.item && matches!(self.field.kind, Kind::Message(_)) {
            self.writer.bytes(self.field, b"");
        }
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.field.kind, Kind::Bool) {
            return Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self));
        }
        self.writer.tag(self.field);
        self.writer.out.push(u8::from(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.number(Number::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.number(Number::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.number(Number::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let invalid = |one: &Self| E::invalid_value(serde::de::Unexpected::Str(value), one);
        match self.field.kind {
            Kind::String => self.writer.bytes(self.field, value.as_bytes()),
            Kind::Id => match hex::decode(value) {
                Ok(id) => self.writer.bytes(self.field, &id),
                // Bytes of a length that no id has: the record is judged, not the request.
                Err(_) => self.writer.bytes(self.field, &[value.as_bytes(), &[0; 17]].concat()),
            },
            Kind::Bytes => match BASE64.decode(value).or_else(|_| BASE64_URL.decode(value)) {
                Ok(bytes) => self.writer.bytes(self.field, &bytes),
                Err(_) => return Err(invalid(&self)),
            },
            Kind::Enum(names) => {
                let number = names.iter().position(|name| *name == value).map(|at| at as i128);
                return match number.or_else(|| value.parse().ok()) {
                    Some(number) => self.number(Number::Integer(number)),
                    None => Err(invalid(&self)),
                };
            }
            Kind::Bool | Kind::Message(_) => return Err(E::invalid_type(serde::de::Unexpected::Str(value), &self)),
            _ => {
                let number = match value {
                    "NaN" => Some(Number::Float(f64::NAN)),
                    "Infinity" => Some(Number::Float(f64::INFINITY)),
                    "-Infinity" => Some(Number::Float(f64::NEG_INFINITY)),
                    _ => match value.parse::<i128>() {
                        Ok(integer) => Some(Number::Integer(integer)),
                        Err(_) => value.parse().ok().filter(|v: &f64| v.is_finite()).map(Number::Float),
                    },
                };
                return match number {
                    Some(number) => self.number(number),
                    None => Err(invalid(&self)),
                };
            }
        }
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<(), M::Error> {
        let Kind::Message(message) = self.field.kind else {
            return Err(M::Error::invalid_type(serde::de::Unexpected::Map, &self));
        };
        self.writer.tag(self.field);
        let start = self.writer.out.len();
        Content { writer: &mut *self.writer, message }.visit_map(map)?;
        // The length is known now: it goes before what was written.
        let end = self.writer.out.len();
        put_varint(&mut self.writer.out, (end - start) as u64);
        let length = self.writer.out.len() - end;
        self.writer.out[start..].rotate_right(length);
        Ok(())
    }
}

impl One<'_> {
    fn number<E: Error>(self, number: Number) -> Result<(), E> {
        use serde::de::Unexpected;
        let invalid = |one: &Self| match number {
            Number::Integer(v) => E::invalid_value(Unexpected::Other(&format!("number {v}")), one),
            Number::Float(v) => E::invalid_value(Unexpected::Float(v), one),
        };
        let integer = match number {
            Number::Integer(v) => Some(v),
            // 1e3 is an integer too; above 2^64 a cast would say nothing.
            Number::Float(v) if v.fract() == 0.0 && v.abs() < 18_446_744_073_709_551_616.0 => Some(v as i128),
            Number::Float(_) => None,
        };
        let varint = match (&self.field.kind, integer) {
            (Kind::Int64, Some(v)) => i64::try_from(v).ok().map(|v| v as u64),
            (Kind::Enum(_), Some(v)) => i32::try_from(v).ok().map(|v| i64::from(v) as u64),
            (Kind::Uint32, Some(v)) => u32::try_from(v).ok().map(u64::from),
            (Kind::Uint64, Some(v)) => u64::try_from(v).ok(),
            (Kind::Sint32, Some(v)) => i32::try_from(v).ok().map(|v| u64::from(((v << 1) ^ (v >> 31)) as u32)),
            _ => None,
        };
        if let Some(value) = varint {
            self.writer.tag(self.field);
            put_varint(&mut self.writer.out, value);
            return Ok(());
        }
        let eight = match (&self.field.kind, integer) {
            (Kind::Fixed64, Some(v)) => u64::try_from(v).ok(),
            (Kind::Sfixed64, Some(v)) => i64::try_from(v).ok().map(|v| v as u64),
            (Kind::Double, _) => Some(match number {
                Number::Integer(v) => (v as f64).to_bits(),
                Number::Float(v) => v.to_bits(),
            }),
            _ => None,
        };
        if let Some(value) = eight {
            self.writer.tag(self.field);
            self.writer.out.extend_from_slice(&value.to_le_bytes());
            return Ok(());
        }
        match (&self.field.kind, integer.map(u32::try_from)) {
            (Kind::Fixed32, Some(Ok(value))) => {
                self.writer.tag(self.field);
                self.writer.out.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
            _ => Err(invalid(&self)),
        }
    }
}
