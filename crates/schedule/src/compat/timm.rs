//! `timm.scheduler` (1.0.31), counted in epochs or updates, as the `unit` of the schedule says.
//!
//! `t_in_epochs` says which of two methods drives a scheduler there and does not change the curve. Noise is refused:
//! its values come from torch's own generator. <https://huggingface.co/docs/timm/reference/schedulers>

use serde_json::json;

use super::{
    algebra::{
        at_least, base, constant, cycles, drops, ease, line, milestones, power_law, product, seq, shift, stair, sum,
        warped_ease,
    },
    library::{FromJob, Library, Table, Translation, scheduler},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ScheduleSpec as S, Shape},
};

pub(super) const LIBRARY: Library =
    Library { follow_a_metric: &["PlateauLRScheduler"], ..Library::new("timm", SCHEDULERS) };

const CYCLES_OF_TIMM: &str = r#"{"lr_min": 0.0, "cycle_mul": 1.0, "cycle_decay": 1.0, "cycle_limit": 1, "k_decay": 1.0, "warmup_t": 0, "warmup_lr_init": 0.0, "warmup_prefix": false}"#;
const DROPS_OF_TIMM: &str = r#"{"decay_rate": 1.0, "warmup_t": 0, "warmup_lr_init": 0.0, "warmup_prefix": true}"#;

