//! The operating system's randomness, fixed: hash keys and generators that libraries seed by
//! themselves are the same in every process of this binary.
//!
//! The symbol stands in for libc's: the standard library and the `getrandom` crate ask it.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

const START: u64 = 0x0b07_9a11_5e3d_1e55;

static STATE: AtomicU64 = AtomicU64::new(START);

/// Starts the sequence again: what was drawn before, as by a log that is set up, changes nothing.
pub fn begin() {
    STATE.store(START, Ordering::Relaxed);
}

fn next() -> u64 {
    let mut z = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// As libc's `getrandom`: fills the buffer and returns how much was filled.
///
/// # Safety
///
/// As of libc's function: `buffer` must be valid for `length` bytes of writing. That is the one
/// thing relied on; bytes are written one by one within that length.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    let mut filled = 0;
    while filled < length {
        for byte in next().to_le_bytes().into_iter().take(length - filled) {
            // SAFETY: `filled` is below `length`, for which the caller vouches.
            unsafe { buffer.add(filled).write(byte) };
            filled += 1;
        }
    }
    length as isize
}
