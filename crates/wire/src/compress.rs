//! Content-Encoding: decompression that stops at a limit.

use std::borrow::Cow;
use std::io::Read;

use crate::WireError;

/// The accepted names, for messages and the Accept-Encoding header.
pub const ACCEPTED: &str = "gzip, zstd, deflate, lz4, snappy, identity";

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// gzip, of one or several members.
    Gzip,
    /// Zstandard, of one or several frames.
    Zstd,
    /// zlib, which HTTP calls deflate.
    Deflate,
    /// LZ4 frames.
    Lz4,
    /// Snappy, framed or one block: Collectors send the one or the other by their version.
    Snappy,
}

impl Encoding {
    /// Reads a Content-Encoding header; empty means identity.
    pub fn parse(header: &str) -> Result<Encoding, WireError> {
        match header.trim().to_ascii_lowercase().as_str() {
            "" | "identity" | "none" => Ok(Encoding::Identity),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            "deflate" | "zlib" => Ok(Encoding::Deflate),
            "lz4" => Ok(Encoding::Lz4),
            "snappy" | "x-snappy-framed" => Ok(Encoding::Snappy),
            _ => Err(WireError::UnsupportedEncoding(header.chars().take(100).collect())),
        }
    }

    /// The name in Content-Encoding.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
            Encoding::Deflate => "deflate",
            Encoding::Lz4 => "lz4",
            Encoding::Snappy => "snappy",
        }
    }
}

/// Decompresses a body to at most `max` bytes.
///
/// Memory stays within about twice `max` and the window of the decompressor, whatever the
/// body claims: one that is larger ends with [`WireError::TooLarge`] at the limit.
pub fn decompress(encoding: Encoding, body: &[u8], max: usize) -> Result<Cow<'_, [u8]>, WireError> {
    let broken = |e: std::io::Error| WireError::Compression { encoding: encoding.as_str(), detail: e.to_string() };
    let out = match encoding {
        Encoding::Identity if body.len() > max => return Err(too_large(max)),
        Encoding::Identity => return Ok(Cow::Borrowed(body)),
        // An empty body is what an empty message looks like; some clients don't compress it.
        _ if body.is_empty() => return Ok(Cow::Borrowed(body)),
        Encoding::Gzip => read(flate2::bufread::MultiGzDecoder::new(body), body, max),
        Encoding::Deflate => read(flate2::bufread::ZlibDecoder::new(body), body, max),
        Encoding::Lz4 => read(lz4_flex::frame::FrameDecoder::new(body), body, max),
        Encoding::Snappy if body.starts_with(SNAPPY_FRAMES) => read(snap::read::FrameDecoder::new(body), body, max),
        Encoding::Snappy => match snap::raw::decompress_len(body) {
            Ok(len) if len > max => return Err(too_large(max)),
            _ => snap::raw::Decoder::new().decompress_vec(body).map_err(std::io::Error::other),
        },
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(broken)?;
            decoder.window_log_max(window_log(max)).map_err(broken)?;
            read(decoder, body, max)
        }
    };
    let out = out.map_err(broken)?;
    if out.len() > max { Err(too_large(max)) } else { Ok(Cow::Owned(out)) }
}

/// The window that a frame of at most `max` bytes can need, within what zstd calls safe (8 to 128 MiB).
fn window_log(max: usize) -> u32 {
    usize::BITS.saturating_sub(max.saturating_sub(1).leading_zeros()).clamp(23, 27)
}

/// How a framed snappy stream begins.
const SNAPPY_FRAMES: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Reads to the end, or one byte past the limit.
fn read(decoder: impl Read, body: &[u8], max: usize) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len().saturating_mul(4).min(max) + 1);
    decoder.take(max as u64 + 1).read_to_end(&mut out)?;
    Ok(out)
}

fn too_large(max: usize) -> WireError {
    WireError::TooLarge { what: "the decompressed body".to_owned(), limit: max, setting: "max_decompressed_bytes" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Write;

    const ALL: [Encoding; 6] =
        [Encoding::Identity, Encoding::Gzip, Encoding::Zstd, Encoding::Deflate, Encoding::Lz4, Encoding::Snappy];

    fn compress(encoding: Encoding, body: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Identity => body.to_vec(),
            Encoding::Gzip => {
                let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(body).unwrap();
                out.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
                out.write_all(body).unwrap();
                out.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(body, 1).unwrap(),
            Encoding::Snappy => {
                let mut out = snap::write::FrameEncoder::new(Vec::new());
                out.write_all(body).unwrap();
                out.into_inner().unwrap()
            }
            Encoding::Lz4 => {
                let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
                out.write_all(body).unwrap();
                out.finish().unwrap()
            }
        }
    }

    #[test]
    fn bodies_come_back_and_bombs_stop() {
        let body: Vec<u8> = (0..100_000u32).flat_map(|i| (i % 1000).to_le_bytes()).collect();
        let zeros = vec![0; 64 << 20];
        for encoding in ALL {
            assert_eq!(Encoding::parse(encoding.as_str()), Ok(encoding));
            let packed = compress(encoding, &body);
            assert_eq!(decompress(encoding, &packed, body.len()).unwrap(), &body[..], "{encoding:?}");
            let error = decompress(encoding, &packed, body.len() - 1).unwrap_err();
            assert_eq!(error.status(), 413, "{encoding:?}");
            let bomb = compress(encoding, &zeros);
            assert_eq!(decompress(encoding, &bomb, 1 << 20).unwrap_err().status(), 413, "{encoding:?}");
            if encoding != Encoding::Identity {
                let error = decompress(encoding, &packed[..packed.len() / 2], 1 << 20).unwrap_err();
                assert_eq!(error.status(), 400, "{encoding:?}: {error}");
                assert_eq!(decompress(encoding, b"not compressed", 1 << 20).unwrap_err().status(), 400, "{encoding:?}");
                assert!(decompress(encoding, b"", 10).unwrap().is_empty());
            }
        }
    }

    #[test]
    fn several_members_are_one_body() {
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let packed = [compress(encoding, b"one "), compress(encoding, b"two")].concat();
            assert_eq!(decompress(encoding, &packed, 100).unwrap(), &b"one two"[..]);
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut out = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        out.window_log(27).unwrap();
        out.write_all(&[7; 100]).unwrap();
        let packed = out.finish().unwrap();
        assert_eq!(decompress(Encoding::Zstd, &packed, 1 << 20).unwrap_err().status(), 400);
    }

    #[test]
    fn unknown_encodings() {
        let error = Encoding::parse("br").unwrap_err();
        assert_eq!(error.status(), 415);
        assert!(error.to_string().contains("gzip, zstd"), "{error}");
    }

    #[test]
    fn one_block_of_snappy() {
        let body: Vec<u8> = (0..100_000u32).flat_map(|i| (i % 1000).to_le_bytes()).collect();
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        assert_eq!(decompress(Encoding::Snappy, &packed, body.len()).unwrap(), &body[..]);
        assert_eq!(decompress(Encoding::Snappy, &packed, body.len() - 1).unwrap_err().status(), 413);
        assert_eq!(decompress(Encoding::Snappy, &packed[..100], body.len()).unwrap_err().status(), 400);
    }
}
