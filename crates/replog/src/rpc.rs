//! The messages between the nodes of a group, encoded by hand: a version byte, then the fields.
//! Entries travel as the records they are stored as, so their checksums span the whole way.

use bytes::{BufMut, Bytes};
use openraft::raft;

use crate::codec::{Malformed, Reader, Write};
use crate::raft_types::{RaftSnapshot, TypeConfig, Vote};
use crate::{record, stored_snapshot};

const VERSION: u8 = 1;

pub(crate) type AppendRequest = raft::AppendEntriesRequest<TypeConfig>;
pub(crate) type AppendResponse = raft::AppendEntriesResponse<TypeConfig>;
pub(crate) type VoteRequest = raft::VoteRequest<TypeConfig>;
pub(crate) type VoteResponse = raft::VoteResponse<TypeConfig>;
pub(crate) type SnapshotResponse = raft::SnapshotResponse<TypeConfig>;
pub(crate) type TransferRequest = raft::TransferLeaderRequest<TypeConfig>;
pub(crate) type TransferError = raft::TransferLeaderError<TypeConfig>;
pub(crate) type TransferResponse = Result<(), TransferError>;

/// A snapshot with the vote of the leader that sends it.
pub(crate) struct SnapshotRequest {
    pub vote: Vote,
    pub snapshot: RaftSnapshot,
}

/// A message of this crate's protocol.
pub(crate) trait Message: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn get(reader: Reader) -> Result<Self, Malformed>;

    fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        self.put(&mut out);
        out.into()
    }

    fn decode(bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        reader.version(VERSION)?;
        Self::get(reader)
    }
}

impl Message for AppendRequest {
    fn put(&self, out: &mut Vec<u8>) {
        let bytes: usize = self.entries.iter().map(|e| record::stored_len(e) + 16).sum();
        out.reserve(bytes + 128);
        out.put_vote(&self.vote);
        out.put_log_id_opt(&self.prev_log_id);
        out.put_log_id_opt(&self.leader_commit);
        out.put_u32_le(self.entries.len() as u32);
        for entry in &self.entries {
            out.put_u64_le(entry.log_id.index);
            let len_at = out.len();
            out.put_u32_le(0);
            record::encode(entry, out);
            let len = (out.len() - len_at - 4) as u32;
            out[len_at..len_at + 4].copy_from_slice(&len.to_le_bytes());
        }
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let vote = reader.vote()?;
        let prev_log_id = reader.log_id_opt()?;
        let leader_commit = reader.log_id_opt()?;
        let mut entries = Vec::new();
        for _ in 0..reader.u32()? {
            let index = reader.u64()?;
            entries.push(record::decode(index, reader.bytes()?)?);
        }
        reader.end()?;
        Ok(Self { vote, prev_log_id, entries, leader_commit })
    }
}

impl Message for AppendResponse {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Success => out.put_u8(0),
            Self::PartialSuccess(upto) => {
                out.put_u8(1);
                out.put_log_id_opt(upto);
            }
            Self::Conflict => out.put_u8(2),
            Self::HigherVote(vote) => {
                out.put_u8(3);
                out.put_vote(vote);
            }
        }
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let response = match reader.u8()? {
            0 => Self::Success,
            1 => Self::PartialSuccess(reader.log_id_opt()?),
            2 => Self::Conflict,
            3 => Self::HigherVote(reader.vote()?),
            _ => return Err(Malformed::Value("answer")),
        };
        reader.end()?;
        Ok(response)
    }
}

impl Message for VoteRequest {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_vote(&self.vote);
        out.put_log_id_opt(&self.last_log_id);
        out.put_u8(self.leadership_transfer.into());
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let request = Self {
            vote: reader.vote()?,
            last_log_id: reader.log_id_opt()?,
            leadership_transfer: reader.flag("transfer")?,
        };
        reader.end()?;
        Ok(request)
    }
}

impl Message for VoteResponse {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_vote(&self.vote);
        out.put_u8(self.vote_granted.into());
        out.put_log_id_opt(&self.last_log_id);
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let response =
            Self { vote: reader.vote()?, vote_granted: reader.flag("grant")?, last_log_id: reader.log_id_opt()? };
        reader.end()?;
        Ok(response)
    }
}

impl Message for SnapshotRequest {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_vote(&self.vote);
        out.extend(stored_snapshot::encode(&self.snapshot.meta, &self.snapshot.snapshot));
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let vote = reader.vote()?;
        let snapshot = stored_snapshot::decode(reader.rest())?;
        Ok(Self { vote, snapshot })
    }
}

