//! Walks the fields of a protobuf message.

use std::borrow::Cow;

/// The rest of a message.
#[derive(Clone, Copy)]
pub(super) struct Fields<'b> {
    rest: &'b [u8],
}

/// A field's number and value. Fixed-width values come as their bits.
pub(super) enum Field<'b> {
    Varint(u32, u64),
    Fixed64(u32, u64),
    Bytes(u32, &'b [u8]),
    /// Of a kind that no message here has.
    Other,
}

impl<'b> Fields<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Fields { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Field<'b>>, String> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field has an invalid number".to_owned())?;
        Ok(Some(match tag & 7 {
            0 => Field::Varint(number, self.varint()?),
            1 => Field::Fixed64(number, self.fixed64()?),
            2 => Field::Bytes(number, self.bytes()?),
            5 => {
                self.take(4)?;
                Field::Other
            }
            other => return Err(format!("a field has the invalid wire type {other}")),
        }))
    }

    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err("it is cut short, or has a number of more than 64 bits".into())
    }

    pub(super) fn fixed64(&mut self) -> Result<u64, String> {
        let bytes = self.take(8)?;
        Ok(bytes.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// Bytes after their length.
    pub(super) fn bytes(&mut self) -> Result<&'b [u8], String> {
        let length = self.varint()?;
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], String> {
        if length > self.rest.len() {
            return Err(format!("it is cut short: {length} bytes are announced, {} are left", self.rest.len()));
        }
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(taken)
    }
}

/// A text.
pub(super) fn text(bytes: &[u8]) -> Result<Cow<'_, str>, String> {
    simdutf8::basic::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| "a text is not UTF-8".to_owned())
}

/// A zigzag-coded number.
pub(super) fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// A `google.protobuf.Timestamp`, in Unix milliseconds.
pub(super) fn timestamp(bytes: &[u8]) -> Result<i64, String> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut fields = Fields::new(bytes);
    while let Some(field) = fields.next()? {
        match field {
            Field::Varint(1, number) => seconds = number as i64,
            Field::Varint(2, number) => nanos = number as i64,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}
