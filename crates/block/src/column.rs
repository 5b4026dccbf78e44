//! The logical columns: what SQL, tails and blocks agree on, whatever the storage.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use bonghwa_model::{Kind, Signal};
use bonghwa_protocol::v1;

use crate::BlockError;

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AttributeScope {
    /// The record's attributes, then those of its resource.
    Any,
    /// The resource's attributes.
    Resource,
    /// The record's own attributes: of a log record, span or metric point.
    Record,
}

/// The type that all values of an attribute column are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// Text as it is; values of other types as JSON text.
    String,
    /// Integers; null for values of other types.
    Int64,
    /// Floats and integers; null for values of other types.
    Float64,
    /// Booleans; null for values of other types.
    Boolean,
}

impl ValueType {
    /// The Arrow type of such a column.
    pub fn data_type(self) -> DataType {
        match self {
            ValueType::String => DataType::Utf8,
            ValueType::Int64 => DataType::Int64,
            ValueType::Float64 => DataType::Float64,
            ValueType::Boolean => DataType::Boolean,
        }
    }
}

/// The one type for an attribute whose values have these kinds (a set of [`Kind::bit`]).
/// Null values do not count.
pub fn value_type(kinds: u32) -> ValueType {
    const INT: u32 = 1 << Kind::Int as u8;
    const DOUBLE: u32 = 1 << Kind::Double as u8;
    const INT_OR_DOUBLE: u32 = INT | DOUBLE;
    const BOOL: u32 = 1 << Kind::Bool as u8;
    match kinds & !Kind::Null.bit() {
        INT => ValueType::Int64,
        DOUBLE | INT_OR_DOUBLE => ValueType::Float64,
        BOOL => ValueType::Boolean,
        _ => ValueType::String,
    }
}

/// A logical column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Column {
    /// One of [`base_columns`].
    Base(&'static str),
    /// One attribute.
    Attribute {
        /// Where to look.
        scope: AttributeScope,
        /// OpenTelemetry name.
        key: Arc<str>,
        /// The type asked for.
        value_type: ValueType,
    },
    /// One of [`LISTS`]: a part of all samples of a series. Who asks for one gets a row per series and
    /// part of its time, not one per sample, and no base column that samples differ in.
    List(&'static str),
}

/// The parts of samples that can be had as lists, one item per sample, which may be null.
/// A list is null where no sample of the series has that part.
pub const LISTS: [&str; 9] =
    ["times", "values", "ints", "start_times", "counts", "sums", "flags", "buckets", "exemplars"];

/// The item's type.
fn list_item(name: &str) -> DataType {
    match name {
        "times" | "start_times" => time_type(),
        "values" | "sums" | "floats" => DataType::Float64,
        "ints" | "counts" | "time_offsets" | "numbers" => DataType::Int64,
        "flags" => DataType::Int32,
        _ => DataType::Utf8,
    }
}

impl Column {
    /// The column as a message.
    pub fn to_proto(&self) -> v1::Column {
        match self {
            Column::Base(name) => v1::Column { base: (*name).to_owned(), ..Default::default() },
            Column::List(name) => v1::Column { base: (*name).to_owned(), list: true, ..Default::default() },
            Column::Attribute { scope, key, value_type } => v1::Column {
                base: String::new(),
                list: false,
                scope: match scope {
                    AttributeScope::Any => v1::AttributeScope::Unspecified,
                    AttributeScope::Resource => v1::AttributeScope::Resource,
                    AttributeScope::Record => v1::AttributeScope::Record,
                } as i32,
                key: key.to_string(),
                value_type: match value_type {
                    ValueType::String => v1::ValueType::String,
                    ValueType::Int64 => v1::ValueType::Int64,
                    ValueType::Float64 => v1::ValueType::Float64,
                    ValueType::Boolean => v1::ValueType::Boolean,
                } as i32,
            },
        }
    }

    /// Reads a message; fails on a base column that the signal does not have.
    pub fn from_proto(signal: Signal, message: v1::Column) -> Result<Column, BlockError> {
        if message.list {
            let list = LISTS.iter().find(|name| **name == message.base && signal == Signal::Metrics);
            return list.map(|name| Column::List(name)).ok_or_else(|| {
                BlockError::Request(format!(
                    "{signal} has no list {:?}: metrics have {}",
                    message.base,
                    LISTS.join(", ")
                ))
            });
        }
        if !message.base.is_empty() {
            return base_column(signal, &message.base).map(|c| Column::Base(c.name));
        }
        Ok(Column::Attribute {
            scope: match message.scope() {
                v1::AttributeScope::Unspecified => AttributeScope::Any,
                v1::AttributeScope::Resource => AttributeScope::Resource,
                v1::AttributeScope::Record => AttributeScope::Record,
            },
            value_type: match message.value_type() {
                v1::ValueType::String | v1::ValueType::Unspecified => ValueType::String,
                v1::ValueType::Int64 => ValueType::Int64,
                v1::ValueType::Float64 => ValueType::Float64,
                v1::ValueType::Boolean => ValueType::Boolean,
            },
            key: message.key.into(),
        })
    }
}

/// A column that every row of a signal has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseColumn {
    /// Name in SQL.
    pub name: &'static str,
    /// Arrow type.
    pub data_type: DataType,
    /// Whether rows may have no value.
    pub nullable: bool,
    /// Whether the text is JSON.
    pub json: bool,
}

