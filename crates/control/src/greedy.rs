//! Raises the base rates while a metric improves, and lowers them while it does not.
//!
//! Follows `GreedyLR` of `transformers` 5.23, after the paper of that name, 2025, <https://arxiv.org/abs/2512.14527>.
//! Once reductions at the floor have come `reset_after` times, the rates and the state start again from their first
//! values. A NaN stays in the sum of a smoothed metric for ever, as in `transformers`.

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

/// The longest window of a smoothed metric.
const MAX_WINDOW: u64 = 4096;

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
    pub warmup: u64,
    /// One floor for all groups, or one a group.
    pub min_lr: Vec<f64>,
    /// One ceiling for all groups, or one a group.
    pub max_lr: Vec<f64>,
    pub eps: f64,
    pub window: u64,
    pub reset_after: u64,
    pub unit: Option<Unit>,
}

impl Default for Params {
    /// The defaults of transformers, over the training loss.
    fn default() -> Self {
        Self {
            metric: LOSS.to_owned(),
            mode: Mode::Min,
            factor: 0.95,
            patience: 10,
            threshold: 1e-6,
            threshold_mode: ThresholdMode::Abs,
            cooldown: 0,
            warmup: 0,
            min_lr: vec![1e-3],
            max_lr: vec![1.0],
            eps: 1e-8,
            window: 1,
            reset_after: 500,
            unit: None,
        }
    }
}

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Greedy {
    params: Params,
    judge: Judge,
    counting: Counting,
    min_lrs: Vec<f64>, // one a group
    max_lrs: Vec<f64>, // one a group
}

/// What is remembered between observations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GreedyState {
    #[serde(with = "lrs_model::number")]
    best: f64,
    /// Good observations in a row.
    good_eval_count: u64,
    /// Bad observations in a row.
    bad_eval_count: u64,
    /// How many observations are still skipped after the rates were lowered.
    cooldown_left: u64,
    /// How many observations are still skipped after the rates were raised.
    warmup_left: u64,
    /// How many more reductions at the floor come before everything starts again.
    reset_left: u64,
    /// The latest values of a smoothed metric, oldest first: at most one window of them.
    #[serde(with = "lrs_model::number::list")]
    window: Vec<f64>,
    #[serde(with = "lrs_model::number")]
    sum: f64,
    /// The rates before the first observation, from which everything starts again.
    first: Vec<f64>,
    #[serde(default)]
    epoch: EpochState,
}

impl Kind for Greedy {
    const NAME: &'static str = "greedy";

    type Params = Params;
    type State = GreedyState;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&params.metric, v);
        shrinking("factor", params.factor, v);
        not_negative("threshold", params.threshold, v);
        not_negative("eps", params.eps, v);
        let min_lrs = per_group("min_lr", &params.min_lr, 1e-3, setting.groups(), v);
        let max_lrs = per_group("max_lr", &params.max_lr, 1.0, setting.groups(), v);
        if !(1..=MAX_WINDOW).contains(&params.window) {
            v.refuse("window", params.window, format!("from 1 to {MAX_WINDOW}"));
        }
        let judge = Judge { mode: params.mode, threshold: params.threshold, threshold_mode: params.threshold_mode };
        let counting = Counting::try_new(params.unit, setting.steps_per_epoch, v);
        (v.len() == wrong_before).then_some(Self { params, judge, counting, min_lrs, max_lrs })
    }

    fn initial(&self, _start: u64) -> GreedyState {
        GreedyState {
            best: self.judge.worst(),
            good_eval_count: 0,
            bad_eval_count: 0,
            cooldown_left: 0,
            warmup_left: 0,
            reset_left: self.params.reset_after,
            window: Vec::new(),
            sum: 0.0,
            first: Vec::new(),
            epoch: EpochState::default(),
        }
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

    fn observe(&self, state: &mut GreedyState, observation: &Observation<'_>) -> Outcome {
        let (next, moved) = self.next(state, observation.sample, observation.base_lrs);
        *state = next;
        moved.into()
    }
}

