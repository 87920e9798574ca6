//! Reduces the base rates when a metric has stopped improving, with the counting of Optax.
//!
//! As `optax.contrib.reduce_on_plateau` (0.2.8): <https://optax.readthedocs.io/en/latest/api/contrib.html>. It scales the
//! rate, judges the mean of `accumulation_size` values, and reduces when the bad ones are *exactly* `patience`: with
//! patience 0 every improvement reduces. A NaN spoils the window that it falls into.

use serde::{Deserialize, Serialize};

use super::{
    Move,
    judge::{explain, figure},
    params::{metric, not_negative, shrinking},
};
use lrs_model::{controller::OptaxPlateau as Spec, telemetry::Sample, violation::Violations};

/// The parameters, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct OptaxPlateau(Spec);

/// What is remembered between observations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptaxPlateauState {
    /// What the base rates have been multiplied by so far.
    scale: f64,
    /// The best mean so far; infinite before the first. Optax's `best_value`.
    #[serde(with = "lrs_model::number")]
    best: f64,
    /// Means in a row that were no better. Optax's `plateau_count`.
    bad_eval_count: u64,
    /// Optax's `cooldown_count`.
    cooldown_left: u64,
    /// How many values are in `mean`.
    count: u64,
    /// The mean of the present window. Optax's `avg_value`.
    #[serde(with = "lrs_model::number")]
    mean: f64,
}

impl OptaxPlateau {
    /// Checks the parameters; says in `v` what is wrong, with fields as seen from the parameters.
    pub(super) fn try_new(spec: &Spec, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&spec.metric, v);
        shrinking("factor", spec.factor, v);
        not_negative("rtol", spec.rtol, v);
        not_negative("atol", spec.atol, v);
        not_negative("min_scale", spec.min_scale, v);
        if spec.rtol > 1.0 {
            v.refuse("rtol", spec.rtol, "at most 1");
        }
        if spec.rtol == 0.0 && spec.atol == 0.0 {
            v.add("rtol", "must be greater than 0, or else atol must");
        }
        if spec.accumulation_size == 0 {
            v.refuse("accumulation_size", 0, "at least 1");
        }
        (v.len() == wrong_before).then(|| Self(spec.clone()))
    }

    pub(super) fn initial() -> OptaxPlateauState {
        OptaxPlateauState { scale: 1.0, best: f64::INFINITY, bad_eval_count: 0, cooldown_left: 0, count: 0, mean: 0.0 }
    }

    pub(super) fn metric(&self) -> &str {
        &self.0.metric
    }

    /// Takes in one observation, if `sample` has one.
    pub(super) fn observe(
        &self,
        state: &OptaxPlateauState,
        sample: &Sample,
        base_lrs: &[f64],
    ) -> (OptaxPlateauState, Option<Move>) {
        let mut next = *state;
        let Some(value) = sample.metric(&self.0.metric) else { return (next, None) };
        next.mean = (figure(next.count) * next.mean + value) / figure(next.count + 1);
        next.count += 1;
        if next.count < self.0.accumulation_size {
            return (next, None);
        }
        let mean = std::mem::take(&mut next.mean);
        next.count = 0;
        if mean < (1.0 - self.0.rtol) * next.best - self.0.atol {
            next.best = mean;
            next.bad_eval_count = 0;
        } else {
            next.bad_eval_count += 1;
        }
        if next.cooldown_left > 0 {
            next.cooldown_left -= 1;
            next.bad_eval_count = 0;
            return (next, None);
        }
        let bad = next.bad_eval_count;
        let is_plateau = bad == self.0.patience;
        let scaled = if is_plateau { next.scale * self.0.factor } else { next.scale };
        next.scale = scaled.max(self.0.min_scale);
        if is_plateau {
            next.bad_eval_count = 0;
            next.cooldown_left = self.0.cooldown;
        }
        // People and other controllers move base rates too, so they are scaled by what is new.
        let change = next.scale / state.scale;
        let moved = (next.scale.to_bits() != state.scale.to_bits() && change.is_finite())
            .then(|| base_lrs.iter().map(|lr| lr * change).collect())
            .map(|base_lrs| self.explain(base_lrs, &next, bad, mean));
        (next, moved)
    }

    fn explain(&self, base_lrs: Vec<f64>, state: &OptaxPlateauState, bad: u64, mean: f64) -> Move {
        let evidence = [
            ("value", mean),
            ("best", state.best),
            ("bad_eval_count", figure(bad)),
            ("patience", figure(self.0.patience)),
            ("scale", state.scale),
            ("factor", self.0.factor),
        ];
        explain(&self.0.metric, state.best, bad, self.0.patience, base_lrs, &evidence)
    }
}
