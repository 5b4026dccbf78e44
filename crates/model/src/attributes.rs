//! The attributes of a batch's rows, as columns of entries.

use std::collections::HashMap;

use crate::refs::{Arena, Ref};
use crate::{Kind, json};

/// The distinct attribute keys of a batch, numbered in order of first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Keys {
    /// The number of a key, given one if new.
    #[inline]
    pub fn id(&mut self, name: &str) -> u32 {
        match self.ids.get(name) {
            Some(id) => *id,
            None => self.insert(name),
        }
    }

    fn insert(&mut self, name: &str) -> u32 {
        let id = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.ids.insert(name.to_owned(), id);
        id
    }

    /// The number of a key that occurs.
    pub fn get(&self, name: &str) -> Option<u32> {
        self.ids.get(name).copied()
    }

    /// All keys by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Bytes allocated, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.names.iter().map(|n| 2 * n.capacity() + 80).sum()
    }
}

impl FromIterator<String> for Keys {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let mut keys = Keys::default();
        for name in names {
            keys.id(&name);
        }
        keys
    }
}

/// Attributes of `n` rows: row `i` has the entries `ends[i - 1]..ends[i]`.
/// Within a row a key stands once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Per row: where its entries end.
    pub ends: Vec<u32>,
    /// Per entry: the key's number in [`Keys`].
    pub keys: Vec<u32>,
    /// Per entry: a [`Kind`].
    pub kinds: Vec<u8>,
    /// Per entry: the bits of an integer, float or boolean; else a [`Ref`] into the arena.
    pub values: Vec<u64>,
}

/// One value, borrowed from a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// Text.
    Str(&'a str),
    /// Integer.
    Int(i64),
    /// Float.
    Double(f64),
    /// Boolean.
    Bool(bool),
    /// Bytes.
    Bytes(&'a [u8]),
    /// JSON text of an array or a map.
    Json(&'a str),
}

impl<'a> ValueRef<'a> {
    /// Reads a kind and its bits.
    #[inline]
    pub fn new(kind: u8, bits: u64, arena: &'a Arena) -> Self {
        match Kind::from_u8(kind) {
            Some(Kind::Str) => ValueRef::Str(arena.str(Ref(bits))),
            Some(Kind::Int) => ValueRef::Int(bits as i64),
            Some(Kind::Double) => ValueRef::Double(f64::from_bits(bits)),
            Some(Kind::Bool) => ValueRef::Bool(bits != 0),
            Some(Kind::Bytes) => ValueRef::Bytes(arena.bytes(Ref(bits))),
            Some(Kind::Json) => ValueRef::Json(arena.str(Ref(bits))),
            Some(Kind::Null) | None => ValueRef::Null,
        }
    }

    /// The value's type.
    pub fn kind(&self) -> Kind {
        match self {
            ValueRef::Null => Kind::Null,
            ValueRef::Str(_) => Kind::Str,
            ValueRef::Int(_) => Kind::Int,
            ValueRef::Double(_) => Kind::Double,
            ValueRef::Bool(_) => Kind::Bool,
            ValueRef::Bytes(_) => Kind::Bytes,
            ValueRef::Json(_) => Kind::Json,
        }
    }

    /// Appends the value's JSON text (see [`crate::json`]).
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            ValueRef::Null => out.extend_from_slice(b"null"),
            ValueRef::Str(v) => json::write_str(out, v),
            ValueRef::Int(v) => json::write_i64(out, *v),
            ValueRef::Double(v) => json::write_f64(out, *v),
            ValueRef::Bool(v) => json::write_bool(out, *v),
            ValueRef::Bytes(v) => json::write_bytes(out, v),
            ValueRef::Json(v) => out.extend_from_slice(v.as_bytes()),
        }
    }
}

impl Attributes {
    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.ends.len()
    }

    /// Lets go of room for more rows.
    pub fn shrink_to_fit(&mut self) {
        self.ends.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.kinds.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// Adds an entry to the row that [`Attributes::end_row`] will close.
    #[inline]
    pub fn push(&mut self, key: u32, kind: Kind, bits: u64) {
        self.keys.push(key);
        self.kinds.push(kind as u8);
        self.values.push(bits);
    }

    /// Closes a row.
    #[inline]
    pub fn end_row(&mut self) {
        self.ends.push(self.keys.len() as u32);
    }

    /// Drops the entries of the row that is not closed yet.
    pub fn abandon_row(&mut self) {
        let end = self.ends.last().copied().unwrap_or(0) as usize;
        self.keys.truncate(end);
        self.kinds.truncate(end);
        self.values.truncate(end);
    }

    /// The entries of a row, as a range into `keys`, `kinds` and `values`.
    #[inline]
    pub fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        start..self.ends[row] as usize
    }

    /// A row's entries: key number and value.
    #[inline]
    pub fn row<'a>(&'a self, row: usize, arena: &'a Arena) -> impl Iterator<Item = (u32, ValueRef<'a>)> + 'a {
        self.range(row).map(move |i| (self.keys[i], ValueRef::new(self.kinds[i], self.values[i], arena)))
    }

    /// Bytes allocated.
    pub fn heap_bytes(&self) -> usize {
        self.ends.capacity() * 4 + self.keys.capacity() * 4 + self.kinds.capacity() + self.values.capacity() * 8
    }

    /// Copies a row of `source` here, strings and keys included.
    pub fn copy_row(
        &mut self,
        source: &Attributes,
        row: usize,
        from: (&Keys, &Arena),
        to: (&mut Keys, &mut Arena),
        key_map: &mut [u32],
    ) {
        for i in source.range(row) {
            let old = source.keys[i] as usize;
            if key_map[old] == u32::MAX {
                key_map[old] = to.0.id(&from.0.names()[old]);
            }
            let kind = source.kinds[i];
            let bits = match Kind::from_u8(kind) {
                Some(Kind::Str | Kind::Bytes | Kind::Json) => to.1.push(from.1.bytes(Ref(source.values[i]))).0,
                _ => source.values[i],
            };
            self.keys.push(key_map[old]);
            self.kinds.push(kind);
            self.values.push(bits);
        }
        self.end_row();
    }
}
