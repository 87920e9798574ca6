//! Resampling of the differences of pairs: a bootstrap interval and a sign-flip test.
//!
//! The generator is `ChaCha8`, seeded by a text: the same text and the same differences give the same bits.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore as _, SeedableRng as _},
};

use lrs_model::number::exact;
use lrs_stats::linear::mean;

/// Resamples of a bootstrap, and flips of a test that cannot try them all.
pub const RESAMPLES: usize = 10_000;
/// The most differences of which every combination of signs is tried.
const MAX_EXACT: usize = 12;
/// A sum of flipped differences within this share of the observed sum counts as equal, so that rounding does not
/// decide.
const TOLERANCE: f64 = 1e-12;

/// The 95% interval of a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether zero lies in it, ends included.
    #[must_use]
    pub fn covers_zero(self) -> bool {
        self.low <= 0.0 && self.high >= 0.0
    }
}

/// The random generator that a text seeds.
pub(super) fn chance(text: &str) -> ChaCha8Rng {
    // FNV-1a: any hash that stays the same would do.
    let seed = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    ChaCha8Rng::seed_from_u64(seed)
}

/// The interval between the 2.5% and the 97.5% quantile of the means of resampled differences (the percentile
/// bootstrap); `None` for fewer than two. Differences are finite.
pub(super) fn bootstrap(differences: &[f64], chance: &mut ChaCha8Rng) -> Option<Interval> {
    if differences.len() < 2 {
        return None;
    }
    let mut resample = vec![0.0; differences.len()];
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            resample.fill_with(|| differences[below(differences.len(), chance)]);
            mean(&resample)
        })
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    Some(Interval { low: quantile(&means, 0.025), high: quantile(&means, 0.975) })
}

/// The share of sign flips whose mean lies at least as far from zero: exact for up to 12 differences, else from
/// [`RESAMPLES`] random flips. `None` without differences.
pub(super) fn sign_flip(differences: &[f64], chance: &mut ChaCha8Rng) -> Option<f64> {
    let count = differences.len();
    if count == 0 {
        return None;
    }
    let observed = flipped(differences, |_| false).abs();
    let is_as_far = |sum: f64| sum.abs() >= observed * (1.0 - TOLERANCE);
    if count <= MAX_EXACT {
        let combinations = 1_usize << count;
        let far = (0..combinations).filter(|signs| is_as_far(flipped(differences, |i| signs >> i & 1 == 1))).count();
        return Some(exact(far as u64) / exact(combinations as u64));
    }
    let far = (0..RESAMPLES).filter(|_| is_as_far(flipped(differences, |_| chance.next_u32() & 1 == 1))).count();
    // The observed signs are one of the combinations.
    Some(exact(far as u64 + 1) / exact(RESAMPLES as u64 + 1))
}

fn flipped(differences: &[f64], mut is_flipped: impl FnMut(usize) -> bool) -> f64 {
    differences.iter().enumerate().map(|(i, difference)| if is_flipped(i) { -difference } else { *difference }).sum()
}

/// A random place below `count`, uniform to within 1 in 2^32.
fn below(count: usize, chance: &mut ChaCha8Rng) -> usize {
    let place = (u128::from(chance.next_u64()) * count as u128) >> 64;
    usize::try_from(place).unwrap_or(0)
}

/// A quantile of sorted values, linear between the two nearest.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * exact(sorted.len() as u64 - 1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a place in the slice")]
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - place.floor()) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_text_gives_the_same_bits_and_another_gives_others() {
        let differences = [0.3, -0.1, 0.7, 0.2, 0.05];
        let interval = |text| bootstrap(&differences, &mut chance(text));
        assert_eq!(interval("digits"), interval("digits"));
        assert_ne!(interval("digits"), interval("letters"));
    }

    #[test]
    fn a_few_signs_by_hand() {
        let p = |differences: &[f64]| sign_flip(differences, &mut chance(""));
        assert_eq!(p(&[]), None);
        assert_eq!(p(&[2.0]), Some(1.0));
        assert_eq!(p(&[1.0, 2.0, 3.0]), Some(0.25));
        assert_eq!(p(&[1.0; 6]), Some(2.0 / 64.0));
        assert_eq!(p(&[0.0, 0.0]), Some(1.0));
        // 0.1 + 0.2 - 0.3 is not quite 0, and must count as it.
        assert_eq!(p(&[0.1, 0.2, -0.3]), Some(1.0));
    }

    #[test]
    fn many_differences_of_one_sign_are_no_chance() {
        let p = sign_flip(&[1.0; 40], &mut chance("x")).unwrap();
        assert!(p < 0.001, "{p}");
    }

    #[test]
    fn one_difference_has_no_interval_and_equal_ones_a_point() {
        assert_eq!(bootstrap(&[1.0], &mut chance("")), None);
        assert_eq!(bootstrap(&[2.0; 4], &mut chance("")), Some(Interval { low: 2.0, high: 2.0 }));
    }

    proptest! {
        #[test]
        fn an_interval_lies_within_the_differences(differences in prop::collection::vec(-10.0..10.0f64, 2..20)) {
            let found = bootstrap(&differences, &mut chance("law")).unwrap();
            let low = differences.iter().copied().fold(f64::INFINITY, f64::min);
            let high = differences.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(low - 1e-9 <= found.low && found.low <= found.high && found.high <= high + 1e-9);
        }

        #[test]
        fn turning_all_signs_round_changes_no_p(differences in prop::collection::vec(-10.0..10.0f64, 1..12)) {
            let turned: Vec<f64> = differences.iter().map(|difference| -difference).collect();
            prop_assert_eq!(sign_flip(&differences, &mut chance("")), sign_flip(&turned, &mut chance("")));
        }
    }
}
