//! The values that a job and its controllers exchange.

use std::collections::BTreeMap;

use lrs_model::{
    controller::Mode,
    decision::{Action, NormBound, RateShape, Topic},
    spec::{Spec, Tier},
    telemetry::Sample,
};

/// What a controller may know of its job. Nothing here changes while the controller runs, except the length of the
/// training.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The base rates as written in the spec, one a group.
    pub base_lrs: Vec<f64>,
    /// The length of the training.
    pub total_steps: Option<u64>,
    /// The length of an epoch of training.
    pub steps_per_epoch: Option<u64>,
    /// See `JobSpec.decision_lag`.
    pub decision_lag: u64,
    /// What the trainer can do.
    pub tier: Tier,
    /// Whether the job has a schedule of its own; without one, the base rate holds throughout.
    pub has_schedule: bool,
    /// The objective's metric, and whether higher or lower is better.
    pub objective: Option<(String, Mode)>,
}

impl Setting {
    /// The setting of a job with this spec.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        Self {
            base_lrs: spec.groups.iter().map(|group| group.base_lr).collect(),
            total_steps: spec.total_steps,
            steps_per_epoch: spec.steps_per_epoch,
            decision_lag: spec.decision_lag,
            tier: spec.tier,
            has_schedule: spec.schedule != Spec::default().schedule || spec.groups.iter().any(|g| g.schedule.is_some()),
            objective: spec.objective.as_ref().map(|objective| (objective.metric.clone(), objective.mode)),
        }
    }

    /// A setting for tests: `groups` groups, each with a base rate of 1.
    #[cfg(test)]
    pub(crate) fn of_groups(groups: usize) -> Self {
        Self {
            base_lrs: vec![1.0; groups],
            total_steps: None,
            steps_per_epoch: None,
            decision_lag: 1,
            tier: Tier::Rates,
            has_schedule: false,
            objective: None,
        }
    }

    /// How many parameter groups there are.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.base_lrs.len()
    }
}

/// The rates before a controller has observed anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Base rates, one a group.
    pub base_lrs: Vec<f64>,
    /// How the rates run from there.
    pub shape: RateShape,
}

/// One step, as a controller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What is known of the step.
    pub sample: &'a Sample,
    /// The first step whose directive this observation can change: the decision lag after the sample's.
    pub effective_step: u64,
    /// The base rates in force at the effective step, as far as known, one a group.
    pub base_lrs: &'a [f64],
    /// How they run there.
    pub shape: RateShape,
    /// The step since which they have run so.
    pub shaped_at: u64,
    /// Whether the step ran at the rate that schedule and controllers gave it: no override by a person, no pause, and
    /// no other rate in the report.
    pub is_as_directed: bool,
}

impl<'a> Observation<'a> {
    /// An observation where the rates are the base rates times the schedule.
    #[must_use]
    pub fn new(sample: &'a Sample, effective_step: u64, base_lrs: &'a [f64], is_as_directed: bool) -> Self {
        Self { sample, effective_step, base_lrs, shape: RateShape::default(), shaped_at: 0, is_as_directed }
    }
}

/// What an observation leads to. Most lead to nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What was decided.
    pub ruling: Option<Ruling>,
    /// A new bound on the gradient norm from the effective step on.
    pub bound: Option<NormBound>,
    /// What a trainer of tier 2 does before the effective step, in order.
    pub actions: Vec<Action>,
}

impl From<Option<Move>> for Outcome {
    fn from(step_move: Option<Move>) -> Self {
        Self { ruling: step_move.map(Ruling::Move), ..Self::default() }
    }
}

/// What a controller decided; it decides at most one thing a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Ruling {
    /// New base rates from the effective step on.
    Move(Move),
    /// A message to people. Advice to stop stays in force until a [`Ruling::Move`], unless it is lasting.
    Advice(Advice),
}

/// New base rates and the reason for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Move {
    /// One rate a parameter group, in the order of the spec.
    pub base_lrs: Vec<f64>,
    /// How the rates run. A cooldown over stated steps that is in force stays so, whatever is here.
    pub shape: RateShape,
    /// The reason, as a sentence for people.
    pub reason: String,
    /// The figures behind the reason, by name.
    pub evidence: BTreeMap<String, f64>,
}

/// A finding that changes no rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The subject of the advice.
    pub topic: Topic,
    /// Whether advice to stop stays in force through later moves, as long as the spec has the controller.
    pub is_lasting: bool,
    /// The advice, as a sentence for people.
    pub reason: String,
    /// The figures behind the advice, by name.
    pub evidence: BTreeMap<String, f64>,
}

/// What a controller is doing, and what it lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What the controller is doing; empty for a controller that does only one thing.
    pub phase: &'static str,
    /// Each metric that the controller could use but does not get, and what it does without it: a sentence each.
    pub missing: Vec<String>,
    /// Whether the controller can do nothing without one of these metrics.
    pub is_blind: bool,
    /// What a threshold has reached, and what happened then, in a sentence; empty otherwise.
    pub notice: String,
}
