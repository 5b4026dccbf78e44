//! How one entry is stored and sent: a header with version, kind, term and leader, a checksum over
//! everything, then the payload as it is.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | kind: 0 blank, 1 payload, 2 membership |
//! | 2..10 | term of the leader that appended it |
//! | 10..18 | number of that leader |
//! | 18..22 | crc32c over the position, the bytes before and the bytes after |
//! | 22.. | the payload |
//!
//! Numbers are little-endian. The position is the key; only the checksum covers it here.

use bytes::{BufMut, Bytes};

use crate::Payload;
use crate::codec::{Malformed, Reader, Write};
use crate::raft_types::{Content, Entry, LeaderId, LogId};

const VERSION: u8 = 1;
const BLANK: u8 = 0;
const PAYLOAD: u8 = 1;
const MEMBERSHIP: u8 = 2;
const CHECKSUM_AT: usize = 18;
const BODY_AT: usize = 22;

/// Bytes a stored entry takes, without the key.
pub(crate) fn stored_len(entry: &Entry) -> usize {
    BODY_AT
        + match &entry.payload {
            Content::Normal(payload) => payload.bytes.len(),
            // Rare and small: an estimate will do.
            Content::Blank => 0,
            Content::Membership(_) => 64,
        }
}

/// Appends the record of an entry to a buffer.
pub(crate) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    if let Some(record) = received(entry) {
        return out.put_slice(record);
    }
    let start = out.len();
    out.put_u8(VERSION);
    out.put_u8(match &entry.payload {
        Content::Blank => BLANK,
        Content::Normal(_) => PAYLOAD,
        Content::Membership(_) => MEMBERSHIP,
    });
    out.put_u64_le(entry.log_id.leader_id.term);
    out.put_u64_le(entry.log_id.leader_id.node_id);
    out.put_u32_le(0);
    match &entry.payload {
        Content::Blank => {}
        Content::Normal(payload) => out.put_slice(&payload.bytes),
        Content::Membership(membership) => out.put_membership(membership),
    }
    let record = &mut out[start..];
    let crc = checksum(entry.log_id.index, record);
    record[CHECKSUM_AT..BODY_AT].copy_from_slice(&crc.to_le_bytes());
}

/// The record that an entry came in, from a leader or from the disk.
pub(crate) fn received(entry: &Entry) -> Option<&Bytes> {
    match &entry.payload {
        Content::Normal(payload) => payload.record.as_ref(),
        Content::Blank | Content::Membership(_) => None,
    }
}

/// Reads the record stored at a position; the payload is a slice of it.
pub(crate) fn decode(index: u64, record: Bytes) -> Result<Entry, Malformed> {
    if record.len() < BODY_AT {
        return Err(Malformed::Short);
    }
    let mut reader = Reader::new(record.clone());
    reader.version(VERSION)?;
    let kind = reader.u8()?;
    let term = reader.u64()?;
    let node_id = reader.u64()?;
    if reader.u32()? != checksum(index, &record) {
        return Err(Malformed::Checksum);
    }
    let payload = match kind {
        BLANK => {
            reader.end()?;
            Content::Blank
        }
        PAYLOAD => Content::Normal(Payload { bytes: reader.rest(), decoded: None, record: Some(record) }),
        MEMBERSHIP => {
            let membership = reader.membership()?;
            reader.end()?;
            Content::Membership(membership)
        }
        _ => return Err(Malformed::Value("kind")),
    };
    Ok(Entry { log_id: LogId::new(LeaderId { term, node_id }, index), payload })
}

fn checksum(index: u64, record: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&index.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &record[..CHECKSUM_AT]);
    crc32c::crc32c_append(crc, &record[BODY_AT..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(payload: Content) -> Entry {
        Entry { log_id: LogId::new(LeaderId { term: 3, node_id: 2 }, 41), payload }
    }

    #[test]
    fn the_payload_is_stored_as_it_is() {
        let mut out = Vec::new();
        encode(&entry(Content::Normal(Payload::new("raw batch"))), &mut out);
        assert_eq!(&out[BODY_AT..], b"raw batch");
        let back = decode(41, out.clone().into()).unwrap();
        assert_eq!(received(&back).unwrap(), &out);
        assert_eq!(back.log_id, entry(Content::Blank).log_id);
        assert!(matches!(back.payload, Content::Normal(p) if p.bytes == "raw batch" && p.decoded.is_none()));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let mut out = Vec::new();
        encode(&entry(Content::Normal(Payload::new("raw batch"))), &mut out);
        for at in 0..out.len() * 8 {
            let mut bad = out.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(decode(41, bad.into()).is_err(), "bit {at}");
        }
        for len in 0..out.len() {
            assert!(decode(41, Bytes::copy_from_slice(&out[..len])).is_err(), "length {len}");
        }
        assert_eq!(decode(42, out.into()).unwrap_err(), Malformed::Checksum);
    }
}
