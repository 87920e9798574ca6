//! Statistics that need one or two passes over a window.

use super::{
    number,
    sum::{sum, sum_of},
};

/// Mean, variance and extremes of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// The last value.
    pub last: f64,
    /// The least value, whose first place is [`Moments::first_argmin`].
    pub min: f64,
    /// The first place of the least value, from 0.
    pub first_argmin: usize,
    /// The greatest value.
    pub max: f64,
    /// The mean of the values.
    pub mean: f64,
    /// The variance around the mean, over n - 1; 0 for one value.
    pub variance: f64,
}

/// How the values change over the window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Slope of the least-squares line, in values per place.
    pub slope: f64,
    /// The square of the slope's t statistic, with n - 2 degrees of freedom; compare it with the square of a threshold,
    /// and look at the sign of the slope. Infinite where the line fits exactly and is not flat; 0 for a constant
    /// window.
    pub slope_t2: f64,
    /// Correlation of neighbouring values, r1, in `[-1, 1]`; 0 for a constant window.
    pub neighbour_correlation: f64,
    /// How many independent values would say as much about the mean: n (1 - r1) / (1 + r1).
    pub effective_n: f64,
    /// The square of Welch's statistic between the first n / 2 values and the rest.
    pub halves_z2: f64,
    /// The variance of one value, estimated from the means of batches; correlation of neighbours makes it greater than
    /// [`Moments::variance`]. `None` for fewer than two batches. See [`batch_means_variance`].
    pub batch_variance: Option<f64>,
}

/// The mean; 0 for an empty slice.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { sum_of(values, |x| x) / number(values.len()) }
}

/// The variance around `mean`, over n - 1, in one more pass; 0 for fewer than two values.
#[must_use]
pub fn variance(values: &[f64], mean: f64) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    squares(values, mean) / number(values.len() - 1)
}

/// The standard error of the mean: `sqrt(variance / n)`; 0 for fewer than two values.
#[must_use]
pub fn standard_error(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    (variance(values, mean(values)) / number(values.len())).sqrt()
}

/// Computes [`Moments`]; `None` for an empty slice. Values must be finite.
#[must_use]
pub fn moments(values: &[f64]) -> Option<Moments> {
    let (&first, &last) = (values.first()?, values.last()?);
    let (mut min, mut first_argmin, mut max) = (first, 0, first);
    for (i, &value) in values.iter().enumerate() {
        if value < min {
            (min, first_argmin) = (value, i);
        }
        if value > max {
            max = value;
        }
    }
    let mean = mean(values);
    Some(Moments { last, min, first_argmin, max, mean, variance: variance(values, mean) })
}

/// Computes [`Trend`]; `None` for fewer than three values. Values must be finite.
#[must_use]
pub fn trend(values: &[f64]) -> Option<Trend> {
    let n = values.len();
    if n < 3 {
        return None;
    }
    let mean = mean(values);
    let (slope, slope_t2) = slope(values, mean);
    let r1 = neighbour_correlation(values, mean);
    Some(Trend {
        slope,
        slope_t2,
        neighbour_correlation: r1,
        effective_n: number(n) * (1.0 - r1) / (1.0 + r1),
        halves_z2: halves_z2(values),
        batch_variance: batch_means_variance(values),
    })
}

/// The correlation of neighbours, r1: `sum of x'(i) x'(i-1) / sum of x'(i)^2` with `x' = x - mean`; 0 for a constant
/// window.
#[must_use]
pub fn neighbour_correlation(values: &[f64], mean: f64) -> f64 {
    let all = squares(values, mean);
    if values.len() < 2 || all == 0.0 {
        return 0.0;
    }
    sum(values.len() - 1, |i| (values[i + 1] - mean) * (values[i] - mean)) / all
}

/// The variance of one value, estimated from batch means: `b * sum of (Y_j - mean of Y)^2 / (k - 1)`, where `Y_j` are
/// the means of the last `k` whole batches of `b` values. `b` is 8, 16 or 32 for windows of at least 16, 256 or 1024
/// values. `None` for fewer than 16 values.
#[must_use]
pub fn batch_means_variance(values: &[f64]) -> Option<f64> {
    let length = match values.len() {
        0..16 => return None,
        16..256 => 8,
        256..1024 => 16,
        _ => 32,
    };
    let whole = &values[values.len() % length..];
    let mut means = [0.0; 64];
    let batches = whole.len() / length;
    for (batch, values) in means.iter_mut().zip(whole.chunks_exact(length)) {
        *batch = mean(values);
    }
    let means = &means[..batches];
    Some(number(length) * variance(means, mean(means)))
}

/// Slope and the square of its t statistic. Places are centred so that they are exact.
fn slope(values: &[f64], mean: f64) -> (f64, f64) {
    let n = number(values.len());
    let middle = (n - 1.0) / 2.0;
    let stt = n * (n * n - 1.0) / 12.0;
    let stx = sum(values.len(), |i| (number(i) - middle) * (values[i] - mean));
    let slope = stx / stt;
    let rest = squares(values, mean) - slope * stx;
    let explained = slope * slope * stt * (n - 2.0);
    let t2 = match (explained > 0.0, rest > 0.0) {
        (true, true) => explained / rest,
        (true, false) => f64::INFINITY,
        (false, _) => 0.0,
    };
    (slope, t2)
}

