//! Rank statistics: tests for a trend that spikes cannot disturb. They use integers and exact order statistics.

use super::number;

/// The 97.5% quantile of the standard normal distribution.
const Z_95: f64 = 1.959_963_984_540_054;

/// Mann and Kendall's test for a monotonic trend.
///
/// Mann, "Nonparametric tests against trend", Econometrica 13 (1945); variance with ties as in Kendall, "Rank
/// Correlation Methods" (1975). -0 and 0 are tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MannKendall {
    /// The number of pairs of values that rise minus the number that fall.
    pub s: i64,
    /// The number of pairs of equal values.
    pub tied_pairs: i64,
    /// 18 times the variance of `s` where there is no trend: `n (n-1) (2n+5) - sum over ties of t (t-1) (2t+5)`.
    pub variance_18: i64,
}

/// Theil and Sen's slope: the median of the slopes of all pairs.
///
/// Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TheilSen {
    /// The median slope, in values per place.
    pub slope: f64,
    /// The lower end of the slope's 95% interval.
    pub low: f64,
    /// The upper end of the slope's 95% interval.
    pub high: f64,
}

impl MannKendall {
    /// The variance of `s` where there is no trend.
    #[must_use]
    pub fn variance(&self) -> f64 {
        number(self.variance_18) / 18.0
    }

    /// `s` as a floating-point number.
    #[must_use]
    pub fn signed(&self) -> f64 {
        number(self.s)
    }

    /// `s^2 / variance`, to compare with the square of a threshold; 0 where all values are tied.
    #[must_use]
    pub fn z2(&self) -> f64 {
        let s = number(self.s);
        if self.variance_18 == 0 { 0.0 } else { s * s / self.variance() }
    }
}

/// The test on a window of finite values; `None` for fewer than two.
///
/// `O(n log n)`: the pairs that fall are the inversions that a merge sort removes.
#[must_use]
pub fn mann_kendall(values: &[f64]) -> Option<MannKendall> {
    let n = i64::try_from(values.len()).ok().filter(|&n| n >= 2)?;
    // Adding 0 turns -0 into 0.
    let mut sorted: Vec<f64> = values.iter().map(|value| value + 0.0).collect();
    let falling = sort_counting(&mut sorted, &mut vec![0.0; values.len()]);
    let (mut tied_pairs, mut tied_variance) = (0, 0);
    for ties in sorted.chunk_by(|a, b| a.total_cmp(b).is_eq()) {
        let t = i64::try_from(ties.len()).unwrap_or(i64::MAX);
        tied_pairs += t * (t - 1) / 2;
        tied_variance += t * (t - 1) * (2 * t + 5);
    }
    Some(MannKendall {
        s: n * (n - 1) / 2 - tied_pairs - 2 * falling,
        tied_pairs,
        variance_18: n * (n - 1) * (2 * n + 5) - tied_variance,
    })
}

/// The slope over a window of finite values; `None` for fewer than two.
///
/// Takes the median of the `N = n (n-1) / 2` sorted slopes. The interval ends at the places
/// `round((N - z sigma) / 2) - 1` and `round((N + z sigma) / 2)`, with halves rounded to even and both places kept
/// within the slopes; `sigma^2` is Kendall's variance with ties. This is the rule of `scipy.stats.theilslopes`.
#[must_use]
pub fn theil_sen(values: &[f64]) -> Option<TheilSen> {
    let variance = mann_kendall(values)?.variance();
    let mut slopes = Vec::with_capacity(values.len() * (values.len() - 1) / 2);
    for (i, &from) in values.iter().enumerate() {
        slopes.extend(values[i + 1..].iter().enumerate().map(|(gap, &to)| (to - from) / number(gap + 1)));
    }
    let count = slopes.len();
    let reach = Z_95 * variance.sqrt();
    let low = place((number(count) - reach) / 2.0).saturating_sub(1);
    let high = place(f64::midpoint(number(count), reach)).min(count - 1);
    let upper_middle = select(&mut slopes, count / 2);
    let slope = match count % 2 {
        0 => 0.5 * (greatest(&slopes[..count / 2]) + upper_middle),
        _ => upper_middle,
    };
    Some(TheilSen { slope, low: select(&mut slopes, low), high: select(&mut slopes, high) })
}

/// The nearest place, with halves rounded to even; at least 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most the number of pairs of a window, and clamped below"
)]
fn place(exact: f64) -> usize {
    exact.round_ties_even().max(0.0) as usize
}

