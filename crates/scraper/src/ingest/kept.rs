//! The body of a target's last scrape, kept small.

use std::io::Read as _;

/// A body, compressed; `size` is its bytes uncompressed.
pub(super) enum Kept {
    /// As the target sent it.
    Gzip { packed: Vec<u8>, size: usize },
    /// With LZ4.
    Lz4 { packed: Vec<u8>, size: usize },
}

impl Kept {
    /// Keeps a body; `gzip` is the same as the target sent it, if it was compressed.
    pub fn new(body: &[u8], gzip: Option<Vec<u8>>) -> Self {
        match gzip {
            Some(mut packed) => {
                packed.shrink_to_fit();
                Kept::Gzip { packed, size: body.len() }
            }
            None => Kept::Lz4 { packed: lz4_flex::compress(body), size: body.len() },
        }
    }

    /// Bytes of the body.
    pub fn size(&self) -> usize {
        match self {
            Kept::Gzip { size, .. } | Kept::Lz4 { size, .. } => *size,
        }
    }

    /// The body. Empty if it cannot be unpacked, which it could before.
    pub fn body(&self) -> Vec<u8> {
        match self {
            Kept::Lz4 { packed, size } => lz4_flex::decompress(packed, *size).unwrap_or_default(),
            Kept::Gzip { packed, size } => {
                let mut body = Vec::with_capacity(*size);
                let read = flate2::read::MultiGzDecoder::new(&packed[..]).take(*size as u64).read_to_end(&mut body);
                if read.is_ok() { body } else { Vec::new() }
            }
        }
    }
}
