//! Reduces the base rates when a metric has stopped improving.
//!
//! Counts and rounds as PyTorch's `torch.optim.lr_scheduler.ReduceLROnPlateau` (2.15) does, so that the rates agree bit
//! for bit; `start_step` is our own.
//! <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html>

use serde::{Deserialize, Serialize};

use crate::{
    epochs::{Counting, EpochState},
    judge::{Judge, explain, per_group},
    kind::Kind,
    params::{metric, not_negative, shrinking},
    words::{Move, Observation, Outcome, Setting, Status},
};
use lrs_model::{
    controller::{Mode, ThresholdMode},
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
    pub threshold: f64,
    pub threshold_mode: ThresholdMode,
    pub cooldown: u64,
    /// One floor for all groups, or one a group; empty for the default.
    pub min_lr: Vec<f64>,
    pub eps: f64,
    pub start_step: u64,
    pub unit: Option<Unit>,
}

impl Default for Params {
    /// PyTorch's defaults, over the training loss.
    fn default() -> Self {
        Self {
            metric: LOSS.to_owned(),
            mode: Mode::Min,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            threshold_mode: ThresholdMode::Rel,
            cooldown: 0,
            min_lr: Vec::new(),
            eps: 1e-8,
            start_step: 0,
            unit: None,
        }
    }
}

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    params: Params,
    judge: Judge,
    counting: Counting,
    min_lrs: Vec<f64>, // one a group
}

/// What is remembered between observations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// The best value so far; before the first value, the infinity that every value improves on. Never NaN.
    #[serde(with = "lrs_model::number")]
    best: f64,
    /// Bad observations in a row, at most `patience`. PyTorch's `num_bad_epochs`.
    bad_eval_count: u64,
    /// How many coming observations do not count as bad. PyTorch's `cooldown_counter`.
    cooldown_left: u64,
    #[serde(default)]
    epoch: EpochState,
}

impl Kind for Plateau {
    const NAME: &'static str = "reduce_lr_on_plateau";

    type Params = Params;
    type State = PlateauState;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&params.metric, v);
        shrinking("factor", params.factor, v);
        not_negative("threshold", params.threshold, v);
        not_negative("eps", params.eps, v);
        let min_lrs = per_group("min_lr", &params.min_lr, 0.0, setting.groups(), v);
        let judge = Judge { mode: params.mode, threshold: params.threshold, threshold_mode: params.threshold_mode };
        let counting = Counting::try_new(params.unit, setting.steps_per_epoch, v);
        (v.len() == wrong_before).then_some(Self { params, judge, counting, min_lrs })
    }

    fn initial(&self, _start: u64) -> PlateauState {
        PlateauState { best: self.judge.worst(), bad_eval_count: 0, cooldown_left: 0, epoch: EpochState::default() }
    }

    fn metrics(&self) -> Vec<&str> {
        vec![&self.params.metric]
    }

    fn status(&self, state: &Self::State) -> Status {
        Status { notice: self.judge.misjudges(&self.params.metric, state.best), ..Status::default() }
    }

    fn takes_steps_whole(&self) -> bool {
        self.counting.is_by_epoch()
    }

    fn observe(&self, state: &mut PlateauState, observation: &Observation<'_>) -> Outcome {
        let (next, moved) = self.next(state, observation.sample, observation.base_lrs);
        *state = next;
        moved.into()
    }
}

impl Plateau {
    /// Observes the metric, if `sample` has it.
    ///
    /// Follows PyTorch: the rates drop once *more than* `patience` observations in a row were bad. During the cooldown
    /// an observation is judged, and may become the best, but does not count as bad. A NaN is never an improvement.
    fn next(&self, state: &PlateauState, sample: &Sample, base_lrs: &[f64]) -> (PlateauState, Option<Move>) {
        let mut next = *state;
        let values = sample.values_of(&self.params.metric).filter(|_| sample.step >= self.params.start_step);
        let Some(value) = self.counting.next(&mut next.epoch, sample.step, values) else { return (next, None) };
        if self.judge.is_better(value, state.best) {
            next.best = value;
            next.bad_eval_count = 0;
        } else {
            next.bad_eval_count += 1;
        }
        if next.cooldown_left > 0 {
            next.cooldown_left -= 1;
            next.bad_eval_count = 0;
        }
        if next.bad_eval_count <= self.params.patience {
            return (next, None);
        }
        let reduced = self.reduced(base_lrs).map(|base_lrs| self.explain(base_lrs, &next, value));
        // Also if no rate could be reduced any further.
        next.cooldown_left = self.params.cooldown;
        next.bad_eval_count = 0;
        (next, reduced)
    }

