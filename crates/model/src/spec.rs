//! What the user asked for: `lrs.v1.JobSpec` with every default written out. Not yet checked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    controller::{ControllerSpec, Mode},
    schedule::ScheduleSpec,
};

/// A job's spec, as written; the fields are described in `proto/lrs/v1/job.proto`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Spec {
    pub display_name: String,
    pub groups: Vec<Group>,
    pub total_steps: Option<u64>,
    pub steps_per_epoch: Option<u64>,
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

/// A finished job that the base rates are taken from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaseLrFrom {
    /// A range test, and which of its suggestions.
    RangeTest(String, Suggestion),
    /// A trial of a hyper-parameter study.
    StudyTrial(String),
}

/// How a rate is read off a range test.
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
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Steepest, Self::Valley, Self::Slide, Self::Minimum];

    /// Its name, in the evidence of a range test too.
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

/// What a trainer can do beside training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Tier 0: use the rates it is told.
    #[default]
    Rates,
    /// Tier 1: clip the gradient to a norm it is told, too.
    Clip,
    /// Tier 2: keep and restore copies of parameters and optimizer state, too.
    Restore,
}

impl Tier {
    /// The tier of this number, if there is one.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        [Self::Rates, Self::Clip, Self::Restore].into_iter().find(|tier| u64::from(tier.number()) == number)
    }

    /// Its number, from 0.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Rates => 0,
            Self::Clip => 1,
            Self::Restore => 2,
        }
    }
}

/// One of the optimizer's parameter groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Group {
    pub name: String,
    pub base_lr: f64,
    pub base_momentum: Option<f64>,
    pub base_weight_decay: Option<f64>,
    pub schedule: Option<ScheduleSpec>,
}

/// What a job is to achieve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct Objective {
    pub metric: String,
    pub mode: Mode,
    pub target: Option<f64>,
}

/// Which side of a comparison a job is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// The rate is scheduled by this service.
    Scheduled,
    /// The rate is what it would have been without.
    Baseline,
}

/// Bounds no learning rate leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "described in the proto")]
pub struct RateLimits {
    pub min_lr: Option<f64>,
    pub max_lr: Option<f64>,
}

/// `JobSpec.decision_lag` where none is given.
pub const DEFAULT_DECISION_LAG: u64 = 1;
/// `JobSpec.commit_ahead` where none is given.
pub const DEFAULT_COMMIT_AHEAD: u64 = 64;
/// The group's name where there is only one and it has none.
pub const DEFAULT_GROUP: &str = "default";

impl Default for Spec {
    /// A spec with every default and no parameter group.
    fn default() -> Self {
        Self {
            display_name: String::new(),
            groups: Vec::new(),
            total_steps: None,
            steps_per_epoch: None,
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
