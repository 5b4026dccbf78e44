//! Parameters of a request: of its URL and of a form in its body, both at once.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use bonghwa_cluster::seam;
use bonghwa_promql::Matcher;
use bonghwa_promql::syntax::{parse_duration, parse_matchers};
use http::{HeaderMap, Request, StatusCode, header};

use crate::error::ApiError;

/// The media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// The largest form.
const MOST_BYTES: usize = 4 << 20;
/// The widest time, so that arithmetic with it stays in range: Prometheus' own bounds.
const WIDEST: i64 = i64::MAX / 1_000_000;

/// What a request asks with.
#[derive(Debug)]
pub(crate) struct Params {
    pairs: Vec<(String, String)>,
    /// The headers of the request.
    pub(crate) headers: HeaderMap,
}

impl Params {
    /// Reads a request.
    pub(crate) async fn read(request: Request<Body>) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let mut pairs = Vec::new();
        let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_form = |media: &str| media.get(..FORM.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORM));
        if content_type.is_some_and(is_form) {
            let body = to_bytes(body, MOST_BYTES).await.map_err(|error| {
                let message = format!("the form cannot be read, or has more than {} MiB: {error}", MOST_BYTES >> 20);
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "bad_data", message)
            })?;
            pairs = self::pairs(&body, "the form")?;
        }
        // What is in both is taken from the form, as Prometheus does.
        pairs.extend(self::pairs(parts.uri.query().unwrap_or_default().as_bytes(), "the URL")?);
        Ok(Params { pairs, headers: parts.headers })
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, unless it is empty.
    pub(crate) fn get<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    /// A time in Unix milliseconds.
    pub(crate) fn time(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let time =
            |text: &str| time(text).ok_or_else(|| invalid(name, format!("cannot parse {text:?} to a valid timestamp")));
        self.get(name).map(time).transpose()
    }

    /// A time that must be given.
    pub(crate) fn required_time(&self, name: &str) -> Result<i64, ApiError> {
        let missing = || invalid(name, "it is missing: send Unix seconds or RFC 3339".to_owned());
        self.time(name)?.ok_or_else(missing)
    }

    /// A length of time in milliseconds.
    pub(crate) fn duration(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let read = |text: &str| {
            let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite() && s.abs() < WIDEST as f64 / 1e3);
            let millis = seconds.map(|s| (s * 1e3).round() as i64).or_else(|| parse_duration(text).ok());
            millis.ok_or_else(|| invalid(name, format!("cannot parse {text:?} to a valid duration")))
        };
        self.get(name).map(read).transpose()
    }

    /// How long the caller waits.
    pub(crate) fn timeout(&self) -> Result<Duration, ApiError> {
        let timeout = self.duration("timeout")?.map(|millis| Duration::from_millis(millis.max(0) as u64));
        Ok(timeout.unwrap_or(Duration::MAX))
    }

    /// How many results there may be; 0 is any number.
    pub(crate) fn limit(&self) -> Result<usize, ApiError> {
        let read = |text: &str| {
            text.parse()
                .map_err(|_| invalid("limit", format!("cannot parse {text:?} to a number that is not negative")))
        };
        Ok(self.get("limit").map(read).transpose()?.unwrap_or(0))
    }

    /// The query.
    pub(crate) fn query(&self) -> Result<&str, ApiError> {
        self.all("query").next().ok_or_else(|| invalid("query", "it is missing".to_owned()))
    }

    /// The selectors of `match[]`.
    pub(crate) fn matchers(&self) -> Result<Vec<Vec<Matcher>>, ApiError> {
        let read = |text: &str| {
            let matchers = parse_matchers(text).map_err(|error| invalid("match[]", error.to_string()))?;
            if matchers.iter().all(|matcher| matcher.matches("")) {
                return Err(invalid("match[]", "match[] must contain at least one non-empty matcher".to_owned()));
            }
            Ok(matchers)
        };
        self.all("match[]").map(read).collect()
    }

    /// `start` and `end`, in Unix milliseconds; what is not given reaches as far as there is data.
    pub(crate) fn range(&self) -> Result<(i64, i64), ApiError> {
        let (start, end) = (self.time("start")?.unwrap_or(-WIDEST), self.time("end")?.unwrap_or(WIDEST));
        if end < start {
            return Err(invalid("end", "end timestamp must not be before start time".to_owned()));
        }
        Ok((start, end))
    }
}

