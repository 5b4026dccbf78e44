//! A log entry's content: the batches of one group commit, each with its tenant.
//!
//! `version u8`, then per batch `tenant length u16, tenant, batch length u32, batch`.

use bonghwa_model::TenantId;
use bytes::{Bytes, BytesMut};

const VERSION: u8 = 1;

/// Why an entry could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FrameError {
    #[error("log entry has version {0}, this build reads up to {VERSION}: upgrade this node")]
    Version(u8),
    #[error("log entry ends inside {0}")]
    Truncated(&'static str),
    #[error("log entry names a tenant that is none: {0}")]
    Tenant(String),
}

/// Bytes that a batch takes in an entry.
pub(crate) fn size(tenant: &TenantId, batch: &Bytes) -> usize {
    6 + tenant.as_str().len() + batch.len()
}

pub(crate) fn encode<'a>(batches: impl Iterator<Item = (&'a TenantId, &'a Bytes)> + Clone) -> Bytes {
    let total: usize = batches.clone().map(|(t, b)| size(t, b)).sum();
    let mut out = BytesMut::with_capacity(1 + total);
    out.extend_from_slice(&[VERSION]);
    for (tenant, batch) in batches {
        // Tenant names have at most 150 bytes, batches at most wire's limit on a request.
        out.extend_from_slice(&(tenant.as_str().len() as u16).to_le_bytes());
        out.extend_from_slice(tenant.as_str().as_bytes());
        out.extend_from_slice(&(batch.len() as u32).to_le_bytes());
        out.extend_from_slice(batch);
    }
    out.freeze()
}

pub(crate) fn decode(entry: &Bytes) -> Result<Vec<(TenantId, Bytes)>, FrameError> {
    let mut at = 1;
    match entry.first() {
        Some(&VERSION) => {}
        Some(other) => return Err(FrameError::Version(*other)),
        None => return Err(FrameError::Truncated("its version")),
    }
    let mut take = |len: usize, what| {
        let end = at + len;
        if end > entry.len() {
            return Err(FrameError::Truncated(what));
        }
        let part = entry.slice(at..end);
        at = end;
        Ok((part, at == entry.len()))
    };
    let mut out = Vec::new();
    if entry.len() == 1 {
        return Ok(out);
    }
    loop {
        let (len, _) = take(2, "a tenant's length")?;
        let (name, _) = take(u16::from_le_bytes([len[0], len[1]]) as usize, "a tenant")?;
        let name = String::from_utf8_lossy(&name);
        let tenant = TenantId::new(&name).map_err(|e| FrameError::Tenant(e.to_string()))?;
        let (len, _) = take(4, "a batch's length")?;
        let (batch, done) = take(u32::from_le_bytes([len[0], len[1], len[2], len[3]]) as usize, "a batch")?;
        out.push((tenant, batch));
        if done {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn batches_survive_and_cuts_are_errors() {
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("team-b").unwrap());
        let (one, two) = (Bytes::from_static(b"one"), Bytes::from_static(b""));
        let entry = encode([(&a, &one), (&b, &two)].into_iter());
        assert_eq!(decode(&entry).unwrap(), [(a, one), (b, two)]);
        for cut in 2..entry.len() {
            let result = decode(&entry.slice(..cut));
            // A cut between two batches is an entry of the first alone; the log's checksum catches it.
            assert!(result.is_err() || result.unwrap().len() == 1, "cut at {cut}");
        }
        assert_eq!(decode(&Bytes::from_static(&[7])), Err(FrameError::Version(7)));
    }
}
