//! `deepspeed.runtime.lr_schedules` (0.19.8), counted in calls of `step()`.
//!
//! The counter inside is one behind the calls, and the rate before the first call is set apart: most curves have their
//! first value twice. <https://deepspeed.readthedocs.io/en/latest/schedulers.html>

use serde_json::json;

use super::{
    algebra::{base, constant, ease, endless_ease, line, power_law, seq, shift, stair},
    library::{FromJob, Library, Table, Translation, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library = Library::new("deepspeed", SCHEDULERS);

const SCHEDULERS: Table = &[
    scheduler(
        "WarmupLR",
        warmup,
        "{}",
        r#"{"warmup_min_lr": 0.0, "warmup_max_lr": 0.001, "warmup_num_steps": 1000, "warmup_type": "log"}"#,
    ),
    scheduler(
        "WarmupDecayLR",
        warmup_decay,
        r#"{"total_num_steps": 2000}"#,
        r#"{"warmup_min_lr": 0.0, "warmup_max_lr": 0.001, "warmup_num_steps": 1000, "warmup_type": "log"}"#,
    ),
    scheduler(
        "WarmupCosineLR",
        warmup_cosine,
        r#"{"total_num_steps": 2000}"#,
        r#"{"warmup_num_steps": 1000, "warmup_type": "log"}"#,
    ),
    scheduler(
        "OneCycle",
        one_cycle,
        r#"{"cycle_min_lr": 0.01, "cycle_max_lr": 0.1}"#,
        r#"{"cycle_first_step_size": 2000, "cycle_first_stair_count": 0, "decay_step_size": 0, "decay_lr_rate": 0.0, "cycle_momentum": true, "cycle_min_mom": 0.8, "cycle_max_mom": 0.9, "decay_mom_rate": 0.0}"#,
    ),
    scheduler(
        "LRRangeTest",
        range_test,
        "{}",
        r#"{"lr_range_test_min_lr": 0.001, "lr_range_test_step_size": 2000, "lr_range_test_step_rate": 1.0, "lr_range_test_staircase": false}"#,
    ),
];

fn last_batch(p: &mut Params<'_>) {
    p.only("last_batch_iteration", &[json!(-1)], "is not used: an attempt says at which step it resumes");
}

/// The length of a warm-up, at least 2, and its shape.
fn ramp(p: &mut Params<'_>) -> (f64, Shape) {
    last_batch(p);
    let length = exact(p.whole_or("warmup_num_steps", 0, 1000).max(2));
    let shape = match p.choice_or("warmup_type", &["log", "linear"], "log") {
        "linear" => Shape::Linear,
        _ => Shape::Log(length),
    };
    (length, shape)
}

/// The first value twice, the ramp, the rest.
fn after_ramp(before: S, (from, to): (S, S), (length, shape): (f64, Shape), rest: S) -> S {
    seq([1.0, length + 1.0], [before, ease(from, to, length, shape), rest])
}

fn warmup(p: &mut Params<'_>, _: FromJob) -> Translation {
    let ramp = ramp(p);
    let low = constant(p.number_or("warmup_min_lr", 0.0));
    let high = if p.has("warmup_max_lr") {
        constant(p.number("warmup_max_lr"))
    } else if p.is_null("warmup_max_lr") {
        // The optimizer's own rate.
        base(1.0)
    } else {
        constant(0.001)
    };
    after_ramp(low.clone(), (low, high.clone()), ramp, high).into()
}

/// Falls to the rate that the warm-up begins at.
fn warmup_decay(p: &mut Params<'_>, _: FromJob) -> Translation {
    let ramp = ramp(p);
    let total = exact(p.whole("total_num_steps", 1));
    let low = constant(p.number_or("warmup_min_lr", 0.0));
    let high = constant(p.number_or("warmup_max_lr", 0.001));
    let fall = line(high.clone(), low.clone(), (total - ramp.0).max(1.0));
    after_ramp(low.clone(), (low, high), ramp, fall).into()
}

/// Before the first call the rate is 0, and the cosine begins one step in.
fn warmup_cosine(p: &mut Params<'_>, _: FromJob) -> Translation {
    let ramp = ramp(p);
    let total = exact(p.whole("total_num_steps", 1));
    let first = p.number_or("warmup_min_ratio", 0.0);
    let last = p.number_or("cos_min_ratio", 1e-4);
    let fall = ease(base(1.0), base(last), (total - ramp.0).max(1.0), Shape::Cosine);
    after_ramp(constant(0.0), (base(first), base(1.0)), ramp, shift(fall, 1.0)).into()
}

/// Up and down once, in stairs if wanted, then decay.
fn one_cycle(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_batch(p);
    let up = positive(p, "cycle_first_step_size", 2000.0);
    let down = p.optional_number("cycle_second_step_size").unwrap_or(up);
    p.check("cycle_second_step_size", down > 0.0, "greater than 0");
    let stairs_up = p.whole_or("cycle_first_stair_count", 0, 0);
    let stairs_down = p.optional_whole("cycle_second_stair_count", 0).unwrap_or(stairs_up);
    let cycle = Cycle { up, down: down.max(f64::MIN_POSITIVE), stairs_up, stairs_down };
    let decay_every = p.number_or("decay_step_size", 0.0);
    p.check("decay_step_size", decay_every >= 0.0, "at least 0");

    let (low, high) = (p.number("cycle_min_lr"), p.number("cycle_max_lr"));
    let decay = p.number_or("decay_lr_rate", 0.0);
    p.check("decay_lr_rate", decay >= 0.0, "at least 0");
    let tail = if decay > 0.0 && decay_every > 0.0 {
        power_law(constant(low), decay_every / decay, 1.0)
    } else {
        constant(low)
    };
    let rate = cycle.then(low, high, tail);
    Translation { rate, momentum: cycled_momentum(p, &cycle, decay_every), weight_decay: None }
}

fn positive(p: &mut Params<'_>, name: &'static str, default: f64) -> f64 {
    let number = p.number_or(name, default);
    p.check(name, number > 0.0, "greater than 0");
    if number > 0.0 { number } else { default }
}

/// The momentum goes down and up, and grows in the decay.
fn cycled_momentum(p: &mut Params<'_>, cycle: &Cycle, decay_every: f64) -> Option<S> {
    let wanted = p.flag_or("cycle_momentum", true);
    let (low, high) = (p.number_or("cycle_min_mom", 0.8), p.number_or("cycle_max_mom", 0.9));
    let decay = p.number_or("decay_mom_rate", 0.0);
    if !wanted {
        return None;
    }
    let tail = if decay != 0.0 && decay_every > 0.0 {
        endless_ease(constant(high), constant(high * (1.0 + decay)), decay_every, Shape::Linear)
    } else {
        constant(high)
    };
    // Until the first call it is the lowest: the scheduler's constructor sets it.
    Some(seq([1.0], [constant(low), shift(cycle.then(high, low, tail), 1.0)]))
}

/// The lengths and stairs of a cycle.
struct Cycle {
    up: f64,
    down: f64,
    stairs_up: u64,
    stairs_down: u64,
}

impl Cycle {
    /// From `from` to `to` and back, then `tail`.
    fn then(&self, from: f64, to: f64, tail: S) -> S {
        let there = line(constant(from), constant(to), self.up);
        let there = if self.stairs_up > 0 { stair(there, self.up / exact(self.stairs_up)) } else { there };
        let length = self.up + self.down;
        let cycle = seq([self.up], [there, self.back(from, to)]);
        // Where the cycle ends, its first value comes once more: the counter is one behind the calls.
        seq([length, length + 1.0], [cycle, constant(from), shift(tail, 1.0)])
    }

    /// The way back. Its stairs are measured from the end of the cycle, so each begins one step after its edge: the
    /// edge belongs to the stair before.
    fn back(&self, from: f64, to: f64) -> S {
        if self.stairs_down == 0 {
            return line(constant(to), constant(from), self.down);
        }
        let count = self.stairs_down;
        let boundaries: Vec<f64> = (0..=count)
            .map(|i| {
                let edge = exact(i) * self.down / exact(count);
                // The first whole step that lies past the edge.
                edge.floor() + 1.0
            })
            .collect();
        let level = |i: u64| constant(from + (to - from) * (exact(count.saturating_sub(i)) / exact(count)));
        let mut parts = vec![level(0)];
        parts.extend((1..=count + 1).map(|i| level(i.min(count))));
        seq(boundaries, parts)
    }
}

/// Rises without end.
fn range_test(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_batch(p);
    let low = p.number_or("lr_range_test_min_lr", 1e-3);
    let every = positive(p, "lr_range_test_step_size", 2000.0);
    let rate = p.number_or("lr_range_test_step_rate", 1.0);
    let rise = endless_ease(constant(low), constant(low * (1.0 + rate)), every, Shape::Linear);
    let rise = if p.flag_or("lr_range_test_staircase", false) { stair(rise, every) } else { rise };
    seq([1.0], [constant(low), shift(rise, 1.0)]).into()
}
