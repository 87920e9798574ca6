//! `transformers.get_scheduler` (5.23): multiples of the base rate, counted in calls of `step()`.
//!
//! `num_warmup_steps` and `num_training_steps` are arguments of `get_scheduler`; all others those of
//! `scheduler_specific_kwargs`. The first update of a warm-up has the rate 0.
//! <https://huggingface.co/docs/transformers/main_classes/optimizer_schedules>

use serde_json::json;

use super::{
    algebra::{base, constant, cycles, ease, endless_ease, line, power_law, seq, shift},
    library::{FromJob, Library, Table, Translation, Words, scheduler},
};
use crate::named::{
    floor::Floor, inverse_sqrt::InverseSqrt, linear::Linear, polynomial::Polynomial, read, warmup::Warmup, wsd::Wsd,
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library = Library {
    follow_a_metric: &["reduce_lr_on_plateau", "greedy"],
    words: Some(words),
    ..Library::new("transformers", SCHEDULERS)
};

const SCHEDULERS: Table = &[
    scheduler("constant", constant_rate, "{}", "{}"),
    scheduler("constant_with_warmup", constant_with_warmup, r#"{"num_warmup_steps": 10}"#, "{}"),
    scheduler("linear", linear, r#"{"num_warmup_steps": 10, "num_training_steps": 100}"#, "{}"),
    scheduler("cosine", cosine, r#"{"num_warmup_steps": 10, "num_training_steps": 100}"#, r#"{"num_cycles": 0.5}"#),
    scheduler(
        "cosine_with_restarts",
        cosine_with_restarts,
        r#"{"num_warmup_steps": 10, "num_training_steps": 100}"#,
        r#"{"num_cycles": 1}"#,
    ),
    scheduler(
        "polynomial",
        polynomial,
        r#"{"num_warmup_steps": 10, "num_training_steps": 100}"#,
        r#"{"lr_end": 1e-7, "power": 1.0}"#,
    ),
    scheduler("inverse_sqrt", inverse_sqrt, r#"{"num_warmup_steps": 10}"#, r#"{"timescale": null}"#),
    scheduler(
        "cosine_with_min_lr",
        cosine_with_min_lr,
        r#"{"num_warmup_steps": 10, "num_training_steps": 100, "min_lr": 0.01}"#,
        r#"{"num_cycles": 0.5}"#,
    ),
    scheduler(
        "cosine_warmup_with_min_lr",
        cosine_warmup_with_min_lr,
        r#"{"num_warmup_steps": 10, "num_training_steps": 100, "min_lr": 0.01}"#,
        r#"{"num_cycles": 0.5, "warmup_lr_rate": null}"#,
    ),
    scheduler(
        "warmup_stable_decay",
        warmup_stable_decay,
        r#"{"num_warmup_steps": 10, "num_decay_steps": 20, "num_training_steps": 100}"#,
        r#"{"warmup_type": "linear", "decay_type": "cosine", "min_lr_ratio": 0.0, "num_cycles": 0.5}"#,
    ),
];

fn last_epoch(p: &mut Params<'_>) {
    p.only("last_epoch", &[json!(-1)], "is not used: an attempt says at which step it resumes");
}

fn warmup(p: &mut Params<'_>) -> f64 {
    last_epoch(p);
    exact(p.whole("num_warmup_steps", 0))
}

/// The warm-up, and the steps after it, at least one.
fn warmup_and_rest(p: &mut Params<'_>) -> (f64, f64) {
    let warmup = warmup(p);
    let total = exact(p.whole("num_training_steps", 0));
    (warmup, (total - warmup).max(1.0))
}

/// A ramp from 0, then the rest.
fn after_ramp(warmup: f64, rest: S) -> S {
    seq([warmup], [line(constant(0.0), base(1.0), warmup), rest])
}

fn constant_rate(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    for name in ["num_warmup_steps", "num_training_steps"] {
        p.only(name, &[], "is ignored by constant: use constant_with_warmup");
    }
    base(1.0).into()
}

fn constant_with_warmup(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = warmup(p);
    p.only("num_training_steps", &[], "is ignored by constant_with_warmup, which has no end");
    after_ramp(warmup, base(1.0)).into()
}

fn linear(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p);
    after_ramp(warmup, line(base(1.0), constant(0.0), rest)).into()
}

/// The number of cosine periods.
fn num_cycles(p: &mut Params<'_>) -> f64 {
    let cycles = p.number_or("num_cycles", 0.5);
    p.check("num_cycles", cycles > 0.0, "greater than 0");
    if cycles > 0.0 { cycles } else { 0.5 }
}

/// transformers does not clamp: the rate climbs again after the end.
fn cosine(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p);
    let half_period = rest / (2.0 * num_cycles(p));
    after_ramp(warmup, endless_ease(base(1.0), constant(0.0), half_period, Shape::Cosine)).into()
}

fn cosine_with_restarts(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p);
    let count = p.whole_or("num_cycles", 1, 1);
    let fall = ease(base(1.0), constant(0.0), 1.0, Shape::Cosine);
    after_ramp(warmup, cycles(fall, rest / exact(count), 1.0, 1.0, count)).into()
}

/// `lr_end` is absolute.
fn polynomial(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p);
    let end = p.number_or("lr_end", 1e-7);
    let power = p.number_or("power", 1.0);
    p.check("power", power > 0.0, "greater than 0");
    after_ramp(warmup, ease(base(1.0), constant(end), rest, Shape::Poly(power.max(f64::MIN_POSITIVE)))).into()
}

fn inverse_sqrt(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = warmup(p);
    p.only("num_training_steps", &[], "is ignored by inverse_sqrt, which has no end");
    let timescale = p.optional_number("timescale");
    p.check("timescale", timescale.is_none_or(|timescale| timescale >= 0.0), "at least 0");
    // 0 stands for the default.
    let timescale = timescale.filter(|given| *given > 0.0).unwrap_or(if warmup > 0.0 { warmup } else { 10_000.0 });
    after_ramp(warmup, power_law(base(1.0), timescale, 0.5)).into()
}

/// The floor: a rate, or a multiple of the base rate.
fn min_lr(p: &mut Params<'_>) -> S {
    match (p.optional_number("min_lr"), p.optional_number("min_lr_rate")) {
        (Some(rate), None) => constant(rate),
        (None, Some(factor)) => base(factor),
        (Some(_), Some(_)) => {
            p.wrong("min_lr", "is not allowed beside min_lr_rate: transformers raises");
            constant(0.0)
        }
        (None, None) => {
            p.wrong("min_lr", "is required, or else min_lr_rate: transformers raises without either");
            constant(0.0)
        }
    }
}

fn cosine_with_min_lr(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p);
    let half_period = rest / (2.0 * num_cycles(p));
    after_ramp(warmup, endless_ease(base(1.0), min_lr(p), half_period, Shape::Cosine)).into()
}

