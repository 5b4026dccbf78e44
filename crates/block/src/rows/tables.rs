//! Columns that depend on nothing but a row's resource, scope or metric: computed once
//! for each of those that occur.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::BooleanArray;
use bonghwa_model::Value;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::common::to_json;
use super::{Builder, Built, Row};
use crate::BlockError;
use crate::column::ValueType;
use crate::intern::Interner;
use crate::layout::Owner;
use crate::physical::{DictValues, Keys, NULL, PhysicalColumn};

/// The entries of a table that some rows refer to. A row group must not hold values
/// of another tenant, not even in its dictionaries.
pub(super) struct Used {
    /// Numbers in the table.
    pub ids: Vec<u32>,
    /// Per row: an index into `ids`.
    rows: Vec<u32>,
}

/// Keys of the entries used, and the values that they stand for.
type Column = (Vec<u32>, DictValues);

impl Used {
    pub fn new(table: usize, rows: impl Iterator<Item = u32>) -> Self {
        let mut index = vec![NULL; table];
        let mut used = Used { ids: Vec::new(), rows: Vec::new() };
        used.rows.extend(rows.map(|id| {
            let index = &mut index[id as usize];
            if *index == NULL {
                *index = used.ids.len() as u32;
                used.ids.push(id);
            }
            *index
        }));
        used
    }

    /// The column of the rows.
    pub fn column(&self, (keys, values): Column) -> PhysicalColumn {
        PhysicalColumn::Dict { keys: Keys::lookup(self.rows.iter().copied(), &keys), values }
    }
}

/// Distinct words, numbered.
#[derive(Default)]
struct Words {
    ids: HashMap<u64, u32, FixedState>,
    words: Vec<u64>,
}

impl Words {
    fn id(&mut self, word: u64) -> u32 {
        *self.ids.entry(word).or_insert_with(|| {
            self.words.push(word);
            self.words.len() as u32 - 1
        })
    }
}

fn int_table(values: impl Iterator<Item = u32>) -> Column {
    let mut words = Words::default();
    let keys = values.map(|value| words.id(value.into())).collect();
    (keys, DictValues::Int32(words.words.into_iter().map(|w| w as i32).collect()))
}

/// A column of texts; `None` is null.
pub(super) fn text_table<'a>(values: impl Iterator<Item = Option<Cow<'a, [u8]>>>) -> Column {
    let mut interner = Interner::default();
    let keys = values.map(|value| value.map_or(NULL, |v| interner.intern(&v))).collect();
    (keys, DictValues::Text(interner.texts))
}

fn value_table<'a>(values: impl Iterator<Item = Option<&'a Value>>, value_type: ValueType) -> Column {
    if value_type == ValueType::String {
        return text_table(values.map(|v| match v {
            Some(Value::Str(text)) => Some(text.as_bytes().into()),
            _ => None,
        }));
    }
    let mut words = Words::default();
    let keys = values
        .map(|v| match v {
            Some(Value::Int(v)) => words.id(*v as u64),
            Some(Value::Bool(v)) => words.id(u64::from(*v)),
            Some(Value::Double(v)) => words.id(v.to_bits()),
            _ => NULL,
        })
        .collect();
    let values = match value_type {
        ValueType::Float64 => DictValues::Double(words.words.into_iter().map(f64::from_bits).collect()),
        _ => DictValues::Int64(words.words.into_iter().map(|w| w as i64).collect()),
    };
    (keys, values)
}

/// Booleans have no dictionary in Parquet.
fn booleans(column: PhysicalColumn) -> PhysicalColumn {
    match column {
        PhysicalColumn::Dict { keys, values: DictValues::Int64(values) } => {
            let get = |row| match keys.get(row) {
                NULL => None,
                key => Some(values[key as usize] != 0),
            };
            PhysicalColumn::Plain(Arc::new((0..keys.len()).map(get).collect::<BooleanArray>()))
        }
        other => other,
    }
}

fn json_of(attributes: &[(&str, &Value)]) -> Option<Cow<'static, [u8]>> {
    (!attributes.is_empty()).then(|| to_json(attributes).into())
}

/// Fills the columns of resource and scope.
pub(super) fn resource_and_scope(builder: &Builder<'_>, built: &mut Built, rows: &[Row]) -> Result<(), BlockError> {
    let (input, layout) = (builder.input, builder.layout);
    let used_resources = Used::new(input.resources.len(), rows.iter().map(|row| row.resource));
    let used_scopes = Used::new(input.scopes.len(), rows.iter().map(|row| row.scope));
    let resources = || used_resources.ids.iter().map(|id| &input.resources[*id as usize]);
    let scopes = || used_scopes.ids.iter().map(|id| &input.scopes[*id as usize]);
    let mut by_resource =
        |name: &str, table: &dyn Fn() -> Column| builder.set(built, name, || Ok(used_resources.column(table())));
    by_resource("service_name", &|| text_table(resources().map(|(r, _)| text(&r.service_name))))?;
    by_resource("resource_schema_url", &|| text_table(resources().map(|(r, _)| text(&r.schema_url))))?;
    by_resource("resource_dropped_attributes_count", &|| int_table(resources().map(|(r, _)| r.dropped_attributes)))?;
    by_resource(Owner::Resource.rest(), &|| {
        text_table(resources().map(|(_, attributes)| {
            let rest = attributes.iter().copied().filter(|(key, _)| layout.find(Owner::Resource, key).is_none());
            json_of(&rest.collect::<Vec<_>>())
        }))
    })?;
    let mut by_scope =
        |name: &str, table: &dyn Fn() -> Column| builder.set(built, name, || Ok(used_scopes.column(table())));
    by_scope("scope_name", &|| text_table(scopes().map(|(s, _)| text(&s.name))))?;
    by_scope("scope_version", &|| text_table(scopes().map(|(s, _)| text(&s.version))))?;
    by_scope("scope_schema_url", &|| text_table(scopes().map(|(s, _)| text(&s.schema_url))))?;
    by_scope("scope_attributes", &|| text_table(scopes().map(|(_, a)| json_of(a))))?;
    by_scope("scope_dropped_attributes_count", &|| int_table(scopes().map(|(s, _)| s.dropped_attributes)))?;
    for promoted in layout.of(Owner::Resource).filter(|p| (builder.wanted)(p.index)) {
        let values = resources().map(|(_, attributes)| {
            let at = attributes.binary_search_by(|(key, _)| (*key).cmp(&*promoted.key)).ok()?;
            Some(attributes[at].1)
        });
        let column = used_resources.column(value_table(values, promoted.value_type));
        built.columns[promoted.index] = Some(match promoted.value_type {
            ValueType::Boolean => booleans(column),
            _ => column,
        });
    }
    Ok(())
}

fn text(text: &str) -> Option<Cow<'_, [u8]>> {
    Some(text.as_bytes().into())
}
