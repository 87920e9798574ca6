//! Holds the rate while the evaluation improves, and cuts the rate once the evaluation has not improved for long.
//!
//! Patience is counted both in evaluations and in steps, so that it depends neither on how often a trainer evaluates
//! nor on how long it trains. Evaluations on few rows are noisy, so the median of the last three counts, and their
//! error is learned from how they scatter around straight lines. Where the trainer keeps copies (tier 2), a cut goes
//! back to the best evaluation, if that is better than the last one by more than this error.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use lrs_model::number::{self, exact};
use lrs_stats::order::median;

/// The least patience: evaluations without a new best.
const PATIENCE: u64 = 3;
/// The least patience in steps, as a share of the training.
const PATIENCE_SHARE: f64 = 0.15;
/// The patience in evaluations where the length of the training is not known.
const OPEN_PATIENCE: u64 = 8;
/// An evaluation is better if it is below the best by this, relative to the best.
const THRESHOLD: f64 = 1e-4;
/// Training ends with the best evaluation if that is better than the last by this, relative to the last, and by the
/// error.
const FINISH_THRESHOLD: f64 = 0.01;
/// So many evaluations in a row that are not finite are no accident; at the end of the training, fewer are enough to
/// end with the best one.
const MANY_MISSING: u64 = 3;
const MISSING_AT_THE_END: u64 = 2;
/// How many evaluations one smoothed value covers.
const SMOOTHED: usize = 3;
/// How many evaluations are remembered.
const RECENT: usize = 128;
/// The most evaluations that the error is learned from, and the fewest.
const SCATTER: usize = 16;
const MIN_SCATTER: usize = 5;
/// For a normal distribution, the standard deviation is the median distance from 0 times `NORMAL`. The second
/// difference of independent values has six times their variance.
const NORMAL: f64 = 1.0 / 0.6745;
const SECOND_DIFFERENCE: f64 = 6.0;

/// What is remembered of the evaluations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HoldState {
    /// The last finite evaluations with their steps, at most [`RECENT`].
    recent: VecDeque<(u64, f64)>,
    /// The best smoothed evaluation so far, and its step.
    #[serde(with = "number")]
    best: f64,
    best_step: u64,
    /// The last smoothed evaluation.
    #[serde(with = "number")]
    last: f64,
    /// The evaluations in a row that were not finite, the step of the first of them, and all such since the best or the
    /// last cut.
    missing: u64,
    missing_from: u64,
    missing_since: u64,
    /// Evaluations since the best or the last cut, and the step of that best or cut.
    bad_eval_count: u64,
    since: u64,
}

/// How an evaluation compares with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The best so far.
    Best,
    /// Not the best.
    Wait,
    /// Not the best for so long that the rate should be cut.
    Cut,
}

impl HoldState {
    /// The state before the first evaluation.
    pub(super) fn new(start: u64) -> Self {
        Self {
            recent: VecDeque::new(),
            best: f64::INFINITY,
            best_step: start,
            last: f64::INFINITY,
            missing: 0,
            missing_from: 0,
            missing_since: 0,
            bad_eval_count: 0,
            since: start,
        }
    }

    /// Takes in an evaluation at `step`; lower is better. An evaluation that is not finite is missing: it is neither
    /// good nor bad.
    ///
    /// Where nothing is to be cut (`is_patient`) a new best is noted, and no evaluation counts as bad. Patience begins
    /// with the first evaluation.
    pub(super) fn observe(&mut self, step: u64, value: f64, total_steps: Option<u64>, is_patient: bool) -> Standing {
        if !value.is_finite() {
            if self.missing == 0 {
                self.missing_from = step;
            }
            self.missing += 1;
            self.missing_since += 1;
            return Standing::Wait;
        }
        self.missing = 0;
        self.last = self.smoothed(step, value);
        if self.best.is_infinite() || self.last < self.best - THRESHOLD * self.best.abs() {
            (self.best, self.best_step, self.bad_eval_count, self.since) = (self.last, step, 0, step);
            self.missing_since = 0;
            return Standing::Best;
        }
        if is_patient {
            return Standing::Wait;
        }
        self.bad_eval_count += 1;
        let steps = exact(step.saturating_sub(self.since));
        let is_over = match total_steps {
            Some(total) => self.bad_eval_count >= PATIENCE && steps >= PATIENCE_SHARE * exact(total),
            None => self.bad_eval_count >= OPEN_PATIENCE,
        };
        if !is_over {
            return Standing::Wait;
        }
        self.bad_eval_count = 0;
        self.since = step;
        Standing::Cut
    }

    /// The median of the last three evaluations; the newest one while there are fewer than three.
    fn smoothed(&mut self, step: u64, value: f64) -> f64 {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((step, value));
        let last = self.newest(SMOOTHED);
        if last.len() < SMOOTHED { value } else { median(&last) }
    }

    /// The newest `count` evaluations, or fewer if there are fewer, in step order.
    fn newest(&self, count: usize) -> Vec<f64> {
        self.recent.iter().skip(self.recent.len().saturating_sub(count)).map(|(_, value)| *value).collect()
    }

    /// The remembered evaluations from step `since` on, in step order.
    pub(super) fn since(&self, since: u64) -> impl Iterator<Item = (u64, f64)> {
        self.recent.iter().copied().filter(move |(step, _)| *step >= since)
    }

    /// The standard deviation of an evaluation around its trend; 0 for fewer than five evaluations.
    pub(super) fn error(&self) -> f64 {
        if self.recent.len() < MIN_SCATTER { 0.0 } else { scatter(&self.newest(SCATTER)) }
    }

    /// Whether the best evaluation is better than the last one by more than the error.
    pub(super) fn is_best_clearly_better(&self) -> bool {
        self.best < self.last - self.error()
    }

