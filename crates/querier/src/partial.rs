//! How an answer says that it is partial: a header names what is left out. Either partitions whose
//! newest rows are not in it because no leader can be reached; or the catalog, of which this querier's
//! copy is old, so that partitions and blocks born since are unknown to it. What a copy knows to lie
//! in blocks is never missing.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names what is left out, separated by commas. Not sent with a whole answer.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-bonghwa-partial");

/// What an answer may lack.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Partial {
    /// Partitions without a leader.
    pub missing: Vec<String>,
    /// The age of a copy of the catalog that is too old.
    pub stale: Option<Duration>,
}

impl Partial {
    /// Whether nothing is left out.
    pub(crate) fn is_whole(&self) -> bool {
        self.missing.is_empty() && self.stale.is_none()
    }

    /// The header; none for a whole answer.
    pub(crate) fn header(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let stale = self.stale.map(|age| format!("catalog of {} s ago", age.as_secs()));
        let names: Vec<String> = self.missing.iter().cloned().chain(stale).collect();
        if !names.is_empty() {
            // A name that no header can hold still makes the answer a partial one.
            let names = HeaderValue::from_str(&names.join(", "));
            headers.insert(PARTIAL, names.unwrap_or(HeaderValue::from_static("unnamed")));
        }
        headers
    }

    /// The same as a sentence; empty for a whole answer.
    pub(crate) fn message(&self) -> String {
        let missing = (!self.missing.is_empty()).then(|| {
            format!("the newest rows of {} are missing, because no leader can be reached", self.missing.join(", "))
        });
        let stale = self.stale.map(|age| {
            format!("partitions and blocks of the last {} s may be missing, because meta is not heard", age.as_secs())
        });
        missing.into_iter().chain(stale).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_partial_answers_say_so() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let old = Some(Duration::from_millis(12_300));
        for (missing, stale, expected) in [
            (names(&[]), None, None),
            (names(&["logs-0001"]), None, Some("logs-0001")),
            (names(&["logs-0001", "logs-0002"]), None, Some("logs-0001, logs-0002")),
            (names(&["logs\n"]), None, Some("unnamed")),
            (names(&[]), old, Some("catalog of 12 s ago")),
            (names(&["logs-0001"]), old, Some("logs-0001, catalog of 12 s ago")),
        ] {
            let partial = Partial { missing, stale };
            let headers = partial.header();
            assert_eq!(headers.get(PARTIAL).and_then(|value| value.to_str().ok()), expected, "{partial:?}");
            assert_eq!(partial.is_whole(), expected.is_none(), "{partial:?}");
            assert_eq!(partial.message().is_empty(), expected.is_none(), "{partial:?}");
        }
        let both = Partial { missing: names(&["logs-0001"]), stale: old };
        assert_eq!(
            both.message(),
            "the newest rows of logs-0001 are missing, because no leader can be reached; partitions and blocks of the \
             last 12 s may be missing, because meta is not heard"
        );
    }
}
