//! What can go wrong with a query, as a caller can act on it.

use crate::syntax::Span;

/// A query that is not PromQL. Shown as Prometheus shows it: `1:8: parse error: ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {message}")]
pub struct ParseError {
    /// What was found and what was expected.
    pub message: String,
    /// The bytes of the query it is about.
    pub span: Span,
    /// Line of the span's start, from 1.
    pub line: usize,
    /// Column of the span's start in bytes, from 1.
    pub column: usize,
}

impl ParseError {
    /// An error about `span` of `query`.
    pub(crate) fn new(query: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = span.position(query);
        Self { message: message.into(), span, line, column }
    }
}

/// Why a query has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The text is not a query: HTTP 400, `bad_data`.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Start, end or step make no sense: HTTP 400, `bad_data`.
    #[error("{0}")]
    Params(String),
    /// The query cannot be evaluated over these series: HTTP 422, `execution`.
    #[error("{0}")]
    Execution(String),
    /// The query would need more than it may have: HTTP 422, `execution`.
    #[error(
        "the query needs more {what} than the {limit} it may have, {reached} so far; narrow its selectors or its time range"
    )]
    Limit {
        /// `samples`, `series` or `points`.
        what: &'static str,
        /// How many it had when it was ended.
        reached: u64,
        /// How many there may be.
        limit: u64,
    },
    /// What all queries together may keep in memory, so many bytes, is kept: HTTP 503.
    #[error("the queries that run now hold the {0} bytes of memory that all may hold together: try again later")]
    Crowded(u64),
    /// The caller's flag was raised: HTTP 503, `canceled`.
    #[error("the query was canceled")]
    Canceled,
}

impl Error {
    pub(crate) fn execution(message: impl Into<String>) -> Self {
        Self::Execution(message.into())
    }
}
