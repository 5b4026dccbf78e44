#![no_main]

mod check;

use bonghwa_wire::remote_write::{Version, decode, metadata_batch};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((version, body)) = data.split_first() {
        let version = if version % 2 == 0 { Version::V1 } else { Version::V2 };
        match decode(version, body, &check::options()) {
            Ok(received) => {
                let taken = received.written.samples + received.written.histograms;
                assert!(taken <= received.decoded.batch.rows() as u64);
                assert!(metadata_batch(&received.metadata, 1).rows() == received.metadata.len());
                check::check(Ok(received.decoded));
            }
            Err(error) => check::check(Err(error)),
        }
    }
});
