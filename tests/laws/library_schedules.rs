//! Schedules in other libraries' words: refusals and their messages, defaults, units, and the way back.

use lrs::rpc::convert;
use lrs_engine::timeline::Timeline;
use lrs_model::{schedule::ScheduleSpec, spec::Spec, violation::Violations};
use lrs_proto::JobSpec;
use lrs_schedule::{Schedule, Training, compat, expand};
use serde_json::{Value, json};

/// The spec with this `schedule`, or its violations.
fn spec(schedule: &Value) -> Result<Spec, String> {
    job(&json!({"groups": [{"base_lr": 0.1}], "total_steps": 1000, "schedule": schedule}))
}

fn job(written: &Value) -> Result<Spec, String> {
    let wire: JobSpec = serde_json::from_value(written.clone()).map_err(|error| error.to_string())?;
    let mut violations = Violations::new();
    let spec = convert::spec::from_proto(wire, &mut violations);
    let spec = violations.into_result(spec).map_err(|violations| violations.to_string())?;
    Timeline::try_new(&spec, []).map_err(|violations| violations.to_string())?;
    Ok(spec)
}

fn named(library: &str, scheduler: &str, params: &Value) -> Value {
    json!({"library": library, "scheduler": scheduler, "params": params})
}

#[track_caller]
fn assert_refused(schedule: &Value, because: &str) {
    let refused = spec(schedule).expect_err("it is refused");
    assert!(refused.contains(because), "{refused}");
}

#[track_caller]
fn assert_controller_refused(controller: &Value, because: &str) {
    let refused = job(&json!({"groups": [{"base_lr": 0.1}], "controllers": [controller]})).expect_err("it is refused");
    assert!(refused.contains(because), "{refused}");
}

fn rates(spec: &Spec, steps: impl IntoIterator<Item = u64>) -> Vec<f64> {
    let timeline = Timeline::try_new(spec, []).expect("the spec has been checked");
    steps.into_iter().map(|step| timeline.directive_at(step).rates[0].learning_rate).collect()
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    assert_refused(
        &named("pytorch", "StepLR", &json!({})),
        "schedule.library: \"pytorch\" is not a library: did you mean torch?",
    );
    assert_refused(
        &named("torch", "StepLr", &json!({})),
        "schedule.scheduler: \"StepLr\" is not a scheduler of torch: did you mean StepLR?",
    );
    assert_refused(
        &named("torch", "StepLR", &json!({"step_size": 3, "gama": 0.5})),
        "schedule.params.gama: \"gama\" is not a parameter: did you mean gamma? There are",
    );
    assert_refused(
        &named("timm", "WSDLRScheduler", &json!({"t_initial": 9, "decay_t": 3, "decay_fn": "cos"})),
        "schedule.params.decay_fn: \"cos\" is not a value: did you mean cosine?",
    );
    assert_refused(&json!({"library": "torch"}), "schedule.scheduler: is required");
    assert_refused(
        &json!({"library": "torch", "scheduler": "StepLR", "base": 1}),
        "schedule.library: is not allowed beside `base`",
    );
}

#[test]
fn an_argument_that_raises_there_is_refused_with_the_reason() {
    for (library, scheduler, params, because) in [
        ("torch", "ConstantLR", json!({"factor": 0}), "by which torch divides"),
        ("torch", "LinearLR", json!({"start_factor": 0}), "params.start_factor: 0 is not allowed"),
        (
            "torch",
            "CosineAnnealingWarmRestarts",
            json!({"T_0": 5, "T_mult": 1.5}),
            "params.T_mult: 1.5 is not allowed: must be a whole number",
        ),
        ("torch", "OneCycleLR", json!({"max_lr": 1, "total_steps": 100}), "after which torch raises"),
        (
            "torch",
            "SequentialLR",
            json!({"schedulers": [{"scheduler": "ExponentialLR", "params": {"gamma": 0.9}}], "milestones": [5]}),
            "must be one fewer",
        ),
        (
            "transformers",
            "cosine_with_min_lr",
            json!({"num_warmup_steps": 0, "num_training_steps": 10}),
            "raises without either",
        ),
        (
            "optax",
            "warmup_cosine_decay_schedule",
            json!({"init_value": 0, "peak_value": 1, "warmup_steps": 10, "decay_steps": 10}),
            "which it includes",
        ),
        ("keras", "PiecewiseConstantDecay", json!({"boundaries": [1], "values": [1]}), "one more than the boundaries"),
        (
            "composer",
            "LinearWithWarmupScheduler",
            json!({"t_warmup": "10ba", "t_max": "500ba"}),
            "where composer raises",
        ),
        ("fairseq", "tri_stage", json!({"phase_ratio": [0.5, 0.6, 0.5]}), "add up to 1"),
        (
            "megatron",
            "OptimizerParamScheduler",
            json!({"init_lr": 0, "max_lr": 1, "min_lr": 2, "lr_warmup_steps": 0,
            "lr_decay_steps": 10, "lr_decay_style": "linear", "start_wd": 0, "end_wd": 0, "wd_incr_steps": 0}),
            "params.max_lr",
        ),
    ] {
        assert_refused(&named(library, scheduler, &params), because);
    }
}

