//! Filters: a split-block Bloom filter per granule, laid out so that one value asks
//! for one short range of bytes.
//!
//! A filter has `lines` lines of 256 bits for each of its granules. A value's hash
//! picks one line, and eight bits in it. Line `l` of all granules lies together:
//! `bytes[(l * granules + granule) * 32..]`. So a look-up of one value reads
//! `granules * 32` bytes, however many values the filter holds.

/// Bytes of a line.
pub(crate) const LINE: usize = 32;
/// Bits per distinct value.
const BITS_PER_VALUE: usize = 10;
/// Salts of Parquet's split-block Bloom filters.
const SALTS: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The bits of a hash within its line, one in each of eight words.
#[inline]
fn mask(hash: u64) -> [u32; 8] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

/// The line that a hash lies in.
#[inline]
pub(crate) fn line_of(hash: u64, lines: u32) -> u32 {
    (((hash >> 32) * u64::from(lines)) >> 32) as u32
}

/// Builds the filter of a row group from the hashes of each granule. Returns the
/// number of lines and the bytes.
pub(super) fn build(granules: &[Vec<u64>]) -> (u32, Vec<u8>) {
    let lines_for = |values: usize| (values * BITS_PER_VALUE).div_ceil(LINE * 8);
    let most = granules.iter().map(Vec::len).max().unwrap_or(0);
    let mean = granules.iter().map(Vec::len).sum::<usize>() / granules.len().max(1);
    // All granules have equally many lines: a few rich ones must not blow up the others.
    let lines = lines_for(most).min(lines_for(mean + mean / 3)).max(1);
    let mut words = vec![0u32; lines * granules.len() * 8];
    for (granule, hashes) in granules.iter().enumerate() {
        for hash in hashes {
            let line = line_of(*hash, lines as u32) as usize;
            let at = (line * granules.len() + granule) * 8;
            for (word, bit) in words[at..at + 8].iter_mut().zip(mask(*hash)) {
                *word |= bit;
            }
        }
    }
    (lines as u32, words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// Which granules may hold a hash, given the hash's line of all granules.
pub(crate) fn candidates(hash: u64, line: &[u8]) -> impl Iterator<Item = bool> {
    let mask = mask(hash);
    line.chunks_exact(LINE).map(move |line| {
        line.chunks_exact(4).zip(mask).all(|(word, bit)| {
            let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            word & bit != 0
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_put_in() {
        let hash = |n: u64| xxhash_rust::xxh3::xxh3_64(&n.to_le_bytes());
        let granules: Vec<Vec<u64>> =
            (0..20u64).map(|g| (g * 10_000..g * 10_000 + 5_000).map(hash).collect()).collect();
        let (lines, bytes) = build(&granules);
        assert_eq!(bytes.len(), lines as usize * 20 * LINE);
        let look_up = |hash: u64| {
            let start = line_of(hash, lines) as usize * 20 * LINE;
            candidates(hash, &bytes[start..start + 20 * LINE]).collect::<Vec<_>>()
        };
        let mut wrong = 0;
        for (granule, hashes) in granules.iter().enumerate() {
            for hash in hashes.iter().step_by(100) {
                let found = look_up(*hash);
                assert!(found[granule]);
                wrong += found.iter().filter(|f| **f).count() - 1;
            }
        }
        assert!(wrong < 1000 * 19 * 3 / 100, "{wrong} of 19000 look-ups were wrong");
    }
}
