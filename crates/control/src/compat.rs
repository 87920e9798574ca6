//! Controllers of other libraries: a table that translates their names and keyword arguments to ours, defaults
//! included.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{greedy, keras_plateau, optax_plateau, plateau, units::unit_of};
use lrs_model::{
    MAX_STEP,
    controller::{ControllerSpec, Mode, ThresholdMode},
    library::{Params, unknown},
    number::exact,
    schedule::{Ease, Pace, Past, ScheduleSpec, Shape, Unit},
    telemetry::LOSS,
    violation::Violations,
};

/// The kind of a controller that is written in the words of another library.
pub const LIBRARY: &str = "library";

/// A library's scheduler that follows a metric, as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    #[serde(default)]
    library: String,
    #[serde(default)]
    scheduler: String,
    /// The keyword arguments.
    #[serde(default)]
    params: Map<String, Value>,
    /// The metric, for a library whose arguments do not name it.
    metric: Option<String>,
    /// What the library's controller counts.
    unit: Option<Unit>,
}

/// What a library's controller learns beside its arguments.
struct Beside {
    metric: String,
    unit: Option<Unit>,
    steps_per_epoch: Option<u64>,
}

/// A length in the unit of `controller` as steps.
fn in_steps(length: u64, controller: &ControllerSpec, steps_per_epoch: Option<u64>) -> u64 {
    match unit_of(controller, steps_per_epoch) {
        Some(Unit::Epoch) => length.saturating_mul(steps_per_epoch.unwrap_or(1)).min(MAX_STEP),
        _ => length,
    }
}

fn call(spec: &ControllerSpec) -> serde_json::Result<Call> {
    serde_json::from_value(Value::Object(spec.params().clone()))
}

/// A library's controller in our words.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    /// The controller.
    pub controller: ControllerSpec,
    /// The warm-up before the controller; it is a schedule.
    pub opening: Option<ScheduleSpec>,
}

type Translate = fn(&mut Params<'_>, Beside) -> Translation;

const TABLE: &[(&str, &str, Translate)] = &[
    ("torch", "ReduceLROnPlateau", torch_plateau),
    ("transformers", "reduce_lr_on_plateau", torch_plateau),
    ("transformers", "greedy", greedy),
    ("timm", "PlateauLRScheduler", timm_plateau),
    ("keras", "ReduceLROnPlateau", keras_plateau),
    ("optax", "contrib.reduce_on_plateau", optax_plateau),
    ("optax", "reduce_on_plateau", optax_plateau),
    ("fairseq", "reduce_lr_on_plateau", fairseq_plateau),
];

/// Every library's name and its controllers' names.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.iter().map(|(library, name, _)| (*library, *name))
}

/// The spec of a library's controller with every field written out, still in the library's words; `None` if the spec is
/// wrong or of another kind.
pub(crate) fn complete(spec: &ControllerSpec) -> Option<ControllerSpec> {
    let call = call(spec).ok().filter(|_| spec.kind() == LIBRARY)?;
    let Ok(Value::Object(params)) = serde_json::to_value(call) else { return None };
    Some(ControllerSpec::new(LIBRARY, params))
}

/// The warm-up that a library's controller begins with, if it has one, in a job with so many `steps_per_epoch`.
#[must_use]
pub fn opening(spec: &ControllerSpec, steps_per_epoch: Option<u64>) -> Option<ScheduleSpec> {
    if spec.kind() != LIBRARY {
        return None;
    }
    translate(spec, steps_per_epoch, &mut Violations::new())?.opening
}

