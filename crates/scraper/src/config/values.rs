//! Values as Prometheus' configuration writes them: lengths of time, sizes, texts that may look like numbers.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

const TIMES: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KB", 1 << 10),
    ("KIB", 1 << 10),
    ("MB", 1 << 20),
    ("MIB", 1 << 20),
    ("GB", 1 << 30),
    ("GIB", 1 << 30),
    ("TB", 1 << 40),
    ("TIB", 1 << 40),
];

/// A text; whole numbers and booleans of JSON are read as what they look like.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub String);

/// A length of time: `1m30s`, `500ms`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number of bytes: `15MB` are 15 MiB, as in Prometheus. 0 is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size(pub u64);

impl Span {
    /// Reads one. Units come from the largest to the smallest, each at most once.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no length of time: write for example 30s, 1m30s or 500ms");
        if text == "0" {
            return Ok(Span(Duration::ZERO));
        }
        let (mut rest, mut units, mut millis) = (text, &TIMES[..], 0u64);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
            let at = units.iter().position(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?;
            millis = number.checked_mul(units[at].1).and_then(|n| n.checked_add(millis)).ok_or_else(wrong)?;
            units = &units[at + 1..];
            rest = &rest[letters..];
        }
        if text.is_empty() { Err(wrong()) } else { Ok(Span(Duration::from_millis(millis))) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_millis() as u64;
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in TIMES {
            // As Prometheus prints it: a week or a year only where nothing is left over.
            if matches!(unit, "y" | "w") && !left.is_multiple_of(scale) {
                continue;
            }
            if left >= scale {
                write!(f, "{}{unit}", left / scale)?;
                left %= scale;
            }
        }
        Ok(())
    }
}

impl Size {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no size: write a number of bytes, or one with KB, MB or GB");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit = text[digits..].trim().to_ascii_uppercase();
        let scale = match unit.as_str() {
            "" => 1,
            unit => SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        number.checked_mul(scale).map(Size).ok_or_else(wrong)
    }
}

struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
        Ok(Text(value.to_string()))
    }

    // Of JSON: texts of YAML come as they are.
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Text, E> {
        Err(E::custom(format!("{value} is a number, which may be written in several ways: put it in quotes")))
    }

    fn visit_unit<E>(self) -> Result<Text, E> {
        Ok(Text::default())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Span::parse(&Text::deserialize(deserializer)?.0).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Size::parse(&Text::deserialize(deserializer)?.0).map_err(D::Error::custom)
    }
}

/// A boolean as YAML 1.1 has them, which Prometheus reads: `yes` and `off` are some, too.
pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    // Each in small letters, in capitals, and with a capital in front.
    let spelled = |word: &str| {
        let (first, rest) = text.split_at_checked(1).unwrap_or_default();
        text == word
            || text == word.to_uppercase()
            || (first.to_lowercase() + rest == word && first == first.to_uppercase())
    };
    if ["true", "yes", "y", "on"].into_iter().any(spelled) {
        Ok(true)
    } else if ["false", "no", "n", "off"].into_iter().any(spelled) {
        Ok(false)
    } else {
        Err(D::Error::custom(format!("{text:?} is neither true nor false")))
    }
}

/// The same where it may be missing.
pub(super) fn some_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    flag(deserializer).map(Some)
}

/// A whole number that is not negative, or none: `5000`, `5_000`, `0x10`, `0o17`, `0b11`.
pub(super) fn some_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Text(text) = Text::deserialize(deserializer)?;
    let plain = text.replace('_', "");
    let read = match plain.split_at_checked(2) {
        Some(("0x", digits)) => u64::from_str_radix(digits, 16),
        Some(("0o", digits)) => u64::from_str_radix(digits, 8),
        Some(("0b", digits)) => u64::from_str_radix(digits, 2),
        _ => plain.parse(),
    };
    read.map(Some).map_err(|_| D::Error::custom(format!("{text:?} is no whole number that is not negative")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back() {
        for (text, millis) in [("0s", 0), ("15s", 15_000), ("1m30s", 90_000), ("2h", 7_200_000), ("1d12h", 129_600_000)]
        {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_millis(millis))), "{text}");
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(Span::parse("0"), Ok(Span(Duration::ZERO)));
        for text in ["", "5", "s", "1s1m", "1s1s", "1.5s", "-1s", "1 s", "99999999999999y", "é"] {
            assert!(Span::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("0", 0), ("100", 100), ("15MB", 15 << 20), ("1GiB", 1 << 30), ("2 KB", 2048)] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MB", "1.5MB", "5 apples"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }
}
