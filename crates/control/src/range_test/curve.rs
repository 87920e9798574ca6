//! The curve of a range test: the loss at each rate.

use serde::{Deserialize, Serialize};

use super::suggestion::suggest;
use lrs_model::spec::Suggestion;

/// The weight of the past in fastai's smoothing.
const BETA: f64 = 0.98;
/// How many of the last rates fastai drops before it suggests a rate.
const LAST_LEFT_OUT: usize = 5;

/// The mean loss at one rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The first group's learning rate.
    pub learning_rate: f64,
    /// The mean loss of the steps that ran at this rate; NaN or infinite if the loss of one of them was.
    #[serde(with = "lrs_model::number")]
    pub loss: f64,
}

/// Losses at rising rates, with their smoothed mean. At most 512.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Curve {
    points: Vec<Point>,
    smoother: Smoother,
    /// The latest smoothed loss.
    #[serde(with = "lrs_model::number")]
    pub(super) smoothed: f64,
    /// The least smoothed loss; before the first, infinity.
    #[serde(with = "lrs_model::number")]
    pub(super) least: f64,
}

/// An exponential mean without the bias of a beginning at 0: fastai's `AvgSmoothLoss` (2.8.12, `fastai/learner.py`).
///
/// `m_k = 0.98 m_(k-1) + 0.02 x_k`; the result is `m_k / (1 - 0.98^k)`. A NaN or an infinity stays for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Smoother {
    #[serde(with = "lrs_model::number")]
    mean: f64,
    count: u32,
}

impl Smoother {
    fn take(&mut self, x: f64) -> f64 {
        self.mean = BETA * self.mean + (1.0 - BETA) * x;
        self.count += 1;
        self.mean / (1.0 - libm::pow(BETA, f64::from(self.count)))
    }
}

impl Curve {
    pub(super) fn new() -> Self {
        Self { points: Vec::new(), smoother: Smoother::default(), smoothed: 0.0, least: f64::INFINITY }
    }

    /// Adds the next point.
    pub(super) fn push(&mut self, point: Point) {
        self.smoothed = self.smoother.take(point.loss);
        self.least = self.least.min(self.smoothed);
        self.points.push(point);
    }

    pub(super) fn points(&self) -> &[Point] {
        &self.points
    }

    /// The suggestions from the curve of a test of `rates` rates, without those for which the curve is too short.
    ///
    /// Like `lr_find`, this drops the first tenth of the rates that were to be tried, the last five that were tried,
    /// and everything from the first NaN on. The rates that were not tried because of a NaN count as tried, because
    /// fastai goes on after a NaN.
    pub(super) fn suggestions(&self, rates: usize) -> Vec<(Suggestion, f64)> {
        let mut average = Smoother::default();
        let smoothed: Vec<f64> = self.points.iter().map(|point| average.take(point.loss)).collect();
        // A rise to infinity ends the test, so it is among the last five.
        let end = match smoothed.iter().position(|loss| loss.is_nan() || *loss == f64::NEG_INFINITY) {
            Some(nan) => nan.min(rates.saturating_sub(LAST_LEFT_OUT)),
            None => smoothed.len().saturating_sub(LAST_LEFT_OUT),
        };
        let kept = (rates / 10).min(end)..end;
        let learning_rates: Vec<f64> = self.points[kept.clone()].iter().map(|point| point.learning_rate).collect();
        let suggested =
            |&suggestion| Some((suggestion, suggest(suggestion, &learning_rates, &smoothed[kept.clone()])?));
        Suggestion::ALL.iter().filter_map(suggested).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn smoothed(losses: &[f64]) -> Vec<f64> {
        let mut smoother = Smoother::default();
        losses.iter().map(|&loss| smoother.take(loss)).collect()
    }

    #[test]
    fn a_constant_loss_is_its_own_smoothed_mean() {
        for loss in smoothed(&[3.0; 512]) {
            assert!((loss - 3.0).abs() < 1e-12, "{loss}");
        }
    }

    #[test]
    fn an_infinity_stays_an_infinity_and_a_nan_a_nan() {
        assert_eq!(smoothed(&[1.0, f64::INFINITY, 1.0])[1..], [f64::INFINITY, f64::INFINITY]);
        assert!(smoothed(&[1.0, f64::NAN, 1.0])[1..].iter().all(|loss| loss.is_nan()));
    }

    #[test]
    fn losses_of_any_size_do_not_overflow_the_mean_into_a_nan() {
        assert!(smoothed(&[f64::MAX, f64::MIN, f64::MAX]).iter().all(|loss| !loss.is_nan()));
    }
}
