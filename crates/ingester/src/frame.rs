//! A log entry's content: the batches of one group commit, each with its tenant and its name; or
//! the word that the partition is sealed.
//!
//! Version 2: `version u8, kind u8`; kind 0 is followed by batches: `name 16 bytes (zeros: none),
//! tenant length u16, tenant, batch length u32, batch`; kind 1 (sealed) by nothing. Version 1 had
//! no kind and no names: `version u8`, then batches without their first 16 bytes.

use bonghwa_model::TenantId;
use bonghwa_protocol::BatchId;
use bytes::{Bytes, BytesMut};

const VERSION: u8 = 2;
const BATCHES: u8 = 0;
const SEAL: u8 = 1;
const NO_NAME: [u8; 16] = [0; 16];

/// Why an entry could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("log entry has version {0}, this build reads up to {VERSION}: upgrade this node")]
    Version(u8),
    #[error("log entry has kind {0}, which this build does not know: upgrade this node")]
    Kind(u8),
    #[error("log entry ends inside {0}")]
    Truncated(&'static str),
    #[error("log entry names a tenant that is none: {0}")]
    Tenant(String),
}

impl FrameError {
    /// Whether a newer build wrote the entry.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(self, FrameError::Version(_) | FrameError::Kind(_))
    }
}

/// One batch of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Framed {
    pub id: Option<BatchId>,
    pub tenant: TenantId,
    pub batch: Bytes,
}

/// What an entry says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Batches(Vec<Framed>),
    /// No batch after this entry is taken.
    Seal,
}

/// Bytes that a batch takes in an entry.
pub(crate) fn size(tenant: &TenantId, batch: &Bytes) -> usize {
    NO_NAME.len() + 6 + tenant.as_str().len() + batch.len()
}

pub(crate) fn encode<'a>(batches: impl Iterator<Item = (Option<BatchId>, &'a TenantId, &'a Bytes)> + Clone) -> Bytes {
    let total: usize = batches.clone().map(|(_, t, b)| size(t, b)).sum();
    let mut out = BytesMut::with_capacity(2 + total);
    out.extend_from_slice(&[VERSION, BATCHES]);
    for (id, tenant, batch) in batches {
        out.extend_from_slice(&id.map_or(NO_NAME, BatchId::to_bytes));
        // Tenant names have at most 150 bytes, batches at most wire's limit on a request.
        out.extend_from_slice(&(tenant.as_str().len() as u16).to_le_bytes());
        out.extend_from_slice(tenant.as_str().as_bytes());
        out.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        out.extend_from_slice(batch);
    }
    out.freeze()
}

/// The entry that seals a partition.
pub(crate) fn seal() -> Bytes {
    Bytes::from_static(&[VERSION, SEAL])
}

/// Reads an entry; the batches share its memory and are not decoded.
pub(crate) fn decode(entry: &Bytes) -> Result<Frame, FrameError> {
    let (named, mut at) = match (entry.first(), entry.get(1)) {
        (None, _) => return Err(FrameError::Truncated("its version")),
        (Some(1), _) => (false, 1),
        (Some(&VERSION), Some(&SEAL)) => return Ok(Frame::Seal),
        (Some(&VERSION), Some(&BATCHES)) => (true, 2),
        (Some(&VERSION), Some(kind)) => return Err(FrameError::Kind(*kind)),
        (Some(&VERSION), None) => return Err(FrameError::Truncated("its kind")),
        (Some(other), _) => return Err(FrameError::Version(*other)),
    };
    let mut take = |len: usize, what| {
        let part = (entry.len() - at >= len).then(|| entry.slice(at..at + len)).ok_or(FrameError::Truncated(what));
        at += len;
        part.map(|part| (part, at == entry.len()))
    };
    let mut out = Vec::new();
    let mut done = entry.len() == if named { 2 } else { 1 };
    while !done {
        let id = if named { BatchId::from_bytes(&take(NO_NAME.len(), "a name")?.0) } else { None };
        let (len, _) = take(2, "a tenant's length")?;
        let (name, _) = take(u16::from_le_bytes([len[0], len[1]]) as usize, "a tenant")?;
        let name = String::from_utf8_lossy(&name);
        let tenant = TenantId::new(&name).map_err(|e| FrameError::Tenant(e.to_string()))?;
        let (len, _) = take(4, "a batch's length")?;
        let batch;
        (batch, done) = take(u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize, "a batch")?;
        out.push(Framed { id, tenant, batch });
    }
    Ok(Frame::Batches(out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn framed(id: u128, tenant: &str, batch: &'static [u8]) -> Framed {
        let id = (id > 0).then(|| BatchId::new(id));
        Framed { id, tenant: TenantId::new(tenant).unwrap(), batch: Bytes::from_static(batch) }
    }

    #[test]
    fn batches_survive_and_cuts_are_errors() {
        let batches = vec![framed(7, "a", b"one"), framed(0, "team-b", b"")];
        let entry = encode(batches.iter().map(|f| (f.id, &f.tenant, &f.batch)));
        assert_eq!(decode(&entry).unwrap(), Frame::Batches(batches));
        for cut in 3..entry.len() {
            let result = decode(&entry.slice(..cut));
            // A cut between two batches is an entry of the first alone; the log's checksum catches it.
            let first = |frame| matches!(frame, Frame::Batches(batches) if batches.len() == 1);
            assert!(result.is_err() || first(result.unwrap()), "cut at {cut}");
        }
        assert_eq!(decode(&seal()), Ok(Frame::Seal));
    }

    #[test]
    fn other_versions() {
        let old = b"\x01\x01\x00a\x03\x00\x00\x00one".as_slice();
        assert_eq!(decode(&Bytes::from_static(old)), Ok(Frame::Batches(vec![framed(0, "a", b"one")])));
        assert_eq!(decode(&Bytes::from_static(&[1])), Ok(Frame::Batches(vec![])));
        for newer in [&[7u8][..], &[2, 9]] {
            assert!(decode(&Bytes::copy_from_slice(newer)).unwrap_err().is_newer(), "{newer:?}");
        }
    }
}
