//! The state as bytes: a version byte, then length-delimited messages: the header,
//! and the catalog as the pieces of a snapshot.

use bonghwa_cluster::Follower;
use bonghwa_protocol::v1;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::MetaError;
use crate::state::{LastFlush, State};

/// The newest version of the format that this build reads, and the one it writes.
pub(crate) const VERSION: u8 = 2;
/// Pieces keep the copies made while encoding small.
const PIECE_BYTES: usize = 1024 * 1024;

/// What the state has beside the catalog.
#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    /// By signal, in `Signal::ALL`'s order.
    #[prost(uint64, repeated, tag = "1")]
    last_number: Vec<u64>,
    #[prost(message, repeated, tag = "2")]
    last_flush: Vec<StoredFlush>,
    /// From version 2 on.
    #[prost(message, repeated, tag = "10")]
    leases: Vec<StoredLease>,
    #[prost(uint64, tag = "11")]
    last_delete: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredLease {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint64, tag = "2")]
    holder: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StoredFlush {
    #[prost(string, tag = "1")]
    partition: String,
    #[prost(uint64, tag = "2")]
    from: u64,
    #[prost(uint64, tag = "3")]
    to: u64,
    #[prost(string, repeated, tag = "4")]
    paths: Vec<String>,
}

impl State {
    /// The state as bytes that [`decode`](Self::decode) reads.
    pub fn encode(&self) -> Bytes {
        let header = Header {
            last_number: self.last_number.to_vec(),
            last_flush: self
                .last_flush
                .iter()
                .map(|(partition, flush)| StoredFlush {
                    partition: partition.clone(),
                    from: flush.from,
                    to: flush.to,
                    paths: flush.paths.clone(),
                })
                .collect(),
            leases: self
                .leases
                .iter()
                .map(|(name, holder)| StoredLease { name: name.clone(), holder: *holder })
                .collect(),
            last_delete: self.last_delete,
        };
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        put(&mut out, &header);
        for piece in self.catalog.snapshot_pieces(PIECE_BYTES) {
            put(&mut out, &piece);
        }
        out.freeze()
    }

    /// The state that [`encode`](Self::encode) wrote, in this release or an older one.
    pub fn decode(mut bytes: Bytes) -> Result<Self, MetaError> {
        if bytes.is_empty() {
            return Err(MetaError::Damaged("it is empty".into()));
        }
        let version = bytes.get_u8();
        if version > VERSION {
            return Err(MetaError::Version(version));
        }
        let damaged = |error: prost::DecodeError| MetaError::Damaged(error.to_string());
        let header = Header::decode_length_delimited(&mut bytes).map_err(damaged)?;
        let mut follower = Follower::default();
        let mut complete = false;
        while bytes.has_remaining() {
            let piece = v1::Snapshot::decode_length_delimited(&mut bytes).map_err(damaged)?;
            let event = v1::Event { version: piece.version, kind: Some(v1::event::Kind::Snapshot(piece)) };
            complete = follower.take(&event).map_err(|e| MetaError::Damaged(e.to_string()))?.is_some();
        }
        if !complete {
            return Err(MetaError::Damaged("its end is missing".into()));
        }
        let mut last_number = [0; 3];
        for (slot, number) in last_number.iter_mut().zip(header.last_number) {
            *slot = number;
        }
        let last_flush = header
            .last_flush
            .into_iter()
            .map(|f| (f.partition, LastFlush { from: f.from, to: f.to, paths: f.paths }))
            .collect();
        Ok(State {
            catalog: (**follower.current()).clone(),
            last_number,
            last_flush,
            leases: header.leases.into_iter().map(|lease| (lease.name, lease.holder)).collect(),
            last_delete: header.last_delete,
        })
    }
}

fn put(out: &mut BytesMut, message: &impl Message) {
    out.reserve(message.encoded_len() + 10);
    // BytesMut grows: the only error, too little room, cannot be.
    let _ = message.encode_length_delimited(out);
}
