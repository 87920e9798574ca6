//! Guards a run: bounds the gradient's norm in advance, detects a divergence, and knows where to go back to.
//!
//! The bound of a step is predicted from the norms of earlier steps, so that no trainer waits for it. It is twice the
//! median of the last 64 finite norms, or that median plus eight robust deviations, whichever is larger. It changes
//! only by a tenth or more.
//!
//! A run has diverged when the median of its last losses lies far above the lowest such median: by eight robust
//! deviations of the lowest, and by half of all that the training has gained. Copies are taken while the loss is near
//! its lowest, and count as good once the loss has stayed there for a while. Each further divergence goes back one copy
//! more.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::copies::COPIES;
use lrs_stats::order::{NORMAL, median_and_mad};

/// How many finite norms are remembered, how many make a bound, and after how many the bound is computed again.
const NORMS: usize = 64;
const MIN_NORMS: usize = 16;
const LOOK_EVERY: u64 = 4;
/// The bound: this many medians, or the median plus this many robust deviations.
const BOUND_MEDIANS: f64 = 2.0;
const DEVIATIONS: f64 = 8.0;
/// The bound in force stays while the new bound is within a tenth of it.
const SAME_BOUND: f64 = 0.1;
/// How many losses one median covers: a share of the training, within limits.
const WINDOW_SHARE: u64 = 100;
const OPEN_WINDOW: u64 = 20;
const WINDOW: std::ops::RangeInclusive<u64> = 16..=64;
/// Losing this part of all that was gained is a divergence.
const LOST_GAIN: f64 = 0.5;
/// A copy is taken within `NEAR` deviations of the lowest loss, and is good if the loss stays within `STAYED` of them.
const NEAR: f64 = 2.0;
const STAYED: f64 = 4.0;
/// Copies are at least a twentieth of the training apart.
const COPY_SHARE: u64 = 20;
const MIN_COPY_STEPS: u64 = 20;
const OPEN_COPY_STEPS: u64 = 200;

/// What the guard remembers of norms and losses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GuardState {
    /// The last finite norms, at most [`NORMS`].
    norms: VecDeque<f64>,
    norms_seen: u64,
    bound: Option<f64>,
    /// The last losses, at most one window of them.
    losses: VecDeque<f64>,
    /// The median of the first window.
    first: Option<f64>,
    /// The lowest median since the start or the last divergence, and the robust deviation there.
    lowest: Option<(f64, f64)>,
    /// Copies known to be good, newest first: at most two.
    good: Vec<u64>,
    /// The copy on trial, and the step it was taken for.
    on_trial: Option<(u64, u64)>,
    copies: u64,
    copied_at: Option<u64>,
    /// Divergences since a copy was last found good.
    divergences: usize,
}

/// What a loss shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sight {
    /// Nothing to do.
    Fine,
    /// A good moment to keep a copy, with this number.
    Copy(u64),
    /// The run has diverged. It goes back to one of the places there are, newest good copy first.
    Diverged {
        /// How many places to pass over.
        passed_over: usize,
        /// The median loss now, the lowest before, and its deviation.
        median: f64,
        lowest: f64,
        deviation: f64,
    },
}

impl GuardState {
    /// Takes in a finite norm. Returns the bound if it changes.
    pub(super) fn observe_norm(&mut self, norm: f64) -> Option<f64> {
        if self.norms.len() == NORMS {
            self.norms.pop_front();
        }
        self.norms.push_back(norm);
        self.norms_seen += 1;
        if self.norms.len() < MIN_NORMS || !self.norms_seen.is_multiple_of(LOOK_EVERY) {
            return None;
        }
        let norms = self.norms.make_contiguous();
        let (middle, deviation) = median_and_mad(norms);
        let bound = (BOUND_MEDIANS * middle).max(middle + DEVIATIONS * NORMAL * deviation);
        let is_same = self.bound.is_some_and(|standing| (bound - standing).abs() <= SAME_BOUND * standing);
        // A gradient that is 0 throughout sets no bound.
        if is_same || bound.is_nan() || bound <= 0.0 || bound.is_infinite() {
            return None;
        }
        self.bound = Some(bound);
        self.bound
    }

