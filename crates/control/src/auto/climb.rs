//! Raises the rate that a search found, while that pays.
//!
//! A search takes the lowest rate whose loss is within the error of the best one. Where losses are noisy, or fall
//! slowly for a while, its short stages can hardly tell rates apart, and the rate it takes can be a tenth of the right
//! one. Evaluations tell rates apart better. So when the evaluation improves clearly over a window of steps, but not so
//! fast that the rate needs no help, the climb tries twice the rate for the next window. Where the evaluation hardly
//! scatters, the rate is likely far too low, and the climb tries four times the rate. If the evaluation is then better,
//! the higher rate stays, and it is raised again if the evaluation got much better. Otherwise the rate goes back. If
//! the evaluation has become clearly worse, the trainer also goes back to its state before the raise.
//!
//! A rate that is too high shows soon; a rate that is too low does not. The loss falls at once when a rate is lowered,
//! and rises for a while when a rate is raised. So the climb only tries raises, and leaves lowering a rate to the
//! plateau cuts. The rule is our own; benches/training/LOG.md has the measurements.

use serde::{Deserialize, Serialize};

use super::{
    hold::{HoldState, scatter},
    revision::Revision,
    terms::{Figures, When},
};
use lrs_model::number::exact;
use lrs_stats::order::median;

/// A window is a fourteenth of the training, so that several fit into its first half. It holds at least this many
/// evaluations.
const WINDOW_SHARE: u64 = 14;
const MIN_EVALUATIONS: usize = 4;
/// No raise is tried after this share of the training.
const LIMIT_SHARE: u64 = 2;
/// The standard errors that make a clear improvement from the first half of a window to the second.
const CLEAR: f64 = 1.0;
/// The standard errors that make a clear loss from the window before a raise to the window after the raise.
const WORSE: f64 = 2.0;
/// A pace is the relative improvement over the length of the training. Below this range the evaluation improves too
/// slowly to say that a higher rate pays; above it the evaluation needs no higher rate.
const PACES: std::ops::Range<f64> = 1.0..5.0;
/// A raise that brought this pace is followed by another raise.
const WORTHWHILE: f64 = 0.3;
/// The factor of a raise.
const FACTOR: f64 = 2.0;
/// At a rate far too low an evaluation improves slowly but evenly: by this many standard errors. Then the raise is
/// larger.
const EVEN: f64 = 8.0;
const EVEN_PACES: std::ops::Range<f64> = 0.1..5.0;
const EVEN_FACTOR: f64 = 4.0;

/// The raises of a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Climb {
    pub(super) revision: &'static Revision,
}

/// What the controller remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ClimbState {
    /// Evaluations from this step on were made at the rate in force.
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

/// What to do after an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Trial {
    /// Nothing.
    Wait,
    /// Try `factor` times the rate, and keep the state as it is now.
    Raise { factor: f64, figures: Figures },
    /// The raise has paid and stays.
    Stay,
    /// The raise has not paid: divide the rate by `factor`, and if `goes_back`, restore the state before the raise.
    Fall { factor: f64, goes_back: bool, figures: Figures },
}

impl ClimbState {
    /// Counts evaluations from the step `since` on. Before it a search ran, or a person set the rate.
    pub(super) fn begin_at(&mut self, since: u64) {
        self.since = since;
    }

    /// Ends the climb: no more raises, and the raise on trial is not judged.
    pub(super) fn end(&mut self) {
        *self = Self { is_over: true, ..Self::default() };
    }

    /// The trainer has restarted and has no copies.
    pub(super) fn lose_copies(&mut self) {
        self.is_kept = false;
    }

    /// Whether a raise is on trial.
    pub(super) fn is_on_trial(&self) -> bool {
        self.before.is_some()
    }
}

impl Climb {
    /// Judges the evaluations of a training of `total_steps`; `when` is the step of the newest.
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
        // The standard error of the difference between the medians of the two halves.
        let error = 2.0 * scatter(&values) / exact(values.len() as u64).sqrt();
        // A gain over the window, scaled to the length of the training and relative to the present level.
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
            // The next window begins with the last evaluation before the raise takes effect.
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

/// For a message about a raise by `factor`: how the evaluation improved before, how much higher the raised rate is, and
/// how much lower the rate is after the raise is undone.
pub(super) fn words(factor: f64) -> (&'static str, &'static str, &'static str) {
    if factor > FACTOR { ("evenly", "four times", "a quarter") } else { ("clearly", "twice", "half") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auto::revision::NEWEST_ROW;

    const STEPS: u64 = 1000;
    const NEWEST: Climb = Climb { revision: NEWEST_ROW };

    /// The course of a simulated training.
    #[derive(Debug)]
    struct Climbed {
        rate: f64,
        raises: Vec<u64>,
        factors: Vec<f64>,
        /// The step of each fall, and whether the trainer went back to an earlier state.
        falls: Vec<(u64, bool)>,
    }

    /// How a training is evaluated: every `every` steps, with values that are too high and too low in turn, by
    /// `scatter`.
    #[derive(Clone, Copy, Debug)]
    struct Habits {
        every: u64,
        decision_lag: u64,
        scatter: f64,
    }

    const USUAL: Habits = Habits { every: 20, decision_lag: 1, scatter: 0.0 };

    /// Runs a training whose evaluation starts at 1 and falls each step by the share `slope(rate)`.
    fn climb(habits: Habits, slope: impl Fn(f64) -> f64) -> Climbed {
        let (mut hold, mut state) = (HoldState::new(0), ClimbState::default());
        let mut climbed = Climbed { rate: 1.0, raises: Vec::new(), factors: Vec::new(), falls: Vec::new() };
        let (mut evaluation, mut rate, mut kept) = (1.0, 1.0, 1.0);
        // The step at which the next rate takes effect, that rate, and whether training returns to the kept state
        // there.
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

    /// The evaluation falls in proportion to the rate, up to a rate of `limit`; above that it rises.
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
