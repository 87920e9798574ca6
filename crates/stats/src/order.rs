//! Order statistics: exact, so that every way of sorting gives the same bits.
//!
//! Values are finite and ordered by [`f64::total_cmp`], which puts -0 before 0.

/// The ratio of a normal distribution's standard deviation to its median absolute deviation.
pub const NORMAL: f64 = 1.4826;

/// Order statistics of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quantiles {
    /// The middle value, or the mean of the two middle ones.
    pub median: f64,
    /// The median of the distances from the median.
    pub mad: f64,
    /// The value at place `floor(0.1 (n - 1))` of the sorted window.
    pub q10: f64,
    /// The value at place `floor(0.25 (n - 1))`.
    pub q25: f64,
    /// The value at place `ceil(0.75 (n - 1))`.
    pub q75: f64,
    /// The value at place `ceil(0.9 (n - 1))`.
    pub q90: f64,
}

/// Computes [`Quantiles`]; `None` for an empty slice. Sorts `values`.
#[must_use]
pub fn quantiles(values: &mut [f64]) -> Option<Quantiles> {
    let last = values.len().checked_sub(1)?;
    values.sort_unstable_by(f64::total_cmp);
    let median = middle(values);
    let (q10, q25) = (values[last / 10], values[last / 4]);
    let (q75, q90) = (values[(3 * last).div_ceil(4)], values[(9 * last).div_ceil(10)]);
    for value in &mut *values {
        *value = (*value - median).abs();
    }
    values.sort_unstable_by(f64::total_cmp);
    Some(Quantiles { median, mad: middle(values), q10, q25, q75, q90 })
}

/// The median; NaN for an empty slice.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    middle(&sorted)
}

/// The median and the median absolute deviation from it; both NaN for an empty slice.
#[must_use]
pub fn median_and_mad(values: &[f64]) -> (f64, f64) {
    let mut sorted = values.to_vec();
    quantiles(&mut sorted).map_or((f64::NAN, f64::NAN), |quantiles| (quantiles.median, quantiles.mad))
}

/// The score of a stage of a search: the median of its losses, and the standard error of their mean.
#[must_use]
pub fn stage_score(losses: &[f64]) -> (f64, f64) {
    (median(losses), super::linear::standard_error(losses))
}

/// The median of sorted values; NaN for an empty slice.
fn middle(sorted: &[f64]) -> f64 {
    match sorted {
        [] => f64::NAN,
        _ if sorted.len().is_multiple_of(2) => {
            let half = sorted.len() / 2;
            0.5 * (sorted[half - 1] + sorted[half])
        }
        _ => sorted[sorted.len() / 2],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_windows_by_hand() {
        assert!(median(&[]).is_nan());
        assert_eq!(median_and_mad(&[4.0]), (4.0, 0.0));
        assert_eq!(median_and_mad(&[1.0, 2.0, 4.0, 8.0]), (3.0, 1.5));
        let eleven = quantiles(&mut (0..=10).rev().map(f64::from).collect::<Vec<_>>()).unwrap();
        let expected = Quantiles { median: 5.0, mad: 3.0, q10: 1.0, q25: 2.0, q75: 8.0, q90: 9.0 };
        assert_eq!(eleven, expected);
        assert_eq!(quantiles(&mut []), None);
    }

    #[test]
    fn the_score_of_a_stage_by_hand() {
        let (loss, error) = stage_score(&[1.0, 2.0, 3.0, 6.0]);
        assert_eq!(loss.to_bits(), 2.5_f64.to_bits());
        assert!((error - (14.0_f64 / 3.0 / 4.0).sqrt()).abs() < 1e-15, "{error}");
    }

    proptest! {
        #[test]
        fn as_many_values_lie_below_the_median_as_above(values in prop::collection::vec(-3i8..4, 1..300)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let median = median(&values);
            let below = values.iter().filter(|&&value| value < median).count();
            let above = values.iter().filter(|&&value| value > median).count();
            prop_assert!(2 * below <= values.len() && 2 * above <= values.len());
        }

        #[test]
        fn quantiles_do_not_depend_on_the_order_of_values(mut values in prop::collection::vec(-1e3..1e3f64, 1..200)) {
            let mut reversed: Vec<f64> = values.iter().rev().copied().collect();
            let found = quantiles(&mut values).unwrap();
            prop_assert_eq!(quantiles(&mut reversed).unwrap(), found);
            prop_assert!(found.q10 <= found.q25 && found.q25 <= found.median);
            prop_assert!(found.median <= found.q75 && found.q75 <= found.q90 && found.mad >= 0.0);
        }
    }
}
