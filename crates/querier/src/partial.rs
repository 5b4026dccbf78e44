//! How an answer says that it is partial: a header names the partitions whose newest
//! rows are not in it. Rows that are in blocks are never missing.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Names the partitions that are left out, separated by commas. Not sent with a whole answer.
pub(crate) const PARTIAL: HeaderName = HeaderName::from_static("x-bonghwa-partial");

/// The header of an answer that lacks these partitions; none for a whole one.
pub(crate) fn header(missing: &[String]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !missing.is_empty() {
        // A name that no header can hold still makes the answer a partial one.
        let names = HeaderValue::from_str(&missing.join(", "));
        headers.insert(PARTIAL, names.unwrap_or(HeaderValue::from_static("unnamed")));
    }
    headers
}

/// The same as a sentence; empty for a whole answer.
pub(crate) fn message(missing: &[String]) -> String {
    match missing {
        [] => String::new(),
        names => format!("the newest rows of {} are missing, because no leader can be reached", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_partial_answers_say_so() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        for (missing, expected) in [
            (names(&[]), None),
            (names(&["logs-0001"]), Some("logs-0001")),
            (names(&["logs-0001", "logs-0002"]), Some("logs-0001, logs-0002")),
            (names(&["logs\n"]), Some("unnamed")),
        ] {
            let headers = header(&missing);
            assert_eq!(headers.get(PARTIAL).and_then(|value| value.to_str().ok()), expected, "{missing:?}");
            assert_eq!(message(&missing).is_empty(), missing.is_empty());
        }
    }
}
