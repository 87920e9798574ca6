//! `UpdateJobRequest.update_mask`: which fields of a spec a change touches.

use lrs_model::violation::Violations;
use lrs_proto::JobSpec;

/// Every field of a spec that can be named after `spec.`; `labels.KEY` besides.
const FIELDS: [&str; 22] = [
    "display_name",
    "groups",
    "total_steps",
    "steps_per_epoch",
    "schedule",
    "momentum_schedule",
    "weight_decay_schedule",
    "controllers",
    "objective",
    "objective.metric",
    "objective.mode",
    "objective.target",
    "experiment",
    "arm",
    "seed",
    "labels",
    "decision_lag",
    "commit_ahead",
    "reporting_ranks",
    "rate_limits",
    "rate_limits.min_lr",
    "rate_limits.max_lr",
];
const SPEC: &str = "spec";
const MAX_PATHS: usize = 100;

/// `current` with the fields that `paths` name taken from `new`; without paths, the populated fields of `new`.
///
/// Naming a field that `new` does not have sets it back to its default.
pub fn apply(violations: &mut Violations, mut current: JobSpec, new: &JobSpec, paths: &[String]) -> JobSpec {
    if paths.len() > MAX_PATHS {
        violations.refuse("update_mask", format_args!("{} paths", paths.len()), format_args!("at most {MAX_PATHS}"));
        return current;
    }
    if paths.is_empty() {
        for field in populated(new) {
            copy(field, new, &mut current);
        }
        return current;
    }
    for path in paths {
        let is_known = if path == SPEC || path == "*" {
            current = new.clone();
            true
        } else {
            path.strip_prefix("spec.").is_some_and(|field| copy(field, new, &mut current))
        };
        if !is_known {
            let allowed = format!("`spec` or one of spec.{}, spec.labels.KEY", FIELDS.join(", spec."));
            violations.refuse("update_mask", format_args!("{path:?}"), allowed);
        }
    }
    current
}

/// The whole fields that `spec` has: what differs from a message without any.
fn populated(spec: &JobSpec) -> impl Iterator<Item = &'static str> {
    FIELDS.into_iter().filter(|field| !field.contains('.')).filter(|field| {
        let mut probe = JobSpec::default();
        copy(field, spec, &mut probe);
        probe != JobSpec::default()
    })
}

/// Copies one field. `false` if there is no such field.
fn copy(field: &str, from: &JobSpec, to: &mut JobSpec) -> bool {
    match field {
        "display_name" => to.display_name.clone_from(&from.display_name),
        "groups" => to.groups.clone_from(&from.groups),
        "total_steps" => to.total_steps = from.total_steps,
        "steps_per_epoch" => to.steps_per_epoch = from.steps_per_epoch,
        "schedule" => to.schedule.clone_from(&from.schedule),
        "momentum_schedule" => to.momentum_schedule.clone_from(&from.momentum_schedule),
        "weight_decay_schedule" => to.weight_decay_schedule.clone_from(&from.weight_decay_schedule),
        "controllers" => to.controllers.clone_from(&from.controllers),
        "objective" => to.objective.clone_from(&from.objective),
        "experiment" => to.experiment.clone_from(&from.experiment),
        "arm" => to.arm = from.arm,
        "seed" => to.seed = from.seed,
        "labels" => to.labels.clone_from(&from.labels),
        "decision_lag" => to.decision_lag = from.decision_lag,
        "commit_ahead" => to.commit_ahead = from.commit_ahead,
        "reporting_ranks" => to.reporting_ranks = from.reporting_ranks,
        "rate_limits" => to.rate_limits = from.rate_limits,
        _ => return copy_below(field, from, to),
    }
    true
}

/// Copies a field of a field.
fn copy_below(path: &str, from: &JobSpec, to: &mut JobSpec) -> bool {
    let Some((field, below)) = path.split_once('.') else { return false };
    match field {
        "labels" if !below.is_empty() => {
            match from.labels.get(below) {
                Some(value) => to.labels.insert(below.to_owned(), value.clone()),
                None => to.labels.remove(below),
            };
            true
        }
        "objective" => copy_within(from.objective.as_ref(), &mut to.objective, |from, to| {
            match below {
                "metric" => to.metric.clone_from(&from.metric),
                "mode" => to.mode = from.mode,
                "target" => to.target = from.target,
                _ => return false,
            }
            true
        }),
        "rate_limits" => copy_within(from.rate_limits.as_ref(), &mut to.rate_limits, |from, to| {
            match below {
                "min_lr" => to.min_lr = from.min_lr,
                "max_lr" => to.max_lr = from.max_lr,
                _ => return false,
            }
            true
        }),
        _ => false,
    }
}

