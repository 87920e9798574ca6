//! What is legal in a spec and probably not meant: sentences for the person who registers or changes a job.

mod controllers;
mod metrics;
mod schedules;

use lrs_control::expand;
use lrs_model::{controller::ControllerSpec, spec::Spec};
use serde::de::DeserializeOwned;

/// A check of a spec, which adds a sentence for each thing that is probably wrong.
type Check = fn(&Spec, &mut Vec<String>);

const CHECKS: &[Check] = &[
    controllers::steps_for_epochs,
    controllers::too_short_a_training,
    controllers::floor_above_the_rates,
    metrics::other_direction,
    metrics::relative_to_a_negative,
    schedules::rises_to_the_end,
    schedules::is_zero_too_early,
    schedules::is_over_too_early,
    schedules::reaches_past_the_end,
    schedules::does_nothing,
    schedules::never_moves,
    schedules::counts_steps_for_epochs,
    schedules::has_rates_of_its_own,
    schedules::has_no_base_rate,
    schedules::is_held_by_the_limits,
];

/// What is probably wrong with `spec`, which has been checked. A function of the spec alone.
#[must_use]
pub fn warnings(spec: &Spec) -> Vec<String> {
    let mut found = Vec::new();
    for check in CHECKS {
        check(spec, &mut found);
    }
    found
}

/// What is probably wrong with a training that has reported `step`.
#[must_use]
pub fn of_training(spec: &Spec, step: u64) -> Option<String> {
    let total = spec.total_steps.filter(|total| step >= *total)?;
    Some(format!(
        "the training has come to step {step}, after the last step of the job ({}): the rate stays as it is at the end, \
         unless `total_steps` is set to the real length",
        total - 1
    ))
}

/// What is probably wrong with an order that takes effect at `effective_step`.
#[must_use]
pub fn of_order(spec: &Spec, effective_step: u64) -> Option<String> {
    let total = spec.total_steps.filter(|total| effective_step >= *total)?;
    Some(format!(
        "the order takes effect at step {effective_step}, after the last step of the job ({}), so it changes nothing \
         unless the training goes on",
        total - 1
    ))
}

/// A controller of a spec, for a sentence about it.
struct Controller {
    /// Its field in the spec, and its name in the words of the spec.
    title: String,
    /// In our words, with every default.
    native: ControllerSpec,
}

impl Controller {
    /// The controllers of `spec`.
    fn all(spec: &Spec) -> impl Iterator<Item = Self> {
        spec.controllers.iter().enumerate().map(|(i, written)| Self {
            title: format!("controllers[{i}] ({})", name(written)),
            native: expand(written, spec.steps_per_epoch),
        })
    }

    /// A parameter, if the controller has one of this name and type.
    fn param<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_value(self.native.params().get(name)?.clone()).ok()
    }
}

/// The controller's name in the words of the spec.
fn name(written: &ControllerSpec) -> String {
    match written.params().get("scheduler").and_then(serde_json::Value::as_str) {
        Some(scheduler) => scheduler.to_owned(),
        None => written.kind().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::spec::Group;
    use serde_json::json;

    /// A group that learns at `base_lr`.
    pub(super) fn group(base_lr: f64) -> Group {
        Group { name: "default".into(), base_lr, base_momentum: None, base_weight_decay: None, schedule: None }
    }

    /// The warnings of a spec of 1000 steps with this controller.
    pub(super) fn with(controller: serde_json::Value, edit: impl FnOnce(&mut Spec)) -> Vec<String> {
        let controllers = vec![serde_json::from_value(controller).unwrap()];
        let mut spec = Spec { controllers, groups: vec![group(0.1)], total_steps: Some(1000), ..Spec::default() };
        edit(&mut spec);
        warnings(&spec)
    }

    #[test]
    fn an_order_at_or_after_the_end_is_warned_of() {
        let spec = Spec { total_steps: Some(100), ..Spec::default() };
        assert_eq!(of_order(&spec, 99), None);
        let late = of_order(&spec, 100).unwrap();
        assert!(late.starts_with("the order takes effect at step 100, after the last step of the job (99)"), "{late}");
        assert_eq!(of_order(&Spec::default(), u64::MAX), None);
    }

    #[test]
    fn a_training_that_goes_on_after_the_end_is_warned_of() {
        let spec = Spec { total_steps: Some(100), ..Spec::default() };
        assert_eq!(of_training(&spec, 99), None);
        let late = of_training(&spec, 100).unwrap();
        assert!(late.starts_with("the training has come to step 100, after the last step of the job (99)"), "{late}");
        assert_eq!(of_training(&Spec::default(), u64::MAX), None);
    }

    #[test]
    fn what_is_usual_is_not_warned_of() {
        for controller in [
            json!("auto"),
            json!("statistical_plateau"),
            json!("noise_scale"),
            json!("range_test"),
            json!({"reduce_lr_on_plateau": {"metric": "val_loss"}}),
            json!({"keras_plateau": {"metric": "val_accuracy", "mode": "max"}}),
            json!({"optax_plateau": {"metric": "val_loss"}}),
            json!({"greedy": {"min_lr": [0.0]}}),
            json!({"threshold": {"metric": "val_accuracy", "above": 0.9}}),
        ] {
            assert_eq!(with(controller.clone(), |_| {}), [""; 0], "{controller}");
        }
    }
}