fn halves_z2(values: &[f64]) -> f64 {
    let (first, second) = values.split_at(values.len() / 2);
    let (m1, m2) = (mean(first), mean(second));
    let error = variance(first, m1) / number(first.len()) + variance(second, m2) / number(second.len());
    let difference = (m1 - m2) * (m1 - m2);
    match (difference > 0.0, error > 0.0) {
        (true, true) => difference / error,
        (true, false) => f64::INFINITY,
        (false, _) => 0.0,
    }
}

fn squares(values: &[f64], mean: f64) -> f64 {
    sum_of(values, |x| (x - mean) * (x - mean))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A sum that carries the error of every addition along (Kahan and Babuška): almost twice the digits.
    fn precise(terms: impl IntoIterator<Item = f64>) -> f64 {
        let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
        for term in terms {
            let next = sum + term;
            lost += if sum.abs() >= term.abs() { (sum - next) + term } else { (term - next) + sum };
            sum = next;
        }
        sum + lost
    }

    fn window() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(prop_oneof![-1e3..1e3f64, Just(0.0), (-5i8..5).prop_map(f64::from)], 3..1025)
    }

    #[track_caller]
    fn close(found: f64, expected: f64, scale: f64) -> Result<(), TestCaseError> {
        prop_assert!((found - expected).abs() <= 1e-11 * scale.max(1e-9), "{} is not {}", found, expected);
        Ok(())
    }

    /// Expected values from `scipy.stats.linregress` and `ttest_ind(equal_var=False)`, version 1.17.1.
    #[test]
    fn the_line_and_welchs_test_are_scipys() {
        let values = [4.0, 1.0, 3.0, 3.0, 2.0, 7.0, 5.0, 8.0, 6.0, 9.0, 7.0];
        let found = trend(&values).unwrap();
        assert!((found.slope - 0.627_272_727_272_727_2).abs() < 1e-14, "{}", found.slope);
        assert!((found.slope_t2 - 15.759_102_611_254_136).abs() < 1e-11, "{}", found.slope_t2);
        assert!((found.halves_z2 - 32.629_213_483_146_07).abs() < 1e-11, "{}", found.halves_z2);
        assert!((moments(&values).unwrap().variance - 6.8).abs() < 1e-14);
    }

    #[test]
    fn a_constant_window_has_no_trend() {
        let found = trend(&[2.5; 40]).unwrap();
        let expected = Trend {
            slope: 0.0,
            slope_t2: 0.0,
            neighbour_correlation: 0.0,
            effective_n: 40.0,
            halves_z2: 0.0,
            batch_variance: Some(0.0),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_straight_line_has_its_slope_and_no_doubt() {
        let line: Vec<f64> = (0..64).map(|i| 3.0 - 0.5 * f64::from(i)).collect();
        let found = trend(&line).unwrap();
        assert_eq!((found.slope, found.slope_t2), (-0.5, f64::INFINITY));
    }

    #[test]
    fn too_few_values_have_no_statistic() {
        assert_eq!((mean(&[]), variance(&[1.0], 1.0), standard_error(&[1.0])), (0.0, 0.0, 0.0));
        assert_eq!((moments(&[]), trend(&[1.0, 2.0]), batch_means_variance(&[0.0; 15])), (None, None, None));
    }

    #[test]
    fn the_first_of_equal_minima_counts() {
        let found = moments(&[3.0, 1.0, 2.0, 1.0]).unwrap();
        assert_eq!((found.min, found.first_argmin, found.max, found.last), (1.0, 1, 3.0, 1.0));
    }

    #[test]
    fn batches_are_those_of_the_end() {
        // The first 2 of 18 values belong to no batch of 8.
        let mut values = [0.0; 18];
        values[0] = 1e9;
        values[10..].fill(2.0);
        let expected = 8.0 * 2.0;
        assert_eq!(batch_means_variance(&values), Some(expected));
    }

    proptest! {
        #[test]
        fn all_figures_are_near_those_of_a_precise_sum(values in window()) {
            let n = number(values.len());
            let exact_mean = precise(values.iter().copied()) / n;
            let squares = precise(values.iter().map(|x| (x - exact_mean) * (x - exact_mean)));
            let middle = (n - 1.0) / 2.0;
            let place = |i: usize| number(i) - middle;
            let stx = precise(values.iter().enumerate().map(|(i, x)| place(i) * (x - exact_mean)));
            let stt = precise((0..values.len()).map(|i| place(i) * place(i)));
            let pairs = precise(values.windows(2).map(|pair| (pair[0] - exact_mean) * (pair[1] - exact_mean)));

            let (moments, trend) = (moments(&values).unwrap(), trend(&values).unwrap());
            close(moments.mean, exact_mean, 1e3)?;
            close(moments.variance, squares / (n - 1.0), squares / (n - 1.0))?;
            close(trend.slope, stx / stt, 1e3)?;
            if squares > 0.0 {
                close(trend.neighbour_correlation, pairs / squares, 1.0)?;
            }
            prop_assert!(trend.slope_t2 >= 0.0 && trend.halves_z2 >= 0.0);
            prop_assert!(trend.effective_n > 0.0, "{}", trend.effective_n);
        }
    }
}
