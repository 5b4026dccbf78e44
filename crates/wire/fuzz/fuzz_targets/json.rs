#![no_main]

mod check;

use bonghwa_model::Signal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Some((signal, text)) = data.split_first() {
        let signal = Signal::ALL[*signal as usize % 3];
        check::check(bonghwa_wire::decode_json(signal, text, &check::options()));
    }
});
