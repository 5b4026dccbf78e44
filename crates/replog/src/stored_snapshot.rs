//! How a group's last snapshot is stored and sent: what it covers, who the members were then, and
//! the state machine's data.

use bytes::{BufMut, Bytes};

use crate::codec::{Malformed, Reader, Write};
use crate::raft_types::{RaftSnapshot, SnapshotMeta};

const VERSION: u8 = 1;
const BODY_AT: usize = 5;

/// version, crc32c over the rest, last entry covered, membership, data.
pub(crate) fn encode(meta: &SnapshotMeta, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 256);
    out.put_u8(VERSION);
    out.put_u32_le(0);
    out.put_log_id_opt(&meta.last_log_id);
    out.put_stored_membership(&meta.last_membership);
    out.put_slice(data);
    let crc = crc32c::crc32c(&out[BODY_AT..]);
    out[1..BODY_AT].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The counterpart of [`encode`]; the data is a slice of the input.
pub(crate) fn decode(bytes: Bytes) -> Result<RaftSnapshot, Malformed> {
    if bytes.len() < BODY_AT {
        return Err(Malformed::Short);
    }
    let crc = crc32c::crc32c(&bytes[BODY_AT..]);
    let mut reader = Reader::new(bytes);
    reader.version(VERSION)?;
    if reader.u32()? != crc {
        return Err(Malformed::Checksum);
    }
    let meta = SnapshotMeta { last_log_id: reader.log_id_opt()?, last_membership: reader.stored_membership()? };
    Ok(RaftSnapshot { meta, snapshot: reader.rest() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::raft_types::{LeaderId, LogId};

    #[test]
    fn round_trip_and_damage() {
        let meta = SnapshotMeta {
            last_log_id: Some(LogId::new(LeaderId { term: 2, node_id: 1 }, 17)),
            ..SnapshotMeta::default()
        };
        let stored = encode(&meta, b"state");
        let back = decode(stored.clone().into()).unwrap();
        assert_eq!((back.meta, &back.snapshot[..]), (meta, &b"state"[..]));
        for at in 0..stored.len() {
            let mut bad = stored.clone();
            bad[at] ^= 0x10;
            assert!(decode(bad.into()).is_err(), "byte {at}");
        }
    }
}
