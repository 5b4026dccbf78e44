//! What a log carries and what stands behind it: payloads, and the state they are applied to.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// A node's number, unique in the cluster and stable over restarts.
pub type NodeId = u64;

/// Any error of a state machine.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One log entry's content.
#[derive(Clone)]
pub struct Payload {
    /// What is stored and replicated, as it is.
    pub bytes: Bytes,
    /// Rides along on the node that appended the entry, so that the leader does not decode what
    /// it just encoded. `None` after replay or replication.
    pub decoded: Option<Arc<dyn Any + Send + Sync>>,
    /// The record around `bytes`, where it came as one: it is stored as it came.
    pub(crate) record: Option<Bytes>,
}

impl Payload {
    /// A payload of bytes alone.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), decoded: None, record: None }
    }

    /// A payload with its decoded form, for the `apply` of the node that appends it.
    pub fn with_decoded(bytes: impl Into<Bytes>, decoded: Arc<dyn Any + Send + Sync>) -> Self {
        Self { bytes: bytes.into(), decoded: Some(decoded), record: None }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decoded = if self.decoded.is_some() { ", decoded" } else { "" };
        write!(f, "Payload({} bytes{decoded})", self.bytes.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}

/// State that covers every entry up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last position the state covers, inclusive. 0: covers nothing.
    pub position: u64,
    /// The state itself. For a partition a few bytes: everything up to the position is in object
    /// storage and in the catalog.
    pub data: Bytes,
}

/// What a group's entries are applied to, on every node of the group.
///
/// It lives in memory: after a start the log calls [`restore`](Self::restore) with the last
/// trimmed snapshot, if there is one, and then [`apply`](Self::apply) for everything beyond it.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies one committed entry and returns the response for the appender.
    ///
    /// Called once per entry in position order, never concurrently for one group. Positions have
    /// gaps: the log's own entries consume positions but are not given. Runs on an async worker,
    /// so it must not wait for I/O.
    fn apply(&self, position: u64, payload: &Payload) -> Bytes;

    /// State that covers everything up to a position. Partitions: the watermark. Meta: the full
    /// state. Called by [`Group::trim`](crate::Group::trim) on a blocking thread; a lower position
    /// than an earlier one is ignored.
    fn snapshot(&self) -> Result<Snapshot, BoxError>;

    /// Replaces the state by a snapshot: at start, or on a node that fell behind the point up to
    /// which the others trimmed. Everything up to `position` will not be applied.
    fn restore(&self, position: u64, data: Bytes) -> Result<(), BoxError>;
}
