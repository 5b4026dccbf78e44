//! Parquet's encodings of integers and floats.

use std::ops::Range;

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

/// Some plain values of `width` bytes.
pub(super) fn plain<T: Value>(bytes: &[u8], wanted: Range<usize>, width: usize) -> Option<Vec<T>> {
    let width = T::plain_width(width);
    let bytes = bytes.get(wanted.start.checked_mul(width)?..wanted.end.checked_mul(width)?)?;
    Some(bytes.chunks_exact(width).map(T::from_plain).collect())
}

/// Some of `total` values whose first bytes lie together, then the second ones, and so on.
pub(super) fn byte_stream_split<T: Value>(bytes: &[u8], total: usize, wanted: Range<usize>) -> Option<Vec<T>> {
    let bytes = bytes.get(..total.checked_mul(8)?)?;
    if total == 0 {
        return wanted.is_empty().then(Vec::new);
    }
    let mut streams = bytes.chunks_exact(total).map(|stream| stream.get(wanted.clone()));
    let streams: [&[u8]; 8] = std::array::from_fn(|_| streams.next().flatten().unwrap_or_default());
    if streams[0].len() != wanted.len() {
        return None;
    }
    Some((0..wanted.len()).map(|at| T::from_plain(&streams.map(|stream| stream[at]))).collect())
}

/// Integers as differences, packed in blocks: some of `total`.
pub(super) fn delta<T: Value>(mut bytes: &[u8], total: usize, wanted: Range<usize>, width: usize) -> Option<Vec<T>> {
    let block = usize::try_from(varint(&mut bytes)?).ok()?;
    let parts = usize::try_from(varint(&mut bytes)?).ok()?;
    let told = usize::try_from(varint(&mut bytes)?).ok()?;
    let mut last = zigzag(varint(&mut bytes)?);
    let per_part = block.checked_div(parts)?;
    if told != total || !per_part.is_multiple_of(32) || per_part == 0 || per_part > 1 << 16 {
        return None;
    }
    // What a page may hold bounds how much is believed.
    let mut values = Vec::with_capacity(wanted.len().min(bytes.len().saturating_mul(per_part)).saturating_add(1));
    if wanted.start == 0 {
        values.push(T::from_packed(last, width));
    }
    let mut deltas = vec![0; per_part];
    // The number of the first value of the next part.
    let mut at = 1;
    while at < wanted.end {
        let least = zigzag(varint(&mut bytes)?);
        let widths = bytes.split_off(..parts)?;
        for bits in widths {
            if at >= wanted.end {
                // Parts that are not needed have no bytes.
                break;
            }
            let taken = per_part.min(wanted.end - at);
            let length = per_part / 8 * usize::from(*bits);
            // The last part may be cut behind its last value.
            let part = bytes.split_off(..length.min(bytes.len()))?;
            let deltas = &mut deltas[..taken];
            unpack(part, u32::from(*bits), deltas)?;
            let (passed, wanted) = deltas.split_at(wanted.start.saturating_sub(at).min(taken));
            let passed = (passed.len() as i64).wrapping_mul(least).wrapping_add(sum(passed));
            last = last.wrapping_add(passed);
            values.extend(wanted.iter().map(|delta| {
                last = last.wrapping_add(least).wrapping_add(*delta as i64);
                T::from_packed(last, width)
            }));
            at += taken;
        }
    }
    Some(values)
}

fn sum(deltas: &[u64]) -> i64 {
    deltas.iter().fold(0, |sum: i64, delta| sum.wrapping_add(*delta as i64))
}

fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Values of so many bits, the least significant ones first.
pub(super) fn unpack(bytes: &[u8], bits: u32, values: &mut [u64]) -> Option<()> {
    if bits > 64 || bytes.len() < (values.len() * bits as usize).div_ceil(8) {
        return None;
    }
    match bits {
        0 => values.fill(0),
        _ => UNPACK[bits as usize - 1](bytes, values),
    }
    Some(())
}

/// Fills values from bytes of which there are enough.
type Unpack = fn(&[u8], &mut [u64]);

/// By width, how values are unpacked.
const UNPACK: [Unpack; 64] = {
    macro_rules! widths {
        ($($bits:literal)*) => { [$(unpack_all::<$bits>),*] };
    }
    widths!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40
        41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64
    )
};

/// Bytes that are read for eight values, at most: the last of them as a word and a byte.
const EIGHT: usize = 64 + 9;

/// Eight values take as many bytes as one has bits, so all places but theirs are known to the compiler.
fn unpack_all<const BITS: usize>(bytes: &[u8], values: &mut [u64]) {
    let (eights, rest) = values.as_chunks_mut::<8>();
    let mut left = bytes;
    for eight in eights {
        match left.first_chunk::<EIGHT>() {
            Some(bytes) => *eight = unpack_eight::<BITS>(bytes),
            None => *eight = unpack_eight::<BITS>(&padded(left)),
        }
        left = &left[BITS..];
    }
    if !rest.is_empty() {
        rest.copy_from_slice(&unpack_eight::<BITS>(&padded(left))[..rest.len()]);
    }
}