/// Translates a library's controller for a job with so many `steps_per_epoch`. Adds what is wrong with it to
/// `violations`, and then returns `None`.
pub fn translate(
    spec: &ControllerSpec,
    steps_per_epoch: Option<u64>,
    violations: &mut Violations,
) -> Option<Translation> {
    let call = match call(spec) {
        Ok(call) => call,
        Err(error) => {
            violations.add(LIBRARY, error);
            return None;
        }
    };
    let of_library: Vec<_> = TABLE.iter().filter(|(library, ..)| *library == call.library).collect();
    if of_library.is_empty() {
        let libraries: Vec<_> = names().map(|(library, _)| library).collect();
        violations.add("library", unknown("library with controllers", &call.library, &libraries));
        return None;
    }
    let Some((.., translate)) = of_library.iter().find(|(_, name, _)| *name == call.scheduler) else {
        let names: Vec<_> = of_library.iter().map(|(_, name, _)| *name).collect();
        let kind = format!("controller of {}", call.library);
        violations.add("scheduler", unknown(&kind, &call.scheduler, &names));
        return None;
    };
    let wrong_before = violations.len();
    let metric = call.metric.unwrap_or_else(|| LOSS.to_owned());
    let beside = Beside { metric, unit: call.unit, steps_per_epoch };
    let translation = violations.within("params", |v| {
        let mut params = Params::new(&call.params, v);
        let translation = translate(&mut params, beside);
        params.finish();
        translation
    });
    (violations.len() == wrong_before).then_some(translation)
}

/// A controller without a warm-up.
fn alone(controller: impl Into<ControllerSpec>) -> Translation {
    Translation { controller: controller.into(), opening: None }
}

fn mode(p: &mut Params<'_>, default: &'static str) -> Mode {
    match p.choice_or("mode", &["min", "max"], default) {
        "max" => Mode::Max,
        _ => Mode::Min,
    }
}

fn threshold_mode(p: &mut Params<'_>, default: &'static str) -> ThresholdMode {
    match p.choice_or("threshold_mode", &["rel", "abs"], default) {
        "abs" => ThresholdMode::Abs,
        _ => ThresholdMode::Rel,
    }
}

/// One rate for all groups, or a list with a rate for each group.
fn rates(p: &mut Params<'_>, name: &'static str, default: f64) -> Vec<f64> {
    if p.is_list(name) { p.numbers(name) } else { vec![p.number_or(name, default)] }
}

/// Accepts and ignores the argument: what a library prints does not change the curve.
fn verbose(p: &mut Params<'_>) {
    p.has("verbose");
}

/// A ramp from an absolute rate to the base rate.
fn ramp(from: f64, over: u64) -> Option<ScheduleSpec> {
    let over = (over > 0).then_some(exact(over))?;
    let (start, end) = (ScheduleSpec::Constant(from), ScheduleSpec::Base(1.0));
    Some(ScheduleSpec::Ease(Box::new(Ease { start, end, over, shape: Shape::Linear, past: Past::Hold, warp: 1.0 })))
}

/// `schedule`, which is advanced once an epoch of `each` steps.
fn once_an_epoch(schedule: ScheduleSpec, each: u64) -> ScheduleSpec {
    ScheduleSpec::Pace(Box::new(Pace { schedule, units: 1, steps: each, whole: true, unit: None }))
}

fn torch_plateau(p: &mut Params<'_>, Beside { metric, unit, .. }: Beside) -> Translation {
    verbose(p);
    alone(plateau::Params {
        metric,
        mode: mode(p, "min"),
        factor: p.number_or("factor", 0.1),
        patience: p.whole_or("patience", 0, 10),
        threshold: p.number_or("threshold", 1e-4),
        threshold_mode: threshold_mode(p, "rel"),
        cooldown: p.whole_or("cooldown", 0, 0),
        min_lr: rates(p, "min_lr", 0.0),
        eps: p.number_or("eps", 1e-8),
        start_step: 0,
        unit,
    })
}

