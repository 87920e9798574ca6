//! Controllers.

use super::{int64, schedule::library, step, whole};

mod adaptive;

use lrs_model::{
    MAX_STEP,
    controller::{
        ControllerSpec, Greedy, KerasPlateau, LibraryController, Mode, OptaxPlateau, ReduceLrOnPlateau, ThresholdMode,
    },
    violation::Violations,
};
use lrs_proto as proto;
use lrs_proto::controller::Kind;

/// A controller, with every default written out.
pub fn from_proto(controller: proto::Controller, violations: &mut Violations) -> ControllerSpec {
    let unnamed = proto::Controller { kind: controller.kind.clone(), ..Default::default() };
    if controller != unnamed {
        if controller.kind.is_some() {
            violations.add("library", "is not allowed beside a kind: a controller is one or the other");
        }
        let metric = Some(controller.metric).filter(|metric| !metric.is_empty());
        let call = library::call(controller.library, controller.scheduler, controller.params, violations);
        return ControllerSpec::Library(LibraryController { call, metric });
    }
    match controller.kind {
        Some(Kind::ReduceLrOnPlateau(plateau)) => {
            let plateau = violations.within("reduce_lr_on_plateau", |v| plateau_from_proto(plateau, v));
            ControllerSpec::ReduceLrOnPlateau(plateau)
        }
        Some(Kind::KerasPlateau(plateau)) => {
            ControllerSpec::KerasPlateau(violations.within("keras_plateau", |v| keras_from_proto(plateau, v)))
        }
        Some(Kind::OptaxPlateau(plateau)) => {
            ControllerSpec::OptaxPlateau(violations.within("optax_plateau", |v| optax_from_proto(plateau, v)))
        }
        Some(Kind::Greedy(greedy)) => {
            ControllerSpec::Greedy(violations.within("greedy", |v| greedy_from_proto(greedy, v)))
        }
        Some(Kind::Auto(auto)) => {
            ControllerSpec::Auto(violations.within("auto", |v| adaptive::auto_from_proto(auto, v)))
        }
        Some(Kind::RangeTest(test)) => {
            ControllerSpec::RangeTest(violations.within("range_test", |v| adaptive::range_test_from_proto(&test, v)))
        }
        Some(Kind::StatisticalPlateau(plateau)) => ControllerSpec::StatisticalPlateau(
            violations.within("statistical_plateau", |v| adaptive::statistical_plateau_from_proto(plateau, v)),
        ),
        Some(Kind::NoiseScale(scale)) => {
            ControllerSpec::NoiseScale(violations.within("noise_scale", |v| adaptive::noise_scale_from_proto(scale, v)))
        }
        None => {
            violations.add(
                "",
                "is required: exactly one kind of controller, such as `reduce_lr_on_plateau`, or a `library` and its \
                 `scheduler`",
            );
            ControllerSpec::ReduceLrOnPlateau(ReduceLrOnPlateau::default())
        }
    }
}

/// A controller on the wire.
#[must_use]
pub fn to_proto(controller: &ControllerSpec) -> proto::Controller {
    let kind = match controller {
        ControllerSpec::ReduceLrOnPlateau(plateau) => Kind::ReduceLrOnPlateau(plateau_to_proto(plateau)),
        ControllerSpec::KerasPlateau(plateau) => Kind::KerasPlateau(keras_to_proto(plateau)),
        ControllerSpec::OptaxPlateau(plateau) => Kind::OptaxPlateau(optax_to_proto(plateau)),
        ControllerSpec::Greedy(greedy) => Kind::Greedy(greedy_to_proto(greedy)),
        ControllerSpec::Auto(auto) => Kind::Auto(adaptive::auto_to_proto(auto)),
        ControllerSpec::RangeTest(test) => Kind::RangeTest(adaptive::range_test_to_proto(test)),
        ControllerSpec::StatisticalPlateau(plateau) => {
            Kind::StatisticalPlateau(adaptive::statistical_plateau_to_proto(plateau))
        }
        ControllerSpec::NoiseScale(scale) => Kind::NoiseScale(adaptive::noise_scale_to_proto(scale)),
        ControllerSpec::Library(LibraryController { call, metric }) => {
            return proto::Controller {
                kind: None,
                library: call.library.clone(),
                scheduler: call.scheduler.clone(),
                params: library::params_to_proto(call),
                metric: metric.clone().unwrap_or_default(),
            };
        }
    };
    proto::Controller { kind: Some(kind), ..Default::default() }
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
        metric: named_or(plateau.metric, defaults.metric),
        mode: mode_from_proto(plateau.mode, v),
        factor: plateau.factor.unwrap_or(defaults.factor),
        patience: count_or("patience", plateau.patience, defaults.patience, v),
        threshold: plateau.threshold.unwrap_or(defaults.threshold),
        threshold_mode: threshold_mode_from_proto(plateau.threshold_mode, defaults.threshold_mode, v),
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
        threshold_mode: threshold_mode_to_proto(plateau.threshold_mode).into(),
        cooldown: int64(plateau.cooldown),
        min_lr: plateau.min_lr.clone(),
        eps: Some(plateau.eps),
        start_step: int64(plateau.start_step),
    }
}

