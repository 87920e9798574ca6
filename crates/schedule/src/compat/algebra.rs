//! Short functions to write expressions of the algebra with.

use lrs_model::schedule::{
    Chain, ChainLink, Clamp, Ease, Geometric, Pace, Past, PowerLaw, Repeat, ScheduleSpec as S, Sequence, Shape, Shift,
    Stair,
};

/// A multiple of the base rate.
pub(super) fn base(factor: f64) -> S {
    S::Base(factor)
}

/// An absolute value.
pub(super) fn constant(value: f64) -> S {
    S::Constant(value)
}

/// From `start` to `end` over so many steps; the end is held.
pub(super) fn ease(start: S, end: S, over: f64, shape: Shape) -> S {
    S::Ease(Box::new(Ease { start, end, over, shape, past: Past::Hold, warp: 1.0 }))
}

/// A straight line from `start` to `end`, which is held.
pub(super) fn line(start: S, end: S, over: f64) -> S {
    ease(start, end, over, Shape::Linear)
}

/// An ease whose formula goes on after its end.
pub(super) fn endless_ease(start: S, end: S, over: f64, shape: Shape) -> S {
    S::Ease(Box::new(Ease { start, end, over, shape, past: Past::Continue, warp: 1.0 }))
}

/// An ease whose fraction done is first raised to the power `warp`.
pub(super) fn warped_ease(start: S, end: S, over: f64, shape: Shape, warp: f64) -> S {
    S::Ease(Box::new(Ease { start, end, over, shape, past: Past::Hold, warp }))
}

/// `value * rate^(t / every)`. At the rate 0, which the algebra does not have: the value at time 0, then 0.
pub(super) fn geometric(value: S, rate: f64, every: f64) -> S {
    if rate == 0.0 {
        return seq([f64::MIN_POSITIVE], [value, constant(0.0)]);
    }
    S::Geometric(Box::new(Geometric { value, rate, every }))
}

/// `value * rate^(t / every)`, held over stairs of `every` steps.
pub(super) fn drops(value: S, rate: f64, every: f64) -> S {
    stair(geometric(value, rate, every), every)
}

/// `value * (1 + t / tau)^-exponent`.
pub(super) fn power_law(value: S, tau: f64, exponent: f64) -> S {
    S::PowerLaw(Box::new(PowerLaw { value, tau, exponent }))
}

/// One part after another, each from its boundary on.
pub(super) fn seq(boundaries: impl Into<Vec<f64>>, parts: impl Into<Vec<S>>) -> S {
    S::Seq(Sequence { boundaries: boundaries.into(), parts: parts.into() })
}

/// `body` in endless cycles.
pub(super) fn repeat(body: S, first: f64, growth: f64, scale: f64) -> S {
    S::Repeat(Box::new(Repeat { body, first, growth, scale, limit: None, after: constant(0.0) }))
}

/// `body` in so many cycles, and 0 after them.
pub(super) fn cycles(body: S, first: f64, growth: f64, scale: f64, limit: u64) -> S {
    S::Repeat(Box::new(Repeat { body, first, growth, scale, limit: Some(limit), after: constant(0.0) }))
}

/// `schedule`, held over stairs of `every` steps.
pub(super) fn stair(schedule: S, every: f64) -> S {
    S::Stair(Box::new(Stair { schedule, every }))
}

/// `schedule`, `steps` ahead in its time.
pub(super) fn shift(schedule: S, steps: f64) -> S {
    S::Shift(Box::new(Shift { schedule, steps }))
}

/// The product of two schedules.
pub(super) fn product(left: S, right: S) -> S {
    S::Product { factors: vec![left, right] }
}

/// The sum of schedules.
pub(super) fn sum(terms: impl Into<Vec<S>>) -> S {
    S::Sum { terms: terms.into() }
}

/// `schedule`, but never below `min`.
pub(super) fn at_least(schedule: S, min: S) -> S {
    S::Clamp(Box::new(Clamp { schedule, min: Some(min), max: None }))
}

/// `schedule`, but never above `max`.
pub(super) fn at_most(schedule: S, max: S) -> S {
    S::Clamp(Box::new(Clamp { schedule, min: None, max: Some(max) }))
}

/// `schedule` on a clock that counts `units` whole units in `steps` steps.
pub(super) fn pace(schedule: S, units: u64, steps: u64) -> S {
    S::Pace(Box::new(Pace { schedule, units, steps, whole: true, unit: None }))
}

/// Links that take turns, for so many steps.
pub(super) fn chain(links: Vec<ChainLink>, steps: u64) -> S {
    S::Chain(Chain { links, steps })
}

/// Multiplied by `gamma` at every milestone; a milestone that is listed twice counts twice.
pub(super) fn milestones(value: impl Fn(f64) -> S, mut milestones: Vec<f64>, gamma: f64) -> S {
    milestones.sort_by(f64::total_cmp);
    let mut parts = vec![value(1.0)];
    let mut factor = 1.0;
    for _ in &milestones {
        factor *= gamma;
        parts.push(value(factor));
    }
    seq(milestones, parts)
}
