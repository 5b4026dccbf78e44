//! Writes the attributes of records into a batch's columns.

use std::collections::HashMap;

use bonghwa_model::attributes::Attributes;
use bonghwa_model::batch::Common;
use bonghwa_model::refs::Ref;
use bonghwa_model::{Kind, Signal, json};

use crate::any::{self, Any};
use crate::cursor::{not_utf8, utf8};
use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::{AttributeLimits, DecodeOptions};

/// What the attribute columns of one request need to know between records.
pub(crate) struct Rows<'a> {
    pub options: &'a DecodeOptions,
    /// Check every text at once, instead of all text together at the end (see [`Rows::text`]).
    pub strict: bool,
    /// Attributes are a series' labels: each has a key, and values that are too long are not cut but reject the record.
    labels: bool,
    limits: AttributeLimits,
    /// Bytes stand among the text, so that it can't be checked as one.
    pub recheck: bool,
    /// Values cut to the length that is allowed.
    pub cut_values: u64,
    /// Invalid ids that were left out.
    pub dropped_ids: u64,
    /// The keys by position of the record before: most records have the same ones.
    sequence: Vec<(&'a [u8], u32)>,
    position: usize,
    ids: HashMap<&'a [u8], u32, foldhash::fast::RandomState>,
    /// Per key: the last record that had it.
    last_record: Vec<u64>,
    record: u64,
}

/// What to undo if a record is rejected halfway.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    text: usize,
    cut_values: u64,
    dropped_ids: u64,
}

impl<'a> Rows<'a> {
    /// At the start of a request.
    pub fn new(options: &'a DecodeOptions, signal: Signal, strict: bool) -> Self {
        let labels = signal == Signal::Metrics;
        Rows {
            options,
            strict,
            labels,
            limits: if labels { options.labels } else { options.attributes },
            recheck: false,
            cut_values: 0,
            dropped_ids: 0,
            sequence: Vec::new(),
            position: 0,
            ids: HashMap::default(),
            last_record: Vec::new(),
            record: 0,
        }
    }

    /// Starts a record.
    #[inline(always)]
    pub fn begin(&mut self, common: &Common) -> Mark {
        self.position = 0;
        self.record += 1;
        Mark { text: common.arena.len(), cut_values: self.cut_values, dropped_ids: self.dropped_ids }
    }

    /// Drops what a rejected record wrote.
    #[cold]
    pub fn undo(&mut self, mark: Mark, attributes: &mut Attributes, common: &mut Common) {
        attributes.abandon_row();
        common.arena.truncate(mark.text);
        self.cut_values = mark.cut_values;
        self.dropped_ids = mark.dropped_ids;
    }

    /// Copies text into the arena.
    ///
    /// Checking short texts one by one costs more than all else. So the first walk only
    /// makes sure that no text begins inside a character; the request's text is then
    /// checked as one, and if it is invalid the request is walked again, strictly.
    #[inline(always)]
    pub fn text(&self, bytes: &[u8], common: &mut Common) -> Result<Ref> {
        if self.strict {
            utf8(bytes)?;
        } else if let Some(first) = bytes.first()
            && first & 0xc0 == 0x80
        {
            return Err(not_utf8(bytes));
        }
        Ok(common.arena.push(bytes))
    }

