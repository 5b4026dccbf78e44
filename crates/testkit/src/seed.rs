//! Seeds: drawn once, printed, and set again with `BONGHWA_SEED` to replay a run.

use rand::SeedableRng;
use rand::rngs::StdRng;

/// The run's seed, printed so that a failure can be replayed.
pub fn draw(test: &str) -> u64 {
    let seed = match std::env::var("BONGHWA_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => seed,
        None => u64::from(rand::random::<u32>()),
    };
    println!("{test}: BONGHWA_SEED={seed}");
    seed
}

/// A generator for one use of a seed; `stream` keeps the uses apart.
pub fn rng(seed: u64, stream: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(stream))
}
