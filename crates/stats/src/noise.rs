//! The gradient noise scale: up to which size a larger batch pays.
//!
//! `McCandlish` and others, "An Empirical Model of Large-Batch Training", 2018, appendix A.1.
//! <https://arxiv.org/abs/1812.06162>

use super::{
    linear::{mean, variance},
    number,
};

/// Squared norms of the mean gradient over a small and over a big batch, at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    /// |g|^2 of the small batch, averaged over the small batches of the step.
    pub small: f64,
    /// Samples of a small batch, b.
    pub batch_small: f64,
    /// |g|^2 of the big batch.
    pub big: f64,
    /// Samples of the big batch, B > b.
    pub batch_big: f64,
}

impl Norms {
    /// Unbiased estimates of G2, the squared norm of the true gradient, and S, the trace of the covariance of a
    /// sample's gradient: `G2 = (B |g_B|^2 - b |g_b|^2) / (B - b)` and `S = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)`.
    ///
    /// `None` unless `0 < b < B` and everything is finite.
    #[must_use]
    pub fn estimates(&self) -> Option<(f64, f64)> {
        let Self { small, batch_small, big, batch_big } = *self;
        let is_usable = batch_small > 0.0 && batch_small < batch_big && batch_big.is_finite();
        if !is_usable || !small.is_finite() || !big.is_finite() {
            return None;
        }
        let g2 = (batch_big * big - batch_small * small) / (batch_big - batch_small);
        let s = (small - big) / (1.0 / batch_small - 1.0 / batch_big);
        Some((g2, s))
    }
}

/// The noise scale over a window of estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseScale {
    /// The mean of G2 over the window.
    pub g2: f64,
    /// The variance of G2 over the window.
    pub g2_variance: f64,
    /// The mean of S over the window.
    pub s: f64,
    /// The variance of S over the window.
    pub s_variance: f64,
    /// The simple noise scale in samples, S / G2: a ratio of means, never a mean of ratios. `None` (undetermined) while
    /// G2 is at most two of its standard errors, or S is not positive.
    pub simple: Option<f64>,
}

/// The noise scale from a window of estimates of G2 and S, equally many of both; `None` for fewer than two.
#[must_use]
pub fn noise_scale(g2s: &[f64], ss: &[f64]) -> Option<NoiseScale> {
    if g2s.len() < 2 || g2s.len() != ss.len() {
        return None;
    }
    let (g2, s) = (mean(g2s), mean(ss));
    let (g2_variance, s_variance) = (variance(g2s, g2), variance(ss, s));
    let error = (g2_variance / number(g2s.len())).sqrt();
    let simple = (g2 > 2.0 * error && s > 0.0).then(|| s / g2);
    Some(NoiseScale { g2, g2_variance, s, s_variance, simple })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimates_undo_what_averaging_over_a_batch_does() {
        // |g|^2 over a batch of n samples is G2 + S / n.
        let (g2, s) = (4.0, 64.0);
        let norms = Norms { small: g2 + s / 8.0, batch_small: 8.0, big: g2 + s / 32.0, batch_big: 32.0 };
        assert_eq!(norms.estimates(), Some((g2, s)));
    }

    #[test]
    fn batches_that_can_not_be_compared_give_nothing() {
        let norms = Norms { small: 1.0, batch_small: 8.0, big: 1.0, batch_big: 8.0 };
        assert_eq!(norms.estimates(), None);
        assert_eq!(Norms { batch_small: 0.0, ..norms }.estimates(), None);
        assert_eq!(Norms { batch_big: 16.0, small: f64::NAN, ..norms }.estimates(), None);
    }

    #[test]
    fn the_scale_is_the_ratio_of_means_and_undetermined_in_noise() {
        let clear = noise_scale(&[3.9, 4.1, 4.0, 4.0], &[60.0, 68.0, 64.0, 64.0]).unwrap();
        assert!((clear.simple.unwrap() - 16.0).abs() < 1e-12);
        let noisy = noise_scale(&[-4.0, 5.0, -3.0, 4.0], &[64.0; 4]).unwrap();
        assert_eq!(noisy.simple, None);
        assert_eq!(noise_scale(&[1.0], &[1.0]), None);
    }
}