/// Like `cosine_with_min_lr`, but one step ahead, in the warm-up and after it.
fn cosine_warmup_with_min_lr(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (warmup, rest) = warmup_and_rest(p);
    let half_period = rest / (2.0 * num_cycles(p));
    let fall = endless_ease(base(1.0), min_lr(p), half_period, Shape::Cosine);
    let ramp = match p.optional_number("warmup_lr_rate") {
        Some(start) => line(base(start), base(1.0), (warmup - 1.0).max(1.0)),
        None => line(base(1.0 / warmup.max(1.0)), base(1.0), (warmup - 1.0).max(0.0)),
    };
    seq([warmup], [ramp, shift(fall, 1.0)]).into()
}

fn warmup_stable_decay(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = warmup(p);
    let decay = exact(p.whole("num_decay_steps", 0));
    let total = p.optional_whole("num_training_steps", 0).map(exact);
    let stable = match (p.optional_whole("num_stable_steps", 0).map(exact), total) {
        (Some(stable), _) => stable,
        (None, Some(total)) => total - warmup - decay,
        (None, None) => {
            p.wrong("num_stable_steps", "is required, or else num_training_steps: transformers raises without either");
            0.0
        }
    };
    if stable < 0.0 {
        p.wrong("num_training_steps", "is less than num_warmup_steps and num_decay_steps together");
    }
    let stable = stable.max(0.0);
    let floor = base(p.number_or("min_lr_ratio", 0.0));
    let half_period = decay / (2.0 * num_cycles(p));
    let kinds = ["linear", "cosine", "1-sqrt"];
    let rising = match p.choice_or("warmup_type", &kinds, "linear") {
        "cosine" => Shape::Cosine,
        "1-sqrt" => Shape::OneMinusSqrt,
        _ => Shape::Linear,
    };
    let fall = match p.choice_or("decay_type", &kinds, "cosine") {
        "linear" => line(base(1.0), floor.clone(), decay),
        "1-sqrt" => ease(base(1.0), floor.clone(), decay, Shape::Power(0.5)),
        _ => endless_ease(base(1.0), floor.clone(), half_period, Shape::Cosine),
    };
    let ramp = ease(floor.clone(), base(1.0), warmup, rising);
    let stable_until = warmup + stable;
    seq([warmup, stable_until, stable_until + decay], [ramp, base(1.0), fall, floor]).into()
}

