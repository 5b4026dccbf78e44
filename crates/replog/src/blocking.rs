//! Work that waits for the disk, kept off the async workers: this crate's one door to Tokio's
//! blocking pool. openraft's own would start a thread per call, and not end with the runtime.
#![allow(clippy::disallowed_methods)]

use tokio::task::JoinError;

/// Runs work on a thread that may block. Fails if the runtime ends before or the work panics.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    tokio::task::spawn_blocking(work).await
}
