//! The specification of a job: `lrs.v1.JobSpec` with every default written out. Not yet checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    controller::{ControllerSpec, Mode, ThresholdAction},
    schedule::ScheduleSpec,
};

/// A job's spec as written; `proto/lrs/v1/job.proto` describes the fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Spec {
    pub display_name: String,
    pub groups: Vec<Group>,
    pub total_steps: Option<u64>,
    pub steps_per_epoch: Option<u64>,
    #[serde(default)]
    pub tokens_per_step: Option<u64>,
    pub schedule: ScheduleSpec,
    pub momentum_schedule: Option<ScheduleSpec>,
    pub weight_decay_schedule: Option<ScheduleSpec>,
    pub controllers: Vec<ControllerSpec>,
    pub objective: Option<Objective>,
    pub experiment: String,
    pub arm: Option<Arm>,
    pub seed: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub decision_lag: u64,
    pub commit_ahead: u64,
    pub reporting_ranks: u32,
    pub rate_limits: RateLimits,
    #[serde(default)]
    pub tier: Tier,
    #[serde(default)]
    pub base_lr_from: Option<BaseLrFrom>,
}

/// A finished job that gives the base rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseLrFrom {
    /// A range test and the suggestion to take from it.
    RangeTest(String, Suggestion),
    /// A trial of a hyper-parameter study.
    StudyTrial(String),
}

/// How to read a rate off a range test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "described in the proto")]
pub enum Suggestion {
    Steepest,
    #[default]
    Valley,
    Slide,
    Minimum,
}

impl Suggestion {
    /// All suggestions.
    pub const ALL: [Self; 4] = [Self::Steepest, Self::Valley, Self::Slide, Self::Minimum];

    /// The name of the suggestion, also in the evidence of a range test.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steepest => "steepest",
            Self::Valley => "valley",
            Self::Slide => "slide",
            Self::Minimum => "minimum",
        }
    }
}

/// What a trainer can do besides training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Tier 0: uses the rates that it is told.
    #[default]
    Rates,
    /// Tier 1: also clips the gradient to the norm that it is told.
    Clip,
    /// Tier 2: also keeps and restores copies of parameters and optimizer state.
    Restore,
}

impl Tier {
    /// The tier with this number, if it exists.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Rates, Self::Clip, Self::Restore].into_iter().find(|tier| u64::from(tier.number()) == number)
    }

    /// The number of the tier, from 0.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Rates => 0,
            Self::Clip => 1,
            Self::Restore => 2,
        }
    }
}

/// A parameter group of the optimizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Group {
    pub name: String,
    pub base_lr: f64,
    pub base_momentum: Option<f64>,
    pub base_weight_decay: Option<f64>,
    pub schedule: Option<ScheduleSpec>,
}

/// The goal of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Objective {
    pub metric: String,
    pub mode: Mode,
    pub target: Option<f64>,
    #[serde(default)]
    pub on_target: ThresholdAction,
    #[serde(default)]
    pub factor: Option<f64>,
    #[serde(default)]
    pub cooldown_steps: u64,
}

impl Objective {
    /// An objective without a target.
    #[must_use]
    pub fn new(metric: impl Into<String>, mode: Mode) -> Self {
        let on_target = ThresholdAction::default();
        Self { metric: metric.into(), mode, target: None, on_target, factor: None, cooldown_steps: 0 }
    }
}

/// The side of a comparison that a job is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// This service schedules the rate.
    Scheduled,
    /// The rate is what it would have been without this service.
    Baseline,
}

/// Bounds that no learning rate leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct RateLimits {
    pub min_lr: Option<f64>,
    pub max_lr: Option<f64>,
}

/// The default of `JobSpec.decision_lag`.
pub const DEFAULT_DECISION_LAG: u64 = 1;
/// The default of `JobSpec.commit_ahead`.
pub const DEFAULT_COMMIT_AHEAD: u64 = 64;
/// The name of a single group that has none.
pub const DEFAULT_GROUP: &str = "default";

impl Default for Spec {
    /// A spec with every default and no parameter groups.
    fn default() -> Self {
        Self {
            display_name: String::new(),
            groups: Vec::new(),
            total_steps: None,
            steps_per_epoch: None,
            tokens_per_step: None,
            schedule: ScheduleSpec::Base(1.0),
            momentum_schedule: None,
            weight_decay_schedule: None,
            controllers: Vec::new(),
            objective: None,
            experiment: String::new(),
            arm: None,
            seed: None,
            labels: BTreeMap::new(),
            decision_lag: DEFAULT_DECISION_LAG,
            commit_ahead: DEFAULT_COMMIT_AHEAD,
            reporting_ranks: 1,
            rate_limits: RateLimits::default(),
            tier: Tier::default(),
            base_lr_from: None,
        }
    }
}
