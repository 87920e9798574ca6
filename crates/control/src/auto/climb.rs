//! Raises the rate that a search found, while that pays.
//!
//! A search takes the least rate that is as good as the best within the error. Where losses are noisy, or fall slowly for a
//! while, short stages hardly tell rates apart, and the least can be a tenth of the right one. Evaluations tell more. So while the
//! evaluation improves clearly over a window of steps, and not so fast that there is no need, twice the rate is tried for the next
//! window, and four times where it hardly scatters, as far below the right rate. If the evaluation is better then, the rate stays,
//! and is raised again if it was much better. Otherwise the rate goes back, and the trainer to its state before the raise if the
//! evaluation has become clearly worse.
//!
//! Whether a rate is too high shows soon, whether it is too low does not: the loss falls at once where a rate is lowered, and
//! for a while rises where it is raised. So raises are tried, and it is the plateau cuts that lower a rate. Our own;
//! docs/controllers.md has what was measured.

use serde::{Deserialize, Serialize};

use super::{
    hold::{HoldState, scatter},
    revision::Revision,
    terms::{Figures, When},
};
use lrs_model::number::exact;
use lrs_stats::order::median;

/// A window is a fourteenth of the training, so that there are some in its first half, and has at least so many evaluations.
const WINDOW_SHARE: u64 = 14;
const MIN_EVALUATIONS: usize = 4;
/// No raise is tried after this share of the training.
const LIMIT_SHARE: u64 = 2;
/// How many standard errors make a clear improvement from one half of a window to the other.
const CLEAR: f64 = 1.0;
/// And how many a clear loss from the window before a raise to the window after it.
const WORSE: f64 = 2.0;
/// Paces are relative, in the length of the training. One at which an evaluation would lose less than all of itself is too slow to
/// say that a higher rate pays; one of many times that needs none.
const PACES: std::ops::Range<f64> = 1.0..5.0;
/// A raise is followed by another one if it brought this pace.
const WORTHWHILE: f64 = 0.3;
/// What a raise multiplies the rate by.
const FACTOR: f64 = 2.0;
/// At a rate far too low an evaluation improves evenly, by so many standard errors, if slowly. Then so much more is tried.
const EVEN: f64 = 8.0;
const EVEN_PACES: std::ops::Range<f64> = 0.1..5.0;
const EVEN_FACTOR: f64 = 4.0;

/// The raises of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Climb {
    pub(super) revision: &'static Revision,
}

/// What is remembered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ClimbState {
    /// Evaluations from this step on are of the rate in force.
    since: u64,
    /// The evaluation before the raise that is on trial.
    before: Option<f64>,
    /// What that raise multiplied the rate by, where not by two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    factor: Option<f64>,
    /// Whether the trainer keeps the state before that raise.
    is_kept: bool,
    is_over: bool,
}

/// What an evaluation says about the rate in force.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trial {
    /// Nothing.
    Wait,
    /// Try `factor` times the rate, and keep the state as it is now.
    Raise { factor: f64, figures: Figures },
    /// The raise has paid and stays.
    Stay,
    /// The raise has not paid: on at the rate before it, `factor` times lower, and `goes_back` to the state before it.
    Fall { factor: f64, goes_back: bool, figures: Figures },
}

impl ClimbState {
    /// Evaluations count from the step `since` on: before it there was a search, or the rate was a person's.
    pub(super) fn begin_at(&mut self, since: u64) {
        self.since = since;
    }

    /// No raise is tried any more, and what the one on trial was to show is not waited for.
    pub(super) fn end(&mut self) {
        *self = Self { is_over: true, ..Self::default() };
    }

    /// The trainer has been started anew and has no copies.
    pub(super) fn lose_copies(&mut self) {
        self.is_kept = false;
    }

    /// Whether a raise is on trial.
    pub(super) fn is_on_trial(&self) -> bool {
        self.before.is_some()
    }
}

