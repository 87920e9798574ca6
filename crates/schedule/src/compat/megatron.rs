//! Megatron-core's `OptimizerParamScheduler` (0.16.1), counted in increments: usually samples. All rates are absolute.
//!
//! The same object schedules the weight decay. The decay style may be added to its name, as in
//! `OptimizerParamScheduler[WSD/linear]`. <https://github.com/NVIDIA/Megatron-LM>

use serde_json::json;

use super::{
    algebra::{at_least, constant, ease, line, power_law, seq},
    library::{FromJob, Library, Table, Translation, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library = Library { plain_name, ..Library::new("megatron", SCHEDULERS) };

const SCHEDULERS: Table = &[scheduler(
    "OptimizerParamScheduler",
    param_scheduler,
    r#"{"init_lr": 0, "max_lr": 1, "min_lr": 0, "lr_warmup_steps": 10, "lr_decay_steps": 100, "lr_decay_style": "cosine", "start_wd": 0, "end_wd": 0, "wd_incr_steps": 0}"#,
    r#"{"wd_incr_style": "constant"}"#,
)];

/// The name without the decay style that some add in brackets.
fn plain_name(scheduler: &str) -> &str {
    scheduler.split_once('[').map_or(scheduler, |(name, _)| name)
}

fn param_scheduler(p: &mut Params<'_>, _: FromJob) -> Translation {
    for name in ["use_checkpoint_opt_param_scheduler", "override_opt_param_scheduler"] {
        p.only(name, &[json!(false), json!(true)], "must be true or false");
    }
    Translation { rate: rate(p), momentum: None, weight_decay: Some(weight_decay(p)) }
}

fn rate(p: &mut Params<'_>) -> S {
    let (initial, high, low) = (p.number("init_lr"), p.number("max_lr"), p.number("min_lr"));
    p.check("min_lr", low >= 0.0, "at least 0");
    p.check("max_lr", high >= low, "at least min_lr");
    p.check("init_lr", initial <= high, "at most max_lr");
    let warmup = exact(p.whole("lr_warmup_steps", 0));
    let end = exact(p.whole("lr_decay_steps", 1));
    p.check("lr_warmup_steps", warmup < end, "less than lr_decay_steps");
    let left = (end - warmup).max(0.0);
    let styles = ["constant", "linear", "cosine", "inverse-square-root", "WSD"];
    let style = p.choice_or("lr_decay_style", &styles, "");
    if style.is_empty() {
        p.wrong("lr_decay_style", "is required");
    }
    if style != "WSD" {
        for name in ["wsd_decay_steps", "lr_wsd_decay_style"] {
            p.only(name, &[json!("exponential")], "is ignored unless lr_decay_style is WSD");
        }
    }
    let body = match style {
        "linear" => line(constant(high), constant(low), left),
        "cosine" => ease(constant(high), constant(low), left, Shape::Cosine),
        "inverse-square-root" => inverse_square_root(high, low, warmup, left),
        "WSD" => warmup_stable_decay(p, high, low, left),
        _ => constant(high),
    };
    if warmup > 0.0 { seq([warmup], [line(constant(initial), constant(high), warmup), body]) } else { body }
}

/// Never below the minimum, and at the minimum from one step past the end.
fn inverse_square_root(high: f64, low: f64, warmup: f64, left: f64) -> S {
    let fall = power_law(constant(high), warmup.max(1.0), 0.5);
    // Without a warm-up the time is at least 1.
    let fall = if warmup > 0.0 { fall } else { seq([1.0], [constant(high), fall]) };
    seq([left + 1.0], [at_least(fall, constant(low)), constant(low)])
}

fn warmup_stable_decay(p: &mut Params<'_>, high: f64, low: f64, left: f64) -> S {
    let decay = exact(p.whole("wsd_decay_steps", 1));
    let shape =
        match p.choice_or("lr_wsd_decay_style", &["exponential", "linear", "cosine", "minus_sqrt"], "exponential") {
            "linear" => Shape::Linear,
            "cosine" => Shape::Cosine,
            "minus_sqrt" => Shape::Power(0.5),
            _ => Shape::Exp(0.5),
        };
    seq([left - decay], [constant(high), ease(constant(high), constant(low), decay, shape)])
}

fn weight_decay(p: &mut Params<'_>) -> S {
    let (start, end) = (p.number("start_wd"), p.number("end_wd"));
    p.check("start_wd", start >= 0.0, "at least 0");
    p.check("end_wd", end >= start, "at least start_wd");
    let over = exact(p.whole("wd_incr_steps", 0));
    let style = p.choice_or("wd_incr_style", &["constant", "linear", "cosine"], "constant");
    match style {
        "linear" => line(constant(start), constant(end), over),
        "cosine" => ease(constant(start), constant(end), over, Shape::Cosine),
        _ => {
            p.check("end_wd", start.to_bits() == end.to_bits(), "start_wd where wd_incr_style is constant");
            constant(end)
        }
    }
}
