//! The physical columns of one block: the fixed ones of its signal, and the
//! attributes that got a column of their own.
//!
//! An attribute gets one when it fills a good share of the block's rows and all its
//! values have one scalar type; everything else stays whole, as JSON text, in
//! `resource_rest` and `attributes_rest`. So a reader needs no list: a column named
//! `attributes.KEY` holds all values of that key, and no row's rest has the key.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bonghwa_model::{Kind, Signal};
use hashbrown::HashSet;

use crate::column::{Column, LISTS, ValueType, list_field, time_column, time_type};
use crate::describe::{Describer, KeyStats};
use crate::packing::Packed;

/// At most this many attributes get a column, those with the most bytes first.
const MAX_PROMOTED: usize = 96;
/// An attribute that fewer than one row in this many has stays in the rest.
const RAREST: u64 = 20;

/// Whose attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Owner {
    Resource,
    Record,
}

impl Owner {
    /// The prefix of the columns of promoted attributes.
    pub fn prefix(self) -> &'static str {
        match self {
            Owner::Resource => "resource.",
            Owner::Record => "attributes.",
        }
    }

    /// The column of all other attributes.
    pub fn rest(self) -> &'static str {
        match self {
            Owner::Resource => "resource_rest",
            Owner::Record => "attributes_rest",
        }
    }
}

/// An attribute with a column of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promoted {
    pub owner: Owner,
    pub key: Arc<str>,
    pub value_type: ValueType,
    /// Index of its column in the physical schema.
    pub index: usize,
}

/// The order of a block's rows within a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Log records and spans by service and time.
    Service,
    /// Spans by trace and start.
    Trace,
    /// Metric points by name, service, series and time.
    Series,
}

impl Order {
    /// The order in which a flush leaves its rows.
    pub fn of_flush(signal: Signal) -> Self {
        match signal {
            Signal::Logs | Signal::Traces => Order::Service,
            Signal::Metrics => Order::Series,
        }
    }

    /// The order in which a compaction leaves its rows: it has all spans of a trace.
    pub fn of_compaction(signal: Signal) -> Self {
        match signal {
            Signal::Logs => Order::Service,
            Signal::Traces => Order::Trace,
            Signal::Metrics => Order::Series,
        }
    }

    /// The columns that the rows are sorted by.
    pub fn columns(self, signal: Signal) -> [&'static str; 2] {
        match self {
            Order::Service => ["service_name", time_column(signal)],
            Order::Trace => ["trace_id", "start_time"],
            Order::Series => ["tenant", "name"],
        }
    }
}

/// The physical schema of a block and what its attribute columns mean.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub signal: Signal,
    pub schema: SchemaRef,
    /// Sorted by owner and key.
    pub promoted: Vec<Promoted>,
    /// Of a block: which of the columns are made of others.
    pub packed: Option<Packed>,
}

impl Layout {
    /// Chooses the columns for rows of this description.
    pub fn choose(signal: Signal, rows: &Describer) -> Layout {
        let mut candidates: Vec<(Owner, &str, &KeyStats)> = Vec::new();
        for (owner, keys) in [(Owner::Resource, &rows.resource), (Owner::Record, &rows.record)] {
            candidates.extend(keys.iter().map(|(key, stats)| (owner, key.as_str(), stats)));
        }
        candidates.retain(|(_, key, stats)| {
            stats.rows * RAREST >= rows.items() && single_type(stats).is_some() && is_column_name(key)
        });
        candidates.sort_by(|a, b| b.2.bytes.cmp(&a.2.bytes).then(a.0.cmp(&b.0)).then(a.1.cmp(b.1)));
        let mut seen = HashSet::new();
        // Spark and DuckDB compare column names without case.
        candidates.retain(|(owner, key, _)| seen.insert((*owner, key.to_lowercase())));
        candidates.truncate(MAX_PROMOTED);
        Layout::new(
            signal,
            candidates
                .into_iter()
                .filter_map(|(owner, key, stats)| Some((owner, Arc::from(key), single_type(stats)?)))
                .collect(),
        )
    }

    /// The layout for rows that stay in memory: the attributes asked for get columns.
    pub fn for_columns(signal: Signal, rows: &Describer, columns: &[Column]) -> Layout {
        let mut keys = Vec::new();
        for column in columns {
            let Column::Attribute { key, .. } = column else { continue };
            for (owner, stats) in [(Owner::Resource, &rows.resource), (Owner::Record, &rows.record)] {
                if let Some(value_type) = stats.get(&**key).and_then(single_type) {
                    keys.push((owner, Arc::clone(key), value_type));
                }
            }
        }
        Layout::new(signal, keys)
    }