const SCHEDULERS: Table = &[
    scheduler("CosineLRScheduler", cosine, r#"{"t_initial": 100}"#, CYCLES_OF_TIMM),
    scheduler(
        "TanhLRScheduler",
        tanh,
        r#"{"t_initial": 100}"#,
        r#"{"lb": -7.0, "ub": 3.0, "lr_min": 0.0, "cycle_mul": 1.0, "cycle_decay": 1.0, "cycle_limit": 1, "warmup_t": 0, "warmup_lr_init": 0.0, "warmup_prefix": false}"#,
    ),
    scheduler("PolyLRScheduler", poly, r#"{"t_initial": 100, "power": 0.5}"#, CYCLES_OF_TIMM),
    scheduler("StepLRScheduler", step, r#"{"decay_t": 30}"#, DROPS_OF_TIMM),
    scheduler("MultiStepLRScheduler", multi_step, r#"{"decay_t": [30, 80]}"#, DROPS_OF_TIMM),
    scheduler(
        "WSDLRScheduler",
        warmup_stable_decay,
        r#"{"t_initial": 100, "decay_t": 20}"#,
        r#"{"lr_min": 0.0, "stable_fn": "constant", "stable_power": 0.5, "decay_fn": "1-sqrt", "decay_power": 0.5, "decay_ratio": 0.1, "warmup_t": 0, "warmup_lr_init": 0.0}"#,
    ),
];

/// A ramp from an absolute rate.
struct Warmup {
    length: f64,
    from: f64,
    /// Whether the curve begins after the ramp; otherwise it is entered where the ramp ends.
    prefix: bool,
}

impl Warmup {
    fn read(p: &mut Params<'_>, prefix: Option<bool>) -> Self {
        let length = exact(p.whole_or("warmup_t", 0, 0));
        let from = p.number_or("warmup_lr_init", 0.0);
        let prefix = prefix.is_none_or(|default| p.flag_or("warmup_prefix", default));
        p.flag_or("t_in_epochs", true);
        p.only("initialize", &[json!(true)], "is not used: the base rate is the job's");
        p.only("noise_range_t", &[], "is not reproduced: timm draws the noise from torch's generator");
        for (name, default) in [("noise_pct", json!(0.67)), ("noise_std", json!(1)), ("noise_seed", json!(42))] {
            p.only(name, &[default, json!(1.0)], "is ignored without noise_range_t");
        }
        Self { length, from, prefix }
    }

    /// The ramp up to `peak`, then the curve.
    fn before(&self, curve: S, peak: S) -> S {
        if self.length == 0.0 {
            return curve;
        }
        let ramp = line(constant(self.from), peak, self.length);
        seq([self.length], [ramp, if self.prefix { curve } else { shift(curve, self.length) }])
    }
}

fn cosine(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = Warmup::read(p, Some(false));
    warmup.before(cyclic(p, Shape::Cosine, true), base(1.0)).into()
}

fn poly(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = Warmup::read(p, Some(false));
    let power = p.number_or("power", 0.5);
    p.check("power", power > 0.0, "greater than 0");
    warmup.before(cyclic(p, Shape::Poly(power.max(f64::MIN_POSITIVE)), true), base(1.0)).into()
}

/// The ramp aims at the curve, which does not begin at the base rate.
fn tanh(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = Warmup::read(p, Some(false));
    let (lower, upper) = (p.number_or("lb", -7.0), p.number_or("ub", 3.0));
    p.check("lb", lower < upper, "less than ub");
    let curve = cyclic(p, Shape::Tanh { lower, upper }, false);
    // The ramp ends at the value where the curve is entered, or at the base rate.
    let peak = if warmup.prefix { base(1.0) } else { held_at(curve.clone(), warmup.length) };
    warmup.before(curve, peak).into()
}

/// The value of a schedule at one time, for ever: on a stair that has no end.
fn held_at(schedule: S, time: f64) -> S {
    stair(shift(schedule, time), f64::MAX)
}

/// `floor + (peak decay^i - floor) w`, where `w` falls from 1 to 0 over cycle `i`: the peaks shrink and the floor does
/// not.
fn cyclic(p: &mut Params<'_>, shape: Shape, has_k_decay: bool) -> S {
    let first = p.whole("t_initial", 1);
    let floor = floor(p);
    let growth = p.number_or("cycle_mul", 1.0);
    p.check("cycle_mul", growth >= 1.0, "at least 1");
    let decay = p.number_or("cycle_decay", 1.0);
    p.check("cycle_decay", decay >= 0.0, "at least 0");
    let limit = p.whole_or("cycle_limit", 0, 1);
    let warp = if has_k_decay { p.number_or("k_decay", 1.0) } else { 1.0 };
    p.check("k_decay", warp > 0.0, "greater than 0");
    let fall = |scale| {
        let once = warped_ease(constant(1.0), constant(0.0), 1.0, shape, warp);
        cycles(once, exact(first), growth, scale, limit)
    };
    sum([constant(floor), product(base(1.0), fall(decay)), product(constant(-floor), fall(1.0))])
}

fn floor(p: &mut Params<'_>) -> f64 {
    let floor = p.number_or("lr_min", 0.0);
    p.check("lr_min", floor >= 0.0, "at least 0");
    floor
}

fn decay_rate(p: &mut Params<'_>, default: f64) -> f64 {
    let rate = p.number_or("decay_rate", default);
    p.check("decay_rate", rate > 0.0, "greater than 0");
    rate
}

fn step(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = Warmup::read(p, Some(true));
    let every = p.number("decay_t");
    p.check("decay_t", every > 0.0, "greater than 0");
    warmup.before(drops(base(1.0), decay_rate(p, 1.0), every), base(1.0)).into()
}

/// Each drop comes one step before its milestone.
fn multi_step(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = Warmup::read(p, Some(true));
    let at = p.wholes("decay_t");
    p.check("decay_t", at.is_sorted(), "in rising order");
    let at = at.into_iter().map(|milestone| exact(milestone) - 1.0).collect();
    let rate = decay_rate(p, 1.0);
    warmup.before(milestones(base, at, rate), base(1.0)).into()
}

/// The decay multiplies the stable curve, which goes on changing.
fn warmup_stable_decay(p: &mut Params<'_>, _: FromJob) -> Translation {
    let warmup = Warmup::read(p, None);
    let total = p.whole("t_initial", 1);
    let decay = p.whole("decay_t", 1);
    p.check("decay_t", decay <= total, "at most t_initial");
    let floor = floor(p);
    let exponent = stable_exponent(p);
    let timescale = p.number_or("stable_timescale", warmup.length);
    if exponent > 0.0 && timescale <= 0.0 {
        p.wrong("stable_timescale", "must be greater than 0: without a warm-up it has no default");
    }
    let timescale = if timescale > 0.0 { timescale } else { 1.0 };
    let stable = at_least(power_law(base(1.0), timescale, exponent), constant(floor));
    let begin = exact(total.saturating_sub(decay));
    let fall = ease(shift(stable.clone(), begin), constant(floor), exact(decay), decay_shape(p));
    warmup.before(seq([begin], [stable, fall]), base(1.0)).into()
}

fn stable_exponent(p: &mut Params<'_>) -> f64 {
    let kind = p.choice_or("stable_fn", &["constant", "rsqrt", "power"], "constant");
    let power = p.number_or("stable_power", 0.5);
    p.check("stable_power", power > 0.0, "greater than 0");
    match kind {
        "rsqrt" => 0.5,
        "power" => power,
        _ => 0.0,
    }
}

fn decay_shape(p: &mut Params<'_>) -> Shape {
    let kinds = ["1-sqrt", "linear", "cosine", "power", "exp"];
    let kind = p.choice_or("decay_fn", &kinds, "1-sqrt");
    let (power, ratio) = (p.number_or("decay_power", 0.5), p.number_or("decay_ratio", 0.1));
    p.check("decay_power", power > 0.0, "greater than 0");
    p.check("decay_ratio", ratio > 0.0 && ratio < 1.0, "between 0 and 1");
    match kind {
        "linear" => Shape::Linear,
        "cosine" => Shape::Cosine,
        "power" => Shape::Power(power.max(f64::MIN_POSITIVE)),
        "exp" => Shape::Exp(ratio),
        _ => Shape::Power(0.5),
    }
}
