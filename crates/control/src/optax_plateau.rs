//! Reduces the base rates when a metric has stopped improving, with the counting of Optax.
//!
//! Follows `optax.contrib.reduce_on_plateau` (0.2.8): <https://optax.readthedocs.io/en/latest/api/contrib.html>. It
//! scales the rate, judges the mean of `accumulation_size` values, and cuts when *exactly* `patience` means in a row
//! were bad, so with patience 0 every improvement cuts. A NaN spoils the window that it falls into.

use serde::{Deserialize, Serialize};

use crate::{
    epochs::{Counting, EpochState},
    judge::{explain, misjudged},
    kind::Kind,
    params::{metric, not_negative, shrinking},
    words::{Move, Observation, Outcome, Setting, Status},
};
use lrs_model::{
    number::exact,
    schedule::Unit,
    telemetry::{LOSS, Sample},
    violation::Violations,
};

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Params {
    pub metric: String,
    pub factor: f64,
    pub patience: u64,
    pub rtol: f64,
    pub atol: f64,
    pub cooldown: u64,
    pub accumulation_size: u64,
    pub min_scale: f64,
    pub unit: Option<Unit>,
}

impl Default for Params {
    /// Optax's defaults, over the training loss.
    fn default() -> Self {
        Self {
            metric: LOSS.to_owned(),
            factor: 0.1,
            patience: 10,
            rtol: 1e-4,
            atol: 0.0,
            cooldown: 0,
            accumulation_size: 1,
            min_scale: 0.0,
            unit: None,
        }
    }
}

/// The controller: its parameters, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct OptaxPlateau(Params, Counting);

/// What is remembered between observations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptaxPlateauState {
    /// The factor that the base rates have been multiplied by so far.
    scale: f64,
    /// The best mean so far; infinite before the first. Optax's `best_value`.
    #[serde(with = "lrs_model::number")]
    best: f64,
    /// Means in a row that did not improve. Optax's `plateau_count`.
    bad_eval_count: u64,
    /// Optax's `cooldown_count`.
    cooldown_left: u64,
    /// How many values are in `mean`.
    count: u64,
    /// The mean of the present window. Optax's `avg_value`.
    #[serde(with = "lrs_model::number")]
    mean: f64,
    #[serde(default)]
    epoch: EpochState,
}

impl Kind for OptaxPlateau {
    const NAME: &'static str = "optax_plateau";

    type Params = Params;
    type State = OptaxPlateauState;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&params.metric, v);
        shrinking("factor", params.factor, v);
        not_negative("rtol", params.rtol, v);
        not_negative("atol", params.atol, v);
        not_negative("min_scale", params.min_scale, v);
        if params.rtol > 1.0 {
            v.refuse("rtol", params.rtol, "at most 1");
        }
        if params.rtol == 0.0 && params.atol == 0.0 {
            v.add("rtol", "must be greater than 0, or else atol must");
        }
        if params.accumulation_size == 0 {
            v.refuse("accumulation_size", 0, "at least 1");
        }
        let counting = Counting::try_new(params.unit, setting.steps_per_epoch, v);
        (v.len() == wrong_before).then_some(Self(params, counting))
    }

    fn initial(&self, _start: u64) -> OptaxPlateauState {
        OptaxPlateauState {
            scale: 1.0,
            best: f64::INFINITY,
            bad_eval_count: 0,
            cooldown_left: 0,
            count: 0,
            mean: 0.0,
            epoch: EpochState::default(),
        }
    }

    fn metrics(&self) -> Vec<&str> {
        vec![&self.0.metric]
    }

    fn status(&self, state: &Self::State) -> Status {
        let (best, Params { rtol, atol, .. }) = (state.best, &self.0);
        let is_misjudged = best.is_finite() && best < (1.0 - rtol) * best - atol;
        let notice = if is_misjudged { misjudged(&self.0.metric) } else { String::new() };
        Status { notice, ..Status::default() }
    }

    fn takes_steps_whole(&self) -> bool {
        self.1.is_by_epoch()
    }

    fn observe(&self, state: &mut OptaxPlateauState, observation: &Observation<'_>) -> Outcome {
        let (next, moved) = self.next(state, observation.sample, observation.base_lrs);
        *state = next;
        moved.into()
    }
}

impl OptaxPlateau {
    /// Observes the metric, if `sample` has it.
    fn next(&self, state: &OptaxPlateauState, sample: &Sample, base_lrs: &[f64]) -> (OptaxPlateauState, Option<Move>) {
        let mut next = *state;
        let value = self.1.next(&mut next.epoch, sample.step, sample.values_of(&self.0.metric));
        let Some(value) = value else { return (next, None) };
        next.mean = (exact(next.count) * next.mean + value) / exact(next.count + 1);
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
        // People and other controllers move base rates too, so apply only the change of the scale.
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
            ("bad_eval_count", exact(bad)),
            ("patience", exact(self.0.patience)),
            ("scale", state.scale),
            ("factor", self.0.factor),
        ];
        explain(&self.0.metric, state.best, bad, self.0.patience, base_lrs, &evidence)
    }
}
