//! Reads messages of remote write, for tests of what is written.

use super::STALE_NAN;

/// Fields of a message: number, and the value of a varint, the bits of a double, or bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u32, u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for at in 0.. {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << (7 * at);
            if *first < 0x80 {
                break;
            }
        }
        value
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let number = (tag >> 3) as u32;
        match tag & 7 {
            0 => fields.push((number, varint(&mut bytes), &[][..])),
            1 => {
                let (bits, rest) = bytes.split_first_chunk::<8>().unwrap();
                fields.push((number, u64::from_le_bytes(*bits), &[]));
                bytes = rest;
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (taken, rest) = bytes.split_at(length);
                fields.push((number, 0, taken));
                bytes = rest;
            }
            other => panic!("wire type {other}"),
        }
    }
    fields
}

/// A line for each series: its labels, value and time, exemplars and metadata.
pub(crate) fn read(message: &[u8]) -> Vec<String> {
    let all = fields(message);
    let symbols: Vec<&str> = all.iter().filter(|f| f.0 == 4).map(|f| std::str::from_utf8(f.2).unwrap()).collect();
    assert_eq!(symbols[0], "");
    let refs = |mut bytes: &[u8]| {
        let mut numbers = Vec::new();
        while !bytes.is_empty() {
            let length = bytes.iter().position(|b| *b < 0x80).unwrap() + 1;
            let number = bytes[..length].iter().rev().fold(0u64, |n, b| n << 7 | u64::from(b & 0x7f));
            numbers.push(symbols[number as usize]);
            bytes = &bytes[length..];
        }
        numbers.chunks(2).map(|pair| format!("{}={}", pair[0], pair[1])).collect::<Vec<_>>().join(",")
    };
    all.iter()
        .filter(|field| field.0 == 5)
        .map(|(_, _, series)| {
            let mut line = String::new();
            for (number, _, bytes) in fields(series) {
                // Labels are a list of numbers.
                let parts = if number == 1 { Vec::new() } else { fields(bytes) };
                let get = |wanted: u32| parts.iter().find(|part| part.0 == wanted).map_or(0, |part| part.1);
                match number {
                    1 => line += &refs(bytes),
                    2 => {
                        let value = f64::from_bits(get(1));
                        let value = if get(1) == STALE_NAN.to_bits() { "stale".into() } else { value.to_string() };
                        line += &format!(" {value}@{}", get(2) as i64);
                    }
                    3 => {
                        let schema = (get(4) >> 1) as i64 ^ -((get(4) & 1) as i64);
                        line += &format!(" schema {schema}@{}", get(15) as i64);
                    }
                    4 => line += &format!(" # {}", refs(parts[0].2)),
                    5 => line += &format!(" [{} {}]", get(1), symbols[get(3) as usize]),
                    other => panic!("field {other}"),
                }
            }
            line
        })
        .collect()
}
