//! SASA+: whether training at one rate has come to rest, seen from the norm of the parameters alone.
//!
//! Zhang, Lang, Liu and Xiao, "Statistical Adaptive Stochastic Gradient Methods", 2020,
//! <https://arxiv.org/abs/2002.10597>. With the step direction d and rate a, the statistic <x, d> - (a/2) |d|^2 is `(P
//! before - P after) / (2 a)` of the squared norm P of the parameters, so its mean over a window telescopes.

use super::{
    linear::{mean, variance},
    number,
};

/// The most batches.
const MAX_BATCHES: usize = 64;

/// The statistic over a window, and its error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stationarity {
    /// The mean of the statistic, `(P first - P last) / (2 a W)`: near 0 at rest.
    pub mean: f64,
    /// The variance of one step's statistic as seen from the means of batches.
    pub variance: f64,
}

/// The statistic from squared parameter norms at the borders of batches of `batch` steps each, at the rate `rate`.
///
/// `None` for fewer than 3 borders or more than 65, for borders that are not finite, and unless `rate` and `batch` are
/// greater than 0. Differences cancel: norms have to come in f64.
#[must_use]
pub fn stationarity(borders: &[f64], batch: usize, rate: f64) -> Option<Stationarity> {
    let batches = borders.len().checked_sub(1).filter(|batches| (2..=MAX_BATCHES).contains(batches))?;
    let is_rate = rate.is_finite() && rate > 0.0;
    if batch == 0 || !is_rate || !borders.iter().all(|border| border.is_finite()) {
        return None;
    }
    let mut means = [0.0; MAX_BATCHES];
    for (batch_mean, pair) in means.iter_mut().zip(borders.windows(2)) {
        *batch_mean = (pair[0] - pair[1]) / (2.0 * rate * number(batch));
    }
    let means = &means[..batches];
    let steps = number(batches * batch);
    Some(Stationarity {
        mean: (borders[0] - borders[batches]) / (2.0 * rate * steps),
        variance: number(batch) * variance(means, mean(means)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_norm_that_grows_steadily_is_not_at_rest() {
        let borders: Vec<f64> = (0..9).map(|i| 100.0 + 2.0 * f64::from(i)).collect();
        let found = stationarity(&borders, 16, 0.5).unwrap();
        assert!((found.mean + 0.125).abs() < 1e-15, "{found:?}");
        assert!(found.variance < 1e-20, "{found:?}");
    }

    #[test]
    fn a_norm_that_goes_up_and_down_is() {
        let borders: Vec<f64> = (0..9).map(|i| 100.0 + f64::from(i % 2)).collect();
        let found = stationarity(&borders, 16, 0.5).unwrap();
        assert_eq!(found.mean.to_bits(), 0.0_f64.to_bits());
        assert!(found.variance > 0.0);
    }

    #[test]
    fn what_can_not_be_tested_gives_nothing() {
        assert_eq!(stationarity(&[1.0, 2.0], 16, 0.5), None);
        assert_eq!(stationarity(&[1.0, 2.0, 3.0], 16, 0.0), None);
        assert_eq!(stationarity(&[1.0, f64::NAN, 3.0], 16, 0.5), None);
        assert_eq!(stationarity(&[1.0; 70], 16, 0.5), None);
    }
}
