//! OTLP's AnyValue and KeyValue: scalars as borrowed bits, arrays and maps as owned values.

use std::collections::HashMap;

use bonghwa_model::{Kind, Value};

use crate::cursor::{Cursor, utf8};
use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::schema::{any_value, array_value, key_value, kvlist};
use crate::{AttributeLimits, DecodeOptions};

/// One value, not yet interpreted. Of several fields the last holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Any<'a> {
    Null,
    Str(&'a [u8]),
    Int(i64),
    Double(f64),
    Bool(bool),
    Bytes(&'a [u8]),
    Array(&'a [u8]),
    Map(&'a [u8]),
}

impl Any<'_> {
    /// The value's type.
    pub fn kind(&self) -> Kind {
        match self {
            Any::Null => Kind::Null,
            Any::Str(_) => Kind::Str,
            Any::Int(_) => Kind::Int,
            Any::Double(_) => Kind::Double,
            Any::Bool(_) => Kind::Bool,
            Any::Bytes(_) => Kind::Bytes,
            Any::Array(_) | Any::Map(_) => Kind::Json,
        }
    }
}

/// Reads an AnyValue message.
#[inline(always)]
pub(crate) fn any(bytes: &[u8]) -> Result<Any<'_>> {
    // Nearly all values are short texts: tag, length, text, end.
    if let [0x0a, len, text @ ..] = bytes
        && *len as usize == text.len()
        && *len < 0x80
    {
        return Ok(Any::Str(text));
    }
    any_slow(bytes)
}

fn any_slow(bytes: &[u8]) -> Result<Any<'_>> {
    let mut value = Any::Null;
    let mut c = Cursor::new(bytes, &any_value::MESSAGE);
    while c.more() {
        value = match c.tag()? {
            any_value::string_value => Any::Str(c.bytes()?),
            any_value::bool_value => Any::Bool(c.varint()? != 0),
            any_value::int_value => Any::Int(c.varint()? as i64),
            any_value::double_value => Any::Double(c.double()?),
            any_value::array_value => Any::Array(c.bytes()?),
            any_value::kvlist_value => Any::Map(c.bytes()?),
            any_value::bytes_value => Any::Bytes(c.bytes()?),
            _ => {
                c.skip()?;
                value
            }
        };
    }
    Ok(value)
}

/// Reads a KeyValue message: the key's bytes, not yet checked, and the value.
#[inline(always)]
pub(crate) fn pair(bytes: &[u8]) -> Result<(&[u8], Any<'_>)> {
    // The form that encoders write: key, then value, both shorter than 128 bytes.
    if let [0x0a, key_len, rest @ ..] = bytes
        && *key_len < 0x80
        && let Some((key, [0x12, value_len, value @ ..])) = rest.split_at_checked(*key_len as usize)
        && *value_len as usize == value.len()
        && *value_len < 0x80
    {
        return Ok((key, any(value).map_err(|f| named(f, key))?));
    }
    pair_slow(bytes)
}

#[inline(never)]
fn pair_slow(bytes: &[u8]) -> Result<(&[u8], Any<'_>)> {
    let mut key: &[u8] = b"";
    let mut value = Any::Null;
    let mut c = Cursor::new(bytes, &key_value::MESSAGE);
    while c.more() {
        match c.tag()? {
            key_value::key => key = c.bytes()?,
            key_value::value => value = any(c.bytes()?).map_err(|f| named(f, key))?,
            _ => c.skip()?,
        }
    }
    Ok((key, value))
}

/// Puts `["key"]` before a fault's path.
#[cold]
pub(crate) fn named(fault: Box<Fault>, key: &[u8]) -> Box<Fault> {
    let key: String = String::from_utf8_lossy(key).chars().take(100).collect();
    fault.under(format!("[{key:?}]"))
}