#[test]
fn an_argument_that_would_be_ignored_is_refused_with_the_reason() {
    for (library, scheduler, params, because) in [
        (
            "torch",
            "CyclicLR",
            json!({"base_lr": 0, "max_lr": 1, "gamma": 0.5, "cycle_momentum": false}),
            "ignored unless mode is exp_range",
        ),
        (
            "torch",
            "OneCycleLR",
            json!({"max_lr": 1, "total_steps": 1000, "cycle_momentum": false, "base_momentum": 0.5}),
            "ignored where cycle_momentum",
        ),
        ("torch", "StepLR", json!({"step_size": 1, "last_epoch": 7}), "is not used"),
        (
            "keras",
            "CosineDecay",
            json!({"initial_learning_rate": 1, "decay_steps": 9, "warmup_steps": 3}),
            "ignored without a warmup_target",
        ),
        ("transformers", "constant_with_warmup", json!({"num_warmup_steps": 1, "num_training_steps": 9}), "ignored"),
        ("timm", "CosineLRScheduler", json!({"t_initial": 9, "noise_pct": 0.5}), "ignored without noise_range_t"),
    ] {
        assert_refused(&named(library, scheduler, &params), because);
    }
}

#[test]
fn code_is_refused_and_the_message_says_what_to_write() {
    let lambda = named("torch", "LambdaLR", &json!({"lr_lambda": "lambda epoch: 0.95 ** epoch"}));
    assert_refused(&lambda, "is code, which a schedule cannot hold: write a form of ours");
    assert_refused(&lambda, "{\"kind\": \"geometric\", \"gamma\"}");
    let cyclic = json!({"base_lr": 0, "max_lr": 1, "scale_fn": "lambda x: x"});
    assert_refused(&named("torch", "CyclicLR", &cyclic), "is code");
}

#[test]
fn what_follows_a_metric_goes_under_controllers() {
    assert_refused(&named("torch", "ReduceLROnPlateau", &json!({})), "write it under `controllers`");
    assert_refused(&named("transformers", "greedy", &json!({})), "write it under `controllers`");
    let plateau = named("keras", "ReduceLROnPlateau", &json!({"patience": 3}));
    assert!(job(&json!({"groups": [{"base_lr": 0.1}], "controllers": [plateau]})).is_ok());
    assert_controller_refused(
        &named("torch", "StepLR", &json!({})),
        "\"StepLR\" is not a controller of torch: did you mean ReduceLROnPlateau?",
    );
    assert_controller_refused(&named("deepspeed", "OneCycle", &json!({})), "is not a library with controllers");
    assert_controller_refused(
        &named("torch", "ReduceLROnPlateau", &json!({"factor": 2})),
        "controllers[0].params.factor: 2 is not allowed",
    );
}

#[test]
fn a_controllers_own_warm_up_is_the_schedule_where_there_is_none() {
    let plateau = named("timm", "PlateauLRScheduler", &json!({"warmup_t": 4, "warmup_lr_init": 0.02}));
    let spec = job(&json!({"groups": [{"base_lr": 0.1}], "controllers": [plateau]})).expect("it is a job");
    let wanted = [0.02, 0.04, 0.06, 0.08, 0.1, 0.1];
    for (got, want) in rates(&spec, 0..6).into_iter().zip(wanted) {
        assert!((got - want).abs() < 1e-15, "{got} is not {want}");
    }
    let both = json!({"groups": [{"base_lr": 0.1}], "schedule": {"linear": {"decay_steps": 9}},
        "controllers": [named("timm", "PlateauLRScheduler", &json!({"warmup_t": 4}))]});
    assert!(job(&both).expect_err("two schedules").contains("begin with a warm-up"));
}

