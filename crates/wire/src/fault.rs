//! What went wrong inside a message, on its way up to the request.

use crate::WireError;
use crate::decoded::Reason;

/// Results of the walkers; boxed, so that the good case stays in registers.
pub(crate) type Result<T> = std::result::Result<T, Box<Fault>>;

/// A defect and the path to it, which grows at the front on the way up.
#[derive(Debug)]
pub(crate) struct Fault {
    /// Field path below the current message.
    pub path: String,
    /// What is wrong, as the sentence that follows the path.
    pub text: String,
    /// What it means for the rest.
    pub kind: FaultKind,
}

/// What a defect means for the rest of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The bytes make no sense from here on: the request is refused. Holds the address of the defect.
    Malformed(usize),
    /// This record is rejected, its siblings are not.
    Rejected(Reason),
    /// The request is over this limit.
    TooLarge(usize, &'static str),
}

impl Fault {
    /// The request makes no sense at `at`.
    #[cold]
    pub fn malformed(at: &[u8], path: impl Into<String>, text: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { path: path.into(), text: text.into(), kind: FaultKind::Malformed(at.as_ptr() as usize) })
    }

    /// The record is rejected.
    #[cold]
    pub fn rejected(reason: Reason, path: impl Into<String>, text: impl Into<String>) -> Box<Fault> {
        Box::new(Fault { path: path.into(), text: text.into(), kind: FaultKind::Rejected(reason) })
    }

    /// The request is over a limit.
    #[cold]
    pub fn too_large(what: impl Into<String>, limit: usize, setting: &'static str) -> Box<Fault> {
        Box::new(Fault { path: String::new(), text: what.into(), kind: FaultKind::TooLarge(limit, setting) })
    }

    /// Whether it concerns one record and not the request.
    pub fn is_rejection(&self) -> bool {
        matches!(self.kind, FaultKind::Rejected(_))
    }

    /// Puts a segment before the path.
    #[cold]
    pub fn under(mut self: Box<Self>, segment: impl std::fmt::Display) -> Box<Fault> {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{segment}{dot}{}", self.path);
        self
    }

    /// The error of the whole request that began at `request`.
    pub fn into_error(self, request: &[u8]) -> WireError {
        match self.kind {
            FaultKind::TooLarge(limit, setting) => WireError::TooLarge { what: self.text, limit, setting },
            FaultKind::Malformed(at) => WireError::Malformed {
                path: if self.path.is_empty() { "the request".to_owned() } else { self.path },
                offset: at.saturating_sub(request.as_ptr() as usize).min(request.len()),
                detail: self.text,
            },
            // Rejections are counted below the request; one that got here is the request's own.
            FaultKind::Rejected(_) => WireError::Malformed { path: self.path, offset: 0, detail: self.text },
        }
    }
}
