//! What can go wrong in keeping the catalog. A command that the catalog does not
//! allow is no error but a rejection in its result.

use bonghwa_protocol::{RpcError, RpcErrorKind};

/// Why meta could not start, store or answer.
#[derive(Debug, thiserror::Error)]
pub enum MetaError {
    /// The replicated log.
    #[error("meta's log: {0}")]
    Log(#[from] bonghwa_replog::Error),
    /// A stored state of a newer release.
    #[error("meta's stored state has version {0}, this build reads up to {known}: upgrade this node", known = crate::stored::VERSION)]
    Version(u8),
    /// A stored state that is damaged.
    #[error("meta's stored state is damaged: {0}; restore it from another meta node or with `bonghwa meta rebuild`")]
    Damaged(String),
    /// The log holds a command that only a newer release knows.
    #[error(
        "meta's log holds at position {0} a command that this build does not know: upgrade this node, its state is complete again after the restart"
    )]
    UnknownCommand(u64),
}

impl From<MetaError> for RpcError {
    fn from(error: MetaError) -> Self {
        let kind = match &error {
            MetaError::Log(log) => log_kind(log),
            MetaError::Version(_) | MetaError::Damaged(_) | MetaError::UnknownCommand(_) => RpcErrorKind::Internal,
        };
        RpcError::new(kind, error.to_string())
    }
}

fn log_kind(error: &bonghwa_replog::Error) -> RpcErrorKind {
    use bonghwa_replog::Error;
    match error {
        Error::NotLeader { leader, .. } => {
            RpcErrorKind::NotLeader { leader: leader.as_ref().map(|(_, address)| address.clone()) }
        }
        Error::Timeout { .. } => RpcErrorKind::Timeout,
        Error::Uncertain { .. } | Error::ShutDown { .. } | Error::UnknownGroup { .. } => RpcErrorKind::Unavailable,
        _ => RpcErrorKind::Internal,
    }
}
