//! Random windows of every kind that telemetry brings, and some that it should not.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Windows of many kinds and lengths, the same for the same seed.
pub fn windows(seed: u64, count: usize, longest: usize) -> Vec<Vec<f64>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| window(&mut random, longest)).collect()
}

fn window(random: &mut ChaCha8Rng, longest: usize) -> Vec<f64> {
    // Short ones often: the edges are there.
    let length = match random.random_range(0..4) {
        0 => random.random_range(0..=4),
        1 => random.random_range(0..=longest.min(40)),
        _ => random.random_range(0..=longest),
    };
    let kind = random.random_range(0..10);
    let level = random.random_range(-5.0..5.0);
    (0..length)
        .map(|i| {
            let noise: f64 = random.random_range(-1.0..1.0);
            let place = f64::from(u32::try_from(i).expect("it is short"));
            match kind {
                0 => level,                                  // constant
                1 => level - 0.01 * place,                   // a line
                2 => level - 0.001 * place + noise,          // a loss
                3 => (noise * 3.0).round(),                  // ties, and both zeros
                4 => noise * f64::MIN_POSITIVE,              // subnormal
                5 => noise * f64::MAX,                       // sums overflow
                6 if random.random_bool(0.2) => odd(random), // some are not finite
                7 => odd(random),                            // most are not
                8 => noise * libm::pow(10.0, f64::from(random.random_range(-300..300))),
                9 if random.random_bool(0.02) => 1e12, // spikes
                _ => level + noise,
            }
        })
        .collect()
}

fn odd(random: &mut ChaCha8Rng) -> f64 {
    match random.random_range(0..5) {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => -0.0,
        3 => f64::from_bits(0xfff8_0000_0000_1234), // a NaN of another's making
        _ => f64::NAN,
    }
}
