//! Collects the hashes of a row group's granules from its columns.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use bonghwa_model::{Signal, Value, json};

use super::tokens::{each_hash, hash_trace_id};
use super::{FilterEntry, FilterKind, RowGroupIndex, filter, is_indexed};
use crate::json_scan::{entries, unquote};
use crate::layout::{Layout, Owner};
use crate::physical::{DictValues, Keys, NULL, PhysicalColumn, Texts};

/// Hashes seen lately: most tokens of a granule repeat, and this is cheaper than a set.
const RECENT: usize = 1 << 13;

/// Granules of series from which on a row group has a filter: the labels of fewer are read as fast.
const LEAST_GRANULES: usize = 16;

/// The hashes of one granule, hardly any of them twice.
struct Hashes {
    recent: Vec<u64>,
    all: Vec<u64>,
}

impl Hashes {
    fn new() -> Self {
        Hashes { recent: vec![0; RECENT], all: Vec::new() }
    }

    #[inline]
    fn add(&mut self, hash: u64) {
        let slot = &mut self.recent[hash as usize % RECENT];
        if *slot != hash || hash == 0 {
            *slot = hash;
            self.all.push(hash);
        }
    }

    /// The hashes of the granule that ends here.
    fn take(&mut self) -> Vec<u64> {
        self.recent.fill(0);
        let next = Vec::with_capacity(self.all.len() + self.all.len() / 8);
        std::mem::replace(&mut self.all, next)
    }
}

/// Builds the filters of row groups.
pub(crate) struct IndexBuilder {
    granule_rows: usize,
    hashes: Hashes,
}

impl IndexBuilder {
    pub fn new(granule_rows: usize) -> Self {
        IndexBuilder { granule_rows, hashes: Hashes::new() }
    }

    /// The filters of a row group: their bytes, and entries whose offsets start at `offset`.
    pub fn row_group(&mut self, layout: &Layout, columns: &[PhysicalColumn], offset: u64) -> (RowGroupIndex, Vec<u8>) {
        let mut index = RowGroupIndex::default();
        let mut bytes = Vec::new();
        let rows = columns.first().map_or(0, PhysicalColumn::rows);
        let kinds: &[FilterKind] = match layout.signal {
            Signal::Metrics if rows < LEAST_GRANULES * self.granule_rows => &[],
            Signal::Metrics => &[FilterKind::Tokens],
            Signal::Logs | Signal::Traces => &[FilterKind::Tokens, FilterKind::TraceIds],
        };
        for kind in kinds.iter().copied() {
            let granules = match kind {
                FilterKind::Tokens => self.tokens(layout, columns),
                _ => self.trace_ids(layout, columns),
            };
            // Without any value there is nothing to filter; without a filter nothing is skipped.
            let (lines, filter) = filter::build(&granules);
            let offset = offset + bytes.len() as u64;
            index.filters.push(FilterEntry { kind: kind as i32, offset, lines, granules: granules.len() as u32 });
            bytes.extend_from_slice(&filter);
        }
        (index, bytes)
    }

    fn granules(&self, columns: &[PhysicalColumn]) -> Vec<std::ops::Range<usize>> {
        let rows = columns.first().map_or(0, PhysicalColumn::rows);
        (0..rows).step_by(self.granule_rows).map(|start| start..rows.min(start + self.granule_rows)).collect()
    }

    fn tokens(&mut self, layout: &Layout, columns: &[PhysicalColumn]) -> Vec<Vec<u64>> {
        let fields = layout.schema.fields().iter().zip(columns);
        let texts: Vec<(&PhysicalColumn, bool)> = fields
            .filter(|(field, _)| is_indexed(layout.signal, field.name()))
            .map(|(field, column)| {
                (column, [Owner::Resource.rest(), Owner::Record.rest()].contains(&field.name().as_str()))
            })
            .collect();
        let mut used = Vec::new();
        let mut granules = Vec::new();
        for rows in self.granules(columns) {
            for (column, object) in &texts {
                let hashes = &mut self.hashes;
                each_text(column, rows.clone(), &mut used, |text| {
                    if *object {
                        each_value_hash(text, |hash| hashes.add(hash));
                    } else {
                        each_hash(text, |hash| hashes.add(hash));
                    }
                });
                if layout.signal == Signal::Metrics {
                    each_other(column, rows.clone(), |text| each_hash(text, |hash| hashes.add(hash)));
                }
            }
            granules.push(self.hashes.take());
        }
        granules
    }

