//! Content negotiation: which of the formats that we have does a caller want?

use http::{HeaderMap, header};

/// The offered media type that the Accept header prefers, the first one where it does
/// not care. None if it accepts none of them.
pub(crate) fn choose<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Option<&'a str> {
    let accepted: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let accepted = accepted.join(",");
    if accepted.trim().is_empty() {
        return offered.first().copied();
    }
    let ranges: Vec<Range<'_>> = accepted.split(',').filter_map(Range::parse).collect();
    let quality = |media: &str| {
        // RFC 9110, 12.5.1: the most specific range that matches counts.
        let best = ranges.iter().filter(|r| r.matches(media)).max_by_key(|r| r.specificity());
        best.map_or(0.0, |range| range.quality)
    };
    let mut chosen = None;
    let mut best = 0.0;
    for media in offered {
        let quality = quality(media);
        if quality > best {
            (chosen, best) = (Some(*media), quality);
        }
    }
    chosen
}

struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: f32,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
        let quality = quality.map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0);
        Some(Range { kind, subtype, quality })
    }

    fn matches(&self, media: &str) -> bool {
        let (kind, subtype) = media.split_once('/').unwrap_or((media, ""));
        (self.kind == "*" || self.kind.eq_ignore_ascii_case(kind))
            && (self.subtype == "*" || self.subtype.eq_ignore_ascii_case(subtype))
    }

    fn specificity(&self) -> usize {
        usize::from(self.kind != "*") + usize::from(self.subtype != "*")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn preferred_first() {
        let offered = ["application/json", "application/x-ndjson", "text/csv"];
        for (accept, expected) in [
            ("", Some("application/json")),
            ("*/*", Some("application/json")),
            ("text/csv", Some("text/csv")),
            ("TEXT/CSV; charset=utf-8", Some("text/csv")),
            ("text/*", Some("text/csv")),
            ("application/*", Some("application/json")),
            ("text/csv;q=0.5, application/x-ndjson", Some("application/x-ndjson")),
            ("application/json;q=0, */*", Some("application/x-ndjson")),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Some("application/json")),
            ("image/png", None),
            ("nonsense", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            assert_eq!(choose(&headers, &offered), expected, "{accept}");
        }
    }
}
