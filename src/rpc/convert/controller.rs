//! Controllers.

use super::{int64, step, whole};
use crate::{
    model::{
        MAX_STEP,
        controller::{ControllerSpec, Mode, ReduceLrOnPlateau, ThresholdMode},
        violation::Violations,
    },
    proto::{self, controller::Kind},
};

/// A controller, with every default written out.
pub fn from_proto(controller: proto::Controller, violations: &mut Violations) -> ControllerSpec {
    match controller.kind {
        Some(Kind::ReduceLrOnPlateau(plateau)) => {
            let plateau = violations.within("reduce_lr_on_plateau", |v| plateau_from_proto(plateau, v));
            ControllerSpec::ReduceLrOnPlateau(plateau)
        }
        None => {
            violations.add("", "is required: exactly one kind of controller, such as `reduce_lr_on_plateau`");
            ControllerSpec::ReduceLrOnPlateau(ReduceLrOnPlateau::default())
        }
    }
}

/// A controller on the wire.
#[must_use]
pub fn to_proto(controller: &ControllerSpec) -> proto::Controller {
    match controller {
        ControllerSpec::ReduceLrOnPlateau(plateau) => {
            proto::Controller { kind: Some(Kind::ReduceLrOnPlateau(plateau_to_proto(plateau))) }
        }
    }
}

/// Which direction is better; lower unless said otherwise.
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

/// The same on the wire.
#[must_use]
pub fn mode_to_proto(mode: Mode) -> proto::Mode {
    match mode {
        Mode::Min => proto::Mode::Min,
        Mode::Max => proto::Mode::Max,
    }
}

fn plateau_from_proto(plateau: proto::ReduceLrOnPlateau, v: &mut Violations) -> ReduceLrOnPlateau {
    let defaults = ReduceLrOnPlateau::default();
    ReduceLrOnPlateau {
        metric: if plateau.metric.is_empty() { defaults.metric } else { plateau.metric },
        mode: mode_from_proto(plateau.mode, v),
        factor: plateau.factor.unwrap_or(defaults.factor),
        patience: plateau.patience.map_or(defaults.patience, |n| whole(v, "patience", n, 0, MAX_STEP)),
        threshold: plateau.threshold.unwrap_or(defaults.threshold),
        threshold_mode: threshold_mode_from_proto(plateau.threshold_mode, v),
        cooldown: whole(v, "cooldown", plateau.cooldown, 0, MAX_STEP),
        min_lr: plateau.min_lr,
        eps: plateau.eps.unwrap_or(defaults.eps),
        start_step: step(v, "start_step", plateau.start_step),
    }
}

fn plateau_to_proto(plateau: &ReduceLrOnPlateau) -> proto::ReduceLrOnPlateau {
    proto::ReduceLrOnPlateau {
        metric: plateau.metric.clone(),
        mode: mode_to_proto(plateau.mode).into(),
        factor: Some(plateau.factor),
        patience: Some(int64(plateau.patience)),
        threshold: Some(plateau.threshold),
        threshold_mode: match plateau.threshold_mode {
            ThresholdMode::Rel => proto::ThresholdMode::Rel,
            ThresholdMode::Abs => proto::ThresholdMode::Abs,
        }
        .into(),
        cooldown: int64(plateau.cooldown),
        min_lr: plateau.min_lr.clone(),
        eps: Some(plateau.eps),
        start_step: int64(plateau.start_step),
    }
}

fn threshold_mode_from_proto(mode: i32, v: &mut Violations) -> ThresholdMode {
    match proto::ThresholdMode::try_from(mode) {
        Ok(proto::ThresholdMode::Unspecified | proto::ThresholdMode::Rel) => ThresholdMode::Rel,
        Ok(proto::ThresholdMode::Abs) => ThresholdMode::Abs,
        Err(_) => {
            v.refuse("threshold_mode", mode, "THRESHOLD_MODE_REL or THRESHOLD_MODE_ABS");
            ThresholdMode::Rel
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plateau(plateau: proto::ReduceLrOnPlateau) -> proto::Controller {
        proto::Controller { kind: Some(Kind::ReduceLrOnPlateau(plateau)) }
    }

    #[test]
    fn an_empty_plateau_gets_pytorchs_defaults_and_survives_the_wire() {
        let mut violations = Violations::new();
        let read = from_proto(plateau(proto::ReduceLrOnPlateau::default()), &mut violations);
        assert!(violations.is_empty());
        assert_eq!(read, ControllerSpec::ReduceLrOnPlateau(ReduceLrOnPlateau::default()));
        assert_eq!(from_proto(to_proto(&read), &mut violations), read);
    }

    #[test]
    fn everything_wrong_is_named_at_once() {
        let mut violations = Violations::new();
        let wrong = proto::ReduceLrOnPlateau {
            mode: 7,
            patience: Some(-1),
            threshold_mode: 9,
            cooldown: -2,
            ..Default::default()
        };
        from_proto(plateau(wrong), &mut violations);
        from_proto(proto::Controller { kind: None }, &mut violations);
        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "reduce_lr_on_plateau.mode",
                "reduce_lr_on_plateau.patience",
                "reduce_lr_on_plateau.threshold_mode",
                "reduce_lr_on_plateau.cooldown",
                ""
            ]
        );
    }
}