#[test]
fn arguments_that_are_left_out_have_the_defaults_of_the_library() {
    let cosine = json!({"initial_learning_rate": 0.1, "decay_steps": 50});
    for (library, scheduler, short, defaults) in [
        ("torch", "StepLR", json!({"step_size": 30}), json!({"gamma": 0.1, "last_epoch": -1})),
        ("torch", "ConstantLR", json!({}), json!({"factor": 1.0 / 3.0, "total_iters": 5})),
        ("torch", "LinearLR", json!({}), json!({"start_factor": 1.0 / 3.0, "end_factor": 1.0, "total_iters": 5})),
        ("torch", "PolynomialLR", json!({}), json!({"total_iters": 5, "power": 1.0})),
        ("torch", "CosineAnnealingWarmRestarts", json!({"T_0": 10}), json!({"T_mult": 1, "eta_min": 0.0})),
        (
            "torch",
            "CyclicLR",
            json!({"base_lr": 0.1, "max_lr": 1}),
            json!({"step_size_up": 2000, "step_size_down": null,
            "mode": "triangular", "gamma": 1.0, "scale_fn": null, "scale_mode": "cycle", "cycle_momentum": true,
            "base_momentum": 0.8, "max_momentum": 0.9}),
        ),
        (
            "torch",
            "OneCycleLR",
            json!({"max_lr": 1, "total_steps": 1000}),
            json!({"epochs": null, "steps_per_epoch": null,
            "pct_start": 0.3, "anneal_strategy": "cos", "cycle_momentum": true, "base_momentum": 0.85,
            "max_momentum": 0.95, "div_factor": 25.0, "final_div_factor": 1e4, "three_phase": false}),
        ),
        ("torch", "SWALR", json!({"swa_lr": 0.05}), json!({"anneal_epochs": 10, "anneal_strategy": "cos"})),
        (
            "optax",
            "cosine_decay_schedule",
            json!({"init_value": 1, "decay_steps": 9}),
            json!({"alpha": 0.0, "exponent": 1.0}),
        ),
        (
            "optax",
            "linear_onecycle_schedule",
            json!({"transition_steps": 99, "peak_value": 1}),
            json!({"pct_start": 0.3, "pct_final": 0.85, "div_factor": 25.0, "final_div_factor": 1e4}),
        ),
        (
            "transformers",
            "polynomial",
            json!({"num_warmup_steps": 5, "num_training_steps": 50}),
            json!({"lr_end": 1e-7, "power": 1.0}),
        ),
        ("transformers", "inverse_sqrt", json!({"num_warmup_steps": 5}), json!({"timescale": 5})),
        (
            "timm",
            "PolyLRScheduler",
            json!({"t_initial": 50}),
            json!({"power": 0.5, "lr_min": 0.0, "cycle_mul": 1.0,
            "cycle_decay": 1.0, "cycle_limit": 1, "warmup_t": 0, "warmup_lr_init": 0.0, "warmup_prefix": false,
            "t_in_epochs": true, "k_decay": 1.0, "initialize": true}),
        ),
        ("timm", "TanhLRScheduler", json!({"t_initial": 50}), json!({"lb": -7.0, "ub": 3.0, "lr_min": 0.0})),
        (
            "timm",
            "WSDLRScheduler",
            json!({"t_initial": 50, "decay_t": 9}),
            json!({"stable_fn": "constant",
            "stable_power": 0.5, "decay_fn": "1-sqrt", "decay_power": 0.5, "decay_ratio": 0.1}),
        ),
        (
            "keras",
            "CosineDecay",
            cosine,
            json!({"alpha": 0.0, "warmup_target": null, "warmup_steps": 0, "name": "CosineDecay"}),
        ),
        (
            "deepspeed",
            "WarmupDecayLR",
            json!({"total_num_steps": 2000}),
            json!({"warmup_min_lr": 0.0,
            "warmup_max_lr": 0.001, "warmup_num_steps": 1000, "warmup_type": "log"}),
        ),
        (
            "deepspeed",
            "LRRangeTest",
            json!({}),
            json!({"lr_range_test_min_lr": 1e-3, "lr_range_test_step_size": 2000,
            "lr_range_test_step_rate": 1.0, "lr_range_test_staircase": false}),
        ),
        (
            "composer",
            "CosineAnnealingScheduler",
            json!({}),
            json!({"t_max": "1dur", "alpha_f": 0.0,
            "max_duration": "1000ba", "scale_schedule_ratio": 1.0}),
        ),
        ("fairseq", "inverse_sqrt", json!({}), json!({"warmup_updates": 4000, "warmup_init_lr": -1})),
    ] {
        let mut long = short.clone();
        for (name, value) in defaults.as_object().expect("an object") {
            long[name] = value.clone();
        }
        let expanded = |params: &Value| {
            let spec = spec(&named(library, scheduler, params)).unwrap_or_else(|wrong| panic!("{scheduler}: {wrong}"));
            expand(&spec.schedule, &spec, &mut Violations::new())
        };
        assert_eq!(expanded(&short), expanded(&long), "{library} {scheduler}");
    }
}

