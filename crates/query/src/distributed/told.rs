//! Errors that cross nodes. What `datafusion-distributed` does not know of it sends as
//! text, so the kind of our own errors is written into theirs.

use std::fmt;
use std::time::Duration;

use crate::QueryError;

/// Marks the kind and the text of an error, wherever others put words around it.
const MARK: &str = "\u{1}bonghwa\u{1}";

/// An error that keeps its kind when it is sent as text.
#[derive(Clone, Debug)]
pub(crate) struct Told(pub(crate) QueryError);

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            QueryError::Moved(what) => write!(f, "{MARK}moved{MARK}{what}"),
            QueryError::Unavailable(what) => write!(f, "{MARK}unavailable{MARK}{what}"),
            // The asker may have room.
            QueryError::Crowded(_) => write!(f, "{MARK}unavailable{MARK}a querier has no memory left: {}", self.0),
            QueryError::Execution(what) => write!(f, "{MARK}execution{MARK}{what}"),
            QueryError::Timeout(after) => write!(f, "{MARK}timeout{MARK}{}", after.as_millis()),
            other => write!(f, "{MARK}internal{MARK}{other}"),
        }
    }
}

impl std::error::Error for Told {}

impl From<Told> for datafusion::common::DataFusionError {
    fn from(told: Told) -> Self {
        datafusion::common::DataFusionError::External(Box::new(told))
    }
}

/// The error that another node told of, if this is one.
pub(crate) fn read(text: &str) -> Option<QueryError> {
    let (_, told) = text.split_once(MARK)?;
    let (kind, what) = told.split_once(MARK)?;
    Some(match kind {
        "moved" => QueryError::Moved(what.to_owned()),
        "unavailable" => QueryError::Unavailable(what.to_owned()),
        "execution" => QueryError::Execution(what.to_owned()),
        "timeout" => QueryError::Timeout(Duration::from_millis(what.parse().ok()?)),
        _ => QueryError::Internal(what.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_survive_as_text() {
        for error in [
            QueryError::Moved("the watermark is behind".into()),
            QueryError::Unavailable("nobody leads".into()),
            QueryError::Execution("division by zero".into()),
            QueryError::Timeout(Duration::from_millis(1500)),
            QueryError::Internal("a fault".into()),
        ] {
            let text = format!("External error: {}", Told(error.clone()));
            assert_eq!(read(&text), Some(error));
        }
        assert_eq!(read("External error: no connection"), None);
    }
}
