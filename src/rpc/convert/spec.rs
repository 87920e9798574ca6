//! Specs.

use super::{at_most_chars, controller, int64, optional_whole, schedule, whole};
use lrs_model::{
    MAX_STEP,
    controller::ControllerSpec,
    name::{JobName, check_group},
    spec::{
        Arm, BaseLrFrom, DEFAULT_COMMIT_AHEAD, DEFAULT_DECISION_LAG, DEFAULT_GROUP, Group, Objective, RateLimits, Spec,
        Suggestion, Tier,
    },
    violation::Violations,
};
use lrs_proto::{self as proto, reflect, written};

const MAX_DISPLAY_NAME_CHARS: usize = 200;
const MAX_EXPERIMENT_CHARS: usize = 200;
const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY_CHARS: usize = 63;
const MAX_LABEL_VALUE_CHARS: usize = 200;
const MAX_DECISION_LAG: u64 = 4096;
const MAX_COMMIT_AHEAD: u64 = 1024;
const MAX_REPORTING_RANKS: u64 = 65_536;

/// A spec with every default written out. The paths of violations start at the spec, as in `groups[0].base_lr`.
pub fn from_proto(mut spec: proto::JobSpec, v: &mut Violations) -> Spec {
    check_texts(&spec, v);
    let groups = groups(std::mem::take(&mut spec.groups), v);
    let total_steps = total_steps(&spec, v);
    Spec {
        groups,
        total_steps,
        steps_per_epoch: optional_whole(v, "steps_per_epoch", spec.steps_per_epoch, 1, MAX_STEP),
        tokens_per_step: optional_whole(v, "tokens_per_step", spec.tokens_per_step, 1, MAX_STEP),
        schedule: optional_schedule("schedule", spec.schedule, v).unwrap_or(Spec::default().schedule),
        momentum_schedule: optional_schedule("momentum_schedule", spec.momentum_schedule, v),
        weight_decay_schedule: optional_schedule("weight_decay_schedule", spec.weight_decay_schedule, v),
        controllers: controllers(&spec.controller, spec.controllers, v),
        objective: spec.objective.map(|wire| v.within("objective", |v| objective(wire, v))),
        arm: arm_from_proto(spec.arm, v),
        seed: spec.seed,
        decision_lag: optional_whole(v, "decision_lag", spec.decision_lag, 1, MAX_DECISION_LAG)
            .unwrap_or(DEFAULT_DECISION_LAG),
        commit_ahead: optional_whole(v, "commit_ahead", spec.commit_ahead, 1, MAX_COMMIT_AHEAD)
            .unwrap_or(DEFAULT_COMMIT_AHEAD),
        reporting_ranks: spec.reporting_ranks.map_or(1, |ranks| reporting_ranks(ranks, v)),
        rate_limits: spec
            .rate_limits
            .map(|limits| RateLimits { min_lr: limits.min_lr, max_lr: limits.max_lr })
            .unwrap_or_default(),
        tier: spec.tier.map_or(Tier::default(), |tier| tier_from_proto(tier, v)),
        base_lr_from: spec.base_lr_from.map(|from| v.within("base_lr_from", |v| base_lr_from(from, v))),
        display_name: spec.display_name,
        experiment: spec.experiment,
        labels: spec.labels,
    }
}

