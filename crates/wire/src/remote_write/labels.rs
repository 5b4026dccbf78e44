//! Labels. Each distinct pair of name and value of a request is read, checked, hashed and stored once,
//! however many series have it.

use bonghwa_model::batch::Common;
use bonghwa_model::heartbeat::SOURCE_LABEL;
use bonghwa_model::prometheus::{INSTANCE_LABEL, JOB_LABEL, NAME_LABEL};
use bonghwa_model::refs::Ref;

use crate::DecodeOptions;
use crate::any::{key_too_long, named, value_too_long};
use crate::cursor::shown_hex;
use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::series;

/// What a label is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It names the metric.
    Name,
    /// An attribute that also names the service.
    Job,
    /// An attribute that also names the service's instance.
    Instance,
    /// Any other attribute.
    Attribute,
    /// An attribute that also names what several servers scrape.
    Cluster,
    /// Names the server among those; an attribute where the cluster is not named.
    Replica,
    /// An attribute that heartbeats have, and no other series of their name.
    Source,
    /// Its value is empty: as good as no label.
    Empty,
}

/// A distinct label of a request.
pub(crate) struct Label<'a> {
    pub role: Role,
    /// Of an attribute: the name's number in the batch.
    pub key: u32,
    /// Of an attribute: where the value lies in the batch.
    pub stored: Ref,
    /// Of an attribute: its part of the series' identity.
    pub hash: u128,
    pub name: &'a str,
    pub value: &'a str,
}

/// The distinct labels of a request.
#[derive(Default)]
pub(crate) struct Labels<'a> {
    known: Vec<Label<'a>>,
    /// Bytes of their names and values.
    bytes: usize,
}

impl<'a> Labels<'a> {
    /// The label with this number.
    #[inline(always)]
    pub fn get(&self, number: u32) -> &Label<'a> {
        &self.known[number as usize]
    }

    /// The first of these labels that names a metric.
    pub fn metric_name(&self, numbers: &[u32]) -> Option<u32> {
        numbers.iter().copied().find(|number| self.get(*number).role == Role::Name)
    }

    /// Takes a label that was not there yet and returns its number. `stored` is where its value lies,
    /// if another label has brought it.
    pub fn add(
        &mut self,
        name: &'a [u8],
        value: &'a [u8],
        stored: Option<Ref>,
        common: &mut Common,
        options: &DecodeOptions,
    ) -> Result<u32> {
        // Names and values of version 2 are written once, and may be combined at will.
        self.bytes += name.len() + value.len();
        if self.bytes > options.max_text_bytes {
            let what = format!("a request whose distinct labels have {} bytes of text", self.bytes);
            return Err(Fault::too_large(what, options.max_text_bytes, "max_text_bytes"));
        }
        if name.is_empty() {
            let text = "has a label without a name: name it, or leave it out";
            return Err(Fault::rejected(Reason::InvalidLabel, "", text));
        }
        if name.len() > options.labels.key_bytes {
            return Err(key_too_long(name, &options.labels));
        }
        if value.len() > options.labels.value_bytes {
            return Err(named(value_too_long(value.len(), &options.labels), name));
        }
        let text = |bytes| text(bytes).map_err(|f| named(f, name));
        let (name, value) = (text(name)?, text(value)?);
        let role = match name {
            _ if value.is_empty() => Role::Empty,
            NAME_LABEL => Role::Name,
            JOB_LABEL => Role::Job,
            INSTANCE_LABEL => Role::Instance,
            SOURCE_LABEL => Role::Source,
            _ => match options.replicas.as_deref() {
                Some(labels) if name == labels.cluster => Role::Cluster,
                Some(labels) if name == labels.replica => Role::Replica,
                _ => Role::Attribute,
            },
        };
        let mut label = Label { role, key: 0, stored: Ref::EMPTY, hash: 0, name, value };
        if !matches!(role, Role::Empty | Role::Name) {
            label.key = key(name, common, options)?;
            label.stored = stored.unwrap_or_else(|| common.arena.push(value.as_bytes()));
            label.hash = series::text(name, value);
        }
        self.known.push(label);
        Ok(self.known.len() as u32 - 1)
    }

    /// A series as Prometheus shows it, cut to a length that fits a sentence.
    #[cold]
    pub fn shown(&self, numbers: &[u32]) -> String {
        const MOST: usize = 200;
        let mut text = self.metric_name(numbers).map_or("", |name| self.get(name).value).to_owned();
        let labels = numbers.iter().map(|n| self.get(*n)).filter(|label| label.role != Role::Name);
        for (i, label) in labels.enumerate() {
            text.push_str(if i == 0 { "{" } else { ", " });
            text.push_str(&format!("{}={:?}", label.name, label.value));
            if text.len() > MOST {
                return text.chars().take(MOST).chain("...".chars()).collect();
            }
        }
        if text.contains('{') {
            text.push('}');
        }
        text
    }
}

fn key(name: &str, common: &mut Common, options: &DecodeOptions) -> Result<u32> {
    if let Some(key) = common.keys.get(name) {
        return Ok(key);
    }
    if common.keys.names().len() >= options.max_keys {
        let limit = options.max_keys;
        let text = format!("is one name too many: a request may have {limit}; send smaller batches");
        return Err(named(Fault::rejected(Reason::TooManyKeys, "", text), name.as_bytes()));
    }
    Ok(common.keys.id(name))
}

/// Checks text.
#[inline]
pub(crate) fn text(bytes: &[u8]) -> Result<&str> {
    simdutf8::basic::from_utf8(bytes).map_err(|_| not_utf8(bytes))
}

#[cold]
fn not_utf8(bytes: &[u8]) -> Box<Fault> {
    let at = std::str::from_utf8(bytes).err().map_or(0, |e| e.valid_up_to());
    let text = format!("is not UTF-8 from its byte {at} on ({}): send valid text", shown_hex(&bytes[at..]));
    Fault::rejected(Reason::InvalidUtf8, "", text)
}
