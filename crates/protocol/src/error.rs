//! What can go wrong between roles, in the same words with and without a socket.

use std::error::Error;
use std::time::Duration;

use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Code, ConnectError, Status, TimeoutExpired};

const KIND: &str = "bonghwa-error";
const RETRY_AFTER: &str = "bonghwa-retry-after-ms";
const LEADER: &str = "bonghwa-leader";
/// Percent-encoded at worst to three times as much, this stays below HTTP/2's
/// usual 16 KiB for all headers.
const MAX_MESSAGE: usize = 4096;

/// A call to another role that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RpcError {
    /// What the caller can do about it.
    pub kind: RpcErrorKind,
    /// A sentence for a person.
    pub message: String,
}

/// What a caller can do about a failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcErrorKind {
    /// The callee has more work than it holds in memory; nothing was done.
    Overloaded {
        /// When to come back, where the callee knows.
        retry_after: Option<Duration>,
    },
    /// Only the leader may do this; nothing was done.
    NotLeader {
        /// HOST:PORT of the leader, where the callee knows.
        leader: Option<String>,
    },
    /// No connection to the callee came about; nothing was done.
    Unreachable,
    /// The callee stopped or the connection broke: it may have been done.
    Unavailable,
    /// The partition, node or object named does not exist there.
    NotFound,
    /// The partition takes no more batches, and does not have this one: nothing was done. A newer
    /// ring names another partition.
    Sealed,
    /// The watermark lies below what is still kept, or no longer is the
    /// partition's: take a newer catalog.
    StaleWatermark,
    /// The request can never succeed as it is.
    Invalid,
    /// A fault of the callee.
    Internal,
    /// No answer in time: it may have been done.
    Timeout,
}

impl RpcError {
    /// An error of this kind.
    pub fn new(kind: RpcErrorKind, message: impl Into<String>) -> Self {
        RpcError { kind, message: message.into() }
    }

    /// The request can never succeed as it is.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(RpcErrorKind::Invalid, message)
    }

    /// A fault of the callee.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(RpcErrorKind::Internal, message)
    }

    /// The thing named does not exist there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(RpcErrorKind::NotFound, message)
    }

    /// The callee stopped.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(RpcErrorKind::Unavailable, message)
    }

    /// No answer in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(RpcErrorKind::Timeout, message)
    }

    /// Whether the same request may succeed later or elsewhere. It may have been
    /// done already: a request that must not be done twice is repeated only where
    /// [`had_no_effect`](Self::had_no_effect) says so as well.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            RpcErrorKind::Overloaded { .. }
            | RpcErrorKind::NotLeader { .. }
            | RpcErrorKind::Unreachable
            | RpcErrorKind::Unavailable
            | RpcErrorKind::Timeout => true,
            // A newer catalog makes it another request.
            RpcErrorKind::StaleWatermark | RpcErrorKind::Sealed => false,
            RpcErrorKind::NotFound | RpcErrorKind::Invalid | RpcErrorKind::Internal => false,
        }
    }

    /// Whether the callee surely did nothing.
    pub fn had_no_effect(&self) -> bool {
        match self.kind {
            RpcErrorKind::Overloaded { .. }
            | RpcErrorKind::NotLeader { .. }
            | RpcErrorKind::Unreachable
            | RpcErrorKind::NotFound
            | RpcErrorKind::Sealed
            | RpcErrorKind::StaleWatermark
            | RpcErrorKind::Invalid => true,
            RpcErrorKind::Unavailable | RpcErrorKind::Internal | RpcErrorKind::Timeout => false,
        }
    }
}