    /// The rates times the factor, but no rate below its minimum, and no rate moved by `eps` or less; `None` if none
    /// moves.
    fn reduced(&self, base_lrs: &[f64]) -> Option<Vec<f64>> {
        let mut any = false;
        let reduce = |(&lr, &min_lr): (&f64, &f64)| {
            let new = (lr * self.params.factor).max(min_lr);
            let moved = lr - new > self.params.eps;
            any |= moved;
            if moved { new } else { lr }
        };
        let reduced = base_lrs.iter().zip(&self.min_lrs).map(reduce).collect();
        any.then_some(reduced)
    }

    fn explain(&self, base_lrs: Vec<f64>, state: &PlateauState, value: f64) -> Move {
        let evidence = [
            ("value", value),
            ("best", state.best),
            ("bad_eval_count", exact(state.bad_eval_count)),
            ("patience", exact(self.params.patience)),
            ("threshold", self.params.threshold),
            ("factor", self.params.factor),
        ];
        explain(&self.params.metric, state.best, state.bad_eval_count, self.params.patience, base_lrs, &evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plateau(params: &Params, groups: usize) -> Plateau {
        let mut violations = Violations::new();
        Plateau::try_new(params.clone(), &Setting::of_groups(groups), &mut violations)
            .unwrap_or_else(|| panic!("{violations}"))
    }

    fn loss(step: u64, loss: f64) -> Sample {
        Sample { loss: Some(loss), ..Sample::new(step) }
    }

    /// The base rates after each loss, from `base_lrs` on.
    fn rates(plateau: &Plateau, base_lrs: &[f64], losses: &[f64]) -> Vec<Vec<f64>> {
        let (mut state, mut base_lrs) = (plateau.initial(0), base_lrs.to_vec());
        let observe = |(step, &value)| {
            let (next, moved) = plateau.next(&state, &loss(step, value), &base_lrs);
            state = next;
            if let Some(moved) = moved {
                base_lrs = moved.base_lrs;
            }
            base_lrs.clone()
        };
        (0..).zip(losses).map(observe).collect()
    }

    fn patience(patience: u64) -> Params {
        Params { patience, factor: 0.5, ..Params::default() }
    }

    #[test]
    fn the_rate_drops_after_more_than_patience_bad_observations() {
        let rates = rates(&plateau(&patience(1), 1), &[8.0], &[1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        assert_eq!(rates.concat(), [8.0, 8.0, 4.0, 4.0, 2.0, 2.0]);
    }

    #[test]
    fn a_nan_is_a_bad_observation_even_when_it_is_the_first() {
        let rates = rates(&plateau(&patience(1), 1), &[8.0], &[f64::NAN, f64::NAN, 1.0]);
        assert_eq!(rates.concat(), [8.0, 4.0, 4.0]);
    }

    #[test]
    fn each_group_stops_at_its_own_minimum_and_small_moves_are_not_made() {
        let spec = Params { min_lr: vec![3.0, 0.0, 0.0], eps: 0.25, ..patience(0) };
        let rates = rates(&plateau(&spec, 3), &[8.0, 8.0, 0.5], &[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(rates, [[8.0, 8.0, 0.5], [4.0, 4.0, 0.5], [3.0, 2.0, 0.5], [3.0, 1.0, 0.5]]);
    }

    #[test]
    fn a_reduction_that_is_not_made_starts_the_cooldown_all_the_same() {
        let plateau = plateau(&Params { min_lr: vec![8.0], cooldown: 3, ..patience(0) }, 1);
        let (state, _) = plateau.next(&plateau.initial(0), &loss(0, 1.0), &[8.0]);

        let (state, moved) = plateau.next(&state, &loss(1, 1.0), &[8.0]);

        assert_eq!(moved, None);
        assert_eq!(state, PlateauState { best: 1.0, cooldown_left: 3, ..plateau.initial(0) });
    }

    #[test]
    fn a_sample_without_the_metric_or_before_the_start_changes_nothing() {
        let plateau = plateau(&Params { start_step: 5, ..patience(0) }, 1);
        let initial = plateau.initial(0);
        for sample in [Sample::new(9), loss(4, 1.0)] {
            assert_eq!(plateau.next(&initial, &sample, &[1.0]), (initial, None));
        }
        assert_ne!(plateau.next(&initial, &loss(5, 1.0), &[1.0]).0, initial);
    }

    #[test]
    fn a_move_says_why() {
        let spec = Params { metric: "val_loss".to_owned(), ..patience(1) };
        let plateau = plateau(&spec, 1);
        let mut state = plateau.initial(0);
        let mut last = None;
        for (step, value) in (0..).zip([0.25, 0.5, 0.75]) {
            let mut sample = loss(step, 9.0);
            sample.add_metric("val_loss".into(), value);
            (state, last) = plateau.next(&state, &sample, &[1.0]);
        }

        let moved = last.expect("two bad observations are more than one");
        assert_eq!(moved.reason, "val_loss did not improve on 0.25 for 2 observations in a row (patience 1)");
        assert_eq!(moved.evidence["value"].to_bits(), 0.75_f64.to_bits());
        assert_eq!(moved.evidence["bad_eval_count"].to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn the_status_says_when_a_relative_threshold_takes_a_constant_for_an_improvement() {
        let notice = |params: Params, value| {
            let plateau = plateau(&params, 1);
            let (state, _) = plateau.next(&plateau.initial(0), &loss(0, value), &[1.0]);
            plateau.status(&state).notice
        };
        assert!(notice(patience(1), -1.0).starts_with("loss is below 0, where a relative threshold"));
        assert!(!notice(Params { mode: Mode::Max, ..patience(1) }, -1.0).is_empty());
        assert_eq!(notice(patience(1), 1.0), "");
        assert_eq!(notice(patience(1), f64::NAN), "");
        assert_eq!(notice(Params { threshold: 0.0, ..patience(1) }, -1.0), "");
        assert_eq!(notice(Params { threshold_mode: ThresholdMode::Abs, ..patience(1) }, -1.0), "");
    }

    #[test]
    fn the_state_survives_json_before_and_after_the_first_observation() {
        for spec in [patience(1), Params { mode: Mode::Max, ..patience(1) }] {
            let plateau = plateau(&spec, 1);
            let initial = plateau.initial(0);
            let (observed, _) = plateau.next(&initial, &loss(0, 0.1 + 0.2), &[1.0]);
            for state in [initial, observed] {
                let json = serde_json::to_string(&state).expect("a state is JSON");
                assert_eq!(serde_json::from_str::<PlateauState>(&json).expect("and back"), state, "{json}");
            }
        }
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let spec = Params {
            metric: "val loss".to_owned(),
            factor: 1.0,
            threshold: f64::NAN,
            eps: -1.0,
            min_lr: vec![0.0, -0.1, 0.0],
            ..Params::default()
        };
        let mut violations = Violations::new();

        assert_eq!(Plateau::try_new(spec, &Setting::of_groups(2), &mut violations), None);

        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["metric", "factor", "threshold", "eps", "min_lr[1]", "min_lr"]);
    }

    #[test]
    fn one_minimum_is_for_all_groups() {
        assert_eq!(plateau(&Params { min_lr: vec![0.5], ..patience(0) }, 3).min_lrs, [0.5, 0.5, 0.5]);
        assert_eq!(plateau(&patience(0), 2).min_lrs, [0.0, 0.0]);
        assert_eq!(plateau(&patience(0), 2).metrics(), [LOSS]);
    }
}