impl Climb {
    /// Looks at the evaluations of a training of `total_steps`, the newest of which is that of `when`.
    pub(super) fn observe(self, state: &mut ClimbState, hold: &HoldState, when: When, total_steps: u64) -> Trial {
        let window = total_steps / WINDOW_SHARE;
        let evaluations: Vec<(u64, f64)> = hold.since(state.since).collect();
        let Some(most) = evaluations.len().checked_sub(MIN_EVALUATIONS) else { return Trial::Wait };
        if state.is_over || when.step.saturating_sub(state.since) < window {
            return Trial::Wait;
        }
        let begin = evaluations.partition_point(|(step, _)| step.saturating_add(window) < when.step).min(most);
        let (steps, values): (Vec<u64>, Vec<f64>) = evaluations.into_iter().skip(begin).unzip();
        let (older, newer) = values.split_at(values.len() / 2);
        let (older, level) = (median(older), median(newer));
        // Of the difference between the medians of two halves.
        let error = 2.0 * scatter(&values) / exact(values.len() as u64).sqrt();
        // What a gain in these steps comes to in the length of the training, relative to what is left.
        let pace = |gain: f64| gain * (exact(total_steps) / exact(when.step - steps[0])) / level.abs();

        let (gain, now) = (older - level, pace(2.0 * (older - level)));
        let mut figures = vec![("evaluation", level), ("error", error), ("pace", now)];
        let is_even = self.revision.climbs_by_four && gain > EVEN * error && EVEN_PACES.contains(&now);
        let mut is_worthwhile = is_even || gain > CLEAR * error && PACES.contains(&now);
        if let Some(before) = state.before.take() {
            let factor = state.factor.take().unwrap_or(FACTOR);
            figures.push(("evaluation_before", before));
            if level >= before {
                let goes_back = std::mem::take(&mut state.is_kept) && level > before + WORSE * error;
                state.since = when.effective_step;
                return Trial::Fall { factor, goes_back, figures };
            }
            is_worthwhile |= pace(before - level) > WORTHWHILE;
        }
        state.is_over = when.step > total_steps / LIMIT_SHARE;
        if is_worthwhile && !state.is_over {
            let factor = is_even.then_some(EVEN_FACTOR);
            // The last one before the raise takes effect is where the next window begins.
            let since = when.effective_step - 1;
            *state = ClimbState { since, before: Some(level), factor, is_kept: true, is_over: false };
            return Trial::Raise { factor: factor.unwrap_or(FACTOR), figures };
        }
        if std::mem::take(&mut state.is_kept) {
            state.since = when.step;
            return Trial::Stay;
        }
        Trial::Wait
    }
}

