//! Pages of Parquet: their headers, in Thrift's compact protocol, and their bytes.

use std::cell::RefCell;

use parquet::basic::{Compression, Encoding};
use zstd::bulk::Decompressor;

/// A page is never larger than this, in bytes: what claims to be is damaged.
const MOST_BYTES: usize = 1 << 30;
/// Nor has it more values: a few bytes may claim any number.
const MOST_VALUES: usize = 1 << 24;
/// Thrift structures in each other, at most.
const MOST_DEPTH: u32 = 16;

/// Types of fields in Thrift's compact protocol.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const BYTE: u8 = 3;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const STRUCT: u8 = 12;

thread_local! {
    /// Making one takes longer than using it on a page.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// A page without its levels' and values' meaning.
pub(super) struct Page {
    pub encoding: Encoding,
    /// Levels of a data page, entries of a dictionary.
    pub count: usize,
    pub bytes: Vec<u8>,
}

/// What a page says of itself.
#[derive(Debug, Default, PartialEq)]
struct Header {
    kind: i64,
    uncompressed: i64,
    compressed: i64,
    count: i64,
    encoding: i64,
}

/// A data page of the first version.
const DATA: i64 = 0;
const DICTIONARY: i64 = 2;

impl Page {
    /// Reads a page: its header and what follows. Nothing where it is none of these, or damaged.
    pub fn read(bytes: &[u8], compression: Compression) -> Option<Page> {
        let mut thrift = Thrift { bytes };
        let header = Header::read(&mut thrift)?;
        let body = thrift.bytes.get(..usize::try_from(header.compressed).ok()?)?;
        let size = usize::try_from(header.uncompressed).ok().filter(|size| *size <= MOST_BYTES)?;
        let bytes = match compression {
            Compression::UNCOMPRESSED => body.to_vec(),
            Compression::ZSTD(_) => decompress(body, size)?,
            _ => return None,
        };
        let encoding = match header.encoding {
            0 => Encoding::PLAIN,
            2 | 8 => Encoding::RLE_DICTIONARY,
            5 => Encoding::DELTA_BINARY_PACKED,
            9 => Encoding::BYTE_STREAM_SPLIT,
            _ => return None,
        };
        // A dictionary's values are plain, whatever name its encoding has.
        let encoding = if header.kind == DICTIONARY { Encoding::PLAIN } else { encoding };
        let count = usize::try_from(header.count).ok().filter(|count| *count <= MOST_VALUES)?;
        Some(Page { encoding, count, bytes })
    }
}

fn decompress(body: &[u8], size: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Some(Decompressor::new().ok()?);
        }
        kept.as_mut()?.decompress(body, size).ok().filter(|bytes| bytes.len() == size)
    })
}

impl Header {
    fn read(thrift: &mut Thrift<'_>) -> Option<Header> {
        let mut header = Header::default();
        let mut field = 0;
        while let Some(kind) = thrift.field(&mut field)? {
            match field {
                1 => header.kind = thrift.int()?,
                2 => header.uncompressed = thrift.int()?,
                3 => header.compressed = thrift.int()?,
                // Of data and of a dictionary: both begin with how many values there are, and their encoding.
                5 | 7 if kind == STRUCT => header.values(thrift)?,
                _ => thrift.skip(kind, 0)?,
            }
        }
        matches!(header.kind, DATA | DICTIONARY).then_some(header)
    }

    fn values(&mut self, thrift: &mut Thrift<'_>) -> Option<()> {
        let mut field = 0;
        while let Some(kind) = thrift.field(&mut field)? {
            match field {
                1 => self.count = thrift.int()?,
                2 => self.encoding = thrift.int()?,
                _ => thrift.skip(kind, 0)?,
            }
        }
        Some(())
    }
}

struct Thrift<'a> {
    bytes: &'a [u8],
}

impl Thrift<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// An integer of any width.
    fn int(&mut self) -> Option<i64> {
        let value = varint(&mut self.bytes)?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The type of the next field, whose number follows that of the one before; none at the end of a structure.
    #[allow(clippy::option_option)]
    fn field(&mut self, number: &mut i64) -> Option<Option<u8>> {
        let head = self.byte()?;
        if head == 0 {
            return Some(None);
        }
        *number = match head >> 4 {
            0 => self.int()?,
            delta => number.checked_add(i64::from(delta))?,
        };
        Some(Some(head & 0xf))
    }

    /// Passes over a value.
    fn skip(&mut self, kind: u8, depth: u32) -> Option<()> {
        if depth > MOST_DEPTH {
            return None;
        }
        match kind {
            TRUE | FALSE => {}
            BYTE => {
                self.byte()?;
            }
            4..=I64 => {
                self.int()?;
            }
            DOUBLE => self.pass(8)?,
            BINARY => {
                let length = varint(&mut self.bytes)?;
                self.pass(length)?;
            }
            LIST | SET => {
                let head = self.byte()?;
                let count = match head >> 4 {
                    15 => varint(&mut self.bytes)?,
                    count => u64::from(count),
                };
                for _ in 0..count {
                    match head & 0xf {
                        TRUE | FALSE => self.pass(1)?,
                        kind => self.skip(kind, depth + 1)?,
                    }
                }
            }
            STRUCT => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth + 1)?;
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn pass(&mut self, length: u64) -> Option<()> {
        self.bytes = self.bytes.get(usize::try_from(length).ok()?..)?;
        Some(())
    }
}

/// Takes an unsigned number of variable length.
pub(super) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_past_what_is_unknown() {
        // type 0, 300 bytes, 200 compressed, crc, a data page of 77 values delta encoded, with statistics.
        let header = [
            0x15, 0, 0x15, 0xd8, 4, 0x15, 0x90, 3, 0x15, 9, 0x1c, 0x15, 0x9a, 1, 0x15, 10, 0x15, 6, 0x15, 6, 0x1c,
            0x18, 2, b'a', b'b', 0x19, 0x25, 2, 4, 0x11, 0, 0, 0,
        ];
        let mut thrift = Thrift { bytes: &header };
        let read = Header::read(&mut thrift);
        let expected = Header { kind: DATA, uncompressed: 300, compressed: 200, count: 77, encoding: 5 };
        assert_eq!((read, thrift.bytes.len()), (Some(expected), 0));
        for length in 0..header.len() {
            assert_eq!(Header::read(&mut Thrift { bytes: &header[..length] }), None);
        }
    }
}