/// A spec on the wire.
#[must_use]
pub fn to_proto(spec: &Spec) -> proto::JobSpec {
    let limits = spec.rate_limits;
    proto::JobSpec {
        display_name: spec.display_name.clone(),
        groups: spec.groups.iter().map(group_to_proto).collect(),
        total_steps: spec.total_steps.map(int64),
        steps_per_epoch: spec.steps_per_epoch.map(int64),
        target_epochs: None,
        tokens_per_step: spec.tokens_per_step.map(int64),
        schedule: Some(schedule::to_proto(&spec.schedule)),
        momentum_schedule: spec.momentum_schedule.as_ref().map(schedule::to_proto),
        weight_decay_schedule: spec.weight_decay_schedule.as_ref().map(schedule::to_proto),
        controllers: spec.controllers.iter().map(controller::to_proto).collect(),
        objective: spec.objective.as_ref().map(objective_to_proto),
        experiment: spec.experiment.clone(),
        arm: arm_to_proto(spec.arm).into(),
        seed: spec.seed,
        labels: spec.labels.clone(),
        decision_lag: Some(int64(spec.decision_lag)),
        commit_ahead: Some(int64(spec.commit_ahead)),
        reporting_ranks: Some(i32::try_from(spec.reporting_ranks).unwrap_or(i32::MAX)),
        rate_limits: (limits != RateLimits::default())
            .then_some(proto::RateLimits { min_lr: limits.min_lr, max_lr: limits.max_lr }),
        tier: Some(spec.tier.number().into()),
        controller: String::new(),
        base_lr_from: spec.base_lr_from.as_ref().map(base_lr_from_to_proto),
    }
}

