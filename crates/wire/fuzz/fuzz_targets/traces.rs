#![no_main]

mod check;

use bonghwa_model::Signal;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check::check(bonghwa_wire::decode(Signal::Traces, data, &check::options())));
