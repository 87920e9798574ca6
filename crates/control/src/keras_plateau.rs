//! Reduces the base rates when a metric has stopped improving, with the counting of Keras.
//!
//! Follows `keras.callbacks.ReduceLROnPlateau` (3.15): <https://keras.io/api/callbacks/reduce_lr_on_plateau/>. It
//! differs from PyTorch's controller in four points: `patience` bad observations suffice for a cut; the cooldown is
//! counted down before judging; the first value is the best even if it is NaN, and then nothing is ever better; and
//! nothing starts again at the floor.

use serde::{Deserialize, Serialize};

use crate::{
    epochs::{Counting, EpochState},
    judge::explain,
    kind::Kind,
    params::{metric, not_negative, shrinking},
    words::{Move, Observation, Outcome, Setting},
};
use lrs_model::{
    controller::Mode,
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
    pub mode: Mode,
    pub factor: f64,
    pub patience: u64,
    pub min_delta: f64,
    pub cooldown: u64,
    pub min_lr: f64,
    pub unit: Option<Unit>,
}

impl Default for Params {
    /// Keras' defaults, over the training loss.
    fn default() -> Self {
        Self {
            metric: LOSS.to_owned(),
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            min_delta: 1e-4,
            cooldown: 0,
            min_lr: 0.0,
            unit: None,
        }
    }
}

/// The controller: its parameters, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct KerasPlateau(Params, Counting);

/// What is remembered between observations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KerasPlateauState {
    /// The best value so far; `None` before the first.
    #[serde(with = "lrs_model::number::option")]
    best: Option<f64>,
    /// Observations since the best that did not improve on it. Keras' `wait`.
    bad_eval_count: u64,
    /// Keras' `cooldown_counter`.
    cooldown_left: u64,
    #[serde(default)]
    epoch: EpochState,
}

impl Kind for KerasPlateau {
    const NAME: &'static str = "keras_plateau";

    type Params = Params;
    type State = KerasPlateauState;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&params.metric, v);
        shrinking("factor", params.factor, v);
        not_negative("min_delta", params.min_delta, v);
        not_negative("min_lr", params.min_lr, v);
        let counting = Counting::try_new(params.unit, setting.steps_per_epoch, v);
        (v.len() == wrong_before).then_some(Self(params, counting))
    }

    fn initial(&self, _start: u64) -> KerasPlateauState {
        KerasPlateauState::default()
    }

    fn metrics(&self) -> Vec<&str> {
        vec![&self.0.metric]
    }

    fn takes_steps_whole(&self) -> bool {
        self.1.is_by_epoch()
    }

    fn observe(&self, state: &mut KerasPlateauState, observation: &Observation<'_>) -> Outcome {
        let (next, moved) = self.next(state, observation.sample, observation.base_lrs);
        *state = next;
        moved.into()
    }
}

impl KerasPlateau {
    /// Observes the metric, if `sample` has it.
    fn next(&self, state: &KerasPlateauState, sample: &Sample, base_lrs: &[f64]) -> (KerasPlateauState, Option<Move>) {
        let mut next = *state;
        let value = self.1.next(&mut next.epoch, sample.step, sample.values_of(&self.0.metric));
        let Some(value) = value else { return (next, None) };
        if next.cooldown_left > 0 {
            next.cooldown_left -= 1;
            next.bad_eval_count = 0;
        }
        if self.is_better(value, next.best) {
            next.best = Some(value);
            next.bad_eval_count = 0;
            return (next, None);
        }
        if next.cooldown_left > 0 {
            return (next, None);
        }
        next.bad_eval_count += 1;
        if next.bad_eval_count < self.0.patience || !base_lrs.iter().any(|lr| self.is_above_floor(*lr)) {
            return (next, None);
        }
        let reduced = self.reduced(base_lrs).map(|base_lrs| self.explain(base_lrs, &next, value));
        next.cooldown_left = self.0.cooldown;
        next.bad_eval_count = 0;
        (next, reduced)
    }

    /// The operations are in Keras' order.
    fn is_better(&self, value: f64, best: Option<f64>) -> bool {
        let Some(best) = best else { return true };
        match self.0.mode {
            Mode::Min => value + self.0.min_delta < best,
            Mode::Max => value - self.0.min_delta > best,
        }
    }

    /// Keras compares with the floor in single precision.
    fn is_above_floor(&self, lr: f64) -> bool {
        #[expect(clippy::cast_possible_truncation, reason = "that is what is meant")]
        let floor = self.0.min_lr as f32;
        lr > f64::from(floor)
    }

    fn reduced(&self, base_lrs: &[f64]) -> Option<Vec<f64>> {
        let reduce = |lr: &f64| if self.is_above_floor(*lr) { (lr * self.0.factor).max(self.0.min_lr) } else { *lr };
        let reduced: Vec<f64> = base_lrs.iter().map(reduce).collect();
        (reduced != base_lrs).then_some(reduced)
    }

    fn explain(&self, base_lrs: Vec<f64>, state: &KerasPlateauState, value: f64) -> Move {
        let best = state.best.unwrap_or(f64::NAN);
        let evidence = [
            ("value", value),
            ("best", best),
            ("bad_eval_count", exact(state.bad_eval_count)),
            ("patience", exact(self.0.patience)),
            ("min_delta", self.0.min_delta),
            ("factor", self.0.factor),
        ];
        explain(&self.0.metric, best, state.bad_eval_count, self.0.patience, base_lrs, &evidence)
    }
}