/// Copies a part of a message that may be unset on either side, leaving it unset where the part makes no difference.
fn copy_within<M: Clone + Default + PartialEq>(
    from: Option<&M>,
    to: &mut Option<M>,
    copy: impl FnOnce(&M, &mut M) -> bool,
) -> bool {
    let mut message = to.clone().unwrap_or_default();
    let is_known = copy(from.unwrap_or(&M::default()), &mut message);
    if to.is_some() || message != M::default() {
        *to = Some(message);
    }
    is_known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(json: &str) -> JobSpec {
        serde_json::from_str(json).unwrap()
    }

    fn current() -> JobSpec {
        spec(
            r#"{"display_name": "before", "groups": [{"name": "a", "base_lr": 0.1}], "total_steps": 10,
                "labels": {"team": "vision", "tier": "gold"}, "objective": {"metric": "loss", "target": 0.5}}"#,
        )
    }

    fn applied(new: &str, paths: &[&str]) -> (JobSpec, Violations) {
        let mut violations = Violations::new();
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        (apply(&mut violations, current(), &spec(new), &paths), violations)
    }

    #[test]
    fn without_a_mask_the_populated_fields_change() {
        let (after, violations) = applied(r#"{"total_steps": 20, "rate_limits": {"max_lr": 1}}"#, &[]);
        assert!(violations.is_empty());
        assert_eq!((after.total_steps, after.display_name.as_str()), (Some(20), "before"));
        assert_eq!(after.rate_limits.unwrap().max_lr, Some(1.0));
        assert_eq!(after.groups, current().groups);
    }

    #[test]
    fn a_named_field_that_is_not_given_goes_back_to_its_default() {
        let (after, _) = applied("{}", &["spec.total_steps", "spec.labels.tier", "spec.objective.target"]);
        assert_eq!(after.total_steps, None);
        assert_eq!(after.labels.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "vision".to_owned())]);
        let objective = after.objective.unwrap();
        assert_eq!((objective.metric.as_str(), objective.target), ("loss", None));
    }

    #[test]
    fn the_whole_spec_can_be_replaced() {
        let new = r#"{"groups": [{"base_lr": 1}]}"#;
        assert_eq!(applied(new, &["spec"]).0, spec(new));
        assert_eq!(applied(new, &["*"]).0, spec(new));
    }

    #[test]
    fn an_unknown_path_is_refused_with_those_that_exist() {
        for path in ["spec.colour", "state", "spec.objective.colour", "spec.labels.", "spec.", ""] {
            let (_, violations) = applied("{}", &[path]);
            let text = violations.to_string();
            assert!(text.starts_with(&format!("update_mask: {path:?} is not allowed")), "{text}");
            assert!(text.contains("spec.total_steps") && text.contains("spec.labels.KEY"), "{text}");
        }
    }

    #[test]
    fn every_field_of_a_spec_can_be_named() {
        let full = spec(
            r#"{"display_name": "x", "groups": [{"base_lr": 1}], "total_steps": 1, "steps_per_epoch": 1,
                "schedule": {"base": 1}, "momentum_schedule": {"base": 1}, "weight_decay_schedule": {"base": 1},
                "controllers": [{}], "objective": {"metric": "m", "mode": "MODE_MAX", "target": 1}, "experiment": "x",
                "arm": "ARM_BASELINE", "seed": 1, "labels": {"a": "b"}, "decision_lag": 1, "commit_ahead": 1,
                "reporting_ranks": 1, "rate_limits": {"min_lr": 1, "max_lr": 2}}"#,
        );
        let json = serde_json::to_value(&full).unwrap();
        for field in json.as_object().unwrap().keys() {
            assert!(copy(field, &full, &mut JobSpec::default()), "{field}");
        }
        let mut copied = JobSpec::default();
        assert!(FIELDS.iter().all(|field| copy(field, &full, &mut copied)));
        assert_eq!(copied, full);
    }
}