/// The way back: a named form of ours, perhaps after a warm-up from 0, as one of these.
fn words(schedule: &S) -> Option<Words> {
    let S::Named(named) = schedule else { return words_after(0, schedule) };
    if named.form != "warmup" {
        return words_after(0, schedule);
    }
    let Warmup { warmup_steps, start_factor, shape, schedule } = read(named)?;
    if start_factor == 0.0 && shape == Shape::Linear { words_after(warmup_steps, &schedule) } else { None }
}

fn words_after(warmup: u64, schedule: &S) -> Option<Words> {
    let named = match schedule {
        S::Base(factor) if factor.to_bits() == 1.0_f64.to_bits() => {
            return Some(match warmup {
                0 => ("constant", json!({})),
                _ => ("constant_with_warmup", json!({"num_warmup_steps": warmup})),
            });
        }
        S::Named(named) => named,
        _ => return None,
    };
    Some(match named.form.as_str() {
        "linear" => {
            let Linear { decay_steps, floor: None } = read(named)? else { return None };
            ("linear", json!({"num_warmup_steps": warmup, "num_training_steps": warmup + decay_steps?}))
        }
        "polynomial" => {
            let Polynomial { decay_steps, floor, power } = read(named)?;
            let end = match floor {
                None => 0.0,
                Some(Floor::MinLr(rate)) => rate,
                Some(Floor::MinFactor(_)) => return None,
            };
            let params = json!({"num_warmup_steps": warmup, "num_training_steps": warmup + decay_steps?,
                "lr_end": end, "power": power});
            ("polynomial", params)
        }
        "inverse_sqrt" => {
            let InverseSqrt { timescale } = read(named)?;
            ("inverse_sqrt", json!({"num_warmup_steps": warmup, "timescale": timescale}))
        }
        // Their floor is where the warm-up begins, too.
        "wsd" if warmup == 0 => {
            let Wsd { warmup_steps, decay_steps, total_steps, floor: None, shape } = read(named)? else { return None };
            let total = total_steps?;
            let fifth = (2 * total + 5) / 10;
            let decay_type = match shape {
                Shape::Linear => "linear",
                Shape::Power(power) if power.to_bits() == 0.5_f64.to_bits() => "1-sqrt",
                _ => return None,
            };
            let params = json!({"num_warmup_steps": warmup_steps, "num_decay_steps": decay_steps.unwrap_or(fifth),
                "num_training_steps": total, "decay_type": decay_type});
            ("warmup_stable_decay", params)
        }
        _ => return None,
    })
}
