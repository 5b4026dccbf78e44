//! Sizes and times as people write them in a configuration file.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A number of bytes: `67108864` or `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

/// A length of time: `500ms`, `30s`, `5m`, `1h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Duration);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as u64;
        let (unit, scale) =
            SIZES.into_iter().find(|(_, s)| bytes >= *s && bytes.is_multiple_of(*s)).unwrap_or(("B", 1));
        write!(f, "{}{unit}", bytes / scale)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis() as u64;
        let (unit, scale) =
            TIMES.into_iter().rev().find(|(_, s)| ms >= *s && ms.is_multiple_of(*s)).unwrap_or(("ms", 1));
        write!(f, "{}{unit}", ms / scale)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..digits].parse().ok()?, text[digits..].trim()))
}

/// Reads a size.
pub fn parse_size(text: &str) -> Result<Size, String> {
    let parsed = split(text).and_then(|(n, unit)| {
        let scale = if unit.is_empty() { 1 } else { SIZES.iter().find(|(u, _)| *u == unit)?.1 };
        usize::try_from(n.checked_mul(scale)?).ok()
    });
    parsed.map(Size).ok_or_else(|| format!("{text:?} is no size: write a number of bytes, or one with KiB, MiB or GiB"))
}

/// Reads a length of time.
pub fn parse_time(text: &str) -> Result<Time, String> {
    let parsed = split(text).and_then(|(n, unit)| n.checked_mul(TIMES.iter().find(|(u, _)| *u == unit)?.1));
    parsed
        .map(|ms| Time(Duration::from_millis(ms)))
        .ok_or_else(|| format!("{text:?} is no length of time: write a number with ms, s, m, h or d"))
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Text::deserialize(deserializer)? {
            Text::Number(n) => usize::try_from(n).map(Size).map_err(D::Error::custom),
            Text::Text(text) => parse_size(&text).map_err(D::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Text::deserialize(deserializer)? {
            Text::Number(n) => parse_time(&n.to_string()).map_err(D::Error::custom),
            Text::Text(text) => parse_time(&text).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_back() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1000B", 1000), ("0B", 0), ("2GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(Size(bytes)));
            assert_eq!(Size(bytes).to_string(), text);
        }
        for (text, ms) in [("500ms", 500), ("90s", 90_000), ("5m", 300_000), ("7d", 604_800_000)] {
            assert_eq!(parse_time(text), Ok(Time(Duration::from_millis(ms))));
            assert_eq!(Time(Duration::from_millis(ms)).to_string(), text);
        }
        assert!(parse_size("64MB").is_err() && parse_time("5").is_err() && parse_time("m").is_err());
    }
}