impl BaseColumn {
    fn field(&self) -> Field {
        let field = Field::new(self.name, self.data_type.clone(), self.nullable);
        if self.json {
            field.with_metadata(HashMap::from([("ARROW:extension:name".to_owned(), "arrow.json".to_owned())]))
        } else {
            field
        }
    }
}

/// The type of all times: nanoseconds since 1970, UTC.
pub(crate) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
}

/// What a record's resource and scope say of themselves, in every table.
const SOURCE: [(&str, &str); 5] = [
    ("scope_attributes", "json?"),
    ("scope_dropped_attributes_count", "int"),
    ("scope_schema_url", "text"),
    ("resource_dropped_attributes_count", "int"),
    ("resource_schema_url", "text"),
];

fn columns(list: &[(&'static str, &str)]) -> Vec<BaseColumn> {
    list.iter()
        .chain(&SOURCE)
        .map(|(name, spec)| {
            let base = spec.trim_end_matches('?');
            BaseColumn {
                name,
                data_type: match base {
                    "time" => time_type(),
                    "int" => DataType::Int32,
                    "long" => DataType::Int64,
                    "double" => DataType::Float64,
                    "bool" => DataType::Boolean,
                    _ => DataType::Utf8,
                },
                nullable: spec.ends_with('?'),
                json: base == "json",
            }
        })
        .collect()
}

/// The columns of a signal's table, in the order in which SQL shows them.
pub fn base_columns(signal: Signal) -> &'static [BaseColumn] {
    static TABLES: std::sync::LazyLock<[Vec<BaseColumn>; 3]> = std::sync::LazyLock::new(|| {
        [
            columns(&[
                ("time", "time"),
                ("observed_time", "time?"),
                ("service_name", "text"),
                ("severity_number", "int"),
                ("severity_text", "text?"),
                ("body", "text?"),
                ("event_name", "text?"),
                ("trace_id", "text?"),
                ("span_id", "text?"),
                ("scope_name", "text"),
                ("scope_version", "text"),
                ("resource", "json"),
                ("attributes", "json"),
                ("flags", "int"),
                ("dropped_attributes_count", "int"),
                ("body_type", "text"),
            ]),
            columns(&[
                ("time", "time"),
                ("name", "text"),
                ("type", "text"),
                ("unit", "text"),
                ("value", "double?"),
                ("count", "long?"),
                ("sum", "double?"),
                ("buckets", "json?"),
                ("service_name", "text"),
                ("resource", "json"),
                ("attributes", "json"),
                ("exemplars", "json"),
                ("start_time", "time?"),
                ("description", "text"),
                ("monotonic", "bool"),
                ("temporality", "text"),
                ("flags", "int"),
                ("scope_name", "text"),
                ("scope_version", "text"),
                ("value_int", "long?"),
                ("series_id", "text"),
                ("metadata", "json?"),
            ]),
            columns(&[
                ("trace_id", "text"),
                ("span_id", "text"),
                ("parent_span_id", "text?"),
                ("name", "text"),
                ("kind", "text"),
                ("start_time", "time"),
                ("end_time", "time"),
                ("duration_ns", "long"),
                ("status_code", "text"),
                ("status_message", "text?"),
                ("service_name", "text"),
                ("scope_name", "text"),
                ("scope_version", "text"),
                ("resource", "json"),
                ("attributes", "json"),
                ("events", "json"),
                ("links", "json"),
                ("trace_state", "text?"),
                ("flags", "int"),
                ("dropped_attributes_count", "int"),
                ("dropped_events_count", "int"),
                ("dropped_links_count", "int"),
            ]),
        ]
    });
    match signal {
        Signal::Logs => &TABLES[0],
        Signal::Metrics => &TABLES[1],
        Signal::Traces => &TABLES[2],
    }
}

/// The base column of this name.
pub fn base_column(signal: Signal, name: &str) -> Result<&'static BaseColumn, BlockError> {
    base_columns(signal).iter().find(|c| c.name == name).ok_or_else(|| {
        let names: Vec<&str> = base_columns(signal).iter().map(|c| c.name).collect();
        BlockError::Request(format!("{signal} has no column {name:?}: it has {}", names.join(", ")))
    })
}