impl RpcErrorKind {
    /// The name of the kind: on the wire, in metrics and in logs.
    pub fn as_str(&self) -> &'static str {
        match self {
            RpcErrorKind::Overloaded { .. } => "overloaded",
            RpcErrorKind::NotLeader { .. } => "not_leader",
            RpcErrorKind::Unreachable => "unreachable",
            RpcErrorKind::Unavailable => "unavailable",
            RpcErrorKind::NotFound => "not_found",
            RpcErrorKind::Sealed => "sealed",
            RpcErrorKind::StaleWatermark => "stale_watermark",
            RpcErrorKind::Invalid => "invalid",
            RpcErrorKind::Internal => "internal",
            RpcErrorKind::Timeout => "timeout",
        }
    }

    /// The code that a caller which knows no Bonghwa reads.
    fn code(&self) -> Code {
        match self {
            RpcErrorKind::Overloaded { .. } => Code::ResourceExhausted,
            RpcErrorKind::NotLeader { .. } | RpcErrorKind::Unreachable | RpcErrorKind::Unavailable => Code::Unavailable,
            RpcErrorKind::NotFound => Code::NotFound,
            RpcErrorKind::StaleWatermark | RpcErrorKind::Sealed => Code::FailedPrecondition,
            RpcErrorKind::Invalid => Code::InvalidArgument,
            RpcErrorKind::Internal => Code::Internal,
            RpcErrorKind::Timeout => Code::DeadlineExceeded,
        }
    }

    fn from_metadata(metadata: &MetadataMap) -> Option<Self> {
        let text = |name| metadata.get(name).and_then(|v: &AsciiMetadataValue| v.to_str().ok());
        Some(match text(KIND)? {
            "overloaded" => {
                let millis = text(RETRY_AFTER).and_then(|v| v.parse().ok());
                RpcErrorKind::Overloaded { retry_after: millis.map(Duration::from_millis) }
            }
            "not_leader" => RpcErrorKind::NotLeader { leader: text(LEADER).map(str::to_owned) },
            "unreachable" => RpcErrorKind::Unreachable,
            "unavailable" => RpcErrorKind::Unavailable,
            "not_found" => RpcErrorKind::NotFound,
            "sealed" => RpcErrorKind::Sealed,
            "stale_watermark" => RpcErrorKind::StaleWatermark,
            "invalid" => RpcErrorKind::Invalid,
            "internal" => RpcErrorKind::Internal,
            "timeout" => RpcErrorKind::Timeout,
            _ => return None,
        })
    }

    /// For statuses that the transport made itself, or a newer Bonghwa with a kind
    /// that this build does not know.
    fn from_status(status: &Status) -> Self {
        if caused_by::<ConnectError>(status) {
            return RpcErrorKind::Unreachable;
        }
        if caused_by::<TimeoutExpired>(status) {
            return RpcErrorKind::Timeout;
        }
        // A status with a cause was made here of a broken connection; one that the
        // callee sent has none.
        if status.source().is_some() {
            return RpcErrorKind::Unavailable;
        }
        match status.code() {
            Code::Unavailable | Code::Cancelled | Code::Aborted | Code::Unknown => RpcErrorKind::Unavailable,
            // What the transport says of a message over its limit; overload of ours
            // carries its kind.
            Code::ResourceExhausted | Code::OutOfRange => RpcErrorKind::Invalid,
            Code::NotFound => RpcErrorKind::NotFound,
            Code::FailedPrecondition => RpcErrorKind::StaleWatermark,
            Code::InvalidArgument => RpcErrorKind::Invalid,
            Code::DeadlineExceeded => RpcErrorKind::Timeout,
            _ => RpcErrorKind::Internal,
        }
    }
}

fn caused_by<E: Error + 'static>(status: &Status) -> bool {
    causes(status).any(|error| error.is::<E>())
}

fn causes(status: &Status) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(status.source(), |error| (**error).source())
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        let mut metadata = MetadataMap::new();
        metadata.insert(KIND, AsciiMetadataValue::from_static(error.kind.as_str()));
        match &error.kind {
            RpcErrorKind::Overloaded { retry_after: Some(after) } => {
                let millis = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                metadata.insert(RETRY_AFTER, AsciiMetadataValue::from(millis));
            }
            RpcErrorKind::NotLeader { leader: Some(leader) } => {
                // An address that is no header value is no address either: leave it out.
                if let Ok(value) = leader.parse() {
                    metadata.insert(LEADER, value);
                }
            }
            _ => {}
        }
        let mut message = error.message;
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        Status::with_metadata(error.kind.code(), message, metadata)
    }
}

impl From<Status> for RpcError {
    fn from(status: Status) -> Self {
        let kind = RpcErrorKind::from_metadata(status.metadata()).unwrap_or_else(|| RpcErrorKind::from_status(&status));
        let mut message = match status.message() {
            "" => format!("the call failed with the gRPC status {:?}", status.code()),
            message => message.to_owned(),
        };
        // Of a broken connection the status says only that it broke; why is in its causes.
        for cause in causes(&status).map(ToString::to_string) {
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
        RpcError { kind, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_a_status() {
        for kind in [
            RpcErrorKind::Overloaded { retry_after: None },
            RpcErrorKind::Overloaded { retry_after: Some(Duration::from_millis(1500)) },
            RpcErrorKind::NotLeader { leader: None },
            RpcErrorKind::NotLeader { leader: Some("10.0.0.7:7801".into()) },
            RpcErrorKind::Unreachable,
            RpcErrorKind::Unavailable,
            RpcErrorKind::NotFound,
            RpcErrorKind::StaleWatermark,
            RpcErrorKind::Invalid,
            RpcErrorKind::Internal,
            RpcErrorKind::Timeout,
        ] {
            let error = RpcError::new(kind, "partition is 봉화: choose another");
            assert_eq!(RpcError::from(Status::from(error.clone())), error);
        }
    }

    #[test]
    fn foreign_statuses_have_a_kind() {
        for (status, kind) in [
            (Status::unavailable("gone"), RpcErrorKind::Unavailable),
            (Status::resource_exhausted("too large"), RpcErrorKind::Invalid),
            (Status::deadline_exceeded("slow"), RpcErrorKind::Timeout),
            (Status::unimplemented("old"), RpcErrorKind::Internal),
        ] {
            assert_eq!(RpcError::from(status).kind, kind);
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let status = Status::from(RpcError::internal("봉".repeat(3000)));
        assert!(status.message().len() <= MAX_MESSAGE && status.message().len() > MAX_MESSAGE - 3);
    }
}
