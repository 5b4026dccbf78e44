//! Numbers, durations and strings as they are written.

/// The units of durations, from the largest, in milliseconds.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A number: decimal, `0x1f`, octal with a leading 0, underscores between digits.
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    if plain.len() > 2 && (plain.starts_with("0x") || plain.starts_with("0X")) {
        return i64::from_str_radix(&plain[2..], 16).ok().map(|n| n as f64);
    }
    let octal = plain.len() > 1 && plain.starts_with('0') && plain.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal && let Ok(number) = i64::from_str_radix(&plain, 8) {
        return Some(number as f64);
    }
    crate::number::parse_float(&plain)
}

/// A duration such as `1h30m` in milliseconds; units come from the largest, each at most once.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let wrong = || format!("not a valid duration string: {:?}", text);
    if text == "0" {
        return Ok(0);
    }
    let (mut rest, mut total, mut next) = (text, 0u64, 0);
    if rest.is_empty() {
        return Err("empty duration string".into());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS.iter().skip(next).position(|(name, _)| *name == &rest[..letters]).ok_or_else(wrong)?;
        next += unit + 1;
        let ms = number.checked_mul(UNITS[next - 1].1).and_then(|ms| total.checked_add(ms));
        total = ms.filter(|ms| *ms <= i64::MAX as u64 / 1_000_000).ok_or("duration out of range")?;
        rest = &rest[letters..];
    }
    Ok(total as i64)
}

/// A duration in milliseconds as Prometheus writes it: `1h30m`; years and weeks only where they are whole.
pub(crate) fn format_duration(ms: i64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut rest = ms.unsigned_abs();
    let mut text = String::from(if ms < 0 { "-" } else { "" });
    for (i, (unit, size)) in UNITS.iter().enumerate() {
        // Years and weeks are used only where nothing is left: 8d is clearer than 1w1d.
        let whole = i < 2;
        if rest >= *size && (!whole || rest.is_multiple_of(*size)) {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    text
}

/// The text inside of quotes, with its escapes undone. The quotes are known to match.
pub(crate) fn unquote(quoted: &str) -> Result<String, String> {
    let inner = &quoted[1..quoted.len() - 1];
    if quoted.starts_with('`') || !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = chars.next().ok_or("escape sequence not terminated")?;
        let simple = match escape {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '\'' | '"' => escape as u8,
            'x' => digits(&mut chars, 2, 16, 0)? as u8,
            '0'..='7' => {
                let value = digits(&mut chars, 2, 8, escape as u32 - '0' as u32)?;
                u8::try_from(value).map_err(|_| "escape sequence is above \\377")?
            }
            'u' | 'U' => {
                let value = digits(&mut chars, if escape == 'u' { 4 } else { 8 }, 16, 0)?;
                let c = char::from_u32(value).ok_or("escape sequence is an invalid Unicode code point")?;
                bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => return Err(format!("unknown escape sequence U+{:04X} '{other}'", other as u32)),
        };
        bytes.push(simple);
    }
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn digits(chars: &mut std::str::Chars, count: usize, radix: u32, start: u32) -> Result<u32, String> {
    let mut value = start;
    for _ in 0..count {
        let c = chars.next().ok_or("escape sequence not terminated")?;
        let digit = c.to_digit(radix);
        let digit = digit.ok_or_else(|| format!("illegal character U+{:04X} '{c}' in escape sequence", c as u32))?;
        value = value.saturating_mul(radix).saturating_add(digit);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        let cases = [("1", 1.0), ("0x1F", 31.0), ("017", 15.0), ("1e3", 1000.0), (".5", 0.5), ("1_000", 1000.0)];
        for (text, value) in cases {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        assert_eq!(parse_number("08"), Some(8.0));
    }

    #[test]
    fn durations_read_and_write() {
        let cases = [("1h30m", 5_400_000), ("5m", 300_000), ("1s500ms", 1500), ("1w", 604_800_000), ("0", 0)];
        for (text, ms) in cases {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        for wrong in ["1", "1m1h", "1m1m", "", "1x", "9999999999y"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        for text in ["1h30m", "8d", "1w", "1y", "1s500ms", "25h", "-5m"] {
            let ms =
                if let Some(t) = text.strip_prefix('-') { parse_duration(t).map(|d| -d) } else { parse_duration(text) };
            let expected = if text == "25h" { "1d1h" } else { text };
            assert_eq!(ms.map(format_duration), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn strings() {
        assert_eq!(unquote(r#""a\n\x41\101\u00e9""#).as_deref(), Ok("a\nAA\u{e9}"));
        assert_eq!(unquote(r"`a\n`").as_deref(), Ok(r"a\n"));
        assert!(unquote(r#""\q""#).is_err());
    }
}
