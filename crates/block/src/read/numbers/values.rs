//! Parquet's encodings of integers and floats.

use super::page::varint;

/// Values of a column.
pub(super) trait Value: Copy + Default {
    /// Bytes of a plain one.
    fn plain_width(width: usize) -> usize;
    /// Of its plain bytes, as many as it has.
    fn from_plain(bytes: &[u8]) -> Self;
    /// Of the bits of an integer that was packed.
    fn from_packed(value: i64, width: usize) -> Self;
}

impl Value for i64 {
    fn plain_width(width: usize) -> usize {
        width
    }

    fn from_plain(bytes: &[u8]) -> Self {
        match bytes.try_into() {
            Ok(eight) => i64::from_le_bytes(eight),
            Err(_) => i64::from(i32::from_le_bytes(bytes.try_into().unwrap_or_default())),
        }
    }

    fn from_packed(value: i64, width: usize) -> Self {
        // Smaller ones overflow at their own width.
        if width == 4 { i64::from(value as i32) } else { value }
    }
}

impl Value for f64 {
    fn plain_width(_: usize) -> usize {
        8
    }

    fn from_plain(bytes: &[u8]) -> Self {
        f64::from_le_bytes(bytes.try_into().unwrap_or_default())
    }

    fn from_packed(value: i64, _: usize) -> Self {
        f64::from_bits(value as u64)
    }
}

/// `count` plain values of `width` bytes.
pub(super) fn plain<T: Value>(bytes: &[u8], count: usize, width: usize) -> Option<Vec<T>> {
    let width = T::plain_width(width);
    let bytes = bytes.get(..count.checked_mul(width)?)?;
    Some(bytes.chunks_exact(width).map(T::from_plain).collect())
}

/// Values whose first bytes lie together, then the second ones, and so on.
pub(super) fn byte_stream_split<T: Value>(bytes: &[u8], count: usize) -> Option<Vec<T>> {
    let bytes = bytes.get(..count.checked_mul(8)?)?;
    if count == 0 {
        return Some(Vec::new());
    }
    let mut streams = bytes.chunks_exact(count);
    let streams: [&[u8]; 8] = std::array::from_fn(|_| streams.next().unwrap_or_default());
    Some((0..count).map(|at| T::from_plain(&streams.map(|stream| stream[at]))).collect())
}

/// Integers as differences, packed in blocks.
pub(super) fn delta<T: Value>(mut bytes: &[u8], count: usize, width: usize) -> Option<Vec<T>> {
    let block = usize::try_from(varint(&mut bytes)?).ok()?;
    let parts = usize::try_from(varint(&mut bytes)?).ok()?;
    let total = usize::try_from(varint(&mut bytes)?).ok()?;
    let mut last = zigzag(varint(&mut bytes)?);
    let per_part = block.checked_div(parts)?;
    if total != count || !per_part.is_multiple_of(32) || per_part == 0 || per_part > 1 << 16 {
        return None;
    }
    // What a page may hold bounds how much is believed.
    let mut values = Vec::with_capacity(count.min(bytes.len().saturating_mul(per_part)).saturating_add(1));
    if count > 0 {
        values.push(T::from_packed(last, width));
    }
    let mut deltas = vec![0; per_part];
    while values.len() < count {
        let least = zigzag(varint(&mut bytes)?);
        let widths = bytes.split_off(..parts)?;
        for bits in widths {
            let left = count - values.len();
            if left == 0 {
                // Parts that are not needed have no bytes.
                break;
            }
            let length = per_part / 8 * usize::from(*bits);
            // The last part may be cut behind its last value.
            let part = bytes.split_off(..length.min(bytes.len()))?;
            let taken = left.min(per_part);
            unpack(part, u32::from(*bits), &mut deltas[..taken])?;
            values.extend(deltas[..taken].iter().map(|delta| {
                last = last.wrapping_add(least).wrapping_add(*delta as i64);
                T::from_packed(last, width)
            }));
        }
    }
    Some(values)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Values of so many bits, the least significant ones first.
pub(super) fn unpack(bytes: &[u8], bits: u32, values: &mut [u64]) -> Option<()> {
    let needed = (values.len() * bits as usize).div_ceil(8);
    if bits > 64 || bytes.len() < needed {
        return None;
    }
    if bits == 0 {
        values.fill(0);
        return Some(());
    }
    let mask = u64::MAX >> (64 - bits);
    let word = |at: usize| {
        let mut word = [0; 16];
        let end = bytes.len().min(at + 16);
        word[..end - at].copy_from_slice(&bytes[at..end]);
        u128::from_le_bytes(word)
    };
    // Eight bytes from where a value begins hold all of it, and do not reach beyond the end.
    let fast = if bits <= 56 { ((bytes.len().saturating_sub(8)) * 8 / bits as usize).min(values.len()) } else { 0 };
    let (head, rest) = values.split_at_mut(fast);
    let mut bit = 0;
    for value in head {
        let eight = bytes[bit / 8..].first_chunk::<8>().map_or(0, |eight| u64::from_le_bytes(*eight));
        *value = eight >> (bit % 8) & mask;
        bit += bits as usize;
    }
    for value in rest {
        *value = (word(bit / 8) >> (bit % 8)) as u64 & mask;
        bit += bits as usize;
    }
    Some(())
}

/// A part of Parquet's hybrid of run-length encoding and bit packing.
pub(super) enum Run<'a> {
    /// A value so many times.
    Repeated(u64, usize),
    /// Values that are packed: eight for every byte of a bit.
    Packed(&'a [u8], usize),
}

/// The runs of so many bits a value.
pub(super) fn runs(mut bytes: &[u8], bits: u32) -> impl Iterator<Item = Run<'_>> {
    std::iter::from_fn(move || {
        let head = varint(&mut bytes)?;
        let count = usize::try_from(head >> 1).ok()?;
        if head & 1 == 0 {
            let value = bytes.split_off(..(bits as usize).div_ceil(8))?;
            let value = value.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            return Some(Run::Repeated(value, count));
        }
        let values = count.checked_mul(8)?;
        let length = count.checked_mul(bits as usize)?.min(bytes.len());
        match bits {
            0 => Some(Run::Repeated(0, values)),
            _ => Some(Run::Packed(bytes.split_off(..length)?, values)),
        }
    })
}