/// The length of the training, given in steps or in epochs.
fn total_steps(spec: &proto::JobSpec, v: &mut Violations) -> Option<u64> {
    let written = optional_whole(v, "total_steps", spec.total_steps, 1, MAX_STEP);
    let Some(epochs) = spec.target_epochs else { return written };
    if written.is_some() {
        v.add("target_epochs", "is not allowed beside `total_steps`: it is another way to say it");
        return written;
    }
    let Some(each) = spec.steps_per_epoch.filter(|each| *each > 0) else {
        v.add(
            "target_epochs",
            "needs `steps_per_epoch`: the training has `target_epochs` times `steps_per_epoch` steps",
        );
        return None;
    };
    #[expect(clippy::cast_precision_loss, reason = "rounded to whole steps anyway")]
    let steps = (epochs * each as f64).round();
    #[expect(clippy::cast_precision_loss, reason = "exact: at most 2^53 - 1")]
    if !(1.0..=MAX_STEP as f64).contains(&steps) {
        v.refuse("target_epochs", epochs, "finite, greater than 0, and from 1 to 2^53 - 1 steps in all");
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and in range")]
    let steps = steps as u64;
    Some(steps)
}

/// The controllers in the long form, or the controller that the short form names.
fn controllers(short: &str, listed: Vec<proto::Controller>, v: &mut Violations) -> Vec<ControllerSpec> {
    if !short.is_empty() {
        if !listed.is_empty() {
            v.add("controller", "is not allowed beside `controllers`: it is short for one of them");
        }
        return v.within("controller", |v| {
            let read = written::read(&reflect::descriptor::<proto::Controller>(), &short.into());
            let read = read.map_err(|problem| problem.said);
            match read.and_then(|json| serde_json::from_value(json).map_err(|problem| problem.to_string())) {
                Ok(controller) => controller::from_proto(&controller, v).into_iter().collect(),
                Err(problem) => {
                    v.add("", problem);
                    Vec::new()
                }
            }
        });
    }
    v.within("controllers", |v| {
        let read = |(i, wire)| v.within(format_args!("[{i}]"), |v| controller::from_proto(&wire, v));
        listed.into_iter().enumerate().filter_map(read).collect()
    })
}

fn tier_from_proto(tier: i32, v: &mut Violations) -> Tier {
    Tier::from_number(whole(v, "tier", tier.into(), 0, 2)).unwrap_or_default()
}

fn base_lr_from(from: proto::BaseLrFrom, v: &mut Violations) -> BaseLrFrom {
    use proto::base_lr_from::{Source, Suggestion as Wire};
    let suggestion = match Wire::try_from(from.suggestion) {
        Ok(Wire::Unspecified | Wire::Valley) => Suggestion::Valley,
        Ok(Wire::Steepest) => Suggestion::Steepest,
        Ok(Wire::Slide) => Suggestion::Slide,
        Ok(Wire::Minimum) => Suggestion::Minimum,
        Err(_) => {
            v.refuse("suggestion", from.suggestion, "a SUGGESTION_ of BaseLrFrom");
            Suggestion::Valley
        }
    };
    let (field, job) = match &from.source {
        Some(Source::RangeTest(job)) => ("range_test", job),
        Some(Source::StudyTrial(job)) => ("study_trial", job),
        None => {
            v.add("", "is required: exactly one of `range_test` and `study_trial`");
            return BaseLrFrom::StudyTrial(String::new());
        }
    };
    if let Err(problem) = job.parse::<JobName>() {
        v.add(field, problem);
    }
    match from.source {
        Some(Source::RangeTest(job)) => BaseLrFrom::RangeTest(job, suggestion),
        Some(Source::StudyTrial(job)) => BaseLrFrom::StudyTrial(job),
        None => BaseLrFrom::StudyTrial(String::new()),
    }
}

fn base_lr_from_to_proto(from: &BaseLrFrom) -> proto::BaseLrFrom {
    use proto::base_lr_from::{Source, Suggestion as Wire};
    let (source, suggestion) = match from {
        BaseLrFrom::RangeTest(job, suggestion) => (Source::RangeTest(job.clone()), *suggestion),
        BaseLrFrom::StudyTrial(job) => (Source::StudyTrial(job.clone()), Suggestion::default()),
    };
    let suggestion = match suggestion {
        Suggestion::Steepest => Wire::Steepest,
        Suggestion::Valley => Wire::Valley,
        Suggestion::Slide => Wire::Slide,
        Suggestion::Minimum => Wire::Minimum,
    };
    proto::BaseLrFrom { source: Some(source), suggestion: suggestion.into() }
}

fn check_texts(spec: &proto::JobSpec, v: &mut Violations) {
    at_most_chars(v, "display_name", &spec.display_name, MAX_DISPLAY_NAME_CHARS);
    at_most_chars(v, "experiment", &spec.experiment, MAX_EXPERIMENT_CHARS);
    v.within("labels", |v| {
        if spec.labels.len() > MAX_LABELS {
            v.refuse("", format_args!("{} labels", spec.labels.len()), format_args!("at most {MAX_LABELS}"));
        }
        for (key, value) in &spec.labels {
            let place = format!("[{key:?}]");
            if key.is_empty() {
                v.refuse(&place, "an empty key", format_args!("1 to {MAX_LABEL_KEY_CHARS} characters"));
            }
            at_most_chars(v, &place, key, MAX_LABEL_KEY_CHARS);
            at_most_chars(v, &place, value, MAX_LABEL_VALUE_CHARS);
        }
    });
}

fn groups(groups: Vec<proto::ParameterGroup>, v: &mut Violations) -> Vec<Group> {
    let is_only_one = groups.len() == 1;
    v.within("groups", |v| {
        let read = |(i, wire)| v.within(format_args!("[{i}]"), |v| group(wire, is_only_one, v));
        groups.into_iter().enumerate().map(read).collect()
    })
}

fn group(group: proto::ParameterGroup, is_only_one: bool, v: &mut Violations) -> Group {
    let name = if is_only_one && group.name.is_empty() { DEFAULT_GROUP.to_owned() } else { group.name };
    if let Err(problem) = check_group(&name) {
        v.add("name", problem);
    }
    Group {
        name,
        base_lr: group.base_lr,
        base_momentum: group.base_momentum,
        base_weight_decay: group.base_weight_decay,
        schedule: optional_schedule("schedule", group.schedule, v),
    }
}

fn group_to_proto(group: &Group) -> proto::ParameterGroup {
    proto::ParameterGroup {
        name: group.name.clone(),
        base_lr: group.base_lr,
        base_momentum: group.base_momentum,
        base_weight_decay: group.base_weight_decay,
        schedule: group.schedule.as_ref().map(schedule::to_proto),
    }
}

fn objective(objective: proto::Objective, v: &mut Violations) -> Objective {
    if objective.metric.is_empty() {
        v.add("metric", "is required: `loss`, `grad_norm`, or a metric the trainer reports");
    }
    Objective {
        metric: objective.metric,
        mode: controller::mode_from_proto(objective.mode, v),
        target: objective.target,
        on_target: controller::action_from_proto(objective.on_target, v),
        factor: objective.factor,
        cooldown_steps: whole(v, "cooldown_steps", objective.cooldown_steps, 0, MAX_STEP),
    }
}

/// An objective on the wire.
#[must_use]
pub fn objective_to_proto(objective: &Objective) -> proto::Objective {
    proto::Objective {
        metric: objective.metric.clone(),
        mode: controller::mode_to_proto(objective.mode).into(),
        target: objective.target,
        on_target: objective.target.map_or(0, |_| controller::action_to_proto(objective.on_target).into()),
        factor: objective.factor,
        cooldown_steps: int64(objective.cooldown_steps),
    }
}

/// An arm on the wire.
#[must_use]
pub fn arm_to_proto(arm: Option<Arm>) -> proto::Arm {
    match arm {
        None => proto::Arm::Unspecified,
        Some(Arm::Scheduled) => proto::Arm::Scheduled,
        Some(Arm::Baseline) => proto::Arm::Baseline,
    }
}

fn arm_from_proto(arm: i32, v: &mut Violations) -> Option<Arm> {
    match proto::Arm::try_from(arm) {
        Ok(proto::Arm::Unspecified) => None,
        Ok(proto::Arm::Scheduled) => Some(Arm::Scheduled),
        Ok(proto::Arm::Baseline) => Some(Arm::Baseline),
        Err(_) => {
            v.refuse("arm", arm, "ARM_SCHEDULED, ARM_BASELINE or unset");
            None
        }
    }
}

/// How many ranks report.
pub fn reporting_ranks(ranks: i32, v: &mut Violations) -> u32 {
    let ranks = whole(v, "reporting_ranks", ranks.into(), 1, MAX_REPORTING_RANKS);
    u32::try_from(ranks).unwrap_or(u32::MAX)
}

fn optional_schedule(
    field: &str,
    wire: Option<proto::Schedule>,
    v: &mut Violations,
) -> Option<lrs_model::schedule::ScheduleSpec> {
    wire.map(|wire| v.within(field, |v| schedule::from_proto(&wire, v)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::schedule::ScheduleSpec;

    fn read(json: &str) -> (Spec, Vec<String>) {
        let mut violations = Violations::new();
        let spec = from_proto(serde_json::from_str(json).unwrap(), &mut violations);
        (spec, violations.iter().map(|violation| violation.field.clone()).collect())
    }

    #[test]
    fn the_shortest_spec_gets_every_default() {
        let (spec, wrong) = read(r#"{"groups": [{"base_lr": 0.1}]}"#);
        assert_eq!(wrong, [""; 0]);
        assert_eq!(spec.groups[0].name, "default");
        assert_eq!(spec.schedule, ScheduleSpec::Base(1.0));
        assert_eq!((spec.decision_lag, spec.commit_ahead, spec.reporting_ranks), (1, 64, 1));
    }

    #[test]
    fn a_full_spec_survives_the_wire() {
        let (spec, wrong) = read(
            r#"{"display_name": "x", "groups": [{"name": "a", "base_lr": 0.1, "base_momentum": 0.9},
                {"name": "b", "base_lr": 0.2, "schedule": {"constant": 0.5}}],
                "totalSteps": "1000", "steps_per_epoch": 10, "schedule": {"cosine": {"floor": {"min_lr": 0.01}}},
                "momentum_schedule": {"base": 1}, "weight_decay_schedule": {"constant": 0.1},
                "controllers": [{"reduce_lr_on_plateau": {"metric": "val_loss", "min_lr": [0.1, 0.2]}}],
                "objective": {"metric": "val_loss", "mode": "MODE_MAX", "target": 0.9}, "experiment": "e",
                "arm": "ARM_BASELINE", "seed": "-3", "labels": {"team": "vision"}, "decision_lag": 8,
                "commit_ahead": 32, "reporting_ranks": 4, "rate_limits": {"max_lr": 1}, "tier": 2,
                "base_lr_from": {"range_test": "namespaces/a/jobs/b", "suggestion": "SUGGESTION_SLIDE"}}"#,
        );
        assert_eq!(wrong, [""; 0]);
        let mut violations = Violations::new();
        assert_eq!(from_proto(to_proto(&spec), &mut violations), spec);
        assert!(violations.is_empty());
        assert_eq!((spec.total_steps, spec.seed, spec.arm), (Some(1000), Some(-3), Some(Arm::Baseline)));
    }

    #[test]
    fn auto_is_short_for_the_controller_of_that_name() {
        let (short, wrong) = read(r#"{"groups": [{"base_lr": 0.1}], "controller": "auto"}"#);
        assert_eq!(wrong, [""; 0]);
        let (long, _) = read(r#"{"groups": [{"base_lr": 0.1}], "controllers": [{"auto": {}}]}"#);
        assert_eq!(short, long);
        let (greedy, wrong) = read(r#"{"groups": [{"base_lr": 0.1}], "controller": "greedy"}"#);
        assert_eq!((wrong, greedy.controllers[0].kind()), (vec![], "greedy"));
        let (_, wrong) =
            read(r#"{"controller": "magic", "controllers": [{"auto": {}}], "tier": 3, "base_lr_from": {}}"#);
        assert_eq!(wrong, ["controller", "controller", "tier", "base_lr_from"]);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let long = "x".repeat(201);
        let (_, wrong) = read(&format!(
            r#"{{"display_name": "{long}", "groups": [{{"name": "a\tb"}}, {{"name": "c", "schedule": {{}}}}],
                "total_steps": 0, "steps_per_epoch": -1, "schedule": {{}}, "controllers": [{{}}], "objective": {{}},
                "labels": {{"": "x"}}, "decision_lag": 4097, "commit_ahead": 0, "reporting_ranks": 65537}}"#
        ));
        assert_eq!(
            wrong,
            [
                "display_name",
                "labels[\"\"]",
                "groups[0].name",
                "groups[1].schedule",
                "total_steps",
                "steps_per_epoch",
                "schedule",
                "controllers[0]",
                "objective.metric",
                "decision_lag",
                "commit_ahead",
                "reporting_ranks"
            ]
        );
    }

    #[test]
    fn the_length_of_a_training_may_be_given_in_epochs() {
        let (spec, wrong) =
            read(r#"{"groups": [{"base_lr": 1}], "target_epochs": 2.5, "steps_per_epoch": 41, "tokens_per_step": 8}"#);
        assert_eq!(wrong, [""; 0]);
        assert_eq!((spec.total_steps, spec.tokens_per_step), (Some(103), Some(8)));
        let written = to_proto(&spec);
        assert_eq!((written.total_steps, written.target_epochs, written.tokens_per_step), (Some(103), None, Some(8)));
        for alone in [
            r#"{"target_epochs": 3}"#,
            r#"{"target_epochs": 3, "steps_per_epoch": 9, "total_steps": 27}"#,
            r#"{"target_epochs": -1, "steps_per_epoch": 9}"#,
            r#"{"target_epochs": "NaN", "steps_per_epoch": 9}"#,
        ] {
            assert_eq!(read(alone).1, ["target_epochs"], "{alone}");
        }
    }

    #[test]
    fn an_unknown_enum_value_is_refused() {
        let mut violations = Violations::new();
        from_proto(proto::JobSpec { arm: 9, ..Default::default() }, &mut violations);
        assert!(violations.to_string().contains("arm: 9 is not allowed"), "{violations}");
    }
}
