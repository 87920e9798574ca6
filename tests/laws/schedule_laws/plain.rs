//! The formulas of the algebra, computed slowly and without checks, to compare the service with.

use lrs_model::schedule::{Past, Repeat, ScheduleSpec as S, Shape};

/// The value of an expanded `spec` at local time `t`; `peak` rises to the largest magnitude met on the way.
pub fn value(spec: &S, t: f64, base: f64, peak: &mut f64) -> f64 {
    let value = match spec {
        S::Constant(value) => *value,
        S::Base(factor) => factor * base,
        S::Ease(ease) => {
            let mut done = if ease.over == 0.0 { 1.0 } else { t / ease.over };
            if ease.past == Past::Hold && done > 1.0 {
                done = 1.0;
            }
            let weight = weight(ease.shape, libm::pow(done, ease.warp));
            *peak = peak.max(weight.abs());
            value(&ease.start, t, base, peak) * (1.0 - weight) + value(&ease.end, t, base, peak) * weight
        }
        S::Geometric(g) => value(&g.value, t, base, peak) * libm::pow(g.rate, t / g.every),
        S::PowerLaw(p) => value(&p.value, t, base, peak) * libm::pow(1.0 + t / p.tau, -p.exponent),
        S::Seq(seq) => {
            let passed = seq.boundaries.iter().filter(|boundary| t >= **boundary).count();
            let begin = if passed == 0 { 0.0 } else { seq.boundaries[passed - 1] };
            value(&seq.parts[passed], t - begin, base, peak)
        }
        S::Repeat(repeat) => cycle(repeat, t, base, peak),
        S::Stair(stair) => value(&stair.schedule, (t / stair.every).floor() * stair.every, base, peak),
        S::Shift(shift) => value(&shift.schedule, (t + shift.steps).max(0.0), base, peak),
        S::Pace(pace) => {
            let (units, steps) = (super::trees::time(pace.units), super::trees::time(pace.steps));
            let done = t * units / steps;
            value(&pace.schedule, if pace.whole { done.floor() } else { done }, base, peak)
        }
        S::Product { factors } => factors.iter().map(|factor| value(factor, t, base, peak)).product(),
        S::Sum { terms } => terms.iter().map(|term| value(term, t, base, peak)).sum(),
        S::Clamp(clamp) => {
            let mut x = value(&clamp.schedule, t, base, peak);
            if let Some(min) = &clamp.min {
                x = x.max(value(min, t, base, peak));
            }
            if let Some(max) = &clamp.max {
                x = x.min(value(max, t, base, peak));
            }
            x
        }
        named => panic!("{named:?} has not been expanded"),
    };
    *peak = peak.max(value.abs());
    value
}

/// Counts cycles one by one up to the cycle of `t`.
fn cycle(repeat: &Repeat, t: f64, base: f64, peak: &mut f64) -> f64 {
    let (mut index, mut start, mut length, mut scale) = (0, 0.0, repeat.first, 1.0);
    while repeat.limit != Some(index) && t >= start + length - 1e-12 * length {
        index += 1;
        start += length;
        length *= repeat.growth;
        scale *= repeat.scale;
    }
    if repeat.limit == Some(index) {
        value(&repeat.after, (t - start).max(0.0), base, peak)
    } else {
        value(&repeat.body, ((t - start) / length).max(0.0), base, peak) * scale
    }
}

fn weight(shape: Shape, p: f64) -> f64 {
    let cosine = |p: f64| f64::midpoint(1.0, libm::cos(std::f64::consts::PI * p));
    match shape {
        Shape::Linear => p,
        Shape::Cosine => 1.0 - cosine(p),
        Shape::CosinePower(k) => 1.0 - libm::pow(cosine(p), k),
        // Past its end the curve has no real value, and holds its end.
        Shape::Poly(k) if p > 1.0 && k.fract() != 0.0 => 1.0,
        Shape::Poly(k) => 1.0 - libm::pow(1.0 - p, k),
        Shape::Power(k) => libm::pow(p, k),
        Shape::OneMinusSqrt if p > 1.0 => 1.0,
        Shape::OneMinusSqrt => 1.0 - (1.0 - p).sqrt(),
        Shape::Exp(r) => 1.0 - (libm::pow(r, p) - r) / (1.0 - r),
        Shape::Tanh { lower, upper } => f64::midpoint(1.0, libm::tanh(lower * (1.0 - p) + upper * p)),
        Shape::Log(n) => libm::log(p * n + 1.0) / libm::log(n),
    }
}