#[test]
fn every_scheduler_that_is_listed_is_known_by_its_name() {
    for (library, schedulers) in compat::libraries() {
        for scheduler in schedulers.iter().map(|scheduler| scheduler.name) {
            let answer =
                spec(&named(library, scheduler, &json!({"no_such_parameter": 1}))).expect_err("one parameter too many");
            assert!(answer.contains("no_such_parameter"), "{library} {scheduler}: {answer}");
        }
    }
}

#[test]
fn what_is_written_is_stored_as_it_is_and_expands_to_the_same_rates() {
    let named = named(
        "torch",
        "SequentialLR",
        &json!({"schedulers": [
        {"scheduler": "LinearLR", "params": {"start_factor": 0.1, "total_iters": 20}},
        {"scheduler": "CosineAnnealingLR", "params": {"T_max": 80, "eta_min": 1e-4}},
    ], "milestones": [20]}),
    );
    let spec = spec(&named).expect("it is a job");
    assert!(matches!(spec.schedule, ScheduleSpec::Library(_)));
    let stored: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
    assert_eq!(stored, spec);
    let wire = convert::spec::to_proto(&spec);
    assert_eq!(convert::spec::from_proto(wire, &mut Violations::new()), spec);
    let native = Spec { schedule: expand(&spec.schedule, &spec, &mut Violations::new()), ..spec.clone() };
    assert_eq!(rates(&native, 0..200), rates(&spec, 0..200));
}

#[test]
fn a_scheduler_may_count_epochs_samples_or_tokens() {
    let drops = |unit: &Value| {
        let mut schedule = named("torch", "StepLR", &json!({"step_size": 2, "gamma": 0.5}));
        for (name, value) in unit.as_object().expect("an object") {
            schedule[name] = value.clone();
        }
        job(&json!({"groups": [{"base_lr": 8}], "steps_per_epoch": 3, "schedule": schedule}))
    };
    let epochs = drops(&json!({"unit": "UNIT_EPOCH"})).expect("epochs");
    assert_eq!(rates(&epochs, [0, 5, 6, 11, 12]), [8.0, 8.0, 4.0, 4.0, 2.0]);
    let tokens = drops(&json!({"unit": "UNIT_TOKEN", "units_per_step": 4})).expect("tokens");
    assert_eq!(rates(&tokens, [0, 1, 2]), [8.0, 2.0, 0.5]);
    let steps: Vec<_> = [epochs, tokens]
        .iter()
        .map(|spec| Schedule::try_new(&spec.schedule, spec, &mut Violations::new()).expect("a schedule").breakpoints(6))
        .collect();
    assert!(steps[0].contains(&5) && steps[0].contains(&6), "{steps:?}");
    assert!(drops(&json!({"unit": "UNIT_SAMPLE"})).expect_err("how many?").contains("units_per_step: is required"));
    let unknown = json!({"groups": [{"base_lr": 8}], "schedule": {"library": "torch", "scheduler": "ExponentialLR",
        "params": {"gamma": 0.5}, "unit": "UNIT_EPOCH"}});
    assert!(job(&unknown).expect_err("how long is one?").contains("steps_per_epoch"));
}

