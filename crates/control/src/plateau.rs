//! Reduces the base rates when a metric has stopped improving.
//!
//! Counts and rounds as PyTorch's `torch.optim.lr_scheduler.ReduceLROnPlateau` (2.15) does, so that the rates agree bit for
//! bit; `start_step` is our own. <https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html>

use serde::{Deserialize, Serialize};

use super::{
    Move,
    judge::{Judge, explain, figure, per_group},
    params::{metric, not_negative, shrinking},
};
use lrs_model::{controller::ReduceLrOnPlateau, telemetry::Sample, violation::Violations};

/// The parameters, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    metric: String,
    judge: Judge,
    factor: f64,
    patience: u64,
    cooldown: u64,
    min_lrs: Vec<f64>, // one a group
    eps: f64,
    start_step: u64,
}

/// What is remembered between observations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// The best value so far; before the first, the infinity that any value is better than. Never NaN.
    #[serde(with = "lrs_model::number")]
    best: f64,
    /// Bad observations in a row, at most `patience`. PyTorch's `num_bad_epochs`.
    bad_eval_count: u64,
    /// How many of the observations to come are not counted as bad. PyTorch's `cooldown_counter`.
    cooldown_left: u64,
}

impl Plateau {
    /// Checks the parameters for a job of so many parameter `groups`; says in `v` what is wrong, with fields as seen from
    /// the parameters.
    pub(super) fn try_new(spec: &ReduceLrOnPlateau, groups: usize, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&spec.metric, v);
        shrinking("factor", spec.factor, v);
        not_negative("threshold", spec.threshold, v);
        not_negative("eps", spec.eps, v);
        let min_lrs = per_group("min_lr", &spec.min_lr, 0.0, groups, v);
        (v.len() == wrong_before).then(|| Self {
            metric: spec.metric.clone(),
            judge: Judge { mode: spec.mode, threshold: spec.threshold, threshold_mode: spec.threshold_mode },
            factor: spec.factor,
            patience: spec.patience,
            cooldown: spec.cooldown,
            min_lrs,
            eps: spec.eps,
            start_step: spec.start_step,
        })
    }

    pub(super) fn initial(&self) -> PlateauState {
        PlateauState { best: self.judge.worst(), bad_eval_count: 0, cooldown_left: 0 }
    }

    pub(super) fn metric(&self) -> &str {
        &self.metric
    }

    /// Takes in one observation, if `sample` has one.
    ///
    /// Follows PyTorch: the rates drop once *more than* `patience` observations in a row were bad. During the cooldown an
    /// observation is judged, and may become the best, but is not counted as bad. A NaN is never an improvement.
    pub(super) fn observe(
        &self,
        state: &PlateauState,
        sample: &Sample,
        base_lrs: &[f64],
    ) -> (PlateauState, Option<Move>) {
        let mut next = *state;
        let Some(value) = sample.metric(&self.metric).filter(|_| sample.step >= self.start_step) else {
            return (next, None);
        };
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
        if next.bad_eval_count <= self.patience {
            return (next, None);
        }
        let reduced = self.reduced(base_lrs).map(|base_lrs| self.explain(base_lrs, &next, value));
        // Also where no rate could be reduced any further.
        next.cooldown_left = self.cooldown;
        next.bad_eval_count = 0;
        (next, reduced)
    }

    /// The rates times the factor, but none below its minimum, and none moved by `eps` or less; `None` if none moves.
    fn reduced(&self, base_lrs: &[f64]) -> Option<Vec<f64>> {
        let mut any = false;
        let reduce = |(&lr, &min_lr): (&f64, &f64)| {
            let new = (lr * self.factor).max(min_lr);
            let moved = lr - new > self.eps;
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
            ("bad_eval_count", figure(state.bad_eval_count)),
            ("patience", figure(self.patience)),
            ("threshold", self.judge.threshold),
            ("factor", self.factor),
        ];
        explain(&self.metric, state.best, state.bad_eval_count, self.patience, base_lrs, &evidence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::{controller::Mode, telemetry::LOSS};

    fn plateau(spec: &ReduceLrOnPlateau, groups: usize) -> Plateau {
        let mut violations = Violations::new();
        Plateau::try_new(spec, groups, &mut violations).unwrap_or_else(|| panic!("{violations}"))
    }

    fn loss(step: u64, loss: f64) -> Sample {
        Sample { loss: Some(loss), ..Sample::new(step) }
    }

    /// The base rates after each loss, from `base_lrs` on.
    fn rates(plateau: &Plateau, base_lrs: &[f64], losses: &[f64]) -> Vec<Vec<f64>> {
        let (mut state, mut base_lrs) = (plateau.initial(), base_lrs.to_vec());
        let observe = |(step, &value)| {
            let (next, moved) = plateau.observe(&state, &loss(step, value), &base_lrs);
            state = next;
            if let Some(moved) = moved {
                base_lrs = moved.base_lrs;
            }
            base_lrs.clone()
        };
        (0..).zip(losses).map(observe).collect()
    }

    fn patience(patience: u64) -> ReduceLrOnPlateau {
        ReduceLrOnPlateau { patience, factor: 0.5, ..ReduceLrOnPlateau::default() }
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
        let spec = ReduceLrOnPlateau { min_lr: vec![3.0, 0.0, 0.0], eps: 0.25, ..patience(0) };
        let rates = rates(&plateau(&spec, 3), &[8.0, 8.0, 0.5], &[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(rates, [[8.0, 8.0, 0.5], [4.0, 4.0, 0.5], [3.0, 2.0, 0.5], [3.0, 1.0, 0.5]]);
    }

    #[test]
    fn a_reduction_that_is_not_made_starts_the_cooldown_all_the_same() {
        let plateau = plateau(&ReduceLrOnPlateau { min_lr: vec![8.0], cooldown: 3, ..patience(0) }, 1);
        let (state, _) = plateau.observe(&plateau.initial(), &loss(0, 1.0), &[8.0]);

        let (state, moved) = plateau.observe(&state, &loss(1, 1.0), &[8.0]);

        assert_eq!(moved, None);
        assert_eq!(state, PlateauState { best: 1.0, bad_eval_count: 0, cooldown_left: 3 });
    }

    #[test]
    fn a_sample_without_the_metric_or_before_the_start_changes_nothing() {
        let plateau = plateau(&ReduceLrOnPlateau { start_step: 5, ..patience(0) }, 1);
        let initial = plateau.initial();
        for sample in [Sample::new(9), loss(4, 1.0)] {
            assert_eq!(plateau.observe(&initial, &sample, &[1.0]), (initial, None));
        }
        assert_ne!(plateau.observe(&initial, &loss(5, 1.0), &[1.0]).0, initial);
    }

    #[test]
    fn a_move_says_why() {
        let spec = ReduceLrOnPlateau { metric: "val_loss".to_owned(), ..patience(1) };
        let plateau = plateau(&spec, 1);
        let mut state = plateau.initial();
        let mut last = None;
        for (step, value) in (0..).zip([0.25, 0.5, 0.75]) {
            let mut sample = loss(step, 9.0);
            sample.set_metric("val_loss".into(), value);
            (state, last) = plateau.observe(&state, &sample, &[1.0]);
        }

        let moved = last.expect("two bad observations are more than one");
        assert_eq!(moved.reason, "val_loss did not improve on 0.25 for 2 observations in a row (patience 1)");
        assert_eq!(moved.evidence["value"].to_bits(), 0.75_f64.to_bits());
        assert_eq!(moved.evidence["bad_eval_count"].to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn the_state_survives_json_before_and_after_the_first_observation() {
        for spec in [patience(1), ReduceLrOnPlateau { mode: Mode::Max, ..patience(1) }] {
            let plateau = plateau(&spec, 1);
            let initial = plateau.initial();
            let (observed, _) = plateau.observe(&initial, &loss(0, 0.1 + 0.2), &[1.0]);
            for state in [initial, observed] {
                let json = serde_json::to_string(&state).expect("a state is JSON");
                assert_eq!(serde_json::from_str::<PlateauState>(&json).expect("and back"), state, "{json}");
            }
        }
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let spec = ReduceLrOnPlateau {
            metric: "val loss".to_owned(),
            factor: 1.0,
            threshold: f64::NAN,
            eps: -1.0,
            min_lr: vec![0.0, -0.1, 0.0],
            ..ReduceLrOnPlateau::default()
        };
        let mut violations = Violations::new();

        assert_eq!(Plateau::try_new(&spec, 2, &mut violations), None);

        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["metric", "factor", "threshold", "eps", "min_lr[1]", "min_lr"]);
    }

    #[test]
    fn one_minimum_is_for_all_groups() {
        assert_eq!(plateau(&ReduceLrOnPlateau { min_lr: vec![0.5], ..patience(0) }, 3).min_lrs, [0.5, 0.5, 0.5]);
        assert_eq!(plateau(&patience(0), 2).min_lrs, [0.0, 0.0]);
        assert_eq!(plateau(&patience(0), 2).metric(), LOSS);
    }
}