    fn new(signal: Signal, mut keys: Vec<(Owner, Arc<str>, ValueType)>) -> Layout {
        keys.sort();
        keys.dedup();
        let attributes = |owner: Owner| {
            let promoted = keys.iter().filter(move |k| k.0 == owner);
            promoted.map(move |(_, key, t)| Field::new(format!("{}{key}", owner.prefix()), t.data_type(), true))
        };
        let mut fields = vec![text("tenant")];
        match signal {
            Signal::Logs => fields.extend(log_fields()),
            Signal::Metrics => fields.extend(metric_fields()),
            Signal::Traces => fields.extend(span_fields()),
        }
        fields.extend(scope_fields());
        fields.extend(attributes(Owner::Resource));
        fields.push(optional(Owner::Resource.rest(), DataType::Utf8));
        fields.extend(attributes(Owner::Record));
        fields.push(optional(Owner::Record.rest(), DataType::Utf8));
        if signal == Signal::Metrics {
            fields.extend(sample_fields());
        }
        Layout::from_schema(signal, Arc::new(Schema::new(fields)))
    }

    /// Reads the layout of a block from its schema.
    pub fn from_schema(signal: Signal, schema: SchemaRef) -> Layout {
        let (schema, packed) = Packed::of(schema);
        let mut promoted: Vec<Promoted> = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            for owner in [Owner::Resource, Owner::Record] {
                let Some(key) = field.name().strip_prefix(owner.prefix()) else { continue };
                let value_type = match field.data_type() {
                    DataType::Utf8 => ValueType::String,
                    DataType::Int64 => ValueType::Int64,
                    DataType::Float64 => ValueType::Float64,
                    DataType::Boolean => ValueType::Boolean,
                    _ => continue,
                };
                promoted.push(Promoted { owner, key: key.into(), value_type, index });
            }
        }
        promoted.sort_by(|a, b| (a.owner, &a.key).cmp(&(b.owner, &b.key)));
        Layout { signal, schema, promoted, packed }
    }

    /// The attribute's own column.
    pub fn find(&self, owner: Owner, key: &str) -> Option<&Promoted> {
        let at = self.promoted.binary_search_by(|p| (p.owner, &*p.key).cmp(&(owner, key))).ok()?;
        self.promoted.get(at)
    }

    /// The promoted attributes of one owner, sorted by key.
    pub fn of(&self, owner: Owner) -> impl Iterator<Item = &Promoted> {
        self.promoted.iter().filter(move |p| p.owner == owner)
    }

    /// The index of a fixed column.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.schema.index_of(name).ok()
    }
}

fn single_type(stats: &KeyStats) -> Option<ValueType> {
    const TYPES: [(Kind, ValueType); 4] = [
        (Kind::Str, ValueType::String),
        (Kind::Int, ValueType::Int64),
        (Kind::Double, ValueType::Float64),
        (Kind::Bool, ValueType::Boolean),
    ];
    TYPES.iter().find(|(kind, _)| stats.kinds == kind.bit() && !stats.nan).map(|(_, t)| *t)
}

/// Whether a key makes a column name that other readers can live with.
fn is_column_name(key: &str) -> bool {
    !key.is_empty() && key.len() <= 200 && !key.chars().any(char::is_control)
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

fn int(name: &str) -> Field {
    Field::new(name, DataType::Int32, false)
}

fn optional(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn time(name: &str) -> Field {
    Field::new(name, time_type(), false)
}

fn log_fields() -> Vec<Field> {
    vec![
        time("time"),
        optional("observed_time", time_type()),
        text("service_name"),
        int("severity_number"),
        optional("severity_text", DataType::Utf8),
        optional("body", DataType::Utf8),
        text("body_type"),
        optional("event_name", DataType::Utf8),
        optional("trace_id", DataType::FixedSizeBinary(16)),
        optional("span_id", DataType::FixedSizeBinary(8)),
        int("flags"),
        int("dropped_attributes_count"),
    ]
}

fn span_fields() -> Vec<Field> {
    vec![
        optional("trace_id", DataType::FixedSizeBinary(16)),
        optional("span_id", DataType::FixedSizeBinary(8)),
        optional("parent_span_id", DataType::FixedSizeBinary(8)),
        optional("trace_state", DataType::Utf8),
        text("name"),
        text("kind"),
        time("start_time"),
        Field::new("duration_ns", DataType::Int64, false),
        text("status_code"),
        optional("status_message", DataType::Utf8),
        text("service_name"),
        int("flags"),
        int("dropped_attributes_count"),
        int("dropped_events_count"),
        int("dropped_links_count"),
        optional("events", DataType::Utf8),
        optional("links", DataType::Utf8),
    ]
}

fn metric_fields() -> Vec<Field> {
    vec![
        text("name"),
        text("type"),
        text("unit"),
        text("description"),
        Field::new("monotonic", DataType::Boolean, false),
        text("temporality"),
        optional("metadata", DataType::Utf8),
        text("service_name"),
        optional("series_id", DataType::FixedSizeBinary(16)),
        time("min_time"),
        time("max_time"),
        int("samples"),
        optional("start_time", time_type()),
    ]
}

fn scope_fields() -> Vec<Field> {
    vec![
        text("scope_name"),
        text("scope_version"),
        optional("scope_attributes", DataType::Utf8),
        text("scope_schema_url"),
        int("scope_dropped_attributes_count"),
        text("resource_schema_url"),
        int("resource_dropped_attributes_count"),
    ]
}

/// The lists of samples' parts.
fn sample_fields() -> Vec<Field> {
    LISTS.iter().map(|name| list_field(name)).collect()
}