    /// Whether the best evaluation is so much better than the last one that training should end with it.
    pub(super) fn should_finish_at_best(&self) -> bool {
        self.missing >= MISSING_AT_THE_END && self.best.is_finite()
            || self.best < self.last - FINISH_THRESHOLD * self.last.abs() - self.error()
    }

    /// The best evaluation and its step; `None` before the first.
    pub(super) fn best(&self) -> Option<(f64, u64)> {
        (self.best < f64::INFINITY).then_some((self.best, self.best_step))
    }

    /// The last evaluation that was finite.
    pub(super) fn last(&self) -> f64 {
        self.last
    }

    /// The step since which no evaluation has been finite, if that is no accident.
    pub(super) fn missing_from(&self) -> Option<u64> {
        (self.missing >= MANY_MISSING).then_some(self.missing_from)
    }

    /// How many evaluations were not finite since the best one or the last cut; from here on they are counted anew.
    pub(super) fn take_missing(&mut self) -> u64 {
        std::mem::take(&mut self.missing_since)
    }
}

/// The standard deviation of at least three evaluations around their trend, from second differences.
pub(super) fn scatter(evaluations: &[f64]) -> f64 {
    let bends: Vec<f64> = evaluations.windows(3).map(|three| (three[2] - 2.0 * three[1] + three[0]).abs()).collect();
    median(&bends) * NORMAL / SECOND_DIFFERENCE.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standing of evaluations every 20 steps of a training of 1000 steps.
    fn standings(state: &mut HoldState, values: &[f64]) -> Vec<Standing> {
        (1..).zip(values).map(|(i, value)| state.observe(20 * i, *value, Some(1000), false)).collect()
    }

    #[test]
    fn a_cut_takes_three_evaluations_and_a_share_of_the_steps() {
        let mut state = HoldState::new(0);
        let mut values = vec![3.0, 2.0, 1.0];
        values.extend([1.0; 20]);
        let standings = standings(&mut state, &values);
        // The median of three reaches 1 with the second 1, at step 80. 150 steps after that, the next evaluation is at
        // 240.
        let cuts: Vec<_> =
            standings.iter().enumerate().filter(|(_, v)| **v == Standing::Cut).map(|(i, _)| i + 1).collect();
        assert_eq!(cuts, [12, 20]);
    }

    #[test]
    fn one_lucky_evaluation_is_not_the_best() {
        let mut state = HoldState::new(0);
        let found = standings(&mut state, &[3.0, 3.0, 3.0, 1.0, 3.0, 3.0]);
        assert_eq!(found[3], Standing::Wait);
        assert_eq!(state.best(), Some((3.0, 20)));
    }

    #[test]
    fn the_error_is_that_of_the_scatter_and_not_of_the_slope() {
        let mut state = HoldState::new(0);
        let noise = [0.3, -0.1, 0.4, -0.5, 0.1, 0.2, -0.3, -0.1, 0.5, -0.4];
        let line: Vec<f64> = (0..10).map(|i| 100.0 - 5.0 * f64::from(i)).collect();
        standings(&mut state, &line);
        assert!(state.error() < 1e-12, "{}", state.error());
        let mut state = HoldState::new(0);
        let scattered: Vec<f64> = line.iter().zip(noise).map(|(value, noise)| value + noise).collect();
        standings(&mut state, &scattered);
        assert!((0.1..0.9).contains(&state.error()), "{}", state.error());
    }

    #[test]
    fn what_is_not_finite_is_neither_good_nor_bad_and_at_the_end_a_reason_to_go_back() {
        let mut state = HoldState::new(0);
        let found = standings(&mut state, &[f64::NAN, 2.0, f64::INFINITY]);
        assert_eq!(found, [Standing::Wait, Standing::Best, Standing::Wait]);
        assert!(!state.should_finish_at_best() && !state.is_best_clearly_better());
        standings(&mut state, &[f64::NAN; 40]);
        assert!(state.should_finish_at_best() && !state.is_best_clearly_better());
        assert_eq!((state.missing_from(), state.take_missing(), state.best()), (Some(60), 41, Some((2.0, 40))));
    }

    #[test]
    fn evaluations_that_are_not_finite_never_cut() {
        let mut state = HoldState::new(0);
        let values: Vec<f64> = (0..200).map(|i| if i == 0 { 1.0 } else { f64::NAN }).collect();
        assert!(!standings(&mut state, &values).contains(&Standing::Cut));
        // Nor do those between them that are no worse.
        let mut state = HoldState::new(0);
        let values: Vec<f64> =
            (0..200).map(|i| if i % 3 == 0 { 10.0 - 0.01 * f64::from(i) } else { f64::NAN }).collect();
        assert!(!standings(&mut state, &values).contains(&Standing::Cut));
    }

    #[test]
    fn without_a_horizon_patience_is_counted_in_evaluations_alone() {
        let mut state = HoldState::new(0);
        let cut = (1..100).find(|i| state.observe(1000 * i, 1.0, None, false) == Standing::Cut);
        assert_eq!(cut, Some(1 + OPEN_PATIENCE));
    }

    #[test]
    fn nothing_is_bad_while_the_search_goes_on() {
        let mut state = HoldState::new(0);
        assert!((1..100).all(|i| state.observe(20 * i, 1.0, Some(1000), true) != Standing::Cut));
    }

    #[test]
    fn the_state_survives_json() {
        let mut state = HoldState::new(3);
        for value in [f64::NAN, 0.1 + 0.2, 1e-300] {
            state.observe(5, value, Some(10), false);
            let json = serde_json::to_string(&state).expect("a state is JSON");
            assert_eq!(serde_json::from_str::<HoldState>(&json).expect("and back"), state, "{json}");
        }
    }
}
