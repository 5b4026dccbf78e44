//! The format of segment files. A segment is frames, one after another, each written with one sync.
//!
//! | bytes | of a frame |
//! |---|---|
//! | 0..4 | `BWLF` |
//! | 4 | version, 1 |
//! | 5..8 | zeros |
//! | 8..16 | number of the segment: a file that is used again holds frames of its earlier life |
//! | 16..20 | bytes of the table |
//! | 20..24 | bytes of the records |
//! | 24..28 | crc32c over the bytes before and the table |
//! | 28.. | the table, then the records in its order, then zeros up to a multiple of 4,096 |
//!
//! The table is a list of [`Item`]s, each a byte for its kind and numbers. Numbers are little-endian.
//! Records have checksums of their own (see [`crate::record`]): they are looked at where they are read.

use bytes::{Buf, BufMut, Bytes};

use crate::codec::{Malformed, Reader, Write};
use crate::raft_types::{Entry, LogId};
use crate::record;

/// Frames begin at multiples of this, as writing past the page cache asks.
pub(crate) const ALIGNMENT: usize = 4096;

const MAGIC: &[u8; 4] = b"BWLF";
const VERSION: u8 = 1;
const HEADER: usize = 28;
const CHECKSUM_AT: usize = 24;

/// What a table says, in the order in which it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// An entry: what the family had at this position and after it is gone.
    Entry { family: u64, position: u64, length: u32 },
    /// An entry from an older segment, whose space is wanted; nothing else changes.
    Moved { family: u64, position: u64, length: u32 },
    /// The family has nothing at this position and after it.
    Truncate { family: u64, from: u64 },
    /// The family is committed up to here, at least.
    Committed { family: u64, id: LogId },
    /// The segment before this one, and where its last frame ends.
    Follows { segment: u64, end: u64 },
    /// All frames before this one are whole: the store was closed.
    Closed,
}

impl Item {
    fn put(&self, out: &mut impl BufMut) {
        let mut numbers = |kind: u8, numbers: &[u64]| {
            out.put_u8(kind);
            numbers.iter().for_each(|number| out.put_u64_le(*number));
        };
        match *self {
            Item::Entry { family, position, length } => {
                numbers(1, &[family, position]);
                out.put_u32_le(length);
            }
            Item::Moved { family, position, length } => {
                numbers(2, &[family, position]);
                out.put_u32_le(length);
            }
            Item::Truncate { family, from } => numbers(3, &[family, from]),
            Item::Committed { family, id } => {
                numbers(4, &[family]);
                out.put_log_id(&id);
            }
            Item::Follows { segment, end } => numbers(5, &[segment, end]),
            Item::Closed => numbers(6, &[]),
        }
    }

    fn read(reader: &mut Reader) -> Result<Self, Malformed> {
        Ok(match reader.u8()? {
            1 => Item::Entry { family: reader.u64()?, position: reader.u64()?, length: reader.u32()? },
            2 => Item::Moved { family: reader.u64()?, position: reader.u64()?, length: reader.u32()? },
            3 => Item::Truncate { family: reader.u64()?, from: reader.u64()? },
            4 => Item::Committed { family: reader.u64()?, id: reader.log_id()? },
            5 => Item::Follows { segment: reader.u64()?, end: reader.u64()? },
            6 => Item::Closed,
            _ => return Err(Malformed::Value("kind of item")),
        })
    }

    /// Bytes of its record.
    pub fn length(&self) -> u64 {
        match self {
            Item::Entry { length, .. } | Item::Moved { length, .. } => u64::from(*length),
            _ => 0,
        }
    }
}

/// What will be one frame.
#[derive(Default)]
pub(crate) struct Draft {
    items: Vec<(Item, Source)>,
    /// Bytes that the records take, about.
    bytes: usize,
}

/// Where an item's record comes from.
enum Source {
    Nothing,
    Entry(Entry),
    Record(Bytes),
}

impl Draft {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the frame, at most but for the memberships of huge clusters.
    pub fn len(&self) -> usize {
        (HEADER + self.items.len() * 40 + self.bytes).next_multiple_of(ALIGNMENT) + ALIGNMENT
    }

