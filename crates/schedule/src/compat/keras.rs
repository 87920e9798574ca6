//! `keras.optimizers.schedules` (3.15): functions of `optimizer.iterations`. All rates are absolute.
//!
//! <https://keras.io/api/optimizers/learning_rate_schedules/>

use super::{
    algebra::{constant, ease, geometric, line, power_law, product, repeat, seq, shift, stair, sum},
    library::{FromJob, Library, Table, Translation, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library =
    Library { follow_a_metric: &["ReduceLROnPlateau"], ..Library::new("keras", SCHEDULERS) };

const SCHEDULERS: Table = &[
    scheduler(
        "ExponentialDecay",
        exponential,
        r#"{"initial_learning_rate": 0.1, "decay_steps": 100, "decay_rate": 0.5}"#,
        r#"{"staircase": false}"#,
    ),
    scheduler("PiecewiseConstantDecay", piecewise_constant, r#"{"boundaries": [30], "values": [0.1, 0.01]}"#, "{}"),
    scheduler(
        "PolynomialDecay",
        polynomial,
        r#"{"initial_learning_rate": 0.1, "decay_steps": 100}"#,
        r#"{"end_learning_rate": 0.0001, "power": 1.0, "cycle": false}"#,
    ),
    scheduler(
        "InverseTimeDecay",
        inverse_time,
        r#"{"initial_learning_rate": 0.1, "decay_steps": 100, "decay_rate": 0.5}"#,
        r#"{"staircase": false}"#,
    ),
    scheduler(
        "CosineDecay",
        cosine,
        r#"{"initial_learning_rate": 0.1, "decay_steps": 100}"#,
        r#"{"alpha": 0.0, "warmup_target": null, "warmup_steps": 0}"#,
    ),
    scheduler(
        "CosineDecayRestarts",
        cosine_restarts,
        r#"{"initial_learning_rate": 0.1, "first_decay_steps": 100}"#,
        r#"{"t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0}"#,
    ),
];

/// The most cycles of a polynomial decay that are written out.
const MAX_CYCLES: u64 = 1024;

fn initial(p: &mut Params<'_>) -> f64 {
    // The name is only for keras' graphs.
    p.text_or("name", "");
    p.number("initial_learning_rate")
}

fn positive(p: &mut Params<'_>, name: &'static str) -> f64 {
    let number = p.number(name);
    p.check(name, number > 0.0, "greater than 0");
    if number > 0.0 { number } else { 1.0 }
}

fn in_stairs(p: &mut Params<'_>, fall: S, every: f64) -> Translation {
    if p.flag_or("staircase", false) { stair(fall, every) } else { fall }.into()
}

fn exponential(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (init, every) = (initial(p), positive(p, "decay_steps"));
    let rate = p.number("decay_rate");
    p.check("decay_rate", rate >= 0.0, "at least 0");
    in_stairs(p, geometric(constant(init), rate.max(0.0), every), every)
}

fn inverse_time(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (init, every) = (initial(p), positive(p, "decay_steps"));
    let rate = p.number("decay_rate");
    p.check("decay_rate", rate >= 0.0, "at least 0");
    let fall = if rate > 0.0 { power_law(constant(init), every / rate, 1.0) } else { constant(init) };
    in_stairs(p, fall, every)
}

/// At a boundary the earlier value counts, so the next value comes one step after it.
fn piecewise_constant(p: &mut Params<'_>, _: FromJob) -> Translation {
    p.text_or("name", "");
    let boundaries = p.wholes("boundaries");
    let values = p.numbers("values");
    p.check("boundaries", boundaries.is_sorted(), "in rising order");
    if values.len() != boundaries.len() + 1 {
        p.wrong("values", "must be one more than the boundaries");
        return constant(0.0).into();
    }
    let begins: Vec<_> = boundaries.into_iter().map(|boundary| exact(boundary) + 1.0).collect();
    seq(begins, values.into_iter().map(constant).collect::<Vec<_>>()).into()
}

/// With `cycle`, cycle `i` is the whole decay stretched over `i decay_steps`, of which only the last part is seen.
fn polynomial(p: &mut Params<'_>, job: FromJob) -> Translation {
    let (init, over) = (initial(p), positive(p, "decay_steps"));
    let end = p.number_or("end_learning_rate", 1e-4);
    let power = p.number_or("power", 1.0);
    p.check("power", power > 0.0, "greater than 0");
    let fall = |over| ease(constant(init), constant(end), over, Shape::Poly(power.max(f64::MIN_POSITIVE)));
    if !p.flag_or("cycle", false) {
        return fall(over).into();
    }
    p.check("decay_steps", over.fract() == 0.0, "a whole number with cycle");
    let count = match job.training.total_steps.map(|total| (exact(total) / over).ceil() + 1.0) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and small")]
        Some(count) if count <= exact(MAX_CYCLES) => count as u64,
        _ => {
            let most = "a whole number of steps, of which the job's total_steps must hold at most 1023";
            p.check(
                "cycle",
                false,
                &format!("false here: its cycles are written out one by one. Or decay_steps {most}"),
            );
            1
        }
    };
    // At a boundary the earlier cycle counts.
    let begins: Vec<f64> = (1..count).map(|i| exact(i) * over + 1.0).collect();
    let parts: Vec<S> = (1..=count)
        .map(|i| {
            let begin = if i == 1 { 0.0 } else { exact(i - 1) * over + 1.0 };
            shift(fall(exact(i) * over), begin)
        })
        .collect();
    seq(begins, parts).into()
}

/// `decay_steps` does not include the warm-up.
fn cosine(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (init, over) = (initial(p), positive(p, "decay_steps"));
    let alpha = p.number_or("alpha", 0.0);
    let target = p.optional_number("warmup_target");
    let warmup = exact(p.whole_or("warmup_steps", 0, 0));
    let fall = |from: f64| ease(constant(from), constant(from * alpha), over, Shape::Cosine);
    match target {
        None => {
            if warmup > 0.0 {
                p.wrong("warmup_steps", "is ignored without a warmup_target");
            }
            fall(init)
        }
        Some(peak) => seq([warmup], [line(constant(init), constant(peak), warmup), fall(peak)]),
    }
    .into()
}

/// `m_mul` scales what lies above the floor.
fn cosine_restarts(p: &mut Params<'_>, _: FromJob) -> Translation {
    let init = initial(p);
    let first = positive(p, "first_decay_steps");
    let (growth, scale) = (p.number_or("t_mul", 2.0), p.number_or("m_mul", 1.0));
    p.check("t_mul", growth >= 1.0, "at least 1");
    p.check("m_mul", scale >= 0.0, "at least 0");
    let alpha = p.number_or("alpha", 0.0);
    let fall = repeat(ease(constant(1.0), constant(0.0), 1.0, Shape::Cosine), first, growth, scale);
    sum([constant(init * alpha), product(constant(init * (1.0 - alpha)), fall)]).into()
}
