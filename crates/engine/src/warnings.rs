//! What is legal in a spec and probably not meant: sentences for the person who registers or changes a job.

use lrs_control::{expand, unit_of};
use lrs_model::{controller::ControllerSpec, schedule::Unit, spec::Spec};

/// A check of a spec, which adds a sentence for each thing that is probably wrong.
type Check = fn(&Spec, &mut Vec<String>);

const CHECKS: &[Check] = &[steps_for_epochs];

/// What is probably wrong with `spec`, which has been checked. A function of the spec alone.
#[must_use]
pub fn warnings(spec: &Spec) -> Vec<String> {
    let mut found = Vec::new();
    CHECKS.iter().for_each(|check| check(spec, &mut found));
    found
}

/// A controller that counts every value of a metric that comes at each step, because the length of an epoch is unknown.
fn steps_for_epochs(spec: &Spec, found: &mut Vec<String>) {
    if spec.steps_per_epoch.is_some() {
        return;
    }
    for (i, written) in spec.controllers.iter().enumerate() {
        let controller = expand(written, None);
        // With the length of an epoch, it would count epochs; so it counts values only for lack of it.
        let known = expand(written, Some(2));
        if (unit_of(&controller, None), unit_of(&known, Some(2))) != (Some(Unit::Step), Some(Unit::Epoch)) {
            continue;
        }
        let text = |name: &str| controller.params().get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        let patience = controller.params().get("patience").and_then(serde_json::Value::as_u64).unwrap_or_default();
        found.push(format!(
            "controllers[{i}] ({}) counts every reported value of {}, so its patience of {patience} may be {patience} \
             steps: set steps_per_epoch to have it count epochs, or unit: UNIT_STEP if that is meant",
            name(written),
            text("metric"),
        ));
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
    use serde_json::json;

    fn with(controller: serde_json::Value, steps_per_epoch: Option<u64>) -> Vec<String> {
        let controllers = vec![serde_json::from_value(controller).unwrap()];
        warnings(&Spec { controllers, steps_per_epoch, ..Spec::default() })
    }

    #[test]
    fn a_plateau_over_each_steps_loss_is_warned_of_where_an_epoch_has_no_known_length() {
        let torch = json!({"library": {"library": "torch", "scheduler": "ReduceLROnPlateau"}});
        assert_eq!(
            with(torch.clone(), None),
            [
                "controllers[0] (ReduceLROnPlateau) counts every reported value of loss, so its patience of 10 may be 10 \
              steps: set steps_per_epoch to have it count epochs, or unit: UNIT_STEP if that is meant"
            ]
        );
        for kind in ["reduce_lr_on_plateau", "keras_plateau", "optax_plateau"] {
            assert_eq!(with(json!({kind: {}}), None).len(), 1, "{kind}");
            assert_eq!(with(json!({kind: {"unit": "step"}}), None), [""; 0], "{kind}");
            assert_eq!(with(json!({kind: {"metric": "val_loss"}}), None), [""; 0], "{kind}");
        }
        assert_eq!(with(torch, Some(200)), [""; 0]);
        for other in ["auto", "greedy", "statistical_plateau"] {
            assert_eq!(with(json!(other), None), [""; 0], "{other}");
        }
    }
}