fn keras_from_proto(plateau: proto::KerasPlateau, v: &mut Violations) -> KerasPlateau {
    let defaults = KerasPlateau::default();
    KerasPlateau {
        metric: named_or(plateau.metric, defaults.metric),
        mode: mode_from_proto(plateau.mode, v),
        factor: plateau.factor.unwrap_or(defaults.factor),
        patience: count_or("patience", plateau.patience, defaults.patience, v),
        min_delta: plateau.min_delta.unwrap_or(defaults.min_delta),
        cooldown: whole(v, "cooldown", plateau.cooldown, 0, MAX_STEP),
        min_lr: plateau.min_lr,
    }
}

fn keras_to_proto(plateau: &KerasPlateau) -> proto::KerasPlateau {
    proto::KerasPlateau {
        metric: plateau.metric.clone(),
        mode: mode_to_proto(plateau.mode).into(),
        factor: Some(plateau.factor),
        patience: Some(int64(plateau.patience)),
        min_delta: Some(plateau.min_delta),
        cooldown: int64(plateau.cooldown),
        min_lr: plateau.min_lr,
    }
}

fn optax_from_proto(plateau: proto::OptaxPlateau, v: &mut Violations) -> OptaxPlateau {
    let defaults = OptaxPlateau::default();
    OptaxPlateau {
        metric: named_or(plateau.metric, defaults.metric),
        factor: plateau.factor.unwrap_or(defaults.factor),
        patience: count_or("patience", plateau.patience, defaults.patience, v),
        rtol: plateau.rtol.unwrap_or(defaults.rtol),
        atol: plateau.atol,
        cooldown: whole(v, "cooldown", plateau.cooldown, 0, MAX_STEP),
        accumulation_size: plateau
            .accumulation_size
            .map_or(defaults.accumulation_size, |size| whole(v, "accumulation_size", size, 1, MAX_STEP)),
        min_scale: plateau.min_scale,
    }
}

fn optax_to_proto(plateau: &OptaxPlateau) -> proto::OptaxPlateau {
    proto::OptaxPlateau {
        metric: plateau.metric.clone(),
        factor: Some(plateau.factor),
        patience: Some(int64(plateau.patience)),
        rtol: Some(plateau.rtol),
        atol: plateau.atol,
        cooldown: int64(plateau.cooldown),
        accumulation_size: Some(int64(plateau.accumulation_size)),
        min_scale: plateau.min_scale,
    }
}

fn greedy_from_proto(greedy: proto::Greedy, v: &mut Violations) -> Greedy {
    let defaults = Greedy::default();
    Greedy {
        metric: named_or(greedy.metric, defaults.metric),
        mode: mode_from_proto(greedy.mode, v),
        factor: greedy.factor.unwrap_or(defaults.factor),
        patience: count_or("patience", greedy.patience, defaults.patience, v),
        threshold: greedy.threshold.unwrap_or(defaults.threshold),
        threshold_mode: threshold_mode_from_proto(greedy.threshold_mode, defaults.threshold_mode, v),
        cooldown: whole(v, "cooldown", greedy.cooldown, 0, MAX_STEP),
        warmup: whole(v, "warmup", greedy.warmup, 0, MAX_STEP),
        min_lr: if greedy.min_lr.is_empty() { defaults.min_lr } else { greedy.min_lr },
        max_lr: if greedy.max_lr.is_empty() { defaults.max_lr } else { greedy.max_lr },
        eps: greedy.eps.unwrap_or(defaults.eps),
        window: greedy.window.map_or(defaults.window, |window| whole(v, "window", window, 1, MAX_STEP)),
        reset_after: count_or("reset_after", greedy.reset_after, defaults.reset_after, v),
    }
}