impl Greedy {
    /// Observes the metric, if `sample` has it.
    fn next(&self, state: &GreedyState, sample: &Sample, base_lrs: &[f64]) -> (GreedyState, Option<Move>) {
        let mut next = state.clone();
        let value = self.counting.next(&mut next.epoch, sample.step, sample.values_of(&self.params.metric));
        let Some(value) = value else { return (next, None) };
        // Groups may be added at the end, and begin with the rate they have then.
        next.first.extend(base_lrs.iter().skip(next.first.len()));
        let value = self.smoothed(&mut next, value);
        if next.cooldown_left > 0 || next.warmup_left > 0 {
            let waited = if next.cooldown_left > 0 { &mut next.cooldown_left } else { &mut next.warmup_left };
            *waited -= 1;
            next.good_eval_count = 0;
            next.bad_eval_count = 0;
            return (next, None);
        }
        if self.judge.is_better(value, next.best) {
            next.best = value;
            next.good_eval_count += 1;
            next.bad_eval_count = 0;
        } else {
            next.good_eval_count = 0;
            next.bad_eval_count += 1;
        }
        if next.good_eval_count > self.params.patience {
            self.raise(next, base_lrs, value)
        } else if next.bad_eval_count > self.params.patience {
            self.lower(next, base_lrs, value)
        } else {
            (next, None)
        }
    }

    /// The mean of the latest values, from a running sum as in transformers.
    fn smoothed(&self, state: &mut GreedyState, value: f64) -> f64 {
        if self.params.window <= 1 {
            return value;
        }
        state.window.push(value);
        state.sum += value;
        let length = u64::try_from(state.window.len()).unwrap_or(u64::MAX);
        if length <= self.params.window {
            return state.sum / exact(length);
        }
        state.sum -= state.window.remove(0);
        state.sum / exact(self.params.window)
    }

    fn raise(&self, mut next: GreedyState, base_lrs: &[f64], value: f64) -> (GreedyState, Option<Move>) {
        let raise = |(&lr, &max_lr): (&f64, &f64)| {
            let new = (lr / self.params.factor).min(max_lr);
            if new - lr > self.params.eps { new } else { lr }
        };
        let raised: Vec<f64> = base_lrs.iter().zip(&self.max_lrs).map(raise).collect();
        let good = next.good_eval_count;
        next.reset_left = self.params.reset_after;
        next.warmup_left = self.params.warmup;
        next.good_eval_count = 0;
        let moved = (raised != base_lrs).then(|| {
            let metric = &self.params.metric;
            let reason = format!("{metric} improved {good} times in a row (patience {})", self.params.patience);
            let evidence = self.evidence(&next, value, ("good_eval_count", good));
            Move { reason, ..explain(metric, next.best, 0, 0, raised, &evidence) }
        });
        (next, moved)
    }

    fn lower(&self, mut next: GreedyState, base_lrs: &[f64], value: f64) -> (GreedyState, Option<Move>) {
        let lower = |(&lr, &min_lr): (&f64, &f64)| {
            let new = (lr * self.params.factor).max(min_lr);
            if lr - new > self.params.eps { new } else { lr }
        };
        let mut lowered: Vec<f64> = base_lrs.iter().zip(&self.min_lrs).map(lower).collect();
        let (best, bad) = (next.best, next.bad_eval_count);
        let evidence = self.evidence(&next, value, ("bad_eval_count", bad));
        let mut begins_anew = false;
        if lowered.iter().zip(&self.min_lrs).all(|(lr, min_lr)| lr <= min_lr) {
            next.reset_left = next.reset_left.saturating_sub(1);
            begins_anew = next.reset_left == 0;
        }
        if begins_anew {
            lowered.clone_from(&next.first);
            next = GreedyState { first: next.first, ..self.initial(0) };
        }
        next.cooldown_left = self.params.cooldown;
        next.bad_eval_count = 0;
        let moved = (lowered != base_lrs).then(|| {
            let mut moved = explain(&self.params.metric, best, bad, self.params.patience, lowered, &evidence);
            if begins_anew {
                moved.reason.push_str(", and the rates had been at their floor: everything begins anew");
            }
            moved
        });
        (next, moved)
    }

    fn evidence<'a>(&self, state: &GreedyState, value: f64, (name, count): (&'a str, u64)) -> [(&'a str, f64); 5] {
        [
            ("value", value),
            ("best", state.best),
            (name, exact(count)),
            ("patience", exact(self.params.patience)),
            ("factor", self.params.factor),
        ]
    }
}