fn padded(bytes: &[u8]) -> [u8; EIGHT] {
    let mut padded = [0; EIGHT];
    let length = bytes.len().min(EIGHT);
    padded[..length].copy_from_slice(&bytes[..length]);
    padded
}

#[inline(always)]
fn unpack_eight<const BITS: usize>(bytes: &[u8; EIGHT]) -> [u64; 8] {
    std::array::from_fn(|nth| {
        let (byte, shift) = (nth * BITS / 8, nth * BITS % 8);
        let word: [u8; 8] = std::array::from_fn(|at| bytes[byte + at]);
        let low = u64::from_le_bytes(word) >> shift;
        let high = if shift + BITS > 64 { u64::from(bytes[byte + 8]) << (64 - shift) } else { 0 };
        (low | high) & (u64::MAX >> (64 - BITS))
    })
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

/// Values that are unpacked at once: of any width they end with a byte.
const GROUP: usize = 64;

/// Values of one run.
pub(super) enum Piece<'a> {
    Repeated(u64, usize),
    Each(&'a [u64]),
}

/// Some values of so many bits, in runs. None where there are fewer, or where they are not taken.
pub(super) fn hybrid(
    bytes: &[u8],
    bits: u32,
    wanted: Range<usize>,
    mut take: impl FnMut(Piece<'_>) -> Option<()>,
) -> Option<()> {
    let Range { start: first, end } = wanted;
    let mut at = 0;
    let mut group = [0; GROUP];
    for run in runs(bytes, bits) {
        if at >= end {
            break;
        }
        match run {
            Run::Repeated(value, length) => {
                let last = at.saturating_add(length).min(end);
                take(Piece::Repeated(value, last.saturating_sub(at.max(first))))?;
                at = last;
            }
            Run::Packed(bytes, length) => {
                let last = at.saturating_add(length).min(end);
                // Whole groups that are not wanted are passed over.
                let passed = first.saturating_sub(at).min(last - at) / GROUP;
                let mut groups = bytes.chunks(GROUP / 8 * bits as usize).skip(passed);
                at += passed * GROUP;
                while at < last {
                    let count = (last - at).min(GROUP);
                    unpack(groups.next()?, bits, &mut group[..count])?;
                    take(Piece::Each(&group[first.saturating_sub(at).min(count)..count]))?;
                    at += count;
                }
            }
        }
    }
    (at >= end).then_some(())
}

/// The same as a list.
pub(super) fn listed(bytes: &[u8], bits: u32, wanted: Range<usize>) -> Option<Vec<u64>> {
    let mut values = Vec::with_capacity(wanted.len().min(1 << 20));
    hybrid(bytes, bits, wanted, |some| {
        match some {
            Piece::Repeated(value, count) => values.resize(values.len() + count, value),
            Piece::Each(some) => values.extend_from_slice(some),
        }
        Some(())
    })?;
    Some(values)
}

/// Entries of a dictionary, by their numbers.
pub(super) fn looked_up<T: Value>(bytes: &[u8], bits: u32, wanted: Range<usize>, entries: &[T]) -> Option<Vec<T>> {
    let entry = |number: u64| entries.get(usize::try_from(number).ok()?).copied();
    let mut values = Vec::with_capacity(wanted.len().min(1 << 20));
    hybrid(bytes, bits, wanted, |some| {
        match some {
            Piece::Repeated(_, 0) => {}
            Piece::Repeated(number, count) => values.resize(values.len() + count, entry(number)?),
            Piece::Each(numbers) => {
                let most = numbers.iter().copied().max().unwrap_or(0);
                if !numbers.is_empty() {
                    entry(most)?;
                }
                values.extend(numbers.iter().map(|number| entries[*number as usize]));
            }
        }
        Some(())
    })?;
    Some(values)
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
        let all = [5, 5, 5, 0, 1, 2, 3, 4, 5, 6, 7];
        for first in 0..=11 {
            for end in first..=11 {
                assert_eq!(listed(&bytes, 3, first..end).unwrap(), all[first..end]);
            }
        }
        assert_eq!(listed(&bytes, 3, 0..12), None);
        assert_eq!(listed(&bytes[..5], 3, 0..11), None);
        // Whole groups are passed over.
        let long: Vec<u8> = [0x33].into_iter().chain((0..=255).cycle().take(25 * 9)).collect();
        let all = listed(&long, 9, 0..200).unwrap();
        for (first, end) in [(64, 65), (63, 129), (130, 200), (199, 200), (128, 128)] {
            assert_eq!(listed(&long, 9, first..end).unwrap(), all[first..end]);
        }
    }
}
