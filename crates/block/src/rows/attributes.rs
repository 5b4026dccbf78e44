//! The columns of the rows' own attributes.

use bonghwa_model::attributes::ValueRef;
use bonghwa_model::refs::{Arena, Ref};
use bonghwa_model::{Kind, json};

use super::{Builder, Built, Input, Row, Wanted};
use crate::BlockError;
use crate::column::ValueType;
use crate::intern::{TextBuilder, WordBuilder};
use crate::layout::{Layout, Owner};

enum Target {
    Text(TextBuilder),
    Word(WordBuilder),
    Bool(WordBuilder),
}

/// Where an attribute key goes.
#[derive(Clone, Copy)]
enum Place {
    /// Into this target.
    Column(u16),
    /// Into the rest; keys of the rest are ranked by name.
    Rest(u32),
    /// Nowhere: not wanted.
    Skip,
}

/// Where each attribute key goes: the same for all rows of a block.
pub(super) struct Places {
    /// By the key's number in [`Input`].
    by_key: Vec<Place>,
    /// `"key":` of the keys of the rest, by rank.
    rest_keys: Vec<Vec<u8>>,
    /// The promoted columns that are wanted: index in the layout, and type.
    columns: Vec<(usize, ValueType)>,
    rest: Option<usize>,
}

impl Places {
    pub fn new(input: &Input<'_>, layout: &Layout, wanted: Wanted<'_>) -> Self {
        let promoted = layout.of(Owner::Record).filter(|p| wanted(p.index));
        let mut places = Places {
            by_key: vec![Place::Skip; input.keys.len()],
            rest_keys: Vec::new(),
            columns: promoted.map(|p| (p.index, p.value_type)).collect(),
            rest: layout.index(Owner::Record.rest()).filter(|index| wanted(*index)),
        };
        let mut order: Vec<u32> = (0..input.keys.len() as u32).collect();
        order.sort_unstable_by_key(|id| input.keys[*id as usize]);
        for id in order {
            let key = input.keys[id as usize];
            places.by_key[id as usize] = match layout.find(Owner::Record, key) {
                Some(promoted) => match places.columns.iter().position(|(index, _)| *index == promoted.index) {
                    Some(target) => Place::Column(target as u16),
                    None => Place::Skip,
                },
                None if places.rest.is_some() => {
                    let mut text = Vec::with_capacity(key.len() + 3);
                    json::write_str(&mut text, key);
                    text.push(b':');
                    places.rest_keys.push(text);
                    Place::Rest(places.rest_keys.len() as u32 - 1)
                }
                None => Place::Skip,
            };
        }
        places
    }
}

/// Fills the columns of the rows' own attributes.
pub(super) fn attributes(builder: &Builder<'_>, built: &mut Built, rows: &[Row]) -> Result<(), BlockError> {
    let (input, places) = (builder.input, &builder.places);
    if places.columns.is_empty() && places.rest.is_none() {
        return Ok(());
    }
    let target = |(_, value_type): &(usize, ValueType)| match value_type {
        ValueType::String => Target::Text(TextBuilder::new(rows.len())),
        ValueType::Int64 => Target::Word(WordBuilder::new(rows.len(), false)),
        ValueType::Float64 => Target::Word(WordBuilder::new(rows.len(), true)),
        ValueType::Boolean => Target::Bool(WordBuilder::new(rows.len(), false)),
    };
    let mut targets: Vec<Target> = places.columns.iter().map(target).collect();
    let mut rest = TextBuilder::new(if places.rest.is_some() { rows.len() } else { 0 });
    let mut entries: Vec<(u32, u8, u64)> = Vec::new();
    let mut text = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let batch = input.batches[row.batch as usize];
        let (attributes, arena) = (batch.attributes(), &batch.common().arena);
        let keys = &input.key_ids[row.batch as usize];
        entries.clear();
        for i in attributes.range(row.row as usize) {
            let (kind, bits) = (attributes.kinds[i], attributes.values[i]);
            match places.by_key[keys[attributes.keys[i] as usize] as usize] {
                Place::Column(target) => match &mut targets[target as usize] {
                    // Batches promise a key once per row; a second one must not shift the column.
                    Target::Text(builder) if builder.len() <= at => {
                        builder.pad(at);
                        builder.push(arena.bytes(Ref(bits)));
                    }
                    Target::Word(builder) | Target::Bool(builder) if builder.len() <= at => {
                        builder.pad(at);
                        builder.push(bits);
                    }
                    _ => {}
                },
                Place::Rest(rank) => entries.push((rank, kind, bits)),
                Place::Skip => {}
            }
        }
        if entries.is_empty() {
            continue;
        }
        entries.sort_by_key(|(rank, ..)| *rank);
        entries.dedup_by_key(|(rank, ..)| *rank);
        text.clear();
        for (rank, kind, bits) in &entries {
            text.push(if text.is_empty() { b'{' } else { b',' });
            text.extend_from_slice(&places.rest_keys[*rank as usize]);
            write_value(&mut text, *kind, *bits, arena);
        }
        text.push(b'}');
        rest.pad(at);
        rest.push(&text);
    }
    for ((index, _), target) in places.columns.iter().zip(targets) {
        built.columns[*index] = Some(match target {
            Target::Text(mut builder) => {
                builder.pad(rows.len());
                builder.finish()?
            }
            Target::Word(mut builder) => {
                builder.pad(rows.len());
                builder.finish()
            }
            Target::Bool(mut builder) => {
                builder.pad(rows.len());
                builder.finish_bool()
            }
        });
    }
    if let Some(index) = places.rest {
        rest.pad(rows.len());
        built.columns[index] = Some(rest.finish()?);
    }
    Ok(())
}

fn write_value(out: &mut Vec<u8>, kind: u8, bits: u64, arena: &Arena) {
    match ValueRef::new(kind, bits, arena) {
        // An array or a map whose text was no UTF-8 has no text at all.
        ValueRef::Json("") => out.extend_from_slice(b"null"),
        value => value.write_json(out),
    }
}

/// The name of a kind, as `body_type` shows it.
pub(crate) fn kind_name(kind: u8) -> &'static str {
    match Kind::from_u8(kind) {
        Some(Kind::Str) => "string",
        Some(Kind::Int) => "int",
        Some(Kind::Double) => "double",
        Some(Kind::Bool) => "bool",
        Some(Kind::Bytes) => "bytes",
        Some(Kind::Json) => "array_or_map",
        Some(Kind::Null) | None => "null",
    }
}
