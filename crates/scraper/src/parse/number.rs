//! Numbers as the formats write them.

use std::borrow::Cow;

/// NaN of a sample; other bits of NaN have meanings of their own.
const NORMAL_NAN: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// A value.
pub(super) fn float(text: &str) -> Result<f64, String> {
    let bytes = text.as_bytes();
    // Most values are short whole numbers.
    if (1..=15).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit) {
        return Ok(bytes.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0')) as f64);
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_nan() => Ok(NORMAL_NAN),
        Ok(number) => Ok(number),
        Err(_) => Err(format!("{text:?} is no value")),
    }
}

/// A float as OpenMetrics has it in labels: the shortest digits in Go's format `g`, and whole numbers end in `.0`.
pub(crate) fn go_float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let shortest = format!("{number:e}");
    let (digits, exponent) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if number != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// The value of a label `le` or `quantile`, in the form that all formats share.
pub(super) fn bound(text: Cow<'_, str>) -> Cow<'_, str> {
    if is_canonical(text.as_bytes()) {
        return text;
    }
    match text.parse::<f64>() {
        Ok(number) => Cow::Owned(go_float(number)),
        Err(_) => text,
    }
}

/// Whether a number surely is in that form; many are.
fn is_canonical(text: &[u8]) -> bool {
    if text == b"+Inf" {
        return true;
    }
    let Some(dot) = memchr::memchr(b'.', text) else { return false };
    let (whole, fraction) = (&text[..dot], &text[dot + 1..]);
    let digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    (1..=6).contains(&whole.len())
        && (1..=8).contains(&fraction.len())
        && digits(whole)
        && digits(fraction)
        && (whole.len() == 1 || whole[0] != b'0')
        && (fraction.len() == 1 || fraction.last() != Some(&b'0'))
        && (whole != b"0" || fraction == b"0" || !fraction.starts_with(b"0000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_as_go_writes_them() {
        for (number, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (-1.0, "-1.0"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (2.5e-7, "2.5e-07"),
            (100_000.0, "100000.0"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (262_144.5, "262144.5"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(go_float(number), text);
            assert_eq!(bound(text.into()), text, "it is in that form already");
        }
        for (given, text) in
            [("1", "1.0"), ("0.50", "0.5"), ("1e6", "1e+06"), ("00.5", "0.5"), ("x", "x"), ("Inf", "+Inf")]
        {
            assert_eq!(bound(given.into()), text);
        }
    }

    #[test]
    fn canonical_is_what_is_written_again_the_same() {
        for whole in ["0", "1", "10", "01", "999999", "1000000"] {
            for fraction in ["0", "00", "5", "50", "05", "0001", "00001", "000", "001", "12345678", "123456789", ""] {
                let text = format!("{whole}.{fraction}");
                if is_canonical(text.as_bytes()) {
                    assert_eq!(go_float(text.parse().unwrap()), text);
                }
            }
        }
    }

    #[test]
    fn values() {
        for (text, value) in [("7", 7.0), ("+5", 5.0), ("-0.5", -0.5), ("1e3", 1000.0), ("+Inf", f64::INFINITY)] {
            assert_eq!(float(text), Ok(value), "{text}");
        }
        assert_eq!(float("NaN").map(f64::to_bits), Ok(NORMAL_NAN.to_bits()));
        for text in ["", "0x10", "1_000", "1.", "five", "1,5", "١"] {
            assert!(float(text).is_err() || text == "1.", "{text}");
        }
    }
}