    /// Adds an attribute, a KeyValue message, to the current record. Of a key that comes
    /// twice the last value holds, at the first one's place.
    #[inline(always)]
    pub fn add(&mut self, bytes: &'a [u8], attributes: &mut Attributes, common: &mut Common) -> Result<()> {
        if self.position >= self.limits.count {
            return Err(any::too_many(&self.limits));
        }
        let (key, value) = any::pair(bytes)?;
        let id = match self.sequence.get(self.position) {
            Some((known, id)) if *known == key => *id,
            _ => self.find(key, common)?,
        };
        self.position += 1;
        let (kind, bits) = match value {
            Any::Str(text) if text.len() <= self.limits.value_bytes => {
                (Kind::Str, self.text(text, common).map_err(|f| any::named(f, key))?.0)
            }
            Any::Int(v) => (Kind::Int, v as u64),
            Any::Double(v) => (Kind::Double, v.to_bits()),
            Any::Bool(v) => (Kind::Bool, u64::from(v)),
            other => self.rare(other, common).map_err(|f| any::named(f, key))?,
        };
        let last = &mut self.last_record[id as usize];
        if *last == self.record {
            replace(attributes, id, kind, bits);
        } else {
            *last = self.record;
            attributes.push(id, kind, bits);
        }
        Ok(())
    }

    /// A key that the record before had not at this place.
    #[inline(never)]
    fn find(&mut self, key: &'a [u8], common: &mut Common) -> Result<u32> {
        let id = match self.ids.get(key) {
            Some(id) => *id,
            None => self.insert(key, common)?,
        };
        if let Some(entry) = self.sequence.get_mut(self.position) {
            *entry = (key, id);
        } else {
            // Positions are filled one after another, so this one is the next.
            self.sequence.push((key, id));
        }
        Ok(id)
    }

    fn insert(&mut self, key: &'a [u8], common: &mut Common) -> Result<u32> {
        if key.is_empty() && self.labels {
            let text = "is an attribute without a key, and would be a label without a name: name it";
            return Err(any::named(Fault::rejected(Reason::InvalidLabel, "", text), key));
        }
        if key.len() > self.limits.key_bytes {
            return Err(any::key_too_long(key, &self.limits));
        }
        if self.ids.len() >= self.options.max_keys {
            let limit = self.options.max_keys;
            let text =
                format!("is one key too many: a request may have {limit}; use fewer keys, or send smaller batches");
            return Err(any::named(Fault::rejected(Reason::TooManyKeys, "", text), key));
        }
        let id = common.keys.id(utf8(key).map_err(|f| any::named(f, key))?);
        self.ids.insert(key, id);
        self.last_record.resize(self.last_record.len().max(id as usize + 1), 0);
        Ok(id)
    }

    /// Bytes, long texts, arrays, maps and nothing.
    #[inline(never)]
    fn rare(&mut self, value: Any<'_>, common: &mut Common) -> Result<(Kind, u64)> {
        let limit = self.limits.value_bytes;
        Ok(match value {
            Any::Str(bytes) | Any::Bytes(bytes) if self.labels && bytes.len() > limit => {
                return Err(any::value_too_long(bytes.len(), &self.limits));
            }
            Any::Str(text) => {
                utf8(text)?;
                let mut end = limit;
                while end > 0 && text[end] & 0xc0 == 0x80 {
                    end -= 1;
                }
                self.cut_values += 1;
                (Kind::Str, common.arena.push(&text[..end]).0)
            }
            Any::Bytes(bytes) => {
                if bytes.len() > limit {
                    self.cut_values += 1;
                }
                self.recheck |= !bytes.is_ascii();
                (Kind::Bytes, common.arena.push(&bytes[..bytes.len().min(limit)]).0)
            }
            Any::Array(bytes) | Any::Map(bytes) if bytes.len() > limit => {
                return Err(any::value_too_long(bytes.len(), &self.limits));
            }
            Any::Array(_) | Any::Map(_) => {
                let value = any::owned(value, 0, self.options)?;
                (Kind::Json, common.arena.push_with(|out| json::write_value(out, &value)).0)
            }
            _ => (Kind::Null, 0),
        })
    }
}

#[cold]
fn replace(attributes: &mut Attributes, id: u32, kind: Kind, bits: u64) {
    let start = attributes.ends.last().copied().unwrap_or(0) as usize;
    if let Some(at) = attributes.keys[start..].iter().position(|k| *k == id) {
        attributes.kinds[start + at] = kind as u8;
        attributes.values[start + at] = bits;
    }
}