fn select(slopes: &mut [f64], place: usize) -> f64 {
    *slopes.select_nth_unstable_by(place, f64::total_cmp).1
}

fn greatest(slopes: &[f64]) -> f64 {
    slopes.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0)
}

/// Sorts the values, and returns the number of pairs that were in falling order.
fn sort_counting(values: &mut [f64], spare: &mut [f64]) -> i64 {
    let n = values.len();
    if n < 2 {
        return 0;
    }
    let half = n / 2;
    let (left, right) = values.split_at_mut(half);
    let mut falling = sort_counting(left, &mut spare[..half]) + sort_counting(right, &mut spare[half..]);
    let (mut i, mut j) = (0, 0);
    for slot in spare.iter_mut() {
        let takes_right = i == left.len() || j < right.len() && right[j].total_cmp(&left[i]).is_lt();
        if takes_right {
            // All values left in the left half are greater.
            falling += i64::try_from(left.len() - i).unwrap_or(i64::MAX);
            *slot = right[j];
            j += 1;
        } else {
            *slot = left[i];
            i += 1;
        }
    }
    values.copy_from_slice(spare);
    falling
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ties() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-6i8..6).prop_map(f64::from), 2..80)
    }

    /// Counts over all pairs, one by one.
    fn by_pairs(values: &[f64]) -> (i64, i64) {
        let (mut s, mut tied) = (0, 0);
        for (i, a) in values.iter().enumerate() {
            for b in &values[i + 1..] {
                s += i64::from(b > a) - i64::from(b < a);
                tied += i64::from(a.total_cmp(b).is_eq());
            }
        }
        (s, tied)
    }

    #[test]
    fn a_rising_window_has_every_pair_and_a_constant_one_none() {
        let rising: Vec<f64> = (0..10).map(f64::from).collect();
        let found = mann_kendall(&rising).unwrap();
        assert_eq!((found.s, found.tied_pairs, found.variance_18), (45, 0, 10 * 9 * 25));
        let constant = mann_kendall(&[3.0; 10]).unwrap();
        assert_eq!((constant.s, constant.tied_pairs, constant.variance_18), (0, 45, 0));
        assert_eq!(constant.z2().to_bits(), 0.0_f64.to_bits());
        assert_eq!(mann_kendall(&[1.0]), None);
    }

    #[test]
    fn the_two_zeros_are_tied() {
        assert_eq!(mann_kendall(&[0.0, -0.0, 0.0]).unwrap().tied_pairs, 3);
    }

    #[test]
    fn a_spike_does_not_move_the_slope() {
        let mut line: Vec<f64> = (0..101).map(|i| f64::from(i) * 0.5).collect();
        line[50] = 1e12;
        assert_eq!(theil_sen(&line).unwrap().slope.to_bits(), 0.5_f64.to_bits());
    }

    /// Expected values from `scipy.stats.theilslopes`, version 1.17.1.
    #[test]
    fn the_interval_is_scipys() {
        let values = [4.0, 1.0, 3.0, 3.0, 2.0, 7.0, 5.0, 8.0, 6.0, 9.0, 7.0];
        let found = theil_sen(&values).unwrap();
        let expected = [4.0 / 7.0, 0.25, 1.0];
        for (found, expected) in [found.slope, found.low, found.high].into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{found} is not {expected}");
        }
    }

    proptest! {
        #[test]
        fn counting_inversions_is_counting_pairs(values in ties()) {
            let found = mann_kendall(&values).unwrap();
            prop_assert_eq!((found.s, found.tied_pairs), by_pairs(&values));
        }

        #[test]
        fn the_slope_is_the_middle_of_all_sorted_slopes(values in ties()) {
            let mut slopes = Vec::new();
            for i in 0..values.len() {
                for j in i + 1..values.len() {
                    slopes.push((values[j] - values[i]) / number(j - i));
                }
            }
            let found = theil_sen(&values).unwrap();
            prop_assert_eq!(found.slope.to_bits(), crate::order::median(&slopes).to_bits());
            prop_assert!(found.low <= found.slope && found.slope <= found.high);
        }

        #[test]
        fn turning_a_window_round_turns_the_trend_round(values in ties()) {
            let reversed: Vec<f64> = values.iter().rev().copied().collect();
            let (there, back) = (mann_kendall(&values).unwrap(), mann_kendall(&reversed).unwrap());
            prop_assert_eq!((there.s, there.variance_18), (-back.s, back.variance_18));
        }
    }
}
