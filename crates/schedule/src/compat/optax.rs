//! `optax.schedules` (0.2.8): functions of the count of updates. All rates are absolute.
//!
//! <https://optax.readthedocs.io/en/latest/api/optimizer_schedules.html>

use serde_json::{Map, Value};

use super::{
    algebra::{at_least, at_most, constant, ease, geometric, line, seq, stair},
    library::{FromJob, Library, Table, Translation, inner_rate, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
    violation::Violations,
};

pub(super) const LIBRARY: Library = Library {
    follow_a_metric: &["contrib.reduce_on_plateau", "reduce_on_plateau"],
    ..Library::new("optax", SCHEDULERS)
};

const SCHEDULERS: Table = &[
    scheduler("constant_schedule", constant_value, r#"{"value": 0.1}"#, "{}"),
    scheduler(
        "linear_schedule",
        linear,
        r#"{"init_value": 1, "end_value": 0, "transition_steps": 100}"#,
        r#"{"transition_begin": 0}"#,
    ),
    scheduler(
        "polynomial_schedule",
        polynomial,
        r#"{"init_value": 1, "end_value": 0, "power": 2, "transition_steps": 100}"#,
        r#"{"transition_begin": 0}"#,
    ),
    scheduler(
        "piecewise_constant_schedule",
        piecewise_constant,
        r#"{"init_value": 1}"#,
        r#"{"boundaries_and_scales": null}"#,
    ),
    scheduler(
        "piecewise_interpolate_schedule",
        piecewise_interpolate,
        r#"{"interpolate_type": "linear", "init_value": 1}"#,
        r#"{"boundaries_and_scales": null}"#,
    ),
    scheduler(
        "exponential_decay",
        exponential_decay,
        r#"{"init_value": 1, "transition_steps": 100, "decay_rate": 0.5}"#,
        r#"{"transition_begin": 0, "staircase": false, "end_value": null}"#,
    ),
    scheduler(
        "cosine_decay_schedule",
        cosine_decay,
        r#"{"init_value": 1, "decay_steps": 100}"#,
        r#"{"alpha": 0.0, "exponent": 1.0}"#,
    ),
    scheduler(
        "warmup_constant_schedule",
        warmup_constant,
        r#"{"init_value": 0, "peak_value": 1, "warmup_steps": 10}"#,
        "{}",
    ),
    scheduler(
        "warmup_cosine_decay_schedule",
        warmup_cosine,
        r#"{"init_value": 0, "peak_value": 1, "warmup_steps": 10, "decay_steps": 100}"#,
        r#"{"end_value": 0.0, "exponent": 1.0}"#,
    ),
    scheduler(
        "warmup_exponential_decay_schedule",
        warmup_exponential,
        r#"{"init_value": 0, "peak_value": 1, "warmup_steps": 10, "transition_steps": 100, "decay_rate": 0.5}"#,
        r#"{"transition_begin": 0, "staircase": false, "end_value": null}"#,
    ),
    scheduler(
        "sgdr_schedule",
        sgdr,
        r#"{"cosine_kwargs": [{"init_value": 0, "peak_value": 1, "warmup_steps": 10, "decay_steps": 100}]}"#,
        "{}",
    ),
    scheduler(
        "linear_onecycle_schedule",
        linear_onecycle,
        r#"{"transition_steps": 100, "peak_value": 1}"#,
        r#"{"pct_start": 0.3, "pct_final": 0.85, "div_factor": 25.0, "final_div_factor": 10000.0}"#,
    ),
    scheduler(
        "cosine_onecycle_schedule",
        cosine_onecycle,
        r#"{"transition_steps": 100, "peak_value": 1}"#,
        r#"{"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 10000.0}"#,
    ),
    scheduler(
        "join_schedules",
        join,
        r#"{"schedules": [{"schedule": "constant_schedule", "params": {"value": 1}}, {"schedule": "constant_schedule", "params": {"value": 0.1}}], "boundaries": [10]}"#,
        "{}",
    ),
];

fn constant_value(p: &mut Params<'_>, _: FromJob) -> Translation {
    constant(p.number("value")).into()
}

/// A count that optax takes to be 0 if it is negative.
fn begin(p: &mut Params<'_>) -> f64 {
    let begin = p.number_or("transition_begin", 0.0);
    p.check("transition_begin", begin.fract() == 0.0, "a whole number");
    begin.max(0.0)
}

/// A count; zero or less stands for no transition.
fn transition_steps(p: &mut Params<'_>) -> f64 {
    let count = p.number("transition_steps");
    p.check("transition_steps", count.fract() == 0.0, "a whole number");
    count
}

fn linear(p: &mut Params<'_>, _: FromJob) -> Translation {
    transition(p, 1.0).into()
}

fn polynomial(p: &mut Params<'_>, _: FromJob) -> Translation {
    let power = p.number("power");
    p.check("power", power > 0.0, "greater than 0");
    transition(p, power.max(f64::MIN_POSITIVE)).into()
}

fn transition(p: &mut Params<'_>, power: f64) -> S {
    let (from, to) = (p.number("init_value"), p.number("end_value"));
    let (over, begin) = (transition_steps(p), begin(p));
    if over <= 0.0 {
        return constant(from);
    }
    seq([begin], [constant(from), ease(constant(from), constant(to), over, Shape::Poly(power))])
}

/// The boundaries, and the products of the scales up to each, from the initial value on.
fn products(p: &mut Params<'_>) -> (Vec<f64>, Vec<f64>) {
    let mut value = p.number("init_value");
    let pairs = if p.has("boundaries_and_scales") { p.pairs("boundaries_and_scales") } else { Vec::new() };
    let negative = pairs.iter().any(|(_, scale)| *scale < 0.0);
    p.check("boundaries_and_scales", !negative, "with scales of at least 0");
    let mut values = vec![value];
    for (_, scale) in &pairs {
        value *= scale;
        values.push(value);
    }
    (pairs.iter().map(|(at, _)| exact(*at)).collect(), values)
}

fn piecewise_constant(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (boundaries, values) = products(p);
    seq(boundaries, values.into_iter().map(constant).collect::<Vec<_>>()).into()
}

fn piecewise_interpolate(p: &mut Params<'_>, _: FromJob) -> Translation {
    let shape = match p.choice_or("interpolate_type", &["linear", "cosine"], "") {
        "cosine" => Shape::Cosine,
        "linear" => Shape::Linear,
        _ => {
            p.wrong("interpolate_type", "is required: linear or cosine");
            Shape::Linear
        }
    };
    let (boundaries, values) = products(p);
    interpolated(boundaries, &values, shape).into()
}

/// From each value to the next, up to its boundary, and then the last one.
fn interpolated(boundaries: Vec<f64>, values: &[f64], shape: Shape) -> S {
    let mut before = 0.0;
    let mut parts = Vec::with_capacity(values.len());
    for (boundary, ends) in boundaries.iter().zip(values.windows(2)) {
        parts.push(ease(constant(ends[0]), constant(ends[1]), boundary - before, shape));
        before = *boundary;
    }
    parts.extend(values.last().copied().map(constant));
    seq(boundaries, parts)
}

fn exponential_decay(p: &mut Params<'_>, _: FromJob) -> Translation {
    let init = p.number("init_value");
    decay(p, init).into()
}

/// The decay of `exponential_decay` and of `warmup_exponential_decay_schedule`.
fn decay(p: &mut Params<'_>, init: f64) -> S {
    let (over, begin) = (transition_steps(p), begin(p));
    let rate = p.number("decay_rate");
    p.check("decay_rate", rate >= 0.0, "at least 0");
    let staircase = p.flag_or("staircase", false);
    let bound = p.optional_number("end_value");
    if over <= 0.0 || rate <= 0.0 {
        return constant(init);
    }
    let fall = geometric(constant(init), rate, over);
    let decay = seq([begin], [constant(init), if staircase { stair(fall, over) } else { fall }]);
    match bound {
        None => decay,
        Some(bound) if rate < 1.0 => at_least(decay, constant(bound)),
        Some(bound) => at_most(decay, constant(bound)),
    }
}

fn exponent(p: &mut Params<'_>) -> Shape {
    let exponent = p.number_or("exponent", 1.0);
    p.check("exponent", exponent > 0.0, "greater than 0");
    Shape::CosinePower(if exponent > 0.0 { exponent } else { 1.0 })
}

fn cosine_decay(p: &mut Params<'_>, _: FromJob) -> Translation {
    let init = p.number("init_value");
    let over = p.whole("decay_steps", 1);
    let end = init * p.number_or("alpha", 0.0);
    ease(constant(init), constant(end), exact(over), exponent(p)).into()
}

fn warmup_constant(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (from, to) = (p.number("init_value"), p.number("peak_value"));
    match p.whole("warmup_steps", 0) {
        // Without a transition optax stays at the initial value.
        0 => constant(from),
        over => line(constant(from), constant(to), exact(over)),
    }
    .into()
}

/// `decay_steps` includes the warm-up.
fn warmup_cosine(p: &mut Params<'_>, _: FromJob) -> Translation {
    warmup_cosine_cycle(p).1.into()
}

fn warmup_cosine_cycle(p: &mut Params<'_>) -> (u64, S) {
    let (from, peak) = (p.number("init_value"), p.number("peak_value"));
    let (warmup, total) = (p.whole("warmup_steps", 0), p.whole("decay_steps", 1));
    p.check("decay_steps", total > warmup, "greater than warmup_steps, which it includes");
    let end = p.number_or("end_value", 0.0);
    let fall = ease(constant(peak), constant(end), exact(total.saturating_sub(warmup)), exponent(p));
    let warmup = exact(warmup);
    (total, seq([warmup], [line(constant(from), constant(peak), warmup), fall]))
}

fn warmup_exponential(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (from, peak) = (p.number("init_value"), p.number("peak_value"));
    let warmup = exact(p.whole("warmup_steps", 0));
    seq([warmup], [line(constant(from), constant(peak), warmup), decay(p, peak)]).into()
}

fn sgdr(p: &mut Params<'_>, _: FromJob) -> Translation {
    let listed = p.objects("cosine_kwargs");
    let (mut at, mut boundaries, mut parts) = (0.0, Vec::new(), Vec::new());
    for (i, object) in listed.into_iter().enumerate() {
        let (length, cycle) = p.within(format!("cosine_kwargs[{i}]"), |v| {
            let mut p = Params::new(object, v);
            let cycle = warmup_cosine_cycle(&mut p);
            p.finish();
            cycle
        });
        at += exact(length);
        boundaries.push(at);
        parts.push(cycle);
    }
    boundaries.pop();
    p.check("cosine_kwargs", !parts.is_empty(), "a list of at least one cycle");
    seq(boundaries, parts).into()
}

/// A fraction of the transition as a whole count.
fn at(p: &mut Params<'_>, name: &'static str, default: f64, total: f64) -> f64 {
    let fraction = p.number_or(name, default);
    p.check(name, (0.0..=1.0).contains(&fraction), "from 0 to 1");
    (fraction * total).trunc()
}

fn divisor(p: &mut Params<'_>, name: &'static str, default: f64) -> f64 {
    let divisor = p.number_or(name, default);
    p.check(name, divisor > 0.0, "greater than 0");
    divisor
}

fn linear_onecycle(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (total, peak) = (exact(p.whole("transition_steps", 1)), p.number("peak_value"));
    let (up, down) = (at(p, "pct_start", 0.3, total), at(p, "pct_final", 0.85, total));
    p.check("pct_final", up < down && down < total, "such that each phase has a step");
    let first = peak / divisor(p, "div_factor", 25.0);
    let last = first / divisor(p, "final_div_factor", 1e4);
    interpolated(vec![up, down.max(up), total], &[first, peak, first, last], Shape::Linear).into()
}

fn cosine_onecycle(p: &mut Params<'_>, _: FromJob) -> Translation {
    let (total, peak) = (exact(p.whole("transition_steps", 1)), p.number("peak_value"));
    let up = at(p, "pct_start", 0.3, total);
    p.check("pct_start", up < total, "such that each phase has a step");
    let first = peak / divisor(p, "div_factor", 25.0);
    let last = first / divisor(p, "final_div_factor", 1e4);
    interpolated(vec![up, total], &[first, peak, last], Shape::Cosine).into()
}

fn join(p: &mut Params<'_>, job: FromJob) -> Translation {
    let listed = p.objects("schedules");
    let read = |(i, object)| p.within(format!("schedules[{i}]"), |v| joined(object, job, v));
    let parts: Vec<S> = listed.into_iter().enumerate().filter_map(read).collect();
    let boundaries = p.wholes("boundaries");
    p.check("boundaries", boundaries.is_sorted(), "in rising order");
    if boundaries.len() + 1 != parts.len() {
        p.check("boundaries", false, "one fewer than the schedules");
        return constant(0.0).into();
    }
    seq(boundaries.into_iter().map(exact).collect::<Vec<_>>(), parts).into()
}

fn joined(object: &Map<String, Value>, job: FromJob, v: &mut Violations) -> Option<S> {
    let mut p = Params::new(object, v);
    let schedule = p.text_or("schedule", "");
    let schedule = p.text_or("scheduler", &schedule);
    let params = p.object("params").cloned().unwrap_or_default();
    p.finish();
    inner_rate(("schedule", "schedule of optax"), &schedule, &params, job, v)
}