/// Copies a value out; `depth` is the levels of nesting above it.
pub(crate) fn owned(value: Any<'_>, depth: usize, options: &DecodeOptions) -> Result<Value> {
    Ok(match value {
        Any::Null => Value::Null,
        Any::Str(v) => Value::Str(utf8(v)?.to_owned()),
        Any::Int(v) => Value::Int(v),
        Any::Double(v) => Value::Double(v),
        Any::Bool(v) => Value::Bool(v),
        Any::Bytes(v) => Value::Bytes(v.to_vec()),
        Any::Array(_) | Any::Map(_) if depth >= options.max_depth => {
            return Err(Fault::rejected(
                Reason::TooDeep,
                "",
                format!("is nested more than {} levels deep: flatten it", options.max_depth),
            ));
        }
        Any::Array(bytes) => {
            let mut items = Vec::new();
            let mut c = Cursor::new(bytes, &array_value::MESSAGE);
            while c.more() {
                match c.tag()? {
                    array_value::values => {
                        let at = items.len();
                        let item = any(c.bytes()?).and_then(|v| owned(v, depth + 1, options));
                        items.push(item.map_err(|f| f.under(format!("[{at}]")))?);
                    }
                    _ => c.skip()?,
                }
            }
            Value::Array(items)
        }
        Any::Map(bytes) => {
            let mut entries = Entries::default();
            let mut c = Cursor::new(bytes, &kvlist::MESSAGE);
            while c.more() {
                match c.tag()? {
                    kvlist::values => entries.add(c.bytes()?, depth + 1, options)?,
                    _ => c.skip()?,
                }
            }
            Value::Map(entries.list)
        }
    })
}

/// Collects key-value pairs as owned values; of a key that comes twice the last value holds.
#[derive(Default)]
pub(crate) struct Entries {
    /// The pairs, in the order of each key's first appearance.
    pub list: Vec<(String, Value)>,
    places: HashMap<String, usize, foldhash::fast::RandomState>,
}

impl Entries {
    /// From here on a hash map finds a key faster than a walk over the list.
    const FEW: usize = 16;

    /// Adds a KeyValue message.
    pub fn add(&mut self, bytes: &[u8], depth: usize, options: &DecodeOptions) -> Result<()> {
        let (key, value) = pair(bytes)?;
        let value = owned(value, depth, options).map_err(|f| named(f, key))?;
        let key = utf8(key).map_err(|f| named(f, key))?;
        match self.place(key) {
            Some(place) => self.list[place].1 = value,
            None => {
                if self.list.len() >= Self::FEW {
                    self.places.insert(key.to_owned(), self.list.len());
                }
                self.list.push((key.to_owned(), value));
            }
        }
        Ok(())
    }

    fn place(&self, key: &str) -> Option<usize> {
        let few = self.list.len().min(Self::FEW);
        self.list[..few].iter().position(|(k, _)| k == key).or_else(|| self.places.get(key).copied())
    }

    /// Adds an attribute of a resource, scope or the like, within the limits of `options`.
    pub fn add_attribute(&mut self, bytes: &[u8], options: &DecodeOptions) -> Result<()> {
        let (key, value) = pair(bytes)?;
        let limits = &options.attributes;
        if self.list.len() >= limits.count {
            return Err(too_many(limits));
        }
        if key.len() > limits.key_bytes {
            return Err(key_too_long(key, limits));
        }
        let len = match value {
            Any::Str(v) | Any::Bytes(v) | Any::Array(v) | Any::Map(v) => v.len(),
            _ => 0,
        };
        if len > limits.value_bytes {
            return Err(named(value_too_long(len, limits), key));
        }
        self.add(bytes, 0, options)
    }
}

#[cold]
pub(crate) fn too_many(limits: &AttributeLimits) -> Box<Fault> {
    let AttributeLimits { count, settings: [setting, ..], .. } = limits;
    let text = format!("has more than {count} entries: send fewer{}", or_raise(setting));
    Fault::rejected(Reason::TooManyAttributes, "", text)
}

#[cold]
pub(crate) fn key_too_long(key: &[u8], limits: &AttributeLimits) -> Box<Fault> {
    let AttributeLimits { key_bytes, settings: [_, setting, _], .. } = limits;
    let (len, raise) = (key.len(), or_raise(setting));
    let text = format!("has a key of {len} bytes: at most {key_bytes} are allowed; shorten it{raise}");
    named(Fault::rejected(Reason::KeyTooLong, "", text), key)
}

#[cold]
pub(crate) fn value_too_long(len: usize, limits: &AttributeLimits) -> Box<Fault> {
    let AttributeLimits { value_bytes, settings: [.., setting], .. } = limits;
    let text = format!("has {len} bytes: at most {value_bytes} are allowed; shorten it{}", or_raise(setting));
    Fault::rejected(Reason::ValueTooLong, "", text)
}

fn or_raise(setting: &str) -> String {
    if setting.is_empty() { String::new() } else { format!(", or have {setting} raised") }
}