    fn trace_ids(&mut self, layout: &Layout, columns: &[PhysicalColumn]) -> Vec<Vec<u64>> {
        let column = layout.index("trace_id").and_then(|index| columns.get(index));
        let mut granules = Vec::new();
        let mut hashes = Vec::new();
        if let Some(PhysicalColumn::Dict { values: DictValues::Fixed { width, bytes }, .. }) = column {
            hashes = bytes.chunks_exact(*width).map(hash_trace_id).collect();
        }
        for rows in self.granules(columns) {
            match column {
                Some(PhysicalColumn::Dict { keys, .. }) => {
                    for row in rows {
                        let key = keys.get(row);
                        if key != NULL {
                            self.hashes.add(hashes[key as usize]);
                        }
                    }
                }
                Some(PhysicalColumn::Plain(ids)) => {
                    if let Some(ids) = ids.as_fixed_size_binary_opt() {
                        for row in rows.filter(|row| ids.is_valid(*row)) {
                            self.hashes.add(hash_trace_id(ids.value(row)));
                        }
                    }
                }
                None => {}
            }
            granules.push(self.hashes.take());
        }
        granules
    }
}

/// Calls `found` with each distinct text of some rows of a dictionary column, or with
/// each text of another column.
fn each_text(
    column: &PhysicalColumn,
    rows: std::ops::Range<usize>,
    used: &mut Vec<bool>,
    mut found: impl FnMut(&[u8]),
) {
    match column {
        PhysicalColumn::Dict { keys, values: DictValues::Text(texts) } => match keys {
            Keys::Constant { key: NULL, .. } => {}
            Keys::Constant { key, .. } => found(texts.get(*key as usize)),
            Keys::Each(keys) => each_used(&keys[rows], texts, used, found),
        },
        PhysicalColumn::Plain(array) => {
            if let Some(texts) = array.as_string_opt::<i32>() {
                for row in rows.filter(|row| texts.is_valid(*row)) {
                    found(texts.value(row).as_bytes());
                }
            }
        }
        PhysicalColumn::Dict { .. } => {}
    }
}

/// Calls `found` with the JSON of each number or boolean of some rows.
fn each_other(column: &PhysicalColumn, rows: std::ops::Range<usize>, mut found: impl FnMut(&[u8])) {
    let mut text = Vec::new();
    let mut tell = |value: Option<Value>| {
        if let Some(value) = value {
            text.clear();
            json::write_value(&mut text, &value);
            found(&text);
        }
    };
    match column {
        PhysicalColumn::Dict { keys, values: DictValues::Int64(values) } => {
            rows.for_each(|row| tell(values.get(keys.get(row) as usize).map(|value| Value::Int(*value))));
        }
        PhysicalColumn::Dict { keys, values: DictValues::Double(values) } => {
            rows.for_each(|row| tell(values.get(keys.get(row) as usize).map(|value| Value::Double(*value))));
        }
        PhysicalColumn::Dict { .. } => {}
        PhysicalColumn::Plain(array) => {
            if let Some(values) = array.as_primitive_opt::<Int64Type>() {
                rows.for_each(|row| tell(values.is_valid(row).then(|| Value::Int(values.value(row)))));
            } else if let Some(values) = array.as_primitive_opt::<Float64Type>() {
                rows.for_each(|row| tell(values.is_valid(row).then(|| Value::Double(values.value(row)))));
            } else if let Some(values) = array.as_boolean_opt() {
                rows.for_each(|row| tell(values.is_valid(row).then(|| Value::Bool(values.value(row)))));
            }
        }
    }
}

fn each_used(keys: &[u32], texts: &Texts, used: &mut Vec<bool>, mut found: impl FnMut(&[u8])) {
    used.clear();
    used.resize(texts.len(), false);
    for &key in keys {
        if key != NULL && !std::mem::replace(&mut used[key as usize], true) {
            found(texts.get(key as usize));
        }
    }
}

/// The tokens of the values of a JSON object: of texts as they are, of all others as JSON.
fn each_value_hash(text: &[u8], mut found: impl FnMut(u64)) {
    for (_, value) in entries(std::str::from_utf8(text).unwrap_or_default()) {
        each_hash(unquote(value).as_bytes(), &mut found);
    }
}