/// PyTorch's plateau after a warm-up, over a metric that is better when higher unless the arguments say otherwise.
fn timm_plateau(p: &mut Params<'_>, Beside { metric, unit, steps_per_epoch }: Beside) -> Translation {
    p.only("initialize", &[json!(true)], "is not used: the base rate is the job's");
    p.only("noise_range_t", &[], "is not reproduced: timm draws the noise from torch's generator");
    for name in ["noise_type", "noise_pct", "noise_std", "noise_seed"] {
        let silent = [json!("normal"), json!(0.67), json!(1), json!(1.0)];
        p.only(name, &silent, "is ignored without noise_range_t");
    }
    let warmup = p.whole_or("warmup_t", 0, 0);
    let from = p.number_or("warmup_lr_init", 0.0);
    let mut params = plateau::Params {
        metric,
        mode: mode(p, "max"),
        factor: p.number_or("decay_rate", 0.1),
        patience: p.whole_or("patience_t", 0, 10),
        threshold: p.number_or("threshold", 1e-4),
        threshold_mode: ThresholdMode::Rel,
        cooldown: p.whole_or("cooldown_t", 0, 0),
        min_lr: vec![p.number_or("lr_min", 0.0)],
        eps: 1e-8,
        start_step: 0,
        unit,
    };
    params.start_step = in_steps(warmup, &params.clone().into(), steps_per_epoch);
    let each = params.start_step / warmup.max(1);
    let opening = ramp(from, warmup).map(|ramp| if each > 1 { once_an_epoch(ramp, each) } else { ramp });
    Translation { controller: params.into(), opening }
}

/// PyTorch's plateau after a warm-up that is counted in updates.
fn fairseq_plateau(p: &mut Params<'_>, Beside { metric, unit, .. }: Beside) -> Translation {
    let warmup = p.whole_or("warmup_updates", 0, 0);
    let from = p.number_or("warmup_init_lr", -1.0);
    let higher = p.flag_or("maximize_best_checkpoint_metric", false);
    let controller = plateau::Params {
        metric,
        mode: if higher { Mode::Max } else { Mode::Min },
        factor: p.number_or("lr_shrink", 0.1),
        patience: p.whole_or("lr_patience", 0, 0),
        threshold: p.number_or("lr_threshold", 1e-4),
        start_step: warmup,
        unit,
        ..plateau::Params::default()
    };
    Translation { controller: controller.into(), opening: ramp(from.max(0.0), warmup) }
}

/// Keras names the metric in its own argument `monitor`, with `val_loss` as the default.
fn keras_plateau(p: &mut Params<'_>, Beside { unit, .. }: Beside) -> Translation {
    verbose(p);
    let metric = p.text_or("monitor", "val_loss");
    let mode = match p.choice_or("mode", &["auto", "min", "max"], "auto") {
        "max" => Mode::Max,
        "auto" if metric.contains("acc") => Mode::Max,
        _ => Mode::Min,
    };
    alone(keras_plateau::Params {
        metric,
        mode,
        factor: p.number_or("factor", 0.1),
        patience: p.whole_or("patience", 0, 10),
        min_delta: p.number_or("min_delta", 1e-4),
        cooldown: p.whole_or("cooldown", 0, 0),
        min_lr: p.number_or("min_lr", 0.0),
        unit,
    })
}

fn optax_plateau(p: &mut Params<'_>, Beside { metric, unit, .. }: Beside) -> Translation {
    alone(optax_plateau::Params {
        metric,
        factor: p.number_or("factor", 0.1),
        patience: p.whole_or("patience", 0, 10),
        rtol: p.number_or("rtol", 1e-4),
        atol: p.number_or("atol", 0.0),
        cooldown: p.whole_or("cooldown", 0, 0),
        accumulation_size: p.whole_or("accumulation_size", 1, 1),
        min_scale: p.number_or("min_scale", 0.0),
        unit,
    })
}

fn greedy(p: &mut Params<'_>, Beside { metric, unit, .. }: Beside) -> Translation {
    verbose(p);
    let window = p.whole_or("window_size", 1, 50);
    alone(greedy::Params {
        metric,
        mode: mode(p, "min"),
        factor: p.number_or("factor", 0.95),
        patience: p.whole_or("patience", 0, 10),
        threshold: p.number_or("threshold", 1e-6),
        threshold_mode: threshold_mode(p, "abs"),
        cooldown: p.whole_or("cooldown", 0, 0),
        warmup: p.whole_or("warmup", 0, 0),
        min_lr: rates(p, "min_lr", 1e-3),
        max_lr: rates(p, "max_lr", 1.0),
        eps: p.number_or("eps", 1e-8),
        window: if p.flag_or("smooth", false) { window } else { 1 },
        reset_after: p.whole_or("reset_start", 0, 500),
        unit,
    })
}