impl Message for SnapshotResponse {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_vote(&self.vote);
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let vote = reader.vote()?;
        reader.end()?;
        Ok(Self { vote })
    }
}

impl Message for TransferRequest {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_vote(self.from_leader());
        out.put_u64_le(*self.to_node_id());
        out.put_log_id_opt(&self.last_log_id().copied());
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let (from, to, last) = (reader.vote()?, reader.u64()?, reader.log_id_opt()?);
        reader.end()?;
        Ok(Self::new(from, to, last))
    }
}

impl Message for TransferResponse {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Ok(()) => out.put_u8(0),
            Err(TransferError::VoteChanged { expected, actual }) => {
                out.put_u8(1);
                out.put_vote(expected);
                out.put_vote(actual);
            }
            Err(TransferError::LogNotFlushed { expected, actual }) => {
                out.put_u8(2);
                out.put_log_id_opt(expected);
                out.put_log_id_opt(actual);
            }
        }
    }

    fn get(mut reader: Reader) -> Result<Self, Malformed> {
        let response = match reader.u8()? {
            0 => Ok(()),
            1 => Err(TransferError::VoteChanged { expected: reader.vote()?, actual: reader.vote()? }),
            2 => Err(TransferError::LogNotFlushed { expected: reader.log_id_opt()?, actual: reader.log_id_opt()? }),
            _ => return Err(Malformed::Value("answer")),
        };
        reader.end()?;
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fmt::Debug;

    use super::*;
    use crate::Payload;
    use crate::raft_types::{Content, Entry, LeaderId, LogId, SnapshotMeta};

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 4, node_id: 2 }, index)
    }

    fn vote() -> Vote {
        Vote { leader_id: id(0).leader_id, committed: true }
    }

    fn round_trip<M: Message + PartialEq + Debug>(message: M) {
        let bytes = message.encode();
        assert_eq!(M::decode(bytes.clone()).unwrap(), message);
        for len in 0..bytes.len() {
            assert!(M::decode(bytes.slice(..len)).is_err(), "{message:?} cut to {len}");
        }
        let newer = [&[VERSION + 1][..], &bytes[1..]].concat();
        assert_eq!(M::decode(newer.into()).unwrap_err(), Malformed::Version(VERSION + 1, VERSION));
    }

    #[test]
    fn small_messages() {
        round_trip(AppendResponse::Success);
        round_trip(AppendResponse::PartialSuccess(Some(id(3))));
        round_trip(AppendResponse::PartialSuccess(None));
        round_trip(AppendResponse::Conflict);
        round_trip(AppendResponse::HigherVote(vote()));
        round_trip(VoteRequest::new(vote(), Some(id(8))));
        round_trip(VoteResponse::new(vote(), None, true));
        round_trip(SnapshotResponse::new(vote()));
        round_trip(TransferRequest::new(vote(), 3, Some(id(9))));
        round_trip::<TransferResponse>(Ok(()));
        round_trip::<TransferResponse>(Err(TransferError::LogNotFlushed { expected: Some(id(1)), actual: None }));
        round_trip::<TransferResponse>(Err(TransferError::VoteChanged { expected: vote(), actual: vote() }));
    }

    #[test]
    fn entries_and_snapshots() {
        let entry = |index, payload| Entry { log_id: id(index), payload };
        let request = AppendRequest {
            vote: vote(),
            prev_log_id: Some(id(6)),
            entries: vec![entry(7, Content::Blank), entry(8, Content::Normal(Payload::new("batch")))],
            leader_commit: Some(id(5)),
        };
        let bytes = request.encode();
        let back = AppendRequest::decode(bytes.clone()).unwrap();
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
        assert!(matches!(&back.entries[1].payload, Content::Normal(p) if p.bytes == "batch"));
        let mut bad = bytes.to_vec();
        *bad.last_mut().unwrap() ^= 1;
        assert_eq!(AppendRequest::decode(bad.into()).unwrap_err(), Malformed::Checksum);

        let request = SnapshotRequest {
            vote: vote(),
            snapshot: RaftSnapshot {
                meta: SnapshotMeta { last_log_id: Some(id(7)), ..SnapshotMeta::default() },
                snapshot: Bytes::from_static(b"state"),
            },
        };
        let back = SnapshotRequest::decode(request.encode()).unwrap();
        assert_eq!(back.snapshot.meta, request.snapshot.meta);
        assert_eq!(back.snapshot.snapshot, "state");
    }
}
