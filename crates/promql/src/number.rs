//! Numbers and times as Prometheus writes them.

use std::fmt::Write;
use std::ops::Range;

/// Where `ryu` writes the shortest digits without an exponent. Above, all values are integers.
const PLAIN: Range<f64> = 1e-4..9_007_199_254_740_992.0;

/// A value as Prometheus has it in labels and scalars: Go's `strconv.FormatFloat(v, 'f', -1, 64)`, `+Inf`, `-Inf`, `NaN`.
pub fn format(value: f64) -> String {
    let mut text = String::new();
    push(&mut text, value);
    text
}

/// Appends a value as [`format()`] writes it.
pub fn push(out: &mut String, value: f64) {
    let whole = value as i64;
    let is_whole = whole as f64 == value && whole.unsigned_abs() < 1 << 53;
    if is_whole && (whole != 0 || value.is_sign_positive()) {
        // As most values are: an integer's digits are found sooner.
        out.push_str(itoa::Buffer::new().format(whole));
    } else if PLAIN.contains(&value.abs()) {
        // Of two that are equally near it takes the even one, as Go does, and Rust does not.
        out.push_str(ryu::Buffer::new().format_finite(value));
    } else if value.is_finite() {
        // Rust writes the shortest digits that read back, without an exponent, as Go's 'f' -1 does. Writing into a
        // String cannot fail.
        let _ = write!(out, "{value}");
    } else if value.is_nan() {
        out.push_str("NaN");
    } else {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    }
}

/// A sample's value as Prometheus' JSON has it: as [`format()`] does, but with an exponent below 1e-6 and from 1e21 on.
pub fn format_sample(value: f64) -> String {
    let mut text = String::new();
    push_sample(&mut text, value);
    text
}

/// Appends a value as [`format_sample`] writes it.
pub fn push_sample(out: &mut String, value: f64) {
    if needs_exponent(value, 1e-6) {
        out.push_str(&with_exponent(value));
    } else {
        push(out, value);
    }
}

/// Go's `%g`: the shortest digits, with an exponent below 1e-4 and from 1e21 on.
pub fn format_g(value: f64) -> String {
    if needs_exponent(value, 1e-4) { with_exponent(value) } else { format(value) }
}

fn needs_exponent(value: f64, least: f64) -> bool {
    let magnitude = value.abs();
    value.is_finite() && magnitude != 0.0 && !(least..1e21).contains(&magnitude)
}

/// As Go does it: a sign, and two digits at least.
fn with_exponent(value: f64) -> String {
    let text = std::format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |e| ("-", e));
    std::format!("{digits}e{sign}{exponent:0>2}")
}

/// Seconds with at most three decimals: a timestamp in Prometheus' JSON.
pub fn format_seconds(ms: i64) -> String {
    let mut text = String::new();
    push_seconds(&mut text, ms);
    text
}

/// Appends a timestamp as [`format_seconds`] writes it.
pub fn push_seconds(out: &mut String, ms: i64) {
    if ms < 0 {
        out.push('-');
    }
    let (whole, rest) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    out.push_str(itoa::Buffer::new().format(whole));
    if rest != 0 {
        // Writing into a String cannot fail.
        let _ = write!(out, ".{rest:03}");
    }
    while rest != 0 && out.ends_with('0') {
        out.pop();
    }
}

/// A float as text, as Go's `strconv.ParseFloat` reads it.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let negative = text.starts_with('-');
    let lower = unsigned.to_ascii_lowercase();
    match lower.as_str() {
        "inf" | "infinity" => return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let digits = !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit() || b".eE+-".contains(&b));
    if digits { text.parse().ok() } else { None }
}

/// A time in Unix milliseconds as RFC 3339.
pub fn format_time(ms: i64) -> String {
    crate::eval::rfc3339(ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_written_as_go_does() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.5, "1.5"),
            (-42.0, "-42"),
            (9007199254740992.0, "9007199254740992"),
            (128189275075439.0 + 0.625, "128189275075439.62"),
            (128189275075439.0 + 0.875, "128189275075439.88"),
            (1e15 + 0.25, "1000000000000000.2"),
            (-1e15 - 0.75, "-1000000000000000.8"),
            (4503599627370495.5, "4503599627370495.5"),
            (1e21, "1000000000000000000000"),
            (1e-7, "0.0000001"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, expected) in cases {
            assert_eq!(format(value), expected);
        }
        assert_eq!(format_g(1e21), "1e+21");
        assert_eq!(format_g(1e-7), "1e-07");
        assert_eq!(format_g(0.25), "0.25");
        let samples = [(1e21, "1e+21"), (-1e300, "-1e+300"), (1e20, "100000000000000000000"), (1e-6, "0.000001")];
        for (value, expected) in samples.into_iter().chain([(1.5e-7, "1.5e-07"), (0.0, "0"), (f64::INFINITY, "+Inf")]) {
            assert_eq!(format_sample(value), expected);
        }
        let seconds =
            [(1_500, "1.5"), (-1_000, "-1"), (-1_050, "-1.05"), (10, "0.01"), (i64::MIN, "-9223372036854775.808")];
        for (ms, expected) in seconds {
            assert_eq!(format_seconds(ms), expected);
        }
    }

    proptest! {
        #[test]
        fn digits_are_the_shortest_that_read_back(bits in any::<u64>(), short in -1e6f64..1e6, places in 0..9) {
            let scale = 10f64.powi(places);
            for value in [f64::from_bits(bits), short, (short * scale).trunc() / scale, 1e-4, 1e15, 1e15 + 0.5] {
                if value.is_finite() {
                    let (ours, shortest) = (format(value), std::format!("{}", value));
                    prop_assert_eq!(ours.parse::<f64>().map(f64::to_bits), Ok(value.to_bits()));
                    let even = ours.ends_with(['0', '2', '4', '6', '8']) && ours.len() == shortest.len();
                    prop_assert!(ours == shortest || even, "{} {}", ours, shortest);
                }
            }
        }
    }
}