/// The name of the column that holds the time of a row.
pub fn time_column(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs | Signal::Metrics => "time",
        Signal::Traces => "start_time",
    }
}

/// The Arrow field of a column. An attribute's field has its key as its name. A base
/// column that the signal does not have becomes a nullable text field.
pub fn field(signal: Signal, column: &Column) -> Field {
    match column {
        Column::Base(name) => {
            base_column(signal, name).map_or_else(|_| Field::new(*name, DataType::Utf8, true), BaseColumn::field)
        }
        Column::Attribute { key, value_type, .. } => Field::new(&**key, value_type.data_type(), true),
        Column::List(name) => list_field(name),
    }
}

/// The field of a list of samples' parts, physical and logical.
pub(crate) fn list_field(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("element", list_item(name), true))), true)
}

/// The schema of a batch with these columns.
pub fn schema(signal: Signal, columns: &[Column]) -> SchemaRef {
    Arc::new(Schema::new(columns.iter().map(|c| field(signal, c)).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn types_of_attributes() {
        let bits = |kinds: &[Kind]| kinds.iter().fold(0, |bits, k| bits | k.bit());
        for (kinds, expected) in [
            (&[Kind::Int][..], ValueType::Int64),
            (&[Kind::Int, Kind::Null], ValueType::Int64),
            (&[Kind::Double], ValueType::Float64),
            (&[Kind::Int, Kind::Double], ValueType::Float64),
            (&[Kind::Bool], ValueType::Boolean),
            (&[Kind::Bool, Kind::Int], ValueType::String),
            (&[Kind::Str], ValueType::String),
            (&[Kind::Json], ValueType::String),
            (&[], ValueType::String),
        ] {
            assert_eq!(value_type(bits(kinds)), expected, "{kinds:?}");
        }
    }

    #[test]
    fn messages_come_back() {
        for signal in Signal::ALL {
            for base in base_columns(signal) {
                let column = Column::Base(base.name);
                assert_eq!(Column::from_proto(signal, column.to_proto()).unwrap(), column);
            }
        }
        for scope in [AttributeScope::Any, AttributeScope::Resource, AttributeScope::Record] {
            for value_type in [ValueType::String, ValueType::Int64, ValueType::Float64, ValueType::Boolean] {
                let column = Column::Attribute { scope, key: "http.route".into(), value_type };
                assert_eq!(Column::from_proto(Signal::Logs, column.to_proto()).unwrap(), column);
            }
        }
        for list in LISTS {
            let column = Column::List(list);
            assert_eq!(Column::from_proto(Signal::Metrics, column.to_proto()).unwrap(), column);
            assert!(Column::from_proto(Signal::Logs, column.to_proto()).is_err());
        }
        let unknown = v1::Column { base: "colour".into(), ..Default::default() };
        let error = Column::from_proto(Signal::Logs, unknown).unwrap_err().to_string();
        assert!(error.contains("\"colour\"") && error.contains("severity_number"), "{error}");
    }
}