    /// Adds an entry; returns the bytes of its record, about.
    pub fn entry(&mut self, family: u64, entry: &Entry) -> u64 {
        let item = Item::Entry { family, position: entry.log_id.index, length: 0 };
        self.items.push((item, Source::Entry(entry.clone())));
        let length = record::stored_len(entry);
        self.bytes += length;
        length as u64
    }

    /// Adds an entry by its record.
    pub fn record(&mut self, family: u64, position: u64, record: Bytes) {
        self.bytes += record.len();
        self.items.push((Item::Entry { family, position, length: 0 }, Source::Record(record)));
    }

    /// Adds an entry that lies in an older segment.
    pub fn moved(&mut self, family: u64, position: u64, record: Bytes) {
        self.bytes += record.len();
        self.items.push((Item::Moved { family, position, length: 0 }, Source::Record(record)));
    }

    /// Adds what has no record.
    pub fn push(&mut self, item: Item) {
        self.items.push((item, Source::Nothing));
    }

    /// Adds what has no record, before all else.
    pub fn push_first(&mut self, item: Item) {
        self.items.insert(0, (item, Source::Nothing));
    }

    /// The last position of a family's entries here, if it has any.
    pub fn last(&self, family: u64) -> Option<u64> {
        self.items.iter().rev().find_map(|(item, _)| match item {
            Item::Entry { family: of, position, .. } if *of == family => Some(*position),
            _ => None,
        })
    }

    /// Writes the frame into a buffer, where it begins at an address that is a multiple of
    /// [`ALIGNMENT`]; returns where, and its items with the offsets of their records within it.
    pub fn encode(self, segment: u64, buffer: &mut Vec<u8>) -> (usize, Vec<(Item, u64)>) {
        buffer.clear();
        buffer.reserve(self.len() + 2 * ALIGNMENT);
        let start = misalignment(buffer);
        buffer.resize(start + HEADER, 0);
        let mut table = Vec::with_capacity(self.items.len() * 40);
        self.items.iter().for_each(|(item, _)| item.put(&mut table));
        buffer.put_slice(&table);
        let table_at = start + HEADER;
        let records_at = buffer.len();
        let mut items = Vec::with_capacity(self.items.len());
        for (mut item, source) in self.items {
            let at = buffer.len();
            match source {
                Source::Nothing => {}
                Source::Entry(entry) => record::encode(&entry, buffer),
                Source::Record(record) => buffer.put_slice(&record),
            }
            if let Item::Entry { length, .. } | Item::Moved { length, .. } = &mut item {
                *length = (buffer.len() - at) as u32;
            }
            items.push((item, (at - start) as u64));
        }
        // Again, now that the lengths are known.
        table.clear();
        items.iter().for_each(|(item, _)| item.put(&mut table));
        buffer[table_at..records_at].copy_from_slice(&table);
        let records = buffer.len() - records_at;
        let header = &mut buffer[start..table_at];
        header[..4].copy_from_slice(MAGIC);
        header[4] = VERSION;
        header[8..16].copy_from_slice(&segment.to_le_bytes());
        header[16..20].copy_from_slice(&(table.len() as u32).to_le_bytes());
        header[20..24].copy_from_slice(&(records as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CHECKSUM_AT]), &table);
        header[CHECKSUM_AT..].copy_from_slice(&crc.to_le_bytes());
        buffer.resize(start + (buffer.len() - start).next_multiple_of(ALIGNMENT), 0);
        (align(buffer, start), items)
    }
}

/// How far the next multiple of the alignment is from a buffer's beginning.
pub(super) fn misalignment(buffer: &[u8]) -> usize {
    buffer.as_ptr().addr().wrapping_neg() % ALIGNMENT
}

/// Moves what begins at `start` to where it is aligned, if the buffer was moved while it grew.
fn align(buffer: &mut Vec<u8>, start: usize) -> usize {
    if misalignment(buffer) == start {
        return start;
    }
    let mut aligned = Vec::with_capacity(buffer.len() - start + ALIGNMENT);
    let at = misalignment(&aligned);
    aligned.resize(at, 0);
    aligned.extend_from_slice(&buffer[start..]);
    *buffer = aligned;
    at
}

