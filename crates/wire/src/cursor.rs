//! Walks the fields of one protobuf message without copying.

use crate::decoded::Reason;
use crate::fault::{Fault, Result};
use crate::schema::Message;

/// The rest of a message, and the field that is being read, for errors to name.
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    tag: u32,
    message: &'static Message,
}

impl<'a> Cursor<'a> {
    /// At the start of a message.
    #[inline(always)]
    pub fn new(bytes: &'a [u8], message: &'static Message) -> Self {
        Cursor { rest: bytes, tag: 0, message }
    }

    /// Whether fields follow.
    #[inline(always)]
    pub fn more(&self) -> bool {
        !self.rest.is_empty()
    }

    /// What has not been read.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's tag: number and wire type.
    #[inline(always)]
    pub fn tag(&mut self) -> Result<u32> {
        self.tag = 0;
        let tag = self.varint()?;
        if tag > u64::from(u32::MAX) || tag < 8 {
            return Err(self.malformed(format!("has a field with the invalid tag {tag:#x}")));
        }
        self.tag = tag as u32;
        Ok(self.tag)
    }

    /// A varint.
    #[inline(always)]
    pub fn varint(&mut self) -> Result<u64> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                if i == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(match self.rest.len() {
            0..10 => self.malformed("is cut short inside a number"),
            _ => self.malformed("has a number of more than 64 bits"),
        })
    }

    /// Eight bytes.
    #[inline(always)]
    pub fn fixed64(&mut self) -> Result<u64> {
        match self.rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u64::from_le_bytes(*bytes))
            }
            None => Err(self.cut(8)),
        }
    }

    /// Four bytes.
    #[inline(always)]
    pub fn fixed32(&mut self) -> Result<u32> {
        match self.rest.split_first_chunk::<4>() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(u32::from_le_bytes(*bytes))
            }
            None => Err(self.cut(4)),
        }
    }

    /// A double.
    #[inline(always)]
    pub fn double(&mut self) -> Result<f64> {
        self.fixed64().map(f64::from_bits)
    }

    /// A number of an open enum; one above `last`, which OTLP has no name for, reads as 0.
    #[inline(always)]
    pub fn enumeration(&mut self, last: u8) -> Result<u8> {
        let number = self.varint()?;
        Ok(if number <= u64::from(last) { number as u8 } else { 0 })
    }

    /// A zigzag-coded 32-bit integer.
    pub fn sint32(&mut self) -> Result<i32> {
        let n = self.varint()? as u32;
        Ok((n >> 1) as i32 ^ -((n & 1) as i32))
    }

    /// A length-delimited field's content.
    #[inline(always)]
    pub fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.varint()?;
        if len <= self.rest.len() as u64 {
            let (taken, rest) = self.rest.split_at(len as usize);
            self.rest = rest;
            return Ok(taken);
        }
        Err(self.cut(len))
    }

    /// Text.
    pub fn str(&mut self) -> Result<&'a str> {
        let bytes = self.bytes()?;
        utf8(bytes).map_err(|f| f.under(self.name()))
    }

    /// The id of a trace or span that a log record belongs to. By OTLP's `logs.proto` an invalid
    /// one says that it belongs to none; it is counted.
    #[inline(always)]
    pub fn id_or_none<const N: usize>(&mut self, invalid: &mut u64) -> Result<[u8; N]> {
        let bytes = self.bytes()?;
        Ok(<[u8; N]>::try_from(bytes).unwrap_or_else(|_| {
            *invalid += u64::from(!bytes.is_empty());
            [0; N]
        }))
    }

    /// A trace or span id: none, or exactly `N` bytes. All zero means none.
    #[inline(always)]
    pub fn id<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.bytes()?;
        match <[u8; N]>::try_from(bytes) {
            Ok(id) => Ok(id),
            Err(_) if bytes.is_empty() => Ok([0; N]),
            Err(_) => Err(self.reject(
                Reason::InvalidId,
                format!("has {} bytes ({}): {N} or none are allowed", bytes.len(), shown_hex(bytes)),
            )),
        }
    }

    /// Passes over the field of the tag just read, which the caller does not know.
    #[inline(never)]
    pub fn skip(&mut self) -> Result<()> {
        if let Some(field) = self.message.field(self.tag >> 3) {
            let (found, expected) = (self.tag & 7, field.kind.wire());
            // A list of numbers may come packed: its readers take both forms, so does passing over it.
            let is_packed = field.repeated && found == 2;
            if found != expected && !is_packed {
                return Err(self.malformed(format!(
                    "has wire type {found} ({}), expected is {expected} ({})",
                    wire_name(found),
                    wire_name(expected)
                )));
            }
        }
        match self.tag & 7 {
            0 => self.varint().map(drop),
            1 => self.fixed64().map(drop),
            2 => self.bytes().map(drop),
            5 => self.fixed32().map(drop),
            3 | 4 => Err(self.malformed("is a group, which no message here has")),
            other => Err(self.malformed(format!("has the invalid wire type {other}"))),
        }
    }

    /// The current field's name; the empty text before the first.
    pub fn name(&self) -> String {
        match (self.tag >> 3, self.message.field(self.tag >> 3)) {
            (_, Some(field)) => field.name.to_owned(),
            (0, None) => String::new(),
            (number, None) => format!("field {number}"),
        }
    }

    /// A defect of the encoding in the current field.
    #[cold]
    pub fn malformed(&self, text: impl Into<String>) -> Box<Fault> {
        Fault::malformed(self.rest, self.name(), text)
    }

    /// A defect of the record in the current field.
    #[cold]
    pub fn reject(&self, reason: Reason, text: impl Into<String>) -> Box<Fault> {
        Fault::rejected(reason, self.name(), text)
    }

    #[cold]
    fn cut(&self, wanted: u64) -> Box<Fault> {
        self.malformed(format!("is cut short: {wanted} bytes announced, {} left", self.rest.len()))
    }
}

/// Checks text.
#[inline]
pub(crate) fn utf8(bytes: &[u8]) -> Result<&str> {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Err(not_utf8(bytes)),
    }
}

/// The rejection of text that is not UTF-8.
#[cold]
pub(crate) fn not_utf8(bytes: &[u8]) -> Box<Fault> {
    let at = std::str::from_utf8(bytes).err().map_or(0, |e| e.valid_up_to());
    let text =
        format!("is not UTF-8 from its byte {at} on ({}): send valid text, or a bytes_value", shown_hex(&bytes[at..]));
    Fault::rejected(Reason::InvalidUtf8, "", text)
}

/// The first bytes in hex, for a message.
pub(crate) fn shown_hex(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=20 => hex::encode(bytes),
        _ => format!("{}...", hex::encode(&bytes[..16])),
    }
}

fn wire_name(wire: u32) -> &'static str {
    ["varint", "64 bits", "length-delimited", "group", "end of group", "32 bits"]
        .get(wire as usize)
        .copied()
        .unwrap_or("invalid")
}
