//! Parquet's hybrid of run-length encoding and bit packing.

/// Bits needed for values up to `max`.
pub(super) fn bit_width(max: u32) -> u8 {
    (32 - max.leading_zeros()) as u8
}

fn varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends one run of the same value.
pub(super) fn run(out: &mut Vec<u8>, value: u32, length: usize, width: u8) {
    if length == 0 {
        return;
    }
    varint(out, (length as u32) << 1);
    out.extend_from_slice(&value.to_le_bytes()[..usize::from(width).div_ceil(8)]);
}

/// Appends values that do not repeat, eight at a time; the last eight are filled up with 0.
fn packed(out: &mut Vec<u8>, values: &[u32], width: u8) {
    // 63 groups of eight: the longest run whose header is one byte.
    for part in values.chunks(63 * 8) {
        out.push(((part.len().div_ceil(8) as u8) << 1) | 1);
        for group in part.chunks(8) {
            let mut word: u64 = 0;
            let mut bits = 0;
            for i in 0..8 {
                word |= u64::from(group.get(i).copied().unwrap_or(0)) << bits;
                bits += u32::from(width);
                if bits >= 32 {
                    out.extend_from_slice(&(word as u32).to_le_bytes());
                    word >>= 32;
                    bits -= 32;
                }
            }
            // Eight values fill whole bytes, whatever the width.
            out.extend_from_slice(&word.to_le_bytes()[..(bits as usize) / 8]);
        }
    }
}

/// Appends values of `width` bits.
pub(super) fn hybrid(out: &mut Vec<u8>, values: &[u32], width: u8) {
    let mut literal = 0;
    let mut at = 0;
    while at < values.len() {
        let value = values[at];
        let mut end = at + 1;
        while end < values.len() && values[end] == value {
            end += 1;
        }
        if end - at >= 8 {
            // Literals come in eights: borrow what is missing from the run.
            let borrowed = (8 - (at - literal) % 8) % 8;
            if end - at - borrowed >= 8 {
                packed(out, &values[literal..at + borrowed], width);
                run(out, value, end - at - borrowed, width);
                literal = end;
            }
        }
        at = end;
    }
    packed(out, &values[literal..], width);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(mut bytes: &[u8], width: u8, count: usize) -> Vec<u32> {
        let mut out = Vec::new();
        while out.len() < count {
            let (mut header, mut shift) = (0u32, 0);
            loop {
                let byte = bytes[0];
                bytes = &bytes[1..];
                header |= u32::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            if header & 1 == 0 {
                let size = usize::from(width).div_ceil(8);
                let mut value = [0; 4];
                value[..size].copy_from_slice(&bytes[..size]);
                bytes = &bytes[size..];
                out.extend(std::iter::repeat_n(u32::from_le_bytes(value), (header >> 1) as usize));
            } else {
                let values = (header >> 1) as usize * 8;
                let bit = |i: usize| u32::from(bytes[i / 8] >> (i % 8) & 1);
                for i in 0..values {
                    out.push((0..usize::from(width)).map(|b| bit(i * usize::from(width) + b) << b).sum());
                }
                bytes = &bytes[values * usize::from(width) / 8..];
            }
        }
        assert!(bytes.is_empty());
        out.truncate(count);
        out
    }

    proptest::proptest! {
        #[test]
        fn values_come_back(runs in proptest::collection::vec((0u32..70_000, 1usize..40), 0..60), width in 17u8..25) {
            let values: Vec<u32> = runs.iter().flat_map(|(v, n)| std::iter::repeat_n(*v, *n)).collect();
            let mut out = Vec::new();
            hybrid(&mut out, &values, width);
            proptest::prop_assert_eq!(decode(&out, width, values.len()), values);
        }

        #[test]
        fn small_values_come_back(values in proptest::collection::vec(0u32..8, 0..1200)) {
            let mut out = Vec::new();
            hybrid(&mut out, &values, 3);
            proptest::prop_assert_eq!(decode(&out, 3, values.len()), values);
        }
    }
}
