//! What can go wrong in keeping and using a copy of the catalog.

use std::time::Duration;

/// Why the copy of the catalog is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// A change does not follow the copy's version: the copy needs a new snapshot.
    #[error("the catalog is at version {have} and got version {got}: it needs a new snapshot")]
    Gap {
        /// The copy's version.
        have: u64,
        /// The change's.
        got: u64,
    },
    /// A snapshot's piece does not belong to the one before.
    #[error("a snapshot of version {have} got a piece of version {got}: it needs to start again")]
    Piece {
        /// The version of the pieces before.
        have: u64,
        /// This piece's.
        got: u64,
    },
    /// An event has a kind that this build does not know.
    #[error("meta sent an event of version {0} that this build cannot read: upgrade this node")]
    UnknownEvent(u64),
    /// What was waited for did not come.
    #[error("the catalog, now at version {version}, did not come to the state waited for within {after:?}")]
    Timeout {
        /// The version at the end of the wait.
        version: u64,
        /// How long it was waited.
        after: Duration,
    },
}
