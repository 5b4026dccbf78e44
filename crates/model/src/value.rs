//! Attribute values, as OTLP's AnyValue has them.

/// The type of a value. The numbers are stored: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// An AnyValue without a value.
    Null = 0,
    /// UTF-8 text.
    Str = 1,
    /// 64-bit signed integer.
    Int = 2,
    /// 64-bit float.
    Double = 3,
    /// Boolean.
    Bool = 4,
    /// Bytes.
    Bytes = 5,
    /// An array or a map; kept as the JSON text of [`crate::json`].
    Json = 6,
}

impl Kind {
    /// The kind with this number.
    pub fn from_u8(n: u8) -> Option<Kind> {
        Some(match n {
            0 => Kind::Null,
            1 => Kind::Str,
            2 => Kind::Int,
            3 => Kind::Double,
            4 => Kind::Bool,
            5 => Kind::Bytes,
            6 => Kind::Json,
            _ => return None,
        })
    }

    /// This kind's bit in a set of kinds (`AttributeType.kinds` of the catalog).
    pub fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// An owned value: for resources, scopes and readers. Hot columns hold
/// [`crate::attributes::Attributes`] instead.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// Text.
    Str(String),
    /// Integer.
    Int(i64),
    /// Float.
    Double(f64),
    /// Boolean.
    Bool(bool),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Array.
    Array(Vec<Value>),
    /// Map, in the sender's order.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// The value's type.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Null => Kind::Null,
            Value::Str(_) => Kind::Str,
            Value::Int(_) => Kind::Int,
            Value::Double(_) => Kind::Double,
            Value::Bool(_) => Kind::Bool,
            Value::Bytes(_) => Kind::Bytes,
            Value::Array(_) | Value::Map(_) => Kind::Json,
        }
    }
}
