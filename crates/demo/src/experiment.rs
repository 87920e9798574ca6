//! The experiment: six runs of one training, told apart by arm and seed.

use std::fmt;

use serde::Serialize;

use lrs_proto as proto;
use lrs_proto::{
    Controller, JobSpec, Mode, Objective, ParameterGroup, ReduceLrOnPlateau, Schedule, Warmup, controller,
    schedule::Form,
};

/// Where the jobs are registered.
pub const NAMESPACE: &str = "namespaces/demo";
/// The accuracy to reach on the validation images.
pub const TARGET_ACCURACY: f64 = 0.97;
/// Images a step.
pub const BATCH: usize = 32;
/// Passes over the training images.
pub const EPOCHS: u64 = 60;
/// Steps an epoch: whole batches of the training images.
pub const STEPS_PER_EPOCH: u64 = 44;
/// Steps of a run.
pub const TOTAL_STEPS: u64 = EPOCHS * STEPS_PER_EPOCH;
/// The optimizer's momentum, the same in both arms.
pub const MOMENTUM: f64 = 0.5;

/// The metric that the controller watches: the mean cross entropy on the validation images.
pub const VAL_LOSS: &str = "val_loss";
/// The metric to bring to [`TARGET_ACCURACY`]: the share of validation images recognised.
pub const VAL_ACCURACY: &str = "val_accuracy";

const EXPERIMENT: &str = "digits";
const SEEDS: [u64; 3] = [0, 1, 2];
/// Deliberately high: held constant it often wrecks the network, so that a schedule has something to improve.
const BASE_LR: f64 = 1.0;
const WARMUP_STEPS: i64 = 5 * STEPS_PER_EPOCH.cast_signed();
const FACTOR: f64 = 0.5;
const PATIENCE: i64 = 3;
const MIN_LR: f64 = 0.001;

/// A side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Arm {
    /// The rate is warmed up, and reduced when the validation loss stops falling.
    Scheduled,
    /// The same rate throughout.
    Baseline,
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scheduled => "scheduled",
            Self::Baseline => "baseline",
        })
    }
}

/// One training run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its side.
    pub arm: Arm,
    /// Its random seed: the same first weights and batches in both arms.
    pub seed: u64,
    /// The last part of its job's name.
    pub job_id: String,
    /// The experiment's name.
    pub experiment: String,
}

/// All runs: each seed in both arms. A label keeps them apart from those of another demo on the same server.
pub fn runs(label: Option<&str>) -> Vec<Run> {
    let suffix = label.map(|label| format!("-{label}")).unwrap_or_default();
    let run = |arm, seed| Run {
        arm,
        seed,
        job_id: format!("{EXPERIMENT}-{arm}-{seed}{suffix}"),
        experiment: format!("{EXPERIMENT}{suffix}"),
    };
    [Arm::Scheduled, Arm::Baseline].into_iter().flat_map(|arm| SEEDS.map(|seed| run(arm, seed))).collect()
}

impl Run {
    /// The job's whole name.
    pub fn job(&self) -> String {
        format!("{NAMESPACE}/jobs/{}", self.job_id)
    }

    /// The spec of the run's job.
    pub fn spec(&self) -> JobSpec {
        let (arm, schedule, controllers) = match self.arm {
            Arm::Scheduled => (proto::Arm::Scheduled, Some(warmup()), vec![plateau()]),
            Arm::Baseline => (proto::Arm::Baseline, None, vec![]),
        };
        let group = ParameterGroup { name: "default".to_owned(), base_lr: BASE_LR, ..Default::default() };
        let objective = Objective {
            metric: VAL_ACCURACY.to_owned(),
            mode: Mode::Max.into(),
            target: Some(TARGET_ACCURACY),
            ..Objective::default()
        };
        JobSpec {
            display_name: format!("Handwritten digits, {}, seed {}", self.arm, self.seed),
            groups: vec![group],
            total_steps: Some(TOTAL_STEPS.cast_signed()),
            steps_per_epoch: Some(STEPS_PER_EPOCH.cast_signed()),
            schedule,
            controllers,
            objective: Some(objective),
            experiment: self.experiment.clone(),
            arm: arm.into(),
            seed: Some(self.seed.cast_signed()),
            ..Default::default()
        }
    }
}

fn warmup() -> Schedule {
    let warmup = Warmup { warmup_steps: WARMUP_STEPS, ..Default::default() };
    Schedule { form: Some(Form::Warmup(Box::new(warmup))), ..Schedule::default() }
}

fn plateau() -> Controller {
    let plateau = ReduceLrOnPlateau {
        metric: VAL_LOSS.to_owned(),
        factor: Some(FACTOR),
        patience: Some(PATIENCE),
        min_lr: vec![MIN_LR],
        start_step: WARMUP_STEPS,
        ..Default::default()
    };
    Controller { kind: Some(controller::Kind::ReduceLrOnPlateau(plateau)), ..Controller::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Digits;

    #[test]
    fn every_seed_is_in_both_arms_under_a_name_of_its_own() {
        let runs = runs(None);
        let names: std::collections::BTreeSet<_> = runs.iter().map(Run::job).collect();
        assert_eq!(names.len(), 2 * SEEDS.len());
        assert_eq!(runs.first().map(Run::job).as_deref(), Some("namespaces/demo/jobs/digits-scheduled-0"));
        for seed in SEEDS {
            assert_eq!(runs.iter().filter(|run| run.seed == seed).count(), 2);
        }
    }

    #[test]
    fn the_arms_differ_by_schedule_and_controller_only() {
        let runs = runs(Some("x"));
        let scheduled = runs.iter().find(|run| run.arm == Arm::Scheduled).unwrap().spec();
        let baseline = runs.iter().find(|run| run.arm == Arm::Baseline).unwrap().spec();
        assert!(scheduled.schedule.is_some() && !scheduled.controllers.is_empty());
        let unscheduled = JobSpec {
            schedule: None,
            controllers: vec![],
            arm: baseline.arm,
            display_name: baseline.display_name.clone(),
            ..scheduled
        };
        assert_eq!(unscheduled, baseline);
        assert_eq!(baseline.experiment, "digits-x");
    }

    #[test]
    fn an_epoch_is_the_whole_batches_of_the_training_images() {
        let whole_batches = Digits::load().unwrap().training.len() / BATCH;
        assert_eq!(u64::try_from(whole_batches).unwrap(), STEPS_PER_EPOCH);
    }
}