/// `count` values of so many bits, in runs; what they become.
pub(super) fn hybrid<T: Copy + Default>(
    bytes: &[u8],
    bits: u32,
    count: usize,
    of: impl Fn(u64) -> Option<T>,
) -> Option<Vec<T>> {
    let mut values = Vec::with_capacity(count.min(1 << 20));
    let mut packed = [0; 512];
    for run in runs(bytes, bits) {
        let left = count - values.len();
        match run {
            Run::Repeated(value, length) => {
                let value = of(value)?;
                values.resize(values.len() + length.min(left), value);
            }
            Run::Packed(bytes, length) => {
                // 512 values of any width end with a byte.
                let mut left = length.min(left);
                for part in bytes.chunks((packed.len() / 8) * bits as usize) {
                    let values_of_part = &mut packed[..left.min(512)];
                    unpack(part, bits, values_of_part)?;
                    left -= values_of_part.len();
                    for value in values_of_part {
                        values.push(of(*value)?);
                    }
                }
            }
        }
        if values.len() == count {
            return Some(values);
        }
    }
    (values.len() == count).then_some(values)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn packed_values_come_back() {
        for bits in 0..=64u32 {
            let mask = if bits == 0 { 0 } else { u64::MAX >> (64 - bits) };
            let values: Vec<u64> =
                (0..77u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(9) & mask).collect();
            let mut packed = vec![0u8; (77 * bits as usize).div_ceil(8)];
            for (at, value) in values.iter().enumerate() {
                for bit in 0..bits as usize {
                    let place = at * bits as usize + bit;
                    packed[place / 8] |= ((value >> bit & 1) as u8) << (place % 8);
                }
            }
            let mut back = vec![1; 77];
            unpack(&packed, bits, &mut back).unwrap();
            assert_eq!(back, values, "{bits}");
            if bits > 0 {
                assert!(unpack(&packed[1..], bits, &mut back).is_none());
            }
        }
    }

    #[test]
    fn runs_come_back_and_damage_is_seen() {
        // Three times 5, then eight packed ones of three bits: 0 to 7.
        let bytes = [6, 5, 3, 0b1000_1000, 0b1100_0110, 0b1111_1010];
        let all = |bytes: &[u8], count| hybrid(bytes, 3, count, Some);
        assert_eq!(all(&bytes, 11).unwrap(), [5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(all(&bytes, 4).unwrap(), [5, 5, 5, 0]);
        assert_eq!(all(&bytes, 12), None);
        assert_eq!(all(&bytes[..5], 11), None);
        assert_eq!(hybrid(&bytes, 3, 11, |value| (value < 7).then_some(value)), None);
    }
}