/// The beginning of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub segment: u64,
    pub table: usize,
    pub records: u64,
}

impl Header {
    /// Bytes of a header.
    pub const LEN: usize = HEADER;

    /// Reads the header that bytes begin with; its checksum is the table's, too. None where no
    /// frame begins.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(..HEADER)?.strip_prefix(MAGIC)?;
        rest.advance(4);
        let (segment, table, records) = (rest.get_u64_le(), rest.get_u32_le(), rest.get_u32_le());
        Some(Header { segment, table: table as usize, records: u64::from(records) })
    }

    /// Where the frame's records begin, from its own beginning.
    pub fn records_at(&self) -> u64 {
        (HEADER + self.table) as u64
    }

    /// Bytes of the frame with its padding.
    pub fn frame(&self) -> u64 {
        (self.records_at() + self.records).next_multiple_of(ALIGNMENT as u64)
    }
}

/// Reads header and table. `Checksum` also where a frame was never written to its end.
pub(crate) fn read_table(bytes: &Bytes) -> Result<Vec<Item>, Malformed> {
    let header = Header::read(bytes).ok_or(Malformed::Value("magic"))?;
    let table = bytes.get(HEADER..HEADER + header.table).ok_or(Malformed::Short)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKSUM_AT]), table);
    if bytes[CHECKSUM_AT..HEADER] != crc.to_le_bytes() {
        return Err(Malformed::Checksum);
    }
    if bytes[4] != VERSION {
        return Err(Malformed::Version(bytes[4], VERSION));
    }
    let mut reader = Reader::new(bytes.slice_ref(table));
    let mut items = Vec::new();
    while !reader.is_empty() {
        items.push(Item::read(&mut reader)?);
    }
    if items.iter().map(Item::length).sum::<u64>() != header.records {
        return Err(Malformed::Value("length of records"));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Payload;
    use crate::raft_types::{Content, LeaderId};

    fn draft() -> Draft {
        let id = LogId::new(LeaderId { term: 3, node_id: 2 }, 41);
        let mut draft = Draft::default();
        draft.push(Item::Follows { segment: 6, end: 8192 });
        draft.push(Item::Truncate { family: 9, from: 41 });
        draft.entry(9, &Entry { log_id: id, payload: Content::Normal(Payload::new("raw batch")) });
        draft.push(Item::Committed { family: 9, id });
        draft.moved(4, 7, Bytes::from_static(b"as it was"));
        draft.push(Item::Closed);
        draft
    }

    #[test]
    fn frames_are_read_as_they_were_written() {
        let (draft, mut buffer) = (draft(), Vec::new());
        let most = draft.len();
        let (start, items) = draft.encode(7, &mut buffer);
        assert_eq!((buffer[start..].as_ptr().addr() % ALIGNMENT, (buffer.len() - start) % ALIGNMENT), (0, 0));
        assert!(buffer.len() - start <= most);
        let frame = Bytes::copy_from_slice(&buffer[start..]);
        let header = Header::read(&frame).unwrap();
        assert_eq!((header.segment, header.frame()), (7, frame.len() as u64));
        let read = read_table(&frame).unwrap();
        assert_eq!(read, items.iter().map(|(item, _)| *item).collect::<Vec<_>>());
        let record = |at: usize| frame.slice(items[at].1 as usize..(items[at].1 + items[at].0.length()) as usize);
        assert_eq!(record(4), "as it was");
        let entry = record::decode(41, record(2)).unwrap();
        assert!(matches!(entry.payload, Content::Normal(payload) if payload.bytes == "raw batch"));
    }

    #[test]
    fn any_flipped_bit_of_header_and_table_is_found() {
        let mut buffer = Vec::new();
        let (start, _) = draft().encode(7, &mut buffer);
        let frame = &buffer[start..];
        let table = Header::read(frame).unwrap().records_at() as usize;
        for bit in 0..table * 8 {
            let mut bad = frame.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_table(&bad.into()).is_err(), "bit {bit}");
        }
        for len in 0..table {
            assert!(read_table(&Bytes::copy_from_slice(&frame[..len])).is_err(), "length {len}");
        }
    }
}
