//! Why a block could not be written or read.

use object_store::path::Path;
use parquet::errors::ParquetError;

/// What went wrong, with which object, and whether trying again can help.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The object store failed.
    #[error("object store failed on block {path}: {source}")]
    Store {
        /// Object path.
        path: String,
        /// The store's own words.
        source: object_store::Error,
    },
    /// The bytes are no block, or a broken one.
    #[error("block {path} is damaged: {what}")]
    Damaged {
        /// Object path.
        path: String,
        /// What was found.
        what: String,
    },
    /// Written by a newer Bonghwa.
    #[error("block {path} has version {found}, this build reads up to {supported}: upgrade this node")]
    Version {
        /// Object path.
        path: String,
        /// Version found.
        found: u32,
        /// Newest version that this build reads.
        supported: u32,
    },
    /// The caller asked for something that no block has.
    #[error("{0}")]
    Request(String),
    /// Encoding rows failed.
    #[error("writing block {path} failed: {what}")]
    Write {
        /// Object path; empty for rows that are not meant for one.
        path: String,
        /// What failed.
        what: String,
    },
}

impl BlockError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            BlockError::Store { source, .. } => !matches!(
                source,
                object_store::Error::NotFound { .. }
                    | object_store::Error::InvalidPath { .. }
                    | object_store::Error::NotSupported { .. }
                    | object_store::Error::NotImplemented { .. }
                    | object_store::Error::PermissionDenied { .. }
                    | object_store::Error::Unauthenticated { .. }
                    | object_store::Error::UnknownConfigurationKey { .. }
            ),
            _ => false,
        }
    }

    pub(crate) fn damaged(path: impl ToString, what: impl ToString) -> Self {
        BlockError::Damaged { path: path.to_string(), what: what.to_string() }
    }

    pub(crate) fn write(what: impl ToString) -> Self {
        BlockError::Write { path: String::new(), what: what.to_string() }
    }

    pub(crate) fn store(path: &Path, source: object_store::Error) -> Self {
        BlockError::Store { path: path.to_string(), source }
    }

    /// Tells a failing store from damaged bytes in what the Parquet reader reports.
    pub(crate) fn parquet(path: &Path, error: ParquetError) -> Self {
        match error {
            ParquetError::External(source) => match source.downcast::<object_store::Error>() {
                Ok(source) => BlockError::store(path, *source),
                Err(other) => BlockError::damaged(path, other),
            },
            other => BlockError::damaged(path, other),
        }
    }

    /// Names the object in an error that was made without one.
    pub(crate) fn at(self, at: impl ToString) -> Self {
        match self {
            BlockError::Damaged { path, what } if path.is_empty() => BlockError::Damaged { path: at.to_string(), what },
            BlockError::Write { path, what } if path.is_empty() => BlockError::Write { path: at.to_string(), what },
            BlockError::Version { path, found, supported } if path.is_empty() => {
                BlockError::Version { path: at.to_string(), found, supported }
            }
            other => other,
        }
    }
}