fn greedy_to_proto(greedy: &Greedy) -> proto::Greedy {
    proto::Greedy {
        metric: greedy.metric.clone(),
        mode: mode_to_proto(greedy.mode).into(),
        factor: Some(greedy.factor),
        patience: Some(int64(greedy.patience)),
        threshold: Some(greedy.threshold),
        threshold_mode: threshold_mode_to_proto(greedy.threshold_mode).into(),
        cooldown: int64(greedy.cooldown),
        warmup: int64(greedy.warmup),
        min_lr: greedy.min_lr.clone(),
        max_lr: greedy.max_lr.clone(),
        eps: Some(greedy.eps),
        window: Some(int64(greedy.window)),
        reset_after: Some(int64(greedy.reset_after)),
    }
}

fn named_or(metric: String, default: String) -> String {
    if metric.is_empty() { default } else { metric }
}

fn count_or(field: &str, given: Option<i64>, default: u64, v: &mut Violations) -> u64 {
    given.map_or(default, |count| whole(v, field, count, 0, MAX_STEP))
}

fn threshold_mode_to_proto(mode: ThresholdMode) -> proto::ThresholdMode {
    match mode {
        ThresholdMode::Rel => proto::ThresholdMode::Rel,
        ThresholdMode::Abs => proto::ThresholdMode::Abs,
    }
}

fn threshold_mode_from_proto(mode: i32, default: ThresholdMode, v: &mut Violations) -> ThresholdMode {
    match proto::ThresholdMode::try_from(mode) {
        Ok(proto::ThresholdMode::Unspecified) => default,
        Ok(proto::ThresholdMode::Rel) => ThresholdMode::Rel,
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
    use lrs_model::controller::{Auto, NoiseScale, RangeTest, StatisticalPlateau};
    use lrs_model::library::LibraryCall;

    fn plateau(plateau: proto::ReduceLrOnPlateau) -> proto::Controller {
        proto::Controller { kind: Some(Kind::ReduceLrOnPlateau(plateau)), ..Default::default() }
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
    fn every_controller_survives_the_wire() {
        let params =
            serde_json::json!({"patience": 3, "factor": 0.5, "monitor": "val_loss", "x": [null, true, {"y": 1e-9}]});
        let serde_json::Value::Object(params) = params else { panic!("an object") };
        let call = LibraryCall { library: "keras".into(), scheduler: "ReduceLROnPlateau".into(), params };
        for controller in [
            ControllerSpec::KerasPlateau(KerasPlateau { mode: Mode::Max, min_lr: 0.1, ..KerasPlateau::default() }),
            ControllerSpec::OptaxPlateau(OptaxPlateau { accumulation_size: 3, atol: 0.1, ..OptaxPlateau::default() }),
            ControllerSpec::Greedy(Greedy { window: 5, max_lr: vec![0.5], ..Greedy::default() }),
            ControllerSpec::Library(LibraryController { call: call.clone(), metric: None }),
            ControllerSpec::Auto(Auto { search: Some(false), evaluation_metric: Some("f1".into()), ..Auto::default() }),
            ControllerSpec::RangeTest(RangeTest { rates: 50, end_lr: 2.0, ..RangeTest::default() }),
            ControllerSpec::StatisticalPlateau(StatisticalPlateau { min_lr: Some(0.1), ..Default::default() }),
            ControllerSpec::NoiseScale(NoiseScale { window: 64 }),
            ControllerSpec::Library(LibraryController { call, metric: Some("accuracy".into()) }),
        ] {
            let mut violations = Violations::new();
            let json = serde_json::to_string(&to_proto(&controller)).unwrap();
            assert_eq!(from_proto(serde_json::from_str(&json).unwrap(), &mut violations), controller);
            assert!(violations.is_empty(), "{violations}");
        }
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
        from_proto(proto::Controller::default(), &mut violations);
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
