//! Holds the rate while the evaluation improves, and cuts it when it has not for long.
//!
//! Patience is counted in evaluations and in steps, so that it depends neither on how often a trainer evaluates nor on how long it
//! trains. With copies kept by the trainer (tier 2) a cut goes back to the best evaluation.

use serde::{Deserialize, Serialize};

use crate::model::number;

/// Evaluations without a new best that are the least patience.
const PATIENCE: u64 = 3;
/// The least patience in steps, as a share of the training.
const PATIENCE_SHARE: f64 = 0.15;
/// The patience in evaluations where the length of the training is not known.
const OPEN_PATIENCE: u64 = 8;
/// What counts as better, relative to the best.
const THRESHOLD: f64 = 1e-4;
/// At the end the best is gone back to if it is better by this, relative to the last.
const FINISH_THRESHOLD: f64 = 0.01;

/// What is remembered of the evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HoldState {
    /// The best evaluation so far, and its step.
    #[serde(with = "number")]
    best: f64,
    best_step: u64,
    /// The last one; infinite if it was not a number.
    #[serde(with = "number")]
    last: f64,
    /// Evaluations since the best or the last cut, and the step of that.
    bad_eval_count: u64,
    since: u64,
}

/// What an evaluation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The best so far.
    Best,
    /// Not the best.
    Wait,
    /// Not the best for so long that the rate should be cut.
    Cut,
}

impl HoldState {
    /// Before the first evaluation.
    pub(super) fn new(start: u64) -> Self {
        Self { best: f64::INFINITY, best_step: start, last: f64::INFINITY, bad_eval_count: 0, since: start }
    }

    /// Takes in an evaluation at `step`, lower is better. A NaN is worse than anything.
    ///
    /// While a search goes on (`is_searching`) the best is kept, and nothing is bad.
    pub(super) fn observe(&mut self, step: u64, value: f64, total_steps: Option<u64>, is_searching: bool) -> Verdict {
        self.last = if value.is_nan() { f64::INFINITY } else { value };
        if self.best == f64::INFINITY && self.last < f64::INFINITY
            || self.last < self.best - THRESHOLD * self.best.abs()
        {
            *self = Self { best: self.last, best_step: step, bad_eval_count: 0, since: step, ..*self };
            return Verdict::Best;
        }
        if is_searching {
            return Verdict::Wait;
        }
        self.bad_eval_count += 1;
        let steps = exact(step.saturating_sub(self.since));
        let is_over = match total_steps {
            Some(total) => self.bad_eval_count >= PATIENCE && steps >= PATIENCE_SHARE * exact(total),
            None => self.bad_eval_count >= OPEN_PATIENCE,
        };
        if !is_over {
            return Verdict::Wait;
        }
        self.bad_eval_count = 0;
        self.since = step;
        Verdict::Cut
    }

    /// Whether the best evaluation is so much better than the last one that training should end with it.
    pub(super) fn should_finish_at_best(&self) -> bool {
        self.best < self.last - FINISH_THRESHOLD * self.last.abs()
    }

    /// The best evaluation and its step; `None` before the first.
    pub(super) fn best(&self) -> Option<(f64, u64)> {
        (self.best < f64::INFINITY).then_some((self.best, self.best_step))
    }

    /// The last evaluation.
    pub(super) fn last(&self) -> f64 {
        self.last
    }
}

/// Steps lie below 2^53.
#[expect(clippy::cast_precision_loss, reason = "steps are exact in f64")]
fn exact(steps: u64) -> f64 {
    steps as f64
}
