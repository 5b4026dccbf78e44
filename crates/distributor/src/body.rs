//! Request bodies, read within limits: a body never takes more memory than it is allowed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bonghwa_cluster::seam;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::metrics;

/// Memory that all requests of a node share.
#[derive(Clone)]
pub(crate) struct Inflight {
    used: Arc<AtomicUsize>,
    limit: usize,
}

/// A part of the shared memory; given back when dropped.
pub(crate) struct Held {
    inflight: Inflight,
    bytes: usize,
}

impl Inflight {
    pub(crate) fn new(limit: usize) -> Self {
        Inflight { used: Arc::default(), limit }
    }

    pub(crate) fn hold(&self) -> Held {
        Held { inflight: self.clone(), bytes: 0 }
    }
}

impl Held {
    /// Takes more of it; false when there is no more.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let before = self.inflight.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        metrics::INFLIGHT_BYTES.set((before + bytes) as i64);
        before + bytes <= self.inflight.limit
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.inflight.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the body is over the limit of {limit} bytes: send smaller batches")]
    TooLarge { limit: usize },
    #[error("the node holds as many request bytes as it may: try again")]
    Overloaded,
    #[error("the body ended early: {0}")]
    Broken(String),
    #[error("the body did not arrive within {0:?}: send smaller batches, or compress them")]
    Slow(Duration),
}

/// Reads a body of at most `limit` bytes within a time: what stalls holds memory that others wait for.
pub(crate) async fn read(
    body: axum::body::Body,
    content_length: Option<u64>,
    limit: usize,
    timeout: Duration,
    held: &mut Held,
) -> Result<Bytes, BodyError> {
    let read = read_parts(body, content_length, limit, timeout / 10, held);
    seam::timeout(timeout, read).await.unwrap_or(Err(BodyError::Slow(timeout)))
}

async fn read_parts(
    mut body: axum::body::Body,
    content_length: Option<u64>,
    limit: usize,
    patience: Duration,
    held: &mut Held,
) -> Result<Bytes, BodyError> {
    if content_length.is_some_and(|len| len > limit as u64) {
        return Err(BodyError::TooLarge { limit });
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = seam::timeout(patience, body.frame()).await.map_err(|_| BodyError::Slow(patience))? {
        let frame = frame.map_err(|e| BodyError::Broken(e.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        if !held.grow(data.len()) {
            return Err(BodyError::Overloaded);
        }
        let so_far = first.as_ref().map_or(0, Bytes::len).max(rest.len());
        if so_far + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        match &first {
            // Most bodies are one or two frames; a single frame is not copied.
            None => first = Some(data),
            Some(head) => {
                if rest.is_empty() {
                    rest.reserve(content_length.map_or(2 * head.len(), |len| len as usize).min(limit));
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}
