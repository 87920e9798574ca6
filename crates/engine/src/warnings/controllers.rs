//! Controllers that cannot do what they are for.

use lrs_control::unit_of;
use lrs_model::{schedule::Unit, spec::Spec};

use super::{Controller, expand};

/// A controller that counts every value of a metric that comes at each step, because the length of an epoch is unknown.
pub(super) fn steps_for_epochs(spec: &Spec, found: &mut Vec<String>) {
    if spec.steps_per_epoch.is_some() {
        return;
    }
    for (controller, written) in Controller::all(spec).zip(&spec.controllers) {
        // With the length of an epoch, it would count epochs; so it counts values only for lack of it.
        let known = expand(written, Some(2));
        if (unit_of(&controller.native, None), unit_of(&known, Some(2))) != (Some(Unit::Step), Some(Unit::Epoch)) {
            continue;
        }
        let patience: u64 = controller.param("patience").unwrap_or_default();
        found.push(format!(
            "{} counts every reported value of {}, so its patience of {patience} may be {patience} steps: set \
             steps_per_epoch to have it count epochs, or unit: UNIT_STEP if that is meant",
            controller.title,
            controller.param::<String>("metric").unwrap_or_default(),
        ));
    }
}

/// A controller that would need more than the whole training before it acts.
pub(super) fn too_short_a_training(spec: &Spec, found: &mut Vec<String>) {
    let Some(total) = spec.total_steps else { return };
    if !spec.controllers.is_empty() && spec.decision_lag >= total {
        found.push(format!(
            "decision_lag is {}, and the training has {total} steps: no decision of a controller takes effect in it",
            spec.decision_lag
        ));
    }
    for controller in Controller::all(spec) {
        let whole = |name: &str| controller.param::<u64>(name);
        let is_epochs = controller.param("unit") == Some(Unit::Epoch);
        let each = if is_epochs { spec.steps_per_epoch.unwrap_or(1) } else { 1 };
        let each = each.saturating_mul(whole("accumulation_size").unwrap_or(1));
        let mut warn = |needs: String| {
            found.push(format!("{} {needs}, and the training has {total} steps, so it never acts", controller.title));
        };
        if let Some(patience) = whole("patience").filter(|patience| patience.saturating_mul(each) >= total) {
            let unit = if is_epochs { "epochs" } else { "values" };
            warn(format!("has a patience of {patience} {unit}"));
        } else if is_epochs && each > total {
            warn(format!("counts epochs of {each} steps"));
        }
        if let Some(start) = whole("start_step").filter(|start| *start >= total) {
            warn(format!("begins at step {start}"));
        }
        if let Some(window) = whole("window").filter(|window| *window > total) {
            warn(format!("has a window of {window} values"));
        }
        if let Some(steps) = whole("rates").zip(whole("steps_per_rate")).map(|(rates, each)| rates * each)
            && steps > total
        {
            found.push(format!("{} takes {steps} steps, and the training has {total}", controller.title));
        }
    }
}

/// A floor that a reduction would have to raise the rate to.
pub(super) fn floor_above_the_rates(spec: &Spec, found: &mut Vec<String>) {
    if spec.base_lr_from.is_some() {
        return;
    }
    for controller in Controller::all(spec) {
        let one = controller.param::<f64>("min_lr").map(|min| vec![min]);
        let mut floors = one.or_else(|| controller.param::<Vec<f64>>("min_lr")).unwrap_or_default();
        if floors.is_empty() && controller.native.kind() == "greedy" {
            floors = vec![1e-3];
        }
        let above = spec.groups.iter().enumerate().find_map(|(i, group)| {
            let floor = *floors.get(i).or(floors.first())?;
            (group.base_lr > 0.0 && floor > group.base_lr).then_some((floor, group))
        });
        if let Some((floor, group)) = above {
            found.push(format!(
                "{} has a min_lr of {floor}, above the base_lr of group {:?}, {}, so it cannot reduce that rate",
                controller.title, group.name, group.base_lr
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        tests::{group, with},
        warnings,
    };
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plateau_over_each_steps_loss_is_warned_of_where_an_epoch_has_no_known_length() {
        let with = |controller, steps_per_epoch| {
            let controllers = vec![serde_json::from_value(controller).unwrap()];
            warnings(&Spec { controllers, steps_per_epoch, ..Spec::default() })
        };
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

    #[test]
    fn what_needs_more_than_the_training_is_named_with_what_it_needs() {
        for (controller, needs) in [
            (
                json!({"reduce_lr_on_plateau": {"metric": "val_loss", "patience": 1000}}),
                "has a patience of 1000 values",
            ),
            (json!({"reduce_lr_on_plateau": {"patience": 10}}), "has a patience of 10 epochs"),
            (json!({"reduce_lr_on_plateau": {"patience": 1, "start_step": 1000}}), "begins at step 1000"),
            (json!({"threshold": {"metric": "x", "above": 1.0, "patience": 2000}}), "has a patience of 2000 values"),
            (json!({"optax_plateau": {"accumulation_size": 100}}), "has a patience of 10 values"),
            (json!({"statistical_plateau": {"window": 1001}}), "has a window of 1001 values"),
            (json!({"range_test": {"steps_per_rate": 11}}), "takes 1100 steps"),
        ] {
            let found = with(controller.clone(), |spec| spec.steps_per_epoch = Some(100));
            let kind = controller.as_object().unwrap().keys().next().unwrap();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(
                found[0].starts_with(&format!("controllers[0] ({kind}) {needs}, and the training has")),
                "{found:?}"
            );
        }
        let fits = json!({"reduce_lr_on_plateau": {"patience": 9}});
        assert_eq!(with(fits.clone(), |spec| spec.steps_per_epoch = Some(100)), [""; 0]);
        let lagging =
            with(fits, |spec| (spec.steps_per_epoch, spec.total_steps, spec.decision_lag) = (Some(1), Some(64), 64));
        assert!(lagging[0].starts_with("decision_lag is 64, and the training has 64 steps"), "{lagging:?}");
    }

    #[test]
    fn a_floor_above_a_groups_rate_is_named() {
        let plateau = |min_lr| json!({"reduce_lr_on_plateau": {"metric": "val_loss", "min_lr": min_lr}});
        let found = with(plateau(json!([0.2])), |_| {});
        assert!(found[0].contains("has a min_lr of 0.2, above the base_lr of group \"default\", 0.1,"), "{found:?}");
        assert_eq!(with(plateau(json!([0.1])), |_| {}), [""; 0]);
        assert_eq!(with(json!({"keras_plateau": {"metric": "val_loss", "min_lr": 1.0}}), |_| {}).len(), 1);
        assert_eq!(with(json!("greedy"), |spec| spec.groups = vec![group(1e-4)]).len(), 1);
    }
}
