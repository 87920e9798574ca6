//! The controllers of a stored spec: every default is written out, so that a later release changes no job.

use std::borrow::Cow;

use crate::{ROWS, compat, registry::Row, threshold, units::with_unit};
use lrs_model::{controller::ControllerSpec, spec::Spec, violation::Violations};

/// The name of the target of an objective among the controllers.
pub const OBJECTIVE: &str = "objective";

fn row(spec: &ControllerSpec) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.name == spec.kind())
}

/// The controllers of `spec` and, as the last, the target of its objective, if it has one.
pub fn all(spec: &Spec) -> impl Iterator<Item = Cow<'_, ControllerSpec>> {
    let target = spec.objective.as_ref().and_then(threshold::of_objective);
    spec.controllers.iter().map(Cow::Borrowed).chain(target.map(Cow::Owned))
}

/// The name of the controller at `place` of [`all`]: its place and its kind in our words.
#[must_use]
pub fn name(spec: &Spec, place: usize) -> String {
    match spec.controllers.get(place) {
        Some(written) if written.kind() == compat::LIBRARY => {
            format!("{place}/{}", expand(written, spec.steps_per_epoch).kind())
        }
        written => format!("{place}/{}", written.map_or(OBJECTIVE, ControllerSpec::kind)),
    }
}

/// `spec` with every default of its controllers written out.
///
/// A kept parameter (the revision of `auto`) comes from `spec`, else from the spec `before` it, else from this release.
/// A wrong controller stays as it is, for [`Controller::try_new`](crate::Controller::try_new) to refuse.
#[must_use]
pub fn settled(mut spec: Spec, before: Option<&Spec>) -> Spec {
    let before = before.map_or(&[][..], |before| &before.controllers);
    for controller in &mut spec.controllers {
        let same_kind = before.iter().find(|other| other.kind() == controller.kind());
        for &name in row(controller).map_or(&[][..], |row| row.kept) {
            if let Some(kept) = same_kind.and_then(|before| before.params().get(name)) {
                controller.params_mut().entry(name).or_insert_with(|| kept.clone());
            }
        }
        if let Some(complete) = complete(controller) {
            *controller = complete;
        }
    }
    spec
}

/// `spec` without the kept parameters of its controllers, so that specs compare equal whichever release wrote them
/// down.
#[must_use]
pub fn unsettled(mut spec: Spec) -> Spec {
    for controller in &mut spec.controllers {
        for &name in row(controller).map_or(&[][..], |row| row.kept) {
            controller.params_mut().remove(name);
        }
    }
    spec
}

/// `spec` with every default written out, and translated to our words if it is in a library's, for a job with so many
/// `steps_per_epoch`. A wrong spec stays as it is.
#[must_use]
pub fn expand(spec: &ControllerSpec, steps_per_epoch: Option<u64>) -> ControllerSpec {
    let expanded = if spec.kind() == compat::LIBRARY {
        compat::translate(spec, steps_per_epoch, &mut Violations::new()).map(|translation| translation.controller)
    } else {
        complete(spec)
    };
    expanded.map_or_else(|| spec.clone(), |spec| with_unit(spec, steps_per_epoch))
}

/// `spec` with every default written out; `None` if its kind or one of its parameters does not exist.
#[must_use]
pub fn complete(spec: &ControllerSpec) -> Option<ControllerSpec> {
    match row(spec) {
        Some(row) => (row.complete)(spec),
        None => compat::complete(spec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(controller: serde_json::Value) -> Spec {
        Spec { controllers: vec![serde_json::from_value(controller).unwrap()], ..Spec::default() }
    }

    #[test]
    fn a_controller_has_one_name_in_any_words() {
        let library = json!({"library": {"library": "torch", "scheduler": "ReduceLROnPlateau"}});
        assert_eq!(name(&with(library), 0), "0/reduce_lr_on_plateau");
        assert_eq!(name(&with(json!("auto")), 0), "0/auto");
        assert_eq!(name(&with(json!("auto")), 1), "1/objective");
    }

    #[test]
    fn every_default_is_written_out() {
        let settled = settled(with(json!({"keras_plateau": {"patience": 3}})), None);
        let expected = json!({"keras_plateau": {"metric": "loss", "mode": "min", "factor": 0.1, "patience": 3,
            "min_delta": 1e-4, "cooldown": 0, "min_lr": 0.0, "unit": null}});
        assert_eq!(serde_json::to_value(&settled.controllers[0]).unwrap(), expected);
    }

    #[test]
    fn a_librarys_controller_stays_in_the_words_of_the_library() {
        let call = json!({"library": {"library": "torch", "scheduler": "ReduceLROnPlateau"}});
        let settled = settled(with(call), None);
        let expected = json!({"library": {"library": "torch", "scheduler": "ReduceLROnPlateau", "params": {},
            "metric": null, "unit": null}});
        assert_eq!(serde_json::to_value(&settled.controllers[0]).unwrap(), expected);
        assert_eq!(expand(&settled.controllers[0], None).kind(), "reduce_lr_on_plateau");
    }

    #[test]
    fn a_job_keeps_its_revision_until_another_is_asked_for() {
        let revision = |spec: Spec| spec.controllers[0].params()["revision"].clone();
        let newest = revision(settled(with(json!("auto")), None));
        let of = |revision: u64| with(json!({"auto": {"revision": revision}}));
        assert_eq!(newest, json!(crate::auto::REVISION));
        assert_eq!(revision(settled(with(json!("auto")), Some(&of(77)))), json!(77));
        assert_eq!(revision(settled(of(78), Some(&of(77)))), json!(78));
        assert_eq!(revision(settled(with(json!("auto")), Some(&with(json!("greedy"))))), newest);
        assert_eq!(unsettled(settled(of(77), None)), unsettled(settled(of(78), None)));
    }

    #[test]
    fn what_is_wrong_stays_as_it_is() {
        for wrong in [json!({"auto": {"no_such": 1}}), json!({"no_such": {}}), json!({"library": {"library": 3}})] {
            assert_eq!(settled(with(wrong.clone()), None), with(wrong));
        }
    }
}
