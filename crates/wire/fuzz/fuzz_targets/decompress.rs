#![no_main]

use bonghwa_wire::compress::{Encoding, decompress};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1 << 16;

fuzz_target!(|data: &[u8]| {
    let all = [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::Lz4, Encoding::Snappy];
    if let Some((encoding, body)) = data.split_first() {
        match decompress(all[*encoding as usize % all.len()], body, LIMIT) {
            Ok(out) => assert!(out.len() <= LIMIT),
            Err(error) => assert!(matches!(error.status(), 400 | 413)),
        }
    }
});