/// The error of a parameter.
pub(crate) fn invalid(name: &str, message: String) -> ApiError {
    ApiError::bad(format!("invalid parameter {name:?}: {message}"))
}

/// Now, in Unix milliseconds.
pub(crate) fn now() -> i64 {
    seam::unix_nanos() / 1_000_000
}

/// The name of a label as a path has it: with `U__` in front, `_2e_` stands for the character of that number.
pub(crate) fn unescape(name: &str) -> String {
    let Some(escaped) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    let mut rest = escaped;
    while let Some((before, after)) = rest.split_once('_') {
        out.push_str(before);
        if let Some(doubled) = after.strip_prefix('_') {
            out.push('_');
            rest = doubled;
            continue;
        }
        let decoded = after.split_once('_').and_then(|(hex, rest)| {
            let character = char::from_u32(u32::from_str_radix(hex, 16).ok()?)?;
            Some((character, rest))
        });
        // What is not escaped as it should be was not escaped.
        let Some((character, after)) = decoded else { return name.to_owned() };
        out.push(character);
        rest = after;
    }
    out + rest
}

fn pairs(text: &[u8], place: &str) -> Result<Vec<(String, String)>, ApiError> {
    serde_urlencoded::from_bytes(text).map_err(|error| ApiError::bad(format!("{place} is not url-encoded: {error}")))
}

/// Unix seconds with a fraction, or RFC 3339; in milliseconds.
fn time(text: &str) -> Option<i64> {
    // What Prometheus' own clients write where they mean all time.
    match text {
        "-292273086-05-16T16:47:06Z" => return Some(-WIDEST),
        "292277025-08-18T07:12:54.999999999Z" => return Some(WIDEST),
        _ => {}
    }
    if let Ok(seconds) = text.parse::<f64>() {
        let millis = (seconds * 1e3).round();
        return (millis.is_finite() && millis.abs() <= WIDEST as f64).then_some(millis as i64);
    }
    rfc3339(text)
}

/// `2006-01-02T15:04:05.999Z`, or with an offset.
fn rfc3339(text: &str) -> Option<i64> {
    let nanos = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).ok()?;
    let has_zone = text.ends_with(['Z', 'z']) || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    (has_zone && text.as_bytes().get(10).is_some_and(|t| matches!(t, b'T' | b't')))
        .then_some(nanos.div_euclid(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-292273086-05-16T16:47:06Z", Some(-WIDEST)),
            ("292277025-08-18T07:12:54.999999999Z", Some(WIDEST)),
            ("292277025-08-18T07:12:55Z", None),
            ("1435781430.781", Some(1_435_781_430_781)),
            ("-1.5", Some(-1_500)),
            ("1e3", Some(1_000_000)),
            ("2015-07-01T20:10:30.781Z", Some(1_435_781_430_781)),
            ("2015-07-01T22:10:30.781+02:00", Some(1_435_781_430_781)),
            ("2015-07-01", None),
            ("2015-07-01 20:10:30Z", None),
            ("NaN", None),
            ("1e300", None),
            ("yesterday", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
    }

    #[test]
    fn escaped_names() {
        for (name, expected) in [
            ("job", "job"),
            ("U__service_2e_name", "service.name"),
            ("U__a__b", "a_b"),
            ("U___1f600_x", "😀x"),
            ("U__broken_zz_", "U__broken_zz_"),
            ("U__open_2e", "U__open_2e"),
        ] {
            assert_eq!(unescape(name), expected);
        }
    }
}