#[test]
fn composers_times_take_what_they_need_from_the_job() {
    let times = |t_max: &str| {
        job(&json!({"groups": [{"base_lr": 1}], "total_steps": 100, "steps_per_epoch": 20,
        "schedule": {"library": "composer", "scheduler": "LinearScheduler", "unit": "UNIT_TOKEN", "units_per_step": 8,
        "params": {"alpha_i": 1, "alpha_f": 0, "t_max": t_max}}}))
        .unwrap_or_else(|wrong| panic!("{t_max}: {wrong}"))
    };
    for t_max in ["40ba", "2ep", "0.4dur", "320tok"] {
        assert_eq!(rates(&times(t_max), [0, 10, 40, 99]), [1.0, 0.75, 0.0, 0.0], "{t_max}");
    }
}

#[test]
fn momentum_and_weight_decay_come_with_a_librarys_schedule_unless_the_job_has_its_own() {
    let cycle = named("torch", "OneCycleLR", &json!({"max_lr": 1, "total_steps": 1000}));
    let first = |written: &Value| {
        let spec = job(written).expect("it is a job");
        Timeline::try_new(&spec, []).unwrap().directive_at(0).rates.remove(0)
    };
    let its = first(&json!({"groups": [{"base_lr": 0.1}], "total_steps": 1000, "schedule": cycle}));
    assert_eq!(its.momentum, Some(0.95));
    let own = first(&json!({"groups": [{"base_lr": 0.1}], "total_steps": 1000, "schedule": cycle,
        "momentum_schedule": {"constant": 0.5}}));
    assert_eq!(own.momentum, Some(0.5));
}

#[test]
fn a_schedule_of_ours_in_a_librarys_words_has_the_same_rates() {
    let read = |written: Value| serde_json::from_value::<ScheduleSpec>(written).expect("a schedule");
    for (library, ours) in [
        ("torch", json!({"step": {"step_size": 30, "gamma": 0.5}})),
        ("torch", json!({"multi_step": {"milestones": [10, 10, 40], "gamma": 0.5}})),
        ("torch", json!({"exponential": {"gamma": 0.9}})),
        ("torch", json!({"linear": {"decay_steps": 50}})),
        ("torch", json!({"linear": {"decay_steps": 50, "floor": {"min_factor": 0.5}}})),
        ("torch", json!({"polynomial": {"decay_steps": 50, "power": 2.0}})),
        ("torch", json!({"cosine": {"decay_steps": 50}})),
        ("torch", json!({"cosine_restarts": {"first_steps": 10, "growth": 2.0}})),
        (
            "torch",
            json!({"warmup": {"warmup_steps": 10, "start_factor": 0.25, "schedule": {"step": {"step_size": 30, "gamma": 0.5}}}}),
        ),
        ("transformers", json!({"warmup": {"warmup_steps": 10, "schedule": {"linear": {"decay_steps": 50}}}})),
        ("transformers", json!({"warmup": {"warmup_steps": 10}})),
        ("transformers", json!({"warmup": {"warmup_steps": 10, "schedule": {"inverse_sqrt": {"timescale": 7}}}})),
        ("transformers", json!({"wsd": {"warmup_steps": 5, "decay_steps": 20, "total_steps": 60}})),
    ] {
        let ours = read(ours);
        let words =
            compat::in_words_of(&ours, library).unwrap_or_else(|| panic!("{library} has no words for {ours:?}"));
        let mut violations = Violations::new();
        let training = Training::from(Some(200));
        let theirs = Schedule::try_new(&ScheduleSpec::Library(words), training, &mut violations);
        let theirs = theirs.unwrap_or_else(|| panic!("{violations}"));
        let ours = Schedule::try_new(&ours, training, &mut violations).expect("it is a schedule");
        for step in 0..200 {
            let (a, b) = (ours.value_at(step, 0.3), theirs.value_at(step, 0.3));
            assert!((a - b).abs() <= 1e-15, "{library} at {step}: {a} is not {b}");
        }
    }
    assert_eq!(compat::in_words_of(&ScheduleSpec::Sum { terms: vec![ScheduleSpec::Base(1.0)] }, "torch"), None);
    assert_eq!(compat::in_words_of(&ScheduleSpec::Base(1.0), "nobody"), None);
}