/// How an evaluation improves before a raise by `factor`, and what the raise and its end are called.
pub(super) fn words(factor: f64) -> (&'static str, &'static str, &'static str) {
    if factor > FACTOR { ("evenly", "four times", "a quarter") } else { ("clearly", "twice", "half") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto::revision::NEWEST_ROW;

    const STEPS: u64 = 1000;
    const NEWEST: Climb = Climb { revision: NEWEST_ROW };

    /// What came of a training.
    #[derive(Debug)]
    struct Climbed {
        rate: f64,
        raises: Vec<u64>,
        factors: Vec<f64>,
        /// With whether it went back.
        falls: Vec<(u64, bool)>,
    }

    /// How a training is evaluated: every so many steps, and too high and too low in turn by `scatter`.
    #[derive(Clone, Copy, Debug)]
    struct Habits {
        every: u64,
        decision_lag: u64,
        scatter: f64,
    }

    const USUAL: Habits = Habits { every: 20, decision_lag: 1, scatter: 0.0 };

    /// A training whose evaluation is 1 at first and at a rate falls by `slope` of itself a step.
    fn climb(habits: Habits, slope: impl Fn(f64) -> f64) -> Climbed {
        let (mut hold, mut state) = (HoldState::new(0), ClimbState::default());
        let mut climbed = Climbed { rate: 1.0, raises: Vec::new(), factors: Vec::new(), falls: Vec::new() };
        let (mut evaluation, mut rate, mut kept) = (1.0, 1.0, 1.0);
        // From which step on which rate is in force, and whether the state before is gone back to.
        let mut next = (0, rate, false);
        for step in 0..STEPS {
            if step == next.0 {
                rate = next.1;
                if next.2 {
                    evaluation = kept;
                }
            }
            evaluation *= 1.0 - slope(rate);
            if !(step + 1).is_multiple_of(habits.every) {
                continue;
            }
            let sign = if ((step + 1) / habits.every).is_multiple_of(2) { 1.0 } else { -1.0 };
            hold.observe(step, evaluation * (1.0 + sign * habits.scatter), Some(STEPS), false);
            let when = When { step, effective_step: step + habits.decision_lag };
            match NEWEST.observe(&mut state, &hold, when, STEPS) {
                Trial::Wait | Trial::Stay => {}
                Trial::Raise { factor, .. } => {
                    kept = evaluation;
                    climbed.rate *= factor;
                    climbed.raises.push(step);
                    climbed.factors.push(factor);
                    next = (when.effective_step, climbed.rate, false);
                }
                Trial::Fall { factor, goes_back, .. } => {
                    climbed.rate /= factor;
                    climbed.falls.push((step, goes_back));
                    next = (when.effective_step, climbed.rate, goes_back);
                }
            }
        }
        climbed
    }

    /// The evaluation falls as fast as the rate is high, up to a rate of `limit`, above which it rises.
    fn up_to(limit: f64, speed: f64) -> impl Fn(f64) -> f64 {
        move |rate| if rate <= limit { speed * rate } else { -0.01 }
    }

    #[test]
    fn a_rate_that_is_too_low_is_raised_until_it_no_longer_pays() {
        for (every, decision_lag) in [(20, 1), (20, 8), (1, 1), (5, 3)] {
            let climbed = climb(Habits { every, decision_lag, ..USUAL }, up_to(4.0, 0.002));
            assert_eq!(climbed.rate.to_bits(), 4.0_f64.to_bits(), "{climbed:?}");
            assert!(climbed.raises[0] < STEPS / 8, "{climbed:?}");
            assert!(climbed.falls.iter().all(|(_, goes_back)| *goes_back), "{climbed:?}");
        }
    }

    #[test]
    fn a_rate_far_too_low_is_raised_by_four_where_the_evaluation_hardly_scatters() {
        let slowly = up_to(64.0, 0.0003);
        let climbed = climb(USUAL, &slowly);
        assert_eq!(climbed.factors[..2], [4.0; 2], "{climbed:?}");
        assert!(climbed.rate >= 16.0, "{climbed:?}");
        let scattered = climb(Habits { scatter: 0.01, ..USUAL }, &slowly);
        assert!(scattered.raises.is_empty(), "{scattered:?}");
    }

    #[test]
    fn four_times_the_rate_is_taken_back_by_four() {
        let climbed = climb(USUAL, up_to(1.0, 0.002));
        assert!(!climbed.falls.is_empty() && climbed.factors.iter().all(|&factor| factor > 2.0), "{climbed:?}");
        assert_eq!(climbed.rate.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn a_raise_that_makes_it_worse_within_the_error_is_taken_back_and_training_goes_on_from_there() {
        let slope = |rate| if rate > 1.0 { -0.0015 } else { 0.003 };
        let climbed = climb(Habits { scatter: 0.03, ..USUAL }, slope);
        assert!(!climbed.falls.is_empty() && climbed.falls.iter().all(|(_, goes_back)| !goes_back), "{climbed:?}");
        assert_eq!(climbed.rate.to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn what_improves_slowly_or_fast_enough_is_left_alone() {
        for slope in [0.0, 0.00005, -0.001, 0.01] {
            assert!(climb(USUAL, |_| slope).raises.is_empty(), "{slope}");
        }
    }

    #[test]
    fn a_fall_within_the_error_is_none() {
        let (mut hold, mut state) = (HoldState::new(0), ClimbState::default());
        for i in 1..=25_u32 {
            let scattered = if i % 2 == 0 { 1.0 } else { 1.2 } - 0.01 * f64::from(i);
            let step = 20 * u64::from(i);
            hold.observe(step, scattered, Some(STEPS), false);
            let trial = NEWEST.observe(&mut state, &hold, When { step, effective_step: step + 1 }, STEPS);
            assert_eq!(trial, Trial::Wait, "step {step}");
        }
    }

    #[test]
    fn nothing_is_raised_in_the_second_half_or_from_few_evaluations() {
        assert!(climb(USUAL, up_to(1e9, 0.002)).raises.iter().all(|step| 2 * step <= STEPS));
        assert!(
            climb(Habits { every: 150, ..USUAL }, up_to(1e9, 0.002)).raises.is_empty(),
            "the fourth comes after half the training"
        );
    }

    #[test]
    fn after_its_end_nothing_is_raised_and_nothing_on_trial() {
        let (mut hold, mut state) = (HoldState::new(0), ClimbState::default());
        let mut step = 0;
        while !state.is_on_trial() {
            step += 20;
            assert!(step < STEPS / 2, "nothing was raised");
            hold.observe(step, 1.0 - 0.0015 * exact(step), Some(STEPS), false);
            NEWEST.observe(&mut state, &hold, When { step, effective_step: step + 1 }, STEPS);
        }
        state.end();
        assert!(!state.is_on_trial());
        for step in (step + 20..STEPS).step_by(20) {
            hold.observe(step, 1.0 - 0.0015 * exact(step), Some(STEPS), false);
            let when = When { step, effective_step: step + 1 };
            assert_eq!(NEWEST.observe(&mut state, &hold, when, STEPS), Trial::Wait);
        }
    }

    #[test]
    fn evaluations_of_any_size_are_taken() {
        for scale in [0.0, 1e-300, -1e300, f64::MAX] {
            let (mut hold, mut state) = (HoldState::new(0), ClimbState::default());
            for step in (0..STEPS).step_by(20) {
                let evaluation = scale * (1.0 - 0.001 * exact(step));
                hold.observe(step, evaluation, Some(STEPS), false);
                NEWEST.observe(&mut state, &hold, When { step, effective_step: step + 1 }, STEPS);
            }
        }
    }
}
