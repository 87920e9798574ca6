//! Controllers, and the enums that they share with other messages.

use super::plain;
use lrs_model::{
    controller::{ControllerSpec, Mode, ThresholdAction},
    violation::Violations,
};
use lrs_proto as proto;

/// A controller with the parameters that are set; `None`, with a violation, if it has no kind.
pub fn from_proto(controller: &proto::Controller, violations: &mut Violations) -> Option<ControllerSpec> {
    serde_json::from_value(plain::read(controller, violations)).ok()
}

/// A controller on the wire; empty if this release does not know its kind.
#[must_use]
pub fn to_proto(controller: &ControllerSpec) -> proto::Controller {
    serde_json::to_value(controller).ok().and_then(|value| plain::write(&value).ok()).unwrap_or_default()
}

/// Whether lower or higher is better; lower is the default.
pub fn mode_from_proto(mode: i32, violations: &mut Violations) -> Mode {
    match proto::Mode::try_from(mode) {
        Ok(proto::Mode::Unspecified | proto::Mode::Min) => Mode::Min,
        Ok(proto::Mode::Max) => Mode::Max,
        Err(_) => {
            violations.refuse("mode", mode, "MODE_MIN or MODE_MAX");
            Mode::Min
        }
    }
}

/// The mode on the wire.
#[must_use]
pub fn mode_to_proto(mode: Mode) -> proto::Mode {
    match mode {
        Mode::Min => proto::Mode::Min,
        Mode::Max => proto::Mode::Max,
    }
}

/// What happens when the objective's target is reached; a notice is the default.
pub fn action_from_proto(action: i32, violations: &mut Violations) -> ThresholdAction {
    match proto::ThresholdAction::try_from(action) {
        Ok(proto::ThresholdAction::Unspecified | proto::ThresholdAction::Notice) => ThresholdAction::Notice,
        Ok(proto::ThresholdAction::Stop) => ThresholdAction::Stop,
        Ok(proto::ThresholdAction::Cooldown) => ThresholdAction::Cooldown,
        Ok(proto::ThresholdAction::Cut) => ThresholdAction::Cut,
        Err(_) => {
            violations.refuse("on_target", action, "a value of ThresholdAction, such as THRESHOLD_ACTION_STOP");
            ThresholdAction::Notice
        }
    }
}

/// The action on the wire.
#[must_use]
pub fn action_to_proto(action: ThresholdAction) -> proto::ThresholdAction {
    match action {
        ThresholdAction::Notice => proto::ThresholdAction::Notice,
        ThresholdAction::Stop => proto::ThresholdAction::Stop,
        ThresholdAction::Cooldown => proto::ThresholdAction::Cooldown,
        ThresholdAction::Cut => proto::ThresholdAction::Cut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_control::complete;
    use lrs_proto::reflect;
    use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value as Wire};
    use serde_json::json;

    fn read(wire: serde_json::Value) -> (Option<ControllerSpec>, Vec<String>) {
        let mut violations = Violations::new();
        let wire: proto::Controller = serde_json::from_value(wire).unwrap();
        let spec = from_proto(&wire, &mut violations);
        (spec, violations.iter().map(|violation| violation.field.clone()).collect())
    }

    /// A message with every field set to a value that is not its default.
    fn filled(descriptor: &MessageDescriptor) -> DynamicMessage {
        let mut message = DynamicMessage::new(descriptor.clone());
        for field in descriptor.fields() {
            let value = example(&field);
            let value = if field.is_list() { Wire::List(vec![value]) } else { value };
            message.set_field(&field, value);
        }
        message
    }

    fn example(field: &FieldDescriptor) -> Wire {
        match field.kind() {
            Kind::Bool => Wire::Bool(true),
            Kind::String => Wire::String("val_loss".to_owned()),
            Kind::Int64 => Wire::I64(33),
            Kind::Double => Wire::F64(0.375),
            Kind::Enum(descriptor) => Wire::EnumNumber(descriptor.values().last().unwrap().number()),
            Kind::Message(message) => Wire::Message(filled(&message)),
            other => panic!("{} is a {other:?}: give it an example", field.full_name()),
        }
    }

    #[test]
    fn every_field_of_every_kind_is_a_parameter_and_survives() {
        let controller = reflect::descriptor::<proto::Controller>();
        let kinds = controller.oneofs().find(|oneof| oneof.name() == "kind").unwrap();
        for kind in kinds.fields() {
            let mut wire = DynamicMessage::new(controller.clone());
            wire.set_field(&kind, example(&kind));
            let wire: proto::Controller = reflect::from_dynamic(&wire).unwrap();
            let mut violations = Violations::new();

            let spec = from_proto(&wire, &mut violations).unwrap();

            assert!(violations.is_empty(), "{violations}");
            let name = kind.name();
            assert_eq!(complete(&spec), Some(spec.clone()), "{name}: the parameters are not the fields of the message");
            assert_eq!(to_proto(&spec), wire, "{name}");
        }
        let names: Vec<_> = kinds.fields().map(|kind| kind.name().to_owned()).collect();
        assert!(lrs_control::kinds().all(|kind| names.iter().any(|name| name == kind)), "{names:?}");
    }

    #[test]
    fn an_empty_plateau_gets_pytorchs_defaults() {
        let (spec, wrong) = read(json!({"reduce_lr_on_plateau": {}}));
        assert_eq!(wrong, [""; 0]);
        assert_eq!(complete(&spec.unwrap()), Some(lrs_control::plateau::Params::default().into()));
    }

    #[test]
    fn a_librarys_controller_survives() {
        let wire = json!({"library": "keras", "scheduler": "ReduceLROnPlateau", "metric": "accuracy", "unit": "UNIT_EPOCH",
            "params": {"patience": 3, "factor": 0.5, "monitor": "val_loss", "x": [null, true, {"y": 1e-9}]}});
        let (spec, wrong) = read(wire);
        assert_eq!(wrong, [""; 0]);
        let spec = spec.unwrap();
        assert_eq!(complete(&spec), Some(spec.clone()));
        assert_eq!(from_proto(&to_proto(&spec), &mut Violations::new()), Some(spec));
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let mut violations = Violations::new();
        let plateau = proto::ReduceLrOnPlateau {
            mode: 7,
            patience: Some(-1),
            threshold_mode: 9,
            cooldown: -2,
            ..Default::default()
        };
        let kind = Some(proto::controller::Kind::ReduceLrOnPlateau(plateau));
        from_proto(&proto::Controller { kind, ..Default::default() }, &mut violations);
        assert_eq!(from_proto(&proto::Controller::default(), &mut violations), None);
        let mut fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "",
                "reduce_lr_on_plateau.cooldown",
                "reduce_lr_on_plateau.mode",
                "reduce_lr_on_plateau.patience",
                "reduce_lr_on_plateau.threshold_mode",
            ]
        );
    }
}
