//! The words between a job and its controllers.

use std::collections::BTreeMap;

use lrs_model::{
    controller::Mode,
    decision::{Action, NormBound, RateShape, Topic},
    spec::{Spec, Tier},
    telemetry::Sample,
};

/// What a controller may know of its job. It never changes while the controller runs, but for the length of the training.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The base rates as written, one a group.
    pub base_lrs: Vec<f64>,
    /// The length of the training.
    pub total_steps: Option<u64>,
    /// See `JobSpec.decision_lag`.
    pub decision_lag: u64,
    /// What the trainer can do.
    pub tier: Tier,
    /// Whether the job has a schedule of its own, rather than the base rate throughout.
    pub has_schedule: bool,
    /// The objective's metric and which direction of it is better.
    pub objective: Option<(String, Mode)>,
}

impl Setting {
    /// The setting of a job with this spec.
    #[must_use]
    pub fn of(spec: &Spec) -> Self {
        Self {
            base_lrs: spec.groups.iter().map(|group| group.base_lr).collect(),
            total_steps: spec.total_steps,
            decision_lag: spec.decision_lag,
            tier: spec.tier,
            has_schedule: spec.schedule != Spec::default().schedule || spec.groups.iter().any(|g| g.schedule.is_some()),
            objective: spec.objective.as_ref().map(|objective| (objective.metric.clone(), objective.mode)),
        }
    }

    /// A setting for tests: so many groups, each with a base rate of 1.
    #[cfg(test)]
    pub(crate) fn of_groups(groups: usize) -> Self {
        Self {
            base_lrs: vec![1.0; groups],
            total_steps: None,
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

/// What is in force before a controller has observed anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Opening {
    /// Base rates, one a group.
    pub base_lrs: Vec<f64>,
    /// How they run.
    pub shape: RateShape,
}

/// One step, as a controller sees it.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// What is known of the step.
    pub sample: &'a Sample,
    /// The first step whose directive this observation can change: the decision lag after the sample's.
    pub effective_step: u64,
    /// The base rates in force there as far as is known, one a group.
    pub base_lrs: &'a [f64],
    /// Whether the step ran at the rate that schedule and controllers gave it: no override by a person, no pause, and no
    /// other rate reported.
    pub is_as_directed: bool,
}

/// What an observation leads to. Most lead to nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What was decided.
    pub ruling: Option<Ruling>,
    /// Another bound on the norm from the effective step on.
    pub bound: Option<NormBound>,
    /// What a trainer of tier 2 does before the effective step, in this order.
    pub actions: Vec<Action>,
}

impl From<Option<Move>> for Outcome {
    fn from(step_move: Option<Move>) -> Self {
        Self { ruling: step_move.map(Ruling::Move), ..Self::default() }
    }
}

/// What a controller decided: at most one thing a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Ruling {
    /// Other base rates from the effective step on.
    Move(Move),
    /// Something that people should know. Advice to stop stays in force until a [`Ruling::Move`].
    Advice(Advice),
}

/// New base rates, and what led to them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Move {
    /// One a parameter group, in the order of the spec.
    pub base_lrs: Vec<f64>,
    /// How they run.
    pub shape: RateShape,
    /// Why, as a sentence for people.
    pub reason: String,
    /// The figures behind it, by name.
    pub evidence: BTreeMap<String, f64>,
}

/// Something found that changes no rate.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What it is about.
    pub topic: Topic,
    /// What it says, as a sentence for people.
    pub reason: String,
    /// The figures behind it, by name.
    pub evidence: BTreeMap<String, f64>,
}

/// What a controller is at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What it is doing; empty where it does one thing only.
    pub phase: &'static str,
    /// Telemetry that it could use and has not got, and what it does without it: a sentence each.
    pub missing: Vec<&'static str>,
}