    /// Takes in the finite loss of a step at a held rate.
    pub(super) fn observe_loss(&mut self, step: u64, loss: f64, total_steps: Option<u64>, can_copy: bool) -> Sight {
        let window =
            total_steps.map_or(OPEN_WINDOW, |total| total / WINDOW_SHARE).clamp(*WINDOW.start(), *WINDOW.end());
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        self.losses.push_back(loss);
        while self.losses.len() > window {
            self.losses.pop_front();
        }
        if self.losses.len() < window {
            return Sight::Fine;
        }
        let losses = self.losses.make_contiguous();
        let (middle, spread) = median_and_mad(losses);
        let deviation = NORMAL * spread;
        let first = *self.first.get_or_insert(middle);
        let (lowest, lowest_deviation) = match self.lowest {
            Some(lowest) if middle >= lowest.0 => lowest,
            _ => (middle, deviation),
        };
        self.lowest = Some((lowest, lowest_deviation));
        let beyond = (DEVIATIONS * lowest_deviation).max(LOST_GAIN * (first - lowest).max(0.0));
        if middle > lowest + beyond {
            let passed_over = self.diverge();
            return Sight::Diverged { passed_over, median: middle, lowest, deviation: lowest_deviation };
        }
        if !can_copy {
            return Sight::Fine;
        }
        if let Some((copy, at)) = self.on_trial
            && step.saturating_sub(at) >= 2 * window as u64
            && middle <= lowest + STAYED * lowest_deviation
        {
            self.good.insert(0, copy);
            self.good.truncate(2);
            self.on_trial = None;
            self.divergences = 0;
        }
        let between = total_steps.map_or(OPEN_COPY_STEPS, |total| (total / COPY_SHARE).max(MIN_COPY_STEPS));
        let is_due = self.copied_at.is_none_or(|at| step.saturating_sub(at) >= between);
        if self.on_trial.is_none() && is_due && middle <= lowest + NEAR * lowest_deviation {
            self.copies += 1;
            let copy = self.copies % COPIES;
            self.copied_at = Some(step);
            self.on_trial = Some((copy, step));
            return Sight::Copy(copy);
        }
        Sight::Fine
    }

    /// Notes a divergence. Returns how many copies to pass over.
    pub(super) fn diverge(&mut self) -> usize {
        self.losses.clear();
        self.lowest = None;
        self.on_trial = None;
        self.divergences += 1;
        self.divergences - 1
    }

    /// Forgets the last losses, because the losses to come are of another state or rate.
    pub(super) fn forget_losses(&mut self) {
        self.losses.clear();
    }

    /// The trainer has restarted and has no copies.
    pub(super) fn lose_copies(&mut self) {
        self.losses.clear();
        self.good.clear();
        self.on_trial = None;
        self.copied_at = None;
    }

    /// Copies known to be good, newest first.
    pub(super) fn good(&self) -> &[u64] {
        &self.good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_predicted_from_the_norms_before() {
        let mut guard = GuardState::default();
        let bounds: Vec<_> = (0..16).filter_map(|_| guard.observe_norm(1.0)).collect();
        assert_eq!(bounds, [2.0]);
        assert_eq!((0..40).filter_map(|_| guard.observe_norm(1.04)).count(), 0, "a twentieth more is the same bound");
        let last = (0..64).filter_map(|_| guard.observe_norm(3.0)).last();
        assert_eq!(last, Some(6.0));
    }

    #[test]
    fn a_few_spikes_do_not_move_the_bound() {
        let mut guard = GuardState::default();
        for _ in 0..32 {
            let _ = guard.observe_norm(1.0);
        }
        let moved: Vec<_> = (0..3).filter_map(|_| guard.observe_norm(1000.0)).collect();
        assert_eq!(moved, [0.0; 0]);
    }

    #[test]
    fn a_gradient_of_zero_bounds_nothing() {
        let mut guard = GuardState::default();
        assert_eq!((0..100).filter_map(|_| guard.observe_norm(0.0)).count(), 0);
    }

    #[test]
    fn a_divergence_goes_back_further_each_time_until_a_copy_proves_good() {
        let mut guard = GuardState::default();
        let mut steps = 0..;
        let mut see = |loss: f64| guard.observe_loss(steps.next().unwrap(), loss, Some(1000), true);
        let mut copies = Vec::new();
        for i in 0..200 {
            if let Sight::Copy(copy) = see(1.0 + 0.01 * f64::from(i % 5)) {
                copies.push(copy);
            }
        }
        assert_eq!(copies, [1, 2, 3, 0]);
        let mut diverge = || {
            (0..100).find_map(|_| match see(9.0) {
                Sight::Diverged { passed_over, .. } => Some(passed_over),
                Sight::Fine | Sight::Copy(_) => None,
            })
        };
        assert_eq!(diverge(), Some(0));
    }
}
