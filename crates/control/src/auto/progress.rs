//! When the cooldown of a trusted rate begins: once the loss has slowed down.
//!
//! Where a rate is too low for a training, a cooldown costs more than it gains, because it halves the progress that is
//! left; where a rate is high, the loss soon stays above what a lower rate would reach, and an early cooldown gains
//! much. Both show in the loss. From [`EARLIEST`] of the training on the cooldown begins as soon as the loss falls by
//! less than its error, or at less than [`SLOW`] of the pace it had on average so far while what is left of the
//! training would lower it by less than [`WORTHWHILE`]. [`LATEST`] is when it begins in any case. The rule is our own;
//! benches/training/LOG.md has the measurements.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::hold::scatter;
use lrs_model::number::exact;
use lrs_stats::order::median;

/// The shares of the training at which the cooldown begins at the earliest and at the latest.
pub(super) const EARLIEST: f64 = 0.3;
pub(super) const LATEST: f64 = 0.9;
/// A loss has slowed down when its pace is this share of its mean pace.
const SLOW: f64 = 0.1;
/// What is left of the training is worth more at the full rate if it lowers the loss by this share of itself.
const WORTHWHILE: f64 = 0.3;
/// A value is the mean of the losses of this share of the training, and at least one loss.
const VALUE_SHARE: u64 = 200;
/// The pace is that from the median of so many values to the median of the next: a tenth of the training.
const WINDOW: usize = 20;
const WINDOW_SHARE: u64 = 10;
const LEAST_WINDOW: usize = 6;
/// The first level of the loss is the median of so many values.
const FIRST: usize = 3;
/// The standard error of a median of normal values, as a multiple of that of their mean.
const MEDIAN_ERROR: f64 = 1.25;

/// What is remembered of the losses. It is empty until the first loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The first values, at most three.
    first: Vec<f64>,
    /// The last values, at most two windows of them, and how many values there have been.
    values: VecDeque<f64>,
    seen: u64,
    /// The sum of the losses of the value under way, and their number.
    sum: f64,
    losses: u64,
}

/// How the loss falls, in its own units a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    pub(super) now: f64,
    pub(super) mean: f64,
    pub(super) error: f64,
    /// What the rest of the training lowers the loss by at the pace now, relative to the loss.
    pub(super) left: f64,
}

impl Pace {
    /// Whether the loss falls so slowly that the cooldown should begin.
    pub(super) fn is_slow(self) -> bool {
        self.now <= self.error || self.now <= SLOW * self.mean && self.left <= WORTHWHILE
    }
}

impl Progress {
    /// Takes in the finite loss of a step of a training of `total_steps`.
    pub(super) fn observe(&mut self, loss: f64, total_steps: u64) {
        self.sum += loss;
        self.losses += 1;
        if self.losses < length_of_value(total_steps) {
            return;
        }
        let value = self.sum / exact(self.losses);
        (self.sum, self.losses) = (0.0, 0);
        self.seen += 1;
        if self.first.len() < FIRST {
            self.first.push(value);
        }
        if self.values.len() == 2 * window(total_steps) {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    /// The losses to come were made at another rate, or from another state.
    pub(super) fn forget_losses(&mut self) {
        self.values.clear();
        (self.sum, self.losses) = (0.0, 0);
    }

    /// The pace of the loss; `None` before there are two windows.
    pub(super) fn pace(&self, total_steps: u64) -> Option<Pace> {
        let window = window(total_steps);
        if self.values.len() < 2 * window {
            return None;
        }
        let values: Vec<f64> = self.values.iter().copied().collect();
        let (before, level) = (median(&values[..window]), median(&values[window..]));
        let (length, since_the_start) = (exact(window as u64), exact(self.seen) - exact(window as u64) / 2.0);
        let now = (before - level) / length;
        let values_left = exact((total_steps / length_of_value(total_steps)).saturating_sub(self.seen));
        Some(Pace {
            now,
            mean: (median(&self.first) - level) / since_the_start,
            left: now * values_left / level.abs(),
            error: MEDIAN_ERROR * scatter(&values) * (2.0 / length).sqrt() / length,
        })
    }
}

/// The losses of a value.
fn length_of_value(total_steps: u64) -> u64 {
    (total_steps / VALUE_SHARE).max(1)
}

/// The values of a window.
fn window(total_steps: u64) -> usize {
    usize::try_from(total_steps / WINDOW_SHARE).unwrap_or(usize::MAX).clamp(LEAST_WINDOW, WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of a training at which the loss has slowed down.
    fn slows_at(steps: u64, loss: impl Fn(f64) -> f64) -> Option<f64> {
        let mut progress = Progress::default();
        (0..steps).find_map(|step| {
            let share = exact(step) / exact(steps);
            let noise =
                [0.02, -0.01, 0.03, -0.03, 0.0, -0.02, 0.01][usize::try_from(step % 7).expect("a small number")];
            progress.observe(loss(share) + noise, steps);
            (share >= EARLIEST && progress.pace(steps)?.is_slow()).then_some(share)
        })
    }

    #[test]
    fn a_loss_that_falls_evenly_never_slows_down_and_a_flat_one_has_from_the_start() {
        for steps in [60, 128, 1000, 20_000] {
            for unit in [0.1, 1.0, 1e9] {
                assert_eq!(slows_at(steps, |share| unit * (40.0 - 30.0 * share)), None, "{steps} steps, times {unit}");
            }
            assert_eq!(slows_at(steps, |_| 4.0).map(|share| share < 0.35), Some(true), "{steps} steps");
            // It falls, then rises.
            let turns = |share: f64| 4.0 + (share - 0.1).abs();
            assert_eq!(slows_at(steps, turns).map(|share| share < 0.4), Some(true), "{steps} steps");
        }
    }

    #[test]
    fn the_sooner_a_loss_reaches_its_level_the_sooner_it_slows_down() {
        for steps in [200, 1000, 20_000] {
            let at = |time: f64| slows_at(steps, |share| 4.0 + 9.0 * libm::exp(-share / time)).unwrap_or(1.0);
            let (soon, late) = (at(0.05), at(0.15));
            assert!(soon < 0.35 && (0.4..0.8).contains(&late), "{steps} steps: {soon} and {late}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        for steps in [1, 60, 20_000] {
            let mut progress = Progress::default();
            (0..3 * steps).for_each(|_| progress.observe(1.0, steps));
            assert!(progress.values.len() <= 2 * WINDOW && progress.first.len() <= FIRST);
        }
    }
}
